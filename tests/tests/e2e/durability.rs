//! What was acknowledged stays: the process killed in the middle of everything, the webhook receiver too, again and again.
//!
//! `MAINSTAY_KILL_ROUNDS` says how many lives (10), `MAINSTAY_KILL_WRITES` how many acknowledged writes there are in each at least
//! (1000). That a kill says nothing about what a power loss takes is why the store has tests on a disk that loses what was not synced.

use mainstay_tests::{Connection, Process, Project, Receiver, assert_signed};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Writers at once, each with a key of its own.
const WRITERS: i64 = 24;

const SCHEMA: &str = "
    CREATE TABLE entries (
      lot integer NOT NULL, n bigint NOT NULL, kept boolean NOT NULL DEFAULT true CHECK (kept), note text, PRIMARY KEY (lot, n));
    CREATE TABLE counters (lot integer PRIMARY KEY, n bigint NOT NULL);
    CREATE FUNCTION put(lot integer, n bigint) RETURNS void LANGUAGE SQL
      BEGIN ATOMIC
        INSERT INTO entries (lot, n) VALUES (put.lot, put.n);
        SELECT emit('put', jsonb_build_object('lot', put.lot, 'n', put.n), put.lot::text);
      END;
    CREATE FUNCTION put_and_fail(lot integer, n bigint) RETURNS void LANGUAGE SQL
      BEGIN ATOMIC
        INSERT INTO entries (lot, n, note) VALUES (put_and_fail.lot, put_and_fail.n, 'rolled back');
        SELECT emit('put', jsonb_build_object('lot', put_and_fail.lot, 'n', -1), put_and_fail.lot::text);
        UPDATE entries SET kept = false WHERE entries.lot = put_and_fail.lot AND entries.n = put_and_fail.n;
      END;
    CREATE FUNCTION increase(lot integer) RETURNS SETOF counters LANGUAGE SQL
      BEGIN ATOMIC
        INSERT INTO counters (lot, n) VALUES (increase.lot, 1) ON CONFLICT (lot) DO UPDATE SET n = counters.n + 1 RETURNING *;
      END;
    GRANT ALL ON entries, counters TO service_role;
    GRANT EXECUTE ON FUNCTION put, put_and_fail, increase TO service_role;
";

fn toml(url: &str) -> String {
    let common = format!(
        "deliver = \"{url}\"\nsecret = \"{SECRET}\"\nparallel = 32\n\
         retry = {{ attempts = 100, backoff = \"fixed\", initial = \"100ms\" }}\n"
    );
    format!(
        "[[on]]\nname = \"puts\"\nevent = \"put\"\n{common}\
         [[on]]\nname = \"counts\"\nchange = {{ table = \"counters\", op = [\"insert\", \"update\"] }}\n{common}"
    )
}

/// From the environment, so that a long run needs no other program.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Random enough for when to kill, and different each time.
fn dice(below: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % below.max(1)
}

/// What the receiver accepted, in order of arrival.
#[derive(Default)]
struct Heard {
    /// Per subscription's type and key.
    sequences: HashMap<(String, i64), Vec<i64>>,
    ids: HashSet<String>,
    total: u64,
    again: u64,
}

impl Heard {
    fn hear(&mut self, id: &str, event: &Json) {
        self.total += 1;
        if !self.ids.insert(id.to_owned()) {
            self.again += 1;
            return;
        }
        let kind = event["type"].as_str().unwrap_or_default();
        let data = if kind == "put" {
            &event["data"]
        } else {
            &event["data"]["new"]
        };
        let kind = if kind == "put" { "put" } else { "count" };
        let (lot, n) = (
            data["lot"].as_i64().expect("a lot"),
            data["n"].as_i64().expect("a number"),
        );
        self.sequences.entry((kind.to_owned(), lot)).or_default().push(n);
    }
}

/// What the writers were told.
#[derive(Default)]
struct Told {
    puts: BTreeSet<(i64, i64)>,
    /// The highest count that a writer was told.
    counts: BTreeMap<i64, i64>,
    refused: u64,
}

