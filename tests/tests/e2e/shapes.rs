//! Queries of ever new shapes: what is kept of them is bounded in bytes, since whoever asks chooses how long a query is.

use mainstay_tests::{Connection, Project};
use std::fmt::Write as _;

/// The memory that a process has resident, in MiB.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("a size");
    let kib = line.split_whitespace().nth(1).expect("a number");
    kib.parse::<u64>().expect("a number") / 1024
}

#[test]
fn ever_new_queries_take_little_memory() {
    let schema =
        "CREATE TABLE t (id bigint PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x'); GRANT SELECT ON t TO anon;";
    let project = Project::new(schema, "");
    let process = project.serve();
    let mut connection = Connection::open(process.client().address()).expect("a connection");
    let before = resident(process.id());
    for (queries, items) in [(2000, 200), (300, 700)] {
        for query in 0..queries {
            let mut target = "/rest/v1/t?select=id".to_owned();
            for item in 0..items {
                write!(target, ",x{query}_{item}:id").expect("a string");
            }
            let answer = connection.send("GET", &target, &[], None).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let after = resident(process.id());
    println!("2,300 queries of ever new shapes: {before} MiB before, {after} MiB after");
    // Kept by their number alone, they took more than 400 MiB.
    assert!(after < before + 160, "{before} MiB before, {after} MiB after");
}
