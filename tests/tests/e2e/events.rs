//! Changes, events, schedules and jobs: what is delivered, how often, in which order, and what becomes of what fails.

use mainstay_tests::{
    Client, Command, Delivery, Process, Project, Receiver, assert_signed, binary, free_port, sqlite, until,
};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

const SCHEMA: &str = "
    CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL UNIQUE, n integer NOT NULL DEFAULT 0 CHECK (n >= 0));
    CREATE TABLE effects (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event text NOT NULL, n integer);
    CREATE FUNCTION say(n integer, key text) RETURNS void LANGUAGE SQL
      BEGIN ATOMIC SELECT emit('said', jsonb_build_object('n', say.n), say.key); END;
    CREATE FUNCTION say_and_fail(n integer) RETURNS void LANGUAGE SQL
      BEGIN ATOMIC
        SELECT emit('said', jsonb_build_object('n', say_and_fail.n), 'failed');
        UPDATE items SET n = -1;
      END;
    CREATE FUNCTION hear(event jsonb) RETURNS void LANGUAGE SQL SECURITY DEFINER SET search_path = public
      BEGIN ATOMIC INSERT INTO effects (event, n) VALUES (event ->> 'id', (event #>> '{data,n}')::integer); END;
    CREATE FUNCTION choke(event jsonb) RETURNS void LANGUAGE SQL SECURITY DEFINER SET search_path = public
      BEGIN ATOMIC UPDATE items SET n = -1; END;
    CREATE FUNCTION tick(event jsonb) RETURNS void LANGUAGE SQL SECURITY DEFINER SET search_path = public
      BEGIN ATOMIC INSERT INTO effects (event) VALUES (event ->> 'id'); END;
    CREATE FUNCTION tell(topic text) RETURNS void LANGUAGE SQL
      BEGIN ATOMIC SELECT emit(tell.topic, '{\"n\": 1}'::jsonb, 'k'); END;
    CREATE FUNCTION add(a integer, b integer) RETURNS integer LANGUAGE SQL SECURITY DEFINER SET search_path = public
      BEGIN ATOMIC INSERT INTO effects (event, n) VALUES ('add', add.a + add.b) RETURNING n; END;
    CREATE FUNCTION exact() RETURNS numeric LANGUAGE SQL RETURN 12345678901234567890.1234567890;
    GRANT ALL ON items, effects TO service_role;
    GRANT EXECUTE ON FUNCTION say, say_and_fail, hear, choke, tick, tell, add TO service_role; GRANT EXECUTE ON FUNCTION add, exact TO authenticated;
    INSERT INTO items (id, name) VALUES (1, 'one');
";

/// A project with these subscriptions, its process and its operator.
pub fn start(on: &str) -> (Project, Process, Client) {
    let project = Project::new(SCHEMA, on);
    let process = project.serve();
    let operator = process.client().with_token(&project.token("service_role", None));
    (project, process, operator)
}

pub fn webhook(name: &str, trigger: &str, url: &str, more: &str) -> String {
    format!("[[on]]\nname = \"{name}\"\n{trigger}\ndeliver = \"{url}\"\nsecret = \"{SECRET}\"\n{more}\n")
}

fn call(name: &str, function: &str, more: &str) -> String {
    format!("[[on]]\nname = \"{name}\"\nevent = \"said\"\ncall = \"{function}\"\n{more}\n")
}

fn say(operator: &Client, n: i64, key: &str) {
    operator
        .post("/rest/v1/rpc/say", &json!({"n": n, "key": key}))
        .expect(204);
}

#[test]
fn a_change_is_a_signed_cloud_event() {
    let receiver = Receiver::start(|_| 204);
    let on = webhook(
        "items",
        "change = \"items\"",
        &receiver.url("/hook?x=1"),
        "headers = { X-From = \"us\" }",
    );
    let (_project, _process, operator) = start(&on);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("content-type", "application/json"), ("traceparent", parent)];
    operator
        .send("POST", "/rest/v1/items", &headers, Some(br#"{"id":2,"name":"two"}"#))
        .expect(201);
    operator.patch("/rest/v1/items?id=eq.2", &json!({"n": 5})).expect(204);
    operator.delete("/rest/v1/items?id=eq.2").expect(204);
    // Nothing happens to what is only said to happen.
    operator.patch("/rest/v1/items?id=eq.77", &json!({"n": 5})).expect(204);
    operator
        .post("/rest/v1/items", &json!({"id": 3, "name": "one"}))
        .expect(409);
    operator.post("/rest/v1/rpc/say_and_fail", &json!({"n": 1})).expect(409);
    operator
        .post("/rest/v1/items", &json!({"id": 4, "name": "four"}))
        .expect(201);
    until("all are delivered", || (receiver.count() >= 4).then_some(()));
    let seen = receiver.seen();
    // In order per key, which is the row's; another row's may come between.
    let (of_two, of_four): (Vec<&Delivery>, Vec<&Delivery>) = seen
        .iter()
        .partition(|d| d.event()["data"].to_string().contains("\"two\""));
    let types = |of: &[&Delivery]| -> Vec<Json> { of.iter().map(|d| d.event()["type"].clone()).collect() };
    assert_eq!(
        types(&of_two),
        ["change.items.insert", "change.items.update", "change.items.delete"]
    );
    assert_eq!(types(&of_four), ["change.items.insert"]);
    for delivery in &seen {
        assert_signed(delivery, SECRET);
        let event = delivery.event();
        assert_eq!(delivery.path, "/hook?x=1");
        assert_eq!(delivery.header("x-from"), "us");
        assert!(
            delivery
                .header("content-type")
                .starts_with("application/cloudevents+json")
        );
        assert_eq!(event["specversion"], json!("1.0"));
        assert_eq!(event["id"], json!(delivery.header("webhook-id")));
        for attribute in ["id", "source", "time", "subject"] {
            assert!(
                event[attribute].as_str().is_some_and(|v| !v.is_empty()),
                "{attribute}: {event}"
            );
        }
        assert_eq!(event["datacontenttype"], json!("application/json"));
    }
    let ids: HashSet<String> = seen.iter().map(|d| d.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 4);
    let trace = of_two[0].header("traceparent");
    assert!(
        trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"),
        "the trace goes on: {trace:?}"
    );
    let (inserted, updated, deleted) = (of_two[0].event(), of_two[1].event(), of_two[2].event());
    let (before, after) = (
        json!({"id": 2, "name": "two", "n": 0}),
        json!({"id": 2, "name": "two", "n": 5}),
    );
    assert_eq!(
        (&inserted["data"]["old"], &inserted["data"]["new"]),
        (&Json::Null, &before),
        "{inserted}"
    );
    assert_eq!(
        (&updated["data"]["old"], &updated["data"]["new"]),
        (&before, &after),
        "{updated}"
    );
    assert_eq!(
        (&deleted["data"]["old"], &deleted["data"]["new"]),
        (&after, &Json::Null),
        "{deleted}"
    );
}

#[test]
fn what_fails_is_tried_again_and_then_lies_among_the_dead_letters() {
    let healthy = Arc::new(AtomicBool::new(false));
    let receiver = {
        let healthy = healthy.clone();
        Receiver::start(move |_| if healthy.load(Ordering::SeqCst) { 200 } else { 503 })
    };
    let retry = "retry = { attempts = 4, backoff = \"exponential\", initial = \"100ms\", max = \"300ms\" }";
    let on = webhook("hook", "event = \"said\"", &receiver.url("/"), retry);
    let project = Project::new(SCHEMA, &on);
    let process = project.serve();
    let operator = process.client().with_token(&project.token("service_role", None));
    let ops = process.admin().with_token(&project.admin_token());
    say(&operator, 1, "a");
    say(&operator, 2, "a");
    let parked = until("both are dead letters", || {
        let parked = ops.get("/events/parked").expect(200).json();
        (parked.as_array().map(Vec::len) == Some(2)).then_some(parked)
    });
    // Attempts: four each, the same message, not all at once, and the second only after the first was given up.
    let seen = receiver.take();
    assert_eq!(
        seen.iter().map(|d| d.event()["data"]["n"].clone()).collect::<Vec<_>>(),
        [1, 1, 1, 1, 2, 2, 2, 2].map(|n| json!(n))
    );
    for of_one in seen.chunks(4) {
        assert!(
            of_one
                .iter()
                .all(|d| d.header("webhook-id") == of_one[0].header("webhook-id") && d.body == of_one[0].body)
        );
        for (pair, least) in of_one.windows(2).zip([50, 100, 150]) {
            let pause = pair[1].at - pair[0].at;
            assert!(pause >= Duration::from_millis(least), "after {pause:?}");
        }
        of_one.iter().for_each(|d| assert_signed(d, SECRET));
    }
    let letter = &parked[0];
    assert_eq!(
        (letter["subscription"].as_str(), letter["attempts"].as_u64()),
        (Some("hook"), Some(4)),
        "{letter}"
    );
    assert_eq!(
        (letter["topic"].as_str(), letter["key"].as_str()),
        (Some("said"), Some("a")),
        "{letter}"
    );
    assert_eq!(letter["payload"], json!({"n": 1}));
    assert!(letter["error"].as_str().is_some_and(|e| e.contains("503")), "{letter}");

    // The command line sees the same.
    let events = |verb: &[&str]| {
        let (ok, out, errors) = Command::new(binary(), "")
            .args(["events"])
            .args(verb)
            .arg(project.dir())
            .args(["--admin", ops.address()])
            .run();
        assert!(ok, "{verb:?}: {errors}");
        out
    };
    let listed: Vec<Json> = events(&["parked"])
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON lines"))
        .collect();
    assert_eq!(json!(listed), parked);
    let backlog = events(&["backlog"]);
    let backlog: Json =
        serde_json::from_str(backlog.lines().find(|l| l.contains("\"hook\"")).expect("a line")).expect("JSON");
    assert_eq!(
        (&backlog["subscription"], &backlog["waiting"], &backlog["parked"]),
        (&json!("hook"), &json!(0), &json!(2))
    );

    // One by its id while the receiver is still ill: it fails again, with all its attempts.
    let id = parked[1]["id"].as_u64().expect("a number").to_string();
    events(&["replay", "--id", &id]);
    until("it was tried and parked again", || {
        (receiver.count() == 4 && ops.get("/events/parked").expect(200).json().as_array().map(Vec::len) == Some(2))
            .then_some(())
    });
    assert!(receiver.take().iter().all(|d| d.event()["data"]["n"] == json!(2)));
    // All of the subscription when it is well: delivered once each, and no letter is left.
    healthy.store(true, Ordering::SeqCst);
    let replayed = events(&["replay", "--subscription", "hook"]);
    assert!(replayed.contains('2'), "{replayed}");
    until("both are delivered", || (receiver.count() == 2).then_some(()));
    until("no letter is left", || {
        (events(&["parked"]).trim() == "nothing").then_some(())
    });
    assert_eq!(
        receiver
            .seen()
            .iter()
            .map(|d| d.event()["data"]["n"].clone())
            .collect::<Vec<_>>(),
        [json!(1), json!(2)]
    );
    // What came after is not held up.
    say(&operator, 3, "a");
    until("the next is delivered", || (receiver.count() == 3).then_some(()));
}

#[test]
fn the_operators_listener_wants_its_token_its_host_and_its_origin() {
    let project = Project::new(SCHEMA, &call("ear", "choke", "retry = { attempts = 1 }"));
    let process = project.serve();
    let operator = process.client().with_token(&project.token("service_role", None));
    say(&operator, 1, "a");
    let anybody = process.admin();
    let ops = anybody.with_token(&project.admin_token());
    until("it is a dead letter", || {
        (ops.get("/events/parked").expect(200).json() != json!([])).then_some(())
    });
    for (method, path) in [
        ("GET", "/events/backlog"),
        ("GET", "/events/parked"),
        ("POST", "/events/replay"),
        ("POST", "/events/discard?id=1"),
        ("GET", "/"),
    ] {
        let refused = anybody.send(method, path, &[], None);
        assert_eq!(
            (refused.status, refused.json()["code"].clone()),
            (401, json!("GW801")),
            "{path}"
        );
        // The API's own tokens are no operator's.
        assert_eq!(
            anybody
                .with_token(&project.token("service_role", None))
                .send(method, path, &[], None)
                .status,
            401
        );
        for (name, value, code) in [
            ("origin", "http://evil.example", "GW803"),
            ("origin", "null", "GW803"),
            ("sec-fetch-site", "cross-site", "GW803"),
        ] {
            let refused = ops.send(method, path, &[(name, value)], None);
            assert_eq!(
                (refused.status, refused.json()["code"].clone()),
                (403, json!(code)),
                "{path} {name}: {value}"
            );
        }
        // By a name that resolves to this machine.
        let raw = format!(
            "{method} {path} HTTP/1.1\r\nhost: evil.example\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
            project.admin_token()
        );
        let refused = String::from_utf8_lossy(&anybody.raw(raw.as_bytes())).into_owned();
        assert!(
            refused.starts_with("HTTP/1.1 403 ") && refused.contains("GW802"),
            "{refused}"
        );
    }
    assert_eq!(
        ops.get("/events/parked").expect(200).json().as_array().map(Vec::len),
        Some(1),
        "nothing was replayed or discarded"
    );
    for (method, path, status) in [
        ("POST", "/events/replay?id=x", 400),
        ("POST", "/events/replay?nope=1", 400),
        ("POST", "/events/discard", 400),
        ("GET", "/events/replay", 404),
        ("GET", "/events/nope", 404),
    ] {
        assert_eq!(ops.send(method, path, &[], None).status, status, "{method} {path}");
    }
    assert_eq!(
        ops.send("POST", "/events/discard?subscription=ear", &[], None)
            .expect(200)
            .json(),
        json!({"discarded": 1})
    );
    // And the command line without an instance says so.
    process.kill();
    let (ok, _, errors) = Command::new(binary(), "")
        .args(["events", "parked"])
        .arg(project.dir())
        .args(["--admin", anybody.address()])
        .run();
    assert!(!ok && errors.contains("no instance answers"), "{errors}");
}

#[test]
fn order_holds_per_key_and_keys_do_not_wait_for_each_other() {
    // Every third delivery fails; one key's receiver is slow besides.
    let turn = AtomicUsize::new(0);
    let receiver = Receiver::start(move |delivery| {
        if delivery.event()["subject"] == json!("slow") {
            std::thread::park_timeout(Duration::from_millis(200));
        }
        if turn.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
            500
        } else {
            200
        }
    });
    let retry = "retry = { attempts = 50, backoff = \"fixed\", initial = \"20ms\" }";
    let (_project, _process, operator) = start(&webhook("hook", "event = \"said\"", &receiver.url("/"), retry));
    let keys = ["a", "b", "c", "d"];
    for n in 0..8 {
        say(&operator, n, "slow");
    }
    let began = Instant::now();
    for n in 0..25 {
        for key in keys {
            say(&operator, n, key);
        }
    }
    let accepted = |key: &str| -> Vec<i64> {
        let seen = receiver.seen();
        let of_key = seen
            .iter()
            .filter(|d| d.event()["subject"] == json!(key) && d.status == 200);
        of_key
            .map(|d| d.event()["data"]["n"].as_i64().expect("a number"))
            .collect()
    };
    for key in keys {
        until("the key is done", || (accepted(key).len() == 25).then_some(()));
        assert_eq!(accepted(key), (0..25).collect::<Vec<_>>(), "{key}");
    }
    println!(
        "four keys of 25 events, a third of the attempts failing: {:?}; the slow key had {} of 8",
        began.elapsed(),
        accepted("slow").len()
    );
    until("the slow key is done", || (accepted("slow").len() == 8).then_some(()));
    assert_eq!(accepted("slow"), (0..8).collect::<Vec<_>>());
    // One key never has two deliveries in flight: none begins before the one before it has been answered.
    let seen = receiver.seen();
    for key in keys.iter().chain(&["slow"]) {
        let of_key: Vec<i64> = seen
            .iter()
            .filter(|d| d.event()["subject"] == json!(key))
            .map(|d| d.event()["data"]["n"].as_i64().expect("a number"))
            .collect();
        assert!(
            of_key.windows(2).all(|w| w[1] == w[0] || w[1] == w[0] + 1),
            "{key}: {of_key:?}"
        );
    }
}

#[test]
fn a_failing_subscription_delays_no_other() {
    let hanging = Receiver::start(|_| {
        std::thread::park_timeout(Duration::from_secs(20));
        200
    });
    let failing = Receiver::start(|_| 500);
    let good = Receiver::start(|_| 200);
    let retry = "timeout = \"30s\"\nretry = { attempts = 100, backoff = \"fixed\", initial = \"10ms\" }";
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    let on = [
        webhook("hanging", "event = \"said\"", &hanging.url("/"), retry),
        webhook("failing", "event = \"said\"", &failing.url("/"), retry),
        webhook("nobody", "event = \"said\"", &nobody, retry),
        call("choking", "choke", retry),
        webhook("good", "event = \"said\"", &good.url("/"), retry),
        call("ear", "hear", retry),
    ];
    let (_project, process, operator) = start(&on.concat());
    let began = Instant::now();
    for n in 0..50 {
        say(&operator, n, &format!("key {}", n % 10));
    }
    until("the good one has all", || (good.count() == 50).then_some(()));
    until("the called one has all", || {
        let counted = operator.send("HEAD", "/rest/v1/effects", &[("prefer", "count=exact")], None);
        counted
            .header("content-range")
            .is_some_and(|r| r.ends_with("/50"))
            .then_some(())
    });
    let took = began.elapsed();
    println!(
        "50 events beside four failing subscriptions: {took:?}, {} failures meanwhile",
        failing.count()
    );
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert!(failing.count() > 10);
    process.kill();
}

#[test]
fn a_second_delivery_has_no_second_effect() {
    let receiver = Receiver::start(|_| 200);
    let on = [
        call("ear", "hear", ""),
        webhook("hook", "event = \"said\"", &receiver.url("/"), ""),
    ];
    let project = Project::new(SCHEMA, &on.concat());
    let process = project.serve();
    let token = project.token("service_role", None);
    for n in 0..5 {
        say(&process.client().with_token(&token), n, "k");
    }
    let effects = |process: &Process| -> Vec<Json> {
        let rows = process
            .client()
            .with_token(&token)
            .get("/rest/v1/effects?select=event,n&order=id")
            .expect(200)
            .json();
        rows.as_array().expect("a list").clone()
    };
    until("all were heard", || {
        (effects(&process).len() == 5 && receiver.count() == 5).then_some(())
    });
    let heard = effects(&process);
    assert!(process.terminate(), "it ends by itself");
    // As a crash between the effect and its acknowledgement leaves it: the effect is there, and so is the message.
    let bus = project.dir().join(".mainstay/bus.db");
    for row in &heard {
        let (id, n) = (row["event"].as_str().expect("an id"), &row["n"]);
        for subscription in ["ear", "hook"] {
            sqlite(
                &bus,
                &format!(
                    "INSERT INTO message (subscription, id, topic, key, time_us, payload, due_us, head)
                     VALUES ('{subscription}', '{id}', 'said', 'k{n}', 0, '{{\"n\": {n}}}', 0, 1)"
                ),
            );
        }
    }
    let process = project.serve();
    until("all were delivered again", || (receiver.count() == 10).then_some(()));
    until("nothing waits", || (waiting(&project, &process) == 0).then_some(()));
    assert_eq!(effects(&process), heard, "each once");
    let mut ids: Vec<String> = receiver
        .seen()
        .iter()
        .map(|d| d.header("webhook-id").to_owned())
        .collect();
    ids[..5].sort_unstable();
    ids[5..].sort_unstable();
    assert_eq!(ids[..5], ids[5..], "a receiver can tell by the id");
    // A new event is heard as ever.
    say(&process.client().with_token(&token), 5, "k");
    until("the next is heard", || (effects(&process).len() == 6).then_some(()));
}

/// Messages that wait in a running instance.
fn waiting(project: &Project, process: &Process) -> u64 {
    let backlog = process
        .admin()
        .with_token(&project.admin_token())
        .get("/events/backlog")
        .expect(200)
        .json();
    backlog
        .as_array()
        .expect("a list")
        .iter()
        .map(|b| b["waiting"].as_u64().unwrap_or(0))
        .sum()
}

#[test]
fn crashes_lose_no_event_and_repeat_no_effect() {
    let on = [call(
        "ear",
        "hear",
        "retry = { attempts = 100, backoff = \"fixed\", initial = \"10ms\" }",
    )];
    let project = Project::new(SCHEMA, &on.concat());
    let token = project.token("service_role", None);
    let (mut acknowledged, mut next, rounds) = (HashSet::new(), 0i64, 8);
    for round in 0..rounds {
        let process = project.serve();
        let stop = Arc::new(AtomicBool::new(false));
        let speakers: Vec<_> = (0..4)
            .map(|speaker| {
                let (client, stop, from) = (
                    process.client().with_token(&token),
                    stop.clone(),
                    next + speaker * 10_000,
                );
                std::thread::spawn(move || {
                    let mut said = Vec::new();
                    for n in from.. {
                        let body = json!({"n": n, "key": format!("{speaker}")}).to_string();
                        let headers = [("content-type", "application/json")];
                        match client.try_send("POST", "/rest/v1/rpc/say", &headers, Some(body.as_bytes())) {
                            Ok(answer) if answer.status == 204 => said.push(n),
                            Ok(answer) => panic!("{} {}", answer.status, answer.text()),
                            Err(_) => break,
                        }
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                    }
                    said
                })
            })
            .collect();
        // Killed while it delivers: once so many effects are there, which differs from round to round.
        let target = 20 + 13 * round;
        let counter = process.client().with_token(&token);
        let already = effects_of(&counter).len();
        until("effects begin", || {
            (effects_of(&counter).len() >= already + target).then_some(())
        });
        process.kill();
        stop.store(true, Ordering::SeqCst);
        for speaker in speakers {
            acknowledged.extend(speaker.join().expect("spoke"));
        }
        next += 100_000;
    }
    let process = project.serve();
    let client = process.client().with_token(&token);
    until("nothing waits", || (waiting(&project, &process) == 0).then_some(()));
    until("every acknowledged event was heard", || {
        let heard: HashSet<i64> = effects_of(&client).into_iter().collect();
        acknowledged.is_subset(&heard).then_some(())
    });
    let heard = effects_of(&client);
    let distinct: HashSet<i64> = heard.iter().copied().collect();
    println!(
        "{} events acknowledged in {rounds} lives, {} heard",
        acknowledged.len(),
        heard.len()
    );
    assert_eq!(heard.len(), distinct.len(), "no effect twice");
}

/// The numbers heard, in the order of their effects.
pub fn effects_of(client: &Client) -> Vec<i64> {
    let rows = client.get("/rest/v1/effects?select=n&order=id").expect(200).json();
    rows.as_array()
        .expect("a list")
        .iter()
        .filter_map(|r| r["n"].as_i64())
        .collect()
}

#[test]
fn a_schedule_runs_and_survives_a_restart() {
    let on = "[[on]]\nname = \"clock\"\nevery = \"1s\"\ncall = \"tick\"\n";
    let (project, process, operator) = start(on);
    let ticks = |client: &Client| {
        client
            .get("/rest/v1/effects?select=event")
            .expect(200)
            .json()
            .as_array()
            .map_or(0, Vec::len)
    };
    let began = Instant::now();
    until("it has run three times", || (ticks(&operator) >= 3).then_some(()));
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1700), "three ticks within {took:?}");
    process.kill();
    let process = project.serve();
    let operator = process.client().with_token(&project.token("service_role", None));
    let before = ticks(&operator);
    until("it goes on", || (ticks(&operator) >= before + 2).then_some(()));
    let rows = operator.get("/rest/v1/effects?select=event").expect(200).json();
    let ids: HashSet<&str> = rows
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|r| r["event"].as_str())
        .collect();
    assert_eq!(ids.len(), rows.as_array().map_or(0, Vec::len), "no slot twice");
}

