//! Statements of MariaDB servers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::capture::{Capture, ROOM_FOR_ALL, ecapture};
use crate::process::Running;
use crate::record::{Record, Records};
use crate::server::{Database, MARIADBD};

/// The one record of a server with this text.
#[track_caller]
fn server_of(records: &Records, database: &Database, text: &str) -> Record {
    records.of(database.running.pid()).the_one(text)
}

#[test]
fn statements_with_rows_errors_and_whole_texts() {
    statements(&Database::mariadb(), None);
}

/// Statements of each kind, and how they end. `rows`: of a query that returns one.
pub fn statements(database: &Database, rows: Option<u64>) {
    let capture = Capture::commands("mysqld", [""; 0]);
    let long = format!("select length('{}')", "ü".repeat(50_000));
    database.run("create table d.t (id int, v varchar(100))");
    database.run("insert into d.t values (1, 'a'), (2, 'b')");
    database.run("update d.t set v =\n'c' where id > 1");
    assert!(!database.try_run("select * from d.nope").status.success());
    assert!(!database.try_run("selec 1").status.success());
    let script = database.path("script");
    fs::write(&script, format!("{long};\n")).expect("a script");
    database.start_script(&script).finish().succeeded();
    let records = capture.stop().complete_commands();
    let of = |text| server_of(&records, database, text);
    assert_eq!(of("insert into d.t values (1, 'a'), (2, 'b')").number("rows"), 2);
    let update = of("update d.t set v =\n'c' where id > 1");
    assert_eq!(
        (update.number("rows"), update.text("result"), update.text("type")),
        (1, "done", "mysql query")
    );
    assert_eq!((update.text("user"), update.text("client")), ("root", "localhost"));
    assert!(update.number("duration_ns") > 0);
    let nope = of("select * from d.nope").0["error"].clone();
    assert_eq!((nope["number"].as_u64(), nope["state"].as_str()), (Some(1146), Some("42S02")));
    assert_eq!(nope["message"], "Table 'd.nope' doesn't exist");
    assert_eq!(of("selec 1").0["error"]["number"], 1064);
    let whole = of(&long);
    assert_eq!((whole.text("database"), whole.text("result")), ("d", "done"));
    assert_eq!(whole.0["rows"].as_u64(), rows);
}

#[test]
fn values_of_prepared_statements() {
    let database = Database::mariadb();
    database.run("create table d.t (a int, b varchar(100), c double)");
    let capture = Capture::commands("mysqld", [""; 0]);
    let source = format!(
        "use DBI; my $db = DBI->connect('DBI:MariaDB:database=d;mariadb_socket={}', 'root', '', \
         {{RaiseError => 1, mariadb_server_prepare => 1}}); \
         my $st = $db->prepare('insert into t values (?, ?, ?)'); \
         $st->execute(1, q(it's), undef); $st->execute(2, 'zwei', '2.5');",
        database.path("s").display()
    );
    Running::start(Command::new("perl").arg("-e").arg(source)).finish().succeeded();
    let records = capture.stop().complete_commands().only(|record| record.text("type") == "mysql execute");
    let values: Vec<Vec<&str>> = records
        .0
        .iter()
        .map(|record| {
            let values = record.0["parameters"].as_array().expect("values").iter();
            values.map(|value| value["data"].as_str().unwrap_or("NULL")).collect()
        })
        .collect();
    assert_eq!(values, [["1", "it's", "NULL"], ["2", "zwei", "2.5"]], "{records:?}");
    assert!(records.0.iter().all(|record| record.text("data") == "insert into t values (?, ?, ?)"));
    assert!(records.0.iter().all(|record| record.number("rows") == 1));
}

