//! A configuration, compiled: everything a request looks at, checked once and shared by all workers without change.

use crate::authenticate::Authenticate;
use crate::balance::Group;
use crate::config::{Auth, Config, ConfigError, HeaderEdits, Limits, OWN_KEY, Route, Service, Target};
use crate::cors;
use crate::files::Files;
use crate::forwarded::Network;
use crate::limit::{Limiter, RateLimit, Rule};
use crate::limit_memory::Memory;
use crate::retry::Budget;
use crate::router::{Found, Router};
use crate::transform::PathChange;
use crate::validate;
use http::{HeaderMap, HeaderValue, Method};
use mainstay_telemetry::RouteMetrics;
use rustc_hash::FxHashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything a request looks at.
pub(crate) struct Site {
    router: Router,
    /// Routes of one host only, which come before those of all.
    by_host: FxHashMap<Box<str>, Router>,
    /// The only hosts that are answered; empty means all.
    pub(crate) hosts: Vec<String>,
    pub(crate) routes: Vec<CompiledRoute>,
    pub(crate) groups: Vec<Arc<Group>>,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) limiter: Arc<dyn Limiter>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) limits: Limits,
    pub(crate) proxies: Vec<Network>,
    /// What the process' own requests carry.
    own_key: Option<HeaderValue>,
    pub(crate) compress: bool,
    /// Metrics of requests that no route took.
    pub(crate) no_route: RouteMetrics,
    /// What times of health count from.
    pub(crate) begin: Instant,
}

/// A route, compiled.
pub(crate) struct CompiledRoute {
    pub(crate) name: Arc<str>,
    pub(crate) pattern: String,
    pub(crate) to: CompiledTarget,
    pub(crate) auth: Auth,
    pub(crate) rules: Vec<Arc<Rule>>,
    pub(crate) body_bytes_max: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) attempts: u32,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) budget: Budget,
    pub(crate) path: PathChange,
    pub(crate) headers: HeaderEdits,
    pub(crate) response_headers: HeaderEdits,
    pub(crate) cors: Option<cors::Rules>,
    pub(crate) metrics: RouteMetrics,
}

/// What takes a route's requests.
pub(crate) enum CompiledTarget {
    Service(Arc<dyn Service>),
    Upstream(usize),
    Files(Files),
}

