//! Requests for a service of this process: the body read whole, the call, and nothing in between.

use crate::body::{Body, Source};
use crate::config::{Content, Service};
use crate::record::{Exchange, Notes};
use crate::refusal::{self, Refusal};
use crate::site::CompiledRoute;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use mainstay_telemetry::TraceContext;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the gateway knows of a request that its head does not say; among the extensions that a service sees.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The client, after trusted proxies.
    pub peer: IpAddr,
    /// The trace, under the gateway's span.
    pub trace: TraceContext,
    /// When the head was complete.
    pub received: Instant,
}

impl Arrival {
    pub(crate) fn of(notes: &Notes) -> Arrival {
        Arrival {
            peer: notes.peer,
            trace: notes.trace,
            received: notes.begin,
        }
    }
}

/// Phase: the service answers.
pub(crate) async fn call(
    service: &Arc<dyn Service>,
    route: &CompiledRoute,
    exchange: &mut Exchange,
    parts: Parts,
    body: Incoming,
    timeout: Duration,
) -> Result<Response<Body>, Refusal> {
    let bytes = if body.is_end_stream() {
        Bytes::new()
    } else {
        // Boxed: a request without a body, the most common one, should not carry the room for reading one.
        Box::pin(collect(body, route.body_bytes_max, timeout)).await?
    };
    let mut request = Request::from_parts(parts, bytes);
    route.headers.apply(request.headers_mut());
    let notes = exchange.notes();
    let extensions = request.extensions_mut();
    if let Some(identity) = &notes.identity {
        extensions.insert(identity.clone());
    }
    extensions.insert(Arrival::of(notes));
    let response = service.call(request).await;
    Ok(response.map(|content| match content {
        Content::Whole(bytes) => Body::Full(bytes),
        Content::Stream(stream) => Body::stream(Source::Service(stream)),
    }))
}

/// The whole body, if it is no larger than `limit` and never pauses for longer than `pause`.
pub(crate) async fn collect(mut body: Incoming, limit: u64, pause: Duration) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > limit {
        return Err(refusal::body_too_large(limit));
    }

    let expected = body.size_hint().exact();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    // No timer is armed for what has arrived already.
    while let Some(frame) = tokio::time::timeout(pause, body.frame())
        .await
        .map_err(|_| refusal::body_too_slow())?
    {
        let Ok(data) = frame.map_err(|_| refusal::body_broken())?.into_data() else {
            continue;
        };
        if (first.len() + rest.len() + data.len()) as u64 > limit {
            return Err(refusal::body_too_large(limit));
        }
        if first.is_empty() && rest.is_empty() {
            // Most bodies come in one piece and are never copied.
            first = data;
            if expected == Some(first.len() as u64) {
                return Ok(first);
            }
        } else {
            if rest.is_empty() {
                rest.reserve(expected.map_or(first.len() * 2, |n| n.min(limit) as usize));
                rest.extend_from_slice(&first);
                first = Bytes::new();
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// The length that a request's head declares.
pub(crate) fn declared_length(parts: &Parts) -> Option<u64> {
    parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
