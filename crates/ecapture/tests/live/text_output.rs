//! Text, as a person reads it: shape, dumps, escapes, colours, files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::capture::{ECAPTURE, clean, ecapture};
use crate::http::answer;
use crate::lab::{Lab, Server, target};
use crate::pattern::assert_same;
use crate::process::{Finished, Running};
use crate::record;

/// `ecapture tls` on the library of a lab, when it captures.
fn start(lab: &Lab, arguments: &[&str]) -> Running {
    wait_until_ready(Running::start(ecapture().arg("tls").arg("--libssl").arg(&lab.libssl).args(arguments)))
}

fn wait_until_ready(running: Running) -> Running {
    running.error_line("\"capturing\"", |line| line.contains(" capturing: ").then_some(()));
    running
}

#[track_caller]
fn stop(running: Running) -> Finished {
    running.signal(Signal::INT);
    running.finish().succeeded()
}

/// One exchange of the test programs; answers the client's process id.
fn exchange(lab: &Lab, server: &Server) -> u32 {
    lab.client(server.port, "/bytes/200/7", &[])
}

/// The header lines of a process.
fn headers(text: &str, pid: u32) -> Vec<&str> {
    text.lines().filter(|line| line.contains(&format!(" PID:{pid}, "))).collect()
}

/// Name and value of each field behind the time.
fn fields(header: &str) -> Vec<(&str, &str)> {
    let (_, rest) = header.split_once(' ').expect("a time");
    rest.strip_suffix(',')
        .expect("a comma at the end")
        .split(", ")
        .map(|field| field.split_once(':').expect("name:value"))
        .collect()
}

#[test]
fn headers_and_payloads() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = start(&lab, &[]);
    let pid = exchange(&lab, &server);
    let text = stop(capture).text();
    let headers = headers(&text, pid);
    assert_eq!(headers.len(), 2, "{text}");
    let (request, response) = (fields(headers[0]), fields(headers[1]));
    let names: Vec<&str> = request.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["PID", "Comm", "Src", "Dest", "TID", "UID", "FD", "Dir", "Type", "Length"]);
    let value = |fields: &[(&str, &str)], name: &str| {
        fields.iter().find(|field| field.0 == name).expect("a field").1.to_owned()
    };
    assert_eq!(value(&request, "Comm"), "tls_client");
    assert_eq!(value(&request, "Dest"), format!("127.0.0.1:{}", server.port));
    assert_eq!(value(&request, "Src"), value(&response, "Dest"));
    assert_eq!((value(&request, "Dir"), value(&request, "Type")), ("sent".into(), "HTTP/1.1 request".into()));
    assert_eq!(
        (value(&response, "Dir"), value(&response, "Type")),
        ("received".into(), "HTTP/1.1 response".into())
    );
    assert_eq!(value(&response, "Length"), answer(7, 200).len().to_string());
    let time: jiff::Timestamp = headers[0].split_once(' ').expect("a time").0.parse().expect("RFC 3339");
    assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 60);
    // The payload follows its header.
    let shown = String::from_utf8(answer(7, 200)).expect("text");
    assert!(text.contains(&format!("{}\n{shown}", headers[1])), "{text}");
}

#[test]
fn streams_and_latency_of_http_2() {
    let lab = Lab::new();
    let nginx = lab.nginx("http2");
    lab.file("www/page", "text");
    let capture = start(&lab, &[]);
    let (pid, _) = lab.curl(&["--http2", &format!("https://127.0.0.1:{}/page", nginx.port)]);
    let text = stop(capture).text();
    let headers = headers(&text, pid);
    assert_eq!(headers.len(), 2, "{text}");
    let shown = |header| -> Vec<(&str, &str)> {
        fields(header).into_iter().filter(|(name, _)| ["Type", "Stream", "Latency"].contains(name)).collect()
    };
    assert_eq!(shown(headers[0]), [("Type", "HTTP/2 request"), ("Stream", "1")]);
    let [("Type", "HTTP/2 response"), ("Stream", "1"), ("Latency", latency)] = shown(headers[1])[..] else {
        panic!("{text}")
    };
    let latency: f64 = latency.strip_suffix("ms").expect("a unit").parse().expect("a number");
    assert!((0.0..20_000.0).contains(&latency));
    assert!(
        text.contains("\n:method: GET\r\n:path: /page\r\n") && text.contains("\n:status: 200\r\n"),
        "{text}"
    );
}

