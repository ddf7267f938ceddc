//! Beginning, end, and what is left behind: ports, draining, access records, the admin listener.

use crate::harness::*;
use bytes::Bytes;
use http::Response;
use mainstay_gateway::{AdminConfig, AdminServer, Auth, Config, Gateway, Route, StartError, Target, Upstream};
use mainstay_telemetry as telemetry;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn requests_in_flight_end_and_nothing_new_begins() {
    let (began, begun) = sync_channel::<()>(16);
    let began = Mutex::new(began);
    let (release, released) = sync_channel::<()>(16);
    let released = Mutex::new(released);
    let backend = Backend::new(move |wire, _| {
        began.lock().expect("began").send(()).expect("a test");
        let _ = released.lock().expect("released").recv_timeout(PATIENCE);
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        Then::Keep
    });
    let gateway = proxy(&[&backend], |_| {});
    let address = gateway.addresses()[0];
    let (mut busy, mut idle) = (Wire::connect(&gateway), Wire::connect(&gateway));
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    begun.recv_timeout(PATIENCE).expect("in flight");
    eventually("both are open", || gateway.connections() == 2);
    gateway.stop();
    assert!(idle.ended(), "who has nothing to wait for is let go at once");
    eventually("nobody is let in", || std::net::TcpStream::connect(address).is_err());
    release.send(()).expect("waiting");
    let answer = busy.answer();
    assert_eq!(
        (answer.text().as_str(), answer.field("connection").as_deref()),
        ("done", Some("close"))
    );
    assert!(busy.ended());
    assert_eq!(gateway.wait(), 0);
}

#[test]
fn draining_has_an_end() {
    let backend = Backend::new(|_, _| {
        std::thread::park_timeout(Duration::from_secs(3));
        Then::Close
    });
    let gateway = proxy(&[&backend], |c| c.limits.drain_timeout = Duration::from_millis(200));
    let mut wire = Wire::connect(&gateway);
    wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("in flight", || backend.connections.load(Ordering::SeqCst) == 1);
    let begin = Instant::now();
    assert_eq!(gateway.shutdown(), 1, "one connection was cut");
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(wire.ended());
}

#[test]
fn a_port_in_use_is_an_error_with_a_remedy() {
    let first = start(config(vec![echo()]));
    let second = Config {
        listen: first.addresses().to_vec(),
        ..config(vec![echo()])
    };
    match Gateway::new(second, None, None).expect("valid").start() {
        Err(error @ StartError::Listen(..)) => assert!(error.to_string().contains("in use"), "{error}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the port was taken"),
    }
    assert_eq!(get(&first, "/").status, 200);
}

#[test]
fn several_workers_and_addresses_serve_the_same() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let gateway = start(Config {
        workers: 4,
        listen: vec![any, any],
        ..config(vec![echo()])
    });
    assert_eq!(gateway.addresses().len(), 2);
    for address in gateway.addresses() {
        for i in 0..20 {
            let mut wire = Wire::of(std::net::TcpStream::connect(address).expect("accepted"));
            assert_eq!(wire.ask("GET", &format!("/{i}"), &[]).text(), format!("GET /{i} "));
        }
    }
    assert_eq!(gateway.shutdown(), 0);
}

/// The lines that this process has logged about a path.
fn records(path: &str) -> Vec<serde_json::Value> {
    telemetry::flush();
    let bytes = logged().0.lock().expect("captured").clone();
    let lines = String::from_utf8(bytes).expect("text");
    lines
        .lines()
        .filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok())
        .filter(|l| l["path"].as_str().is_some_and(|p| p.starts_with(path)))
        .collect()
}

