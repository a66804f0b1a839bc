//! `ecapture`: shows the plaintext of TLS traffic, and the commands and statements, of programs that are already running.

mod bpf;
mod cli;
mod control;
mod escape;
mod explain;
mod extcap;
mod filter;
mod logging;
mod pipeline;
mod preflight;
mod privileges;
mod probes;
mod record;
mod run;
mod server;
mod sinks;
mod status;
mod targets;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use cli::{Cli, Command, Config};
use extcap::Answer;
use run::Ended;
use server::Stream;

/// Exit codes, as the help tells them.
const COULD_NOT_START: u8 = 1;
const STOPPED_EARLY: u8 = 2;

fn main() -> ExitCode {
    abort_on_panic();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(COULD_NOT_START) } else { ExitCode::SUCCESS };
        }
    };
    match &cli.command {
        Some(
            Command::Tls(_)
            | Command::Gnutls(_)
            | Command::Nss(_)
            | Command::Gotls(_)
            | Command::Extcap(_)
            | Command::Bash(_)
            | Command::Zsh(_)
            | Command::Shell(_)
            | Command::Mysqld(_)
            | Command::Postgres(_),
        ) => {}
        None => return printed(Cli::command().print_help()),
        Some(Command::Inspect(inspect)) => {
            return match explain::explain(&inspect.files, inspect.json) {
                Ok(false) => ExitCode::from(COULD_NOT_START),
                // Nobody is left to tell when standard output is closed.
                Ok(true) | Err(_) => ExitCode::SUCCESS,
            };
        }
        Some(Command::Man) => return printed(cli::write_manual(&mut io::stdout())),
    }
    let is_streamed = cli.global.ecaptureq.as_ref().is_some_and(|address| !address.is_empty());
    let stream = is_streamed.then(|| Arc::new(Stream::new(cli::queue(&cli.global))));
    let log = match logging::start(cli.global.debug, cli.global.logaddr.as_deref(), stream.clone()) {
        Ok(log) => log,
        Err(error) => return could_not_start(&error),
    };
    let ended = run(cli, stream);
    if let Some(log) = log {
        log.finish();
    }
    match ended {
        Ok(Ended::AsAsked) => ExitCode::SUCCESS,
        Ok(Ended::SinkFailed) => ExitCode::from(STOPPED_EARLY),
        Err(error) => could_not_start(&error),
    }
}

fn run(cli: Cli, stream: Option<Arc<Stream>>) -> Result<Ended> {
    match &cli.command {
        Some(Command::Extcap(asked)) => match extcap::answer(asked)? {
            Answer::Printed => Ok(Ended::AsAsked),
            Answer::Capture(capture) => {
                run::capture(Config::new(Cli { global: cli.global, ..*capture })?, stream)
            }
        },
        _ => run::capture(Config::new(cli)?, stream),
    }
}

/// A capture that lost a thread must not look alive. Only the server goes on: a panic ends one connection there.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if std::thread::current().name() != Some(server::THREAD) {
            std::process::abort();
        }
    }));
}

fn could_not_start(error: &anyhow::Error) -> ExitCode {
    // Paths in messages may hold anything.
    eprintln!("ecapture: {}", escape::name(&format!("{error:#}")));
    ExitCode::from(COULD_NOT_START)
}

/// Nobody is left to tell when standard output is closed.
fn printed(_result: io::Result<()>) -> ExitCode {
    ExitCode::SUCCESS
}
