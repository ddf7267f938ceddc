//! Large results in constant memory: read row by row from an adopted database through to the client, as fast as the client takes them.

use mainstay_tests::{Client, Command, Engine, Postgres, Process, Project, SECRET, engine, until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a row has in bytes, about.
const ROW: usize = 1024;
/// The most that the server may take, whatever the size of the answer.
const MEMORY_MAX_KB: u64 = 100 << 10;

struct Adopted {
    server: &'static Postgres,
    url: String,
    process: Process,
    token: String,
    _project: Project,
}

impl Adopted {
    fn start(rows: usize) -> Adopted {
        let server = Postgres::shared();
        let url = server.database();
        server.execute(
            &url,
            &format!(
                "CREATE TABLE public.small (id integer PRIMARY KEY); INSERT INTO small VALUES (1), (2);
                 CREATE VIEW public.big AS SELECT g AS id, repeat(md5(g::text), {}) AS text FROM generate_series(1, {rows}) g;
                 GRANT SELECT ON public.small, public.big TO PUBLIC;
                 CREATE FUNCTION public.breaks(at integer) RETURNS TABLE (id integer, text text) LANGUAGE sql STABLE AS $$
                   SELECT g, repeat('x', 1000 / (CASE WHEN g = $1 THEN 0 ELSE 1 END)) FROM generate_series(1, 20000) g $$;
                 CREATE FUNCTION public.shaped() RETURNS TABLE (id integer, text text) LANGUAGE plpgsql STABLE AS $$ BEGIN
                   PERFORM set_config('response.headers', '[{{\"X-Shaped\":\"yes\"}}]', true);
                   RETURN QUERY SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g; END $$;",
                ROW / 32,
            ),
        );
        let project = Project::empty();
        project.write(
            "mainstay.toml",
            &format!("[store.main]\nurl = \"{url}\"\n[auth]\nsecret = \"{SECRET}\"\n"),
        );
        let process = Command::serve([project.dir().as_os_str()])
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .start();
        Adopted {
            server,
            url,
            process,
            token: Project::signed("service_role", None, &serde_json::json!({})),
            _project: project,
        }
    }

    fn client(&self) -> Client {
        self.process.client().with_token(&self.token)
    }

    fn get(&self, path: &str, fields: &str) -> Answer {
        Answer::to(&self.process, &self.token, path, fields)
    }

    /// How many backends of this database are at work on the large view.
    fn at_work(&self) -> u32 {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                     AND pid <> pg_backend_pid() AND query LIKE '%\"big\"%'";
        self.server.execute(&self.url, count).parse().expect("a number")
    }
}

/// An answer that is read piece by piece.
struct Answer {
    head: String,
    reader: BufReader<TcpStream>,
}

impl Answer {
    fn to(process: &Process, token: &str, path: &str, fields: &str) -> Answer {
        let mut stream = TcpStream::connect(process.client().address()).expect("it listens");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("a timeout");
        let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut reader = BufReader::with_capacity(256 << 10, stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "{head}");
        }
        head.make_ascii_lowercase();
        Answer { head, reader }
    }

    /// The next chunk; `None` after the last. An error where it breaks off.
    fn chunk(&mut self, into: &mut Vec<u8>) -> std::io::Result<Option<()>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's size");
        into.resize(size + 2, 0);
        self.reader.read_exact(into)?;
        into.truncate(size);
        Ok((size > 0).then_some(()))
    }

    /// Reads on to the end: how many bytes, how many rows, and the last bytes.
    fn rest(&mut self) -> std::io::Result<(u64, u64, Vec<u8>)> {
        let (mut bytes, mut rows, mut chunk, mut last) = (0, 0, Vec::new(), Vec::new());
        while self.chunk(&mut chunk)?.is_some() {
            bytes += chunk.len() as u64;
            // Braces are in no value here, and no chunk cuts one in two.
            rows += chunk.iter().filter(|b| **b == b'{').count() as u64;
            last = chunk[chunk.len().saturating_sub(8)..].to_vec();
        }
        Ok((bytes, rows, last))
    }
}

