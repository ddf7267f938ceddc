//! What clients may send, and what they get for sending something else.

use crate::harness::*;
use bytes::Bytes;
use http::Response;
use mainstay_gateway::Limits;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn malformed_requests_are_refused_by_name_and_end_the_connection() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let gateway = start(config(vec![local(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Response::new(Bytes::from_static(b"reached"))
    })]));
    let long = "x".repeat(40_000);
    let many: String = (0..101).map(|i| format!("x{i}: y\r\n")).collect();
    for (name, request, status, code) in [
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "GW101"),
        ("no host in 1.0", "GET / HTTP/1.0\r\n\r\n".into(), 400, "GW101"),
        (
            "two hosts",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(),
            400,
            "GW102",
        ),
        ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".into(), 400, "GW103"),
        (
            "a host with a path",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(),
            400,
            "GW103",
        ),
        (
            "a host with a user",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".into(),
            400,
            "GW103",
        ),
        (
            "two hosts in a line",
            "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".into(),
            400,
            "GW103",
        ),
        (
            "another absolute host",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
            "GW103",
        ),
        (
            "length and encoding",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
            "GW104",
        ),
        (
            "encoding and length",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".into(),
            400,
            "GW104",
        ),
        (
            "the same length twice",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi".into(),
            400,
            "GW105",
        ),
        (
            "different lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi".into(),
            400,
            "GW100",
        ),
        (
            "a signed length",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\nhi".into(),
            400,
            "GW100",
        ),
        (
            "a list of lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\nhi".into(),
            400,
            "GW100",
        ),
        (
            "two encodings",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into(),
            400,
            "GW106",
        ),
        (
            "encoding twice",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .into(),
            400,
            "GW106",
        ),
        (
            "another encoding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n".into(),
            400,
            "GW100",
        ),
        (
            "encoding in 1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
            "GW100",
        ),
        ("bare line feeds", "GET / HTTP/1.1\nHost: a\n\n".into(), 400, "GW107"),
        (
            "one bare line feed",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".into(),
            400,
            "GW107",
        ),
        (
            "a folded line",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n".into(),
            400,
            "GW100",
        ),
        (
            "a blank before the colon",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(),
            400,
            "GW100",
        ),
        ("no HTTP at all", "\x16\x03\x01\x02\r\n\r\n".into(), 400, "GW100"),
        (
            "another version",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(),
            400,
            "GW100",
        ),
        (
            "too large a head",
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
            "GW109",
        ),
        (
            "too many fields",
            format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
            431,
            "GW109",
        ),
        (
            "connect",
            "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".into(),
            405,
            "GW115",
        ),
        ("trace", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405, "GW115"),
    ] {
        let mut wire = Wire::connect(&gateway);
        wire.send(&request);
        let answer = wire.answer();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{name}: {answer:?}"
        );
        assert_eq!(
            answer.field("content-type").as_deref(),
            Some("application/json; charset=utf-8"),
            "{name}"
        );
        assert!(wire.ended(), "{name} leaves the connection open");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0, "nothing of this reaches a service");
    assert_eq!(get(&gateway, "/").text(), "reached");
}

#[test]
fn paths_that_climb_are_refused_and_the_connection_stays() {
    let gateway = start(config(vec![echo()]));
    let mut wire = Wire::connect(&gateway);
    for path in ["/../etc/passwd", "/a/%2e%2e/b", "//a", "/a%00", "/a%2f..%2fb", "/%ff"] {
        let answer = wire.ask("GET", path, &[]);
        assert_eq!((answer.status, answer.code().as_str()), (400, "GW108"), "{path}");
    }
    assert_eq!(wire.ask("GET", "/fine", &[]).text(), "GET /fine ");
}

