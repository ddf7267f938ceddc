//! What every request must be before anything else is asked of it: one host, one meaning.

use crate::connection::State;
use crate::refusal::Refusal;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, Uri};
use mainstay_telemetry::TraceContext;

/// Phase: refuses what is ambiguous or not for a gateway. The rest of the framing was checked as its bytes came in
/// ([`crate::guard`]).
pub(crate) fn request(state: &State, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some(malformed) = state.take() {
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
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "GW115",
            "CONNECT and TRACE are not offered",
        )
        .closing());
    }
    // RFC 9112 §3.2.2: of an absolute target the host must be the one that `Host` names.
    if let Some(authority) = uri.authority()
        && !same_host(authority, host.as_bytes())
    {
        return bad("GW103", "Host and the host of the request line differ");
    }
    Ok(())
}

fn same_host(authority: &Authority, host: &[u8]) -> bool {
    authority.as_str().as_bytes().eq_ignore_ascii_case(host)
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

/// The trace of a request: the caller's, or a new one.
pub(crate) fn trace(headers: &HeaderMap) -> TraceContext {
    let mut lines = headers.get_all("traceparent").iter();
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
