//! Requests that come again, byte for byte, and whose answer still stands: they are answered from the socket, before they are parsed.
//!
//! What a request means follows from its bytes, from the address that it comes from and from the configuration, and from two things that
//! change: whether the caller's token still holds, and whether the service would answer the same. Both are asked each time, and so are
//! the rate limits. So a worker keeps answers as they went out, under the bytes that asked for them, and gives one again after stamping
//! `Date`, `Age` and `RateLimit`; the record of the request and its metrics are those of any other.
//!
//! Only what a service has at hand is kept ([`crate::Standing`]), only GETs without a body, and only the second time that it is asked for.

use crate::config::Standing;
use crate::limit::{self, Passed};
use crate::record;
use crate::refusal::Refusal;
use crate::worker::Worker;
use http::Uri;
use mainstay_model::Identity;
use mainstay_telemetry::{Counter, Fact, PhaseTime, RequestRecord, TraceContext, TraceId, access_log_enabled, emit};
use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A longer request is parsed each time, in bytes.
const REQUEST_BYTES_MAX: usize = 4 << 10;
/// A longer answer is made each time, in bytes; copying it costs more than making its head.
const ANSWER_BYTES_MAX: usize = 32 << 10;
/// So many requests are known by their hash to have come once.
const ONCE: usize = 4096;

/// What one worker keeps.
pub(crate) struct Express {
    kept: RefCell<Answers>,
    /// Hashes of requests that have come once, each at its place.
    once: Box<[Cell<u64>]>,
    hasher: ahash::RandomState,
    given: Counter,
}

/// By the bytes of their requests.
type Answers = Cache<Box<[u8]>, Rc<Kept>, ByBytes, ahash::RandomState>;

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Rc<Kept>> for ByBytes {
    fn weight(&self, _: &Box<[u8]>, kept: &Rc<Kept>) -> u64 {
        kept.weight
    }
}

/// What has to be known of a request, beside its bytes, to give its answer again.
pub(crate) struct Ticket {
    pub(crate) standing: Box<dyn Standing>,
    pub(crate) identity: Option<Arc<Identity>>,
    /// The socket's other end and the client that it speaks for, where there are proxies that are believed.
    pub(crate) via: Option<(IpAddr, IpAddr)>,
    pub(crate) uri: Uri,
    /// Index of its route.
    pub(crate) route: usize,
    /// The trace that the request names.
    pub(crate) trace: Option<TraceId>,
}

/// An answer as it went out.
pub(crate) struct Kept {
    ticket: Ticket,
    path: Box<str>,
    cache: Option<Box<str>>,
    status: u16,
    body_bytes: u64,
    /// Bytes it was when it was kept; stamps change little about it.
    weight: u64,
    answer: RefCell<Answer>,
}

struct Answer {
    bytes: Vec<u8>,
    /// Where each [`Stamp`] stands.
    places: [Option<Range<usize>>; 3],
    /// What `Date` and `Age` say, in seconds.
    dated: u64,
    aged: Option<u32>,
}

/// A field whose value is of the moment.
#[derive(Clone, Copy)]
enum Stamp {
    Date,
    Age,
    RateLimit,
}

/// What is known of a request.
pub(crate) enum Known {
    /// Its answer, which stands.
    Answer(Given),
    /// A limit refuses it; those before it have counted it.
    Refused(Box<Refusal>),
    /// It has come before: its answer may be kept.
    Again,
    /// Nothing.
    Not,
}

/// An answer to give once more.
pub(crate) struct Given {
    kept: Rc<Kept>,
    /// Its age in seconds.
    age: u32,
    passed: Passed,
    begin: Instant,
}

impl Express {
    pub(crate) fn new(bytes_max: u64) -> Express {
        mainstay_telemetry::describe(
            "mainstay_express_answers_total",
            "Answers given again to requests known byte for byte, without parsing them.",
        );
        Express {
            kept: RefCell::new(Cache::with(
                (bytes_max / 1024) as usize,
                bytes_max,
                ByBytes,
                ahash::RandomState::new(),
                Default::default(),
            )),
            once: if bytes_max == 0 {
                Box::default()
            } else {
                vec![Cell::new(0); ONCE].into()
            },
            hasher: ahash::RandomState::new(),
            given: mainstay_telemetry::counter("mainstay_express_answers_total", &[]),
        }
    }

