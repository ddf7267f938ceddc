//! The second listener, for operators: health and metrics open, all else behind the admin token.
//!
//! It is a gateway of its own, with the same strictness and the same limits. A page of another origin that makes the
//! operator's browser call it (also through a name that resolves to a loopback address) is stopped by `Host` and `Origin`.

use crate::config::{Answer, Auth, Config, Content, Limits, Route, Service, Target};
use crate::cors::{Cors, Origins};
use crate::gateway::{Gateway, Running, StartError};
use crate::refusal::Refusal;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// Whether the process may get requests; if not, why.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the admin listener is told to do.
pub struct AdminConfig {
    /// Where to listen; loopback, unless the network around it is trusted.
    pub listen: SocketAddr,
    /// The token that all but health and metrics need: as a bearer token, or as the password of a browser's login.
    /// `None` closes the rest.
    pub token: Option<String>,
    /// Host names by which it may be called, besides loopback's and the address it listens on.
    pub hosts: Vec<String>,
    /// What `/readyz` answers.
    pub ready: Readiness,
    /// What answers behind the token.
    pub handler: Option<Arc<dyn Service>>,
}

/// Starts admin listeners.
pub struct AdminServer;

impl AdminServer {
    /// Listens and serves, on a thread of its own.
    pub fn start(config: AdminConfig) -> Result<Running, StartError> {
        let route = |name: &str, pattern: &str, service: Arc<dyn Service>| Route {
            auth: Auth::None,
            ..Route::new(name, pattern, Target::Service(service))
        };
        let ready = config.ready;
        let guarded = Guarded {
            token: config.token,
            hosts: config.hosts,
            listen: config.listen.ip(),
            handler: config.handler,
        };
        let gateway = Gateway::new(
            Config {
                listen: vec![config.listen],
                workers: 1,
                limits: Limits {
                    connections_max: 256,
                    drain_timeout: Duration::from_secs(1),
                    ..Limits::default()
                },
                routes: vec![
                    route(
                        "admin.healthz",
                        "GET /healthz",
                        Arc::new(Plain(|| (StatusCode::OK, "text/plain; charset=utf-8", "ok\n".into()))),
                    ),
                    route(
                        "admin.readyz",
                        "GET /readyz",
                        Arc::new(Plain(move || match ready() {
                            Ok(()) => (StatusCode::OK, "text/plain; charset=utf-8", "ready\n".into()),
                            Err(why) => (
                                StatusCode::SERVICE_UNAVAILABLE,
                                "text/plain; charset=utf-8",
                                format!("not ready: {why}\n"),
                            ),
                        })),
                    ),
                    route(
                        "admin.metrics",
                        "GET /metrics",
                        Arc::new(Plain(|| {
                            (
                                StatusCode::OK,
                                "text/plain; version=0.0.4; charset=utf-8",
                                mainstay_telemetry::render_metrics(),
                            )
                        })),
                    ),
                    route("admin", "/**", Arc::new(guarded)),
                ],
                cors: Cors {
                    origins: Origins::None,
                    ..Cors::default()
                },
                ..Config::default()
            },
            None,
            None,
        )?;
        gateway.named("admin").start()
    }
}

/// A page made of a function.
struct Plain<F>(F);

impl<F: Fn() -> (StatusCode, &'static str, String) + Send + Sync + 'static> Service for Plain<F> {
    fn call<'a>(&'a self, _: Request<Bytes>) -> Answer<'a> {
        Box::pin(async move {
            let (status, kind, text) = (self.0)();
            let mut response = Response::new(Bytes::from(text));
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response.map(Content::Whole)
        })
    }
}

struct Guarded {
    token: Option<String>,
    hosts: Vec<String>,
    listen: IpAddr,
    handler: Option<Arc<dyn Service>>,
}

impl Service for Guarded {
    fn call<'a>(&'a self, request: Request<Bytes>) -> Answer<'a> {
        Box::pin(async move {
            if let Err(refusal) = self.admit(request.headers()) {
                return refusal.response().map(Content::Whole);
            }
            match &self.handler {
                Some(handler) => handler.call(request).await,
                None => Refusal::new(StatusCode::NOT_FOUND, "GW201", "Nothing is served here")
                    .response()
                    .map(Content::Whole),
            }
        })
    }
}

