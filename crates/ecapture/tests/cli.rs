//! The command line, without rights: help, exit codes, bad arguments, facts about files.

use std::fs;

use assert_cmd::Command;
use serde_json::Value;

/// `ecapture`, with a width of help that does not depend on the terminal.
fn ecapture(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ecapture"));
    command.args(arguments).env("COLUMNS", "100").env_remove("ECAPTURE_DISABLE_FEATURES");
    command
}

/// What it prints when it succeeds.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = ecapture(arguments).assert().success();
    assert_eq!(output.get_output().stderr, b"");
    String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8")
}

/// What it says when it does not start.
#[track_caller]
fn refused(arguments: &[&str]) -> String {
    let output = ecapture(arguments).assert().code(1);
    assert_eq!(output.get_output().stdout, b"", "{arguments:?}");
    String::from_utf8(output.get_output().stderr.clone()).expect("UTF-8")
}

#[test]
fn help() {
    insta::assert_snapshot!("help", printed(&["--help"]));
}

#[test]
fn short_help() {
    insta::assert_snapshot!("short_help", printed(&["-h"]));
}

#[test]
fn help_of_tls() {
    insta::assert_snapshot!("help_of_tls", printed(&["tls", "--help"]));
}

#[test]
fn help_of_shells_and_servers() {
    for command in ["bash", "zsh", "shell", "mysqld", "postgres"] {
        // What every command has is in that of `tls`.
        let help = printed(&[command, "--help"]);
        let (own, _) = help.split_once("Global options:").expect("global options");
        insta::assert_snapshot!(format!("help_of_{command}"), own);
    }
}

#[test]
fn help_of_inspect() {
    insta::assert_snapshot!("help_of_inspect", printed(&["inspect", "--help"]));
}

#[test]
fn no_command_shows_the_help() {
    assert_eq!(printed(&[]), printed(&["-h"]));
}

