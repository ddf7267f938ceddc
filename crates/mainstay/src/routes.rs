//! What the gateway is told: the project's own routes, the API's, and those of services that other processes serve.

use crate::accounts::auth_store;
use crate::instance::Part;
use crate::{jobs, unserved};
use http::{HeaderName, HeaderValue, Method};
use mainstay_config::Project;
use mainstay_config::project::{
    Action, AuthRule, Delivery, Limit, LimitKey, Route as Written, Server, Subscription, Target as To,
};
use mainstay_gateway::{
    Auth, Config, Cors, Ejection, HeaderEdits, Limits, Network, Origins, Per, Rate, RateLimit, Route, Service, Target,
    Upstream,
};
use mainstay_model::Schema;
use std::sync::Arc;

/// The gateway's configuration for a part of the project. `services` are those of this process, by prefix; `own_key` is what its
/// deliveries to itself carry.
pub fn gateway(
    project: &Project,
    schema: &Schema,
    part: &Part,
    services: Vec<(&'static str, Arc<dyn Service>)>,
    own_key: HeaderValue,
) -> Result<Config, String> {
    let own = &project.gateway;
    let mut routes: Vec<Route> = Vec::new();
    let mut upstreams: Vec<Upstream> = Vec::new();
    let api: Vec<(&'static str, Arc<dyn Service>)> = services.clone();
    for (prefix, service) in services {
        let name = prefix
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or(prefix)
            .to_owned();
        let mut route = Route::service(name, prefix, service);
        route.body_bytes_max = Some(project.api.max_body);
        if prefix == "/auth/v1" {
            // Whoever logs in may carry a token that has expired; the room looks at tokens itself where it wants one.
            route.auth = Auth::None;
        }
        routes.push(route);
    }
    if part.gateway {
        for (name, upstream) in &project.upstreams {
            upstreams.push(Upstream {
                connect_timeout: upstream.connect_timeout,
                timeout: upstream.timeout,
                read_timeout: upstream.read_timeout,
                idle_timeout: upstream.idle_timeout,
                ejection: Ejection {
                    failures: upstream.ejection.failures,
                    base: upstream.ejection.period,
                    max: upstream.ejection.max,
                    share: upstream.ejection.share,
                },
                in_flight_max: upstream.connections as usize,
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
                routes.push(Route {
                    auth: Auth::None,
                    ..Route::upstream(format!("service.{name}"), pattern, &group)
                });
            };
            elsewhere(format!("{}/{name}/**", jobs::PREFIX));
            for relation in schema.relations.iter().filter(|r| r.service.as_deref() == Some(name)) {
                elsewhere(format!("{}/{}/**", mainstay_rest::PREFIX, relation.name));
            }
            let mut functions: Vec<&str> = schema
                .functions
                .iter()
                .filter(|f| f.service.as_deref() == Some(name))
                .map(|f| &*f.name)
                .collect();
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
    let to_path = |subscription: &Subscription| {
        matches!(
            &subscription.action,
            Action::Deliver {
                to: Delivery::Path(_),
                ..
            }
        )
    };
    let delivers_here = project.subscriptions.iter().any(to_path);
    Ok(Config {
        listen: vec![own.listen],
        workers: own.workers as usize,
        limits: Limits {
            connections_max: limits.connections as usize,
            connections_per_address_max: limits.connections_per_address as usize,
            in_flight_max: limits.in_flight as usize,
            uri_bytes_max: limits.uri as usize,
            request_timeout: limits.request_timeout,
            head_bytes_max: limits.head as usize,
            headers_max: limits.headers as usize,
            body_bytes_max: limits.body,
            head_timeout: limits.head_timeout,
            body_timeout: limits.body_timeout,
            idle_timeout: limits.idle_timeout,
            drain_timeout: own.drain,
            limiter_keys_max: limits.keys as usize,
            // Out of what the project sets aside for answers, though each worker has its own.
            express_bytes_max: (project.cache.memory / 64).min(4 << 20),
            ..Limits::default()
        },
        rate_limits: own.limit.iter().map(limit).collect(),
        hosts: own
            .hosts
            .iter()
            .map(|h| format!("{}{}", if h.wildcard { "*." } else { "" }, h.name))
            .collect(),
        routes,
        upstreams,
        public_dir: own.public.clone().filter(|_| part.gateway),
        cors: cors(&own.cors)?,
        compress: own.gzip,
        trusted_proxies: own
            .trusted_proxies
            .iter()
            .filter_map(|n| Network::parse(&format!("{}/{}", n.address, n.prefix)))
            .collect(),
        share_port: false,
        own_key: delivers_here.then_some(own_key),
    })
}

fn addresses(servers: &[Server]) -> Vec<String> {
    servers.iter().map(ToString::to_string).collect()
}

fn route(written: &Written, api: &[(&'static str, Arc<dyn Service>)]) -> Result<Route, String> {
    let methods = written.matches.methods.join(",");
    let path = written
        .matches
        .text
        .split_ascii_whitespace()
        .next_back()
        .unwrap_or_default();
    let pattern = if methods.is_empty() {
        path.to_owned()
    } else {
        format!("{methods} {path}")
    };
    let to = match &written.to {
        To::Upstream(name) => Target::Upstream(name.clone()),
        To::Api => {
            let service = api
                .iter()
                .find(|(prefix, _)| unserved::is_under(path, prefix))
                .map(|(_, service)| service.clone());
            Target::Service(service.ok_or_else(|| format!("{}: no API of this process is at {path}", written.at))?)
        }
    };
    let retry = written.retry.as_ref();
    let route = Route::new(&written.matches.text, pattern, to);
    Ok(Route {
        host: written.host.clone(),
        auth: match written.auth {
            AuthRule::None => Auth::None,
            AuthRule::Optional => Auth::Optional,
            AuthRule::Required if written.roles.is_empty() => Auth::Required,
            AuthRule::Required => Auth::Roles(written.roles.clone()),
        },
        limits: written.limit.iter().map(limit).collect(),
        body_bytes_max: written.max_body,
        timeout: written.timeout,
        attempts: retry.map_or(route.attempts, |r| r.attempts),
        attempt_timeout: retry.and_then(|r| r.timeout),
        retry_ratio: retry.map_or(route.retry_ratio, |r| r.budget),
        strip_prefix: written.strip_prefix.clone(),
        rewrite: written.rewrite.clone(),
        headers: edits(&written.headers, written)?,
        response_headers: edits(&written.response_headers, written)?,
        ..route
    })
}

fn edits(written: &mainstay_config::project::HeaderEdits, route: &Written) -> Result<HeaderEdits, String> {
    let name = |name: &str| HeaderName::try_from(name).map_err(|e| format!("{}: headers: {name}: {e}", route.at));
    let value =
        |of: &str, value: &str| HeaderValue::try_from(value).map_err(|e| format!("{}: headers: {of}: {e}", route.at));
    Ok(HeaderEdits {
        set: written
            .set
            .iter()
            .map(|(n, v)| Ok((name(n)?, value(n, v)?)))
            .collect::<Result<_, String>>()?,
        remove: written.remove.iter().map(|n| name(n)).collect::<Result<_, _>>()?,
    })
}

fn limit(written: &Limit) -> RateLimit {
    RateLimit {
        name: written.name.clone(),
        rate: Rate {
            requests: written.rate.count,
            period: written.rate.period,
        },
        burst: Some(written.burst),
        per: match written.per {
            LimitKey::Address => Per::Address,
            LimitKey::User => Per::User,
            LimitKey::All => Per::All,
        },
    }
}

fn cors(written: &mainstay_config::project::Cors) -> Result<Cors, String> {
    let defaults = Cors::default();
    let mut expose = defaults.expose;
    expose.extend(written.expose.iter().cloned());
    let mut methods = Vec::new();
    for method in &written.methods {
        methods.push(
            Method::try_from(method.as_str())
                .map_err(|_| format!("[gateway.cors] methods: {method:?} is not a method"))?,
        );
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
