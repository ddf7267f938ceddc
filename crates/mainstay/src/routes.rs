//! What the gateway is told: the project's own routes, the API's, and those of services that other processes serve.

use crate::instance::{Part, auth_store};
use http::{HeaderName, HeaderValue, Method};
use mainstay_config::Project;
use mainstay_config::project::{AuthRule, Limit, LimitKey, Route as Written, Server, Target as To};
use mainstay_gateway::{Auth, Config, Cors, Ejection, Limits, Network, Origins, Per, Rate, RateLimit, Route, Service, Target, Upstream};
use mainstay_model::Schema;
use std::sync::Arc;

/// Refuses what the file may say and this version does not do: nothing is ignored silently.
pub fn refuse_unserved(project: &Project) -> Result<(), String> {
    let mut found = Vec::new();
    let mut refuse = |at: &dyn std::fmt::Display, what: &str| found.push(format!("{at}: {what} is not served yet"));
    let file = mainstay_config::project::FILE;
    if !project.gateway.hosts.is_empty() {
        refuse(&file, "[gateway] hosts");
    }
    if project.cache.shared.is_some() {
        refuse(&file, "[cache] shared");
    }
    if project.api.plan {
        refuse(&file, "[api] plan");
    }
    for store in project.stores.values().filter(|s| !s.replicas.is_empty()) {
        refuse(&store.at, "replicas");
    }
    for route in &project.routes {
        let unserved = [
            (route.host.is_some(), "host"),
            (route.cache.is_some(), "cache"),
            (route.rewrite.is_some(), "rewrite"),
            (!route.headers.remove.is_empty(), "removing headers"),
            (!route.response_headers.set.is_empty() || !route.response_headers.remove.is_empty(), "response_headers"),
            (route.limit.iter().any(|l| l.per == LimitKey::All), "a limit per = \"all\""),
            (route.retry.as_ref().is_some_and(|r| r.timeout.is_some()), "a timeout per attempt"),
        ];
        for (_, what) in unserved.iter().filter(|(set, _)| *set) {
            refuse(&route.at, what);
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

/// The gateway's configuration for a part of the project. `services` are those of this process, by prefix.
pub fn gateway(
    project: &Project,
    schema: &Schema,
    part: &Part,
    services: Vec<(&'static str, Arc<dyn Service>)>,
) -> Result<Config, String> {
    let own = &project.gateway;
    let mut routes: Vec<Route> = Vec::new();
    let mut upstreams: Vec<Upstream> = Vec::new();
    let api: Vec<(&'static str, Arc<dyn Service>)> = services.clone();
    for (prefix, service) in services {
        let name = prefix.trim_start_matches('/').split('/').next().unwrap_or(prefix).to_owned();
        let mut route = Route::service(name, prefix, service);
        route.body_bytes_max = Some(project.api.max_body);
        routes.push(route);
    }
    if part.gateway {
        for (name, upstream) in &project.upstreams {
            upstreams.push(Upstream {
                connect_timeout: upstream.connect_timeout,
                timeout: upstream.timeout,
                idle_timeout: upstream.idle_timeout,
                ejection: Ejection {
                    failures: upstream.ejection.failures,
                    base: upstream.ejection.period,
                    max: upstream.ejection.max,
                    panic_percent: ((1.0 - upstream.ejection.share) * 100.0) as u32,
                },
                in_flight_max: upstream.connections as usize * upstream.servers.len(),
                ..Upstream::new(name, addresses(&upstream.servers))
            });
        }
        for written in &project.routes {
            routes.push(route(written, &api)?);
        }
        for (name, service) in &project.services {
            if service.servers.is_empty() || part.services.contains(name) {
                continue;
            }
            let group = format!("service.{name}");
            upstreams.push(Upstream::new(&group, addresses(&service.servers)));
            let mut elsewhere = |pattern: String| {
                routes.push(Route { auth: Auth::None, ..Route::upstream(format!("service.{name}"), pattern, &group) });
            };
            for relation in schema.relations.iter().filter(|r| r.service.as_deref() == Some(name)) {
                elsewhere(format!("{}/{}/**", mainstay_rest::PREFIX, relation.name));
            }
            let mut functions: Vec<&str> =
                schema.functions.iter().filter(|f| f.service.as_deref() == Some(name)).map(|f| &*f.name).collect();
            functions.dedup();
            for function in functions {
                elsewhere(format!("{}/rpc/{function}", mainstay_rest::PREFIX));
            }
            let here = api.iter().any(|(prefix, _)| *prefix == "/auth/v1");
            if !here && auth_store(project) == Some(&service.store) {
                elsewhere("/auth/v1/**".to_owned());
            }
        }
    }
    let limits = &own.limits;
    Ok(Config {
        listen: vec![own.listen],
        workers: own.workers as usize,
        limits: Limits {
            connections_max: limits.connections as usize,
            head_bytes_max: limits.head as usize,
            headers_max: limits.headers as usize,
            body_bytes_max: limits.body,
            head_timeout: limits.head_timeout,
            body_timeout: limits.body_timeout,
            idle_timeout: limits.idle_timeout,
            drain_timeout: own.drain,
            limiter_keys_max: limits.keys as usize,
            ..Limits::default()
        },
        rate_limits: own.limit.iter().map(limit).collect::<Result<_, _>>()?,
        routes,
        upstreams,
        public_dir: own.public.clone().filter(|_| part.gateway),
        cors: cors(&own.cors)?,
        compress: own.gzip,
        trusted_proxies: own.trusted_proxies.iter().filter_map(|n| Network::parse(&format!("{}/{}", n.address, n.prefix))).collect(),
        share_port: false,
    })
}

fn addresses(servers: &[Server]) -> Vec<String> {
    servers.iter().map(ToString::to_string).collect()
}

fn route(written: &Written, api: &[(&'static str, Arc<dyn Service>)]) -> Result<Route, String> {
    let methods = written.matches.methods.join("|");
    let path = written.matches.text.split_ascii_whitespace().next_back().unwrap_or_default();
    let pattern = if methods.is_empty() { path.to_owned() } else { format!("{methods} {path}") };
    let to = match &written.to {
        To::Upstream(name) => Target::Upstream(name.clone()),
        To::Api => {
            let service = api.iter().find(|(prefix, _)| path.starts_with(prefix)).map(|(_, service)| service.clone());
            Target::Service(service.ok_or_else(|| format!("{}: no API of this process is at {path}", written.at))?)
        }
    };
    let mut headers = Vec::new();
    for (name, value) in &written.headers.set {
        let name = HeaderName::try_from(name.as_str()).map_err(|e| format!("{}: headers: {name}: {e}", written.at))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|e| format!("{}: headers: {name}: {e}", written.at))?;
        headers.push((name, value));
    }
    Ok(Route {
        auth: match written.auth {
            AuthRule::None => Auth::None,
            AuthRule::Optional => Auth::Optional,
            AuthRule::Required if written.roles.is_empty() => Auth::Required,
            AuthRule::Required => Auth::Roles(written.roles.clone()),
        },
        limits: written.limit.iter().map(limit).collect::<Result<_, _>>()?,
        body_bytes_max: written.max_body,
        timeout: written.timeout,
        attempts: written.retry.as_ref().map_or(2, |r| r.attempts),
        strip_prefix: written.strip_prefix.clone(),
        set_headers: headers,
        ..Route::new(&written.matches.text, pattern, to)
    })
}

fn limit(written: &Limit) -> Result<RateLimit, String> {
    Ok(RateLimit {
        name: written.name.clone(),
        rate: Rate { requests: written.rate.count, period: written.rate.period },
        burst: Some(written.burst),
        per: match written.per {
            LimitKey::Address => Per::Address,
            LimitKey::User => Per::User,
            LimitKey::All => return Err("a limit per = \"all\" is not served yet".to_owned()),
        },
    })
}

fn cors(written: &mainstay_config::project::Cors) -> Result<Cors, String> {
    let defaults = Cors::default();
    let mut expose = defaults.expose;
    expose.extend(written.expose.iter().cloned());
    let mut methods = Vec::new();
    for method in &written.methods {
        methods.push(Method::try_from(method.as_str()).map_err(|_| format!("[gateway.cors] methods: {method:?} is not a method"))?);
    }
    Ok(Cors {
        origins: match &*written.origins {
            [] => Origins::None,
            [any] if any == "*" => Origins::Any,
            list => Origins::List(list.to_vec()),
        },
        credentials: written.credentials,
        methods,
        headers: written.headers.clone(),
        expose,
        max_age: written.max_age,
    })
}
