//! `mainstay import`: files into tables, all rows or none, on whichever engine the tests run.

use mainstay_tests::{Command, Project, Receiver, binary, until};
use serde_json::json;
use std::io::Write;
use std::process::Stdio;

const SCHEMA: &str = "
    CREATE TABLE makers (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE items (
      id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, price numeric(10,2) CHECK (price >= 0),
      tags text[], meta jsonb, note text, maker integer REFERENCES makers, boss integer REFERENCES items);
    ALTER TABLE items ENABLE ROW LEVEL SECURITY;
    GRANT ALL ON makers, items TO service_role;
    INSERT INTO makers VALUES (1, 'Ann');
";

/// `mainstay import` to its end: whether it succeeded, what it printed, what it complained of.
fn import(project: &Project, arguments: &[&str]) -> (bool, String, String) {
    let command = Command::new(binary(), "").arg("import").args(arguments);
    command
        .arg(project.dir())
        .args(project.overrides())
        .in_dir(project.dir())
        .run()
}

#[test]
fn rows_of_either_format_arrive_as_they_are_and_their_events_too() {
    let receiver = Receiver::start(|_| 200);
    let toml = format!(
        "[[on]]\nchange = {{ table = \"items\", op = \"insert\" }}\ndeliver = \"{}\"\n",
        receiver.url("/items")
    );
    let project = Project::new(SCHEMA, &toml);
    project.write("makers.csv", "id,name\n2,\"Bo, \"\"b\"\"\"\n3,Cy");
    project.write(
        "items.csv",
        "id,name,price,tags,meta,note,maker,boss\r\n7,x,1.5,\"{a,b}\",\"{\"\"k\"\": 1}\",,2,9\r\n9,\"y\nz\",2,,,\"\",3,\r\n",
    );
    project.write(
        "items.ndjson",
        "{\"name\": \"tab\\tback\\\\slash\", \"price\": 3, \"tags\": [\"q\", null], \"meta\": {\"a\": [1]}}\n\n{\"name\": \"m\", \"price\": null}\n",
    );
    for (table, file, rows) in [
        ("makers", "makers.csv", 2),
        ("items", "items.csv", 2),
        ("items", "items.ndjson", 2),
    ] {
        let (ok, out, errors) = import(&project, &[table, file]);
        assert!(
            ok && out.starts_with(&format!("{table}: {rows} rows in ")),
            "{out}{errors}"
        );
    }
    let process = project.serve();
    let service = process.client().with_token(&project.token("service_role", None));
    let rows = service
        .get("/rest/v1/items?select=id,name,price,tags,meta,note,maker,boss&order=id")
        .expect(200)
        .json();
    // Identity values go on above those that were brought.
    assert_eq!(
        rows,
        json!([
            {"id": 7, "name": "x", "price": 1.50, "tags": ["a", "b"], "meta": {"k": 1}, "note": null, "maker": 2, "boss": 9},
            {"id": 9, "name": "y\nz", "price": 2.00, "tags": null, "meta": null, "note": "", "maker": 3, "boss": null},
            {"id": 10, "name": "tab\tback\\slash", "price": 3.00, "tags": ["q", null], "meta": {"a": [1]}, "note": null, "maker": null, "boss": null},
            {"id": 11, "name": "m", "price": null, "tags": null, "meta": null, "note": null, "maker": null, "boss": null},
        ])
    );
    let names = service.get("/rest/v1/makers?select=name&order=id").expect(200).json();
    assert_eq!(names, json!([{"name": "Ann"}, {"name": "Bo, \"b\""}, {"name": "Cy"}]));
    until("every imported row's event is delivered", || {
        (receiver.count() >= 4).then_some(())
    });
    let mut ids: Vec<i64> = receiver
        .seen()
        .iter()
        .filter_map(|d| d.event()["data"]["new"]["id"].as_i64())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, [7, 9, 10, 11]);
}

