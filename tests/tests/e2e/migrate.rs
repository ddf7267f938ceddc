//! `mainstay migrate` from the command line: a project's life on a database of its own.

use mainstay_tests::{Postgres, Project, binary};
use serde_json::Value as Json;
use std::process::Command;

const SCHEMA: &str = "CREATE TABLE notes (
  id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  text text NOT NULL
);
GRANT SELECT, INSERT (text) ON notes TO authenticated;
CREATE FUNCTION tell(what text) RETURNS void LANGUAGE SQL BEGIN ATOMIC SELECT emit('told', to_jsonb(what)); END;
";

/// A verb to its end: exit status, what it printed, what it complained of.
fn run(project: &Project, url: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(binary())
        .arg("migrate")
        .args(arguments)
        .arg(project.dir())
        .args(["--set", &format!("store.main.url={url}")])
        .output()
        .expect("mainstay runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn from_nothing_through_an_edit_to_a_refusal() {
    let url = Postgres::shared().database();
    let project = Project::new(SCHEMA, "");
    project.write("data/notes.csv", "text\nfirst\n");
    let (status, out, errors) = run(&project, &url, &["plan"]);
    assert_eq!(status, 2, "{errors}");
    assert!(out.contains("-- schema.sql:1:1  table public.notes"), "{out}");
    assert!(out.contains("CREATE TABLE auth.users"), "{out}");
    let (status, out, errors) = run(&project, &url, &["apply"]);
    assert_eq!(status, 0, "{out}{errors}");
    let (status, out, _) = run(&project, &url, &["plan"]);
    assert_eq!((status, out.as_str()), (0, "-- store main: nothing to do\n"));

    let edited = SCHEMA.replace(
        "  text text NOT NULL\n",
        "  text text NOT NULL,\n  read boolean NOT NULL DEFAULT false\n",
    );
    project.write("schema.sql", &edited);
    let (status, out, _) = run(&project, &url, &["plan", "--json"]);
    assert_eq!(status, 2);
    let plan: Json = serde_json::from_str(&out).expect("JSON");
    let step = &plan["main"]["steps"][0];
    assert_eq!(
        step["sql"],
        "ALTER TABLE public.notes ADD COLUMN read boolean DEFAULT false NOT NULL"
    );
    assert_eq!(
        (&step["place"]["line"], &step["place"]["column"]),
        (&4.into(), &3.into())
    );
    assert_eq!(run(&project, &url, &["apply"]).0, 0);

    project.write("schema.sql", SCHEMA);
    let (status, _, errors) = run(&project, &url, &["apply"]);
    assert_eq!(status, 1);
    assert!(
        errors.contains("data would be lost") && errors.contains("DROP COLUMN read"),
        "{errors}"
    );
    let (status, out, errors) = run(&project, &url, &["apply", "--allow-data-loss"]);
    assert_eq!(status, 0, "{errors}");
    assert!(out.contains("DROP COLUMN read"), "{out}");

    project.write("schema.sql", "CREATE TABLE notes (\n  id bigint,\n  text strange\n);");
    let (status, _, errors) = run(&project, &url, &["plan"]);
    assert_eq!(status, 1);
    assert!(
        errors.starts_with("schema.sql:3:8: type \"strange\" does not exist"),
        "{errors}"
    );
}

#[test]
fn an_embedded_store_is_made_by_its_first_start() {
    let project = Project::new(SCHEMA, "");
    let (status, out, errors) = run(&project, "sqlite:.mainstay/main.db", &["plan"]);
    assert_eq!(status, 0, "{errors}");
    assert!(out.contains("store main: there is no file yet"), "{out}");
}
