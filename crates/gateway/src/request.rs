//! The whole of a request, in the order in which things happen to it. Each phase is a call, named after its module.

use crate::authenticate;
use crate::body::Body;
use crate::compress;
use crate::config::{AtHand, OWN_KEY};
use crate::connection::State;
use crate::cors;
use crate::forwarded;
use crate::limit::{self, Passed};
use crate::proxy;
use crate::record::Exchange;
use crate::refusal::{self, Malformed, Refusal};
use crate::router::{self, Found};
use crate::service::{self, Arrival};
use crate::site::{CompiledRoute, CompiledTarget, Site};
use crate::validate;
use crate::worker::{Taken, Worker};
use http::header::{ACCEPT_ENCODING, HOST, IF_MATCH, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use mainstay_telemetry::{Fact, emit};
use std::any::Any;
use std::borrow::Cow;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Answers one request, whatever happens: at once where nothing has to be waited for, else in a future of its own.
pub(crate) fn answer(worker: &Rc<Worker>, state: &Rc<State>, request: Request<Incoming>) -> Answering {
    let peer = forwarded::client(state.peer, request.headers(), &worker.site.proxies);
    let trace = validate::trace(request.headers());
    let has_body = !request.body().is_end_stream();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let wish = Wish::of(request.headers(), method.clone());
    let mut exchange = Exchange::begin(worker.clone(), state.clone(), method, uri, peer, trace);

    let fault = state.take(worker.now(), has_body);
    let entered = catch_unwind(AssertUnwindSafe(|| enter(worker, state, &mut exchange, request, fault)));
    let outcome = match entered {
        Ok(Ok(Entered::Waits(waiting))) => {
            let (worker, state) = (worker.clone(), state.clone());
            return Answering::Later(Box::pin(async move {
                let outcome = {
                    let phases = pin!(phases(&worker, &state, &mut exchange, waiting));
                    unwinding(phases, &state).await
                };
                conclude(&worker, exchange, wish, outcome)
            }));
        }
        Ok(Ok(Entered::Answered(response))) => Ended::Output(Ok(response)),
        Ok(Err(refusal)) => Ended::Output(Err(refusal)),
        Err(panic) => Ended::Panic(panic),
    };
    Answering::Now(Some(conclude(worker, exchange, wish, outcome)))
}

/// An answer on its way to hyper.
pub(crate) enum Answering {
    Now(Option<Response<Body>>),
    Later(Pin<Box<dyn Future<Output = Response<Body>>>>),
}

impl Future for Answering {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            // Polled again after its end it would wait for ever, which hyper does not do.
            Answering::Now(response) => response
                .take()
                .map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            Answering::Later(future) => future.as_mut().poll(cx).map(Ok),
        }
    }
}

/// What happens to every answer, however it came about.
fn conclude(
    worker: &Worker,
    mut exchange: Exchange,
    wish: Wish,
    outcome: Ended<Result<Response<Body>, Refusal>>,
) -> Response<Body> {
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
        compress::apply(&mut response, &wish.method, wish.gzip, &worker.memo);
    }
    finish(exchange, response, &wish.method)
}

/// How far a request comes without waiting.
enum Entered {
    Answered(Response<Body>),
    Waits(Box<Waiting>),
}

/// A request that has been let in and waits for a limiter, for its body or for whoever answers it.
struct Waiting {
    _taken: Taken,
    /// Index of its route.
    route: usize,
    parts: Parts,
    body: Incoming,
    /// What its limits said, unless they have not been asked yet, and so its caller is not known.
    passed: Option<Passed>,
}

