//! Which servers are left alone, and for what.

use crate::harness::*;
use crate::upstreams::plain;
use mainstay_gateway::Ejection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn a_failing_server_is_left_alone_and_taken_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = broken.clone();
    let flaky = Backend::new(move |wire, _| {
        if state.load(Ordering::SeqCst) {
            wire.send("HTTP/1.1 503 Oops\r\nContent-Length: 4\r\n\r\noops");
        } else {
            plain(wire, "back");
        }
        Then::Keep
    });
    let good = Backend::saying("good");
    let gateway = proxy(&[&flaky, &good], |c| {
        c.upstreams[0].ejection = Ejection {
            failures: 3,
            base: Duration::from_millis(300),
            ..Ejection::default()
        };
        c.routes[0].attempts = 1;
    });
    let mut wire = Wire::connect(&gateway);
    let counts = tally((0..30).map(|_| wire.ask("GET", "/", &[]).text()));
    assert_eq!(
        counts.get("oops"),
        Some(&3),
        "after three failures in a row it is left alone: {counts:?}"
    );
    broken.store(false, Ordering::SeqCst);
    let mut texts = Vec::new();
    eventually("it is asked again", || {
        texts.push(wire.ask("GET", "/", &[]).text());
        texts.last().is_some_and(|t| t == "back")
    });
    let counts = tally((0..20).map(|_| wire.ask("GET", "/", &[]).text()));
    assert_eq!(counts.get("back"), Some(&10), "and has its share again");
}

#[test]
fn an_error_of_the_application_ejects_nobody() {
    let wrong = Backend::new(|wire, _| {
        wire.send("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops");
        Then::Keep
    });
    let good = Backend::saying("good");
    let gateway = proxy(&[&wrong, &good], |c| c.upstreams[0].ejection.failures = 2);
    let counts = tally((0..20).map(|_| get(&gateway, "/").text()));
    assert_eq!((counts.get("oops"), counts.get("good")), (Some(&10), Some(&10)));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the client is slow")]
fn a_client_that_sends_slowly_is_no_failure_of_the_server() {
    let (a, b) = (Backend::saying("read"), Backend::saying("read"));
    let gateway = proxy(&[&a, &b], |c| {
        c.upstreams[0].ejection.failures = 1;
        c.routes[0].timeout = Some(Duration::from_millis(400));
        c.limits.body_timeout = Duration::from_millis(300);
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    // One that stops is told so, in the words for it.
    for _ in 0..3 {
        let mut wire = Wire::connect(&gateway);
        wire.send(head);
        wire.send("5\r\nhello\r\n");
        let answer = wire.answer();
        assert_eq!((answer.status, answer.code().as_str()), (408, "GW112"));
    }
    // One that goes on may take longer than an answer may.
    let mut wire = Wire::connect(&gateway);
    wire.send(head);
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(120));
        wire.send("5\r\nhello\r\n");
    }
    wire.send("0\r\n\r\n");
    assert_eq!(wire.answer().text(), "read");
    // Nobody was left alone for it.
    let before = (a.requests(), b.requests());
    for _ in 0..6 {
        assert_eq!(ask(&gateway, "POST", "/", &[("content-length", "0")]).text(), "read");
    }
    assert!(a.requests() > before.0 && b.requests() > before.1);
}

#[test]
fn when_all_fail_somebody_is_asked_all_the_same() {
    let make = || {
        Backend::new(|wire, _| {
            wire.send("HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops");
            Then::Keep
        })
    };
    let (a, b) = (make(), make());
    let gateway = proxy(&[&a, &b], |c| c.upstreams[0].ejection.failures = 2);
    for _ in 0..40 {
        assert_eq!(get(&gateway, "/").text(), "oops", "the servers' own answer, not ours");
    }
    assert_eq!(a.requests() + b.requests(), 40);
}