/// The most memory that a process has had resident, in KiB.
fn peak_kb(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("Linux");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_large_result_takes_little_memory() {
    let megabytes: usize = match std::env::var("MAINSTAY_STREAM_MB") {
        Ok(text) => text.parse().expect("MAINSTAY_STREAM_MB is a number"),
        Err(_) => 200,
    };
    let rows = megabytes * 1024;
    let it = Adopted::start(rows);
    let small = it.client();
    small.get("/rest/v1/small").expect(200);
    let before = peak_kb(&it.process);
    let done = Arc::new(AtomicBool::new(false));
    // Others are answered all the while.
    let others = std::thread::spawn({
        let (small, done) = (small.clone(), done.clone());
        move || {
            let (mut count, mut longest) = (0u32, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let began = Instant::now();
                small.get("/rest/v1/small?order=id").expect(200);
                longest = longest.max(began.elapsed());
                count += 1;
            }
            (count, longest)
        }
    });
    let began = Instant::now();
    let mut answer = it.get("/rest/v1/big", "");
    let first = began.elapsed();
    for absent in ["content-length", "content-range", "etag"] {
        assert!(!answer.head.contains(absent), "{}", answer.head);
    }
    assert!(answer.head.starts_with("http/1.1 200"), "{}", answer.head);
    let (bytes, got, last) = answer.rest().expect("the whole answer");
    let took = began.elapsed();
    done.store(true, Ordering::Relaxed);
    let (count, longest) = others.join().expect("others");
    let peak = peak_kb(&it.process);
    println!(
        "{} MB in {took:?} (first part after {first:?}), memory {before} KiB before and {peak} KiB at most; \
         {count} other requests meanwhile, the longest {longest:?}",
        bytes >> 20
    );
    assert_eq!((got, last.ends_with(b"\"}]")), (rows as u64, true));
    assert!(bytes > (megabytes << 20) as u64);
    assert!(peak < MEMORY_MAX_KB, "{peak} KiB");
    assert!(
        count > 0 && longest < Duration::from_secs(5),
        "{count} requests, {longest:?}"
    );
    let record = until("the answer is recorded with its bytes", || {
        let log = it.process.log();
        log.into_iter()
            .find(|l| l.contains("/rest/v1/big") && l.contains(&bytes.to_string()))
    });
    assert!(!record.contains("\"aborted\":true"), "{record}");
}

#[test]
fn a_slow_client_holds_up_nobody_and_its_end_ends_the_query() {
    let it = Adopted::start(2_000_000);
    let small = it.client();
    small.get("/rest/v1/small").expect(200);
    let mut answers: Vec<Answer> = (0..4).map(|_| it.get("/rest/v1/big", "")).collect();
    let mut chunk = Vec::new();
    for answer in &mut answers {
        answer.chunk(&mut chunk).expect("a chunk").expect("not the last");
    }
    // None of them reads on: the database waits, and the server keeps little of it.
    for _ in 0..200 {
        let began = Instant::now();
        small.get("/rest/v1/small?id=eq.1").expect(200);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(it.at_work(), 4);
    assert!(peak_kb(&it.process) < MEMORY_MAX_KB);
    drop(answers);
    until("the queries are cancelled", || (it.at_work() == 0).then_some(()));
    small.get("/rest/v1/small").expect(200);
}

#[test]
fn what_fails_on_the_way_is_not_taken_for_the_whole() {
    let it = Adopted::start(10);
    // Early enough, it is an error like any other.
    let early = it.client().get("/rest/v1/rpc/breaks?at=5").expect(400);
    assert_eq!(early.json()["code"], "22012");
    let mut late = it.get("/rest/v1/rpc/breaks?at=19000", "");
    assert!(late.head.starts_with("http/1.1 200"), "{}", late.head);
    let error = late.rest().expect_err("it breaks off");
    println!("{error}");
    until("the log says why", || {
        let log = it.process.log();
        log.iter()
            .any(|l| l.contains("broke off") && l.contains("division by zero"))
            .then_some(())
    });
}

#[test]
fn forms_of_large_answers() {
    let it = Adopted::start(5000);
    let mut csv = it.get("/rest/v1/big?select=id,text", "accept: text/csv\r\n");
    let (mut all, mut chunk) = (Vec::new(), Vec::new());
    while csv.chunk(&mut chunk).expect("whole").is_some() {
        all.extend_from_slice(&chunk);
    }
    let text = String::from_utf8(all).expect("UTF-8");
    assert_eq!(text.lines().count(), 5001);
    assert!(text.starts_with("id,text\n1,") && text.lines().last().is_some_and(|l| l.starts_with("5000,")));
    // What the database asks of the response is known when it begins.
    let mut shaped = it.get("/rest/v1/rpc/shaped", "");
    assert!(shaped.head.contains("x-shaped: yes"), "{}", shaped.head);
    assert_eq!(shaped.rest().expect("whole").1, 5000);
    // Counted, it is whole before it begins; and so is what HTTP/1.0 gets.
    let counted = it.get("/rest/v1/big", "prefer: count=exact\r\n");
    assert!(counted.head.contains("content-range: 0-4999/5000") && counted.head.contains("content-length"));
    let head = it.client().send("HEAD", "/rest/v1/big", &[], None).expect(200);
    assert_eq!((head.header("etag"), head.body.len()), (None, 0));
}

#[test]
fn of_a_store_with_a_cache() {
    // On a busy machine the proof of freshness may be late.
    let toml = "[cache]\nbound = \"20s\"\n";
    let project = Project::new("CREATE TABLE rows (id integer PRIMARY KEY, text text NOT NULL);", toml);
    let mut rows = "id,text\n".to_owned();
    (0..5000).for_each(|id| rows.push_str(&format!("{id},{}\n", "x".repeat(1000))));
    project.write("data/rows.csv", &rows);
    let process = project.serve();
    let token = project.token("service_role", None);
    let client = process.client().with_token(&token);
    until("answers are kept", || {
        let kept = client.get("/rest/v1/rows?order=id&limit=1").cache().contains("hit");
        (kept || engine() == Engine::Postgres).then_some(())
    });
    for _ in 0..3 {
        let mut answer = Answer::to(&process, &token, "/rest/v1/rows?order=id", "");
        assert!(!answer.head.contains("etag"), "{}", answer.head);
        if engine() == Engine::Sqlite {
            let status = "cache-status: mainstay; fwd=miss; detail=\"large\"";
            assert!(answer.head.contains(status), "{}", answer.head);
        }
        let (bytes, count, last) = answer.rest().expect("whole");
        assert_eq!((count, last.ends_with(b"\"}]")), (5000, true));
        assert!(bytes > 5_000_000);
        // What is small is kept as ever.
        let small = client.get("/rest/v1/rows?order=id&limit=500").expect(200);
        assert!(small.header("etag").is_some() && small.header("content-range") == Some("0-499/*"));
    }
    if engine() == Engine::Sqlite {
        let small = client.get("/rest/v1/rows?order=id&limit=500");
        assert!(small.cache().contains("hit"), "{}", small.cache());
    }
    // More than may go on at a time, each given up by its client.
    for _ in 0..12 {
        let mut answer = Answer::to(&process, &token, "/rest/v1/rows?order=id", "");
        answer.chunk(&mut Vec::new()).expect("a chunk").expect("not the last");
        drop(answer);
        client.get("/rest/v1/rows?id=eq.7").expect(200);
    }
}
