//! The command line, without rights: help, exit codes, bad arguments.

use assert_cmd::Command;

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
    for name in ["openssl", "tl", "open"] {
        assert_eq!(printed(&[name, "--help"]), help, "{name}");
    }
    assert_eq!(printed(&["help", "tls"]), help);
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
fn a_cgroup_that_is_none() {
    for path in ["/no/such/cgroup", "/proc"] {
        let message = refused(&["tls", "--cgroup_path", path]);
        assert!(message.starts_with("ecapture: --cgroup_path") && message.contains(path), "{message}");
    }
}
