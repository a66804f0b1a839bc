//! Database servers in a directory of their own, run by a user that may nothing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::lab::free_port;
use crate::process::{Finished, Running, wait_for};

/// `nobody`.
const NOBODY: u32 = 65534;

/// Debian's server.
pub const MARIADBD: &str = "/usr/sbin/mariadbd";

/// A server; it ends when dropped.
pub struct Database {
    pub running: Running,
    directory: TempDir,
    kind: Kind,
    port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    MariaDb,
    Postgres,
}

impl Database {
    /// MariaDB, with a database `d`. Its socket is `s`, its user is root.
    pub fn mariadb() -> Self {
        Self::mariadb_of(Path::new(MARIADBD))
    }

    /// The same with another file of the server.
    pub fn mariadb_of(program: &Path) -> Self {
        let install =
            "mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db";
        Self::mysql(install, &format!("{} --no-defaults", program.display()))
    }

    /// The same with commands that make its data and run it, to which the place of the data is added.
    pub fn mysql(install: &str, server: &str) -> Self {
        let directory = directory();
        let at = directory.path();
        let data = format!("--datadir={}", at.join("data").display());
        let start = |command: &str, more: &[&str]| {
            let mut words = command.split(' ');
            let program = words.next().expect("a program");
            nobody(program, at, &words.chain([&*data]).chain(more.iter().copied()).collect::<Vec<_>>())
        };
        start(install, &[]).finish().succeeded();
        let socket = format!("--socket={}", at.join("s").display());
        let running = start(server, &[&socket, "--skip-networking", "--max-connections=100"]);
        let database = Self { running, directory, kind: Kind::MariaDb, port: 0 };
        wait_for("MariaDB", || database.try_run("select 1").status.success().then_some(()));
        database.run("create database d");
        database
    }

    /// PostgreSQL; its user is root. `pg_bin` has its programs.
    pub fn postgres() -> Self {
        Self::postgres_of(&pg_bin())
    }

    /// The same with another directory of programs.
    pub fn postgres_of(bin: &Path) -> Self {
        let directory = directory();
        let at = directory.path();
        let data = at.join("data").display().to_string();
        nobody(bin.join("initdb"), at, &["-D", &data, "-U", "root", "-A", "trust"]).finish().succeeded();
        let port = free_port();
        let sockets = format!("unix_socket_directories={}", at.display());
        let port_option = format!("port={port}");
        let server = ["-D", &data, "-c", &sockets, "-c", "listen_addresses=127.0.0.1", "-c", &port_option];
        let running = nobody(bin.join("postgres"), at, &server);
        let database = Self { running, directory, kind: Kind::Postgres, port };
        wait_for("PostgreSQL", || database.try_run("select 1").status.success().then_some(()));
        database
    }

    /// A client with these arguments, connected to this server.
    pub fn client(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let at = self.directory.path();
        if self.kind == Kind::MariaDb {
            command.args(["--no-defaults", "-uroot", "-S"]).arg(at.join("s"));
        } else {
            command.env("PGHOST", at).env("PGUSER", "root").env("PGDATABASE", "postgres");
            command.env("PGPORT", self.port.to_string());
        }
        command.args(arguments);
        command
    }

    /// Runs statements, which must succeed; answers what they print.
    #[track_caller]
    pub fn run(&self, sql: &str) -> String {
        self.try_run(sql).succeeded().text()
    }

    /// Runs statements of one line.
    pub fn try_run(&self, sql: &str) -> Finished {
        Running::start(&mut match self.kind {
            Kind::MariaDb => self.client("mariadb", &["-N", "-e", sql]),
            Kind::Postgres => self.client(pg_bin().join("psql"), &["-At", "-c", sql]),
        })
        .finish()
    }

    /// Starts a client that reads a script.
    pub fn start_script(&self, script: &Path) -> Running {
        let script = fs::File::open(script).expect("a script");
        let mut command = match self.kind {
            Kind::MariaDb => self.client("mariadb", &["d"]),
            Kind::Postgres => self.client(pg_bin().join("psql"), &["-q"]),
        };
        Running::start_with_input(command.stdin(Stdio::from(script)))
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Where Debian has the programs of PostgreSQL: of the latest version that is installed.
pub fn pg_bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed").flatten();
    let latest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse().unwrap_or(0));
    latest.expect("PostgreSQL is installed").path().join("bin")
}

fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("chmod");
    directory
}

fn nobody(program: impl AsRef<OsStr>, directory: &Path, arguments: &[&str]) -> Running {
    let mut command = Command::new(program);
    Running::start(command.args(arguments).current_dir(directory).uid(NOBODY).gid(NOBODY))
}
