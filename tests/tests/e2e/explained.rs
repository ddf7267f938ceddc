//! Plans, over the wire and from the command line: what a request would do, without its being done.

use mainstay_tests::{AdoptedDatabase, Command, Engine, Process, Project, engine, until};
use serde_json::json;

const TABLES: &str = "
    CREATE TABLE films (id integer PRIMARY KEY, title text NOT NULL, year integer);
    INSERT INTO films SELECT n, 'film ' || n, 1900 + n % 100 FROM generate_series(1, 100) n;
    CREATE TABLE secrets (id integer PRIMARY KEY);
    CREATE FUNCTION age(film integer) RETURNS integer LANGUAGE sql AS 'UPDATE films SET year = year - 1 WHERE id = film RETURNING year';
    GRANT SELECT, INSERT, UPDATE, DELETE ON films TO ANON;";

#[test]
fn writes_have_plans_on_postgres() {
    let it = AdoptedDatabase::start(TABLES, "plan = true\n");
    let film = br#"{"id": 1000, "title": "new", "year": 2000}"#;
    let films = || it.execute("SELECT count(*), sum(year) FROM films");
    let before = films();
    let plan = |method: &str, path: &str, form: &str, body: &[u8]| {
        let path = format!("/rest/v1/{path}");
        let accept = format!("application/vnd.pgrst.plan{form}");
        let answer = it
            .anon
            .send(method, &path, &[("accept", &*accept)], Some(body))
            .expect(200);
        assert!(
            answer
                .header("content-type")
                .unwrap_or_default()
                .starts_with("application/vnd.pgrst.plan+")
        );
        answer
    };
    for (method, path, body, words) in [
        ("POST", "films", &film[..], "Insert on films"),
        ("POST", "films?on_conflict=id", film, "Insert on films"),
        ("PUT", "films?id=eq.1000", film, "Conflict Resolution: UPDATE"),
        ("PATCH", "films?id=eq.1", br#"{"year": 1}"#, "Update on films"),
        ("PATCH", "films/1", br#"{"year": 1}"#, "Index Scan using films_pkey"),
        ("DELETE", "films?id=eq.1", b"", "Delete on films"),
        ("POST", "rpc/age", br#"{"film": 1}"#, "cost="),
    ] {
        let text = plan(method, path, "", body).text();
        assert!(text.contains(words), "{method} {path}: {text}");
        let parsed = plan(method, path, "+json; options=verbose", body).json();
        assert!(
            parsed[0]["Plan"]["Total Cost"].as_f64().is_some(),
            "{method} {path}: {parsed}"
        );
    }
    assert_eq!(films(), before, "plans alone change nothing");
    let measure = "application/vnd.pgrst.plan; options=analyze";
    let undone = it.anon.send(
        "DELETE",
        "/rest/v1/films?id=lt.10",
        &[("accept", measure), ("prefer", "tx=rollback")],
        None,
    );
    let undone = undone.expect(200);
    assert!(undone.text().contains("actual time"), "{}", undone.text());
    assert_eq!(undone.header("preference-applied"), Some("tx=rollback"));
    assert_eq!(films(), before);
    it.anon
        .send("DELETE", "/rest/v1/films?id=lt.10", &[("accept", measure)], None)
        .expect(200);
    assert_eq!(it.execute("SELECT count(*) FROM films").trim(), "91");
    // What may not be done has no plan, and leaves the connection usable.
    for (path, form) in [
        ("secrets?id=eq.1", measure),
        ("secrets?id=eq.1", "application/vnd.pgrst.plan"),
    ] {
        let refused = it
            .anon
            .send("DELETE", &format!("/rest/v1/{path}"), &[("accept", form)], None)
            .expect(401);
        assert_eq!(refused.json()["code"], json!("42501"));
    }
    it.anon
        .post("/rest/v1/films", &json!({"id": 2000, "title": "t"}))
        .expect(201);
}

/// `mainstay explain` with arguments, of a process that runs; what it says.
fn explain(dir: &std::path::Path, process: &Process, args: &[&str]) -> String {
    let operators = process.admin();
    let (ok, said, errors) = Command::new(mainstay_tests::binary(), "")
        .arg("explain")
        .arg(dir)
        .args(args)
        .args(["--admin", operators.address()])
        .run();
    assert!(ok, "{args:?}: {said}{errors}");
    said
}

#[test]
fn a_request_is_explained_on_postgres() {
    let it = AdoptedDatabase::start(TABLES, "");
    let films = || it.execute("SELECT count(*), sum(year) FROM films");
    let before = films();
    let told = |args: &[&str]| explain(it.project.dir(), &it.process, args);
    let has = |said: &str, all: &[&str]| {
        for words in all {
            assert!(said.contains(words), "{words:?} is not in\n{said}");
        }
    };
    has(
        &told(&["GET /rest/v1/films?select=title&id=eq.7"]),
        &[
            "route           route \"rest\"",
            &format!("role {}", it.role),
            "reads public.films",
            "would not be asked: no change feed",
            "PostgreSQL",
            "1 = 7",
            "Index Scan using films_pkey",
        ],
    );
    for (request, body, words) in [
        (
            "POST /rest/v1/films",
            r#"{"id": 1000, "title": "new"}"#,
            "Insert on films",
        ),
        ("PATCH /rest/v1/films?id=lt.10", r#"{"year": 1}"#, "Update on films"),
        ("POST /rest/v1/rpc/age", r#"{"film": 1}"#, "age"),
    ] {
        has(&told(&[request, "--data", body]), &[words, "rows=", "public."]);
        has(&told(&[request, "--data", body, "--analyze"]), &[words, "actual time"]);
    }
    has(
        &told(&["DELETE /rest/v1/films", "--analyze"]),
        &["actual time", "Delete on films"],
    );
    assert_eq!(films(), before, "what is explained is not done");
    has(&told(&["GET /rest/v1/secrets"]), &["none: 42501"]);
    has(&told(&["GET /rest/v1/nothing"]), &["refused: 404 PGRST205"]);
    has(&told(&["GET /rest/v1/films?select=a->b"]), &["refused: 400"]);
    has(&told(&["GET /elsewhere"]), &["refused: 404 GW201"]);
    has(
        &told(&["GET /rest/v1/films", "-H", "Authorization: Bearer nonsense"]),
        &["authenticate    refused: 401 PGRST301"],
    );
    has(
        &told(&["GET /rest/v1/films", "--role", "nobody", "--sub", "7"]),
        &["role nobody, sub 7"],
    );
}

#[test]
fn a_request_is_explained_with_policies_and_a_cache() {
    let project = Project::example("shop");
    let process = project.serve();
    let told = |args: &[&str]| explain(project.dir(), &process, args);
    let user = "00000000-0000-4000-8000-000000000007";
    let said = told(&[
        "GET /rest/v1/orders?select=id,order_items(quantity)",
        "--role",
        "authenticated",
        "--sub",
        user,
    ]);
    for words in ["reads public.orders", "sql\n  SELECT", "order_items", "plan\n"] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
    if engine() == Engine::Sqlite {
        assert!(said.contains("would be asked") && said.contains(user), "{said}");
        let measured = told(&["GET /rest/v1/products", "--analyze"]);
        assert!(measured.contains("this store measures nothing"), "{measured}");
    }
    let refused = told(&["DELETE /rest/v1/products?name=eq.x"]);
    assert!(refused.contains("42501"), "{refused}");
}

const SLOW: &str = "
    CREATE TABLE notes (id integer PRIMARY KEY, text text);
    CREATE FUNCTION long() RETURNS bigint STABLE LANGUAGE sql BEGIN ATOMIC
      SELECT count(*) FROM generate_series(1, 400000);
    END;
    GRANT SELECT, INSERT ON notes TO anon;
    GRANT EXECUTE ON FUNCTION long() TO anon;";

#[test]
fn what_is_slow_is_told_of_with_its_request() {
    let project = Project::new(SLOW, "[log]\nslow = \"1ms\"\n");
    let process = project.serve();
    let anon = process.client();
    anon.get("/rest/v1/rpc/long?x=1").expect(404);
    anon.get("/rest/v1/rpc/long").expect(200);
    let notes: Vec<_> = (0..5000).map(|n| json!({"id": n, "text": "a secret"})).collect();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let sent = anon.send(
        "POST",
        "/rest/v1/notes?columns=id,text",
        &[("content-type", "application/json"), ("traceparent", &parent)],
        Some(json!(notes).to_string().as_bytes()),
    );
    sent.expect(201);
    let write = format!("POST /rest/v1/notes (trace {trace}) by anon waited");
    let told = until("the log tells of both", || {
        let log = process.log().join("\n");
        (log.contains("GET /rest/v1/rpc/long (trace ") && log.contains(&write)).then_some(log)
    });
    assert!(told.contains("INSERT INTO") && told.contains("notes"), "{told}");
    assert!(!told.contains("a secret"), "values are not told: {told}");
}