#[test]
fn each_request_leaves_one_record_that_keeps_secrets() {
    let backend = Backend::saying("from afar");
    let mut config = config(vec![
        Route {
            pattern: "/record/here".into(),
            ..local(|_| {
                let mut response = Response::new(Bytes::from_static(b"twelve bytes"));
                response
                    .headers_mut()
                    .insert("cache-status", http::HeaderValue::from_static("mainstay; hit"));
                response
            })
        },
        Route {
            auth: Auth::None,
            ..Route::upstream("afar", "/record/afar/**", "up")
        },
    ]);
    config.upstreams = vec![Upstream::new("up", vec![backend.address.to_string()])];
    let gateway = start(config);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields = [
        ("traceparent", trace),
        ("Authorization", "Bearer t0ps3cret"),
        ("Cookie", "session=t0ps3cret"),
    ];
    ask(&gateway, "GET", "/record/here?select=id&apikey=t0ps3cret", &fields);
    ask(&gateway, "GET", "/record/afar/x", &fields);
    ask(&gateway, "GET", "/record/nowhere", &fields);
    let mut found = Vec::new();
    eventually("three records", || {
        found = records("/record/");
        found.len() >= 3
    });
    assert_eq!(found.len(), 3);
    let whole = serde_json::to_string(&found).expect("JSON");
    assert!(!whole.contains("t0ps3cret"), "{whole}");
    for record in &found {
        assert_eq!(record["trace"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            (&record["method"], &record["peer"]),
            (&"GET".into(), &"127.0.0.1".into())
        );
        assert!(record["total_us"].as_u64().is_some_and(|us| us < 5_000_000));
    }
    let of = |path: &str| {
        found
            .iter()
            .find(|r| r["path"].as_str().is_some_and(|p| p.starts_with(path)))
            .expect(path)
            .clone()
    };
    let here = of("/record/here");
    assert_eq!(
        (&here["status"], &here["bytes"], &here["cache"]),
        (&200.into(), &12.into(), &"hit".into())
    );
    assert_eq!(here["path"], "/record/here?select=id&apikey=[redacted]");
    assert!(
        here["phases_us"]
            .as_object()
            .is_some_and(|p| p.contains_key("route") && p.contains_key("service")),
        "{here}"
    );
    let afar = of("/record/afar");
    assert_eq!(
        (&afar["route"], &afar["upstream"], &afar["bytes"]),
        (&"afar".into(), &"up".into(), &9.into())
    );
    assert_eq!(afar["server"], backend.address.to_string());
    let nowhere = of("/record/nowhere");
    assert_eq!(
        (&nowhere["status"], &nowhere["code"], &nowhere["route"]),
        (&404.into(), &"GW201".into(), &"".into())
    );
}

#[test]
fn a_request_whose_client_left_and_a_broken_answer_are_recorded_as_such() {
    let backend = Backend::new(|wire, request| {
        if request.first_line.contains("broken") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            return Then::Close;
        }
        wire.ended();
        Then::Close
    });
    let gateway = proxy(&[&backend], |_| {});
    let mut wire = Wire::connect(&gateway);
    wire.send("GET /left/behind HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("in flight", || backend.connections.load(Ordering::SeqCst) == 1);
    drop(wire);
    get(&gateway, "/left/broken");
    let mut found = Vec::new();
    eventually("two records", || {
        found = records("/left/");
        found.len() == 2
    });
    for record in &found {
        assert_eq!(record["aborted"], "true", "{record}");
        let broken = record["path"] == "/left/broken";
        assert_eq!(record["status"], if broken { 200 } else { 499 });
        assert_eq!(record["bytes"], if broken { 5 } else { 0 });
    }
}

#[test]
fn operators_have_a_listener_of_their_own() {
    let ready = Arc::new(AtomicBool::new(false));
    let asked = ready.clone();
    let admin = AdminServer::start(AdminConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        token: Some("s3cret".into()),
        hosts: vec![],
        ready: Arc::new(move || {
            if asked.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err("the store is opening".into())
            }
        }),
        handler: Some(Arc::new(Local(|_| Response::new(Bytes::from_static(b"console"))))),
    })
    .expect("a free port");
    let gateway = start(config(vec![Route {
        name: "counted".into(),
        ..echo()
    }]));
    (0..3).for_each(|_| assert_eq!(get(&gateway, "/").status, 200));

    assert_eq!(get(&admin, "/healthz").text(), "ok\n");
    let not_ready = get(&admin, "/readyz");
    assert_eq!(
        (not_ready.status, not_ready.text().as_str()),
        (503, "not ready: the store is opening\n")
    );
    ready.store(true, Ordering::SeqCst);
    assert_eq!(get(&admin, "/readyz").status, 200);
    let metrics = get(&admin, "/metrics").text();
    assert!(
        metrics.contains("mainstay_requests_total{route=\"counted\",status=\"2xx\"} 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("process_cpu_seconds_total ")
            && metrics.contains("mainstay_connections{listener=\"gateway\"}")
    );

    let host = admin.addresses()[0].to_string();
    let console = |fields: &str| raw(&admin, format!("GET / HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
    assert_eq!(console("Authorization: Bearer s3cret\r\n").text(), "console");
    assert_eq!(console("").code(), "GW801");
    assert_eq!(
        console("Authorization: Bearer s3cret\r\nOrigin: http://evil.example\r\n").code(),
        "GW803"
    );
    let rebound = raw(
        &admin,
        "GET / HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer s3cret\r\n\r\n",
    );
    assert_eq!((rebound.status, rebound.code().as_str()), (403, "GW802"));
    assert_eq!(admin.shutdown(), 0);
}

#[test]
fn a_request_can_be_explained_without_being_sent() {
    let mut config = config(vec![
        Route {
            auth: Auth::None,
            ..Route::upstream("pay", "POST /pay/**", "up")
        },
        Route::new(
            "rest",
            "/rest/v1/**",
            Target::Service(Arc::new(Local(|_| Response::new(Bytes::new())))),
        ),
    ]);
    config.upstreams = vec![Upstream::new("up", vec!["127.0.0.1:1".into()])];
    let explainer = Gateway::new(config, None, None).expect("valid").explainer();
    let explain = |method: &str, path: &str| {
        let headers =
            http::HeaderMap::from_iter([(http::header::HOST, http::HeaderValue::from_static("shop.example"))]);
        let (method, uri) = (method.parse().expect("a method"), path.parse().expect("a target"));
        explainer.explain(&method, &uri, &headers, None)
    };
    let last = |course: &mainstay_gateway::Course| course.phases.last().map(|(name, says)| format!("{name}: {says}"));
    let elsewhere = explain("POST", "/pay/x");
    let end = last(&elsewhere).unwrap_or_default();
    assert!(end.starts_with("upstream: \"up\" (127.0.0.1:1), attempts:"), "{end}");
    let here = explain("GET", "/rest/v1/products?x=y");
    assert!(here.phases[1].1.contains("route \"rest\" (/rest/v1/**)"), "{here:?}");
    assert!(matches!(here.end, mainstay_gateway::End::Service(None, _)));
    for (method, path, words) in [
        ("GET", "/pay/x", "route: refused: 405"),
        ("GET", "/x", "route: refused: 404"),
        ("GET", "/../x", "GW108"),
    ] {
        let refused = explain(method, path);
        assert!(last(&refused).unwrap_or_default().contains(words), "{refused:?}");
        assert!(matches!(refused.end, mainstay_gateway::End::Refused));
    }
}