/// The bytes that a hex dump shows.
fn undump(text: &str) -> Vec<u8> {
    let rows = text.lines().filter(|line| line.ends_with('|') && line.as_bytes().get(8) == Some(&b' '));
    rows.flat_map(|row| {
        let hex = &row[9..row.find('|').expect("a bar")];
        hex.split_ascii_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
            .collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn hex_on_request() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = start(&lab, &["--hex", "--comm", "tls_client"]);
    let pid = exchange(&lab, &server);
    let text = stop(capture).text();
    let response = text.rsplit_once(headers(&text, pid)[1]).expect("a header").1;
    assert_same(&undump(response), &answer(7, 200), "the dump");
    assert!(text.contains("|HTTP/1.1 200 OK.|"), "{text}");
}

/// Sends the file `say` to every client and waits until that has closed.
const TALKER: &str = r#"
import socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
listener = socket.create_server(('127.0.0.1', 0))
print('ready', listener.getsockname()[1], flush=True)
while True:
    connection = context.wrap_socket(listener.accept()[0], server_side=True)
    connection.sendall(open('say', 'rb').read())
    connection.recv(1)
    connection.close()
"#;

/// What ecapture writes when a server says this.
fn shown_when_said(what: &[u8]) -> Vec<u8> {
    let lab = Lab::new();
    lab.file("say", what);
    let server = lab.python_server(TALKER);
    let capture = start(&lab, &["-p", &server.running.pid().to_string()]);
    // It closes when its input ends.
    let address = format!("127.0.0.1:{}", server.port);
    Running::start(lab.command("openssl").args(["s_client", "-connect", &address])).finish();
    stop(capture).stdout
}

#[test]
fn binary_is_dumped() {
    let said: Vec<u8> = (0..=255).rev().cycle().take(1000).collect();
    let text = String::from_utf8(shown_when_said(&said)).expect("UTF-8");
    assert_same(&undump(&text), &said, "the dump");
}

/// Fails when a character is in it that a terminal might obey. CR LF is an end of line as any other.
#[track_caller]
fn assert_harmless(output: &[u8]) {
    let text = std::str::from_utf8(output).expect("UTF-8").replace("\r\n", "\n");
    let obeyed = text.chars().find(|character| character.is_control() && !"\n\t".contains(*character));
    assert_eq!(obeyed, None, "{text:?}");
}

#[test]
fn control_characters_are_escaped() {
    let plain = "words that are plain enough for a text. ".repeat(10);
    let said = format!("{plain}\x1b]0;title\x07\x1b[2J\u{9b}31m\x08\x7f\r\rend\n");
    let shown = shown_when_said(said.as_bytes());
    assert_harmless(&shown);
    let text = String::from_utf8(shown).expect("UTF-8");
    assert!(text.contains("\\x1b]0;title\\x07\\x1b[2J\\xc2\\x9b31m\\x08\\x7f\\r\\rend"), "{text}");
}

#[test]
fn control_characters_in_http_are_escaped() {
    let mut said = b"HTTP/1.1 200 \x1b[31mOK\r\nX-Evil: \x07\x1b[5m\r\nContent-Length: 200\r\n\r\n".to_vec();
    said.extend(b"\xff\xfe\x9b2J\x1b[8m plain words \xc3\x28");
    said.resize(said.len() + 200 - 26, b'.');
    let shown = shown_when_said(&said);
    assert_harmless(&shown);
    assert!(!shown.is_empty());
}

#[test]
fn control_characters_in_names_are_escaped() {
    let lab = Lab::new();
    let evil = lab.path("\x1b[31mevil\x07");
    fs::create_dir(&evil).expect("a directory");
    let program = evil.join("\x1b[2Jname");
    fs::copy(target("tls_client"), &program).expect("copy a program");
    let socket = evil.join("socket\r\n");
    let server = Running::start(lab.command(target("tls_server")).arg("--unix").arg(&socket));
    server.line("\"ready\"", |line| line.starts_with("ready ").then_some(()));
    let library = evil.join("libssl.so.3");
    fs::rename(&lab.libssl, &library).expect("rename");
    let capture = wait_until_ready(Running::start(ecapture().arg("tls").arg("--libssl").arg(&library)));
    let mut client = lab.command(&program);
    client.env("LD_LIBRARY_PATH", &evil).arg("--unix").arg(&socket).arg("/bytes/64/7");
    Running::start(&mut client).finish().succeeded();
    let finished = stop(capture);
    assert!(finished.text().contains("PID:"), "{}", finished.text());
    assert_harmless(&finished.stdout);
    assert_harmless(finished.stderr.as_bytes());
}

#[test]
fn a_limit_on_what_is_shown() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = start(&lab, &["--tsize", "30", "--comm", "tls_client"]);
    let pid = lab.client(server.port, "/bytes/200000/7", &[]);
    let text = stop(capture).text();
    let response = text.rsplit_once(headers(&text, pid)[1]).expect("a header").1;
    let shown = String::from_utf8(answer(7, 200_000)[..30].to_vec()).expect("text");
    assert!(response.starts_with(&format!("\n{shown}")), "{response}");
    assert!(!response.contains("L0007"), "{response}");
    assert!(response.contains("more bytes"), "{response}");
}

/// Runs a command on a terminal of its own; answers what the terminal got.
fn on_a_terminal(
    lab: &Lab,
    extra: &[&str],
    environment: &[(&str, &str)],
    traffic: &dyn Fn() -> u32,
) -> String {
    let typescript = lab.path("typescript");
    let mut shell = vec!["exec", ECAPTURE, "tls", "--libssl", lab.libssl.to_str().expect("UTF-8")];
    shell.extend(extra);
    let mut command = Command::new("script");
    clean(&mut command);
    // Without a terminal as its own input, `script` would end with it.
    command.args(["-qfec", &shell.join(" ")]).arg(&typescript).envs(environment.iter().copied());
    let mut running = Running::start_with_input(command.stdin(std::process::Stdio::piped()));
    let mut input = running.input();
    running.line("\"capturing\"", |line| line.contains("capturing: ").then_some(()));
    traffic();
    if extra.is_empty() {
        // The terminal throws away what nobody has read when Ctrl-C comes.
        running.line("a response", |line| line.contains("response").then_some(()));
    }
    crate::lab::say(&mut input, "\x03"); // Ctrl-C
    running.finish().succeeded().text()
}

#[test]
fn colours_only_where_wanted() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let coloured = on_a_terminal(&lab, &[], &[], &|| exchange(&lab, &server));
    assert!(coloured.contains("PID:") && coloured.contains("\x1b[3"), "{coloured:?}");
    let plain = on_a_terminal(&lab, &[], &[("NO_COLOR", "1")], &|| exchange(&lab, &server));
    assert!(plain.contains("PID:") && !plain.contains('\x1b'), "{plain:?}");
    let file = lab.path("in-a-file");
    on_a_terminal(&lab, &["-o", file.to_str().expect("UTF-8")], &[], &|| exchange(&lab, &server));
    let text = fs::read_to_string(file).expect("a file");
    assert!(text.contains("PID:") && !text.contains('\x1b'), "{text:?}");
}

