//! Requests that other servers answer: passed on exactly, balanced, retried where that is safe, cut where it is not.

use crate::harness::*;
use mainstay_gateway::Route;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

pub fn plain(wire: &mut Wire, body: &str) -> Then {
    wire.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    Then::Keep
}

#[test]
fn a_request_arrives_as_it_was_sent_and_the_answer_comes_back() {
    let backend = Backend::new(|wire, _| {
        wire.send(
            "HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-One: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\n\
             Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\nhello",
        );
        Then::Keep
    });
    let gateway = proxy(&[&backend], |_| {});
    let answer = Wire::connect(&gateway).ask_with(
        "POST",
        "/a%20b/c?d=e&f",
        &[
            ("X-Two", "2"),
            ("Connection", "X-Gone"),
            ("X-Gone", "1"),
            ("Mainstay-Role", "service_role"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("Upgrade", "websocket"),
        ],
        "body",
    );
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.field("x-one").as_deref()),
        (201, "hello", Some("1"))
    );
    assert_eq!(answer.fields.iter().filter(|(n, _)| n == "set-cookie").count(), 2);
    assert!(answer.field("x-hop").is_none() && answer.field("keep-alive").is_none());
    let request = backend.last();
    assert_eq!(request.first_line, "POST /a%20b/c?d=e&f HTTP/1.1");
    assert_eq!(request.text(), "body");
    for (name, wanted) in [
        ("host", Some("shop.example")),
        ("x-two", Some("2")),
        ("content-length", Some("4")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some("shop.example")),
        ("via", Some("1.1 mainstay")),
        ("x-gone", None),
        ("mainstay-role", None),
        ("upgrade", None),
        ("connection", None),
    ] {
        assert_eq!(request.field(name).as_deref(), wanted, "{name}");
    }
    assert!(request.field("traceparent").is_some_and(|t| t.len() == 55));
    assert_eq!(request.field("mainstay-timeout-ms").as_deref(), Some("30000"));
}

#[test]
fn every_framing_of_an_answer_comes_through() {
    let backend = Backend::new(|wire, request| {
        let path = request.first_line.split(' ').nth(1).unwrap_or("").to_owned();
        match path.as_str() {
            "/chunked" => wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n"),
            "/close" => {
                wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
                return Then::Close;
            }
            "/early-hints" => wire.send(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            ),
            "/204" => wire.send("HTTP/1.1 204 No Content\r\n\r\n"),
            "/304" => wire.send("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n"),
            "/head" => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
            "/head-chunked" => wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            "/empty" => wire.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            "/old" => {
                wire.send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold");
                return Then::Close;
            }
            "/both" => {
                wire.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nboth\r\n0\r\n\r\n");
                return Then::Keep;
            }
            _ => {
                let big = "z".repeat(1 << 20);
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{big}", big.len()));
            }
        }
        Then::Keep
    });
    let gateway = proxy(&[&backend], |_| {});
    let mut wire = Wire::connect(&gateway);
    for round in 0..2 {
        for (method, path, status, body) in [
            ("GET", "/chunked", 200, "hello world"),
            ("GET", "/close", 200, "until the end"),
            ("GET", "/early-hints", 200, "ok"),
            ("GET", "/204", 204, ""),
            ("GET", "/304", 304, ""),
            ("HEAD", "/head", 200, ""),
            ("HEAD", "/head-chunked", 200, ""),
            ("GET", "/empty", 200, ""),
            ("GET", "/old", 200, "old"),
            ("GET", "/both", 200, "both"),
        ] {
            let answer = wire.ask(method, path, &[]);
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (status, body),
                "{method} {path} in round {round}"
            );
            assert!(answer.complete, "{path}");
        }
        assert_eq!(
            wire.ask("HEAD", "/head", &[]).field("content-length").as_deref(),
            Some("99")
        );
        assert_eq!(wire.ask("GET", "/big", &[]).body.len(), 1 << 20);
    }
}

