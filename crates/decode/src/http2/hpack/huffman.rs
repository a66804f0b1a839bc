//! Huffman code of strings.
use super::lengths::{END, LENGTHS};

/// Codes up to this length are looked up at once: letters, digits and most signs.
const SHORT: u32 = 8;
const LONGEST: usize = 30;

struct Tables {
    /// By the first eight bits: symbol and length; length 0 if the code is longer.
    short: [(u8, u8); 1 << SHORT],
    /// All symbols in order of their codes.
    order: [u16; END + 1],
    /// By length: the first code beyond those of this length, its bits at the left end.
    beyond: [u64; LONGEST + 1],
    /// By length: what to add to a code to get its place in `order`.
    place: [i64; LONGEST + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        short: [(0, 0); 1 << SHORT],
        order: [0; END + 1],
        beyond: [0; LONGEST + 1],
        place: [0; LONGEST + 1],
    };
    let (mut code, mut next, mut length) = (0_u64, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        tables.place[length] = next as i64 - code as i64;
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol] as usize == length {
                tables.order[next] = symbol as u16;
                if length <= SHORT as usize {
                    let free = SHORT as usize - length;
                    let mut at = (code as usize) << free;
                    while at < (code as usize + 1) << free {
                        tables.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                code += 1;
                next += 1;
            }
            symbol += 1;
        }
        tables.beyond[length] = code << (64 - length);
        length += 1;
    }
    tables
}

/// Appends the decoded string. `None` if it has the end symbol in it or is not padded by its first bits.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = bytes;
    // The next bits at the left end, `have` of which count.
    let (mut window, mut have) = (0_u64, 0_u32);
    loop {
        if let Some(eight) = rest.first_chunk::<8>() {
            window |= u64::from_be_bytes(*eight) >> have;
            let taken = (63 - have) / 8;
            rest = &rest[taken as usize..];
            have += taken * 8;
        } else {
            while let (true, Some((&b, after))) = (have <= 56, rest.split_first()) {
                window |= u64::from(b) << (56 - have);
                have += 8;
                rest = after;
            }
        }
        let (symbol, length) = symbol(window);
        if length > have {
            break;
        }
        out.push(u8::try_from(symbol).ok()?);
        window <<= length;
        have -= length;
    }
    (have < 8 && window == !(u64::MAX >> have)).then_some(())
}

/// The symbol at the left end of `window` and the length of its code.
fn symbol(window: u64) -> (u16, u32) {
    let (symbol, length) = TABLES.short[(window >> (64 - SHORT)) as usize];
    if length != 0 {
        return (symbol.into(), length.into());
    }
    let mut length = SHORT as usize + 1;
    // The codes of 30 bits go up to all ones, so only a window beyond them does not fit.
    while length < LONGEST && window >= TABLES.beyond[length] {
        length += 1;
    }
    let code = (window >> (64 - length)) as i64;
    let place = usize::try_from(code + TABLES.place[length]).unwrap_or(END);
    (TABLES.order[place.min(END)], length as u32)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The inverse, from the lengths alone.
    pub fn encode(string: &[u8]) -> Vec<u8> {
        let (mut code, mut codes) = (0_u32, [0; END + 1]);
        for length in 1..=LONGEST {
            code <<= 1;
            for symbol in (0..=END).filter(|&symbol| usize::from(LENGTHS[symbol]) == length) {
                codes[symbol] = code;
                code = code.wrapping_add(1);
            }
        }
        let bit = |symbol: usize, n: u8| codes[symbol] >> (LENGTHS[symbol] - 1 - n) & 1 == 1;
        let all = |&b: &u8| (0..LENGTHS[usize::from(b)]).map(move |n| bit(b.into(), n));
        let bits: Vec<bool> = string.iter().flat_map(all).collect();
        bits.chunks(8)
            .map(|byte| (0..8).fold(0, |sum, n| sum << 1 | u8::from(byte.get(n) != Some(&false))))
            .collect()
    }

    #[test]
    fn the_code_is_complete() {
        let kraft: u64 = LENGTHS.iter().map(|&length| 1_u64 << (LONGEST - usize::from(length))).sum();
        assert_eq!(kraft, 1 << LONGEST);
    }

    #[test]
    fn padding_and_end() {
        let decoded = |bytes: &[u8]| {
            let mut out = Vec::new();
            decode(bytes, &mut out).map(|()| out)
        };
        assert_eq!(decoded(b""), Some(Vec::new()));
        assert_eq!(decoded(&[0x07]), Some(b"0".to_vec()));
        assert_eq!(decoded(&[0x00]), None, "padding of zeros");
        assert_eq!(decoded(&[0x07, 0xFF]), None, "a byte of padding");
        assert_eq!(decoded(&[0xFF; 4]), None, "the end symbol");
    }
}
