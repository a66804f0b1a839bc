//! The bodies of testing/targets/pat.h: 64-byte lines that tell their stream and their place.

const LINE: usize = 64;

/// Stream of the uploads of `tls_client`.
pub const UPLOAD: u32 = 0xc11e;

fn mix(number: u64) -> u64 {
    let x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn hex(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// The first `length` bytes of a stream.
pub fn body(stream: u32, length: usize) -> Vec<u8> {
    let mut body = vec![0; length.next_multiple_of(LINE)];
    for (line, sequence) in body.chunks_exact_mut(LINE).zip(0u32..) {
        line[0] = b'L';
        hex(&mut line[1..5], u64::from(stream));
        line[5] = b'-';
        hex(&mut line[6..14], u64::from(sequence));
        line[14] = b'-';
        let key = (u64::from(stream) << 32 | u64::from(sequence)).wrapping_mul(3);
        for part in 0..3 {
            hex(&mut line[15 + 16 * part..31 + 16 * part], mix(key + part as u64));
        }
        line[63] = b'\n';
    }
    body.truncate(length);
    body
}

/// Compares without printing megabytes.
#[track_caller]
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let near = |bytes: &[u8]| {
        String::from_utf8_lossy(&bytes[at.min(bytes.len())..(at + 150).min(bytes.len())]).into_owned()
    };
    panic!(
        "{what}: {} bytes, expected {}; they differ from {at} on:\n{:?}\n{:?}",
        found.len(),
        expected.len(),
        near(found),
        near(expected)
    );
}
