//! A rolling upgrade: two instances on one database while its schema is changed under them, the one of the old project and the one of
//! the new side by side.

use mainstay_tests::{Client, Command, Postgres, Process, Project, SECRET, binary, until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const OLD: &str = "
CREATE TABLE things (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
CREATE FUNCTION named(name text) RETURNS SETOF things LANGUAGE sql STABLE AS $$ SELECT * FROM things t WHERE t.name = named.name $$;
GRANT ALL ON things TO service_role;
GRANT EXECUTE ON FUNCTION named TO service_role;
";

fn project(url: &str, schema: &str) -> Project {
    let project = Project::new(schema, "");
    project.write(
        "mainstay.toml",
        &format!("[store.main]\nurl = \"{url}\"\n[auth]\nsecret = \"{SECRET}\"\n"),
    );
    project
}

fn migrate(project: &Project) {
    let output = std::process::Command::new(binary())
        .args(["migrate", "apply"])
        .arg(project.dir())
        .output()
        .expect("mainstay runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn serve(project: &Project) -> (Process, Client) {
    // The harness would make databases of its own.
    let process = Command::serve([project.dir().as_os_str()])
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

#[test]
fn old_and_new_serve_side_by_side_while_a_column_is_added() {
    let url = Postgres::shared().database();
    let old = project(&url, OLD);
    migrate(&old);
    let new = project(
        &url,
        &OLD.replace(
            "name text NOT NULL)",
            "name text NOT NULL, weight integer NOT NULL DEFAULT 1)",
        ),
    );
    let (old_process, old_client) = serve(&old);
    old_client
        .post("/rest/v1/things", &json!({"name": "first"}))
        .expect(201);
    let done = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let written = Arc::new(AtomicUsize::new(1));
    let load: Vec<_> = (0..6)
        .map(|n| {
            let (client, done, asked, written) = (old_client.clone(), done.clone(), asked.clone(), written.clone());
            std::thread::spawn(move || {
                let mut wrong = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let answer = match n % 3 {
                        0 => client.get("/rest/v1/things?order=id&limit=5"),
                        1 => client.get("/rest/v1/rpc/named?name=first"),
                        _ => client.post_with(
                            "/rest/v1/things",
                            &[("prefer", "return=representation")],
                            &json!({"name": "more"}),
                        ),
                    };
                    asked.fetch_add(1, Ordering::SeqCst);
                    match answer.status {
                        201 => drop(written.fetch_add(1, Ordering::SeqCst)),
                        200 => {}
                        _ => wrong.push(format!("{}: {}", answer.status, answer.text())),
                    }
                }
                wrong
            })
        })
        .collect();
    let more = |what: &str| {
        let from = asked.load(Ordering::SeqCst);
        until(what, || (asked.load(Ordering::SeqCst) > from + 60).then_some(()));
    };
    more("the old one serves");
    migrate(&new);
    more("the old one serves the new schema");
    let (new_process, new_client) = serve(&new);
    // Both write, each what it knows; the new one has what the old one has written.
    new_client
        .post("/rest/v1/things", &json!({"name": "heavy", "weight": 7}))
        .expect(201);
    let heavy = new_client
        .get("/rest/v1/things?select=name,weight&weight=eq.7")
        .expect(200);
    assert_eq!(heavy.json(), json!([{"name": "heavy", "weight": 7}]));
    let first = new_client
        .get("/rest/v1/rpc/named?name=first&select=weight")
        .expect(200);
    assert_eq!(first.json(), json!([{"weight": 1}]));
    assert_eq!(
        old_client
            .get("/rest/v1/things?name=eq.heavy&select=name")
            .expect(200)
            .json(),
        json!([{"name": "heavy"}])
    );
    // What the old one does not know it does not serve.
    assert_eq!(old_client.get("/rest/v1/things?select=weight").status, 400);
    more("the old one serves beside the new one");
    done.store(true, Ordering::SeqCst);
    let wrong: Vec<String> = load.into_iter().flat_map(|t| t.join().expect("a client")).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {:?}",
        wrong.len(),
        asked.load(Ordering::SeqCst),
        wrong.first()
    );
    assert!(old_process.terminate());
    let rows = Postgres::shared().execute(&url, "SELECT count(*) FROM things");
    assert_eq!(
        rows,
        (written.load(Ordering::SeqCst) + 1).to_string(),
        "each acknowledged row is there, once"
    );
    assert!(new_process.terminate());
}
