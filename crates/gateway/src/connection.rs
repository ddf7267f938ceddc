//! One client connection: its socket as hyper sees it, what is known of its state, and how it is told to end.
//!
//! Time limits between requests are kept by one sweep per worker over all its connections, a few times a second, instead
//! of a timer armed and disarmed for every request: a request then pays two stores for being watched.
//!
//! Between two requests the socket looks whether what arrives is known already ([`crate::express`]); such a request is answered here, and
//! hyper never sees it.

use crate::express::{Given, Known, Ticket};
use crate::guard::{Fault, Framing, Seen};
use crate::record;
use crate::refusal::{self, Malformed, Refusal};
use crate::worker::Worker;
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a connection has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Run,
    /// Finish what is in flight, then close.
    Drain,
    /// Close now.
    Cut,
    /// Close now, saying that the head took too long.
    TooSlow,
}

/// What is known of a connection, shared by its socket, its requests and the sweep. Of one thread.
pub(crate) struct State {
    /// Who is on the other side of the socket.
    pub(crate) peer: IpAddr,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    /// The malformed request, if there was one.
    fault: Cell<Option<Fault>>,
    /// Requests handed to the gateway so far.
    taken: Cell<u32>,
    /// Requests that are being answered.
    in_flight: Cell<u32>,
    /// Answers whose body is still being produced.
    streaming: Cell<u32>,
    /// Answers handed to hyper since it last wrote.
    unwritten: Cell<u32>,
    /// Whether the last request had no body, and its answer was whole when it was handed over.
    plain: Cell<bool>,
    /// The bytes of the request in flight, if its answer may be kept, and what it takes to give it again.
    again: RefCell<Again>,
    /// What the request that has just arrived is refused for, where that is known already.
    pub(crate) refused: RefCell<Option<Box<Refusal>>>,
    /// Whether the connection ends with an answer that the client may not be waiting for yet.
    lingers: Cell<bool>,
    /// Whether a head has begun and not ended.
    inside_head: Cell<bool>,
    /// Since when the socket has taken no more bytes.
    blocked_since: Cell<Option<u64>>,
    /// Since when the request in flight is being answered.
    busy_since: Cell<u64>,
    /// The request in flight has had its time.
    late: Cell<bool>,
    /// The worker's clock when bytes last went either way, in milliseconds.
    moved: Cell<u64>,
    /// The worker's clock when the present head began.
    head_since: Cell<u64>,
}

/// The bytes of a request, and what it takes to give its answer again.
type Again = (Option<Box<[u8]>>, Option<Box<Ticket>>);

impl State {
    pub(crate) fn new(peer: IpAddr, now: u64) -> State {
        State {
            peer,
            order: Cell::new(Order::Run),
            waker: RefCell::default(),
            fault: Cell::default(),
            taken: Cell::default(),
            in_flight: Cell::default(),
            streaming: Cell::default(),
            unwritten: Cell::default(),
            plain: Cell::new(true),
            again: RefCell::default(),
            refused: RefCell::default(),
            lingers: Cell::default(),
            inside_head: Cell::default(),
            blocked_since: Cell::default(),
            busy_since: Cell::default(),
            late: Cell::default(),
            moved: Cell::new(now),
            head_since: Cell::new(now),
        }
    }

    /// A request begins. The fault that its head has, if any.
    pub(crate) fn take(&self, now: u64, has_body: bool) -> Option<Malformed> {
        self.busy_since.set(now);
        self.plain.set(!has_body);
        self.late.set(false);
        let number = self.taken.replace(self.taken.get() + 1);
        self.in_flight.set(self.in_flight.get() + 1);
        self.fault.get().filter(|f| f.request == number).map(|f| f.malformed)
    }

    /// A request has been answered, or its client has gone.
    pub(crate) fn answered(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.unwritten.set(self.unwritten.get() + 1);
    }

    /// The answer just given ends the connection before the client has said all.
    pub(crate) fn linger(&self) {
        self.lingers.set(true);
    }

    pub(crate) fn stream_begins(&self) {
        self.plain.set(false);
        self.streaming.set(self.streaming.get() + 1);
    }

    pub(crate) fn stream_ends(&self) {
        self.streaming.set(self.streaming.get().saturating_sub(1));
    }

    /// Whether nothing of a request or of an answer is on its way: what hyper has been given are `heads` whole requests, and it has
    /// written the answers to all of them.
    fn is_between(&self, heads: u32) -> bool {
        self.order.get() == Order::Run
            && self.plain.get()
            && self.taken.get() == heads
            && self.in_flight.get() == 0
            && self.streaming.get() == 0
            && self.unwritten.get() == 0
            && self.blocked_since.get().is_none()
    }

    /// Whether the answer to the request in flight would be kept.
    pub(crate) fn would_keep(&self) -> bool {
        self.again.borrow().0.is_some()
    }

