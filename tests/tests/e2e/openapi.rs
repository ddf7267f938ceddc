//! schemathesis against the API and its description: requests made up from the document, some that fit it and some that do not. None
//! may fail with 5xx, none may be answered otherwise than the document says, and what it forbids is refused.
//!
//! `MAINSTAY_EXAMPLES` is how many requests an operation gets besides those for each keyword of its schemas; without it a few, within
//! a time that every test run can spare.

use mainstay_tests::{Command, Engine, Postgres, Process, Project, SECRET, engine, skip};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Requests of an operation, and seconds, of a run that is not asked for more.
const EXAMPLES: u32 = 10;
const SECONDS: u32 = 15;

/// A user of the tests' own rows.
const USER: &str = "00000000-0000-4000-8000-0000000000aa";

#[test]
fn the_api_is_what_its_description_says() {
    let name = "openapi::the_api_is_what_its_description_says";
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/schemathesis");
    if !program.exists() {
        return skip(name, "schemathesis is not installed (cargo xtask engines)");
    }
    let (_project, process) = serve();
    for role in ["anon", "authenticated"] {
        judge(
            &program,
            &process,
            role,
            "schemathesis.toml",
            &["--phases", "examples,coverage,fuzzing"],
        );
        judge(
            &program,
            &process,
            role,
            "values.toml",
            &["--phases", "fuzzing", "--mode", "positive"],
        );
    }
}

/// On PostgreSQL a database that is adopted as it is, on the embedded engine a schema of the same.
fn serve() -> (Project, Process) {
    let folder = folder();
    let toml = format!("[auth]\nsecret = \"{SECRET}\"\n[api]\naggregates = true\n");
    let project = match engine() {
        Engine::Sqlite => {
            let schema = std::fs::read_to_string(folder.join("schema.sql")).expect("the schema");
            Project::new(&schema, &toml)
        }
        Engine::Postgres => {
            let url = Postgres::shared().database();
            let database = url.split(['/', '?']).nth(3).expect("the URL names a database");
            Postgres::shared().load_into(database, &folder.join("adopted.sql"));
            let project = Project::empty();
            project.write("mainstay.toml", &format!("[store.main]\nurl = \"{url}\"\n{toml}"));
            project
        }
    };
    let process = Command::serve([project.dir().as_os_str()])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(["--set", "log.access=false"])
        .start();
    (project, process)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi")
}

/// Runs it as a role; panics with what it found.
fn judge(program: &Path, process: &Process, role: &str, config: &str, how: &[&str]) {
    let asked: Option<u32> = std::env::var("MAINSTAY_EXAMPLES").ok().and_then(|n| n.parse().ok());
    let mut command = Command::new(program, "")
        .arg("--config-file")
        .arg(folder().join(config))
        .arg("run")
        .arg(format!("{}/rest/v1/", process.ready))
        .args(["--checks", "all", "--continue-on-failure"])
        .args(how)
        .args([
            "--no-color",
            "--no-shrink",
            "--generation-database",
            "none",
            "--max-examples",
        ])
        .arg(asked.unwrap_or(EXAMPLES).to_string());
    if asked.is_none() {
        command = command.args(["--max-time", &SECONDS.to_string(), "--seed", "1"]);
    }
    if role != "anon" {
        let token = Project::signed(role, Some(USER), &json!({}));
        command = command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let (ok, output, errors) = command.run();
    let summary = output.find("= SUMMARY =").map_or("", |at| &output[at..]);
    println!("{role}, {config}: {summary}");
    assert!(
        ok && summary.contains("Tested:"),
        "{role}, {config}: {output}{errors}\n{}",
        process.log().join("\n")
    );
}
