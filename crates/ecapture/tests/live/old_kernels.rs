//! The paths of older kernels, run on this one: features are turned off by name.

use std::ffi::OsStr;

use crate::capture::{Capture, ecapture};
use crate::lab::Lab;
use crate::pattern::{self, assert_same};
use crate::record::{RECEIVED, SENT};

/// An exchange of curl and nginx without a feature; `addresses`: whether they can be known then.
#[track_caller]
fn without(feature: &str, addresses: bool) {
    let lab = Lab::new();
    let nginx = lab.nginx("");
    let body = pattern::body(6, 70_000);
    lab.file("www/page", &body);
    let mut command = ecapture();
    command.env("ECAPTURE_DISABLE_FEATURES", feature);
    let capture = Capture::with(command, [OsStr::new("--libssl"), lab.libssl.as_os_str()]);
    let (curl, finished) =
        lab.curl(&["-w", "%{local_port}", "-o", "got", &format!("https://127.0.0.1:{}/page", nginx.port)]);
    let captured = capture.stop();
    assert_eq!(
        (captured.code, captured.summary().get("lost"), captured.summary().get("gaps")),
        (0, 0, 0),
        "{}",
        captured.stderr
    );
    let (client, server) = (captured.records.of(curl), captured.records.of(nginx.running.pid()));
    let (asked, answered) = client.both_ways();
    assert!(asked.starts_with(b"GET /page HTTP/1.1\r\n") && asked.ends_with(b"\r\n\r\n"));
    assert_same(&answered[answered.len() - body.len()..], &body, "the body at curl");
    let (server_answered, server_asked) = server.both_ways();
    assert_same(&server_asked, &asked, "the request at nginx");
    assert_same(&server_answered, &answered, "the answer at nginx");
    let local = format!("127.0.0.1:{}", finished.text());
    // Without tracepoints sockets need fentry, which not every kernel has; then it is said.
    let unseen = captured.stderr.contains("this kernel lets no program watch sockets");
    assert!(!unseen || feature == "socket_tracepoints", "{}", captured.stderr);
    if addresses && !unseen {
        assert_eq!(
            (client.way(SENT).same("src"), server.way(RECEIVED).same("src")),
            (&local.clone().into(), &local.into())
        );
    } else {
        assert!(captured.records.0.iter().all(|record| !record.has("src") && !record.has("dst")));
    }
}

#[test]
fn everything() {
    without("", true);
}

#[test]
fn before_sessions() {
    without("uprobe_session", true);
}

#[test]
fn before_multi_links() {
    without("uprobe_multi", true);
}

#[test]
fn before_socket_tracepoints() {
    without("socket_tracepoints", true);
}

#[test]
fn before_task_storage_and_loops() {
    without("modern", true);
}

#[test]
fn before_cookies() {
    without("cookie", true);
}

#[test]
fn without_btf() {
    without("btf", false);
}

#[test]
fn before_nearly_everything() {
    without("cookie,uprobe_multi,uprobe_session,socket_tracepoints,modern,btf", false);
}

#[test]
fn an_unknown_name_is_refused() {
    let mut command = ecapture();
    command.env("ECAPTURE_DISABLE_FEATURES", "warp_drive");
    let captured = crate::process::Running::start(command.arg("tls")).finish();
    assert_eq!(captured.code(), 1);
    assert!(
        captured.stderr.contains("warp_drive") && captured.stderr.contains("uprobe_multi"),
        "{}",
        captured.stderr
    );
}
