//! What a gateway is told to do: plain values, checked and compiled by [`crate::Gateway::new`].

use crate::cors::Cors;
use crate::forwarded::Network;
use crate::limit::RateLimit;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The whole configuration of a gateway.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Worker threads, each with a runtime of its own; 0 means one per core.
    pub workers: usize,
    /// Bounds on everything a client can make large or slow.
    pub limits: Limits,
    /// Rate limits on every request, before those of its route.
    pub rate_limits: Vec<RateLimit>,
    /// The only hosts that are answered: `shop.example`, or `*.shop.example` for all below it. Empty: all.
    pub hosts: Vec<String>,
    /// What is served.
    pub routes: Vec<Route>,
    /// Groups of servers that routes point to.
    pub upstreams: Vec<Upstream>,
    /// Folder of static files, served at `/` where no route of the same path is more specific.
    pub public_dir: Option<PathBuf>,
    /// Who may call from a browser, for routes that do not say otherwise.
    pub cors: Cors,
    /// Whether answers are compressed for clients that accept it.
    pub compress: bool,
    /// Proxies in front of this one whose `X-Forwarded-*` are believed. Empty: nobody's.
    pub trusted_proxies: Vec<Network>,
    /// Whether another process may listen on the same port at the same time (a handover without a gap). Off, a port
    /// in use is an error instead of a silent sharing.
    pub share_port: bool,
    /// What the process' own requests carry in [`OWN_KEY`]: neither `hosts` nor limits are for them. `None`: there are none.
    pub own_key: Option<HeaderValue>,
}

/// The header that tells requests of this process from others'. It is not passed on.
pub const OWN_KEY: HeaderName = HeaderName::from_static("mainstay-own");

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            workers: 0,
            limits: Limits::default(),
            rate_limits: Vec::new(),
            hosts: Vec::new(),
            routes: Vec::new(),
            upstreams: Vec::new(),
            public_dir: None,
            cors: Cors::default(),
            compress: true,
            trusted_proxies: Vec::new(),
            share_port: false,
            own_key: None,
        }
    }
}

/// Bounds on everything a client can make large or slow.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most open connections of the whole gateway; a further one is answered 503 and closed. Default 10,000.
    pub connections_max: usize,
    /// Most open connections of one client address; a further one is answered 503 and closed. Default 1,000.
    pub connections_per_address_max: usize,
    /// Most requests in flight, spread evenly over the workers; a further one is answered 503. Default 4,096.
    pub in_flight_max: usize,
    /// Most bytes of a request's head. Default 32 KiB.
    pub head_bytes_max: usize,
    /// Most bytes of a request's target. Default 16 KiB.
    pub uri_bytes_max: usize,
    /// Most header fields of a request. Default 100.
    pub headers_max: usize,
    /// Most bytes of a request's body, where its route does not say otherwise. Default 10 MiB.
    pub body_bytes_max: u64,
    /// From the first byte of a head to its last. Default 10 s.
    pub head_timeout: Duration,
    /// The longest pause inside a body that is read whole. Default 30 s.
    pub body_timeout: Duration,
    /// From a request's head to the head of its answer, whoever gives it. Default 60 s. To within a quarter of a second.
    pub request_timeout: Duration,
    /// How long a connection may wait between two requests. Default 75 s.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of an answer that is ready. Default 30 s.
    pub stall_timeout: Duration,
    /// How long what is in flight may take to end once the gateway is told to stop. Default 30 s.
    pub drain_timeout: Duration,
    /// Most buckets that rate limiting remembers one by one. Default 100,000. Past it, further callers share buckets;
    /// none is ever forgotten before it is full again.
    pub limiter_keys_max: usize,
    /// Most bytes of static files kept in memory. Default 64 MiB.
    pub files_memory_max: u64,
    /// Largest static file kept in memory; larger ones are read as they are sent. Default 1 MiB.
    pub file_memory_max: u64,
    /// Most bytes of answers that each worker keeps as they went out, for requests that come again byte for byte. Default 1 MiB.
    pub express_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            connections_per_address_max: 1_000,
            in_flight_max: 4_096,
            head_bytes_max: 32 << 10,
            uri_bytes_max: 16 << 10,
            headers_max: 100,
            body_bytes_max: 10 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            limiter_keys_max: 100_000,
            files_memory_max: 64 << 20,
            file_memory_max: 1 << 20,
            express_bytes_max: 1 << 20,
        }
    }
}