#[test]
fn no_colours_in_a_pipe() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let capture = start(&lab, &[]);
    exchange(&lab, &server);
    let finished = stop(capture);
    assert!(!finished.text().contains('\x1b') && !finished.stderr.contains('\x1b'));
}

fn option(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn files_for_output_and_log() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let [output, events, log]: [PathBuf; 3] = ["output", "events", "log"].map(|name| lab.path(name));
    let capture = start(
        &lab,
        &["--output_file", &option(&output), "--eventaddr", &option(&events), "--logaddr", &option(&log)],
    );
    let pid = exchange(&lab, &server);
    let finished = stop(capture);
    assert_eq!(finished.text(), "", "everything goes to the file");
    let text = fs::read_to_string(&output).expect("a file");
    assert_eq!(headers(&text, pid).len(), 2);
    assert_eq!(fs::read_to_string(&events).expect("a file"), text);
    let log = fs::read_to_string(&log).expect("a file");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()), "{log}");
    for words in ["attached ", "capturing: ", "summary: "] {
        assert!(
            lines.iter().any(|line| line["message"].as_str().expect("text").starts_with(words)),
            "{words} in {log}"
        );
    }
    // Plaintext may be secret.
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&output).expect("a file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_log_without_another_place_gets_the_events_too() {
    let lab = Lab::new();
    let server = lab.server(&[]);
    let log = lab.path("log");
    let capture = start(&lab, &["-l", &option(&log)]);
    let pid = exchange(&lab, &server);
    let text = stop(capture).text();
    assert_eq!(headers(&text, pid).len(), 2, "standard output as well");
    let records = record::parse(&fs::read_to_string(&log).expect("a file"));
    let events = records.only(|record| record.has("pid") && record.pid() == pid);
    assert_same(&events.both_ways().1, &answer(7, 200), "the answer in the log");
    assert!(records.0.iter().any(|record| record.text("message").starts_with("summary: ")));
}