/// One writer, until its connection breaks: puts, counts, and now and then something that fails.
fn write(url: &str, bearer: &str, lot: i64, from: i64, acknowledged: &AtomicU64, told: &Mutex<Told>) -> i64 {
    let headers = [("authorization", bearer), ("content-type", "application/json")];
    let Ok(mut connection) = Connection::open(url) else {
        return from;
    };
    let mut n = from;
    loop {
        n += 1;
        let (function, body) = match n % 8 {
            3 => ("increase", json!({"lot": lot})),
            5 => ("put_and_fail", json!({"lot": lot, "n": n})),
            _ => ("put", json!({"lot": lot, "n": n})),
        };
        let path = format!("/rest/v1/rpc/{function}");
        let Ok(answer) = connection.send("POST", &path, &headers, Some(body.to_string().as_bytes())) else {
            return n;
        };
        let mut told = told.lock().expect("not poisoned");
        match (function, answer.status) {
            ("put", 204) => {
                told.puts.insert((lot, n));
            }
            ("increase", 200) => {
                let count = answer.json()[0]["n"].as_i64().expect("a count");
                let before = told.counts.insert(lot, count);
                assert!(before.is_none_or(|before| count > before), "{count} after {before:?}");
            }
            ("put_and_fail", 409) => {
                told.refused += 1;
                continue;
            }
            // It is going down.
            (_, 503) => return n,
            _ => panic!("{function}: {} {}", answer.status, answer.text()),
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// All rows in pages.
fn rows(process: &Process, token: &str, path: &str) -> Vec<Json> {
    let client = process.client().with_token(token);
    let mut all = Vec::new();
    loop {
        let page = client
            .get(&format!("/rest/v1/{path}&limit=5000&offset={}", all.len()))
            .expect(200)
            .json();
        let page = page.as_array().expect("a list");
        all.extend(page.iter().cloned());
        if page.len() < 5000 {
            return all;
        }
    }
}

#[test]
fn no_acknowledged_write_or_event_is_lost_by_killing() {
    let (rounds, writes) = (
        setting("MAINSTAY_KILL_ROUNDS", 10),
        setting("MAINSTAY_KILL_WRITES", 1000),
    );
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let receiver = {
        let heard = heard.clone();
        let checked = AtomicU64::new(0);
        Receiver::forgetful(move |delivery| {
            if checked.fetch_add(1, Ordering::SeqCst).is_multiple_of(100) {
                assert_signed(delivery, SECRET);
            }
            heard
                .lock()
                .expect("not poisoned")
                .hear(delivery.header("webhook-id"), &delivery.event());
            200
        })
    };
    let project = Project::new(SCHEMA, &toml(&receiver.url("/")));
    let token = project.token("service_role", None);
    let bearer = format!("Bearer {token}");
    // The receiver dies too, at random, and comes back.
    let over = Arc::new(AtomicBool::new(false));
    let chaos = {
        let over = over.clone();
        let mut receiver = receiver;
        std::thread::spawn(move || {
            let mut deaths = 0;
            while !over.load(Ordering::SeqCst) {
                std::thread::park_timeout(Duration::from_millis(100 + dice(1500)));
                receiver.kill();
                deaths += 1;
                std::thread::park_timeout(Duration::from_millis(dice(300)));
                receiver.revive();
            }
            (receiver, deaths)
        })
    };
    let told: Arc<Mutex<Told>> = Arc::default();
    let mut positions = vec![0i64; WRITERS as usize];
    let mut all = 0;
    let began = Instant::now();
    for round in 0..rounds {
        let process = project.serve();
        // What was acknowledged in all lives before is there.
        if round % 20 == 1 || round + 1 == rounds {
            assert_all_there(&process, &token, &told.lock().expect("not poisoned"));
        }
        let acknowledged = Arc::new(AtomicU64::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|lot| {
                let (url, bearer, acknowledged, told) = (
                    process.ready.clone(),
                    bearer.clone(),
                    acknowledged.clone(),
                    told.clone(),
                );
                let from = positions[lot as usize];
                std::thread::spawn(move || write(&url, &bearer, lot, from, &acknowledged, &told))
            })
            .collect();
        let enough = writes + dice(writes / 2);
        let started = Instant::now();
        while acknowledged.load(Ordering::SeqCst) < enough {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "only {acknowledged:?} writes in two minutes"
            );
            std::thread::park_timeout(Duration::from_micros(50 + dice(2000)));
        }
        process.kill();
        for (lot, writer) in writers.into_iter().enumerate() {
            positions[lot] = writer.join().expect("told the truth");
        }
        all += acknowledged.load(Ordering::SeqCst);
    }
    let killing = began.elapsed();
    over.store(true, Ordering::SeqCst);
    chaos.thread().unpark();
    let (_receiver, deaths) = chaos.join().expect("alive at last");

    // In peace: every row there, and every event delivered.
    let process = project.serve();
    let told = std::mem::take(&mut *told.lock().expect("not poisoned"));
    assert_all_there(&process, &token, &told);
    let put: BTreeSet<(i64, i64)> = rows(&process, &token, "entries?select=lot,n&order=lot,n")
        .iter()
        .map(|r| (r["lot"].as_i64().expect("a lot"), r["n"].as_i64().expect("a number")))
        .collect();
    assert_eq!(
        rows(
            &process,
            &token,
            "entries?or=(kept.is.false,note.not.is.null)&order=lot,n"
        ),
        Vec::<Json>::new(),
        "rolled back"
    );
    let (mut last, mut moved) = (0, Instant::now());
    loop {
        let heard = heard.lock().expect("not poisoned");
        let delivered: usize = heard
            .sequences
            .iter()
            .filter(|((kind, _), _)| kind == "put")
            .map(|(_, s)| s.len())
            .sum();
        let counted = told.counts.iter().all(|(lot, n)| {
            let sequence = heard.sequences.get(&("count".to_owned(), *lot));
            sequence.and_then(|s| s.last()).is_some_and(|last| last >= n)
        });
        if delivered >= put.len() && counted {
            break;
        }
        if heard.total > last {
            (last, moved) = (heard.total, Instant::now());
        }
        assert!(
            moved.elapsed() < Duration::from_secs(60),
            "{delivered} of {} events, and no more come",
            put.len()
        );
        drop(heard);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let heard = heard.lock().expect("not poisoned");
    let mut events = BTreeSet::new();
    for ((kind, lot), sequence) in &heard.sequences {
        assert!(
            sequence.windows(2).all(|w| w[0] < w[1]),
            "{kind} of {lot} out of order: {sequence:?}"
        );
        if kind == "put" {
            events.extend(sequence.iter().map(|n| (*lot, *n)));
        } else {
            assert_eq!(
                *sequence,
                (1..=sequence.len() as i64).collect::<Vec<_>>(),
                "every count of {lot}"
            );
        }
    }
    assert_eq!(events, put, "an event for each row, and a row for each event");
    println!(
        "{rounds} lives ended by kill -9 in {killing:?}: {all} writes acknowledged, all there, each with its event in order; \
         {} refused, none of them there; {} deliveries, {} of them again; the receiver died {deaths} times; drained after {:?}",
        told.refused,
        heard.total,
        heard.again,
        began.elapsed() - killing
    );
}

#[track_caller]
fn assert_all_there(process: &Process, token: &str, told: &Told) {
    let there: HashSet<(i64, i64)> = rows(process, token, "entries?select=lot,n&order=lot,n")
        .iter()
        .map(|r| (r["lot"].as_i64().expect("a lot"), r["n"].as_i64().expect("a number")))
        .collect();
    let lost: Vec<_> = told.puts.iter().filter(|p| !there.contains(p)).take(10).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?} …");
    for row in rows(process, token, "counters?select=lot,n&order=lot") {
        let (lot, n) = (
            row["lot"].as_i64().expect("a lot"),
            row["n"].as_i64().expect("a number"),
        );
        let acknowledged = told.counts.get(&lot).copied().unwrap_or(0);
        assert!(n >= acknowledged, "lot {lot}: {n}, and {acknowledged} was acknowledged");
        // At most what was in flight when the process died was counted unheard.
        assert!(told.counts.contains_key(&lot) || n <= 1000, "lot {lot}: {n}");
    }
}
