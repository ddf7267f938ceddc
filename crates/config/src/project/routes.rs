//! `[upstream.*]` and `[[route]]`: services of the user's own, and what the gateway does on the way to them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::data::{check_name, read_servers};
use super::gateway::size_within;
use super::pattern::{RouteMatch, Segment};
use crate::problem::Location;
use crate::section::Section;
use crate::units::Rate;

/// `[upstream.NAME]`: one service, in one or several copies.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `servers`; at least one.
    pub servers: Vec<Server>,
    /// `connect_timeout`; default 2 s.
    pub connect_timeout: Duration,
    /// `timeout`: from the request to the head of its answer; default 30 s. A route may say otherwise.
    pub timeout: Duration,
    /// `read_timeout`: how long an answer may pause between two of its parts; default 60 s.
    pub read_timeout: Duration,
    /// `idle_timeout`: how long an unused connection is kept; default 60 s.
    pub idle_timeout: Duration,
    /// `connections`: open at once to each server; default 256. Further requests wait, then get 503.
    pub connections: u32,
    /// `ejection`: how a failing server is taken out.
    pub ejection: Ejection,
    /// Where the section stands.
    pub at: Location,
}

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A name in lower case, or an address without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// `[upstream.NAME.ejection]`: a server that keeps failing is left alone for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Ejection {
    /// `failures` in a row (no connection, no answer in time, 502, 503 or 504) that take a server out; default 5; 0 switches
    /// ejection off.
    pub failures: u32,
    /// `period`: how long the first time; doubled with each further ejection; default 10 s.
    pub period: Duration,
    /// `max`: the longest ejection; default 5 min.
    pub max: Duration,
    /// `share`: the most of all servers out at once; default 50 %. The last one is never taken out.
    pub share: f64,
}

/// `[[route]]`: which requests go where, and how.
#[derive(Debug, Clone)]
pub struct Route {
    /// `match`: `"POST /pay/**"`.
    pub matches: RouteMatch,
    /// `host`: only requests for this `Host` (lower case); default any.
    pub host: Option<String>,
    /// `to`: an upstream's name, or `"api"` for this project's own API (to limit a part of it, for example).
    pub to: Target,
    /// `auth`; default `"none"`.
    pub auth: AuthRule,
    /// `roles`: with `auth = "required"`, the only roles that pass; default empty, all.
    pub roles: Vec<String>,
    /// `limit`: one or several rate limits; all of them hold.
    pub limit: Vec<Limit>,
    /// `retry`; default none.
    pub retry: Option<RouteRetry>,
    /// `timeout`: from the request to the head of the answer, all attempts together; default the upstream's.
    pub timeout: Option<Duration>,
    /// `cache`; default none.
    pub cache: Option<HttpCache>,
    /// `max_body`: bytes; default the gateway's.
    pub max_body: Option<u64>,
    /// `strip_prefix`: taken off the front of the path before it goes upstream (`"/pay"`). Not together with `rewrite`.
    pub strip_prefix: Option<String>,
    /// `rewrite`: the path upstream. A final `/**` stands for what the `**` of `match` matched.
    pub rewrite: Option<String>,
    /// `headers`: edits to the request on its way up.
    pub headers: HeaderEdits,
    /// `response_headers`: edits to the answer on its way down.
    pub response_headers: HeaderEdits,
    /// Where the entry stands.
    pub at: Location,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This project's own API and files.
    Api,
    /// `[upstream.NAME]`.
    Upstream(String),
}

/// What a route asks of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRule {
    /// Nothing; the `Authorization` header belongs to the upstream.
    None,
    /// A token is verified if there is one.
    Optional,
    /// Without a valid token: 401.
    Required,
}

/// `limit = { rate = "100/min", per = "user" }`, or `limit = "100/min"` for one by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// `rate`.
    pub rate: Rate,
    /// `burst`: how many at once after a pause; default the rate's count.
    pub burst: u32,
    /// `per`: who shares an allowance; default `"address"`.
    pub per: LimitKey,
    /// `name`: how refusals and `RateLimit-Policy` call it; default the `per`.
    pub name: String,
}

