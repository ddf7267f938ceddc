//! `[gateway]`, `[admin]` and `[log]`: who listens where, within which limits, and what it says about it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::routes::{Limit, is_token, read_limits};
use crate::secret::Secret;
use crate::section::Section;
use crate::units::display_size;

/// `[gateway]`: the public listener.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// `listen`; default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// `workers`: threads that serve requests, each with a runtime of its own; default 0, one for each core.
    pub workers: u32,
    /// `drain`: how long requests in flight may take to finish after SIGTERM; default 30 s.
    pub drain: Duration,
    /// `public`: the directory of static files; default `public`, if it exists.
    pub public: Option<PathBuf>,
    /// `gzip`: whether answers are compressed for clients that accept it; default true.
    pub gzip: bool,
    /// `url`: how the world calls this gateway (`https://shop.example`): the server that OpenAPI names.
    pub url: Option<String>,
    /// `hosts`: the only `Host` names that are answered (`shop.example`, `*.shop.example`); default empty, all.
    pub hosts: Vec<HostName>,
    /// `trusted_proxies`: the networks whose `X-Forwarded-For` is believed; default empty, nobody's.
    pub trusted_proxies: Vec<Network>,
    /// `limit`: rate limits for every request, before those of its route; default empty.
    pub limit: Vec<Limit>,
    /// `[gateway.limits]`.
    pub limits: GatewayLimits,
    /// `[gateway.cors]`.
    pub cors: Cors,
}

/// `[gateway.limits]`: a bound on everything that a client can make large, many or slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLimits {
    /// `connections`: open at once; default 10,000. Further ones wait to be accepted.
    pub connections: u32,
    /// `connections_per_address`: open at once from one client address; default 1,000.
    pub connections_per_address: u32,
    /// `in_flight`: requests being worked on at once; default 4,096. Further ones get 503.
    pub in_flight: u32,
    /// `head`: bytes of request line and headers; default 32 KiB. Beyond: 431.
    pub head: u64,
    /// `headers`: how many headers; default 100. Beyond: 431.
    pub headers: u32,
    /// `uri`: bytes of the request target; default 16 KiB. Beyond: 414.
    pub uri: u64,
    /// `body`: bytes of a request's body; default 10 MiB. Beyond: 413. A route may say otherwise.
    pub body: u64,
    /// `head_timeout`: for a connection to send a whole request head; default 10 s.
    pub head_timeout: Duration,
    /// `body_timeout`: the longest pause inside a request's body; default 30 s.
    pub body_timeout: Duration,
    /// `idle_timeout`: for a kept connection to begin its next request; default 75 s.
    pub idle_timeout: Duration,
    /// `request_timeout`: from a request's head to the head of its answer; default 60 s. Beyond: 504.
    pub request_timeout: Duration,
    /// `keys`: clients that rate limits remember at once; default 100,000. A client forgotten to make room never gets a fresh
    /// allowance.
    pub keys: u32,
}

/// `[gateway.cors]`: which web pages of other origins may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// `origins`: allowed origins (`https://shop.example`), or `*`; default `*`. Empty: none.
    pub origins: Vec<String>,
    /// `methods`; default GET, HEAD, POST, PUT, PATCH, DELETE.
    pub methods: Vec<String>,
    /// `headers`: request headers allowed; default empty, whatever the page asks for.
    pub headers: Vec<String>,
    /// `expose`: response headers that a page may read, beyond our own.
    pub expose: Vec<String>,
    /// `credentials`: whether cookies may come along; default false. Not together with the origin `*`.
    pub credentials: bool,
    /// `max_age`: how long a browser may remember the permission; default 1 h.
    pub max_age: Duration,
}

/// A name that `Host` may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// In lower case, without port and without `*.`.
    pub name: String,
    /// Whether it stands for every name below it (`*.shop.example`).
    pub wildcard: bool,
}

impl HostName {
    /// Whether `host` (lower case, without port) is meant.
    pub fn matches(&self, host: &str) -> bool {
        if !self.wildcard {
            return host == self.name;
        }
        host.strip_suffix(&self.name)
            .and_then(|below| below.strip_suffix('.'))
            .is_some_and(|below| !below.is_empty())
    }
}

/// A range of addresses, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `fd00::/8` or a single address.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let widest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = prefix.unwrap_or(widest);
        (prefix <= widest).then_some(Network { address, prefix })
    }

    /// Whether `address` lies in it. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, true),
            IpAddr::V6(v6) => (u128::from(v6), false),
        };
        let ((own, own_v4), (other, other_v4)) = (bits(self.address), bits(address));
        own_v4 == other_v4 && (own ^ other).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
    }
}