#[test]
fn a_bad_row_is_named_by_its_place_and_nothing_arrives() {
    let project = Project::new(SCHEMA, "");
    project.write(
        "items.csv",
        "name,price,maker\nok,1,1\n\"two\nlines\",abc,1\nfine,2,1\nz,1,x\n",
    );
    project.write("unknown.csv", "name,prise\na,1\n");
    project.write("short.csv", "name,price\na,1\nb\n");
    project.write("quote.csv", "name,price\na,1\n\"b,1\n");
    project.write("check.csv", "name,price\na,1\nb,-1\n");
    project.write("orphan.csv", "name,maker\na,1\nb,77\n");
    project.write("twice.csv", "id,name\n1,Ann\n");
    project.write(
        "items.ndjson",
        "{\"name\": \"a\", \"price\": 1}\n{\"name\": \"b\", \"price\": \"cheap\"}\n",
    );
    project.write("keys.ndjson", "{\"name\": \"a\"}\n{\"name\": \"b\", \"colour\": 1}\n");
    for (table, file, expected) in [
        (
            "items",
            "items.csv",
            "items.csv:4:8: column \"price\": invalid input syntax for type numeric: \"abc\"",
        ),
        (
            "items",
            "items.csv",
            "items.csv:6:5: column \"maker\": invalid input syntax for type integer: \"x\"",
        ),
        (
            "items",
            "unknown.csv",
            "unknown.csv:1:6: table \"items\" has no column \"prise\"; did you mean \"price\"?",
        ),
        (
            "items",
            "short.csv",
            "short.csv:3:2: the row has 1 values, and there are 2 columns",
        ),
        (
            "items",
            "quote.csv",
            "quote.csv:3:1: a quoted field begins here and never ends",
        ),
        (
            "items",
            "check.csv",
            "check.csv:3:1: new row for relation \"items\" violates check constraint",
        ),
        ("items", "orphan.csv", "\"makers\""),
        (
            "makers",
            "twice.csv",
            "twice.csv:2:1: duplicate key value violates unique constraint",
        ),
        (
            "items",
            "items.ndjson",
            "items.ndjson:2:24: column \"price\": invalid input syntax for type numeric: \"cheap\"",
        ),
        (
            "items",
            "keys.ndjson",
            "keys.ndjson:2:25: key \"colour\" is not one of the first line's (name)",
        ),
        ("items", "absent.csv", "absent.csv: cannot be read"),
        (
            "itmes",
            "items.csv",
            "there is no table \"itmes\"; did you mean \"items\"?",
        ),
    ] {
        let (ok, out, errors) = import(&project, &[table, file]);
        assert!(!ok && errors.contains(expected), "{file}: {out}{errors}");
    }
    let process = project.serve();
    let service = process.client().with_token(&project.token("service_role", None));
    assert_eq!(service.get("/rest/v1/items").expect(200).json(), json!([]));
    assert_eq!(
        service.get("/rest/v1/makers?select=id").expect(200).json(),
        json!([{"id": 1}])
    );
}

#[test]
fn standard_input_is_a_file_too() {
    let project = Project::new(SCHEMA, "");
    let run = |arguments: &[&str], input: &str| {
        let mut child = std::process::Command::new(binary())
            .arg("import")
            .args(arguments)
            .arg(project.dir())
            .args(project.overrides())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes())
            .expect("read");
        let output = child.wait_with_output().expect("ends");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(run(&["makers", "-"], "id,name\n2,Bo\n").starts_with("makers: 1 rows"));
    assert!(
        run(
            &["makers", "-", "--columns", "name,id", "--delimiter", ";"],
            "Cy;3\nDi;4\n"
        )
        .starts_with("makers: 2 rows")
    );
    assert!(run(&["makers", "-", "--format", "ndjson"], "{\"id\": 5, \"name\": \"Ed\"}").starts_with("makers: 1 rows"));
    let bad = run(&["makers", "-"], "id,name\n6,Fa\nx,Go\n");
    assert!(
        bad.contains("standard input:3: column \"id\": invalid input syntax"),
        "{bad}"
    );
    assert!(run(&["makers", "-"], "").contains("holds no rows"));
    let (ok, out, errors) = import(&project, &["--data"]);
    assert!(
        ok && out.contains("makers: holds rows already, left as it is"),
        "{out}{errors}"
    );
}
