//! Requests that come again, byte for byte, and whose answer still stands: they are answered from the socket, before they are parsed.
//!
//! What a request means follows from its bytes, from the address that it comes from and from the configuration, and from two things that
//! change: whether the caller's token still holds, and whether the service would answer the same. Both are asked each time. So a worker
//! keeps answers as they went out, under the bytes that asked for them, and gives one again after stamping `Date` and `Age`; the record
//! of the request and its metrics are those of any other.
//!
//! Only what a service has at hand is kept ([`crate::Standing`]), only GETs without a body, and only the second time that it is asked for.

use crate::config::Standing;
use crate::record;
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
    kept: RefCell<Cache<Box<[u8]>, Rc<Kept>, ByBytes, ahash::RandomState>>,
    /// Hashes of requests that have come once, each at its place.
    once: Box<[Cell<u64>]>,
    hasher: ahash::RandomState,
    given: Counter,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Rc<Kept>> for ByBytes {
    fn weight(&self, request: &Box<[u8]>, kept: &Rc<Kept>) -> u64 {
        (request.len() + kept.answer.borrow().bytes.len() + size_of::<Kept>()) as u64
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
    answer: RefCell<Answer>,
}

struct Answer {
    bytes: Vec<u8>,
    /// Where the values of `Date` and `Age` stand.
    date: Range<usize>,
    age: Option<Range<usize>>,
    /// What they say, in seconds.
    dated: u64,
    aged: u32,
}

/// What is known of a request.
pub(crate) enum Known {
    /// Its answer, which stands; it is `age` seconds old.
    Answer(Rc<Kept>, u32),
    /// It has come before: its answer may be kept.
    Again,
    /// Nothing.
    Not,
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
            once: if bytes_max == 0 { Box::default() } else { vec![Cell::new(0); ONCE].into() },
            hasher: ahash::RandomState::new(),
            given: mainstay_telemetry::counter("mainstay_express_answers_total", &[]),
        }
    }

    /// Looks up what has arrived between two requests.
    pub(crate) fn find(&self, worker: &Worker, peer: IpAddr, arrived: &[u8], now: Instant) -> Known {
        if self.once.is_empty()
            || arrived.len() > REQUEST_BYTES_MAX
            || !arrived.starts_with(b"GET ")
            || !arrived.ends_with(b"\r\n\r\n")
        {
            return Known::Not;
        }
        let kept = self.kept.borrow().get(arrived).cloned();
        if let Some(kept) = kept {
            let ticket = &kept.ticket;
            if ticket.via.is_none_or(|(via, _)| via == peer) && ticket.identity_holds(worker) {
                if let Some(age) = ticket.standing.age(now) {
                    return Known::Answer(kept, age);
                }
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
            answer: RefCell::new(Answer {
                bytes: sent.to_vec(),
                date: read.date,
                age: read.age,
                // Stamped before it is given.
                dated: 0,
                aged: u32::MAX,
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
}

impl Kept {
    /// Hands the bytes to send to `write`, stamped.
    pub(crate) fn give<T>(&self, worker: &Worker, age: u32, write: impl FnOnce(&[u8]) -> T) -> T {
        let mut answer = self.answer.borrow_mut();
        let now = worker.unix_seconds();
        if answer.dated != now {
            answer.dated = now;
            let date = httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(now)).to_string();
            let place = answer.date.clone();
            answer.replace(place, date.as_bytes());
        }
        if answer.aged != age
            && let Some(place) = answer.age.clone()
        {
            answer.aged = age;
            let length = answer.replace(place.clone(), itoa::Buffer::new().format(age).as_bytes());
            answer.age = Some(place.start..place.start + length);
            if answer.date.start > place.start {
                let moved = answer.date.start + length - place.len();
                answer.date = moved..moved + answer.date.len();
            }
        }
        write(&answer.bytes)
    }

    /// The access record and the metrics of one more request.
    pub(crate) fn record(&self, worker: &Worker, peer: IpAddr, begin: Instant) {
        worker.express.given.inc();
        let ticket = &self.ticket;
        let route = &worker.site.routes[ticket.route];
        let total = begin.elapsed();
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
            path: &self.path,
            route: &route.name,
            status: self.status,
            bytes: self.body_bytes,
            peer: ticket.via.map_or(peer, |(_, client)| client),
            role: ticket.identity.as_ref().map(|i| &*i.role),
            user: ticket.identity.as_ref().and_then(|i| i.subject()),
            code: None,
            upstream: None,
            server: None,
            retries: 0,
            cache: self.cache.as_deref(),
            aborted: false,
            trace,
            total,
            phases: &phases,
        };
        emit(&Fact::Request(&record, &route.metrics));
    }
}

impl Answer {
    /// Puts `value` in a place, and says how long it is.
    fn replace(&mut self, place: Range<usize>, value: &[u8]) -> usize {
        if place.len() == value.len() {
            self.bytes[place].copy_from_slice(value);
        } else {
            self.bytes.splice(place, value.iter().copied());
        }
        value.len()
    }
}

/// What an answer's bytes say.
struct Read {
    status: u16,
    body_bytes: u64,
    date: Range<usize>,
    age: Option<Range<usize>>,
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
        let (mut length, mut date, mut age, mut cache) = (None, None, None, None);
        for field in parsed.headers.iter() {
            let value = field.value;
            match field.name {
                "content-length" => length = std::str::from_utf8(value).ok()?.parse().ok(),
                "date" => date = Some(place(value)),
                "age" => age = Some(place(value)),
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
            // Twenty-nine bytes, always (RFC 9110 §5.6.7).
            date: date.filter(|d| d.len() == 29)?,
            age,
            cache: cache.map(Into::into),
        })
    }
}
