//! What is remembered of a request while it runs, and the one access record that it leaves.

use crate::config::Standing;
use crate::connection::State;
use crate::express::Ticket;
use crate::refusal::Refusal;
use crate::site::CompiledRoute;
use crate::worker::Worker;
use http::{HeaderValue, Method, Uri};
use mainstay_model::Identity;
use mainstay_telemetry::{Fact, PhaseTime, RequestRecord, TraceContext, access_log_enabled, emit};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The status in the record of a request whose client left before its answer.
const CLIENT_GONE: u16 = 499;

/// A request on its way through the phases.
pub(crate) struct Exchange {
    /// Boxed, as it is handed on from phase to phase.
    notes: Option<Box<Notes>>,
    state: Rc<State>,
}

/// What the record is made of.
pub(crate) struct Notes {
    /// The worker's; a count that all workers shared would cost each of them.
    worker: Rc<Worker>,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) peer: IpAddr,
    pub(crate) trace: TraceContext,
    pub(crate) route: Option<usize>,
    pub(crate) identity: Option<Arc<Identity>>,
    /// Index of the upstream that was asked, and of its server that answered last.
    pub(crate) upstream: Option<(usize, usize)>,
    pub(crate) retries: u8,
    pub(crate) code: Option<Cow<'static, str>>,
    pub(crate) begin: Instant,
    last: Instant,
    phases: SmallVec<[PhaseTime; 6]>,
}

impl Exchange {
    pub(crate) fn begin(
        worker: Rc<Worker>,
        state: Rc<State>,
        method: Method,
        uri: Uri,
        peer: IpAddr,
        trace: TraceContext,
    ) -> Exchange {
        let now = Instant::now();
        let notes = Box::new(Notes {
            worker,
            method,
            uri,
            peer,
            trace,
            route: None,
            identity: None,
            upstream: None,
            retries: 0,
            code: None,
            begin: now,
            last: now,
            phases: SmallVec::new(),
        });
        Exchange {
            notes: Some(notes),
            state,
        }
    }

    /// The notes; there until the exchange ends.
    pub(crate) fn notes(&mut self) -> &mut Notes {
        // Only `end` takes them, and it consumes the exchange.
        self.notes.as_mut().expect("an exchange has its notes until it ends")
    }

    /// The end of a phase; its time runs since the end of the one before it.
    pub(crate) fn phase(&mut self, name: &'static str) {
        // Nobody would read them, and a look at the clock has its price.
        if !access_log_enabled() {
            return;
        }
        let notes = self.notes();
        let now = Instant::now();
        let micros = now.duration_since(notes.last).as_micros().min(u128::from(u32::MAX)) as u32;
        notes.last = now;
        notes.phases.push(PhaseTime { name, micros });
    }

    /// Notes a refusal; `closing` if it ends the connection while the client may still be sending.
    pub(crate) fn refused(&mut self, refusal: &Refusal, closing: bool) {
        if closing {
            self.state.linger();
        }
        self.notes().code = Some(refusal.code.clone());
    }