#[test]
fn version() {
    assert_eq!(printed(&["--version"]), format!("ecapture {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn other_names_of_commands() {
    let help = printed(&["tls", "--help"]);
    for name in ["openssl", "open"] {
        assert_eq!(printed(&[name, "--help"]), help, "{name}");
    }
    assert_eq!(printed(&["help", "tls"]), help);
    assert_eq!(printed(&["tlsgo", "--help"]), printed(&["gotls", "--help"]));
}

#[test]
fn unknown_things_are_named() {
    let cases: [(&[&str], &str); 4] = [
        (&["fly"], "'fly'"),
        (&["tls", "--nope"], "'--nope'"),
        (&["tls", "--format", "yaml"], "'yaml'"),
        (&["tls", "-m", "wrong"], "'wrong'"),
    ];
    for (arguments, words) in cases {
        let message = refused(arguments);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let cases: [&[&str]; 12] = [
        &["tls", "--mapsize", "0"],
        &["tls", "--mapsize", "63"],
        &["tls", "--mapsize", "1048577"],
        &["tls", "--mapsize", "many"],
        &["tls", "--btf", "3"],
        &["tls", "-p", "-1"],
        &["tls", "-p", "one"],
        &["tls", "-p", "4294967296"],
        &["tls", "-u", "root"],
        &["tls", "--tsize", "-5"],
        &["tls", "--libssl"],
        &["tls", "--hex=maybe"],
    ];
    for arguments in cases {
        let message = refused(arguments);
        let option = arguments[1].split('=').next().expect("an option");
        let value = arguments.last().expect("a value");
        assert!(message.starts_with("error: "), "{message}");
        assert!(message.contains(option) || message.contains(value), "{message}");
    }
}

#[test]
fn options_go_before_and_after_the_command() {
    // Refused for their value, which both places know.
    assert!(refused(&["-p", "4194304", "tls"]).contains("--pid 4194304"));
    assert!(refused(&["tls", "-p", "4194304"]).contains("--pid 4194304"));
    assert!(
        refused(&["tls", "--output-file", "/", "--cgroup-path", "/", "-p", "4194304"])
            .contains("--pid 4194304")
    );
}

#[test]
fn a_process_that_does_not_exist() {
    for arguments in
        [&["tls", "-p", "4194304"][..], &["tls", "--pid", "1,4194304"], &["tls", "-p", "1", "-p", "4194304"]]
    {
        let message = refused(arguments);
        assert!(message.starts_with("ecapture: --pid 4194304: "), "{message}");
    }
}

#[test]
fn a_log_that_can_not_be_written() {
    let message = refused(&["tls", "--logaddr", "/no/such/directory/log"]);
    assert!(message.contains("/no/such/directory/log"), "{message}");
}

#[test]
fn plaintext_and_keys_need_places_of_their_own() {
    let cases: [(&[&str], &str); 4] = [
        (&["tls", "-m", "keylog", "-o", "text"], "--output_file"),
        (&["tls", "-m", "key", "--eventaddr", "text"], "--eventaddr"),
        (&["tls", "-k", "-"], "-k -"),
        (&["tls", "-m", "text,keylog", "-k", "-"], "-k -"),
    ];
    for (arguments, words) in cases {
        let message = refused(arguments);
        assert!(message.starts_with(&format!("ecapture: {words}: ")), "{message}");
    }
}

#[test]
fn selections_that_commands_can_not_have_are_refused() {
    for (option, value) in [
        ("--host", "a"),
        ("--path", "/a"),
        ("--method", "GET"),
        ("--status", "404"),
        ("--port", "443"),
        ("--only", "headers"),
    ] {
        for command in ["bash", "zsh", "mysqld", "postgres"] {
            let message = refused(&[command, option, value]);
            assert!(message.starts_with(&format!("ecapture: {option}: ")), "{message}");
        }
    }
}

#[test]
fn what_the_user_knows_of_a_file() {
    let cases: [(&[&str], &str); 6] = [
        (&["--symbol", "SSL_read=0x10"], "--libssl"),
        (&["--offset", "client_random=0x10"], "--libssl"),
        (&["--ssl_version", "openssl 1.0.2"], "--libssl"),
        (&["--libssl", "x", "--symbol", "SSL_fly=0x10"], "known: SSL_read, "),
        (&["--libssl", "x", "--offset", "fly=0x10"], "known: client_random, "),
        (&["--libssl", "x", "--ssl_version", "gnutls 3.7"], "openssl, boringssl, libressl"),
    ];
    for (arguments, words) in cases {
        let message = refused(&[&["tls"], arguments].concat());
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn packets_need_a_place_and_an_expression_that_makes_sense() {
    let cases: [(&[&str], &str); 5] = [
        (&["-w", "-", "tcp prt 443"], "\"tcp prt 443\": can't parse filter expression: syntax error"),
        (&["-w", "-", "--rotate-size", "1"], "-w -: standard output can not be rotated"),
        (&["--rotate-count", "1"], "--rotate-size or --rotate-time"),
        (&["-w", "-", "-k", "-"], "-k - and -w -"),
        (&["-m", "text", "-w", "-"], "-w -: standard output has the plaintext"),
    ];
    for (arguments, words) in cases {
        let message = refused(&[&["tls", "-m", "pcapng"], arguments].concat());
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_cgroup_that_is_none() {
    for path in ["/no/such/cgroup", "/proc"] {
        let message = refused(&["tls", "--cgroup_path", path]);
        assert!(message.starts_with("ecapture: --cgroup_path") && message.contains(path), "{message}");
    }
}

/// The libssl of this machine.
fn libssl() -> String {
    let found = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
        .map(|directory| format!("{directory}/libssl.so.3"))
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or_default());
    found.expect("libssl.so.3 of Debian or Ubuntu")
}

/// Standard output of `ecapture inspect`, whatever it found.
fn inspected(arguments: &[&str]) -> String {
    let output = ecapture(&[&["inspect"], arguments].concat()).output().expect("it runs");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn inspect_shows_functions_with_place_and_reason() {
    let text = inspected(&[&libssl()]);
    for words in ["ssl_read_internal", "called alike by SSL_read", "probe at +", "SSL_free", "exported"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn inspect_writes_one_json_object_for_each_file() {
    let text = inspected(&["--json", &libssl(), "/bin/sh"]);
    let reports: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [libssl, shell] = reports.as_slice() else { panic!("{text}") };
    let library = &libssl["libraries"][0];
    assert_eq!(library["name"], "OpenSSL");
    assert_eq!(library["needs"]["read"], true);
    assert_eq!(library["functions"][0]["name"], "ssl_read_internal");
    assert!(library["functions"][0]["probe_offset"].as_u64().is_some_and(|offset| offset != 0));
    assert_eq!(shell["libraries"], serde_json::json!([]));
    assert!(shell["refused"].as_str().is_some_and(|why| why.contains("no OpenSSL function")), "{shell}");
}

#[test]
fn inspect_shows_shells() {
    let text = printed(&["inspect", "--json", "/bin/bash"]);
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let [shell] = &report["libraries"].as_array().expect("libraries")[..] else { panic!("{text}") };
    assert_eq!((&shell["name"], shell.get("needs")), (&Value::from("bash"), None));
    let does = |name: &str, when: &str| {
        let functions = shell["functions"].as_array().expect("functions");
        functions.iter().any(|function| function["name"] == name && function["does"] == when)
    };
    assert!(does("readline", "when it returns: a line was typed"), "{text}");
    assert!(does("exit_shell", "when called: the shell ends; its status"), "{text}");
    assert!(printed(&["inspect", "/bin/bash"]).contains("  bash\n"));
}

#[test]
fn inspect_says_when_something_is_missing() {
    let output = ecapture(&["inspect", "/bin/sh"]).assert().code(1);
    assert_eq!(output.get_output().stderr, b"");
}

#[test]
fn inspect_refuses_what_is_no_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let pipe = directory.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
    let cases = [
        ("/no/such/file", "No such file"),
        ("/etc/passwd", "not an ELF file"),
        ("/etc", "not a regular file"),
        (pipe.to_str().expect("UTF-8"), "not a regular file"),
    ];
    for (path, words) in cases {
        let output =
            ecapture(&["inspect", path]).timeout(std::time::Duration::from_secs(20)).assert().code(1);
        let message = String::from_utf8_lossy(&output.get_output().stderr);
        assert!(message.contains(path) && message.contains(words), "{message}");
    }
}
