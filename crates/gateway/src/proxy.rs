//! Requests for an upstream: transform → balance → retry → upstream, in one place.

use crate::answer::AnswerHead;
use crate::balance::{Group, InFlight, Tried};
use crate::body::{Body, Source};
use crate::client::{AnswerRest, Failure, Link, Server};
use crate::health;
use crate::record::Exchange;
use crate::refusal::{self, Refusal};
use crate::retry;
use crate::service::{collect, declared_length};
use crate::site::CompiledRoute;
use crate::transform::{self, Framing, Outgoing};
use crate::upload::Upload;
use crate::worker::Worker;
use http::Response;
use http::header::HOST;
use http::request::Parts;
use http_body::Body as _;
use hyper::body::Incoming;
use mainstay_telemetry::{Fact, emit};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// Bodies up to this length are read before a server is asked: they can then be sent again, and no server waits for a
/// slow client.
const REPLAY_BYTES_MAX: u64 = 64 << 10;
/// The room that most heads need, so that they are written without growing; it is also the most that an allocator gives at once.
const HEAD_BYTES: usize = 1 << 10;

/// Phases: transform, balance, retry, upstream.
pub(crate) async fn forward(
    worker: &Worker,
    route: &CompiledRoute,
    group_index: usize,
    exchange: &mut Exchange,
    peer: IpAddr,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Refusal> {
    let site = &*worker.site;
    let group = &site.groups[group_index];
    let timeout = route.timeout.unwrap_or(group.config.timeout);
    let deadline = Instant::now() + timeout;

    // transform
    let mut whole = None;
    let mut upload = None;
    let framing = if body.is_end_stream() {
        Framing::None
    } else {
        match declared_length(parts) {
            Some(length) if length > route.body_bytes_max => return Err(refusal::body_too_large(route.body_bytes_max)),
            Some(length) if length <= REPLAY_BYTES_MAX => {
                // Boxed: a request without a body should not carry the room for reading one.
                whole = Some(Box::pin(collect(body, route.body_bytes_max, site.limits.body_timeout)).await?);
                Framing::Length(length)
            }
            known => {
                upload = Some(Box::new(Upload::new(
                    body,
                    route.body_bytes_max,
                    site.limits.body_timeout,
                )));
                known.map_or(Framing::Chunked, Framing::Length)
            }
        }
    };
    let mut message = Vec::with_capacity(HEAD_BYTES);
    let notes = exchange.notes();
    transform::write_head(
        &mut message,
        &Outgoing {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            host: parts.headers.get(HOST).map_or(b"", |h| h.as_bytes()),
            peer,
            identity: notes.identity.as_deref(),
            trace: &notes.trace,
            timeout,
            framing,
            forward_credentials: group.config.forward_credentials,
            proxies: &site.proxies,
            route,
        },
    );
    if let Some(whole) = &whole {
        message.extend_from_slice(whole);
    }
    exchange.phase("transform");

    // balance, retry, upstream
    let idempotent = retry::is_idempotent(&parts.method);
    let mut tried = Tried::new();
    // A look at the clock has its price, and servers that have not failed need none.
    let now_ms = || site.now_ms();
    // An answer in hand is worth more than a refusal because there is nobody else.
    let another = |tried: &Tried| matches!(group.pick(tried, now_ms), Ok(Some(_)));
    route.budget.deposit();
    let answer = loop {
        let (index, in_flight) = match group.pick(&tried, now_ms) {
            Ok(Some(picked)) => picked,
            Ok(None) => {
                break Err(refusal::upstream_unreachable(
                    &group.config.name,
                    "no server is left to ask",
                ));
            }
            Err(refusal) => break Err(refusal),
        };
        let attempt_deadline = route
            .attempt_timeout
            .map_or(deadline, |t| deadline.min(Instant::now() + t));
        exchange.notes().upstream = Some((group_index, index));
        let member = &group.servers[index];
        let server = Server {
            number: member.number,
            address: &member.address,
            connect_timeout: group.config.connect_timeout,
            read_timeout: group.config.read_timeout,
            idle_timeout: group.config.idle_timeout,
            idle_max: group.config.idle_max,
        };
        let outcome = attempt(
            worker,
            &server,
            &message,
            &mut upload,
            &parts.method,
            idempotent,
            attempt_deadline,
        )
        .await;
        tried.push(index);
        let replayable = upload.is_some() || matches!(&outcome, Outcome { streamed: false, .. });
        let more = tried.len() < (route.attempts as usize).min(group.servers.len()) && replayable;
        match outcome.result {
            Ok((head, rest)) => {
                if health::is_failure(head.status) {
                    group.failed(index, head.status.as_str(), now_ms());
                } else {
                    group.succeeded(index, now_ms);
                }
                if more
                    && retry::status_allows(head.status, idempotent)
                    && Instant::now() < deadline
                    && another(&tried)
                    && again(route, group, &member.address, head.status.as_str())
                {
                    continue_retry(exchange);
                    continue;
                }
                break Ok((head, rest, in_flight));
            }
            Err(failure) => {
                if !matches!(failure, Failure::Client(_)) {
                    group.failed(index, failure.reason(), now_ms());
                }
                if more
                    && retry::failure_allows(&failure, idempotent)
                    && Instant::now() < deadline
                    && another(&tried)
                    && again(route, group, &member.address, failure.reason())
                {
                    continue_retry(exchange);
                    continue;
                }
                break Err(failure.refusal(&group.config.name));
            }
        }
    };
    exchange.phase("upstream");
    let (head, rest, in_flight) = answer?;
    Ok(response(head, rest, in_flight))
}

fn continue_retry(exchange: &mut Exchange) {
    let notes = exchange.notes();
    notes.retries = notes.retries.saturating_add(1);
}

/// Whether the budget allows one more try.
fn again(route: &CompiledRoute, group: &Arc<Group>, server: &str, reason: &str) -> bool {
    let upstream = group.config.name.as_str();
    let allowed = route.budget.withdraw();
    emit(&if allowed {
        Fact::Retried {
            upstream,
            server,
            reason,
        }
    } else {
        Fact::RetryBudgetEmpty { upstream }
    });
    allowed
}

struct Outcome {
    result: Result<(AnswerHead, AnswerRest), Failure>,
    /// Whether a body that cannot be sent again has begun to be sent.
    streamed: bool,
}

/// One server, asked once; twice if a pooled connection turns out to have ended before the server saw the request.
async fn attempt(
    worker: &Worker,
    server: &Server<'_>,
    message: &[u8],
    upload: &mut Option<Box<Upload>>,
    method: &http::Method,
    idempotent: bool,
    deadline: Instant,
) -> Outcome {
    let to_head = *method == http::Method::HEAD;
    let mut pooled = worker.pools.take(server, !idempotent);
    loop {
        let (mut link, fresh) = match pooled.take() {
            Some(link) => (link, false),
            None => match Box::pin(Link::open(server)).await {
                Ok(link) => (link, true),
                Err(failure) => {
                    return Outcome {
                        result: Err(failure),
                        streamed: false,
                    };
                }
            },
        };
        let mut upload = upload.take();
        let streamed = upload.is_some();
        let result = match link.exchange(message, &mut upload, to_head, deadline).await {
            Err(Failure::Stale) if !fresh && !streamed && idempotent => continue,
            Ok((head, framing, keep)) => Ok((head, link.rest(framing, keep, upload, &worker.pools, server))),
            Err(failure) => Err(failure),
        };
        return Outcome { result, streamed };
    }
}

fn response(head: AnswerHead, rest: AnswerRest, in_flight: InFlight) -> Response<Body> {
    let body = match rest {
        AnswerRest::Full(bytes) => Body::Full(bytes),
        AnswerRest::Stream(mut body) => {
            body.hold(in_flight);
            Body::stream(Source::Upstream(body))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}
