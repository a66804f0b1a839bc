#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::{Field, Hpack};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// All fields of a block; unknown names and values are `?`.
fn decode(hpack: &mut Hpack, block: &[u8]) -> Option<Fields> {
    let mut fields = Vec::new();
    let known = |part: Option<&[u8]>| part.unwrap_or(b"?").to_vec();
    hpack.block(block, |Field { name, value }| fields.push((known(name), known(value))))?;
    Some(fields)
}

fn lines(fields: &Fields) -> String {
    let line = |(name, value): &(Vec<u8>, Vec<u8>)| {
        format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    fields.iter().map(line).collect()
}

const REQUESTS: [&str; 3] = [
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
    ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
    ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n",
];
const RESPONSES: [&str; 3] = [
    ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
    ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
    ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n\
     content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
];

/// RFC 7541, C.3 to C.6; the responses are for a table of 256 bytes.
#[test]
fn the_examples_of_the_rfc() {
    let requests = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded_requests = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let responses = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
         2076 6572 7369 6f6e 3d31",
    ];
    let coded_responses = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for (blocks, expected, size) in [
        (requests, REQUESTS, None),
        (coded_requests, REQUESTS, None),
        (responses, RESPONSES, Some(256)),
        (coded_responses, RESPONSES, Some(256)),
    ] {
        let mut hpack = Hpack::new();
        size.into_iter().for_each(|size| hpack.table.resize(size));
        for (block, expected) in blocks.iter().zip(expected) {
            assert_eq!(lines(&decode(&mut hpack, &hex(block)).unwrap()), expected);
        }
    }
}

#[test]
fn what_was_said_before_is_unknown_and_nothing_else() {
    let mut hpack = Hpack::joined();
    // A literal with an unknown name goes into the table; the entry behind it is unknown.
    let fields = decode(&mut hpack, &[0x82, 0x7F, 10, 1, b'v', 0xBE, 0xBF]).unwrap();
    assert_eq!(lines(&fields), ":method: GET\n?: v\n?: v\n?: ?\n");
}

#[test]
fn a_resize_drops_the_oldest() {
    let mut hpack = Hpack::new();
    decode(&mut hpack, &[0x40, 1, b'a', 1, b'1', 0x40, 1, b'b', 1, b'2']).unwrap();
    // Room for one entry of 34 bytes.
    assert_eq!(lines(&decode(&mut hpack, &[0x3F, 9, 0xBE, 0xBF]).unwrap()), "b: 2\n?: ?\n");
}

#[test]
fn malformed_blocks() {
    let blocks: [&[u8]; 6] = [
        &[0x80],
        &[0x40],
        &[0x40, 2, b'a'],
        &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        &[0x40, 0x81, 0, 0],
        &[0xFF],
    ];
    for block in blocks {
        assert_eq!(decode(&mut Hpack::new(), block), None, "{block:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut hpack = Hpack::joined();
    let block = [&[0x40, 1, b'a', 0x7F, 0x81, 0x1E][..], &[b'x'; 3968]].concat();
    for _ in 0..100 {
        decode(&mut hpack, &block).unwrap();
    }
    assert!(hpack.table.size() <= 64 << 10);
}

/// A field as an index into the static table, or a literal with or without its name and its code.
fn form() -> impl Strategy<Value = Vec<u8>> {
    let string = |text: String, coded: bool| match coded {
        true => {
            let code = super::huffman::tests::encode(text.as_bytes());
            [&[0x80 | code.len() as u8][..], &code].concat()
        }
        false => [&[text.len() as u8][..], text.as_bytes()].concat(),
    };
    // At most 19 bits for each of these characters: no length needs a second byte.
    (0..4_u8, 15..=61_u8, "[a-z-]{1,40}", "[ -~]{0,40}", any::<bool>()).prop_map(
        move |(form, index, name, value, coded)| match form {
            0 => vec![0x80 | index],
            1 => [vec![0x40], string(name, coded), string(value, coded)].concat(),
            2 => [vec![0x10], string(name, coded), string(value, !coded)].concat(),
            _ => [vec![0x0F, index - 15], string(value, coded)].concat(),
        },
    )
}

proptest! {
    /// The same as another implementation makes of it, and reads.
    #[test]
    fn agrees_with_fluke_hpack(lists in prop::collection::vec(prop::collection::vec(("[a-c:]{1,4}|:method|cookie", "[ -~]{0,60}"), 0..20), 1..8)) {
        let (mut encoder, mut hpack) = (fluke_hpack::Encoder::new(), Hpack::new());
        for list in lists {
            let fields: Fields = list.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            let block = encoder.encode(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
            prop_assert_eq!(decode(&mut hpack, &block), Some(fields));
        }
    }

    /// All forms of fields, which the encoder there does not write.
    #[test]
    fn reads_what_fluke_hpack_reads(blocks in prop::collection::vec(prop::collection::vec(form(), 0..20), 1..8)) {
        let (mut decoder, mut hpack) = (fluke_hpack::Decoder::new(), Hpack::new());
        for block in blocks {
            let block = block.concat();
            prop_assert_eq!(decode(&mut hpack, &block), decoder.decode(&block).ok());
        }
    }

    #[test]
    fn every_string_survives_its_code(string in prop::collection::vec(any::<u8>(), 0..200)) {
        let coded = super::huffman::tests::encode(&string);
        let mut out = Vec::new();
        prop_assert_eq!(super::huffman::decode(&coded, &mut out), Some(()));
        prop_assert_eq!(out, string);
    }
}