    /// The answer about to be given may be kept.
    pub(crate) fn keep(&self, ticket: Ticket) {
        self.again.borrow_mut().1 = Some(Box::new(ticket));
    }

    /// Tells the connection something; later orders only ever get harder.
    pub(crate) fn order(&self, order: Order) {
        if self.order.get() == Order::Run || order != Order::Drain {
            self.order.set(order);
        }
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Whether the request in flight has had its time.
    pub(crate) fn is_late(&self) -> bool {
        self.late.get()
    }

    /// Which limit the connection has run into by now, and what it is to be told.
    pub(crate) fn overdue(&self, now: u64, limits: &Watch) -> Option<(Order, &'static str)> {
        if let Some(since) = self.blocked_since.get() {
            return (now.saturating_sub(since) > limits.stall).then_some((Order::Cut, "stalled"));
        }
        if self.in_flight.get() > 0 {
            if now.saturating_sub(self.busy_since.get()) > limits.request && !self.late.replace(true) {
                self.wake();
            }
            return None;
        }
        if self.streaming.get() > 0 {
            return None;
        }
        if self.inside_head.get() {
            return (now.saturating_sub(self.head_since.get()) > limits.head)
                .then_some((Order::TooSlow, "head timeout"));
        }
        (now.saturating_sub(self.moved.get()) > limits.idle).then_some((Order::Cut, "idle"))
    }
}

/// The limits that the sweep looks at, in milliseconds.
pub(crate) struct Watch {
    pub(crate) head: u64,
    pub(crate) idle: u64,
    pub(crate) stall: u64,
    pub(crate) request: u64,
}

/// What reading gives after a fault.
enum End {
    Open,
    Silent,
    Error,
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "chunks are framed wrongly")
}

/// The socket under hyper: bytes in are followed by [`Framing`]; hyper's own bodiless refusals get our JSON.
pub(crate) struct Socket {
    stream: TcpStream,
    framing: Framing,
    state: Rc<State>,
    worker: Rc<Worker>,
    end: End,
    /// What is written instead of hyper's own refusal.
    instead: Owed,
    /// What is left of an answer that hyper does not know of.
    owed: Owed,
}

/// Bytes that have to be written, and how many have been.
#[derive(Default)]
struct Owed {
    bytes: Vec<u8>,
    sent: usize,
}

