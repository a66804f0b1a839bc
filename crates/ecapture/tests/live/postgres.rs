//! Statements of PostgreSQL servers.

use std::collections::BTreeSet;
use std::fs;

use crate::capture::{Capture, ROOM_FOR_ALL, ecapture};
use crate::process::Running;
use crate::server::{Database, pg_bin};

#[test]
fn statements_with_rows_errors_and_whole_texts() {
    statements(&Database::postgres());
}

/// Statements of each kind, and how they end.
pub fn statements(database: &Database) {
    let capture = Capture::commands("postgres", [""; 0]);
    let long = format!("select length('{}')", "ü".repeat(50_000));
    database.run("create table t (id int, v text)");
    database.run("insert into t values (1, 'a'), (2, 'b')");
    database.run("select * from t\nwhere id > 0");
    database.run("select 1; select 2; select 3");
    assert!(!database.try_run("select * from nope").status.success());
    assert!(!database.try_run("selec 1").status.success());
    let script = database.path("script");
    fs::write(&script, format!("{long};\ncopy t from stdin;\n3\tc\n\\.\n")).expect("a script");
    database.start_script(&script).finish().succeeded();
    let records = capture.stop().complete_commands();
    assert!(!records.the_one("create table t (id int, v text)").has("rows"));
    let insert = records.the_one("insert into t values (1, 'a'), (2, 'b')");
    assert_eq!((insert.number("rows"), insert.text("result")), (2, "done"));
    assert_eq!((insert.text("user"), insert.text("database")), ("root", "postgres"));
    assert_eq!((insert.text("application"), insert.text("type")), ("psql", "postgres query"));
    assert_eq!(records.the_one("select * from t\nwhere id > 0").number("rows"), 2);
    assert_eq!(records.the_one("select 1; select 2; select 3").number("rows"), 3);
    let nope = records.the_one("select * from nope").0["error"].clone();
    assert_eq!(nope["state"], "42P01");
    assert_eq!(nope["message"], "relation \"nope\" does not exist");
    assert_eq!(records.the_one("selec 1").0["error"]["state"], "42601");
    assert_eq!(records.the_one(&format!("{long};")).text("result"), "done");
    assert_eq!(records.the_one("copy t from stdin;").number("rows"), 1);
}

#[test]
fn passwords_are_masked() {
    let database = Database::postgres();
    let capture = Capture::commands("postgres", [""; 0]);
    database.run("alter role root password 'hunter2'");
    let records = capture.stop().complete_commands();
    records.the_one("alter role root password '<secret>'");
    assert!(!format!("{records:?}").contains("hunter2"));
}

#[test]
fn a_function_that_the_user_names() {
    let server = pg_bin().join("postgres");
    let server = server.to_str().expect("UTF-8");
    let refused = Running::start(ecapture().args(["postgres", "-m", server, "-f", "exec_nothing"])).finish();
    assert!(refused.code() == 1 && refused.stderr.contains("no function of that name"), "{}", refused.stderr);

    let database = Database::postgres();
    let capture = Capture::commands("postgres", ["-m", server, "-f", "pg_parse_query"]);
    database.run("select 40 + 2");
    let captured = capture.stop();
    let attached = captured.stderr.lines().find(|line| line.contains(" attached ")).expect("attached");
    assert!(
        attached.contains("pg_parse_query") && !attached.contains("pgstat_report_activity"),
        "{attached}"
    );
    let record = captured.complete_commands().the_one("select 40 + 2");
    assert_eq!((record.text("result"), record.number("rows"), record.text("user")), ("done", 1, "root"));
}

#[test]
fn values_of_clients_at_once() {
    values(&Database::postgres());
}

/// 16 clients that prepare a statement and run it 10,000 times: the values that were told are those in the table.
pub fn values(database: &Database) {
    database.run("create unlogged table pairs (client int, n bigint)");
    let script = database.path("script");
    fs::write(&script, "\\set n random(1, 1000000000000000)\ninsert into pairs values (:client_id, :n);\n")
        .expect("a script");
    for mode in ["prepared", "extended"] {
        database.run("truncate pairs");
        let capture = Capture::commands("postgres", ROOM_FOR_ALL);
        let mut bench = database.client(
            pg_bin().join("pgbench"),
            &["-n", "-M", mode, "-c", "16", "-t", "625", "-f", script.to_str().expect("UTF-8")],
        );
        Running::start(&mut bench).finish().succeeded();
        let records = capture.stop().complete_commands();
        let records = records.only(|record| record.text("type") == "postgres execute");
        let rows = database.run("select client || ',' || n from pairs");
        let expected: BTreeSet<String> = rows.lines().map(str::to_owned).collect();
        let mut told = BTreeSet::new();
        for record in &records.0 {
            let value =
                |index: usize| record.0["parameters"][index]["data"].as_str().unwrap_or("?").to_owned();
            assert_eq!((record.number("rows"), record.text("result")), (1, "done"), "{record:?}");
            assert_eq!(record.text("data"), "insert into pairs values ($1, $2);");
            told.insert(format!("{},{}", value(0), value(1)));
        }
        assert_eq!(records.0.len(), 10_000, "each is told once");
        assert!(told == expected, "values are those of the table");
    }
}