impl Site {
    pub(crate) fn compile(
        config: &Config,
        authenticate: Option<Arc<dyn Authenticate>>,
        limiter: Option<Arc<dyn Limiter>>,
    ) -> Result<Site, ConfigError> {
        let mut servers = 0;
        let mut groups: Vec<Arc<Group>> = Vec::new();
        for upstream in &config.upstreams {
            if groups.iter().any(|g| g.config.name == upstream.name) {
                return Err(ConfigError::new(
                    format!("upstream \"{}\"", upstream.name),
                    "is there twice",
                ));
            }
            let group = Arc::new(Group::compile(upstream.clone(), servers)?);
            group.watch();
            servers += group.servers.len();
            groups.push(group);
        }
        let mut numbers = 0;
        let mut compile_rules = |limits: &[RateLimit]| -> Vec<Arc<Rule>> {
            limits
                .iter()
                .map(|limit| {
                    numbers += 1;
                    Arc::new(Rule::compile(limit, numbers))
                })
                .collect()
        };
        let rules = compile_rules(&config.rate_limits);
        let mut router = Router::default();
        let mut by_host = FxHashMap::<Box<str>, Router>::default();
        let mut routes: Vec<CompiledRoute> = Vec::new();
        for route in &config.routes {
            let place = format!("route \"{}\"", route.name);
            let fault = |message: String| ConfigError::new(place.clone(), message);
            let table = match &route.host {
                Some(host) => by_host.entry(host.to_ascii_lowercase().into()).or_default(),
                None => &mut router,
            };
            table.add(routes.len(), &route.name, &route.pattern)?;
            let to = match &route.to {
                Target::Service(service) => CompiledTarget::Service(service.clone()),
                Target::Upstream(name) => match groups.iter().position(|g| g.config.name == *name) {
                    Some(index) => CompiledTarget::Upstream(index),
                    None => {
                        let known: Vec<&str> = groups.iter().map(|g| g.config.name.as_str()).collect();
                        return Err(fault(format!(
                            "there is no upstream \"{name}\" (there are: {})",
                            known.join(", ")
                        )));
                    }
                },
            };
            if authenticate.is_none() && matches!(route.auth, Auth::Required | Auth::Roles(_)) {
                return Err(fault(
                    "wants a token, and there is nothing that could verify one".into(),
                ));
            }
            if matches!(&route.auth, Auth::Roles(roles) if roles.is_empty()) {
                return Err(fault(
                    "an empty list of roles lets nobody in; name one, or write \"required\"".into(),
                ));
            }
            if route.attempts == 0 {
                return Err(fault("0 attempts send nothing; 1 means without a retry".into()));
            }
            let cors = match (&route.cors, &to) {
                (Some(cors), _) => cors::Rules::compile(cors, &place)?,
                (None, CompiledTarget::Service(_)) => cors::Rules::compile(&config.cors, "gateway")?,
                (None, _) => None,
            };
            let path = path_change(route).map_err(fault)?;
            routes.push(CompiledRoute {
                name: route.name.as_str().into(),
                pattern: route.pattern.clone(),
                to,
                auth: route.auth.clone(),
                rules: compile_rules(&route.limits),
                body_bytes_max: route.body_bytes_max.unwrap_or(config.limits.body_bytes_max),
                timeout: route.timeout,
                attempts: route.attempts,
                attempt_timeout: route.attempt_timeout,
                budget: Budget::new(route.retry_ratio, route.retries_per_second),
                path,
                headers: route.headers.clone(),
                response_headers: route.response_headers.clone(),
                cors,
                metrics: RouteMetrics::new(&route.name),
            });
        }
        if let Some(dir) = &config.public_dir {
            let place = format!("public_dir `{}`", dir.display());
            let files = Files::open(dir, config.limits.files_memory_max, config.limits.file_memory_max)
                .map_err(|error| ConfigError::new(&*place, format!("cannot be served: {error}")))?;
            if let Some(other) = config.routes.iter().find(|r| r.pattern == "/**" && r.host.is_none()) {
                let message = format!(
                    "route \"{}\" takes every path too; narrow its pattern or serve no files",
                    other.name
                );
                return Err(ConfigError::new(place, message));
            }
            router.add(routes.len(), "public", "GET /**")?;
            routes.push(CompiledRoute {
                to: CompiledTarget::Files(files),
                auth: Auth::None,
                pattern: "GET /**".into(),
                ..CompiledRoute::named("public", config.limits.body_bytes_max)
            });
        }
        Ok(Site {
            router,
            by_host,
            hosts: config.hosts.clone(),
            routes,
            groups,
            rules,
            limiter: limiter.unwrap_or_else(|| Arc::new(Memory::new(config.limits.limiter_keys_max))),
            authenticate,
            limits: config.limits.clone(),
            proxies: config.trusted_proxies.clone(),
            compress: config.compress,
            own_key: config.own_key.clone(),
            no_route: RouteMetrics::new(""),
            begin: Instant::now(),
        })
    }

    /// Whether a request comes from this process itself.
    pub(crate) fn is_own(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.own_key else { return false };
        let given = headers.get(OWN_KEY).map_or(&b""[..], |given| given.as_bytes());
        // Every byte is looked at, so that the time tells nothing of how many are right.
        let differs = |differs, (a, b): (&u8, &u8)| differs | (a ^ b);
        given.len() == key.len() && given.iter().zip(key.as_bytes()).fold(0, differs) == 0
    }

    /// The route for a request.
    pub(crate) fn find(&self, method: &Method, host: &[u8], path: &str) -> Found {
        if !self.by_host.is_empty()
            && let Ok(host) = std::str::from_utf8(validate::without_port(host))
            && let Some(own) = self.by_host.get(&*host.to_ascii_lowercase())
            && let found @ Found::Route(_) = own.find(method, path)
        {
            return found;
        }
        self.router.find(method, path)
    }

    /// How many servers all upstreams have together.
    pub(crate) fn servers(&self) -> usize {
        self.groups.iter().map(|g| g.servers.len()).sum()
    }

