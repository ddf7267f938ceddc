//! One POST to a receiver, over TLS where its URL says so: no redirects, bounded time and answer, connections kept for the next one.

use crate::envelope;
use crate::sign::SigningKey;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// So much of a receiver's answer is read, in bytes: enough for its reason in a dead letter.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// An answer's body is waited for so long: what it is good for is the connection, and the reason of a refusal.
const BODY_WAIT: Duration = Duration::from_secs(1);

/// Connections kept per subscription.
const IDLE_MAX: usize = 16;

/// Where webhooks go: `https://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    tls: bool,
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
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl Target {
    /// Reads an absolute `http` or `https` URL.
    pub fn parse(url: &str) -> Result<Target, TargetError> {
        let uri: Uri = url
            .parse()
            .map_err(|e| TargetError(format!("{url:?} is not a URL: {e}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(TargetError(format!("{url:?} is not an http or https URL"))),
        };
        let authority = uri
            .authority()
            .ok_or_else(|| TargetError(format!("{url:?} names no host")))?;
        if authority.as_str().contains('@') {
            return Err(TargetError(
                "a receiver's URL must not carry a password; use `headers`".into(),
            ));
        }
        Ok(Target {
            tls,
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
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

    /// Posts a message. The status has to be there within `timeout`; what is said beyond it is waited for a little, and decides nothing.
    pub async fn post(&self, message: &mainstay_bus::Message, timeout: Duration) -> Sent {
        let deadline = Instant::now() + timeout;
        let (answer, connection) = match tokio::time::timeout_at(deadline, self.attempt(message)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(why)) => return Sent::Failed(why, None),
            Err(_) => {
                let why = format!("no answer from {} within {} ms", self.target, timeout.as_millis());
                return Sent::Failed(why, None);
            }
        };
        let (head, mut body) = answer.into_parts();
        let mut text = Vec::new();
        let read = tokio::time::timeout_at(deadline.min(Instant::now() + BODY_WAIT), read(&mut body, &mut text));
        let is_whole = read.await.unwrap_or(false);
        if is_whole && !connection.is_closed() && self.idle.borrow().len() < IDLE_MAX {
            self.idle.borrow_mut().push(connection);
        }
        self.judge(head.status, &head.headers, &text)
    }

    /// The answer's head, and the connection that it came by.
    async fn attempt(
        &self,
        message: &mainstay_bus::Message,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), String> {
        let body = Bytes::from(envelope::cloud_event(message));
        let mut kept = self.idle.borrow_mut().pop();
        loop {
            let fresh = kept.is_none();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => match self.connect().await {
                    Ok(connection) => connection,
                    Err(e) => return Err(format!("{}: {e}", self.target)),
                },
            };
            let request = self.request(message, body.clone())?;
            if connection.ready().await.is_err() && !fresh {
                continue;
            }
            match connection.send_request(request).await {
                Ok(answer) => return Ok((answer, connection)),
                // It may have been closed meanwhile, and the others with it: one fresh one is tried; the receiver deduplicates by id.
                Err(_) if !fresh => {}
                Err(e) => return Err(format!("{}: {e}", self.target)),
            }
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
        let request = request.body(Full::new(body));
        let mut request = request.map_err(|e| format!("the request could not be made: {e}"))?;
        // The operator's own come in the place of ours.
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect((self.target.host.as_str(), self.target.port))
            .await
            .map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        if !self.target.tls {
            return self.shake_hands(stream).await;
        }
        let name = ServerName::try_from(self.target.host.clone())
            .map_err(|_| format!("{:?} is no name that a certificate could have", self.target.host))?;
        let stream = TlsConnector::from(tls()?).connect(name, stream).await;
        self.shake_hands(stream.map_err(|e| format!("TLS: {e}"))?).await
    }

    async fn shake_hands(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<SendRequest<Full<Bytes>>, String> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Reads a body as far as it is of use; whether that was all of it.
async fn read(body: &mut Incoming, text: &mut Vec<u8>) -> bool {
    while let Some(frame) = body.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) if text.len() + data.len() <= ANSWER_BYTES_MAX => text.extend_from_slice(&data),
            Ok(Err(_)) => {}
            _ => return false,
        }
    }
    true
}

/// What receivers' certificates are looked at with: the system's authorities, read once.
fn tls() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "no certificate authority is known: install the system's ca-certificates, or name a file in SSL_CERT_FILE"
                .into(),
        );
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS: {e}"))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
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