/// Who shares an allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKey {
    /// One client address.
    Address,
    /// One user; requests without a token by address.
    User,
    /// Everyone together.
    All,
}

/// `retry = { attempts = 2, budget = "20%" }`.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteRetry {
    /// `attempts`: the first one included; default 2.
    pub attempts: u32,
    /// `budget`: retries as a share of requests; default 20 %.
    pub budget: f64,
    /// `timeout`: of a single attempt; default none but the route's.
    pub timeout: Option<Duration>,
}

/// `cache = true`, or `cache = { ttl = "60s" }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpCache {
    /// `ttl`: how long an answer is fresh, whatever its headers say; default as they say.
    pub ttl: Option<Duration>,
    /// `stale_if_error`: how long beyond that it may be served while the upstream fails (RFC 5861); default as the headers say.
    pub stale_if_error: Option<Duration>,
    /// `stale_while_revalidate`: how long beyond that it may be served while a new one is fetched (RFC 5861).
    pub stale_while_revalidate: Option<Duration>,
    /// `tags`: what a purge can call the answers by.
    pub tags: Vec<String>,
}

/// `headers = { X-From = "shop", Cookie = false }`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdits {
    /// Set to a value, replacing what was there. Names in lower case.
    pub set: Vec<(String, String)>,
    /// Removed. Names in lower case.
    pub remove: Vec<String>,
}

/// The name that `to` has for the project's own API, and that no upstream may have.
const API: &str = "api";

/// Headers that frame a message or belong to one connection (RFC 9110, section 7.6.1): no configuration may touch them.
const FRAMING_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn read_upstreams(root: &Section<'_>) -> BTreeMap<String, Upstream> {
    let mut upstreams = BTreeMap::new();
    for (name, section) in root.named("upstream") {
        check_name(&section, "upstream", &name);
        if name == API {
            section.report_whole(
                "the name `api` stands for this project's own API",
                Some("choose another name"),
            );
        }
        section.require("servers", "write for example servers = [\"127.0.0.1:9001\"]");
        let servers = read_servers(&section, "servers");
        if section.is_array("servers") && section.strings("servers").is_some_and(|all| all.is_empty()) {
            section.report("servers", "is empty", Some("list at least one HOST:PORT"));
        }
        let seconds = |key, default| section.positive_duration(key).unwrap_or(Duration::from_secs(default));
        let upstream = Upstream {
            servers,
            connect_timeout: seconds("connect_timeout", 2),
            timeout: seconds("timeout", 30),
            read_timeout: seconds("read_timeout", 60),
            idle_timeout: seconds("idle_timeout", 60),
            connections: section.count("connections", 1..=65_535).unwrap_or(256),
            ejection: read_ejection(&section.section("ejection")),
            at: section.at(),
        };
        upstreams.insert(name, upstream);
    }
    upstreams
}

fn read_ejection(section: &Section<'_>) -> Ejection {
    let period = section.positive_duration("period").unwrap_or(Duration::from_secs(10));
    let max = section.positive_duration("max").unwrap_or(Duration::from_secs(300));
    if section.has("max") && max < period {
        section.report("max", "is shorter than `period`", None);
    }
    Ejection {
        failures: section.count("failures", 0..=1_000).unwrap_or(5),
        period,
        max: max.max(period),
        share: section.percent("share").unwrap_or(0.5),
    }
}

pub(super) fn read_routes(root: &Section<'_>) -> Vec<Route> {
    root.list("route")
        .into_iter()
        .filter_map(|section| read_route(&section))
        .collect()
}

