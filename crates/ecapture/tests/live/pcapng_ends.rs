//! `-m pcapng`: trouble with files, interfaces and rights; other captures beside it.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::capture::ecapture;
use crate::lab::Lab;
use crate::network::{CABLE, End, Network, THERE};
use crate::packet_capture::{PacketCapture, count, fetch, is_attached, lab, links, pcapng, serve, url};
use crate::process::{Running, output_of, wait_for};

#[test]
fn a_full_disk_ends_it() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    lab.file("big", vec![b'x'; 2 << 20]);
    let small = lab.path("small");
    fs::create_dir(&small).expect("a directory");
    let capture = pcapng(&lab, &["-i", CABLE, "-w", "small/capture.pcapng"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs -o size=512k none \"$0\" && exec \"$@\""]);
    command.arg(&small).arg(capture.get_program()).args(capture.get_args()).current_dir(lab.path("."));
    let capture = Running::start(&mut network.at(End::Here, &command));
    capture.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    let links = links(capture.pid());
    assert_eq!(links.len(), 2);
    fetch(&lab, &network, &url(THERE[0], server.port, "big"), &["-o", "/dev/null"]);
    let ended = capture.finish();
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("small/capture.pcapng: No space left on device"), "{}", ended.stderr);
    for (link, _) in links {
        wait_for("the end of a link", || (!is_attached(link)).then_some(()));
    }
}

#[test]
fn a_file_that_can_not_be_written() {
    let (lab, network) = (lab(), Network::new());
    for (file, expected) in [
        ("/dev/full", "write to /dev/full: No space left on device"),
        ("missing/capture.pcapng", "write to missing/capture.pcapng: No such file or directory"),
    ] {
        let capture = pcapng(&lab, &["-i", CABLE, "-w", file]);
        let refused = Running::start(&mut network.at(End::Here, &capture)).finish();
        assert_eq!(refused.code(), 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
}

#[test]
fn without_the_right_to_capture() {
    let (lab, network) = (lab(), Network::new());
    for (right, arguments) in [("net_admin", &["-i", CABLE][..]), ("net_raw", &["-i", CABLE, "tcp"])] {
        let capture = pcapng(&lab, arguments);
        let mut command = Command::new("setpriv");
        command.arg(format!("--bounding-set=-{right}")).arg(capture.get_program()).args(capture.get_args());
        let refused = Running::start(&mut network.at(End::Here, &command)).finish();
        assert_eq!(refused.code(), 1, "{}", refused.stderr);
        let missing = format!("CAP_{} is missing", right.to_uppercase());
        assert!(refused.stderr.contains(&missing), "{}", refused.stderr);
    }
}

#[test]
fn an_interface_that_goes_down_and_up() {
    let (lab, network) = (lab(), Network::new());
    let server = serve(&lab, &network, End::There);
    let link = |state| output_of("ip", &["-n", network.name(End::Here), "link", "set", CABLE, state]);
    link("down");
    let capture = PacketCapture::start(&lab, &network, &["-i", CABLE]);
    let path = capture.path.clone();
    let page = url(THERE[0], server.port, "page");
    for requests in 1..=2 {
        link("up");
        fetch(&lab, &network, &page, &["--retry", "9", "--retry-all-errors"]);
        wait_for("packets in the file", || (count(&path, "http.response") == requests).then_some(()));
        link("down");
    }
    let ended = capture.stop();
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
}

/// Two at the same interface, and tcpdump beside them; the first ends before the others.
#[test]
fn captures_do_not_disturb_each_other() {
    let (lab, network, other) = (lab(), Network::new(), Lab::new());
    let server = serve(&lab, &network, End::There);
    let theirs = lab.path("tcpdump.pcap");
    let mut tcpdump = Command::new("tcpdump");
    tcpdump.args(["-i", CABLE, "--immediate-mode", "-U", "-Z", "root", "-w"]).arg(&theirs).arg("tcp");
    let tcpdump = Running::start(&mut network.at(End::Here, &tcpdump));
    tcpdump.error_line("\"listening\"", |line| line.contains("listening on").then_some(()));
    let first = PacketCapture::start(&lab, &network, &["-i", CABLE, "tcp"]);
    let second = PacketCapture::with(&other, &network, pcapng(&lab, &["-i", CABLE, "tcp"]));
    let [first_path, second_path] = [&first.path, &second.path].map(Clone::clone);
    let page = url(THERE[0], server.port, "page");
    fetch(&lab, &network, &page, &[]);
    let attached = [links(first.running.pid()), links(second.running.pid())].concat();
    assert_eq!(attached.len(), 4);
    first.stop();
    fetch(&lab, &network, &page, &[]);
    second.stop();
    tcpdump.signal(Signal::INT);
    tcpdump.finish().succeeded();
    assert_eq!((count(&first_path, "http.request"), count(&second_path, "http.request")), (1, 2));
    assert_eq!(count(&second_path, "frame"), count(&theirs, "frame"));
    assert!(attached.iter().all(|(link, _)| !is_attached(*link)));
    for kind in ["qdisc", "filter"] {
        let left = output_of("tc", &["-n", network.name(End::Here), kind, "show", "dev", CABLE]);
        assert!(!left.contains("clsact") && !left.contains("bpf"), "{left}");
    }
}

#[test]
fn the_file_of_each_command_has_the_same_default() {
    let (lab, network) = (lab(), Network::new());
    for command in ["tls", "gnutls", "gotls"] {
        let file = lab.path("ecapture_openssl.pcapng");
        let mut capture = ecapture();
        capture.current_dir(lab.path(".")).args([command, "-m", "pcap", "-i", "lo"]);
        let capture = Running::start(&mut network.at(End::Here, &capture));
        capture.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
        capture.signal(Signal::INT);
        capture.finish().succeeded();
        assert_eq!(count(&file, "frame"), 0, "{command}");
        fs::remove_file(file).expect("a file");
    }
}
