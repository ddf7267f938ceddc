//! The whole of a request, in the order in which things happen to it. Each phase is a call, named after its module.

use crate::authenticate;
use crate::body::Body;
use crate::compress;
use crate::connection::State;
use crate::cors;
use crate::forwarded;
use crate::limit;
use crate::proxy;
use crate::record::Exchange;
use crate::refusal::{self, Refusal};
use crate::router::{self, Found};
use crate::service;
use crate::site::{CompiledTarget, Site};
use crate::validate;
use crate::worker::Worker;
use http::header::{ACCEPT_ENCODING, HOST, IF_MATCH, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use mainstay_telemetry::{Fact, emit};
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

/// Answers one request, whatever happens.
pub(crate) async fn answer(worker: Rc<Worker>, state: Rc<State>, request: Request<Incoming>) -> Response<Body> {
    let peer = forwarded::client(state.peer, request.headers(), &worker.site.proxies);
    let trace = validate::trace(request.headers());
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let wish = Wish::of(request.headers());
    let mut exchange = Exchange::begin(worker.clone(), state.clone(), method.clone(), uri, peer, trace);

    // Pinned here: handed over by value it would be kept twice, and hyper moves the whole of it once per request.
    let outcome = {
        let phases = pin!(phases(&worker, &state, &mut exchange, request));
        unwinding(phases, &state).await
    };

    let mut response = match outcome {
        Ended::Output(Ok(response)) => response,
        Ended::Output(Err(refusal)) => refuse(&mut exchange, &refusal),
        Ended::Late => refuse(
            &mut exchange,
            &refusal::took_too_long(worker.site.limits.request_timeout),
        ),
        Ended::Panic(panic) => {
            let route = exchange.notes().compiled_route().map_or("", |r| &r.name).to_owned();
            emit(&Fact::Panicked {
                route: &route,
                message: text_of(&*panic),
            });
            refuse(&mut exchange, &refusal::panicked())
        }
    };
    if let Some(route) = exchange.notes().compiled_route() {
        if let Some(rules) = &route.cors {
            rules.mark(wish.origin.as_ref(), response.headers_mut());
        }
        route.response_headers.apply(response.headers_mut());
    }
    if worker.site.compress {
        compress::apply(&mut response, &method, wish.gzip, &worker.memo);
    }
    finish(exchange, response, &method)
}

/// The phases of a request.
async fn phases(
    worker: &Worker,
    state: &State,
    exchange: &mut Exchange,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let site: &Site = &worker.site;
    let peer = exchange.notes().peer;

    let fault = state.take(worker.now());
    let _taken = worker.take()?;
    validate::request(fault, site, request.method(), request.uri(), request.headers())?;

    // A clone of a URI shares its bytes; the path can then be looked at while the request moves on.
    let uri = request.uri().clone();
    let path = router::decoded(path_of(request.method(), &uri))?;
    let host = host_of(request.headers());
    if let Some(response) = preflight(site, exchange, &request, &path) {
        return Ok(response);
    }
    let index = match site.find(request.method(), host, &path) {
        Found::Route(index) => index,
        Found::OtherMethods(allow) => return Err(refusal::wrong_method(request.method(), allow)),
        Found::Nothing => return Err(refusal::no_route(request.method(), &path)),
    };
    exchange.notes().route = Some(index);
    let route = &site.routes[index];
    exchange.phase("route");

    let mut passed = limit::Passed::new();
    let limited = !site.rules.is_empty() || !route.rules.is_empty();
    if limited {
        limit::by_address(site.rules_of(route), &*site.limiter, peer, &mut passed).await?;
        exchange.phase("limit_address");
    }

    if let Some(identity) = authenticate::identify(site.authenticate.as_deref(), &route.auth, request.headers())? {
        exchange.notes().identity = Some(identity);
        exchange.phase("authenticate");
    }

    if limited {
        let identity = exchange.notes().identity.clone();
        limit::by_identity(
            site.rules_of(route),
            &*site.limiter,
            peer,
            identity.as_deref(),
            &mut passed,
        )
        .await?;
        exchange.phase("limit_identity");
    }

    let (mut parts, body) = request.into_parts();
    if site.compress
        && let Some(strong) = parts.headers.get(IF_MATCH).and_then(compress::strengthened)
    {
        parts.headers.insert(IF_MATCH, strong);
    }
    let mut response = match &route.to {
        // The API keeps its own, coherent cache; its verdict is in the answer's `Cache-Status`.
        CompiledTarget::Service(service) => {
            let response = service::call(service, route, exchange, parts, body, site.limits.body_timeout).await?;
            exchange.phase("service");
            response
        }
        CompiledTarget::Files(files) => {
            let response = Box::pin(files.answer(&parts.method, &path, &parts.headers, site.compress)).await?;
            exchange.phase("files");
            response
        }
        // transform → balance → retry → upstream
        CompiledTarget::Upstream(group) => {
            Box::pin(proxy::forward(worker, route, *group, exchange, state.peer, parts, body)).await?
        }
    };
    limit::tell(&passed, response.headers_mut());
    Ok(response)
}

/// The one host that validation has found.
fn host_of(headers: &HeaderMap) -> &[u8] {
    headers.get(HOST).map_or(b"", |h| h.as_bytes())
}

/// `OPTIONS *` asks about the server as a whole; it has no path.
fn path_of<'u>(method: &Method, uri: &'u Uri) -> &'u str {
    match uri.path() {
        "*" if *method == Method::OPTIONS => "/",
        "" => "/",
        path => path,
    }
}