#[test]
fn connections_are_kept_and_used_again() {
    let backend = Backend::saying("hi");
    let gateway = proxy(&[&backend], |_| {});
    for _ in 0..50 {
        assert_eq!(get(&gateway, "/").text(), "hi");
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn uploads_stream_through_chunked_or_measured() {
    let backend = Backend::new(|wire, request| plain(wire, &request.body.len().to_string()));
    let gateway = proxy(&[&backend], |c| c.limits.body_bytes_max = 4 << 20);
    let mut wire = Wire::connect(&gateway);
    for size in [0usize, 1, 70_000, 3 << 20] {
        let body = "u".repeat(size);
        wire.send(format!(
            "PUT /m HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}"
        ));
        assert_eq!(wire.answer().text(), size.to_string());
        wire.send("PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in body.as_bytes().chunks(50_000) {
            wire.send(format!("{:X}\r\n", part.len()));
            wire.send(part);
            wire.send("\r\n");
        }
        wire.send("0\r\n\r\n");
        assert_eq!(wire.answer().text(), size.to_string());
    }
    let answer = raw(
        &gateway,
        format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 5 << 20),
    );
    assert_eq!(answer.code(), "GW113");
    // Without a length it only shows on the way.
    let mut wire = Wire::connect(&gateway);
    wire.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("100000\r\n{}\r\n", "v".repeat(0x100000));
    (0..6).for_each(|_| wire.send(&chunk));
    assert_eq!(wire.answer().code(), "GW113");
}

#[test]
fn an_answer_may_come_before_the_request_is_complete() {
    let backend = Backend::raw(|wire, _| {
        let Some(_) = wire.head() else { return };
        wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        // Give the client time to see it although its body is never read.
        std::thread::park_timeout(Duration::from_millis(100));
    });
    let gateway = proxy(&[&backend], |_| {});
    let mut wire = Wire::connect(&gateway);
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin");
    let answer = wire.answer();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

#[test]
fn answers_stream_as_they_are_made() {
    let (more, go) = sync_channel::<()>(64);
    let go = std::sync::Mutex::new(go);
    let backend = Backend::new(move |wire, _| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        go.lock().expect("go").recv().expect("told to go on");
        wire.send("6\r\nsecond\r\n0\r\n\r\n");
        Then::Keep
    });
    let gateway = proxy(&[&backend], |_| {});
    let mut wire = Wire::connect(&gateway);
    wire.send("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: identity\r\n\r\n");
    let mut head = wire.head().expect("a head before the body is complete");
    assert_eq!(head.status, 200);
    more.send(()).expect("the backend waits");
    wire.body(&mut head);
    assert_eq!(head.text(), "firstsecond");
}

#[test]
fn pooled_connections_that_ended_cost_no_request() {
    // Closes each connection after its answer without saying so, as a server with a short idle time does.
    let backend = Backend::new(|wire, _| {
        plain(wire, "ok");
        Then::Close
    });
    let gateway = proxy(&[&backend], |_| {});
    let mut wire = Wire::connect(&gateway);
    for i in 0..40 {
        let method = if i % 2 == 0 { "GET" } else { "POST" };
        if i % 4 >= 2 {
            // Sometimes the end has arrived by then, sometimes not.
            std::thread::park_timeout(Duration::from_millis(3));
        }
        let answer = wire.ask(method, "/", &[]);
        if method == "GET" {
            assert_eq!(answer.status, 200, "request {i}");
        } else {
            // What must not be sent twice may fail in the instant of closing, and then says so.
            assert!(
                answer.status == 200 || answer.code() == "GW502",
                "request {i}: {answer:?}"
            );
        }
    }
    assert_eq!(backend.requests(), backend.connections.load(Ordering::SeqCst));
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let (left, noticed) = sync_channel::<()>(64);
    let left = std::sync::Mutex::new(left);
    let (began, begun) = sync_channel::<()>(64);
    let began = std::sync::Mutex::new(began);
    let backend = Backend::raw(move |wire, _| {
        if wire.head().is_none() {
            return;
        }
        began.lock().expect("began").send(()).expect("a test");
        assert!(wire.ended(), "the gateway closes");
        let _ = left.lock().expect("left").send(());
    });
    let gateway = proxy(&[&backend], |_| {});
    let mut wire = Wire::connect(&gateway);
    wire.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    begun.recv_timeout(PATIENCE).expect("the request arrives");
    drop(wire);
    noticed
        .recv_timeout(PATIENCE)
        .expect("the server sees its client leave");
}

#[test]
fn what_takes_too_long_is_given_up() {
    let backend = Backend::new(|wire, _| {
        std::thread::park_timeout(Duration::from_millis(600));
        plain(wire, "late")
    });
    let gateway = proxy(&[&backend], |c| c.upstreams[0].timeout = Duration::from_millis(150));
    let begin = Instant::now();
    let answer = get(&gateway, "/");
    assert_eq!((answer.status, answer.code().as_str()), (504, "GW504"));
    assert!(begin.elapsed() < Duration::from_millis(500));
    // The late answer must not be taken for that of the next request.
    std::thread::park_timeout(Duration::from_millis(600));
    assert_eq!(get(&gateway, "/").code(), "GW504");
}

#[test]
fn an_attempt_has_a_time_of_its_own() {
    let stuck = Backend::new(|wire, _| {
        std::thread::park_timeout(Duration::from_millis(500));
        plain(wire, "late")
    });
    let quick = Backend::saying("quick");
    let gateway = proxy(&[&stuck, &quick], |c| {
        c.routes[0].attempt_timeout = Some(Duration::from_millis(100));
        c.upstreams[0].ejection.failures = 0;
    });
    let begin = Instant::now();
    assert_eq!(tally((0..4).map(|_| get(&gateway, "/").text())).get("quick"), Some(&4));
    assert!(
        begin.elapsed() >= Duration::from_millis(200),
        "two of them had to wait for the stuck server"
    );
    let post = tally((0..2).map(|_| Wire::connect(&gateway).ask("POST", "/", &[]).code()));
    assert_eq!(post.get("GW504"), Some(&1), "what is not idempotent is not sent twice");
}

#[test]
fn an_answer_that_pauses_or_breaks_off_is_not_made_to_look_complete() {
    let backend = Backend::new(|wire, request| {
        let length = if request.first_line.contains("/chunked") {
            "Transfer-Encoding: chunked"
        } else {
            "Content-Length: 100"
        };
        let part = if request.first_line.contains("/chunked") {
            "5\r\nhello\r\n"
        } else {
            "hello"
        };
        wire.send(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n{part}"));
        if request.first_line.contains("pause") {
            std::thread::park_timeout(Duration::from_millis(700));
        }
        Then::Close
    });
    let gateway = proxy(&[&backend], |c| {
        c.upstreams[0].read_timeout = Duration::from_millis(200)
    });
    for path in ["/length", "/chunked", "/length-pause", "/chunked-pause"] {
        let begin = Instant::now();
        let mut wire = Wire::connect(&gateway);
        let answer = wire.ask("GET", path, &[]);
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.complete),
            (200, "hello", false),
            "{path}"
        );
        assert!(wire.ended());
        assert!(begin.elapsed() < Duration::from_millis(600), "{path}");
    }
}