/// A request's answer on its way, with all that a service of this process needs to make it.
pub type Answer<'a> = Pin<Box<dyn Future<Output = http::Response<Content>> + Send + 'a>>;

/// What a service of this process answers with.
pub enum Content {
    /// All of it.
    Whole(Bytes),
    /// What is made while it is sent, asked for as fast as the client takes it. It goes out in chunks; an error breaks the connection
    /// off, so that no client takes what it has for the whole. Dropped when the client goes away.
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = io::Error> + Send>>),
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Content {
        Content::Whole(bytes)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Whole(bytes) => write!(f, "{} bytes", bytes.len()),
            Content::Stream(_) => f.write_str("a stream"),
        }
    }
}

/// An answer that a service gives at once.
pub struct AtHand {
    /// The answer.
    pub response: http::Response<Bytes>,
    /// For how long the same request of the same caller gets it again, if the service can tell; but for its `Age`.
    pub standing: Option<Box<dyn Standing>>,
}

/// Says whether an answer may be given again.
pub trait Standing {
    /// The answer's age in seconds (RFC 9111 §5.1), if the service would answer the same now.
    fn age(&self, now: Instant) -> Option<u32>;
}

/// A service in this process, as the gateway sees it.
///
/// The request's body has been read whole, below the route's limit. Its extensions hold an [`crate::Arrival`], and an
/// `Arc<mainstay_model::Identity>` where the route authenticates.
pub trait Service: Send + Sync + 'static {
    /// The answer to a request without a body that can be given at once, without waiting for anything; `None` leads to
    /// [`Service::call`], which must not depend on this having been asked. What that finds among the extensions is given beside the
    /// request.
    fn at_hand(
        &self,
        _request: &http::request::Parts,
        _identity: Option<&Arc<mainstay_model::Identity>>,
        _arrival: &crate::Arrival,
    ) -> Option<AtHand> {
        None
    }

    /// Answers one request. The future is dropped when the client goes away.
    fn call<'a>(&'a self, request: http::Request<Bytes>) -> Answer<'a>;
}

/// What takes the requests of a route.
#[derive(Clone)]
pub enum Target {
    /// The servers of the upstream of that name.
    Upstream(String),
    /// A service in this process.
    Service(Arc<dyn Service>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Upstream(name) => write!(f, "upstream {name}"),
            Target::Service(_) => f.write_str("a service of this process"),
        }
    }
}

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Auth {
    /// Nobody is asked; a token is not even looked at.
    None,
    /// A token is verified if there is one (a bad one is refused); without one the caller is anonymous.
    #[default]
    Optional,
    /// A valid token is needed.
    Required,
    /// A valid token with one of these roles is needed.
    Roles(Vec<String>),
}

/// One route: a pattern, what takes the request, and the rules on the way.
#[derive(Clone, Debug)]
pub struct Route {
    /// The name in logs, metrics and refusals. Several routes may share one.
    pub name: String,
    /// `[METHOD[,METHOD…] ]/path`, where a segment `*` (or `{name}`) stands for any one segment and a last segment `**`
    /// for any number of them, none included. Without a method all methods match.
    pub pattern: String,
    /// Only requests for this host (without port); before routes that do not say. `None`: any.
    pub host: Option<String>,
    /// What takes the request.
    pub to: Target,
    /// Who may use it.
    pub auth: Auth,
    /// Rate limits of this route.
    pub limits: Vec<RateLimit>,
    /// Most bytes of a body; `None` takes [`Limits::body_bytes_max`].
    pub body_bytes_max: Option<u64>,
    /// How long an upstream may take until its answer's head; `None` takes the upstream's.
    pub timeout: Option<Duration>,
    /// How often a request is tried at most, the first time included, where trying again is safe. Default 2.
    pub attempts: u32,
    /// How long one attempt may take; `None`: as long as there is time at all.
    pub attempt_timeout: Option<Duration>,
    /// Share of the route's requests that may be tried again. Default 0.2, that is 20 %.
    pub retry_ratio: f64,
    /// Retries per second that are always allowed. Default 10.
    pub retries_per_second: f64,
    /// What to take off the front of the path before it is sent to an upstream.
    pub strip_prefix: Option<String>,
    /// The path at the upstream; a last segment `**` is what the pattern's `**` matched. Not together with `strip_prefix`.
    pub rewrite: Option<String>,
    /// Changes to the request's headers.
    pub headers: HeaderEdits,
    /// Changes to the answer's headers.
    pub response_headers: HeaderEdits,
    /// Who may call from a browser; `None` takes the gateway's for services, and leaves it to the upstream otherwise.
    pub cors: Option<Cors>,
}