#[test]
fn a_consumer_of_registrations_that_stops_slows_nobody() {
    let consumers: [&'static str; 3] = ["create_profile", "write_verification_mail", "write_welcome_mail"];
    let project = Project::example("shop");
    let token = project.token("service_role", None);
    // Each consumer a program of its own, which does its work by calling back.
    let gateway: Arc<std::sync::Mutex<Option<Client>>> = Arc::default();
    let mut receivers: Vec<Receiver> = consumers
        .into_iter()
        .map(|function| {
            let gateway = gateway.clone();
            Receiver::start(move |delivery| {
                let Some(client) = gateway.lock().expect("not poisoned").clone() else {
                    return 503;
                };
                let path = format!("/rest/v1/rpc/{function}");
                let body = json!({"event": delivery.event()});
                let headers = [
                    ("content-type", "application/json"),
                    ("idempotency-key", delivery.header("webhook-id")),
                ];
                match client.try_send("POST", &path, &headers, Some(body.to_string().as_bytes())) {
                    Ok(answer) => answer.status,
                    Err(_) => 502,
                }
            })
        })
        .collect();
    let mut toml = project.read("mainstay.toml");
    let retry = "retry   = { attempts = 100, backoff = \"fixed\", initial = \"50ms\" }";
    for (function, receiver) in consumers.iter().zip(&receivers) {
        toml = toml.replace(
            &format!("call  = \"{function}\""),
            &format!("deliver = \"{}\"\n{retry}", receiver.url("/")),
        );
    }
    project.write("mainstay.toml", &toml);
    let process = project.command().args(["--set", "auth.limit=10000/min"]).start();
    let client = process.client();
    let operator = client.with_token(&token);
    *gateway.lock().expect("not poisoned") = Some(operator.clone());
    let mut number = 0;
    let mut register = || {
        number += 1;
        let began = Instant::now();
        let account = json!({"email": format!("user{number}@example.com"), "password": "correct horse"});
        let answer = client.post("/auth/v1/signup", &account).expect(200).json();
        (
            answer["user"]["id"].as_str().expect("an id").to_owned(),
            began.elapsed(),
        )
    };
    // How many of a consumer's effects a user has.
    let done = |function: &str, id: &str| -> bool {
        let path = match function {
            "create_profile" => format!("/rest/v1/profiles?user_id=eq.{id}&select=user_id"),
            "write_verification_mail" => format!("/rest/v1/mails?user_id=eq.{id}&kind=eq.verification&select=id"),
            _ => format!("/rest/v1/mails?user_id=eq.{id}&kind=eq.welcome&select=id"),
        };
        operator.get(&path).expect(200).json().as_array().map(Vec::len) == Some(1)
    };
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let healthy: Vec<(String, Duration)> = (0..5).map(|_| register()).collect();
    for (id, _) in &healthy {
        for function in consumers {
            until("all consumers have worked", || done(function, id).then_some(()));
        }
    }
    let usual = median(healthy.iter().map(|(_, took)| *took).collect());
    let mut figures = BTreeMap::new();
    for stopped in 0..consumers.len() {
        receivers[stopped].kill();
        let users: Vec<(String, Duration)> = (0..5).map(|_| register()).collect();
        let took = median(users.iter().map(|(_, took)| *took).collect());
        figures.insert(consumers[stopped], took);
        for (id, _) in &users {
            for (which, function) in consumers.iter().enumerate() {
                if which != stopped {
                    until("the others have worked", || done(function, id).then_some(()));
                }
            }
            assert!(!done(consumers[stopped], id), "the stopped one has not");
        }
        assert!(waiting(&project, &process) >= 5, "its backlog is there to be seen");
        receivers[stopped].revive();
        for (id, _) in &users {
            until("the backlog drains", || done(consumers[stopped], id).then_some(()));
        }
        assert!(
            took < usual * 3 + Duration::from_millis(200),
            "{took:?} against {usual:?}"
        );
    }
    println!("a registration takes {usual:?}; with a consumer stopped {figures:?}");
}
