//! What a request becomes on its way to an upstream: written straight into the bytes that are sent.
//!
//! Hop-by-hop fields end here (RFC 9110 §7.6.1), `Upgrade` among them. What the client claims about forwarding or about
//! who it is does not pass; the gateway writes both itself.

use crate::config::HeaderEdits;
use crate::forwarded::{self, Network};
use crate::site::CompiledRoute;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, Uri};
use mainstay_model::Identity;
use mainstay_telemetry::TraceContext;
use std::net::IpAddr;
use std::time::Duration;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Fields of one connection, never of a message that passes through.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION | header::TE | header::TRAILER | header::TRANSFER_ENCODING | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Headers by which the gateway tells upstreams who asks; a client's own are taken off.
pub(crate) fn is_identity(name: &str) -> bool {
    matches!(name, "mainstay-role" | "mainstay-user" | "mainstay-timeout-ms")
}

/// Whether a name is one of ours in the spelling of those who read `_` as `-`, as CGI and WSGI do.
fn is_ours_in_disguise(name: &str) -> bool {
    if !name.contains('_') {
        return false;
    }
    let name = name.replace('_', "-");
    forwarded::is_forwarding(&name) || is_identity(&name) || matches!(&*name, "traceparent" | "tracestate" | "via")
}

/// What the body of the outgoing request is.
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// All that a head is made of.
pub(crate) struct Outgoing<'r> {
    pub(crate) method: &'r Method,
    pub(crate) uri: &'r Uri,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) host: &'r [u8],
    /// The address of the socket's other end.
    pub(crate) peer: IpAddr,
    pub(crate) identity: Option<&'r Identity>,
    pub(crate) trace: &'r TraceContext,
    /// How long the answer is waited for.
    pub(crate) timeout: Duration,
    pub(crate) framing: Framing,
    pub(crate) forward_credentials: bool,
    pub(crate) proxies: &'r [Network],
    pub(crate) route: &'r CompiledRoute,
}

/// Phase: writes the head of the request that the upstream sees.
pub(crate) fn write_head(out: &mut Vec<u8>, request: &Outgoing<'_>) {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    write_target(out, request.uri, &request.route.path);
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(request.host);
    out.extend_from_slice(b"\r\n");
    let named = named_by_connection(request.headers);
    for (name, value) in request.headers {
        let text = name.as_str();
        let ours = match *name {
            header::HOST | header::CONTENT_LENGTH | header::EXPECT => true,
            header::AUTHORIZATION => !request.forward_credentials,
            _ => {
                is_hop_by_hop(name)
                    || text == "traceparent"
                    // It belongs to a trace that does not go on (Trace Context §3.3).
                    || (text == "tracestate" && request.trace.parent.is_none())
                    || (text == "apikey" && !request.forward_credentials)
                    || forwarded::is_forwarding(text)
                    || is_identity(text)
                    || is_ours_in_disguise(text)
            }
        };
        if ours || named.contains(name) || request.route.headers.touches(name) {
            continue;
        }
        field(out, text.as_bytes(), value.as_bytes());
    }
    for (name, value) in &request.route.headers.set {
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    let edits = &request.route.headers;
    let written = |name| edits.is_empty() || !edits.touches(&HeaderName::from_static(name));
    forwarded::write(
        out,
        request.peer,
        request.host,
        request.headers,
        request.proxies,
        written,
    );
    if let Some(identity) = request.identity {
        field(out, b"mainstay-role", &visible(&identity.role));
        if let Some(subject) = identity.subject() {
            field(out, b"mainstay-user", &visible(subject));
        }
    }
    if !edits.touches(&TRACEPARENT) {
        field(out, b"traceparent", &request.trace.header());
    }
    field(
        out,
        b"mainstay-timeout-ms",
        itoa::Buffer::new()
            .format(request.timeout.as_millis() as u64)
            .as_bytes(),
    );
    if !edits.touches(&header::VIA) {
        out.extend_from_slice(b"via: 1.1 mainstay\r\n");
    }
    match request.framing {
        // A length of 0 is said where a server might otherwise wait for a body (RFC 9110 §8.6).
        Framing::None if matches!(*request.method, Method::POST | Method::PUT | Method::PATCH) => {
            field(out, b"content-length", b"0");
        }
        Framing::None => {}
        Framing::Length(length) => field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes()),
        Framing::Chunked => field(out, b"transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What becomes of a path on its way to an upstream: a fixed beginning, and then the request's path without its first
/// segments, or nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathChange {
    pub(crate) begin: String,
    pub(crate) keep_after: Option<usize>,
}

impl PathChange {
    /// The path as it is.
    pub(crate) fn none() -> PathChange {
        PathChange {
            begin: String::new(),
            keep_after: Some(0),
        }
    }
}

impl HeaderEdits {
    fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    fn touches(&self, name: &HeaderName) -> bool {
        self.set.iter().any(|(set, _)| set == name) || self.remove.contains(name)
    }

    /// Phase: makes the changes to headers that stay in this process.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }
}

fn write_target(out: &mut Vec<u8>, uri: &Uri, change: &PathChange) {
    let from = out.len();
    out.extend_from_slice(change.begin.as_bytes());
    if let Some(segments) = change.keep_after {
        let mut path = uri.path();
        // Whole segments are dropped, because the spelling of the path may differ from the pattern's.
        for _ in 0..segments {
            let Some(rest) = path.strip_prefix('/') else { break };
            path = &rest[rest.find('/').unwrap_or(rest.len())..];
        }
        out.extend_from_slice(path.as_bytes());
    }
    if out.len() == from {
        out.push(b'/');
    }
    if let Some(query) = uri.query() {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
}

/// The fields that `Connection` declares to be of this connection only.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for token in value.as_bytes().split(|b| *b == b',') {
            let token = token.trim_ascii();
            if !token.is_empty() && !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive")
            {
                named.extend(HeaderName::from_bytes(token));
            }
        }
    }
    // Nobody may have the fields taken off that others rely on.
    named.retain(|name| {
        !matches!(
            *name,
            header::HOST | header::AUTHORIZATION | header::CONTENT_LENGTH | header::CONTENT_TYPE | header::COOKIE
        )
    });
    named
}

