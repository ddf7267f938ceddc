//! Who the client really is, and what the next hop is told about it.
//!
//! By default nobody in front of this gateway is believed: whatever forwarding headers arrive are replaced. With
//! `trusted_proxies`, the client is the rightmost address of `X-Forwarded-For` that is not itself a trusted proxy, and
//! the headers are continued.

use http::HeaderMap;
use std::net::IpAddr;

/// A block of addresses in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: u128,
    bits: u32,
}

impl Network {
    /// Reads `10.0.0.0/8`, `::1/128` or a single address.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u32>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let bits = match (address, bits) {
            (IpAddr::V4(_), None) => 128,
            (IpAddr::V4(_), Some(bits)) if bits <= 32 => 96 + bits,
            (IpAddr::V6(_), None) => 128,
            (IpAddr::V6(_), Some(bits)) if bits <= 128 => bits,
            _ => return None,
        };
        Some(Network {
            base: number(address) & mask(bits),
            bits,
        })
    }

    /// Whether the block holds that address.
    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & mask(self.bits) == self.base
    }
}

fn mask(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX << (128 - bits) }
}

/// IPv4 as its mapped IPv6 address, so that `::ffff:10.0.0.1` is `10.0.0.1`.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// An IPv4 address that came in through an IPv6 socket, as what it is.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        v4 => v4,
    }
}

/// The address that rate limits count: one IPv4 host, or one IPv6 subnet, since whoever has one address of a /64 has all.
pub(crate) fn limit_subject(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(_) => number(address),
        IpAddr::V6(v6) => v6.to_bits() & mask(64),
    }
}

fn trusted(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// The client behind `peer`.
pub(crate) fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[Network]) -> IpAddr {
    if proxies.is_empty() || !trusted(proxies, peer) {
        return peer;
    }
    let mut client = peer;
    // A line is taken as bytes: what a client put into it says nothing of what the proxy added.
    let lines: Vec<&[u8]> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|v| v.as_bytes())
        .collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(|b| *b == b',')) {
        // What is not an address ends what can be believed.
        let Some(address) = std::str::from_utf8(entry.trim_ascii()).ok().and_then(parse_entry) else {
            break;
        };
        client = address;
        if !trusted(proxies, address) {
            break;
        }
    }
    client
}

fn parse_entry(entry: &str) -> Option<IpAddr> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Some(canonical(address));
    }
    entry.parse::<std::net::SocketAddr>().ok().map(|a| canonical(a.ip()))
}

/// Headers about forwarding that are ours to write; a client's are not passed on as they are.
pub(crate) fn is_forwarding(name: &str) -> bool {
    matches!(
        name,
        "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" | "x-real-ip" | "forwarded"
    )
}

/// Writes the forwarding headers for the next hop, those that are `written` here. Those of a trusted proxy are continued, others are not
/// there.
pub(crate) fn write(
    out: &mut Vec<u8>,
    peer: IpAddr,
    host: &[u8],
    headers: &HeaderMap,
    proxies: &[Network],
    written: impl Fn(&'static str) -> bool,
) {
    let believed = !proxies.is_empty() && trusted(proxies, peer);
    let before = |out: &mut Vec<u8>, name: &str| {
        if believed {
            for value in headers.get_all(name) {
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b", ");
            }
        }
    };
    let once = |name: &str| {
        if believed {
            headers.get(name).map(|v| v.as_bytes())
        } else {
            None
        }
    };
    if written("x-forwarded-for") {
        out.extend_from_slice(b"x-forwarded-for: ");
        before(out, "x-forwarded-for");
        write_address(out, peer);
        out.extend_from_slice(b"\r\n");
    }
    if written("x-forwarded-proto") {
        out.extend_from_slice(b"x-forwarded-proto: ");
        out.extend_from_slice(once("x-forwarded-proto").unwrap_or(b"http"));
        out.extend_from_slice(b"\r\n");
    }
    if written("x-forwarded-host") {
        out.extend_from_slice(b"x-forwarded-host: ");
        out.extend_from_slice(once("x-forwarded-host").unwrap_or(host));
        out.extend_from_slice(b"\r\n");
    }
    if written("forwarded") {
        out.extend_from_slice(b"forwarded: ");
        before(out, "forwarded");
        // RFC 7239 §4: an IPv6 address is quoted and bracketed, and a host may hold a colon, which a token may not.
        let (open, close): (&[u8], &[u8]) = if peer.is_ipv4() {
            (b"for=", b";host=\"")
        } else {
            (b"for=\"[", b"]\";host=\"")
        };
        out.extend_from_slice(open);
        write_address(out, peer);
        out.extend_from_slice(close);
        out.extend_from_slice(host);
        out.extend_from_slice(b"\";proto=http\r\n");
    }
}

/// The usual addresses without the formatting machinery, which costs more than their four numbers.
fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    use std::io::Write;
    match address {
        IpAddr::V4(v4) => {
            let [first, rest @ ..] = v4.octets();
            out.extend_from_slice(itoa::Buffer::new().format(first).as_bytes());
            for number in rest {
                out.push(b'.');
                out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
        }
        IpAddr::V6(v6) => {
            let _ = write!(out, "{v6}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn blocks_hold_what_they_say() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("::1", "::1", "::2"),
            ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ] {
            let network = Network::parse(network).expect(network);
            assert!(
                network.contains(ip(inside)) && !network.contains(ip(outside)),
                "{inside} {outside}"
            );
        }
        assert!(
            Network::parse("10.0.0.0/33").is_none()
                && Network::parse("x").is_none()
                && Network::parse("::/129").is_none()
        );
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = [Network::parse("10.0.0.0/8").expect("a block")];
        for (peer, header, wanted) in [
            ("9.9.9.9", "1.1.1.1", "9.9.9.9"),
            ("10.0.0.1", "1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"),
            ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"),
            ("10.0.0.1", "6.6.6.6, nonsense, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_static(header));
            assert_eq!(client(ip(peer), &headers, &proxies), ip(wanted), "{peer} {header}");
            assert_eq!(client(ip(peer), &headers, &[]), ip(peer));
        }
    }

    #[test]
    fn the_next_hop_is_told_the_truth() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let written = |proxies: &[Network]| {
            let mut out = Vec::new();
            write(&mut out, ip("10.0.0.1"), b"shop.example:80", &headers, proxies, |_| {
                true
            });
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            written(&[]),
            "x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: shop.example:80\r\n\
             forwarded: for=10.0.0.1;host=\"shop.example:80\";proto=http\r\n"
        );
        let believed = written(&[Network::parse("10.0.0.1").expect("a block")]);
        assert!(
            believed.starts_with("x-forwarded-for: 6.6.6.6, 10.0.0.1\r\nx-forwarded-proto: https\r\n"),
            "{believed}"
        );
    }

    #[test]
    fn an_ipv6_subnet_is_one_subject() {
        assert_eq!(limit_subject(ip("2001:db8::1")), limit_subject(ip("2001:db8::ffff:1")));
        assert_ne!(limit_subject(ip("2001:db8::1")), limit_subject(ip("2001:db8:0:1::1")));
        assert_ne!(limit_subject(ip("10.0.0.1")), limit_subject(ip("10.0.0.2")));
    }
}