fn read_route(section: &Section<'_>) -> Option<Route> {
    let rules = [
        ("none", AuthRule::None),
        ("optional", AuthRule::Optional),
        ("required", AuthRule::Required),
    ];
    let matches = read_match(section);
    let to = read_target(section);
    // The API knows its callers unless it is told not to.
    let usual = match to {
        Some(Target::Api) => AuthRule::Optional,
        _ => AuthRule::None,
    };
    let auth = section.choice("auth", &rules).unwrap_or(usual);
    let roles = section.strings("roles").unwrap_or_default();
    if !roles.is_empty() && auth != AuthRule::Required {
        section.report(
            "roles",
            "need a token to be checked against",
            Some("add auth = \"required\""),
        );
    }
    let limit = read_limits(section, "limit");
    if auth == AuthRule::None && limit.iter().any(|limit| limit.per == LimitKey::User) {
        let help = "add auth = \"required\" or \"optional\"";
        section.report(
            "limit",
            "per = \"user\" needs a user, and this route reads no token",
            Some(help),
        );
    }
    let strip_prefix = read_path(section, "strip_prefix");
    let rewrite = read_path(section, "rewrite");
    if strip_prefix.is_some() && rewrite.is_some() {
        section.report(
            "rewrite",
            "cannot be combined with `strip_prefix`",
            Some("keep one of them"),
        );
    }
    if let (Some(prefix), Some(matches)) = (&strip_prefix, &matches) {
        let begins = matches.path.literal_prefix();
        if begins != *prefix && !begins.starts_with(&format!("{}/", prefix.trim_end_matches('/'))) {
            section.report(
                "strip_prefix",
                format!("{prefix:?} is not how {:?} begins", matches.text),
                None,
            );
        }
    }
    if let (Some(path), Some(matches)) = (&rewrite, &matches)
        && path.ends_with("/**")
        && matches.path.segments.last() != Some(&Segment::Rest)
    {
        section.report("rewrite", "ends with `**`, and `match` does not", None);
    }
    let route = Route {
        host: section.string("host").map(|host| host.to_ascii_lowercase()),
        auth,
        roles,
        limit,
        retry: section.optional_section("retry").map(|retry| read_route_retry(&retry)),
        timeout: section.positive_duration("timeout"),
        cache: read_http_cache(section),
        max_body: size_within(section, "max_body", 0, 1 << 40),
        strip_prefix,
        rewrite,
        headers: read_header_edits(section, "headers"),
        response_headers: read_header_edits(section, "response_headers"),
        at: section.at(),
        matches: matches?,
        to: to?,
    };
    check_route(section, &route);
    Some(route)
}

/// What cannot work together inside one route.
fn check_route(section: &Section<'_>, route: &Route) {
    let methods = &route.matches.methods;
    let only_unsafe = !methods.is_empty()
        && methods
            .iter()
            .all(|method| matches!(method.as_str(), "POST" | "PATCH" | "CONNECT"));
    if route.cache.is_some() && !route.matches.takes_method("GET") {
        section.report(
            "cache",
            format!(
                "only GET and HEAD are cached, and {:?} takes neither",
                route.matches.text
            ),
            None,
        );
    }
    if route.retry.is_some() && only_unsafe {
        let message = format!(
            "never used: {:?} takes only methods that cannot be repeated safely",
            route.matches.text
        );
        section.warn("retry", message, None);
    }
    if route.to != Target::Api {
        return;
    }
    if route.cache.is_some() {
        let help = "its answers are in the coherent cache already; [cache.table.NAME] ttl limits their age";
        section.report("cache", "this project's own API is not cached by time", Some(help));
    }
    for key in ["retry", "strip_prefix", "rewrite"] {
        if section.has(key) {
            section.report(key, "applies to upstreams only", None);
        }
    }
}

fn read_match(section: &Section<'_>) -> Option<RouteMatch> {
    section.require("match", "write for example match = \"GET /rates/**\"");
    let text = section.text("match")?;
    match RouteMatch::parse(&text.text) {
        Ok(matches) => Some(matches),
        Err(reason) => {
            section.report_at(&text.at, "match", reason, Some("write for example \"GET /rates/**\""));
            None
        }
    }
}

fn read_target(section: &Section<'_>) -> Option<Target> {
    section.require("to", "name an [upstream.NAME], or \"api\" for this project's own API");
    Some(match section.string("to")? {
        name if name == API => Target::Api,
        name => Target::Upstream(name),
    })
}

