//! Backup and restore, on whichever engine the tests run: what was acknowledged before a backup is in it, and comes back; what is
//! no whole archive of this project does not.

use mainstay_tests::{Command, Engine, Postgres, Process, Project, binary, engine, skip, until};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

const SCHEMA: &str = "
    CREATE TABLE entries (id integer PRIMARY KEY, note text);
    CREATE TABLE numbered (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
    CREATE FUNCTION tell(id integer) RETURNS void LANGUAGE SQL
      BEGIN ATOMIC
        INSERT INTO entries (id, note) VALUES (tell.id, 'told');
        SELECT emit('told', jsonb_build_object('id', tell.id));
      END;
    GRANT ALL ON entries, numbered TO service_role;
    GRANT EXECUTE ON FUNCTION tell TO service_role;
";

/// Nobody listens there: what is relayed waits on the bus.
const TOML: &str = "[backup]\nto = \"backups\"\nkeep = { last = 2 }\n\
    [[on]]\nname = \"tellers\"\nevent = \"told\"\ndeliver = \"http://127.0.0.1:9/\"\n\
    retry = { attempts = 9, backoff = \"fixed\", initial = \"60s\" }\n";

/// A verb to its end: whether it succeeded, and all that it said.
fn run(project: &Project, verb: &str, arguments: &[&str]) -> (bool, String) {
    let command = Command::new(binary(), "").arg(verb).arg(project.dir()).args(arguments);
    let (ok, out, errors) = command.args(project.overrides()).run();
    (ok, out + &errors)
}

/// `mainstay backup` beside a process that serves.
fn back_up(project: &Project, process: &Process) -> PathBuf {
    let admin = process.admin().address().to_owned();
    let (ok, said) = run(project, "backup", &["--admin", &admin]);
    assert!(ok, "{said}");
    newest(project)
}

fn archives(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|f| f.path())
        .collect();
    files.sort();
    files
}

fn newest(project: &Project) -> PathBuf {
    archives(&project.dir().join("backups")).pop().expect("an archive")
}

/// A server that ends with its test, whichever way that ends.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends the writer whichever way its scope ends.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn ids(rows: &Json) -> BTreeSet<i64> {
    rows.as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["id"].as_i64())
        .collect()
}

