//! The one access record of a request, and the metrics that every route keeps.

use crate::line::Line;
use crate::metrics::{Counter, Histogram, counter, describe, histogram};
use crate::trace::TraceId;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long one named phase of a request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseTime {
    /// The phase, named after the module that does it.
    pub name: &'static str,
    /// Microseconds spent there.
    pub micros: u32,
}

/// All there is to say about a request once it is over.
///
/// It holds no secret: the path comes with its query already redacted, the user is a subject and never a token.
pub struct RequestRecord<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and redacted query.
    pub path: &'a str,
    /// The route that took it; empty if none did.
    pub route: &'a str,
    /// The status that was answered.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub bytes: u64,
    /// The client, after trusted proxies.
    pub peer: IpAddr,
    /// The identity's role.
    pub role: Option<&'a str>,
    /// The identity's subject.
    pub user: Option<&'a str>,
    /// The gateway's own error code, if it refused.
    pub code: Option<&'a str>,
    /// The group of servers that answered.
    pub upstream: Option<&'a str>,
    /// The server that answered.
    pub server: Option<SocketAddr>,
    /// How often another server had to be asked.
    pub retries: u8,
    /// The cache's verdict (`hit`, or the reason why not).
    pub cache: Option<&'a str>,
    /// The client was gone, or the answer broke off, before its end.
    pub aborted: bool,
    /// The trace the request belongs to.
    pub trace: TraceId,
    /// From the complete request head to the last byte handed over.
    pub total: Duration,
    /// The phases in their order.
    pub phases: &'a [PhaseTime],
}

/// The counters that a route keeps at hand, so that a request costs no look-up.
#[derive(Clone)]
pub struct RouteMetrics {
    by_class: [Counter; 6],
    seconds: Histogram,
    bytes: Counter,
}

impl RouteMetrics {
    /// The metrics of the route of that name.
    pub fn new(route: &str) -> RouteMetrics {
        describe(
            "mainstay_requests_total",
            "Requests answered, by route and class of status.",
        );
        describe(
            "mainstay_request_seconds",
            "Time from a request's head to the end of its answer, by route.",
        );
        describe("mainstay_response_bytes_total", "Bytes of bodies sent, by route.");
        let class = |status| counter("mainstay_requests_total", &[("route", route), ("status", status)]);
        RouteMetrics {
            by_class: [
                class("other"),
                class("1xx"),
                class("2xx"),
                class("3xx"),
                class("4xx"),
                class("5xx"),
            ],
            seconds: histogram("mainstay_request_seconds", &[("route", route)]),
            bytes: counter("mainstay_response_bytes_total", &[("route", route)]),
        }
    }

    /// Counts one request.
    #[inline]
    pub fn count(&self, status: u16, bytes: u64, total: Duration) {
        let class = usize::from(status / 100);
        self.by_class[if class < 6 { class } else { 0 }].inc();
        self.seconds.observe(total);
        self.bytes.add(bytes);
    }
}

pub(crate) fn write(record: &RequestRecord<'_>) {
    crate::log::write_line(false, |line| {
        if line.is_json() {
            json(line, record)
        } else {
            text(line, record)
        }
    });
}

fn json(line: &mut Line<'_>, r: &RequestRecord<'_>) {
    line.text("kind", "request");
    line.text("method", r.method);
    line.text("path", r.path);
    line.text("route", r.route);
    line.number("status", u64::from(r.status));
    line.number("bytes", r.bytes);
    line.text("peer", Address::of(r.peer).as_str());
    if let Some(role) = r.role {
        line.text("role", role);
    }
    if let Some(user) = r.user {
        line.text("user", user);
    }
    line.number("total_us", r.total.as_micros() as u64);
    if !r.phases.is_empty() {
        line.numbers("phases_us", r.phases.iter().map(|p| (p.name, u64::from(p.micros))));
    }
    if let Some(cache) = r.cache {
        line.text("cache", cache);
    }
    upstream(line, r);
    line.text("trace", std::str::from_utf8(&r.trace.hex()).unwrap_or(""));
}

fn text(line: &mut Line<'_>, r: &RequestRecord<'_>) {
    line.word(itoa::Buffer::new().format(r.status));
    line.word(r.method);
    line.word(r.path);
    let micros = r.total.as_micros();
    if micros < 10_000 {
        line.word(&format!("{micros}us"))
    } else {
        line.word(&format!("{}ms", micros / 1000))
    }
    line.text("route", r.route);
    line.text("peer", Address::of(r.peer).as_str());
    if let Some(who) = r.user.or(r.role) {
        line.text("user", who);
    }
    if let Some(cache) = r.cache {
        line.text("cache", cache);
    }
    upstream(line, r);
}

fn upstream(line: &mut Line<'_>, r: &RequestRecord<'_>) {
    if let Some(upstream) = r.upstream {
        line.text("upstream", upstream);
    }
    if let Some(server) = r.server {
        line.text("server", &server.to_string());
    }
    if r.retries > 0 {
        line.number("retries", u64::from(r.retries));
    }
    if let Some(code) = r.code {
        line.text("code", code);
    }
    if r.aborted {
        line.text("aborted", "true");
    }
}

/// An address as text without an allocation.
struct Address {
    text: [u8; 46],
    len: usize,
}

impl Address {
    fn of(ip: IpAddr) -> Address {
        use std::io::Write;
        let mut address = Address { text: [0; 46], len: 0 };
        let mut rest = &mut address.text[..];
        let _ = match ip {
            IpAddr::V4(v4) => write!(rest, "{v4}"),
            IpAddr::V6(v6) => write!(rest, "{v6}"),
        };
        address.len = 46 - rest.len();
        address
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or("")
    }
}