fn read_path(section: &Section<'_>, key: &str) -> Option<String> {
    let text = section.text(key)?;
    if !text.text.starts_with('/') || text.text.contains(['?', '#', ' ']) {
        let message = format!("{} is not a path", text.quoted());
        section.report_at(
            &text.at,
            key,
            message,
            Some("begin it with a slash, and leave out `?` and `#`"),
        );
        return None;
    }
    Some(text.text)
}

/// One limit, or an array of them; a bare rate is one by address.
pub(super) fn read_limits(section: &Section<'_>, key: &str) -> Vec<Limit> {
    if !section.has(key) || section.is_false(key) {
        return Vec::new();
    }
    if !section.is_table(key) && !section.is_array(key) {
        let limit = section.rate(key).map(|rate| Limit::new(rate, LimitKey::Address));
        return limit.into_iter().collect();
    }
    section
        .list(key)
        .into_iter()
        .filter_map(|limit| read_limit(&limit))
        .collect()
}

impl Limit {
    fn new(rate: Rate, per: LimitKey) -> Limit {
        let name = match per {
            LimitKey::Address => "address",
            LimitKey::User => "user",
            LimitKey::All => "all",
        };
        Limit {
            rate,
            burst: rate.count,
            per,
            name: name.to_string(),
        }
    }
}

fn read_limit(section: &Section<'_>) -> Option<Limit> {
    section.require("rate", "write for example { rate = \"100/min\", per = \"user\" }");
    let keys = [
        ("address", LimitKey::Address),
        ("user", LimitKey::User),
        ("all", LimitKey::All),
    ];
    let per = section.choice("per", &keys).unwrap_or(LimitKey::Address);
    let (name, burst) = (section.string("name"), section.count("burst", 1..=u32::MAX));
    if let Some(name) = &name
        && !super::is_plain_name(name)
    {
        section.report(
            "name",
            format!("{name:?} is not fit for a name"),
            Some("use letters, digits, `_`, `-` and `.`"),
        );
    }
    let usual = Limit::new(section.rate("rate")?, per);
    Some(Limit {
        burst: burst.unwrap_or(usual.burst),
        name: name.unwrap_or(usual.name),
        ..usual
    })
}

fn read_route_retry(section: &Section<'_>) -> RouteRetry {
    RouteRetry {
        attempts: section.count("attempts", 1..=10).unwrap_or(2),
        budget: section.percent("budget").unwrap_or(0.2),
        timeout: section.positive_duration("timeout"),
    }
}

fn read_http_cache(section: &Section<'_>) -> Option<HttpCache> {
    if section.is_boolean("cache") {
        return section.boolean("cache")?.then(HttpCache::default);
    }
    let cache = section.optional_section("cache")?;
    Some(HttpCache {
        ttl: cache.positive_duration("ttl"),
        stale_if_error: cache.duration("stale_if_error"),
        stale_while_revalidate: cache.duration("stale_while_revalidate"),
        tags: cache.strings("tags").unwrap_or_default(),
    })
}

fn read_header_edits(section: &Section<'_>, key: &str) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    let Some(mut headers) = section.optional_section(key) else {
        return edits;
    };
    for (name, at) in headers.keys() {
        let removed = headers.is_false(&name);
        let Some(value) = (if removed {
            Some(String::new())
        } else {
            headers.string(&name)
        }) else {
            continue;
        };
        if let Err(reason) = check_header(&name, &value) {
            headers.report_at(&at, &name, reason, None);
        } else if removed {
            edits.remove.push(name.to_ascii_lowercase());
        } else {
            edits.set.push((name.to_ascii_lowercase(), value));
        }
    }
    edits
}

/// Whether a text is a token of HTTP (RFC 9110, section 5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(sound)
}

/// Whether a header may be set (RFC 9110, sections 5.1 and 5.5). The error says why not.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), String> {
    if !is_token(name) {
        return Err("is not a header name".to_string());
    }
    if FRAMING_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        return Err("belongs to the connection and cannot be edited".to_string());
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("the value has a control character in it".to_string());
    }
    Ok(())
}