impl Owed {
    fn of(bytes: Vec<u8>) -> Owed {
        Owed { bytes, sent: 0 }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn poll(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, &self.bytes[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.sent += n,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, state: Rc<State>, worker: Rc<Worker>) -> Socket {
        Socket {
            stream,
            framing: Framing::new(),
            state,
            worker,
            end: End::Open,
            instead: Owed::default(),
            owed: Owed::default(),
        }
    }

    /// Says in one attempt why the connection ends. If the client does not take it, so be it.
    fn last_words(&self, words: &[u8]) {
        let _ = self.stream.try_write(words);
    }

    fn moved(&self) {
        self.state.moved.set(self.worker.now());
    }

    /// Whether `bytes` is hyper refusing a head by itself: no request was handed over for it, and its answer has no body.
    fn is_parsers_own(&self, bytes: &[u8]) -> bool {
        self.state.unwritten.get() == 0
            && self.state.streaming.get() == 0
            && self.state.blocked_since.get().is_none()
            && bytes.len() < 256
            && bytes.starts_with(b"HTTP/1.1 4")
            && bytes.ends_with(b"\r\n\r\n")
            && memchr::memmem::find(bytes, b"content-length: 0\r\n").is_some()
    }

    fn translate(&mut self, bytes: &[u8]) {
        self.state.linger();
        let refusal = match &bytes[9..12] {
            b"431" => Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "GW109",
                "The request's head is too large or has too many fields",
            )
            .hint("The limits are gateway.limits.head and gateway.limits.headers"),
            b"414" => Refusal::new(StatusCode::URI_TOO_LONG, "GW110", "The request's target is too long")
                .hint("The limit is gateway.limits.uri"),
            _ => Refusal::new(StatusCode::BAD_REQUEST, "GW100", "The request is not valid HTTP/1.1")
                .hint("In a URL, blanks and the characters < > \" are percent-encoded: -> is -%3E (curl: -G --data-urlencode)"),
        };
        record::unread(&self.worker, self.state.peer, &refusal);
        self.instead = Owed::of(refusal::raw(&refusal));
    }

    /// Gives the answer to a request that hyper is not told of.
    fn give(&mut self, given: &Given) -> io::Result<()> {
        let stream = &self.stream;
        let unsent = given.give(&self.worker, |bytes| match stream.try_write(bytes) {
            Ok(n) => Ok(bytes[n..].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(bytes.to_vec()),
            Err(error) => Err(error),
        })?;
        given.record(&self.worker, self.state.peer);
        self.owed = Owed::of(unsent);
        self.moved();
        Ok(())
    }

    /// Writes what hyper does not know of. Nothing else is read or written before that.
    fn poll_owed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.owed.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let written = self.owed.poll(&mut self.stream, cx);
        ready!(self.wrote(written.map_ok(|()| 0)))?;
        self.owed = Owed::default();
        Poll::Ready(Ok(()))
    }

    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(_)) => {
                self.moved();
                self.state.blocked_since.set(None);
                self.state.unwritten.set(0);
            }
            Poll::Pending => {
                if self.state.blocked_since.get().is_none() {
                    self.state.blocked_since.set(Some(self.worker.now()));
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.end {
            End::Open => {}
            // The answer is on its way, and ends the connection; a read that fails would overtake it.
            End::Silent => return Poll::Pending,
            End::Error => return Poll::Ready(Err(broken())),
        }
        let before = buf.filled().len();
        let heads = this.framing.heads();
        let is_between = this.framing.is_between() && this.state.is_between(heads);
        let again = loop {
            ready!(this.poll_owed(cx))?;
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            this.moved();
            if !is_between {
                break false;
            }
            let (worker, arrived) = (&this.worker, &buf.filled()[before..]);
            match worker.express.find(worker, this.state.peer, arrived) {
                Known::Answer(given) => {
                    buf.set_filled(before);
                    this.give(&given)?;
                }
                Known::Refused(refusal) => {
                    this.state.refused.replace(Some(refusal));
                    break false;
                }
                Known::Again => break true,
                Known::Not => break false,
            }
        };
        let was_inside = this.framing.inside_head();
        let (seen, passed) = this.framing.follow(&buf.filled()[before..]);
        let is_one = this.framing.is_between() && this.framing.heads() == heads + 1;
        let request = (again && is_one).then(|| buf.filled()[before..].into());
        this.state.again.replace((request, None));
        // What comes after a fault is not for the parser to see.
        buf.set_filled(before + passed);
        match seen {
            Seen::Fine => {}
            Seen::Head(fault) => {
                this.state.fault.set(Some(fault));
                this.end = End::Silent;
            }
            Seen::Body => {
                this.end = End::Error;
                if passed == 0 {
                    return Poll::Ready(Err(broken()));
                }
            }
        }
        let inside = this.framing.inside_head();
        if inside && (!was_inside || heads != this.framing.heads()) {
            this.state.head_since.set(this.worker.now());
        }
        this.state.inside_head.set(inside);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_owed(cx))?;
        if this.instead.is_empty() && this.is_parsers_own(buf) {
            this.translate(buf);
        }
        if !this.instead.is_empty() {
            let result = this.instead.poll(&mut this.stream, cx).map_ok(|()| buf.len());
            return this.wrote(result);
        }
        if this.state.would_keep()
            && let (Some(request), Some(ticket)) = this.state.again.take()
        {
            this.worker.express.keep(request, buf, *ticket);
        }
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [one] = bufs {
            return self.poll_write(cx, one);
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.owed.is_empty() {
            // Its client may have asked for more, and an end with that unread would take the answer with it.
            self.state.linger();
        }
        ready!(self.poll_owed(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection as hyper drives it, with the means to stop it from outside.
pub(crate) struct Driven<S>
where
    S: hyper::service::HttpService<hyper::body::Incoming>,
{
    inner: Option<hyper::server::conn::http1::Connection<hyper_util::rt::TokioIo<Socket>, S>>,
    state: Rc<State>,
    draining: bool,
}

impl<S, B> Driven<S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(crate) fn new(
        inner: hyper::server::conn::http1::Connection<hyper_util::rt::TokioIo<Socket>, S>,
        state: Rc<State>,
    ) -> Driven<S> {
        Driven {
            inner: Some(inner),
            state,
            draining: false,
        }
    }
}

impl<S, B> Future for Driven<S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The stream, if its client may still be sending what nobody will answer.
    type Output = Option<TcpStream>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<TcpStream>> {
        let this = &mut *self;
        {
            let mut waker = this.state.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(None);
        };
        match this.state.order.get() {
            Order::Run => {}
            Order::Drain => {
                if !this.draining {
                    this.draining = true;
                    Pin::new(&mut *inner).graceful_shutdown();
                }
            }
            order => {
                if let Some(inner) = this.inner.take()
                    && order == Order::TooSlow
                {
                    let refusal = Refusal::new(
                        StatusCode::REQUEST_TIMEOUT,
                        "GW111",
                        "The request's head took too long to arrive",
                    )
                    .hint("The limit is gateway.limits.head_timeout");
                    let socket = inner.into_parts().io.into_inner();
                    record::unread(&socket.worker, socket.state.peer, &refusal);
                    socket.last_words(&refusal::raw(&refusal));
                    return Poll::Ready(Some(socket.stream));
                }
                return Poll::Ready(None);
            }
        }
        std::task::ready!(Pin::new(inner).poll(cx)).ok();
        let ended = this.inner.take().filter(|_| this.state.lingers.get());
        Poll::Ready(ended.map(|connection| connection.into_parts().io.into_inner().stream))
    }
}
