//! The command line: a project from nothing to its end, and what each verb says when something is off.

use mainstay_tests::{Client, Command, Connection, Engine, Project, Receiver, binary, engine, free_port, until};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A verb to its end: whether it succeeded, what it printed, what it complained of.
fn run(arguments: &[&str], dir: &Path) -> (bool, String, String) {
    Command::new(binary(), "").args(arguments).in_dir(dir).run()
}

#[test]
fn new_check_serve() {
    let home = Project::empty();
    let (ok, out, _) = run(&["new", "notes"], home.dir());
    assert!(ok && out.contains("mainstay serve notes"), "{out}");
    // Nothing that is there is overwritten.
    let (ok, _, errors) = run(&["new", "notes"], home.dir());
    assert!(!ok && errors.contains("there is a project already"), "{errors}");
    let (ok, out, errors) = run(&["check", "notes"], home.dir());
    assert!(ok, "{errors}");
    assert!(
        out.contains("authenticated: reads notes; inserts into notes") && out.contains("anon: nothing"),
        "{out}"
    );
    assert!(out.contains("ok: "), "{out}");
    // By a relative path, as anybody types it.
    let process = Command::serve(["notes", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .in_dir(home.dir())
        .start();
    let (ok, token, errors) = run(
        &[
            "token",
            "notes",
            "--role",
            "authenticated",
            "--sub",
            "00000000-0000-4000-8000-00000000000a",
            "--ttl",
            "5m",
        ],
        home.dir(),
    );
    assert!(ok, "{errors}");
    let user = process.client().with_token(token.trim());
    user.post("/rest/v1/notes", &json!({"text": "first"})).expect(201);
    assert_eq!(
        user.get("/rest/v1/notes?select=text").expect(200).json(),
        json!([{"text": "first"}])
    );
    process.client().get("/rest/v1/notes").expect(401);
    // State is nobody else's to read, and git does not see it.
    assert_eq!(home.read("notes/.gitignore"), ".mainstay/\n");
    for secret in ["development.key", "admin.token"] {
        let meta = std::fs::metadata(home.dir().join("notes/.mainstay").join(secret)).expect("there");
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777,
            0o600,
            "{secret}"
        );
    }
    // A folder without anything is no project, nor is one that is not there.
    let empty = Project::empty();
    let (ok, _, errors) = run(&["check", "."], empty.dir());
    assert!(!ok && errors.contains("mainstay new"), "{errors}");
    let (ok, _, errors) = run(&["check", "nowhere"], empty.dir());
    assert!(
        !ok && errors.contains("nowhere") && errors.contains("no such directory"),
        "{errors}"
    );
}

#[test]
fn check_names_every_problem_and_its_place() {
    let project = Project::new(
        "CREATE TABLE orders (\n  id integer PRIMARY KEY,\n  total numeric(10,2) CHEK (total > 0)\n);\nCREATE TABLE items (\n  \
         order_id integer REFERENCES ordres (id),\n  at timestampz\n);\nCREATE POLICY p ON nothing USING (true);\n\
         GRANT SELECT ON itmes TO anon;\n",
        "[gateway]\nlisten = \"127.0.0.1:0\"\ndrain = 5\nlimts = {}\n\n[cache]\nmemory = \"64 potatoes\"\n\n[[on]]\n\
         change = \"orders\"\n",
    );
    // The configuration first, since it says where the rest is.
    let (ok, _, errors) = run(&["check", "."], project.dir());
    assert!(!ok);
    for wanted in [
        "mainstay.toml:3:9: [gateway] drain",
        "mainstay.toml:4:1: unknown key `limts` in [gateway]; did you mean `limits`?",
        "mainstay.toml:7:10: [cache] memory",
        "mainstay.toml:9:1: [[on]]",
    ] {
        assert!(errors.contains(wanted), "{wanted:?} is missing in\n{errors}");
    }
    assert!(errors.trim_end().ends_with("problems"), "{errors}");
    project.write(
        "mainstay.toml",
        "[cache.table.itms]\nttl = \"1h\"\n\n[[on]]\nchange = \"odrers\"\ncall = \"notify\"\n",
    );
    let (ok, _, errors) = run(&["check", "."], project.dir());
    assert!(!ok);
    for wanted in [
        "schema.sql:3:22: syntax error",
        "schema.sql:6:",
        "ordres",
        "schema.sql:7:",
        "timestampz",
        "schema.sql:9:",
        "nothing",
        "schema.sql:10:",
        "itmes",
    ] {
        assert!(errors.contains(wanted), "{wanted:?} is missing in\n{errors}");
    }
    // What names what the DDL does not have.
    project.write(
        "schema.sql",
        "CREATE TABLE orders (id integer PRIMARY KEY);\nCREATE TABLE items (id integer PRIMARY KEY);\n",
    );
    let (ok, _, errors) = run(&["check", "."], project.dir());
    assert!(!ok);
    for wanted in [
        "mainstay.toml:1:",
        "there is no table \"itms\"",
        "did you mean \"items\"",
        "mainstay.toml:4:",
        "\"odrers\"",
        "did you mean \"orders\"",
        "there is no function \"notify\"",
    ] {
        assert!(errors.contains(wanted), "{wanted:?} is missing in\n{errors}");
    }
    // `serve` says the same and does not start.
    let (ok, out, said) = run(&["serve", ".", "--listen", "127.0.0.1:0"], project.dir());
    assert!(!ok && out.is_empty());
    assert_eq!(said.trim_end(), errors.trim_end());
    // Seeds, too.
    project.write("mainstay.toml", "");
    project.write("data/items.csv", "id,colour\n1,red\n");
    let (ok, _, errors) = run(&["check", "."], project.dir());
    assert!(
        !ok && errors.contains("data/items.csv:1") && errors.contains("colour"),
        "{errors}"
    );
    // A function across stores cannot be one transaction.
    let project = Project::new(
        "",
        "[store.main]\nurl = \"sqlite:a.db\"\n[store.other]\nurl = \"sqlite:b.db\"\n[service.a]\n[service.b]\nstore = \"other\"\n",
    );
    std::fs::remove_file(project.dir().join("schema.sql")).expect("removed");
    project.write("services/a/schema.sql", "CREATE TABLE a (id integer PRIMARY KEY);\n");
    project.write(
        "services/b/schema.sql",
        "CREATE TABLE b (id integer PRIMARY KEY);\nCREATE FUNCTION in_two() RETURNS void LANGUAGE SQL BEGIN ATOMIC\n  \
         INSERT INTO a VALUES (1);\n  INSERT INTO b VALUES (1);\nEND;\n",
    );
    let (ok, _, errors) = run(&["check", "."], project.dir());
    assert!(
        !ok && errors.contains("services/b/schema.sql:") && errors.contains("store"),
        "{errors}"
    );
}

#[test]
fn a_command_line_that_is_off_is_refused() {
    let project = Project::new("CREATE TABLE t (id integer PRIMARY KEY);", "");
    for (arguments, words) in [
        (&["serv"][..], &["serv", "serve"][..]),
        (&["serve", "--listn", "127.0.0.1:0"], &["--listn", "--listen"]),
        (&["serve", "--listen", "nowhere"], &["listen", "nowhere"]),
        (&["serve", "--only", "cook"], &["cook", "gateway"]),
        (&["serve", "--service", "nobody"], &["nobody"]),
        (&["serve", "--set", "cache.memroy=1MiB"], &["memroy", "memory"]),
        (&["serve", "--set", "nonsense"], &["nonsense"]),
        (&["serve", "nowhere"], &["nowhere"]),
        (&["token"], &["--role"]),
        (&["token", "--role", "anon", "--ttl", "soon"], &["soon", "15m"]),
        (&["token", "nowhere", "--role", "anon"], &["nowhere"]),
        (&["events"], &["backlog", "replay"]),
        (&["events", "replay", "--id", "x"], &["x", "--id"]),
    ] {
        let (ok, out, errors) = run(arguments, project.dir());
        assert!(!ok && out.is_empty(), "{arguments:?}: {out}");
        words
            .iter()
            .for_each(|word| assert!(errors.contains(word), "{arguments:?}: {word:?} is missing in {errors}"));
        assert!(!errors.contains("panicked"), "{errors}");
    }
    for help in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let (ok, out, _) = run(help, project.dir());
        assert!(ok && out.to_lowercase().contains("mainstay"), "{out}");
    }
    // An address that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = taken.local_addr().expect("bound").to_string();
    let (ok, _, errors) = run(
        &["serve", ".", "--listen", &place, "--admin", "127.0.0.1:0"],
        project.dir(),
    );
    assert!(!ok && errors.contains(&place), "{errors}");
    // The development key is for this machine alone.
    let (ok, _, errors) = run(
        &["serve", ".", "--listen", "0.0.0.0:0", "--admin", "127.0.0.1:0"],
        project.dir(),
    );
    assert!(
        !ok && errors.contains("development key") && errors.contains("JWT_SECRET"),
        "{errors}"
    );
}

