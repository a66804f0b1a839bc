//! permessage-deflate (RFC 7692): one stream of deflate for each direction, its end marks left out.
use flate2::{Decompress, FlushDecompress, Status};

use crate::coding::INFLATE;
use crate::notes::{Note, Notes};

/// What the sender cuts off the end of each message (7.2.1).
const END: [u8; 4] = [0, 0, 0xFF, 0xFF];
const SCRATCH: usize = 8 << 10;

/// Decompresses the messages of one direction.
pub(super) struct Inflate {
    /// What is referred to is in there; `None` if that is nothing.
    stream: Option<Decompress>,
    /// Each message begins anew.
    forgets: bool,
    /// Output of a message is looked for no further than this.
    cap: u64,
    made: u64,
    /// What later messages may refer to is lost.
    lost: bool,
}

impl Inflate {
    pub fn new(forgets: bool, cap: u64) -> Self {
        Self { stream: None, forgets, cap, made: 0, lost: false }
    }

    /// A compressed message begins.
    pub fn begin(&mut self) {
        self.made = 0;
        if self.forgets {
            self.stream = None;
            self.lost = false;
        }
    }

    /// Bytes that it has allocated.
    pub fn memory(&self) -> usize {
        self.stream.as_ref().map_or(0, |_| INFLATE)
    }

    /// Something is missing, so nothing more can be had of this message.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// The message is over.
    pub fn end(&mut self, notes: &mut Notes, out: &mut dyn FnMut(&[u8])) {
        self.push(&END, notes, out);
        if self.forgets {
            self.stream = None;
        }
    }

    /// Decompresses; answers how many bytes at the end of `bytes` could not be.
    pub fn push(&mut self, bytes: &[u8], notes: &mut Notes, out: &mut dyn FnMut(&[u8])) -> usize {
        let mut scratch = [0; SCRATCH];
        let mut rest = bytes;
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        while !self.lost {
            let (total_in, total_out) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(rest, &mut scratch, FlushDecompress::None);
            let used = (stream.total_in() - total_in) as usize;
            let made = (stream.total_out() - total_out) as usize;
            let room = usize::try_from(self.cap - self.made).unwrap_or(usize::MAX);
            if made > 0 && room > 0 {
                out(&scratch[..made.min(room)]);
            }
            self.made += made.min(room) as u64;
            if status.is_ok() {
                rest = &rest[used..];
            }
            match status {
                Err(_) => {
                    notes.add(Note::BadCoding);
                    self.lost = true;
                }
                _ if made > room => {
                    notes.add(Note::Capped);
                    self.lost = true;
                }
                // A sender may end its stream and begin another (7.2.3.5).
                Ok(Status::StreamEnd) => stream.reset(false),
                Ok(_) if rest.is_empty() && made < SCRATCH => return 0,
                Ok(_) if used == 0 && made == 0 => return rest.len(),
                Ok(_) => {}
            }
            if rest.is_empty() && made < SCRATCH {
                return 0;
            }
        }
        rest.len()
    }
}