/// The phases before anything is waited for: what is malformed, too much or for nobody ends here, and so does what a service of
/// this process has at hand.
fn enter(
    worker: &Rc<Worker>,
    state: &State,
    exchange: &mut Exchange,
    request: Request<Incoming>,
    fault: Option<Malformed>,
) -> Result<Entered, Refusal> {
    let refused = state.refused.take();
    let site: &Site = &worker.site;
    let taken = worker.take()?;
    validate::request(fault, site, request.method(), request.uri(), request.headers())?;

    let index = {
        let path = router::decoded(path_of(request.method(), request.uri()))?;
        if let Some(response) = preflight(site, exchange, &request, &path) {
            return Ok(Entered::Answered(response));
        }
        let refusal = match site.find(request.method(), host_of(request.headers()), &path) {
            Found::Route(index) => Ok(index),
            Found::OtherMethods(allow) => Err(refusal::wrong_method(request.method(), allow)),
            Found::Nothing => Err(refusal::no_route(request.method(), &path)),
        };
        if refusal.is_err() && !site.rules.is_empty() {
            // The gateway's own limits count what is for nobody, too.
            let peer = exchange.notes().peer;
            let mut passed = Passed::new();
            limit::at_once(limit::by_address(site.rules.iter(), &*site.limiter, peer, &mut passed)).transpose()?;
        }
        refusal?
    };
    exchange.notes().route = Some(index);
    let route = &site.routes[index];
    exchange.phase("route");

    if let Some(refusal) = refused {
        identify(site, route, exchange, request.headers())?;
        return Err(*refusal);
    }
    let passed = match site.limiter.decides_at_once() || site.rules_of(route).next().is_none() {
        true => limit::at_once(admit(site, route, exchange, request.headers())).transpose()?,
        false => None,
    };
    let (mut parts, body) = request.into_parts();
    if site.compress
        && let Some(strong) = parts.headers.get(IF_MATCH).and_then(compress::strengthened)
    {
        parts.headers.insert(IF_MATCH, strong);
    }
    if let Some(passed) = &passed
        && let Some(AtHand { mut response, standing }) = at_hand(route, exchange, &mut parts, &body)
    {
        if state.would_keep()
            && let Some(standing) = standing
        {
            state.keep(exchange.notes().ticket(standing, state.peer));
        }
        limit::tell(passed, response.headers_mut());
        return Ok(Entered::Answered(response.map(Body::Full)));
    }
    Ok(Entered::Waits(Box::new(Waiting {
        _taken: taken,
        route: index,
        parts,
        body,
        passed,
    })))
}

/// Phases: whether the caller may ask once more, and who it is.
pub(crate) async fn admit(
    site: &Site,
    route: &CompiledRoute,
    exchange: &mut Exchange,
    headers: &HeaderMap,
) -> Result<Passed, Refusal> {
    let mut passed = Passed::new();
    let limited = site.rules_of(route).next().is_some() && !site.is_own(headers);
    let peer = exchange.notes().peer;
    if limited {
        limit::by_address(site.rules_of(route), &*site.limiter, peer, &mut passed).await?;
        exchange.phase("limit_address");
    }
    identify(site, route, exchange, headers)?;
    if limited {
        let identity = exchange.notes().identity.clone();
        let rules = site.rules_of(route);
        limit::by_identity(rules, &*site.limiter, peer, identity.as_deref(), &mut passed).await?;
        exchange.phase("limit_identity");
    }
    Ok(passed)
}

/// Phase: what a service of this process answers without waiting. The API keeps its own, coherent cache; its verdict is in the answer's
/// `Cache-Status`.
fn at_hand(route: &CompiledRoute, exchange: &mut Exchange, parts: &mut Parts, body: &Incoming) -> Option<AtHand> {
    let CompiledTarget::Service(service) = &route.to else {
        return None;
    };
    if !body.is_end_stream() {
        return None;
    }
    // Making these changes a second time, where the service has nothing at hand, changes nothing.
    route.headers.apply(&mut parts.headers);
    let notes = exchange.notes();
    let found = service.at_hand(parts, notes.identity.as_ref(), &Arrival::of(notes))?;
    exchange.phase("service");
    Some(found)
}

/// Phase: who asks.
fn identify(site: &Site, route: &CompiledRoute, exchange: &mut Exchange, headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some(identity) = authenticate::identify(site.authenticate.as_deref(), &route.auth, headers)? {
        exchange.notes().identity = Some(identity);
        exchange.phase("authenticate");
    }
    Ok(())
}