    /// Looks up what has arrived between two requests.
    pub(crate) fn find(&self, worker: &Worker, peer: IpAddr, arrived: &[u8]) -> Known {
        if self.once.is_empty()
            || arrived.len() > REQUEST_BYTES_MAX
            || !arrived.starts_with(b"GET ")
            || !arrived.ends_with(b"\r\n\r\n")
        {
            return Known::Not;
        }
        let kept = self.kept.borrow().get(arrived).cloned();
        if let Some(kept) = kept {
            let begin = Instant::now();
            let ticket = &kept.ticket;
            if ticket.via.is_none_or(|(via, _)| via == peer)
                && ticket.identity_holds(worker)
                && let Some(age) = ticket.standing.age(begin)
            {
                return match ticket.pass(worker, peer) {
                    Some(Ok(passed)) => Known::Answer(Given {
                        kept,
                        age,
                        passed,
                        begin,
                    }),
                    Some(Err(refusal)) => Known::Refused(Box::new(refusal)),
                    None => Known::Not,
                };
            }
            self.kept.borrow_mut().remove(arrived);
            return Known::Again;
        }
        let hash = self.hasher.hash_one(arrived);
        match self.once[hash as usize % ONCE].replace(hash) == hash {
            true => Known::Again,
            false => Known::Not,
        }
    }

    /// Keeps the answer `sent` to `request`, if it is whole and does not end the connection.
    pub(crate) fn keep(&self, request: Box<[u8]>, sent: &[u8], ticket: Ticket) {
        let Some(read) = Read::of(sent) else { return };
        let kept = Kept {
            path: record::redacted(&ticket.uri).into(),
            ticket,
            cache: read.cache,
            status: read.status,
            body_bytes: read.body_bytes,
            weight: (request.len() + sent.len() + size_of::<Kept>()) as u64,
            answer: RefCell::new(Answer {
                bytes: sent.to_vec(),
                places: read.places,
                // Stamped before it is given.
                dated: 0,
                aged: None,
            }),
        };
        self.kept.borrow_mut().insert(request, Rc::new(kept));
    }
}

impl Ticket {
    fn identity_holds(&self, worker: &Worker) -> bool {
        let Some(identity) = &self.identity else { return true };
        let authenticate = worker.site.authenticate.as_deref();
        authenticate.is_some_and(|a| a.holds(identity, worker.unix_seconds()))
    }

    /// What the rate limits say; `None` if one cannot at once.
    fn pass(&self, worker: &Worker, peer: IpAddr) -> Option<Result<Passed, Refusal>> {
        let site = &worker.site;
        let rules = || site.rules_of(&site.routes[self.route]);
        let mut passed = Passed::new();
        if rules().next().is_some() {
            let (limiter, client) = (&*site.limiter, self.client(peer));
            let identity = self.identity.as_deref();
            let asked = async {
                limit::by_address(rules(), limiter, client, &mut passed).await?;
                limit::by_identity(rules(), limiter, client, identity, &mut passed).await
            };
            if let Err(refusal) = limit::at_once(asked)? {
                return Some(Err(refusal));
            }
        }
        Some(Ok(passed))
    }

    /// The client behind a socket whose other end is `peer`.
    fn client(&self, peer: IpAddr) -> IpAddr {
        self.via.map_or(peer, |(_, client)| client)
    }
}

