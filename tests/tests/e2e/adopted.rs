//! A PostgreSQL database that was there before: served from its URL alone, with its own roles and rules, followed when it changes,
//! and asked what its reads cost.

use mainstay_tests::{Client, Command, Postgres, Process, Project, SECRET, until};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const TABLES: &str = "
    CREATE ROLE shop_reader;
    CREATE TABLE public.makers (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE public.things (id integer PRIMARY KEY, maker integer REFERENCES public.makers, name text, secret text);
    INSERT INTO makers VALUES (1, 'one'), (2, 'two');
    INSERT INTO things SELECT n, n % 2 + 1, 'thing ' || n, 'secret ' || n FROM generate_series(1, 50) n;
    CREATE FUNCTION public.loud(makers) RETURNS text LANGUAGE sql STABLE AS $$ SELECT $1.name || '!' $$;
    CREATE PROCEDURE public.tidy() LANGUAGE sql AS 'SELECT 1';
    CREATE SCHEMA private;
    CREATE TABLE private.hidden (id integer PRIMARY KEY);
    GRANT USAGE ON SCHEMA private TO shop_reader;
    GRANT SELECT ON public.makers TO shop_reader;
    GRANT SELECT (id, maker, name) ON public.things TO shop_reader;
    GRANT EXECUTE ON FUNCTION public.loud TO shop_reader;";

struct Adopted {
    server: &'static Postgres,
    url: String,
    project: Project,
    process: Process,
    anon: Client,
}

impl Adopted {
    fn start(more: &str) -> Adopted {
        let server = Postgres::shared();
        let url = server.database();
        let role = format!(
            "reader_{}",
            url.rsplit("test_")
                .next()
                .unwrap_or_default()
                .split('?')
                .next()
                .unwrap_or_default()
        );
        server.execute(&url, &TABLES.replace("shop_reader", &role));
        let project = Project::empty();
        project.write(
            "mainstay.toml",
            &format!("[store.main]\nurl = \"{url}\"\n[auth]\nsecret = \"{SECRET}\"\n[api]\nanon = \"{role}\"\n{more}"),
        );
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
        let anon = process.client();
        Adopted {
            server,
            url,
            project,
            process,
            anon,
        }
    }

    fn execute(&self, sql: &str) {
        self.server.execute(&self.url, sql);
    }
}

#[test]
fn a_database_is_served_as_it_is() {
    let it = Adopted::start("");
    let rows = it
        .anon
        .get("/rest/v1/things?select=id,makers(name,loud)&id=eq.3")
        .expect(200);
    assert_eq!(
        rows.json(),
        json!([{"id": 3, "makers": {"name": "two", "loud": "two!"}}])
    );
    let back = it
        .anon
        .get("/rest/v1/makers?select=name,things(id)&things.id=lt.4&order=id")
        .expect(200);
    assert_eq!(
        back.json(),
        json!([{"name": "one", "things": [{"id": 2}]}, {"name": "two", "things": [{"id": 1}, {"id": 3}]}])
    );
    // Its own privileges, its own errors: a token is missing, not a right.
    for path in [
        "/rest/v1/things?select=secret",
        "/rest/v1/things",
        "/rest/v1/things?order=secret",
    ] {
        assert_eq!(it.anon.get(path).expect(401).json()["code"], "42501", "{path}");
    }
    it.anon.get("/rest/v1/hidden").expect(404);
    let (ok, said, errors) = Command::new(mainstay_tests::binary(), "")
        .arg("check")
        .arg(it.project.dir())
        .run();
    assert!(ok, "{said}{errors}");
    for words in ["2 tables", "reads", "not served: procedure public.tidy()"] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}

#[test]
fn what_is_only_read_writes_nothing() {
    // Whoever has no token is the login role itself, for whom nothing has to be set: a reading request is one all the same.
    let server = Postgres::shared();
    let url = server.database();
    server.execute(
        &url,
        "CREATE TABLE planted (id integer PRIMARY KEY); INSERT INTO planted VALUES (1); \
         CREATE FUNCTION plant() RETURNS integer LANGUAGE sql AS 'INSERT INTO planted SELECT max(id) + 1 FROM planted RETURNING id'; \
         CREATE FUNCTION sown(planted) RETURNS integer LANGUAGE sql AS 'SELECT plant()'; \
         CREATE VIEW meadow AS SELECT plant() AS id",
    );
    let project = Project::empty();
    let toml = format!("[store.main]\nurl = \"{url}\"\n[auth]\nsecret = \"{SECRET}\"\n[api]\nanon = \"postgres\"\n");
    project.write("mainstay.toml", &toml);
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
    let client = process.client();
    for path in [
        "rpc/plant",
        "meadow",
        "planted?select=id,sown",
        "planted?sown=gt.0",
        "planted?order=sown",
    ] {
        for method in ["GET", "HEAD"] {
            let answer = client.send(method, &format!("/rest/v1/{path}"), &[], None);
            assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
        }
    }
    assert_eq!(client.get("/rest/v1/planted").expect(200).json(), json!([{"id": 1}]));
    client.post("/rest/v1/rpc/plant", &json!({})).expect(200);
    assert_eq!(
        client.get("/rest/v1/planted").expect(200).json(),
        json!([{"id": 1}, {"id": 2}])
    );
}

#[test]
fn a_function_of_the_database_is_asked_before_each_request() {
    let it = Adopted::start("pre_request = \"public.admit\"\n");
    // Until it is there nothing is answered: a guard that is missing lets nobody in.
    assert_eq!(it.anon.get("/rest/v1/makers").status, 404);
    it.execute(
        "CREATE FUNCTION public.admit() RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
           IF current_setting('request.headers')::json ->> 'x-paid' IS NULL THEN \
             RAISE SQLSTATE 'PT402' USING MESSAGE = 'Payment first', HINT = current_setting('request.path'); \
           END IF; \
           PERFORM set_config('response.headers', '[{\"x-admitted\": \"yes\"}]', true); \
         END $$",
    );
    let refused = it.anon.get("/rest/v1/makers").expect(402).json();
    assert_eq!(
        (&refused["message"], &refused["hint"]),
        (&json!("Payment first"), &json!("/makers"))
    );
    let admitted = it
        .anon
        .send("GET", "/rest/v1/makers?select=id&id=eq.1", &[("x-paid", "1")], None);
    assert_eq!(admitted.status, 200, "{}", admitted.text());
    assert_eq!(
        (admitted.json(), admitted.header("x-admitted")),
        (json!([{"id": 1}]), Some("yes"))
    );
}

#[test]
fn a_changed_database_is_followed_without_a_pause() {
    let it = Adopted::start("");
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (anon, done) = (it.anon.clone(), done.clone());
        std::thread::spawn(move || {
            let mut answered = 0;
            while !done.load(Ordering::SeqCst) {
                anon.get("/rest/v1/things?select=id,name&limit=1").expect(200);
                answered += 1;
            }
            answered
        })
    };
    let role = it.server.execute(&it.url, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'reader%' AND has_column_privilege(oid, 'public.things', 'name', 'SELECT') AND NOT rolsuper LIMIT 1");
    it.execute(&format!(
        "ALTER TABLE things ADD COLUMN weight numeric DEFAULT 1.5; GRANT SELECT (weight) ON things TO {role}"
    ));
    until("the column is served", || {
        let answer = it.anon.get("/rest/v1/things?select=weight&id=eq.1");
        (answer.status == 200).then(|| assert_eq!(answer.json(), json!([{"weight": 1.5}])))
    });
    it.execute(&format!(
        "CREATE TABLE later (id integer PRIMARY KEY, thing integer REFERENCES things); INSERT INTO later VALUES (1, 7); \
         GRANT SELECT ON later TO {role}; NOTIFY pgrst, 'reload schema'"
    ));
    until("the table and its relationship are served", || {
        let answer = it.anon.get("/rest/v1/later?select=id,things(name)");
        (answer.status == 200).then(|| assert_eq!(answer.json(), json!([{"id": 1, "things": {"name": "thing 7"}}])))
    });
    it.execute("DROP TABLE later");
    until("the table is gone", || {
        (it.anon.get("/rest/v1/later").status == 404).then_some(())
    });
    done.store(true, Ordering::SeqCst);
    let answered = reader.join().expect("every read was answered meanwhile");
    println!("{answered} reads were answered while the schema changed three times");
    assert!(answered > 10);
    assert!(it.process.terminate());
}

#[test]
fn slow_reads_are_told_of_and_missing_indexes_named() {
    let it = Adopted::start("[log]\nslow = \"1ms\"\n");
    it.execute("INSERT INTO things SELECT n, 1, 'thing ' || n, 'x' FROM generate_series(51, 60000) n");
    for n in 1..20 {
        it.anon
            .get(&format!("/rest/v1/things?select=id&name=eq.thing%20{n}"))
            .expect(200);
    }
    until("the log tells of it", || {
        it.process
            .log()
            .iter()
            .any(|line| line.contains("waited"))
            .then_some(())
    });
    let log = it.process.log().join("\n");
    assert!(log.contains("GET /rest/v1/things (trace "), "{log}");
    assert!(
        log.contains(r#"FROM \"public\".\"things\""#) && log.contains("Seq Scan"),
        "{log}"
    );
    assert!(!log.contains("thing 1'"), "values are not told: {log}");
    let operators = it.process.admin();
    let (ok, said, errors) = Command::new(mainstay_tests::binary(), "")
        .arg("explain")
        .arg(it.project.dir())
        .args(["--admin", operators.address()])
        .run();
    assert!(ok, "{said}{errors}");
    for words in [
        "19 calls",
        "things as reader",
        "Seq Scan",
        "missing: CREATE INDEX ON \"public\".\"things\" (\"name\")",
    ] {
        assert!(said.contains(words), "{words:?} is not in\n{said}");
    }
}