#[test]
fn what_was_acknowledged_before_a_backup_comes_back_elsewhere() {
    let project = Project::new(SCHEMA, TOML);
    let process = project.serve();
    let service = process.client().with_token(&project.token("service_role", None));
    let user = json!({"email": "ann@example.com", "password": "correct horse"});
    process.client().post("/auth/v1/signup", &user).expect(200);
    for _ in 0..3 {
        service.post("/rest/v1/numbered", &json!({"note": "n"})).expect(201);
    }
    let (acknowledged, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let (before, archive) = std::thread::scope(|threads| {
        // Also when something below panics.
        let _stop = StopOnDrop(&stop);
        threads.spawn(|| {
            let mut id = 0;
            while !stop.load(Ordering::Acquire) {
                id += 1;
                service.post("/rest/v1/rpc/tell", &json!({"id": id})).expect(204);
                acknowledged.store(id, Ordering::Release);
            }
        });
        until("writes are under way", || {
            (acknowledged.load(Ordering::Acquire) >= 20).then_some(())
        });
        let before = acknowledged.load(Ordering::Acquire);
        let archive = back_up(&project, &process);
        until("writes go on", || {
            (acknowledged.load(Ordering::Acquire) > before + 5).then_some(())
        });
        (before, archive)
    });
    let archive = archive.to_str().expect("UTF-8");
    // What a drill says of the place that goes on.
    let (ok, said) = run(&project, "restore", &["--drill", "--from", archive]);
    assert!(
        ok && said.contains("the archive is good") && said.contains("entries: at least "),
        "{said}"
    );
    assert!(process.terminate());

    // Nothing is put over what is there.
    let (ok, said) = run(&project, "restore", &["--from", archive]);
    assert!(
        !ok && said.contains("is not empty") && said.contains("--force"),
        "{said}"
    );

    let other = Project::new(SCHEMA, TOML);
    let (ok, said) = run(&other, "restore", &["--from", archive]);
    assert!(
        ok && said.contains("as in the archive") && said.contains("restored in"),
        "{said}"
    );
    let process = other.serve();
    let service = process.client().with_token(&other.token("service_role", None));
    let found = ids(&service.get("/rest/v1/entries?select=id").expect(200).json());
    let missing: Vec<i64> = (1..=before).filter(|id| !found.contains(id)).collect();
    assert!(
        missing.is_empty(),
        "acknowledged before the backup and not in it: {missing:?}"
    );
    // Numbers go on where they were, users log in, and events that were not delivered wait still.
    let row = service.post_with(
        "/rest/v1/numbered",
        &[("prefer", "return=representation")],
        &json!({"note": "n"}),
    );
    assert!(row.expect(201).json()[0]["id"].as_i64() > Some(3));
    process
        .client()
        .post("/auth/v1/token?grant_type=password", &user)
        .expect(200);
    let events = until("every event is on the bus", || {
        let backlog = process
            .admin()
            .with_token(&other.admin_token())
            .get("/events/backlog")
            .expect(200)
            .json();
        let of = backlog.as_array()?.iter().find(|of| of["subscription"] == "tellers")?["waiting"].as_i64()?;
        (of as usize >= found.len()).then_some(of)
    });
    // The bus is copied after the store: a few events may be about rows that were too late for it, none is missing.
    assert!(events >= before, "{events} events, {before} acknowledged");
    assert!(process.terminate());

    // Back in time, where it was taken.
    let (ok, said) = run(&project, "restore", &["--from", archive, "--force"]);
    assert!(ok, "{said}");
    let process = project.serve();
    let service = process.client().with_token(&project.token("service_role", None));
    assert_eq!(
        ids(&service.get("/rest/v1/entries?select=id").expect(200).json()),
        found
    );
}

#[test]
fn what_is_no_whole_archive_of_this_project_is_refused() {
    let project = Project::new(SCHEMA, TOML);
    assert!(project.serve().terminate());
    for _ in 0..3 {
        let (ok, said) = run(&project, "backup", &[]);
        assert!(ok, "{said}");
    }
    // The last two are kept.
    assert_eq!(archives(&project.dir().join("backups")).len(), 2);
    let (ok, said) = run(&project, "backup", &["--list"]);
    assert!(ok && said.lines().count() == 2, "{said}");
    let whole = std::fs::read(newest(&project)).expect("read");
    let bad = project.dir().join("bad.mainstay.tar.gz");
    let refused = |bytes: &[u8], why: &str| {
        std::fs::write(&bad, bytes).expect("written");
        let (ok, said) = run(
            &project,
            "restore",
            &["--from", bad.to_str().expect("UTF-8"), "--force"],
        );
        assert!(
            !ok && said.contains(why) && said.contains("nothing was restored"),
            "{said}"
        );
    };
    refused(&whole[..whole.len() / 2], "cut short");
    refused(&whole[..whole.len() - 1], "cut short");
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    refused(&altered, "altered");
    let (ok, said) = run(&project, "restore", &["--from", "nowhere.mainstay.tar.gz"]);
    assert!(!ok && said.contains("no such file"), "{said}");
    // Another project's.
    let other = Project::new(
        "CREATE TABLE quite (other integer PRIMARY KEY); GRANT ALL ON quite TO service_role;",
        "",
    );
    let archive = newest(&project);
    let (ok, said) = run(&other, "restore", &["--from", archive.to_str().expect("UTF-8")]);
    assert!(
        !ok && said.contains("another project's") && said.contains("entries"),
        "{said}"
    );
    // A place that says nothing.
    let (ok, said) = run(&other, "backup", &[]);
    assert!(!ok && said.contains("[backup] to"), "{said}");
}

#[test]
fn the_worker_takes_them_on_a_schedule() {
    let toml = TOML.replace("[backup]\n", "[backup]\nevery = \"100ms\"\n");
    let project = Project::new(SCHEMA, &toml);
    let process = project.serve();
    let folder = project.dir().join("backups");
    let first = until("the first is there", || {
        archives(&folder)
            .into_iter()
            .find(|f| f.extension().is_some_and(|e| e == "gz"))
    });
    until("it has gone again, as two newer ones are kept", || {
        (!first.exists()).then_some(())
    });
    let metrics = until("metrics tell of it", || {
        let text = process.admin().get("/metrics").expect(200).text();
        text.contains("mainstay_backup_age_seconds").then_some(text)
    });
    assert!(
        metrics.contains("mainstay_backups_total{outcome=\"taken\"}"),
        "{metrics}"
    );
    until("the log tells of it", || {
        process.log().iter().any(|line| line.contains("taken to")).then_some(())
    });
    assert!(process.terminate());
    let (ok, said) = run(&project, "restore", &["--drill"]);
    assert!(ok && said.contains("the archive is good"), "{said}");
}

#[test]
fn a_bucket_that_speaks_s3_is_a_place_like_any() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/moto_server");
    if !server.exists() {
        return skip(
            "a_bucket_that_speaks_s3_is_a_place_like_any",
            "moto is not installed (cargo xtask engines)",
        );
    }
    let port = mainstay_tests::free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let moto = std::process::Command::new(server)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("moto starts");
    let moto = Ended(moto);
    until("moto listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    // What moto does not check it does not ask for: any signature will do to make the bucket.
    let bucket = mainstay_tests::Client::new(&endpoint);
    let made = bucket.send(
        "PUT",
        "/kept",
        &[(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
        )],
        Some(b""),
    );
    assert_eq!(made.status, 200, "{}", made.text());
    let toml = format!(
        "[backup]\nto = \"s3://kept/of/shop\"\nendpoint = \"{endpoint}\"\nregion = \"us-east-1\"\naccess_key = \"a\"\n\
         secret_key = \"key\"\nkeep = {{ last = 2 }}\n"
    );
    let project = Project::new(SCHEMA, &toml);
    let with_key = |verb: &str, arguments: &[&str]| {
        let command = Command::new(binary(), "").arg(verb).arg(project.dir()).args(arguments);
        let (ok, out, errors) = command.args(project.overrides()).run();
        (ok, out + &errors)
    };
    // Enough that it takes several parts.
    let text: String = (0..400_000u32).fold("id,note\n".to_owned(), |mut text, n| {
        let noise = (n.wrapping_mul(2_654_435_761)).rotate_left(n % 31) ^ n;
        text.push_str(&format!(
            "{n},{noise:x}{:x}{:x}\n",
            noise.wrapping_mul(31),
            noise.wrapping_mul(977)
        ));
        text
    });
    project.write("entries.csv", &text);
    let (ok, said) = {
        let command = Command::new(binary(), "")
            .args(["import", "entries"])
            .arg(project.dir().join("entries.csv"));
        let (ok, out, errors) = command.arg(project.dir()).args(project.overrides()).run();
        (ok, out + &errors)
    };
    assert!(ok, "{said}");
    for _ in 0..3 {
        let (ok, said) = with_key("backup", &[]);
        assert!(ok && said.contains("in s3://kept/of/shop"), "{said}");
    }
    let (ok, said) = with_key("backup", &["--list"]);
    assert!(ok && said.lines().count() == 2, "{said}");
    let (ok, said) = with_key("restore", &["--drill"]);
    assert!(
        ok && said.contains("the archive is good") && said.contains("400000"),
        "{said}"
    );
    let (ok, said) = with_key("restore", &["--force"]);
    assert!(ok && said.contains("as in the archive"), "{said}");
    drop(moto);
    let (ok, said) = with_key("backup", &["--list"]);
    assert!(!ok && said.contains("s3://kept/of/shop"), "{said}");
}

/// What a dump of an adopted database holds beside rows: functions, triggers, policies, sequences, types, grants to roles.
#[test]
fn an_adopted_database_comes_back_whole() {
    if engine() != Engine::Postgres {
        return;
    }
    let server = Postgres::shared();
    let project = Project::empty();
    let url = server.database();
    let database = url
        .split('?')
        .next()
        .and_then(|u| u.rsplit('/').next())
        .expect("a database")
        .to_owned();
    project.write(
        "ddl.sql",
        "CREATE ROLE archive_reader; CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE SCHEMA private;
         CREATE TABLE private.people (id serial PRIMARY KEY, mood mood, at timestamptz DEFAULT now(), span int4range, \"odd \"\"name\" bytea);
         INSERT INTO private.people (mood, span, \"odd \"\"name\") SELECT 'glad', int4range(n, n + 5), decode('00ff', 'hex') FROM generate_series(1, 100) n;
         CREATE FUNCTION private.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$;
         CREATE TRIGGER stamp BEFORE UPDATE ON private.people FOR EACH ROW EXECUTE FUNCTION private.stamp();
         ALTER TABLE private.people ENABLE ROW LEVEL SECURITY;
         CREATE POLICY glad ON private.people TO archive_reader USING (mood = 'glad');
         GRANT SELECT ON private.people TO archive_reader;",
    );
    server.load_into(&database, &project.dir().join("ddl.sql"));
    project.write(
        "mainstay.toml",
        &format!("[store.main]\nurl = \"{url}\"\n[api]\nschemas = [\"private\"]\n"),
    );
    let run = |verb: &str, arguments: &[&str], url: &str| {
        let command = Command::new(binary(), "").arg(verb).arg(project.dir()).args(arguments);
        let (ok, out, errors) = command.args(["--set", &format!("store.main.url={url}")]).run();
        (ok, out + &errors)
    };
    let (ok, said) = run(
        "backup",
        &["--to", project.dir().join("kept").to_str().expect("UTF-8")],
        &url,
    );
    assert!(ok, "{said}");
    let archive = archives(&project.dir().join("kept")).pop().expect("an archive");
    let fresh = server.database();
    let (ok, said) = run("restore", &["--from", archive.to_str().expect("UTF-8")], &fresh);
    assert!(ok && said.contains("as in the archive"), "{said}");
    let (ok, said) = run(
        "restore",
        &["--drill", "--from", archive.to_str().expect("UTF-8")],
        &fresh,
    );
    assert!(ok && said.contains("would be lost: nothing"), "{said}");
}
