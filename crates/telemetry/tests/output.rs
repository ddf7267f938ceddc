//! What a process writes, seen from outside: JSON lines that parse, nothing lost, floods bounded and counted.

use mainstay_telemetry as telemetry;
use parking_lot::Mutex;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use telemetry::{Config, Fact, Format, Level, Output, PhaseTime, RequestRecord, RouteMetrics, TraceContext};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One test, because what it looks at is the process' one log.
#[test]
fn lines_parse_carry_their_facts_and_are_bounded() {
    let captured = Captured::default();
    let lines = || -> Vec<serde_json::Value> {
        telemetry::flush();
        let bytes = std::mem::take(&mut *captured.0.lock());
        let text = String::from_utf8(bytes).expect("lines are UTF-8");
        text.lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{l}: {e}")))
            .collect()
    };
    assert!(telemetry::install(Config {
        level: Level::Info,
        format: Format::Auto,
        output: Output::Writer(Box::new(captured.clone())),
        access_log: true,
        buffer_bytes_max: 64 * 1024,
    }));
    assert!(!telemetry::install(Config::default()), "a second wish comes too late");

    telemetry::info!("store", "hello \"{}\"\n", "w\u{1}orld\\");
    telemetry::debug!("store", "not shown");
    let said = lines();
    assert_eq!(said.len(), 1);
    assert_eq!(
        (said[0]["level"].as_str(), said[0]["room"].as_str()),
        (Some("info"), Some("store"))
    );
    assert_eq!(said[0]["text"].as_str(), Some("hello \"w\u{1}orld\\\"\n"));

    let trace = TraceContext::generate();
    let metrics = RouteMetrics::new("products");
    let record = RequestRecord {
        method: "GET",
        path: "/rest/v1/products?apikey=[redacted]",
        route: "products",
        status: 404,
        bytes: 12,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        role: Some("anon"),
        user: None,
        code: Some("GW0404"),
        upstream: Some("payments"),
        server: Some(([127, 0, 0, 1], 9001).into()),
        retries: 1,
        cache: Some("hit"),
        aborted: false,
        trace: trace.trace,
        total: Duration::from_micros(1234),
        phases: &[
            PhaseTime {
                name: "route",
                micros: 3,
            },
            PhaseTime {
                name: "upstream",
                micros: 1200,
            },
        ],
    };
    telemetry::emit(&Fact::Request(&record, &metrics));
    let request = &lines()[0];
    for (key, value) in [
        ("kind", "\"request\""),
        ("status", "404"),
        ("peer", "\"127.0.0.1\""),
        ("server", "\"127.0.0.1:9001\""),
        ("retries", "1"),
        ("cache", "\"hit\""),
        ("code", "\"GW0404\""),
        ("total_us", "1234"),
        ("phases_us", "{\"route\":3,\"upstream\":1200}"),
    ] {
        assert_eq!(request[key].to_string(), value, "{key}");
    }
    assert_eq!(request["trace"].as_str(), Some(trace.trace.to_string().as_str()));
    assert!(request.get("user").is_none());
    let metrics = telemetry::render_metrics();
    assert!(
        metrics.contains("mainstay_requests_total{route=\"products\",status=\"4xx\"} 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("mainstay_refusals_total{code=\"GW0404\"} 1\n"));

    // Many threads, all at once: every line arrives whole.
    std::thread::scope(|scope| {
        for t in 0..8 {
            scope.spawn(move || (0..50).for_each(|i| telemetry::info!("test", "thread {t} line {i}")));
        }
    });
    assert_eq!(lines().len(), 400, "threads that have ended leave nothing behind");

    // A thread that logs faster than anything can write: bounded, and the loss is counted. The writer may drain in
    // between, so the flood is larger than it could.
    let dropped = telemetry::counter("mainstay_log_lines_dropped_total", &[]);
    let long = "x".repeat(60_000);
    let before = dropped.value();
    let mut written = 0;
    for _ in 0..2_000 {
        telemetry::info!("flood", "{long}");
        written += 1;
    }
    let arrived = lines().len() as u64;
    assert!(dropped.value() > before);
    assert_eq!(arrived + dropped.value() - before, written);
}