    /// The answer is decided; what remains is to send `length` bytes at once, or a stream that takes the [`Ending`].
    pub(crate) fn end(mut self, status: u16, cache: Option<HeaderValue>, length: Option<u64>) -> Option<Ending> {
        let notes = self.notes.take()?;
        match length {
            Some(length) => {
                notes.emit(status, cache.as_ref(), length, false);
                None
            }
            None => {
                self.state.stream_begins();
                Some(Ending(Some(Box::new(Pending {
                    notes,
                    status,
                    cache,
                    state: self.state.clone(),
                }))))
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.state.answered();
        // Dropped in the middle: the client has gone.
        if let Some(notes) = self.notes.take() {
            notes.emit(CLIENT_GONE, None, 0, true);
        }
    }
}

/// The record of an answer that is still being sent.
pub(crate) struct Ending(Option<Box<Pending>>);

struct Pending {
    notes: Box<Notes>,
    status: u16,
    cache: Option<HeaderValue>,
    state: Rc<State>,
}

impl Ending {
    pub(crate) fn finish(mut self, bytes: u64, aborted: bool) {
        if let Some(pending) = self.0.take() {
            pending.state.stream_ends();
            pending
                .notes
                .emit(pending.status, pending.cache.as_ref(), bytes, aborted);
        }
    }
}

impl Notes {
    pub(crate) fn compiled_route(&self) -> Option<&CompiledRoute> {
        self.route.and_then(|index| self.worker.site.routes.get(index))
    }

    /// What it takes to give the answer to this request again to who is at the other end of a socket.
    pub(crate) fn ticket(&self, standing: Box<dyn Standing>, peer: IpAddr) -> Ticket {
        Ticket {
            standing,
            identity: self.identity.clone(),
            via: (!self.worker.site.proxies.is_empty()).then_some((peer, self.peer)),
            uri: self.uri.clone(),
            route: self.route.unwrap_or_default(),
            trace: self.trace.parent.map(|_| self.trace.trace),
        }
    }

    fn emit(&self, status: u16, cache: Option<&HeaderValue>, bytes: u64, aborted: bool) {
        let route = self.compiled_route();
        let group = self.upstream.and_then(|(group, server)| {
            let group = self.worker.site.groups.get(group)?;
            Some((
                group.config.name.as_str(),
                group.servers.get(server).and_then(|s| s.socket),
            ))
        });
        let (upstream, server): (Option<&str>, Option<SocketAddr>) = group.map_or((None, None), |(u, s)| (Some(u), s));
        // Only the log shows it; the metrics count by route.
        let path = if access_log_enabled() {
            redacted(&self.uri)
        } else {
            Cow::Borrowed("")
        };
        let record = RequestRecord {
            method: self.method.as_str(),
            path: &path,
            route: route.map_or("", |r| &r.name),
            status,
            bytes,
            peer: self.peer,
            role: self.identity.as_ref().map(|i| &*i.role),
            user: self.identity.as_ref().and_then(|i| i.subject()),
            code: self.code.as_deref(),
            upstream,
            server,
            retries: self.retries,
            cache: cache.and_then(|c| verdict(c.to_str().ok()?)),
            aborted,
            trace: self.trace.trace,
            total: self.begin.elapsed(),
            phases: &self.phases,
        };
        emit(&Fact::Request(
            &record,
            route.map_or(&self.worker.site.no_route, |r| &r.metrics),
        ));
    }
}

/// Leaves a record of bytes that never became a request.
pub(crate) fn unread(worker: &Worker, peer: IpAddr, refusal: &Refusal) {
    let record = RequestRecord {
        method: "",
        path: "",
        route: "",
        status: refusal.status.as_u16(),
        bytes: 0,
        peer,
        role: None,
        user: None,
        code: Some(&refusal.code),
        upstream: None,
        server: None,
        retries: 0,
        cache: None,
        aborted: false,
        trace: TraceContext::generate().trace,
        total: Duration::ZERO,
        phases: &[],
    };
    emit(&Fact::Request(&record, &worker.site.no_route));
}

/// `hit`, or the reason why not: what our own entry of `Cache-Status` (RFC 9211) says.
pub(crate) fn verdict(status: &str) -> Option<&str> {
    // The last entry is the cache closest to the client, which is ours.
    let own = status.rsplit(',').next()?;
    let mut fields = own.split(';').map(str::trim_ascii).skip(1);
    fields.find_map(|field| {
        if field == "hit" {
            Some("hit")
        } else {
            field.strip_prefix("fwd=")
        }
    })
}

/// Parameters whose values are secrets.
const SECRETS: [&str; 10] = [
    "apikey",
    "api_key",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "token_hash",
    "password",
    "secret",
    "code",
];

/// Path and query for the log, without the values of secrets.
pub(crate) fn redacted(uri: &Uri) -> Cow<'_, str> {
    let Some(whole) = uri.path_and_query() else {
        return Cow::Borrowed(uri.path());
    };
    let Some(query) = whole.query() else {
        return Cow::Borrowed(whole.as_str());
    };
    let is_secret = |part: &str| {
        let name = part.split('=').next().unwrap_or(part);
        // A name that is spelt in an unusual way is taken for the worst.
        name.contains('%') || SECRETS.iter().any(|s| name.eq_ignore_ascii_case(s))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(whole.as_str());
    }
    let mut out = String::with_capacity(whole.as_str().len());
    out.push_str(whole.path());
    for (i, part) in query.split('&').enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        match part.split_once('=') {
            Some((name, _)) if is_secret(part) => {
                out.push_str(name);
                out.push_str("=[redacted]");
            }
            _ => out.push_str(part),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_log() {
        for (uri, wanted) in [
            ("/a", "/a"),
            ("/a?select=id&id=eq.1", "/a?select=id&id=eq.1"),
            ("/a?apikey=s3cret&x=1", "/a?apikey=[redacted]&x=1"),
            ("/a?x=1&Access_Token=s3cret", "/a?x=1&Access_Token=[redacted]"),
            ("/a?token=s=3&token=cret", "/a?token=[redacted]&token=[redacted]"),
            ("/a?%74oken=s3cret", "/a?%74oken=[redacted]"),
            ("/a?token", "/a?token"),
            ("/verify?code=s3cret", "/verify?code=[redacted]"),
        ] {
            assert_eq!(redacted(&Uri::from_static(uri)), wanted);
        }
    }

    #[test]
    fn the_cache_verdict_is_read_from_our_entry() {
        for (status, wanted) in [
            ("mainstay; hit; ttl=30", Some("hit")),
            ("mainstay; fwd=miss; stored", Some("miss")),
            ("mainstay; fwd=bypass; detail=volatile", Some("bypass")),
            ("origin; hit, mainstay; fwd=miss", Some("miss")),
            ("mainstay", None),
        ] {
            assert_eq!(verdict(status), wanted, "{status}");
        }
    }
}