/// The phases of a request that has to wait.
async fn phases(
    worker: &Worker,
    state: &State,
    exchange: &mut Exchange,
    mut waiting: Box<Waiting>,
) -> Result<Response<Body>, Refusal> {
    let site: &Site = &worker.site;
    let route = &site.routes[waiting.route];
    let passed = match waiting.passed.take() {
        Some(passed) => passed,
        None => {
            let passed = admit(site, route, exchange, &waiting.parts.headers).await?;
            if let Some(AtHand { mut response, .. }) = at_hand(route, exchange, &mut waiting.parts, &waiting.body) {
                limit::tell(&passed, response.headers_mut());
                return Ok(response.map(Body::Full));
            }
            passed
        }
    };
    if site.is_own(&waiting.parts.headers) {
        waiting.parts.headers.remove(OWN_KEY);
    }
    let mut response = match &route.to {
        CompiledTarget::Service(service) => {
            let Waiting { parts, body, .. } = *waiting;
            let response = service::call(service, route, exchange, parts, body, site.limits.body_timeout).await?;
            exchange.phase("service");
            response
        }
        CompiledTarget::Files(files) => {
            let parts = &waiting.parts;
            let path = router::decoded(path_of(&parts.method, &parts.uri))?;
            let response =
                Box::pin(files.answer(&parts.method, &path, parts.uri.query(), &parts.headers, site.compress)).await?;
            exchange.phase("files");
            response
        }
        // transform → balance → retry → upstream
        CompiledTarget::Upstream(group) => {
            let (parts, body) = (&waiting.parts, waiting.body);
            Box::pin(proxy::forward(worker, route, *group, exchange, state.peer, parts, body)).await?
        }
    };
    limit::tell(&passed, response.headers_mut());
    Ok(response)
}

/// The one host that validation has found.
pub(crate) fn host_of(headers: &HeaderMap) -> &[u8] {
    headers.get(HOST).map_or(b"", |h| h.as_bytes())
}

/// `OPTIONS *` asks about the server as a whole; it has no path.
pub(crate) fn path_of<'u>(method: &Method, uri: &'u Uri) -> &'u str {
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
    method: Method,
    gzip: bool,
    origin: Option<HeaderValue>,
}

impl Wish {
    fn of(headers: &HeaderMap, method: Method) -> Wish {
        Wish {
            method,
            gzip: headers.contains_key(ACCEPT_ENCODING) && compress::accepts_gzip(headers),
            origin: headers.get(ORIGIN).cloned(),
        }
    }
}

fn refuse(exchange: &mut Exchange, refusal: &Refusal) -> Response<Body> {
    exchange.refused(refusal, refusal.close);
    refusal.response().map(Body::Full)
}

/// RFC 9211: what a cache has done, ours or another's.
static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Leaves the access record, or has the stream leave it.
fn finish(mut exchange: Exchange, mut response: Response<Body>, method: &Method) -> Response<Body> {
    if response.status().as_u16() >= 400 {
        let notes = exchange.notes();
        notes.code = notes
            .code
            .take()
            .or_else(|| error_of(response.headers()).map(Cow::Owned));
    }
    let length = if *method == Method::HEAD {
        Some(0)
    } else {
        response.body().full_len()
    };
    let cache = response.headers().get(&CACHE_STATUS).cloned();
    let ending = exchange.end(response.status().as_u16(), cache, length);
    if let Body::Stream(stream) = response.body_mut() {
        stream.ending = ending;
    }
    response
}

/// RFC 9209: which error it is, where a service of Mainstay's answered.
fn error_of(headers: &HeaderMap) -> Option<String> {
    let said = headers.get("proxy-status")?.to_str().ok()?;
    let code = said.strip_prefix("Mainstay; error=")?;
    Some(code.split([';', ',']).next()?.trim().to_owned())
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