impl Guarded {
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
        if !self.is_ours(host) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "GW802",
                "The admin listener does not answer for this Host",
            )
            .details(host.to_owned())
            .hint("Call it by its address, or name the host in [admin] hosts"));
        }
        let foreign = match headers.get(ORIGIN).map(|o| o.to_str().unwrap_or("")) {
            Some(origin) => origin
                .split_once("://")
                .is_none_or(|(_, o)| !o.eq_ignore_ascii_case(host)),
            None => headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site"),
        };
        if foreign {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "GW803",
                "The admin listener does not answer pages of other origins",
            ));
        }
        let known = self.token.as_deref().is_some_and(|token| {
            presented(headers)
                .is_some_and(|shown| !token.is_empty() && bool::from(shown.as_bytes().ct_eq(token.as_bytes())))
        });
        if !known {
            let realm = HeaderValue::from_static("Basic realm=\"mainstay admin\", charset=\"UTF-8\"");
            return Err(Refusal::unauthorized("GW801", "The admin token is needed here")
                .hint("Send it as `Authorization: Bearer …`, or as the password of a login")
                .header(WWW_AUTHENTICATE, realm));
        }
        Ok(())
    }

    /// Whether a browser that calls us by this name can only mean us.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inner, _)) => inner,
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        if let Ok(address) = name.parse::<IpAddr>() {
            // Rebinding needs a name; an address is what it is.
            return address.is_loopback() || address == self.listen || self.listen.is_unspecified();
        }
        name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(name))
    }
}

/// The token that a request shows.
fn presented(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, rest.trim()).ok()?;
    Some(String::from_utf8(decoded).ok()?.split_once(':')?.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded() -> Guarded {
        Guarded {
            token: Some("s3cret".into()),
            hosts: vec!["ops.example".into()],
            listen: [127, 0, 0, 1].into(),
            handler: None,
        }
    }

    #[test]
    fn the_token_the_host_and_the_origin_are_all_needed() {
        for (fields, wanted) in [
            (
                vec![("host", "127.0.0.1:8081"), ("authorization", "Bearer s3cret")],
                None,
            ),
            (
                vec![("host", "localhost:8081"), ("authorization", "Basic YWRtaW46czNjcmV0")],
                None,
            ),
            (vec![("host", "[::1]:8081"), ("authorization", "bearer s3cret")], None),
            (vec![("host", "OPS.example"), ("authorization", "Bearer s3cret")], None),
            (
                vec![
                    ("host", "localhost:8081"),
                    ("origin", "http://localhost:8081"),
                    ("authorization", "Bearer s3cret"),
                ],
                None,
            ),
            (vec![("host", "localhost:8081")], Some("GW801")),
            (
                vec![("host", "localhost:8081"), ("authorization", "Bearer s3cre")],
                Some("GW801"),
            ),
            (
                vec![("host", "localhost:8081"), ("authorization", "Basic !")],
                Some("GW801"),
            ),
            (
                vec![("host", "evil.example:8081"), ("authorization", "Bearer s3cret")],
                Some("GW802"),
            ),
            (
                vec![("host", "127.0.0.1.evil.example"), ("authorization", "Bearer s3cret")],
                Some("GW802"),
            ),
            (
                vec![("host", "10.0.0.1"), ("authorization", "Bearer s3cret")],
                Some("GW802"),
            ),
            (
                vec![
                    ("host", "localhost:8081"),
                    ("origin", "http://evil.example"),
                    ("authorization", "Bearer s3cret"),
                ],
                Some("GW803"),
            ),
            (
                vec![
                    ("host", "localhost:8081"),
                    ("origin", "null"),
                    ("authorization", "Bearer s3cret"),
                ],
                Some("GW803"),
            ),
            (
                vec![
                    ("host", "localhost:8081"),
                    ("sec-fetch-site", "cross-site"),
                    ("authorization", "Bearer s3cret"),
                ],
                Some("GW803"),
            ),
        ] {
            let headers: HeaderMap = fields
                .iter()
                .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v)))
                .collect();
            let got = guarded().admit(&headers).err().map(|r| r.code.to_string());
            assert_eq!(got.as_deref(), wanted, "{fields:?}");
        }
        let closed = Guarded {
            token: None,
            ..guarded()
        };
        let headers: HeaderMap = [("host", "localhost"), ("authorization", "Bearer ")]
            .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v)))
            .into_iter()
            .collect();
        assert_eq!(
            closed.admit(&headers).err().map(|r| r.code.to_string()).as_deref(),
            Some("GW801")
        );
    }
}
