//! `--with-plaintext`: tshark shows what programs said without any key.

use std::fs;
use std::path::{Path, PathBuf};

use crate::capture::ecapture;
use crate::network::{End, Network};
use crate::packet_capture::{PacketCapture, fetch, fields, lab, serve, serve_http2, url};
use crate::process::Running;

/// A copy of a capture without its secrets.
fn without_keys(file: &Path) -> PathBuf {
    const SECRETS: u32 = 10;
    let capture = fs::read(file).expect("a capture");
    let (mut rest, mut kept) = (&capture[..], Vec::new());
    while let Some([kind, length]) = rest.as_chunks::<4>().0.first_chunk::<2>() {
        let (block, after) = rest.split_at(u32::from_ne_bytes(*length) as usize);
        if u32::from_ne_bytes(*kind) != SECRETS {
            kept.extend_from_slice(block);
        }
        rest = after;
    }
    assert!(kept.len() < capture.len(), "there were no secrets");
    let path = file.with_extension("without_keys");
    fs::write(&path, kept).expect("write a file");
    path
}

/// Of packets or of plaintext.
fn shown(file: &Path, place: &str, what: &str, names: &[&str]) -> Vec<String> {
    fields(file, &format!("frame.interface_name == \"{place}\" && ({what})"), names)
}

#[test]
fn requests_and_responses_are_there_without_keys() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::Here);
    lab.file("big", "0123456789\n".repeat(30_000));
    let capture = PacketCapture::start(&lab, &network, &["-i", "lo", "--with-plaintext"]);
    let file = capture.path.clone();
    let page = url("127.0.0.1", server.port, "page");
    let mut pids = vec![server.running.pid()];
    pids.push(fetch(&lab, &network, &page, &["--http1.1", &page, "--tls-max", "1.2"]));
    pids.push(fetch(&lab, &network, &url("::1", server.port, "big"), &["-o", "/dev/null"]));
    capture.stop();

    let names = ["http.request.method", "http.request.uri", "http.response.code"];
    let expected = ["GET\t/page\t", "\t\t200", "GET\t/page\t", "\t\t200", "GET\t/big\t", "\t\t200"];
    let all = "http.request || http.response";
    assert_eq!(shown(&file, "plaintext", all, &names), expected);
    let bare = without_keys(&file);
    assert_eq!(shown(&bare, "plaintext", all, &names), expected);
    assert_eq!(fields(&bare, "frame.interface_name == \"lo\" && http", &["frame.number"]), [""; 0]);

    // Each message with who said it to whom, once, though both ends are captured.
    let ends = ["exported_pdu.src_port", "exported_pdu.dst_port", "ip.src", "ipv6.src"];
    let requests = shown(&bare, "plaintext", "http.request", &ends);
    assert_eq!(requests.len(), 3);
    for (request, address) in requests.iter().zip(["127.0.0.1\t", "127.0.0.1\t", "\t::1"]) {
        assert!(request.ends_with(&format!("\t4433\t{address}")), "{request}");
    }
    let comments = shown(&bare, "plaintext", "frame.comment", &["frame.comment"]);
    let is_known = |comment: &String| pids.iter().any(|pid| comment.starts_with(&format!("pid={pid} comm=")));
    assert!(comments.len() == 3 && comments.iter().all(is_known), "{comments:?}");
    let bytes: usize = shown(&bare, "plaintext", "exported_pdu", &["exported_pdu.exported_pdu"])
        .iter()
        .map(|hex| hex.len() / 2)
        .sum();
    assert!((330_000 + 18..332_000).contains(&bytes), "{bytes}");
}

/// Fields of HTTP/2 refer to earlier ones of their connection, and both kinds of packets have them.
#[test]
fn http2_is_the_same_in_packets_and_in_plaintext() {
    let (lab, network) = (lab(), Network::new());
    let server = serve_http2(&lab, &network);
    let capture = PacketCapture::start(&lab, &network, &["-i", "lo", "--with-plaintext"]);
    let file = capture.path.clone();
    let page = url("127.0.0.1", server.port, "page");
    let next = |field| ["--next", "-sk", "--noproxy", "*", "-H", field, &page];
    let more = [next("x-two: b"), next("x-one: a"), next("x-two: b")].concat();
    fetch(&lab, &network, &page, &[&["-H", "x-one: a"][..], &[page.as_str()], &more].concat());
    capture.stop();
    let names = ["http2.header.name", "http2.header.value"];
    let of = |file: &Path, place| shown(file, place, "http2.headers.method", &names);
    let in_packets = of(&file, "lo");
    assert_eq!(in_packets.len(), 5);
    assert!(in_packets[1].contains(",x-two\t") && in_packets[4].ends_with(",b"), "{in_packets:?}");
    assert_eq!(of(&file, "plaintext"), in_packets);
    assert_eq!(of(&without_keys(&file), "plaintext"), in_packets);
}

#[test]
fn it_needs_a_capture_of_packets_and_hides_nothing() {
    for (arguments, expected) in [
        (&[][..], "--with-plaintext: only -m pcapng"),
        (&["-m", "pcapng", "-i", "lo", "--redact"], "--with-plaintext: bytes as they were"),
    ] {
        let refused = Running::start(ecapture().args(["tls", "--with-plaintext"]).args(arguments)).finish();
        assert_eq!(refused.code(), 1);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
}
