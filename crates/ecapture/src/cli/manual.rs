//! The manual page, from the same source as `--help`.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;

/// Writes the page: the program, then each of its commands.
///
/// # Errors
/// `out` takes no more.
pub fn write(out: &mut impl Write) -> io::Result<()> {
    let mut program = Cli::command();
    program.build();
    let page = Man::new(program.clone()).manual("User Commands");
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    for command in program.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_command(command, out)?;
    }
    page.render_extra_section(out)?;
    page.render_version_section(out)
}

fn write_command(command: &Command, out: &mut impl Write) -> io::Result<()> {
    if command.get_name() == "help" {
        return Ok(());
    }
    let page = Man::new(command.clone());
    writeln!(out, ".SH \"ECAPTURE {}\"", command.get_name().to_uppercase())?;
    let mut body = Vec::new();
    page.render_description_section(&mut body)?;
    page.render_options_section(&mut body)?;
    // Sections of the command are parts of its section here.
    let body = String::from_utf8_lossy(&body).replace("\n.SH ", "\n.SS ");
    out.write_all(
        body.strip_prefix(".SH ").map_or_else(|| body.clone(), |rest| format!(".SS {rest}")).as_bytes(),
    )
}