impl Given {
    /// Hands the bytes to send to `write`, stamped.
    pub(crate) fn give<T>(&self, worker: &Worker, write: impl FnOnce(&[u8]) -> T) -> T {
        let mut answer = self.kept.answer.borrow_mut();
        let now = worker.unix_seconds();
        if answer.dated != now {
            answer.dated = now;
            let date = httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(now)).to_string();
            answer.stamp(Stamp::Date, date.as_bytes());
        }
        if answer.aged != Some(self.age) {
            answer.aged = Some(self.age);
            answer.stamp(Stamp::Age, itoa::Buffer::new().format(self.age).as_bytes());
        }
        if !self.passed.is_empty() {
            answer.stamp(Stamp::RateLimit, limit::state(&self.passed).as_bytes());
        }
        write(&answer.bytes)
    }

    /// The access record and the metrics of one more request.
    pub(crate) fn record(&self, worker: &Worker, peer: IpAddr) {
        worker.express.given.inc();
        let kept = &*self.kept;
        let ticket = &kept.ticket;
        let route = &worker.site.routes[ticket.route];
        let total = self.begin.elapsed();
        let logged = access_log_enabled();
        let phases = [PhaseTime {
            name: "express",
            micros: total.as_micros() as u32,
        }];
        let trace = match ticket.trace {
            Some(trace) => trace,
            // Nobody would read it.
            None if !logged => TraceId([0; 16]),
            None => TraceContext::generate().trace,
        };
        let record = RequestRecord {
            method: "GET",
            path: &kept.path,
            route: &route.name,
            status: kept.status,
            bytes: kept.body_bytes,
            peer: ticket.client(peer),
            role: ticket.identity.as_ref().map(|i| &*i.role),
            user: ticket.identity.as_ref().and_then(|i| i.subject()),
            code: None,
            upstream: None,
            server: None,
            retries: 0,
            cache: kept.cache.as_deref(),
            aborted: false,
            trace,
            total,
            phases: &phases,
        };
        emit(&Fact::Request(&record, &route.metrics));
    }
}

impl Answer {
    /// Puts a value where it belongs, if the answer has that field.
    fn stamp(&mut self, stamp: Stamp, value: &[u8]) {
        let Some(place) = self.places[stamp as usize].clone() else {
            return;
        };
        if place.len() == value.len() {
            return self.bytes[place].copy_from_slice(value);
        }
        self.bytes.splice(place.clone(), value.iter().copied());
        self.places[stamp as usize] = Some(place.start..place.start + value.len());
        for other in self
            .places
            .iter_mut()
            .flatten()
            .filter(|other| other.start > place.start)
        {
            let start = other.start + value.len() - place.len();
            *other = start..start + other.len();
        }
    }
}

/// What an answer's bytes say.
struct Read {
    status: u16,
    body_bytes: u64,
    places: [Option<Range<usize>>; 3],
    cache: Option<Box<str>>,
}

impl Read {
    /// `None` if it is not one whole answer after which the connection goes on.
    fn of(sent: &[u8]) -> Option<Read> {
        if sent.len() > ANSWER_BYTES_MAX {
            return None;
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(head) = parsed.parse(sent).ok()? else {
            return None;
        };
        let status = parsed.code.filter(|code| *code >= 200 && parsed.version == Some(1))?;
        let base = sent.as_ptr() as usize;
        let place = |value: &[u8]| {
            let from = value.as_ptr() as usize - base;
            from..from + value.len()
        };
        let (mut length, mut places, mut cache) = (None, [const { None }; 3], None);
        for field in parsed.headers.iter() {
            let value = field.value;
            match field.name {
                "content-length" => length = std::str::from_utf8(value).ok()?.parse().ok(),
                "date" => places[Stamp::Date as usize] = Some(place(value)),
                "age" => places[Stamp::Age as usize] = Some(place(value)),
                "ratelimit" => places[Stamp::RateLimit as usize] = Some(place(value)),
                "cache-status" => cache = record::verdict(std::str::from_utf8(value).ok()?),
                "connection" | "transfer-encoding" | "set-cookie" => return None,
                _ => {}
            }
        }
        let body_bytes = match status {
            204 | 304 => 0,
            _ => length?,
        };
        (body_bytes == (sent.len() - head) as u64).then_some(Read {
            status,
            body_bytes,
            places,
            cache: cache.map(Into::into),
        })
    }
}