/// The answer to a browser that asks before it calls, if the route it means allows calls from pages.
fn preflight(site: &Site, exchange: &mut Exchange, request: &Request<Incoming>, path: &str) -> Option<Response<Body>> {
    let wanted = cors::preflight_method(request)?;
    let Found::Route(index) = site.find(&wanted, host_of(request.headers()), path) else {
        return None;
    };
    let rules = site.routes[index].cors.as_ref()?;
    let mut response = Response::new(Body::Full(Default::default()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = rules.preflight(request.headers());
    // The route is noted for the record; marking the answer once more changes nothing about it.
    exchange.notes().route = Some(index);
    Some(response)
}

/// What of the request its answer's finish needs, kept because the request is given away.
struct Wish {
    gzip: bool,
    origin: Option<HeaderValue>,
}

impl Wish {
    fn of(headers: &HeaderMap) -> Wish {
        Wish {
            gzip: headers.contains_key(ACCEPT_ENCODING) && compress::accepts_gzip(headers),
            origin: headers.get(ORIGIN).cloned(),
        }
    }
}

fn refuse(exchange: &mut Exchange, refusal: &Refusal) -> Response<Body> {
    exchange.refused(refusal, refusal.close);
    refusal.response().map(Body::Full)
}

/// Leaves the access record, or has the stream leave it.
fn finish(exchange: Exchange, mut response: Response<Body>, method: &Method) -> Response<Body> {
    let length = if *method == Method::HEAD {
        Some(0)
    } else {
        response.body().full_len()
    };
    let cache = response.headers().get("cache-status").cloned();
    let ending = exchange.end(response.status().as_u16(), cache, length);
    if let Body::Stream(stream) = response.body_mut() {
        stream.ending = ending;
    }
    response
}

/// How the phases of a request ended.
enum Ended<T> {
    Output(T),
    Panic(Box<dyn Any + Send>),
    /// The sweep over connections has found that the request had its time.
    Late,
}

/// Runs a future within the request's time, and turns a panic of it into a value, so that it costs one request and not
/// the worker.
async fn unwinding<F: Future>(mut future: Pin<&mut F>, state: &State) -> Ended<F::Output> {
    // What the future had borrowed is only looked at afterwards for the record, never continued.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) if state.is_late() => Poll::Ready(Ended::Late),
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ended::Output(output)),
        Err(panic) => Poll::Ready(Ended::Panic(panic)),
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
