//! Calls that are made later (`Prefer: respond-async`), and the topics under which they travel.

use crate::events::{effects_of, start, webhook};
use mainstay_tests::{Client, Receiver, until};
use serde_json::{Value as Json, json};
use std::collections::HashSet;

#[test]
fn a_call_can_be_answered_later() {
    let (project, process, _) = start("");
    let client = process.client();
    let user = client.with_token(&project.token("authenticated", Some("00000000-0000-4000-8000-00000000000a")));
    let later = [("prefer", "respond-async")];
    let taken = user
        .post_with("/rest/v1/rpc/add", &later, &json!({"a": 2, "b": 3}))
        .expect(202);
    assert!(
        taken
            .header("preference-applied")
            .is_some_and(|p| p.contains("respond-async")),
        "{:?}",
        taken.headers
    );
    let place = taken.header("location").expect("a place to ask").to_owned();
    assert!(place.starts_with("/jobs/v1/") && place.len() > 30, "{place}");
    let state = |client: &Client, place: &str| {
        until("the job has ended", || {
            let state = client.get(place).expect(200).json();
            (state["state"] != json!("running")).then_some(state)
        })
    };
    let done = state(&client, &place);
    assert_eq!((&done["state"], &done["result"]), (&json!("done"), &json!(5)), "{done}");
    // Digits are as the function gave them.
    let exact = user.post_with("/rest/v1/rpc/exact", &later, &json!({})).expect(202);
    let place = exact.header("location").expect("a place");
    state(&client, place);
    let told = client.get(place).expect(200).text();
    assert!(told.contains(r#""result":12345678901234567890.1234567890}"#), "{told}");
    // One that fails says how; one that may not be called is refused at once.
    let fails = user
        .post_with(
            "/rest/v1/rpc/add",
            &later,
            &json!({"a": 2_000_000_000, "b": 2_000_000_000}),
        )
        .expect(202);
    let failed = state(&client, fails.header("location").expect("a place"));
    assert_eq!(
        (&failed["state"], &failed["error"]["code"]),
        (&json!("failed"), &json!("22003")),
        "{failed}"
    );
    user.post_with("/rest/v1/rpc/say", &later, &json!({"n": 1, "key": "k"}))
        .expect(403);
    client
        .post_with("/rest/v1/rpc/add", &later, &json!({"a": 1, "b": 1}))
        .expect(401);
    client
        .get("/jobs/v1/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        .expect(404);
    // The same request twice is one job.
    let with_key = [("prefer", "respond-async"), ("idempotency-key", "once")];
    let places: HashSet<String> = (0..5)
        .map(|_| {
            user.post_with("/rest/v1/rpc/add", &with_key, &json!({"a": 20, "b": 30}))
                .expect(202)
        })
        .map(|a| a.header("location").expect("a place").to_owned())
        .collect();
    assert_eq!(places.len(), 1, "{places:?}");
    // Taken on is taken on: killed at once, done after the restart, and once.
    let last = user
        .post_with("/rest/v1/rpc/add", &later, &json!({"a": 100, "b": 200}))
        .expect(202);
    let place = last.header("location").expect("a place").to_owned();
    process.kill();
    let process = project.serve();
    let client = process.client();
    assert_eq!(state(&client, &place)["result"], json!(300));
    for place in &places {
        assert_eq!(state(&client, place)["result"], json!(50));
    }
    let operator = client.with_token(&project.token("service_role", None));
    let mut sums = effects_of(&operator);
    sums.sort_unstable();
    assert_eq!(sums, [5, 50, 300], "each once");
}

#[test]
fn a_call_made_later_is_the_call_that_was_asked_for() {
    let (project, process, operator) = start("");
    let token = project.token("authenticated", Some("00000000-0000-4000-8000-00000000000a"));
    let user = process.client().with_token(&token);
    let call = |path: &str, more: &[(&'static str, &'static str)], body: &Json| {
        let mut headers = vec![("prefer", "respond-async")];
        headers.extend(more);
        user.post_with(path, &headers, body)
    };
    let ended = |place: &str| {
        until("the job has ended", || {
            let state = user.get(place).expect(200).json();
            (state["state"] != json!("running")).then_some(state)
        })
    };
    let sum = json!({"a": 1, "b": 1});
    // What would be refused now is refused now.
    call("/rest/v1/rpc/add", &[], &json!({"a": "x", "b": 1})).expect(400);
    call("/rest/v1/rpc/add", &[("accept", "image/png")], &sum).expect(406);
    call("/rest/v1/rpc/nobody", &[], &sum).expect(404);
    // Preferences hold for it as for any.
    let tried = call("/rest/v1/rpc/add", &[("prefer", "tx=rollback")], &sum).expect(202);
    assert_eq!(ended(tried.header("location").expect("a place"))["result"], json!(2));
    assert_eq!(effects_of(&operator), [0i64; 0], "it was undone");
    // One key is one effect, however it is used and however many use it at once.
    let answers: Vec<(u16, Option<String>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let call = &call;
                let body = json!({"a": 10, "b": n % 4});
                scope.spawn(move || {
                    let answer = call("/rest/v1/rpc/add", &[("idempotency-key", "raced")], &body);
                    (answer.status, answer.header("location").map(str::to_owned))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect()
    });
    let taken: Vec<&String> = answers.iter().filter_map(|(_, place)| place.as_ref()).collect();
    assert!((1..=2).contains(&taken.len()), "two ask for the same: {answers:?}");
    assert!(taken.iter().all(|place| *place == taken[0]), "{answers:?}");
    assert!(
        answers.iter().all(|(status, _)| matches!(status, 202 | 422)),
        "{answers:?}"
    );
    let result = ended(taken[0])["result"].clone();
    assert_eq!(effects_of(&operator), [result.as_i64().expect("a sum")]);
    // At once first and later then: not twice.
    user.post_with(
        "/rest/v1/rpc/add",
        &[("idempotency-key", "mixed")],
        &json!({"a": 50, "b": 0}),
    )
    .expect(200);
    let again = call(
        "/rest/v1/rpc/add",
        &[("idempotency-key", "mixed")],
        &json!({"a": 50, "b": 0}),
    )
    .expect(202);
    let again = ended(again.header("location").expect("a place"));
    assert_eq!(
        (&again["state"], &again["error"]["code"]),
        (&json!("failed"), &json!("MS422"))
    );
    assert_eq!(effects_of(&operator).iter().filter(|n| **n == 50).count(), 1);
    // Its state is read, and nothing else.
    let place = taken[0];
    user.send("HEAD", place, &[], None).expect(200);
    assert_eq!(
        user.send("DELETE", place, &[], None).expect(405).header("allow"),
        Some("GET, HEAD")
    );
    user.get(&place.replace("/jobs/v1/", "/jobs/v1/x/")).expect(404);
}

#[test]
fn topics_of_mainstays_own_are_nobody_elses() {
    let receiver = Receiver::start(|_| 204);
    let all = webhook("all", "event = \"*\"", &receiver.url("/"), "");
    let (project, process, operator) = start(&all);
    for topic in ["mainstay.job", "mainstay.anything", "change.items.insert"] {
        let refused = operator
            .post("/rest/v1/rpc/tell", &json!({"topic": topic}))
            .expect(400)
            .json();
        assert_eq!(refused["code"], json!("42939"), "{refused}");
        assert!(
            refused["message"].as_str().is_some_and(|m| m.contains(topic)),
            "{refused}"
        );
    }
    let refused = operator.post("/rest/v1/rpc/tell", &json!({"topic": ""})).expect(400);
    assert_eq!(refused.json()["code"], json!("22004"));
    // A call that is made later carries its caller's claims: whoever wants everything does not get it.
    let token = project.token("authenticated", Some("00000000-0000-4000-8000-00000000000a"));
    let user = process.client().with_token(&token);
    user.post_with(
        "/rest/v1/rpc/add",
        &[("prefer", "respond-async")],
        &json!({"a": 2, "b": 3}),
    )
    .expect(202);
    until("the call was made", || (effects_of(&operator) == [5]).then_some(()));
    operator
        .post("/rest/v1/rpc/tell", &json!({"topic": "told"}))
        .expect(204);
    until("the event is delivered", || (receiver.count() > 0).then_some(()));
    let types: Vec<Json> = receiver.seen().iter().map(|d| d.event()["type"].clone()).collect();
    assert_eq!(types, ["told"]);
    // What waits to be delivered is nobody's business on this machine.
    let state = project.dir().join(".mainstay");
    for file in std::fs::read_dir(state).expect("a folder").flatten() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().expect("there").permissions());
        let name = file.file_name().into_string().expect("a name");
        assert!(mode & 0o077 == 0 || name.ends_with(".lock"), "{name}: {mode:o}");
    }
}