/// `[admin]`: the operators' listener: health, metrics, console.
#[derive(Debug, Clone)]
pub struct Admin {
    /// `listen`; default `127.0.0.1:8081`.
    pub listen: SocketAddr,
    /// `token`: what opens everything beyond health and metrics. Without it, one is made at every start and logged nowhere but
    /// in the state directory.
    pub token: Option<Secret>,
    /// `hosts`: the `Host` names that are answered beside loopback names and addresses; default empty.
    pub hosts: Vec<HostName>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `format`: `"text"`, `"json"`, or `"auto"` (the default: text on a terminal, JSON otherwise).
    pub format: LogFormat,
    /// `level`; default `"info"`.
    pub level: LogLevel,
    /// `access`: whether each request is recorded; default true.
    pub access: bool,
    /// `slow`: reads for which a store took this long are told of; default 500 ms, 0 is never.
    pub slow: Duration,
}

/// How log records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least important kind of record that is still written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed that was not the client's doing.
    Error,
    /// Something works, but should be looked at.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Everything.
    Trace,
}

pub(super) fn read_gateway(section: &Section<'_>, dir: &Path) -> Gateway {
    let public = match section.path("public") {
        Some(path) if !path.is_dir() => {
            section.report("public", format!("no such directory: {}", path.display()), None);
            None
        }
        Some(path) => Some(path),
        None => Some(dir.join("public")).filter(|path| path.is_dir()),
    };
    Gateway {
        listen: section
            .listen_address("listen")
            .unwrap_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080)),
        workers: section.count("workers", 0..=1024).unwrap_or(0),
        drain: section.duration("drain").unwrap_or(Duration::from_secs(30)),
        public,
        gzip: section.boolean("gzip").unwrap_or(true),
        url: read_public_url(section),
        hosts: read_hosts(section),
        trusted_proxies: read_networks(section),
        limit: read_limits(section, "limit"),
        limits: read_gateway_limits(&section.section("limits")),
        cors: read_cors(&section.section("cors")),
    }
}

fn read_gateway_limits(section: &Section<'_>) -> GatewayLimits {
    let seconds = |key, default| section.positive_duration(key).unwrap_or(Duration::from_secs(default));
    GatewayLimits {
        connections: section.count("connections", 1..=1_000_000).unwrap_or(10_000),
        connections_per_address: section.count("connections_per_address", 1..=1_000_000).unwrap_or(1_000),
        in_flight: section.count("in_flight", 1..=1_000_000).unwrap_or(4_096),
        head: size_within(section, "head", 1 << 10, 1 << 20).unwrap_or(32 << 10),
        headers: section.count("headers", 8..=1_000).unwrap_or(100),
        uri: size_within(section, "uri", 256, 1 << 20).unwrap_or(16 << 10),
        body: size_within(section, "body", 0, 1 << 40).unwrap_or(10 << 20),
        head_timeout: seconds("head_timeout", 10),
        body_timeout: seconds("body_timeout", 30),
        idle_timeout: seconds("idle_timeout", 75),
        request_timeout: seconds("request_timeout", 60),
        keys: section.count("keys", 1_000..=100_000_000).unwrap_or(100_000),
    }
}

/// A size with bounds, in bytes.
pub(super) fn size_within(section: &Section<'_>, key: &str, low: u64, high: u64) -> Option<u64> {
    let size = section.size(key)?;
    if size < low || size > high {
        let [size, low, high] = [size, low, high].map(display_size);
        section.report(key, format!("{size} is out of range: {low} to {high}"), None);
        return None;
    }
    Some(size)
}

fn read_public_url(section: &Section<'_>) -> Option<String> {
    let url = section.url("url")?;
    if !matches!(url.scheme().as_str(), "http" | "https") || url.authority().is_none() {
        section.report(
            "url",
            format!("\"{url}\" is not an http or https URL"),
            Some("write for example \"https://shop.example\""),
        );
        return None;
    }
    Some(url.expose().trim_end_matches('/').to_string())
}

fn read_hosts(section: &Section<'_>) -> Vec<HostName> {
    let mut hosts = Vec::new();
    for text in section.texts("hosts").unwrap_or_default() {
        let lower = text.text.to_ascii_lowercase();
        let (name, wildcard) = match lower.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (lower.as_str(), false),
        };
        let sound = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':'))
            && (!name.contains(':') || name.starts_with('['));
        if sound {
            hosts.push(HostName {
                name: name.to_string(),
                wildcard,
            });
        } else {
            let help = "write it without scheme and port: \"shop.example\" or \"*.shop.example\"";
            section.report_at(
                &text.at,
                "hosts",
                format!("{} is not a host name", text.quoted()),
                Some(help),
            );
        }
    }
    hosts
}