#[test]
fn answers_that_are_no_http_are_a_bad_gateway() {
    let backend = Backend::new(|wire, request| {
        let path = request.first_line.split(' ').nth(1).unwrap_or("").to_owned();
        wire.send(match path.as_str() {
            "/garbage" => "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
            "/upgrade" => {
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".into()
            }
            "/lengths" => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde".into(),
            "/encoding" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n".into(),
            "/huge" => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
            _ => String::new(),
        });
        Then::Close
    });
    let gateway = proxy(&[&backend], |c| c.upstreams[0].ejection.failures = 1_000);
    for path in ["/garbage", "/upgrade", "/lengths", "/encoding", "/huge", "/nothing"] {
        let answer = ask(
            &gateway,
            "GET",
            path,
            &[("Connection", "Upgrade"), ("Upgrade", "websocket")],
        );
        assert_eq!((answer.status, answer.code().as_str()), (502, "GW502"), "{path}");
    }
}

#[test]
fn a_server_that_is_not_there_is_passed_over() {
    let (gone, here) = (Backend::absent(), Backend::saying("here"));
    let gateway = proxy(&[&gone, &here], |_| {});
    for i in 0..20 {
        // No byte was sent, so even what is not idempotent may go elsewhere.
        let answer = Wire::connect(&gateway).ask_with("POST", "/", &[], "x");
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"), "request {i}");
    }
    assert_eq!(here.requests(), 20);
    let alone = proxy(&[&gone], |_| {});
    let answer = get(&alone, "/");
    assert_eq!((answer.status, answer.code().as_str()), (502, "GW501"));
    assert!(
        answer.text().contains(&gone.address.to_string()),
        "it says who: {}",
        answer.text()
    );
}

#[test]
fn only_what_is_safe_is_tried_again() {
    let busy = Backend::new(|wire, _| {
        wire.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
        Then::Keep
    });
    let fine = Backend::saying("fine");
    let patient = |c: &mut mainstay_gateway::Config| c.upstreams[0].ejection.failures = 1_000;
    let gateway = proxy(&[&busy, &fine], patient);
    let answers = |method: &str| tally((0..10).map(|_| Wire::connect(&gateway).ask_with(method, "/", &[], "x").text()));
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(answers(method).get("fine"), Some(&10), "{method}");
    }
    for method in ["POST", "PATCH"] {
        assert_eq!(
            answers(method).get("busy"),
            Some(&5),
            "{method} is for the client to repeat"
        );
    }
    let once = proxy(&[&busy, &fine], |c| {
        patient(c);
        c.routes[0].attempts = 1;
    });
    assert_eq!(tally((0..10).map(|_| get(&once, "/").text())).get("busy"), Some(&5));
    let spent = proxy(&[&busy, &fine], |c| {
        patient(c);
        (c.routes[0].retry_ratio, c.routes[0].retries_per_second) = (0.2, 0.0);
    });
    let counts = tally((0..100).map(|_| get(&spent, "/").text()));
    let retried = 50 - counts.get("busy").copied().unwrap_or(0);
    assert!(
        (15..=25).contains(&retried),
        "a fifth of the requests may be tried again, not {retried} of 100"
    );
}

