//! A database's file that is deleted or replaced under a running instance: it would go on being written, and all of that would be gone with
//! the process. Nothing is acknowledged then, the operator is told, and when the file comes back so does the service.

use mainstay_tests::{Process, Project, until};
use serde_json::json;
use std::fs::{copy, remove_file, rename};

const SCHEMA: &str = "
    CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text);
    GRANT SELECT, INSERT ON notes TO anon;
    CREATE FUNCTION seen(event jsonb) RETURNS void LANGUAGE SQL BEGIN ATOMIC SELECT 1; END;";

fn ready(process: &Process) -> u16 {
    process.admin().get("/readyz").status
}

/// As many notes as there are, as far as they may be read.
fn count(process: &Process) -> usize {
    let notes = process.client().get("/rest/v1/notes?select=id").expect(200).json();
    notes.as_array().expect("a list").len()
}

fn add(process: &Process) -> mainstay_tests::Answer {
    process.client().post("/rest/v1/notes", &json!({"text": "x"}))
}

#[test]
fn nothing_is_acknowledged_that_is_written_to_a_file_that_is_gone() {
    let project = Project::new(SCHEMA, "").embedded();
    let process = project.command().args(["--set", "log.access=true"]).start();
    add(&process).expect(201);
    assert_eq!(count(&process), 1);
    let state = project.dir().join(".mainstay");
    let aside = project.dir().join("aside");
    std::fs::create_dir(&aside).expect("a folder");
    let mut expected = 1;
    for names in [
        &["main.db"][..],
        &["main.db-wal"],
        &["main.db", "main.db-wal", "main.db-shm"],
    ] {
        for replaced in [false, true] {
            for name in names {
                rename(state.join(name), aside.join(name)).expect("moved");
                if replaced {
                    copy(aside.join(name), state.join(name)).expect("copied");
                }
            }
            // The first that is written afterwards is refused, however soon it comes, and so is what is read when it was noticed.
            let answer = add(&process).expect(503);
            assert_eq!(answer.json()["code"], "58030", "{}", answer.text());
            until("it is not ready", || (ready(&process) == 503).then_some(()));
            let answer = process.client().get("/rest/v1/notes?select=id").expect(503);
            assert!(
                answer.json()["hint"].as_str().expect("a hint").contains("restart"),
                "{}",
                answer.text()
            );
            for name in names {
                rename(aside.join(name), state.join(name)).expect("back");
            }
            until("it is ready again", || (ready(&process) == 200).then_some(()));
            assert_eq!(count(&process), expected);
            add(&process).expect(201);
            expected += 1;
        }
    }
    // Noticed without any write, too.
    remove_file(state.join("main.db")).expect("deleted");
    until("it is noticed", || (ready(&process) == 503).then_some(()));
    let log = process.log().join("\n");
    assert!(
        log.contains("58030: the database's file was deleted or replaced"),
        "{log}"
    );
    assert!(
        log.contains("code=58030") || log.contains("\"code\":\"58030\""),
        "{log}"
    );
}

#[test]
fn what_was_acknowledged_before_is_there_after_a_crash() {
    let project = Project::new(SCHEMA, "").embedded();
    let process = project.serve();
    for _ in 0..20 {
        add(&process).expect(201);
    }
    let state = project.dir().join(".mainstay");
    rename(state.join("main.db"), state.join("other.db")).expect("moved");
    add(&process).expect(503);
    rename(state.join("other.db"), state.join("main.db")).expect("back");
    process.kill();
    let process = project.serve();
    let found = count(&process);
    assert_eq!(found, 20);
}

#[test]
fn events_wait_for_the_bus_file() {
    let toml = "[[on]]\nname = \"seen\"\nchange = \"notes\"\ncall = \"seen\"\n";
    let project = Project::new(SCHEMA, toml).embedded();
    let process = project.serve();
    let delivered = || {
        let metrics = process.admin().get("/metrics").text();
        let line = metrics
            .lines()
            .find(|l| l.starts_with("mainstay_delivered_total{subscription=\"seen\"}"));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or_default()
    };
    add(&process).expect(201);
    until("the first is delivered", || (delivered() == 1).then_some(()));
    let bus = project.dir().join(".mainstay/bus.db");
    rename(&bus, project.dir().join("bus.db")).expect("moved");
    for _ in 0..3 {
        add(&process).expect(201);
    }
    // They stay in the store's outbox.
    until("the operator is told", || {
        process
            .log()
            .iter()
            .any(|l| l.contains("bus' file was deleted or replaced"))
            .then_some(())
    });
    assert_eq!(delivered(), 1);
    rename(project.dir().join("bus.db"), &bus).expect("back");
    until("all are delivered", || (delivered() == 4).then_some(()));
}