#[test]
fn a_schema_may_grow_and_not_shrink() {
    let project = Project::new(
        "CREATE TABLE t (id integer PRIMARY KEY, name text NOT NULL);\nGRANT ALL ON t TO anon;\n",
        "",
    );
    let process = project.serve();
    process
        .client()
        .post("/rest/v1/t", &json!({"id": 1, "name": "one"}))
        .expect(201);
    assert!(process.terminate());
    project.write(
        "schema.sql",
        "CREATE TABLE t (id integer PRIMARY KEY, name text NOT NULL, colour text, n integer NOT NULL DEFAULT 7);\n\
         CREATE INDEX t_colour ON t (colour);\nCREATE TABLE more (id integer PRIMARY KEY);\nGRANT ALL ON t, more TO anon;\n",
    );
    let (migrated, said) = project.migrate();
    assert!(migrated, "{said}");
    let process = project.serve();
    let rows = process.client().get("/rest/v1/t").expect(200).json();
    assert_eq!(rows, json!([{"id": 1, "name": "one", "colour": null, "n": 7}]));
    process.client().get("/rest/v1/more").expect(200);
    assert!(process.terminate());
    for (schema, word) in [
        (
            "CREATE TABLE t (id integer PRIMARY KEY, name text NOT NULL, n integer NOT NULL DEFAULT 7);\nCREATE TABLE more (id integer PRIMARY KEY);",
            "colour",
        ),
        (
            "CREATE TABLE t (id bigint PRIMARY KEY, name integer NOT NULL, colour text, n integer NOT NULL DEFAULT 7);\nCREATE TABLE more (id integer PRIMARY KEY);",
            "name",
        ),
    ] {
        project.write("schema.sql", schema);
        if engine() == Engine::Postgres {
            // There it is not the start that takes the database along, but the migration that refuses to lose something unasked.
            let (migrated, said) = project.migrate();
            assert!(!migrated && said.contains(word), "{said}");
            continue;
        }
        let (ok, out, errors) = run(
            &["serve", ".", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
            project.dir(),
        );
        assert!(
            !ok && out.is_empty() && errors.contains(word) && errors.contains("migrate"),
            "{errors}"
        );
    }
}

#[test]
fn sigterm_drains() {
    let began = Arc::new(AtomicBool::new(false));
    let finish = Arc::new(AtomicBool::new(false));
    let upstream = {
        let (began, finish) = (began.clone(), finish.clone());
        Receiver::start(move |_| {
            began.store(true, Ordering::SeqCst);
            while !finish.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            200
        })
    };
    let toml = format!(
        "[gateway]\ndrain = \"20s\"\n[upstream.slow]\nservers = [\"{}\"]\n[[route]]\nmatch = \"POST /slow/**\"\nto = \"slow\"\n",
        upstream.url("").trim_start_matches("http://")
    );
    let project = Project::new(
        "CREATE TABLE t (id integer PRIMARY KEY);\nGRANT ALL ON t TO anon;",
        &toml,
    );
    let process = project.serve();
    let admin = process.admin();
    let ready = admin.get("/readyz");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready\n"));
    let client = process.client();
    client.post("/rest/v1/t", &json!({"id": 1})).expect(201);
    let in_flight = {
        let client = client.clone();
        std::thread::spawn(move || client.try_send("POST", "/slow/x", &[], Some(b"{}")))
    };
    until("the slow request is under way", || {
        began.load(Ordering::SeqCst).then_some(())
    });
    let mut idle = Connection::open(&process.ready).expect("connects");
    idle.send("GET", "/rest/v1/t", &[], None).expect("answered");
    process.signal("TERM");
    // Not ready any more, while the operators' listener still answers.
    until("it says that it drains", || {
        let ready = admin.try_send("GET", "/readyz", &[], None).ok()?;
        (ready.status == 503 && ready.text().contains("draining")).then_some(())
    });
    assert_eq!(admin.get("/healthz").status, 200);
    until("new connections are refused", || {
        client.try_send("GET", "/rest/v1/t", &[], None).is_err().then_some(())
    });
    // An idle connection ends; the one in flight is let finish, with its whole answer.
    until("the idle connection has ended", || {
        idle.send("GET", "/rest/v1/t", &[], None).is_err().then_some(())
    });
    assert!(!in_flight.is_finished());
    finish.store(true, Ordering::SeqCst);
    let answer = in_flight.join().expect("a thread").expect("answered");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(process.ended(), "exit status 0");
    // What was acknowledged is there at the next start.
    let process = project.serve();
    assert_eq!(
        process.client().get("/rest/v1/t").expect(200).json(),
        json!([{"id": 1}])
    );
}

#[test]
fn a_drain_ends_in_time() {
    let upstream = Receiver::start(|_| {
        std::thread::park_timeout(Duration::from_secs(40));
        200
    });
    let toml = format!(
        "[gateway]\ndrain = \"1s\"\n[upstream.slow]\nservers = [\"{}\"]\n[[route]]\nmatch = \"POST /slow/**\"\nto = \"slow\"\n",
        upstream.url("").trim_start_matches("http://")
    );
    let project = Project::new("", &toml);
    let process = project.serve();
    let client = process.client();
    let in_flight = std::thread::spawn(move || client.try_send("POST", "/slow/x", &[], Some(b"{}")));
    until("the slow request is under way", || {
        (upstream.count() == 1).then_some(())
    });
    let began = Instant::now();
    process.signal("TERM");
    let ended = process.ended();
    let took = began.elapsed();
    assert!(
        ended && took >= Duration::from_millis(900) && took < Duration::from_secs(15),
        "{ended} {took:?}"
    );
    assert!(in_flight.join().expect("a thread").is_err(), "it was cut off");
}

#[test]
fn operators_see_what_happens() {
    let receiver = Receiver::start(|_| 200);
    let toml = format!(
        "[upstream.up]\nservers = [\"{}\"]\n[[route]]\nmatch = \"POST /up/**\"\nto = \"up\"\n[log]\nformat = \"json\"\n",
        receiver.url("").trim_start_matches("http://")
    );
    let project = Project::new(
        "CREATE TABLE t (id integer PRIMARY KEY, name text);\nGRANT ALL ON t TO anon;",
        &toml,
    );
    let process = Command::serve([project.dir().as_os_str()])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .start();
    let (client, admin) = (process.client(), process.admin());
    assert_eq!(
        (admin.get("/healthz").status, admin.get("/healthz").text().as_str()),
        (200, "ok\n")
    );
    client
        .post("/rest/v1/t", &json!({"id": 1, "name": "a secret"}))
        .expect(201);
    until("an answer comes from the cache", || {
        (client.get("/rest/v1/t").expect(200).cache() == "mainstay; hit").then_some(())
    });
    client.get("/rest/v1/t?password=eq.hunter2").expect(400);
    client.get("/nowhere").expect(404);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    client
        .send("POST", "/up/x", &[("traceparent", &parent)], Some(b"{}"))
        .expect(200);

    // Metrics: names, types and labels as Prometheus reads them, and figures that move.
    let metrics = admin.get("/metrics");
    assert!(
        metrics
            .header("content-type")
            .is_some_and(|t| t.starts_with("text/plain; version=0.0.4"))
    );
    let text = until("the metrics have come round", || {
        let text = admin.get("/metrics").text();
        let hits = text
            .lines()
            .find_map(|l| l.strip_prefix("mainstay_cache_hits_total "))?;
        (hits != "0").then_some(text)
    });
    for name in [
        "mainstay_requests_total",
        "mainstay_request_seconds_bucket",
        "mainstay_connections",
        "mainstay_cache_entries",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    ] {
        assert!(
            text.lines().any(|l| l.starts_with(name)),
            "{name} is missing in\n{text}"
        );
    }
    for family in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().unwrap_or_default();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        assert!(value.parse::<f64>().is_ok(), "{line:?}");
        let name = series.split('{').next().unwrap_or_default();
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':'),
            "{line:?}"
        );
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|s| name.strip_suffix(s))
            .unwrap_or(name);
        assert!(
            text.contains(&format!("# TYPE {family} ")) || text.contains(&format!("# TYPE {name} ")),
            "{name} has no type"
        );
    }
    assert!(
        !text.contains("hunter2") && !text.contains("/rest/v1/t?"),
        "no label is made of what a client sends"
    );

    // The log: a JSON object per line, one for each request, with its route, times, cache verdict and trace.
    let wanted = 5;
    let records: Vec<Json> = until("the access log is written", || {
        let lines = process.log();
        let records: Vec<Json> = lines
            .iter()
            .map(|line| serde_json::from_str::<Json>(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .filter(|record| record["kind"] == json!("request"))
            .collect();
        let through = records
            .iter()
            .any(|r| r["path"].as_str().is_some_and(|p| p.starts_with("/up/")));
        (records.len() >= wanted && through).then_some(records)
    });
    let of = |path: &str| {
        records
            .iter()
            .rfind(|r| r["path"].as_str().is_some_and(|p| p.starts_with(path)))
            .unwrap_or_else(|| panic!("{path}: {records:?}"))
    };
    for path in ["/rest/v1/t", "/nowhere", "/up/x"] {
        let record = of(path);
        for key in ["at", "method", "status", "bytes", "peer", "total_us", "trace"] {
            assert!(!record[key].is_null(), "{path}: {key} is missing in {record}");
        }
    }
    assert!(
        records
            .iter()
            .any(|r| r["cache"] == json!("hit") && r["phases_us"]["service"].is_number()),
        "{records:?}"
    );
    assert_eq!(of("/up/x")["trace"], json!(trace));
    assert!(
        of("/up/x")["route"].as_str().is_some_and(|r| r.contains("/up/**")),
        "{}",
        of("/up/x")
    );
    // The trace goes on upstream, under a span of ours.
    let seen = receiver.seen();
    let went = seen[0].header("traceparent");
    assert!(
        went.starts_with(&format!("00-{trace}-")) && !went.contains("00f067aa0ba902b7"),
        "{went}"
    );
    // No value of a row, and no token, is ever logged.
    let all = process.log().join("\n");
    assert!(!all.contains("a secret"), "{all}");
}

#[test]
fn a_reader_sees_text_when_asked() {
    let project = Project::new(
        "CREATE TABLE t (id integer PRIMARY KEY);\nGRANT ALL ON t TO anon;",
        "[log]\nformat = \"text\"\n",
    );
    let process = Command::serve([project.dir().as_os_str()])
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin",
            &format!("127.0.0.1:{}", free_port()),
        ])
        .start();
    process.client().get("/rest/v1/t").expect(200);
    let line = until("the request is logged", || {
        process.log().into_iter().find(|l| l.contains("/rest/v1/t"))
    });
    assert!(
        line.contains("GET") && line.contains("200") && !line.starts_with('{'),
        "{line}"
    );
    let _: Client = process.client();
}

#[test]
fn check_refuses_a_function_that_its_engine_cannot_run() {
    let schema = "CREATE TABLE a (id uuid PRIMARY KEY, n integer);\n\
                  CREATE FUNCTION move_it(k uuid) RETURNS void LANGUAGE SQL BEGIN ATOMIC\n\
                  \x20 WITH moved AS (DELETE FROM a WHERE id = k RETURNING n) INSERT INTO a SELECT gen_random_uuid(), n FROM moved;\n\
                  END;\n";
    let project = Project::new(schema, "");
    let (ok, _, errors) = mainstay_tests::Command::new(mainstay_tests::binary(), "")
        .arg("check")
        .arg(project.dir())
        .run();
    assert!(!ok, "{errors}");
    assert!(
        errors.contains("schema.sql:2:17: function move_it: WITH moved"),
        "{errors}"
    );
}