#[test]
fn a_smuggled_request_is_never_seen() {
    let gateway = start(config(vec![echo()]));
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        let mut wire = Wire::connect(&gateway);
        wire.send(format!(
            "POST /front HTTP/1.1\r\nHost: a\r\n{framing}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        assert_eq!(wire.answer().status, 400);
        assert!(wire.ended(), "what follows is not answered");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let gateway = start(config(vec![echo()]));
    let mut wire = Wire::connect(&gateway);
    let mut text = String::new();
    for i in 0..20 {
        if i % 2 == 0 {
            text.push_str(&format!("GET /{i} HTTP/1.1\r\nHost: a\r\n\r\n"));
        } else {
            text.push_str(&format!(
                "POST /{i} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
            ));
        }
    }
    // A fault far behind good requests hurts none of them.
    text.push_str("GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /after HTTP/1.1\r\nHost: a\r\n\r\n");
    wire.send(text);
    for i in 0..20 {
        let wanted = if i % 2 == 0 {
            format!("GET /{i} ")
        } else {
            format!("POST /{i} hi")
        };
        assert_eq!(wire.answer().text(), wanted);
    }
    assert_eq!(wire.answer().code(), "GW102");
    assert!(wire.ended());
}

#[test]
fn old_clients_and_absolute_targets_are_served() {
    let gateway = start(config(vec![echo()]));
    let mut wire = Wire::connect(&gateway);
    wire.send("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(wire.answer().status, 200);
    wire.send("GET /x HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(wire.answer().status, 200);
    assert!(wire.ended(), "HTTP/1.0 closes");
}

#[test]
fn a_head_that_trickles_in_is_cut_off_with_a_word() {
    let mut config = config(vec![echo()]);
    config.limits = Limits {
        head_timeout: Duration::from_millis(200),
        idle_timeout: Duration::from_millis(900),
        ..Limits::default()
    };
    let gateway = start(config);
    let begin = Instant::now();
    let mut slow = Wire::connect(&gateway);
    let mut writer = slow.stream.try_clone().expect("a second handle");
    let feeding = std::thread::spawn(move || {
        use std::io::Write;
        let _ = writer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n");
        for i in 0..100 {
            // The line must not come to an end: each byte counts as life for a server that only watches reads.
            if writer.write_all(if i == 0 { b"X: " } else { b"y" }).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let answer = slow.answer();
    assert_eq!((answer.status, answer.code().as_str()), (408, "GW111"));
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    drop(slow);
    feeding.join().expect("feeding");

    // A connection that says nothing may wait longer, and ends without a word.
    let begin = Instant::now();
    let mut idle = Wire::connect(&gateway);
    assert_eq!(idle.ask("GET", "/", &[]).status, 200);
    assert!(idle.ended());
    assert!(begin.elapsed() >= Duration::from_millis(800), "{:?}", begin.elapsed());
}

#[test]
fn bodies_have_a_size_and_a_time() {
    let mut config = config(vec![echo()]);
    config.limits = Limits {
        body_bytes_max: 1_000,
        body_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let gateway = start(config);
    let ok = "x".repeat(1_000);
    assert_eq!(
        Wire::connect(&gateway).ask_with("POST", "/", &[], &ok).text(),
        format!("POST / {ok}")
    );

    let too_long = raw(&gateway, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(
        (too_long.status, too_long.code().as_str()),
        (413, "GW113"),
        "refused by its length alone"
    );

    // Far more than sockets hold: the client is still sending when it is refused, and must read the answer all the same.
    let mut wire = Wire::connect(&gateway);
    let mut body = String::from("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    (0..300).for_each(|_| body.push_str(&format!("1000\r\n{}\r\n", "y".repeat(0x1000))));
    wire.send(&body);
    let answer = wire.answer();
    assert_eq!((answer.status, answer.code().as_str()), (413, "GW113"));

    let slow = raw(
        &gateway,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
    );
    assert_eq!((slow.status, slow.code().as_str()), (408, "GW112"));

    for broken in ["5\nhello\r\n0\r\n\r\n", "zz\r\n", "5\r\nhelloooo\r\n"] {
        let answer = raw(
            &gateway,
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{broken}"),
        );
        assert_eq!((answer.status, answer.code().as_str()), (400, "GW114"), "{broken:?}");
    }
}

#[test]
fn a_client_that_waits_for_leave_to_send_gets_it() {
    let gateway = start(config(vec![echo()]));
    let mut wire = Wire::connect(&gateway);
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(wire.head().map(|m| m.status), Some(100));
    wire.send("hello");
    assert_eq!(wire.answer().text(), "POST / hello");
}

#[test]
fn connections_are_counted_and_bounded() {
    let mut config = config(vec![echo()]);
    config.limits.connections_max = 2;
    let gateway = start(config);
    let (mut a, mut b) = (Wire::connect(&gateway), Wire::connect(&gateway));
    assert_eq!(
        (a.ask("GET", "/", &[]).status, b.ask("GET", "/", &[]).status),
        (200, 200)
    );
    let refused = get(&gateway, "/");
    assert_eq!((refused.status, refused.code().as_str()), (503, "GW402"));
    drop(a);
    eventually("the place is free again", || gateway.connections() == 1);
    assert_eq!(get(&gateway, "/").status, 200);
}

#[test]
fn one_address_cannot_take_all_connections() {
    let mut config = config(vec![echo()]);
    config.limits.connections_per_address_max = 1;
    let gateway = start(config);
    let mut first = Wire::connect(&gateway);
    assert_eq!(first.ask("GET", "/", &[]).status, 200);
    let refused = get(&gateway, "/");
    assert_eq!((refused.status, refused.code().as_str()), (503, "GW402"));
    assert!(refused.text().contains("address"));
}

/// A service that never answers.
struct Never;

impl mainstay_gateway::Service for Never {
    fn call<'a>(&'a self, _: http::Request<Bytes>) -> mainstay_gateway::Answer<'a> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn requests_have_a_time_and_their_number_a_bound() {
    let never = mainstay_gateway::Target::Service(Arc::new(Never));
    let never = mainstay_gateway::Route::new("never", "/never", never);
    let mut config = config(vec![echo(), never]);
    config.limits.request_timeout = Duration::from_millis(300);
    config.limits.in_flight_max = 1;
    let gateway = start(config);
    let begin = Instant::now();
    let mut stuck = Wire::connect(&gateway);
    stuck.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut refused = None;
    eventually("the gateway is full", || {
        let answer = get(&gateway, "/");
        let full = answer.status == 503;
        refused = Some(answer);
        full || begin.elapsed() > Duration::from_millis(250)
    });
    assert_eq!(refused.map(|r| r.code()).as_deref(), Some("GW404"));
    let answer = stuck.answer();
    assert_eq!((answer.status, answer.code().as_str()), (504, "GW505"));
    assert!(begin.elapsed() >= Duration::from_millis(290));
    assert_eq!(get(&gateway, "/").status, 200);
}

#[test]
fn targets_have_a_length() {
    let gateway = start(config(vec![echo()]));
    let long = "x".repeat(17_000);
    let answer = get(&gateway, &format!("/?{long}"));
    assert_eq!((answer.status, answer.code().as_str()), (414, "GW110"));
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let mut config = config(vec![local(|_| Response::new(Bytes::from(vec![b'x'; 64 << 20])))]);
    // Long enough for a client that reads on a busy machine.
    config.limits.stall_timeout = Duration::from_secs(1);
    config.compress = false;
    let gateway = start(config);
    let mut wire = Wire::connect(&gateway);
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the connection is there", || gateway.connections() == 1);
    eventually("the connection is gone", || gateway.connections() == 0);
    let mut rest = Vec::new();
    let _ = wire.stream.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20);
    assert_eq!(get(&gateway, "/").body.len(), 64 << 20, "whoever reads gets everything");
}

#[test]
fn a_panic_costs_one_request() {
    let gateway = start(config(vec![local(|request| {
        assert!(request.uri().path() != "/panic", "of a service");
        Response::new(Bytes::from_static(b"fine"))
    })]));
    for _ in 0..3 {
        let answer = get(&gateway, "/panic");
        assert_eq!((answer.status, answer.code().as_str()), (500, "GW601"));
        assert_eq!(get(&gateway, "/").text(), "fine");
    }
}

#[test]
fn a_head_request_has_the_head_of_a_get_and_no_body() {
    let gateway = start(config(vec![echo()]));
    let mut wire = Wire::connect(&gateway);
    let answer = wire.ask("HEAD", "/x", &[]);
    assert_eq!(
        (answer.status, answer.field("content-length").as_deref()),
        (200, Some("8"))
    );
    assert_eq!(
        wire.ask("GET", "/x", &[]).text(),
        "GET /x ",
        "the connection is in step"
    );
}