    /// Milliseconds since this configuration began.
    pub(crate) fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// The rules of a route, the gateway's own first.
    pub(crate) fn rules_of<'s>(&'s self, route: &'s CompiledRoute) -> impl Iterator<Item = &'s Arc<Rule>> {
        self.rules.iter().chain(&route.rules)
    }
}

/// What a route's `strip_prefix` or `rewrite` does to a path.
fn path_change(route: &Route) -> Result<PathChange, String> {
    let pattern = route
        .pattern
        .split_once(' ')
        .map_or(route.pattern.as_str(), |(_, path)| path)
        .trim();
    match (&route.strip_prefix, &route.rewrite) {
        (None, None) => Ok(PathChange::none()),
        (Some(_), Some(_)) => Err("strip_prefix and rewrite contradict each other; keep one".into()),
        (Some(prefix), None) => {
            let trimmed = prefix.trim_end_matches('/');
            let begins = pattern
                .strip_prefix(trimmed)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if !trimmed.starts_with('/') || !begins {
                return Err(format!("strip_prefix `{prefix}` is not the beginning of `{pattern}`"));
            }
            Ok(PathChange {
                begin: String::new(),
                keep_after: Some(trimmed.matches('/').count()),
            })
        }
        (None, Some(path)) if !path.starts_with('/') || path.contains(['?', '#', ' ', '\r', '\n']) => {
            Err(format!("rewrite `{path}` is not a path"))
        }
        (None, Some(path)) => match path.strip_suffix("/**") {
            None => Ok(PathChange {
                begin: path.clone(),
                keep_after: None,
            }),
            Some(begin) => match pattern.strip_suffix("/**") {
                Some(before) => Ok(PathChange {
                    begin: begin.into(),
                    keep_after: Some(before.matches('/').count()),
                }),
                None => Err(format!("rewrite `{path}` ends with `**`, and `{pattern}` does not")),
            },
        },
    }
}

impl CompiledRoute {
    fn named(name: &str, body_bytes_max: u64) -> CompiledRoute {
        CompiledRoute {
            name: name.into(),
            pattern: String::new(),
            to: CompiledTarget::Upstream(0),
            auth: Auth::None,
            rules: Vec::new(),
            body_bytes_max,
            timeout: None,
            attempts: 1,
            attempt_timeout: None,
            budget: Budget::new(0.0, 0.0),
            path: PathChange::none(),
            headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            cors: None,
            metrics: RouteMetrics::new(name),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> CompiledRoute {
        CompiledRoute::named("test", 1 << 20)
    }
}

impl fmt::Display for CompiledRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route \"{}\" ({})", self.name, self.pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Route, Upstream};

    #[test]
    fn a_wrong_configuration_names_its_place() {
        let base = || Config {
            upstreams: vec![Upstream::new("pay", vec!["127.0.0.1:1".into()])],
            ..Config::default()
        };
        let route = |change: fn(&mut Route)| {
            let mut route = Route::upstream("r", "/pay/**", "pay");
            change(&mut route);
            Config {
                routes: vec![route],
                ..base()
            }
        };
        for (config, wanted) in [
            (
                route(|r| r.to = Target::Upstream("pya".into())),
                "route \"r\": there is no upstream \"pya\" (there are: pay)",
            ),
            (route(|r| r.auth = Auth::Required), "route \"r\": wants a token"),
            (route(|r| r.attempts = 0), "route \"r\": 0 attempts"),
            (
                route(|r| r.rewrite = Some("x".into())),
                "route \"r\": rewrite `x` is not a path",
            ),
            (
                route(|r| r.strip_prefix = Some("/pa".into())),
                "route \"r\": strip_prefix `/pa`",
            ),
            (
                route(|r| r.pattern = "pay".into()),
                "route \"r\": the path `pay` must begin",
            ),
            (
                Config {
                    upstreams: vec![base().upstreams[0].clone(), base().upstreams[0].clone()],
                    ..base()
                },
                "upstream \"pay\": is there twice",
            ),
            (
                Config {
                    public_dir: Some("/nonexistent".into()),
                    ..base()
                },
                "public_dir `/nonexistent`: cannot be served",
            ),
        ] {
            let error = Site::compile(&config, None, None).err().expect(wanted).to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
        assert!(Site::compile(&route(|r| r.strip_prefix = Some("/pay/".into())), None, None).is_ok());
    }
}