/// A claim as a header's value: what is not visible ASCII is percent-encoded, and so is `%`.
fn visible(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if (b'!'..=b'~').contains(&byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn written(
        fields: &[(&'static str, &'static str)],
        uri: &'static str,
        begin: &str,
        keep_after: Option<usize>,
    ) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let mut route = CompiledRoute::for_test();
        route.path = PathChange {
            begin: begin.into(),
            keep_after,
        };
        route.headers = HeaderEdits {
            set: vec![(HeaderName::from_static("x-set"), HeaderValue::from_static("ours"))],
            remove: vec![HeaderName::from_static("x-private-too")],
        };
        let mut claims = serde_json::Map::new();
        claims.insert("sub".into(), "ü\r\nx: y".into());
        let identity = Identity::new("authenticated", claims.into());
        let mut out = Vec::new();
        write_head(
            &mut out,
            &Outgoing {
                method: &Method::POST,
                uri: &Uri::from_static(uri),
                headers: &headers,
                host: b"shop.example",
                peer: [10, 0, 0, 9].into(),
                identity: Some(&identity),
                trace: &TraceContext::from_header(Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")),
                timeout: Duration::from_millis(1500),
                framing: Framing::Chunked,
                forward_credentials: true,
                proxies: &[],
                route: &route,
            },
        );
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn nothing_of_the_hop_and_no_claim_of_the_client_passes() {
        let head = written(
            &[
                ("host", "shop.example"),
                ("connection", "keep-alive, X-Private, close"),
                ("connection", "authorization"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("te", "trailers"),
                ("trailer", "x"),
                ("upgrade", "websocket"),
                ("transfer-encoding", "chunked"),
                ("expect", "100-continue"),
                ("mainstay-role", "service_role"),
                ("mainstay-user", "root"),
                ("mainstay-timeout-ms", "999999"),
                ("x-forwarded-for", "6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("forwarded", "for=6.6.6.6"),
                ("x-set", "theirs"),
                ("x-private-too", "1"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                ("authorization", "Bearer t"),
                ("accept", "*/*"),
                ("x-two", "a"),
                ("x-two", "b"),
            ],
            "/a/b?c=d",
            "",
            Some(0),
        );
        let (first, rest) = head.split_once("\r\n").expect("lines");
        assert_eq!(first, "POST /a/b?c=d HTTP/1.1");
        let mut lines: Vec<&str> = rest
            .trim_end()
            .split("\r\n")
            .filter(|l| !l.starts_with("traceparent"))
            .collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "accept: */*",
                "authorization: Bearer t",
                "forwarded: for=10.0.0.9;host=\"shop.example\";proto=http",
                "host: shop.example",
                "mainstay-role: authenticated",
                "mainstay-timeout-ms: 1500",
                "mainstay-user: %C3%BC%0D%0Ax:%20y",
                "transfer-encoding: chunked",
                "via: 1.1 mainstay",
                "x-forwarded-for: 10.0.0.9",
                "x-forwarded-host: shop.example",
                "x-forwarded-proto: http",
                "x-set: ours",
                "x-two: a",
                "x-two: b",
            ]
        );
        let trace = rest
            .lines()
            .find_map(|l| l.strip_prefix("traceparent: "))
            .expect("a trace");
        assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && trace.ends_with("-01"));
        assert!(!trace.contains("b7ad6b7169203331"), "our span is the parent");
    }

    #[test]
    fn paths_change_by_whole_segments() {
        for (uri, begin, keep_after, wanted) in [
            ("/pay/x?y", "", Some(0), "/pay/x?y"),
            ("/pay/x?y", "", Some(1), "/x?y"),
            ("/p%61y/x%2Fz", "", Some(1), "/x%2Fz"),
            ("/pay", "", Some(1), "/"),
            ("/pay/", "", Some(1), "/"),
            ("/a/b/c", "", Some(2), "/c"),
            ("/a", "", Some(3), "/"),
            ("/pay/x/y?q", "/v2/p", Some(1), "/v2/p/x/y?q"),
            ("/pay", "/v2", Some(1), "/v2"),
            ("/pay/x?q", "/fixed", None, "/fixed?q"),
        ] {
            let head = written(&[], uri, begin, keep_after);
            assert!(
                head.starts_with(&format!("POST {wanted} HTTP/1.1\r\n")),
                "{uri}: {head}"
            );
        }
    }
}