impl Route {
    /// A route with the defaults: authentication optional, no limits of its own, two attempts.
    pub fn new(name: impl Into<String>, pattern: impl Into<String>, to: Target) -> Route {
        Route {
            name: name.into(),
            pattern: pattern.into(),
            host: None,
            to,
            auth: Auth::Optional,
            limits: Vec::new(),
            body_bytes_max: None,
            timeout: None,
            attempts: 2,
            attempt_timeout: None,
            retry_ratio: 0.2,
            retries_per_second: 10.0,
            strip_prefix: None,
            rewrite: None,
            headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            cors: None,
        }
    }

    /// Everything below `prefix` (`/rest/v1`) goes to a service of this process.
    pub fn service(name: impl Into<String>, prefix: &str, service: Arc<dyn Service>) -> Route {
        Route::new(
            name,
            format!("{}/**", prefix.trim_end_matches('/')),
            Target::Service(service),
        )
    }

    /// What `pattern` matches goes to the servers of an upstream.
    pub fn upstream(name: impl Into<String>, pattern: impl Into<String>, upstream: impl Into<String>) -> Route {
        Route::new(name, pattern, Target::Upstream(upstream.into()))
    }
}

/// Changes to headers on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Set to a value, over what was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Taken off.
    pub remove: Vec<HeaderName>,
}

/// How servers of an upstream take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
}

/// A group of servers that do the same.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The name that routes use.
    pub name: String,
    /// `host:port` each. A host name is looked up whenever a connection is opened.
    pub servers: Vec<String>,
    /// How they take turns.
    pub balance: Balance,
    /// How long a connection may take to open. Default 2 s.
    pub connect_timeout: Duration,
    /// How long a server may take from the request to the head of its answer, retries included. Default 30 s.
    pub timeout: Duration,
    /// How long an answer's body may pause. Default 60 s.
    pub read_timeout: Duration,
    /// Most requests in flight to each server; if all have as many, further ones are answered 503. Default 256.
    pub in_flight_max: usize,
    /// Most idle connections kept per server and worker. Default 64.
    pub idle_max: usize,
    /// How long an idle connection is kept. Default 30 s, below what servers commonly allow.
    pub idle_timeout: Duration,
    /// When a server gets no requests for a while.
    pub ejection: Ejection,
    /// Whether the client's `Authorization` and `apikey` travel on. Default `true`: services verify tokens themselves.
    pub forward_credentials: bool,
}

impl Upstream {
    /// An upstream with the defaults.
    pub fn new(name: impl Into<String>, servers: Vec<String>) -> Upstream {
        Upstream {
            name: name.into(),
            servers,
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            in_flight_max: 256,
            idle_max: 64,
            idle_timeout: Duration::from_secs(30),
            ejection: Ejection::default(),
            forward_credentials: true,
        }
    }
}

/// When a server gets no requests for a while.
#[derive(Clone, Debug)]
pub struct Ejection {
    /// Failures in a row (no connection, broken answer, timeout, status 502, 503 or 504). Default 5; 0 switches
    /// ejection off.
    pub failures: u32,
    /// How long the first ejection lasts; each one after it twice as long. Default 1 s.
    pub base: Duration,
    /// The longest one; a server that behaved for as long begins at `base` again. Default 60 s.
    pub max: Duration,
    /// The largest share of all servers that is out at once, rounded up. Default 0.5. The last one is never taken out: when
    /// all fail, the fault may be elsewhere.
    pub share: f64,
}

impl Default for Ejection {
    fn default() -> Ejection {
        Ejection {
            failures: 5,
            base: Duration::from_secs(1),
            max: Duration::from_secs(60),
            share: 0.5,
        }
    }
}

/// What is wrong with a configuration: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The place: `route "pay"`, `upstream "payments"`.
    pub place: String,
    /// What is wrong there and what to do.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn new(place: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError {
            place: place.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

impl std::error::Error for ConfigError {}