fn read_networks(section: &Section<'_>) -> Vec<Network> {
    let mut networks = Vec::new();
    for text in section.texts("trusted_proxies").unwrap_or_default() {
        match Network::parse(&text.text) {
            Some(network) => networks.push(network),
            None => {
                let message = format!("{} is not a network", text.quoted());
                section.report_at(
                    &text.at,
                    "trusted_proxies",
                    message,
                    Some("write for example \"10.0.0.0/8\""),
                );
            }
        }
    }
    networks
}

fn read_cors(section: &Section<'_>) -> Cors {
    let mut origins = Vec::new();
    for text in section.texts("origins").unwrap_or_default() {
        let origin = crate::url::Url::parse(&text.text);
        let sound = text.text == "*"
            || origin
                .is_some_and(|url| url.authority().is_some() && url.path().is_empty() && !url.rest().contains('?'));
        if sound {
            origins.push(text.text.to_ascii_lowercase());
        } else {
            let help = "write \"https://shop.example\", without a path, or \"*\"";
            section.report_at(
                &text.at,
                "origins",
                format!("{} is not an origin", text.quoted()),
                Some(help),
            );
        }
    }
    if !section.has("origins") {
        origins.push("*".to_string());
    }
    let credentials = section.boolean("credentials").unwrap_or(false);
    if credentials && origins.iter().any(|origin| origin == "*") {
        // Fetch standard, section 3.2.5: a browser refuses the combination, so it could only seem to work.
        section.report(
            "credentials",
            "cannot be combined with the origin \"*\"",
            Some("list the origins that may send cookies"),
        );
    }
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
        .map(str::to_string)
        .to_vec();
    Cors {
        origins,
        methods: read_tokens(section, "methods", "method", "\"GET\"").unwrap_or(methods),
        headers: read_tokens(section, "headers", "header name", "\"X-Request-Id\"").unwrap_or_default(),
        expose: read_tokens(section, "expose", "header name", "\"X-Request-Id\"").unwrap_or_default(),
        credentials,
        max_age: section.duration("max_age").unwrap_or(Duration::from_secs(3_600)),
    }
}

/// A list of methods or of header names (RFC 9110, sections 5.1 and 9.1).
fn read_tokens(section: &Section<'_>, key: &str, what: &str, example: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    for text in section.texts(key)? {
        if is_token(&text.text) {
            tokens.push(text.text);
        } else {
            let message = format!("{} is not a {what}", text.quoted());
            section.report_at(&text.at, key, message, Some(&format!("write for example {example}")));
        }
    }
    Some(tokens)
}

pub(super) fn read_admin(section: &Section<'_>) -> Admin {
    Admin {
        listen: section
            .listen_address("listen")
            .unwrap_or(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8081)),
        token: section.secret("token"),
        hosts: read_hosts(section),
    }
}

pub(super) fn read_log(section: &Section<'_>) -> Log {
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    let formats = [
        ("auto", LogFormat::Auto),
        ("text", LogFormat::Text),
        ("json", LogFormat::Json),
    ];
    let levels = [
        ("error", Error),
        ("warn", Warn),
        ("info", Info),
        ("debug", Debug),
        ("trace", Trace),
    ];
    Log {
        format: section.choice("format", &formats).unwrap_or(LogFormat::Auto),
        level: section.choice("level", &levels).unwrap_or(Info),
        access: section.boolean("access").unwrap_or(true),
        slow: section.duration("slow").unwrap_or(Duration::from_millis(500)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.168.1.7", "192.168.1.7", true),
            ("192.168.1.7", "192.168.1.8", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
        ] {
            let network = Network::parse(network).expect("a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                inside,
                "{network:?} {address}"
            );
        }
        for text in ["10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/", ""] {
            assert_eq!(Network::parse(text), None, "for {text:?}");
        }
    }

    #[test]
    fn host_names() {
        let exact = HostName {
            name: "shop.example".into(),
            wildcard: false,
        };
        let below = HostName {
            name: "shop.example".into(),
            wildcard: true,
        };
        for (host, is_exact, is_below) in [
            ("shop.example", true, false),
            ("www.shop.example", false, true),
            ("a.b.shop.example", false, true),
            ("myshop.example", false, false),
            (".shop.example", false, false),
        ] {
            assert_eq!(
                (exact.matches(host), below.matches(host)),
                (is_exact, is_below),
                "for {host}"
            );
        }
    }
}
