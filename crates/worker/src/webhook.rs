//! One POST to a receiver: no redirects, bounded time and answer, connections kept for the next one.

use crate::envelope;
use crate::sign::SigningKey;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;

/// So much of a receiver's answer is read, in bytes: enough for its reason in a dead letter.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An answer's body is waited for so long: what it is good for is the connection, and the reason of a refusal.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// Connections kept per subscription.
const IDLE_MAX: usize = 16;

/// Where webhooks go: `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    authority: String,
    host: String,
    port: u16,
    path: String,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError(pub String);

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl Target {
    /// Reads an absolute `http` URL.
    pub fn parse(url: &str) -> Result<Target, TargetError> {
        let uri: Uri = url
            .parse()
            .map_err(|e| TargetError(format!("{url:?} is not a URL: {e}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(TargetError(
                    "https receivers are not served yet; deliver through a local proxy, or to a path of this gateway"
                        .into(),
                ));
            }
            _ => return Err(TargetError(format!("{url:?} is not an http URL"))),
        }
        let authority = uri
            .authority()
            .ok_or_else(|| TargetError(format!("{url:?} names no host")))?;
        if authority.as_str().contains('@') {
            return Err(TargetError(
                "a receiver's URL must not carry a password; use `headers`".into(),
            ));
        }
        Ok(Target {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
        })
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// 2xx.
    Accepted,
    /// Try again, not before so long if the receiver said so.
    Failed(String, Option<Duration>),
    /// 410: the receiver wants no more of it (Standard Webhooks).
    Gone(String),
}

/// A subscription's connections to its receiver. Lives on one thread.
#[derive(Clone)]
pub(crate) struct Webhook {
    target: Target,
    key: Option<SigningKey>,
    headers: Vec<(HeaderName, HeaderValue)>,
    idle: Rc<RefCell<Vec<SendRequest<Full<Bytes>>>>>,
}

impl Webhook {
    pub fn new(target: Target, key: Option<SigningKey>, headers: Vec<(HeaderName, HeaderValue)>) -> Webhook {
        Webhook {
            target,
            key,
            headers,
            idle: Rc::default(),
        }
    }

    /// Posts a message; everything together takes at most `timeout`.
    pub async fn post(&self, message: &mainstay_bus::Message, timeout: Duration) -> Sent {
        match tokio::time::timeout(timeout, self.attempt(message)).await {
            Ok(sent) => sent,
            Err(_) => Sent::Failed(
                format!("no answer from {} within {} ms", self.target, timeout.as_millis()),
                None,
            ),
        }
    }

    async fn attempt(&self, message: &mainstay_bus::Message) -> Sent {
        let body = Bytes::from(envelope::cloud_event(message));
        let mut kept = self.idle.borrow_mut().pop();
        loop {
            let fresh = kept.is_none();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => match self.connect().await {
                    Ok(connection) => connection,
                    Err(e) => return Sent::Failed(format!("{}: {e}", self.target), None),
                },
            };
            let request = match self.request(message, body.clone()) {
                Ok(request) => request,
                Err(e) => return Sent::Failed(e, None),
            };
            if connection.ready().await.is_err() && !fresh {
                continue;
            }
            let answer = match connection.send_request(request).await {
                Ok(answer) => answer,
                // It may have been closed meanwhile, and the others with it: one fresh one is tried; the receiver deduplicates by id.
                Err(_) if !fresh => continue,
                Err(e) => return Sent::Failed(format!("{}: {e}", self.target), None),
            };
            let (head, answer_body) = answer.into_parts();
            let text = Limited::new(answer_body, ANSWER_BYTES_MAX).collect();
            let text = match tokio::time::timeout(BODY_WAIT, text).await {
                Ok(Ok(text)) => Some(text.to_bytes()),
                _ => None,
            };
            if text.is_some() && !connection.is_closed() && self.idle.borrow().len() < IDLE_MAX {
                self.idle.borrow_mut().push(connection);
            }
            return self.judge(head.status, &head.headers, &text.unwrap_or_default());
        }
    }

    fn judge(&self, status: StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Sent {
        if status.is_success() {
            return Sent::Accepted;
        }
        let excerpt: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let reason = format!("{} answered {}: {excerpt}", self.target, status.as_u16());
        if status == StatusCode::GONE {
            return Sent::Gone(reason);
        }
        let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        Sent::Failed(reason, after.and_then(|text| retry_after(text, SystemTime::now())))
    }

    fn request(&self, message: &mainstay_bus::Message, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut request = Request::post(&self.target.path)
            .header(header::HOST, &self.target.authority)
            .header(header::CONTENT_TYPE, envelope::MEDIA_TYPE)
            .header(header::USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", now_s);
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", key.sign(&message.id, now_s, &body));
        }
        if let Some(traceparent) = &message.traceparent {
            request = request.header("traceparent", traceparent);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(body))
            .map_err(|e| format!("the request could not be made: {e}"))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port))
            .await
            .map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_receiver_wants_to_be_asked_again() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
