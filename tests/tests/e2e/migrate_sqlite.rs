//! `mainstay migrate` on an embedded database: what an edit of schema.sql needs beyond additions, shown, refused or done, and what is
//! in the tables afterwards.

use mainstay_tests::{Client, Project, SECRET, binary, until};
use serde_json::{Value as Json, json};
use std::process::Command;

/// A verb to its end: exit status, what it printed, what it complained of.
fn run(project: &Project, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary())
        .arg("migrate")
        .args(arguments)
        .arg(project.dir())
        .output()
        .expect("mainstay runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

/// `mainstay serve` of a file, whatever engine the other tests run on.
fn serve(project: &Project) -> (mainstay_tests::Process, Client) {
    let process = mainstay_tests::Command::serve([project.dir().as_os_str()])
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--set",
            "log.access=false",
        ])
        .start();
    let operator = process
        .client()
        .with_token(&Project::signed("service_role", None, &json!({})));
    (process, operator)
}

const BASE: &str = "
CREATE TABLE makers (id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE items (
  id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  maker integer REFERENCES makers,
  name  text NOT NULL,
  price text,
  old   integer DEFAULT 7
);
CREATE INDEX items_name ON items (name);
GRANT ALL ON items, makers TO service_role;
INSERT INTO makers VALUES (1, 'one'), (2, 'two');
INSERT INTO items (maker, name, price) VALUES (1, 'a', '1.50'), (2, 'b', '2.5'), (NULL, 'c', NULL);
";

/// An edit: what is replaced by what, whether it loses data, what the plan says, what is refused and why, what is there afterwards.
struct Edit {
    what: &'static str,
    from: &'static str,
    to: &'static str,
    loses: Option<&'static str>,
    plan: &'static str,
    refused: Option<&'static str>,
    read: (&'static str, Json),
}

fn edits() -> Vec<Edit> {
    let edit = |what, from, to| Edit {
        what,
        from,
        to,
        loses: None,
        plan: "ALTER TABLE \"_mainstay_new_items\" RENAME TO \"items\"",
        refused: None,
        read: (
            "items?select=id,name&order=id",
            json!([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}]),
        ),
    };
    vec![
        Edit {
            loses: Some("column \"old\": the column's values"),
            read: (
                "items?id=eq.1",
                json!([{"id": 1, "maker": 1, "name": "a", "price": "1.50"}]),
            ),
            ..edit("a dropped column", ",\n  old   integer DEFAULT 7", "")
        },
        Edit {
            loses: Some("text → numeric(10,2): what the cast does not carry over is lost"),
            plan: "\"price\"::numeric(10,2)",
            read: (
                "items?select=price&order=id",
                json!([{"price": 1.50}, {"price": 2.50}, {"price": null}]),
            ),
            ..edit("a changed type", "price text", "price numeric(10,2)")
        },
        Edit {
            read: (
                "items?select=old&order=id",
                json!([{"old": "7"}, {"old": "7"}, {"old": "7"}]),
            ),
            ..edit("a wider type", "old   integer DEFAULT 7", "old text DEFAULT '7'")
        },
        Edit {
            loses: Some("text → integer"),
            refused: Some(
                "table \"items\", row (id)=(1), column \"price\": invalid input syntax for type integer: \"1.50\"",
            ),
            ..edit("a type that a value has no place in", "price text", "price integer")
        },
        Edit {
            refused: Some(
                "it is new, NOT NULL and without a default, and the table holds 3 rows: give the column a DEFAULT",
            ),
            plan: "-- PROBLEM: table \"items\", column \"note\"",
            ..edit(
                "a new column that may not be empty",
                "price text",
                "price text, note text NOT NULL",
            )
        },
        Edit {
            refused: Some("it is to be NOT NULL, and 1 rows have no value"),
            plan: "-- PROBLEM: table \"items\", column \"price\"",
            ..edit("NOT NULL where there is NULL", "price text", "price text NOT NULL")
        },
        edit("NOT NULL no longer", "name  text NOT NULL", "name  text"),
        edit(
            "a new check",
            "name  text NOT NULL",
            "name  text NOT NULL CONSTRAINT short CHECK (length(name) < 3)",
        ),
        Edit {
            refused: Some("new row for relation \"items\" violates check constraint \"long\""),
            ..edit(
                "a check that a row fails",
                "name  text NOT NULL",
                "name  text NOT NULL CONSTRAINT long CHECK (name > 'a')",
            )
        },
        Edit {
            plan: "CREATE UNIQUE INDEX \"items_name_key\"",
            ..edit("a new key", "name  text NOT NULL", "name  text NOT NULL UNIQUE")
        },
        edit("no reference", " REFERENCES makers", ""),
        Edit {
            refused: Some("table \"items\", row (1), refers to a row of \"makers\" that is not there"),
            ..edit(
                "a reference that leads nowhere",
                "old   integer DEFAULT 7",
                "old integer DEFAULT 7 REFERENCES makers",
            )
        },
        Edit {
            read: ("items?select=old&id=eq.1", json!([{"old": 7}])),
            ..edit("another default", "DEFAULT 7", "DEFAULT 8")
        },
        Edit {
            plan: "ALTER TABLE \"items\" ADD COLUMN \"more\"",
            read: ("items?select=more&id=eq.1", json!([{"more": "x"}])),
            ..edit(
                "what a start would do as well",
                "price text",
                "price text, more text DEFAULT 'x'",
            )
        },
        Edit {
            read: (
                "items?select=id&seen=not.is.null&order=id",
                json!([{"id": 1}, {"id": 2}, {"id": 3}]),
            ),
            ..edit(
                "a default that is no constant",
                "price text",
                "price text, seen timestamptz NOT NULL DEFAULT now()",
            )
        },
        Edit {
            read: (
                "items?select=code&order=id",
                json!([{"code": 1}, {"code": 2}, {"code": 3}]),
            ),
            ..edit(
                "a column that numbers its rows",
                "price text",
                "price text, code integer GENERATED BY DEFAULT AS IDENTITY UNIQUE",
            )
        },
        Edit {
            read: ("items?select=joint&order=id&id=eq.1", json!([{"joint": "a1.50"}])),
            ..edit(
                "a computed column",
                "price text",
                "price text, joint text GENERATED ALWAYS AS (name || price) STORED",
            )
        },
        Edit {
            // Nothing is guessed: a renamed column is a dropped one and a new one.
            loses: Some("column \"old\": the column's values"),
            read: (
                "items?select=older&order=id",
                json!([{"older": null}, {"older": null}, {"older": null}]),
            ),
            ..edit("a renamed column", "old   integer DEFAULT 7", "older integer")
        },
        Edit {
            loses: Some("every row"),
            plan: "DROP TABLE \"items\"",
            read: ("makers?select=id&order=id", json!([{"id": 1}, {"id": 2}])),
            ..edit(
                "a dropped table",
                BASE,
                "CREATE TABLE makers (id integer PRIMARY KEY, name text NOT NULL);\nGRANT ALL ON makers TO service_role;\n",
            )
        },
    ]
}

#[test]
fn every_edit_is_shown_then_refused_or_done() {
    for edit in edits() {
        let what = edit.what;
        let project = Project::new(BASE, &format!("[auth]\nsecret = \"{SECRET}\"\n"));
        let (process, operator) = serve(&project);
        operator.get("/rest/v1/items").expect(200);
        assert!(process.terminate());
        let edited = BASE.replace(edit.from, edit.to);
        assert_ne!(edited, BASE, "{what}");
        project.write("schema.sql", &edited);
        let (status, out, errors) = run(&project, &["plan"]);
        assert_eq!(status, 2, "{what}: {out}{errors}");
        assert!(out.contains(edit.plan), "{what}: {out}");
        assert_eq!(out.contains("LOSES DATA"), edit.loses.is_some(), "{what}: {out}");
        if let Some(loses) = edit.loses {
            assert!(out.contains(loses), "{what}: {out}");
            let (status, _, errors) = run(&project, &["apply"]);
            assert_eq!(status, 1, "{what}: {errors}");
            let words = [
                "data would be lost:",
                loses,
                "nothing was changed",
                "--allow-data-loss does it",
            ];
            // A problem comes before a question.
            assert!(words.iter().all(|words| errors.contains(words)), "{what}: {errors}");
        }
        let (status, out, errors) = run(&project, &["apply", "--allow-data-loss"]);
        if let Some(refused) = edit.refused {
            assert_eq!(status, 1, "{what}: {out}");
            assert!(errors.contains(refused), "{what}: {errors}");
            // Nothing half done: what was there is served as it was.
            project.write("schema.sql", BASE);
        } else {
            assert_eq!(status, 0, "{what}: {errors}");
        }
        let (status, out, _) = run(&project, &["plan"]);
        assert_eq!((status, out.as_str()), (0, "-- store main: nothing to do\n"), "{what}");
        let (process, operator) = serve(&project);
        let (path, rows) = edit.read;
        assert_eq!(
            operator.get(&format!("/rest/v1/{path}")).expect(200).json(),
            rows,
            "{what}"
        );
        // Numbers go on, references hold.
        if edited.contains("name  text NOT NULL,") && edit.refused.is_none() {
            let new = operator.post_with(
                "/rest/v1/items",
                &[("prefer", "return=representation")],
                &json!({"name": "d"}),
            );
            assert_eq!(new.expect(201).json()[0]["id"], 4, "{what}");
        }
        if edited.contains("REFERENCES makers,") && edit.refused.is_none() {
            let lost = operator.post("/rest/v1/items", &json!({"name": "e", "maker": 9}));
            assert!(lost.status == 409 || lost.status == 400, "{what}: {}", lost.text());
        }
        assert!(process.terminate());
    }
}

#[test]
fn a_store_that_is_served_is_left_alone_and_says_what_to_do() {
    let project = Project::new(BASE, &format!("[auth]\nsecret = \"{SECRET}\"\n"));
    let (status, out, _) = run(&project, &["plan"]);
    assert_eq!(
        (status, out.as_str()),
        (0, "-- store main: there is no file yet; the first start makes it\n")
    );
    let (process, operator) = serve(&project);
    project.write("schema.sql", &BASE.replace("price text", "price numeric"));
    // To look is allowed.
    let (status, out, errors) = run(&project, &["plan"]);
    assert_eq!(status, 2, "{out}{errors}");
    let (status, _, errors) = run(&project, &["apply", "--allow-data-loss"]);
    assert_eq!(status, 1);
    assert!(
        errors.contains(&format!("process {} has it open", process.id())) && errors.contains("stop it, migrate"),
        "{errors}"
    );
    operator.get("/rest/v1/items").expect(200);
    assert!(process.terminate());
    // A start refuses with the difference, and names the command.
    let (ok, _, errors) = mainstay_tests::Command::serve([project.dir().as_os_str()])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .run();
    assert!(!ok);
    for words in [
        "table \"items\", column price: was text, is numeric",
        "`mainstay migrate apply` does it",
    ] {
        assert!(errors.contains(words), "{words} is not in {errors}");
    }
    let (status, out, errors) = run(&project, &["apply", "--allow-data-loss", "--json"]);
    assert_eq!(status, 0, "{errors}");
    let applied: Json = serde_json::from_str(&out).expect("JSON");
    assert!(
        applied["main"]["statements"].as_array().is_some_and(|s| s.len() == 5),
        "{out}"
    );
    let (process, operator) = serve(&project);
    until("it serves", || {
        (operator.get("/rest/v1/items?price=gt.2").status == 200).then_some(())
    });
    assert!(process.terminate());
    let history = mainstay_tests::sqlite(
        &project.dir().join(".mainstay/main.db"),
        "SELECT statements FROM _mainstay_migrations",
    );
    assert!(history.contains("RENAME TO \"items\""), "{history}");
}

/// Tables that come with rows, beside those of [`BASE`]: of the new ones none is empty, of the old ones none has more.
const MORE: &str = "
CREATE TABLE colours (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, maker integer REFERENCES makers, name text);
INSERT INTO colours (maker, name) VALUES (2, 'red'), (1, 'blue');
SELECT setval('colours_id_seq', 40);
INSERT INTO makers VALUES (3, 'three');
GRANT ALL ON colours TO service_role;
";

fn has_the_rows_of_more(operator: &Client, how: &str) {
    let read = |path: &str| operator.get(&format!("/rest/v1/{path}")).expect(200).json();
    assert_eq!(
        read("colours?select=id,maker,name&order=id"),
        json!([{"id": 1, "maker": 2, "name": "red"}, {"id": 2, "maker": 1, "name": "blue"}]),
        "{how}"
    );
    assert_eq!(
        read("makers?select=id&order=id"),
        json!([{"id": 1}, {"id": 2}]),
        "{how}"
    );
    let new = operator.post_with(
        "/rest/v1/colours",
        &[("prefer", "return=representation")],
        &json!({"name": "green"}),
    );
    assert_eq!(new.expect(201).json()[0]["id"], 41, "{how}");
}

#[test]
fn a_new_table_begins_with_its_rows_at_a_start_and_by_apply() {
    for by_apply in [false, true] {
        let how = if by_apply { "apply" } else { "start" };
        let project = Project::new(BASE, &format!("[auth]\nsecret = \"{SECRET}\"\n"));
        let (process, _) = serve(&project);
        assert!(process.terminate());
        project.write("schema.sql", &format!("{BASE}{MORE}"));
        if by_apply {
            let (status, out, _) = run(&project, &["plan"]);
            assert_eq!(status, 2);
            assert!(
                out.contains("-- NOTE: 2 rows of the project are loaded into it"),
                "{out}"
            );
            let (status, _, errors) = run(&project, &["apply"]);
            assert_eq!(status, 0, "{errors}");
        }
        let (process, operator) = serve(&project);
        has_the_rows_of_more(&operator, how);
        assert!(process.terminate());
    }
}

#[test]
fn a_row_that_a_new_table_refuses_stops_the_whole_migration() {
    let project = Project::new(BASE, &format!("[auth]\nsecret = \"{SECRET}\"\n"));
    let (process, _) = serve(&project);
    assert!(process.terminate());
    project.write(
        "schema.sql",
        &format!("{BASE}CREATE TABLE odd (id integer PRIMARY KEY REFERENCES makers);\nINSERT INTO odd VALUES (9);\n"),
    );
    let (status, _, errors) = run(&project, &["apply"]);
    assert_eq!(status, 1);
    assert!(
        errors.contains("refers to a row of \"makers\" that is not there"),
        "{errors}"
    );
    let (_, out, _) = run(&project, &["plan"]);
    assert!(out.contains("CREATE TABLE \"odd\""), "{out}");
}

#[test]
fn a_key_over_rows_that_share_it_is_refused_with_the_first_of_them() {
    let rows = "CREATE TABLE t (id integer PRIMARY KEY, a text, b numeric(6,2));\nGRANT ALL ON t TO service_role;\n\
                INSERT INTO t VALUES (1, 'x', 1.5), (2, NULL, 2), (3, 'y', 1.5), (4, NULL, 3), (5, 'y', 1.5), (6, 'x', 2.5);\n";
    let keys = [
        (
            "ALTER TABLE t ADD CONSTRAINT own UNIQUE (a);",
            "\"own\" cannot be unique: key (a)=(x)",
        ),
        (
            "ALTER TABLE t ADD UNIQUE (a, b);",
            "\"t_a_b_key\" cannot be unique: key (a, b)=(y, 1.50)",
        ),
        (
            "CREATE UNIQUE INDEX i ON t (a) WHERE b < 2;",
            "\"i\" cannot be unique: key (a)=(y)",
        ),
    ];
    for (key, wanted) in keys {
        let project = Project::new(rows, &format!("[auth]\nsecret = \"{SECRET}\"\n"));
        let (process, _) = serve(&project);
        assert!(process.terminate());
        project.write("schema.sql", &format!("{rows}{key}\n"));
        let (status, _, errors) = run(&project, &["apply"]);
        assert_eq!(status, 1, "{key}");
        assert!(
            errors.contains(wanted) && errors.contains("nothing was changed"),
            "{key}: {errors}"
        );
        // A start says the same.
        let (ok, _, errors) = mainstay_tests::Command::serve([project.dir().as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .run();
        assert!(
            !ok && errors.contains(&wanted.replace('"', "\\\"")) || errors.contains(wanted),
            "{key}: {errors}"
        );
    }
}

#[test]
fn a_table_whose_name_changes_in_case_only_is_another() {
    let before =
        "CREATE TABLE t (id integer PRIMARY KEY);\nINSERT INTO t VALUES (1);\nGRANT ALL ON t TO service_role;\n";
    let after = "CREATE TABLE \"T\" (id integer PRIMARY KEY, a text);\nGRANT ALL ON \"T\" TO service_role;\n";
    let project = Project::new(before, &format!("[auth]\nsecret = \"{SECRET}\"\n"));
    let (process, _) = serve(&project);
    assert!(process.terminate());
    project.write("schema.sql", after);
    let (ok, _, errors) = mainstay_tests::Command::serve([project.dir().as_os_str()])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .run();
    assert!(
        !ok && errors.contains("is in the store and no longer in the schema"),
        "{errors}"
    );
    let (status, out, _) = run(&project, &["plan"]);
    assert_eq!(status, 2, "{out}");
    let (status, _, errors) = run(&project, &["apply", "--allow-data-loss"]);
    assert_eq!(status, 0, "{errors}");
    let (process, operator) = serve(&project);
    assert_eq!(operator.get("/rest/v1/T").expect(200).json(), json!([]));
    operator.post("/rest/v1/T", &json!({"id": 1, "a": "x"})).expect(201);
    assert!(process.terminate());
}

#[test]
fn a_column_may_be_written_anywhere() {
    let table = |more: &str| {
        format!(
            "CREATE TABLE t (id integer PRIMARY KEY,{more} a integer NOT NULL CHECK (a > 0), twice integer GENERATED ALWAYS AS (a * 2) STORED,
               CHECK (a < 100 OR id = 1));
             GRANT ALL ON t TO service_role;"
        )
    };
    let project = Project::empty().embedded();
    let config = format!("[store.main]\nurl = \"sqlite:.mainstay/main.db\"\n[auth]\nsecret = \"{SECRET}\"\n");
    project.write("mainstay.toml", &config);
    project.write("schema.sql", &table(""));
    let (process, operator) = serve(&project);
    operator.post("/rest/v1/t", &json!({"id": 1, "a": 5})).expect(201);
    process.kill();
    project.write("schema.sql", &table(" note text,"));
    let (_process, operator) = serve(&project);
    operator
        .post("/rest/v1/t", &json!({"id": 2, "a": 6, "note": "new"}))
        .expect(201);
    for (id, a) in [(3, 0), (3, 100)] {
        let refused = operator.post("/rest/v1/t", &json!({"id": id, "a": a}));
        assert_eq!(refused.expect(400).json()["code"], "23514");
    }
    let rows = operator.get("/rest/v1/t?order=id").expect(200).json();
    assert_eq!(
        rows,
        json!([{"id": 1, "note": null, "a": 5, "twice": 10}, {"id": 2, "note": "new", "a": 6, "twice": 12}])
    );
}
