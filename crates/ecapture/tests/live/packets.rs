//! Packets of a connection, and what Wireshark reads in them with a key log.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::lab::Lab;
use crate::process::{Running, output_of, wait_for};

/// Packets that go to and from a port of this machine, as they come.
pub struct Packets {
    dumpcap: Running,
    path: PathBuf,
    port: u16,
}

impl Packets {
    /// Begins; returns when it captures.
    pub fn of(lab: &Lab, port: u16) -> Self {
        let path = lab.path("packets.pcapng");
        let mut dumpcap = Command::new("dumpcap");
        dumpcap.args(["-q", "-i", "lo", "-f", &format!("tcp port {port}"), "-w"]).arg(&path);
        let dumpcap = Running::start(&mut dumpcap);
        dumpcap.error_line("\"File:\"", |line| line.starts_with("File: ").then_some(()));
        Self { dumpcap, path, port }
    }

    /// Waits until tshark shows a request for `path` with this key log; without it there is none.
    #[track_caller]
    pub fn assert_request(self, path: &str, keys: &Path) {
        let with_keys = format!("tls.keylog_file:{}", keys.display());
        // Packets reach the file a little later.
        wait_for("the request in the packets", || {
            self.requests(&["-o", &with_keys]).lines().any(|line| line.trim() == path).then_some(())
        });
        assert_eq!(self.requests(&[]), "");
        self.dumpcap.signal(Signal::INT);
        self.dumpcap.finish();
    }

    /// Paths of requests of HTTP/1 and HTTP/2, one to a line.
    fn requests(&self, more: &[&str]) -> String {
        let (tcp, tls) = (format!("tcp.port=={},tls", self.port), format!("tls.port=={},http", self.port));
        let decode = ["-r", self.path.to_str().expect("UTF-8"), "-d", &tcp, "-d", &tls];
        let filter = ["-Y", "http.request or http2.headers.path", "-T", "fields"];
        let fields = ["-e", "http.request.uri", "-e", "http2.headers.path"];
        output_of("tshark", &[&decode[..], &filter, &fields, more].concat())
    }
}
