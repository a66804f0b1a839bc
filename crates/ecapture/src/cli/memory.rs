//! What a limit on memory leaves for each of those that may take much.

/// Bytes of a block between the ring and the pipeline.
const BLOCK: usize = 1 << 20;

/// Blocks that a download at full speed needs, which takes both CPUs of a small machine until we catch up.
const BLOCKS_MOST: usize = 64;

/// Packets of 200 ms at 2.5 Gbit/s.
const PACKETS_MOST: usize = 64 << 20;

/// Shares of a limit, in bytes but for blocks. The eighth that is left is for the program and what it knows of files.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Blocks of 1 MiB that wait for the pipeline: an eighth.
    pub blocks: usize,
    /// Records that wait for all outputs together: a quarter.
    pub queues: usize,
    /// What is known of connections, and their unfinished messages: a quarter.
    pub connections: usize,
    /// Packets that wait for their secrets: a quarter.
    pub packets: usize,
}

impl Memory {
    /// Divides `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let quarter = limit / 4;
        Self {
            blocks: (limit / 8 / BLOCK).clamp(1, BLOCKS_MOST),
            queues: quarter,
            connections: quarter,
            packets: quarter.min(PACKETS_MOST),
        }
    }
}
