//! A configuration, compiled: everything a request looks at, checked once and shared by all workers without change.

use crate::authenticate::Authenticate;
use crate::balance::Group;
use crate::config::{Auth, Config, ConfigError, Limits, Service, Target};
use crate::cors;
use crate::files::Files;
use crate::forwarded::Network;
use crate::limit::{Limiter, RateLimit, Rule};
use crate::limit_memory::Memory;
use crate::router::Router;
use http::{HeaderName, HeaderValue};
use mainstay_telemetry::RouteMetrics;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything a request looks at.
pub(crate) struct Site {
    pub(crate) router: Router,
    pub(crate) routes: Vec<CompiledRoute>,
    pub(crate) groups: Vec<Arc<Group>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) limiter: Arc<dyn Limiter>,
    pub(crate) authenticate: Option<Arc<dyn Authenticate>>,
    pub(crate) limits: Limits,
    pub(crate) proxies: Vec<Network>,
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
    pub(crate) rules: Vec<Rule>,
    pub(crate) body_bytes_max: u64,
    pub(crate) timeout: Option<Duration>,
    pub(crate) attempts: u32,
    pub(crate) strip_segments: usize,
    pub(crate) set_headers: Vec<(HeaderName, HeaderValue)>,
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
        let mut compile_rules = |limits: &[RateLimit]| -> Vec<Rule> {
            limits
                .iter()
                .map(|limit| {
                    numbers += 1;
                    Rule::compile(limit, numbers)
                })
                .collect()
        };
        let rules = compile_rules(&config.rate_limits);
        let mut router = Router::default();
        let mut routes: Vec<CompiledRoute> = Vec::new();
        for route in &config.routes {
            let place = format!("route \"{}\"", route.name);
            let fault = |message: String| ConfigError::new(place.clone(), message);
            if routes.iter().any(|r| *r.name == *route.name) {
                return Err(fault("is there twice; give each route a name of its own".into()));
            }
            router.add(&route.name, &route.pattern)?;
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
            let strip_segments = match &route.strip_prefix {
                None => 0,
                Some(prefix) => strip_count(prefix, &route.pattern).map_err(fault)?,
            };
            routes.push(CompiledRoute {
                name: route.name.as_str().into(),
                pattern: route.pattern.clone(),
                to,
                auth: route.auth.clone(),
                rules: compile_rules(&route.limits),
                body_bytes_max: route.body_bytes_max.unwrap_or(config.limits.body_bytes_max),
                timeout: route.timeout,
                attempts: route.attempts,
                strip_segments,
                set_headers: route.set_headers.clone(),
                cors,
                metrics: RouteMetrics::new(&route.name),
            });
        }
        if let Some(dir) = &config.public_dir {
            let place = format!("public_dir `{}`", dir.display());
            let files = Files::open(dir, config.limits.files_memory_max, config.limits.file_memory_max)
                .map_err(|error| ConfigError::new(&*place, format!("cannot be served: {error}")))?;
            if let Some(other) = routes.iter().find(|r| r.pattern == "/**") {
                let message = format!(
                    "route \"{}\" takes every path too; narrow its pattern or serve no files",
                    other.name
                );
                return Err(ConfigError::new(place, message));
            }
            router.add("public", "GET /**")?;
            routes.push(CompiledRoute {
                to: CompiledTarget::Files(files),
                auth: Auth::None,
                pattern: "GET /**".into(),
                ..CompiledRoute::named("public", config.limits.body_bytes_max)
            });
        }
        Ok(Site {
            router,
            routes,
            groups,
            rules,
            limiter: limiter.unwrap_or_else(|| Arc::new(Memory::new(config.limits.limiter_keys_max))),
            authenticate,
            limits: config.limits.clone(),
            proxies: config.trusted_proxies.clone(),
            compress: config.compress,
            no_route: RouteMetrics::new(""),
            begin: Instant::now(),
        })
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
    pub(crate) fn rules_of<'s>(&'s self, route: &'s CompiledRoute) -> impl Iterator<Item = &'s Rule> {
        self.rules.iter().chain(&route.rules)
    }
}

/// How many segments a prefix has, if the pattern begins with it.
fn strip_count(prefix: &str, pattern: &str) -> Result<usize, String> {
    let path = pattern.split_once(' ').map_or(pattern, |(_, path)| path).trim();
    let trimmed = prefix.trim_end_matches('/');
    let below = path
        .strip_prefix(trimmed)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if trimmed.is_empty() || !trimmed.starts_with('/') || !below {
        return Err(format!("strip_prefix `{prefix}` is not the beginning of `{path}`"));
    }
    Ok(trimmed.matches('/').count())
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
            strip_segments: 0,
            set_headers: Vec::new(),
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
                route(|r| r.strip_prefix = Some("/pa".into())),
                "route \"r\": strip_prefix `/pa`",
            ),
            (
                route(|r| r.pattern = "pay".into()),
                "route \"r\": the path `pay` must begin",
            ),
            (
                Config {
                    routes: vec![Route::upstream("r", "/a", "pay"), Route::upstream("r", "/b", "pay")],
                    ..base()
                },
                "route \"r\": is there twice",
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