#[test]
fn nobody_passes_for_another_by_an_underscore() {
    let backend = Backend::saying("seen");
    let gateway = proxy(&[&backend], |c| {
        c.routes[0].headers.set = vec![(
            "x-forwarded-proto".parse().expect("a name"),
            "https".parse().expect("a value"),
        )];
        c.routes[0].headers.remove = vec!["via".parse().expect("a name")];
    });
    let claims = [
        ("Mainstay_Role", "service_role"),
        ("mainstay_user", "root"),
        ("X_Forwarded_For", "6.6.6.6"),
        ("my_own", "kept"),
        ("traceparent", "junk"),
        ("tracestate", "a=b"),
    ];
    assert_eq!(ask(&gateway, "GET", "/", &claims).status, 200);
    let seen = backend.last();
    for gone in ["mainstay_role", "mainstay_user", "x_forwarded_for", "tracestate", "via"] {
        assert_eq!(seen.field(gone), None, "{gone}");
    }
    assert_eq!(seen.field("my_own").as_deref(), Some("kept"));
    let protos: Vec<_> = seen
        .fields
        .iter()
        .filter(|(name, _)| name == "x-forwarded-proto")
        .collect();
    assert_eq!(protos.len(), 1, "{protos:?}");
    assert_eq!(protos[0].1, "https");
}

#[test]
fn one_slow_and_one_failing_server_of_three_do_not_take_the_rest_down() {
    let slow = Backend::new(|wire, _| {
        std::thread::park_timeout(Duration::from_millis(1_000));
        plain(wire, "slow")
    });
    let failing = Backend::new(|wire, _| {
        wire.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
        Then::Keep
    });
    let good = Backend::saying("good");
    let shop = echo();
    let gateway = proxy(&[&slow, &failing, &good], |c| {
        c.routes = vec![
            Route {
                pattern: "/shop".into(),
                ..shop
            },
            Route::upstream("pay", "/pay/**", "up"),
        ];
        c.upstreams[0].timeout = Duration::from_millis(100);
    });
    let mut shop_wire = Wire::connect(&gateway);
    let mut pay_wire = Wire::connect(&gateway);
    let mut waits = Vec::new();
    let mut good_answers = 0;
    for _ in 0..60 {
        pay_wire.send("GET /pay/x HTTP/1.1\r\nHost: a\r\n\r\n");
        let begin = Instant::now();
        assert_eq!(shop_wire.ask("GET", "/shop", &[]).status, 200);
        waits.push(begin.elapsed());
        good_answers += usize::from(pay_wire.answer().text() == "good");
    }
    waits.sort();
    let most = waits[waits.len() * 9 / 10];
    assert!(
        most < Duration::from_millis(80),
        "the shop waited {most:?} for somebody else's server"
    );
    assert!(
        good_answers >= 45,
        "both bad servers are left alone: {good_answers} of 60"
    );
}

#[test]
fn requests_in_flight_are_bounded() {
    let (release, released) = sync_channel::<()>(64);
    let released = std::sync::Mutex::new(released);
    let arrived = Arc::new(AtomicUsize::new(0));
    let count = arrived.clone();
    let backend = Backend::new(move |wire, _| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = released.lock().expect("released").recv_timeout(PATIENCE);
        plain(wire, "done")
    });
    let gateway = proxy(&[&backend], |c| c.upstreams[0].in_flight_max = 2);
    let (mut a, mut b) = (Wire::connect(&gateway), Wire::connect(&gateway));
    a.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    b.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("both are there", || arrived.load(Ordering::SeqCst) == 2);
    let refused = get(&gateway, "/");
    assert_eq!((refused.status, refused.code().as_str()), (503, "GW403"));
    (0..3).for_each(|_| release.send(()).expect("waiting"));
    assert_eq!((a.answer().text(), b.answer().text()), ("done".into(), "done".into()));
    assert_eq!(get(&gateway, "/").text(), "done");
}

#[test]
fn turns_are_taken_and_prefixes_stripped() {
    let (a, b) = (Backend::saying("a"), Backend::saying("b"));
    let gateway = proxy(&[&a, &b], |c| {
        c.workers = 2;
        c.routes[0].pattern = "/api/**".into();
        c.routes[0].strip_prefix = Some("/api".into());
    });
    let counts = tally((0..20).map(|i| get(&gateway, &format!("/api/{i}?q")).text()));
    assert_eq!((counts.get("a"), counts.get("b")), (Some(&10), Some(&10)));
    assert_eq!(
        a.last().first_line.split('/').nth(1).map(|p| p.ends_with("?q HTTP")),
        Some(true)
    );
    let missing = get(&gateway, "/other");
    assert_eq!((missing.status, missing.code().as_str()), (404, "GW201"));
}