#[test]
fn passwords_are_masked() {
    let database = Database::mariadb();
    let capture = Capture::commands("mysqld", [""; 0]);
    database.run("create user bob identified by 'hunter2'");
    database.run("set password for bob = password('hunter2')");
    let output = capture.output();
    let text = fs::read_to_string(output).unwrap_or_default();
    let records = capture.stop().complete_commands();
    server_of(&records, &database, "create user bob identified by '<secret>'");
    server_of(&records, &database, "set password for bob = password('<secret>')");
    assert!(!text.contains("hunter2") && !format!("{records:?}").contains("hunter2"));
}

/// A server whose file does not name the function that runs commands.
#[test]
fn a_function_that_the_user_names() {
    let told = Running::start(ecapture().args(["inspect", "--json", MARIADBD])).finish().succeeded().text();
    let report: Value = serde_json::from_str(&told).expect("JSON");
    let functions = report["libraries"]
        .as_array()
        .expect("libraries")
        .iter()
        .flat_map(|it| it["functions"].as_array().expect("functions").iter());
    let function =
        functions.clone().find(|it| it["does"].as_str().is_some_and(|does| does.contains("begins")));
    let function = function.unwrap_or_else(|| panic!("{told}"));
    let (name, address) = (function["name"].as_str().expect("a name"), function["address"].as_u64());

    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    let server = directory.path().join("server");
    let mut bytes = fs::read(MARIADBD).expect("the server");
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, name).collect();
    places.into_iter().for_each(|at| bytes[at] = b'X');
    fs::write(&server, bytes).expect("write");
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).expect("chmod");

    let server_of = ["-m", server.to_str().expect("UTF-8")];
    let refused = Running::start(ecapture().arg("mysqld").args(server_of)).finish();
    assert!(refused.code() == 1 && refused.stderr.contains("no dispatch_command"), "{}", refused.stderr);
    let refused = Running::start(ecapture().arg("mysqld").args(server_of).args(["-f", name])).finish();
    assert!(refused.code() == 1 && refused.stderr.contains("no function of that name"), "{}", refused.stderr);

    let database = Database::mariadb_of(&server);
    let address = format!("{:#x}", address.expect("an address"));
    let options = [&server_of[..], &["-f", name, "--offset", &address]].concat();
    let capture = Capture::commands("mysqld", options);
    database.run("select 40 + 2");
    let record = capture.stop().complete_commands().the_one("select 40 + 2");
    assert_eq!((record.text("result"), record.text("user")), ("done", "root"));
}

#[test]
fn clients_at_once_do_not_mix() {
    clients(&Database::mariadb());
}

/// 16 clients, 10,000 statements: each told once, with its own rows and database user.
pub fn clients(database: &Database) {
    const CLIENTS: usize = 16;
    const EACH: usize = 625;
    database.run("create table d.pairs (client int, n int) engine=memory");
    let capture = Capture::commands("mysqld", ROOM_FOR_ALL);
    let mut expected = BTreeMap::new();
    let clients: Vec<Running> = (0..CLIENTS)
        .map(|client| {
            let statement = |n: usize| {
                let rows = vec![format!("({client}, {n})"); n % 3 + 1].join(", ");
                (format!("insert into pairs values {rows}"), n % 3 + 1)
            };
            let statements: Vec<_> = (0..EACH).map(statement).collect();
            let script = database.path(&format!("script{client}"));
            let lines: String = statements.iter().map(|(sql, _)| format!("{sql};\n")).collect();
            fs::write(&script, lines).expect("a script");
            expected.extend(statements);
            database.start_script(&script)
        })
        .collect();
    clients.into_iter().for_each(|client| drop(client.finish().succeeded()));
    let records = capture.stop().complete_commands().of(database.running.pid());
    let records = records.only(|record| record.text("data").starts_with("insert"));
    let mut told = BTreeMap::new();
    for record in &records.0 {
        assert_eq!(
            (record.text("result"), record.text("user"), record.text("database")),
            ("done", "root", "d")
        );
        told.insert(record.text("data").to_owned(), record.number("rows") as usize);
    }
    assert_eq!(records.0.len(), CLIENTS * EACH, "each is told once");
    assert!(told == expected, "texts and rows are those of the scripts");
}
