//! What every request must be before anything else is asked of it: one host, one meaning.

use crate::refusal::{Malformed, Refusal};
use crate::site::Site;
use http::header::{ALLOW, AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use mainstay_telemetry::TraceContext;

/// Phase: refuses what is ambiguous or not for a gateway. The rest of the framing was checked as its bytes came in
/// ([`crate::guard`]).
pub(crate) fn request(
    fault: Option<Malformed>,
    site: &Site,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if let Some(malformed) = fault {
        return Err(malformed.into());
    }
    let bad =
        |code: &'static str, message: &'static str| Err(Refusal::new(StatusCode::BAD_REQUEST, code, message).closing());
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else {
        return bad("GW101", "The request names no Host");
    };
    if hosts.next().is_some() {
        return bad("GW102", "The request names more than one Host");
    }
    if !is_host(host.as_bytes()) {
        return bad("GW103", "Host is not a host name or address, with or without a port");
    }
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        // One of them would be verified, and an upstream might believe another.
        return bad("GW117", "The request has more than one Authorization");
    }
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Refusal::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "GW115",
            "CONNECT and TRACE are not offered",
        )
        .header(
            ALLOW,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        )
        .closing());
    }
    let target = uri.path_and_query().map_or(0, |p| p.as_str().len());
    if target > site.limits.uri_bytes_max {
        return Err(
            Refusal::new(StatusCode::URI_TOO_LONG, "GW110", "The request's target is too long").details(format!(
                "at most {} bytes are taken (gateway.limits.uri)",
                site.limits.uri_bytes_max
            )),
        );
    }
    let is_served = |host: &[u8]| site.hosts.iter().any(|pattern| host_matches(pattern, host));
    if !site.hosts.is_empty() && !is_served(host.as_bytes()) && !site.is_own(headers) {
        return Err(
            Refusal::new(StatusCode::MISDIRECTED_REQUEST, "GW116", "This host is not served here")
                .details(String::from_utf8_lossy(host.as_bytes()).into_owned()),
        );
    }
    // RFC 9112 §3.2.2: of an absolute target the host must be the one that `Host` names.
    if let Some(authority) = uri.authority()
        && !same_host(authority, host.as_bytes())
    {
        return bad("GW103", "Host and the host of the request line differ");
    }
    Ok(())
}

/// A host without its port.
pub(crate) fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|b| *b == b':') {
        Some(at) if host[at..].iter().all(|b| *b != b']') => &host[..at],
        _ => host,
    }
}

/// Whether a host is the one that is meant, or below `*.…`.
fn host_matches(pattern: &str, host: &[u8]) -> bool {
    let host = without_port(host);
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
        }
        None => host.eq_ignore_ascii_case(pattern.as_bytes()),
    }
}

fn same_host(authority: &Authority, host: &[u8]) -> bool {
    // Port 80 is the one that goes without saying.
    fn short(host: &[u8]) -> &[u8] {
        host.strip_suffix(b":80").unwrap_or(host)
    }
    short(authority.as_str().as_bytes()).eq_ignore_ascii_case(short(host))
}

/// A registered name, an IPv4 address or a bracketed IPv6 address, and perhaps a port (RFC 9110 §7.2). Without user
/// information, and without the characters that only escapes could bring in.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', ..] => match memchr::memchr(b']', host) {
            Some(end) => (&host[..end + 1], &host[end + 1..]),
            None => return false,
        },
        _ => host.split_at(memchr::memchr(b':', host).unwrap_or(host.len())),
    };
    let port_fine = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let name_fine = match name {
        [b'[', inner @ .., b']'] => std::str::from_utf8(inner).is_ok_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok()),
        [] => false,
        name => name.len() <= 255 && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(b)),
    };
    name_fine && port_fine
}

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace of a request: the caller's, or a new one.
pub(crate) fn trace(headers: &HeaderMap) -> TraceContext {
    let mut lines = headers.get_all(&TRACEPARENT).iter();
    let (first, second) = (lines.next(), lines.next());
    // Two of them are as good as none.
    TraceContext::from_header(if second.is_none() {
        first.map(|v| v.as_bytes())
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_hosts() {
        for (pattern, host, wanted) in [
            ("shop.example", "SHOP.example:8080", true),
            ("shop.example", "a.shop.example", false),
            ("*.shop.example", "a.shop.example", true),
            ("*.shop.example", "a.b.shop.example:1", true),
            ("*.shop.example", "shop.example", false),
            ("*.shop.example", ".shop.example", false),
            ("*.shop.example", "evilshop.example", false),
            ("[::1]", "[::1]:80", true),
            ("[::1]", "[::1]", true),
        ] {
            assert_eq!(host_matches(pattern, host.as_bytes()), wanted, "{pattern} {host}");
        }
    }

    #[test]
    fn hosts_are_told_from_what_is_not() {
        for good in [
            "a",
            "shop.example",
            "shop.example:8080",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:80",
            "a_b",
            "a-b.c.",
            "a:",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "user@a", "a:b", "a:123456", "[::1", "::1", "[::1]x", "a,b", "a\u{e9}", "%61",
            "[x]", "a:80:90", "<a>",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
