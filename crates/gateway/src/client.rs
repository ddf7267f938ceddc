//! The HTTP/1.1 client towards upstreams (RFC 9112), polled by the request's own task, with a pool of connections per worker.
//!
//! A message to send is bytes: the head, and the body if it is at hand. A longer body streams after it, while the answer
//! is already being waited for, because servers may answer before they have read everything. What comes back is parsed
//! without copying header values. A connection goes back to its pool only after a complete answer to a complete request
//! with nothing left over; whatever else happens to it closes it, which also tells the server that its client has gone.

use crate::answer::{AnswerHead, Framing, Taken, parse_head, take_frame};
use crate::balance::InFlight;
use crate::refusal::{self, Refusal};
use crate::upload::{Upload, UploadError};
use bytes::{Bytes, BytesMut};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

const READ_BYTES: usize = 16 << 10;

/// One connection to a server.
pub(crate) struct Link {
    stream: TcpStream,
    buf: BytesMut,
    /// Whether it has carried a request before.
    reused: bool,
    idle_since: u64,
    /// Ends the wait for an answer. It stays armed between requests, as a timer that runs is put off for next to nothing.
    alarm: Pin<Box<Sleep>>,
}

/// The idle connections of one worker, per server.
pub(crate) struct Pools {
    idle: RefCell<Vec<Vec<Link>>>,
    clock: Rc<Cell<u64>>,
}

/// How a server is reached and its connections are kept.
pub(crate) struct Server<'s> {
    /// Its number among all servers of the gateway.
    pub(crate) number: usize,
    pub(crate) address: &'s str,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) idle_max: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection, so no byte was sent.
    Connect(String),
    /// A pooled connection had been closed by the server before it could have read anything of this request.
    Stale,
    /// The answer broke off or was no HTTP.
    Broken(String),
    /// No answer in time.
    Timeout,
    /// It is the client's request that failed, not the server.
    Client(Refusal),
}

/// What follows an answer's head.
pub(crate) enum AnswerRest {
    /// The whole body; the connection is free again.
    Full(Bytes),
    Stream(Box<AnswerBody>),
}

impl Pools {
    pub(crate) fn new(servers: usize, clock: Rc<Cell<u64>>) -> Pools {
        Pools {
            idle: RefCell::new((0..servers).map(|_| Vec::new()).collect()),
            clock,
        }
    }

    /// The youngest idle connection that is still open. `sure` asks the kernel, for requests that must not be sent twice.
    pub(crate) fn take(&self, server: &Server<'_>, sure: bool) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(server.number)?;
        while let Some(link) = links.pop() {
            if self.clock.get().saturating_sub(link.idle_since) > server.idle_timeout.as_millis() as u64 {
                // Last in, first out: all others are older.
                links.clear();
                return None;
            }
            if link.is_open(sure) {
                return Some(link);
            }
        }
        None
    }

    fn give(&self, server: usize, idle_max: usize, mut link: Link) {
        let mut idle = self.idle.borrow_mut();
        let Some(links) = idle.get_mut(server) else { return };
        if links.len() < idle_max && link.buf.is_empty() {
            link.reused = true;
            link.idle_since = self.clock.get();
            links.push(link);
        }
    }

    /// Closes connections that their server has closed, or that have been idle for longer than `timeout` of their server.
    pub(crate) fn sweep(&self, timeout: impl Fn(usize) -> Duration) {
        let now = self.clock.get();
        for (server, links) in self.idle.borrow_mut().iter_mut().enumerate() {
            let timeout = timeout(server).as_millis() as u64;
            links.retain(|link| now.saturating_sub(link.idle_since) <= timeout && link.is_open(false));
        }
    }
}

impl Link {
    pub(crate) async fn open(server: &Server<'_>) -> Result<Link, Failure> {
        let connecting = TcpStream::connect(server.address);
        match tokio::time::timeout(server.connect_timeout, connecting).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                Ok(Link {
                    stream,
                    buf: BytesMut::new(),
                    reused: false,
                    idle_since: 0,
                    alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
                })
            }
            Ok(Err(error)) => Err(Failure::Connect(format!("{}: {error}", server.address))),
            Err(_) => Err(Failure::Connect(format!(
                "{}: no connection in {:?}",
                server.address, server.connect_timeout
            ))),
        }
    }

    /// Nothing may arrive on an idle connection: neither its end nor an answer nobody asked for.
    fn is_open(&self, sure: bool) -> bool {
        if sure {
            // The runtime may not have heard of an end that the kernel already knows.
            let mut byte = [MaybeUninit::uninit(); 1];
            let socket = socket2::SockRef::from(&self.stream);
            return matches!(socket.peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        }
        matches!(self.stream.try_read(&mut [0; 1]), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buf.reserve(READ_BYTES);
        pin!(self.stream.read_buf(&mut self.buf)).poll(cx)
    }

    /// Sends `message` and then what `upload` yields, and waits for the answer's head. What is left of `upload` is to be sent
    /// while the answer's body is read; the last of what is returned is whether the connection can be used again.
    pub(crate) async fn exchange(
        &mut self,
        message: &[u8],
        upload: &mut Option<Box<Upload>>,
        to_head: bool,
        deadline: Instant,
    ) -> Result<(AnswerHead, Framing, bool), Failure> {
        let mut written = 0;
        let mut writable = true;
        // The server's time begins when it has the request: while a body arrives, each of its parts is waited for.
        let servers_time = deadline.saturating_duration_since(Instant::now());
        let mut progress = None;
        let client_is_slow = Cell::new(false);
        let mut poll_head = |link: &mut Link, cx: &mut Context<'_>| {
            while writable && written < message.len() {
                match Pin::new(&mut link.stream).poll_write(cx, &message[written..]) {
                    Poll::Ready(Ok(n)) if n > 0 => written += n,
                    // The answer may be there all the same: a server may refuse and close before it has read all.
                    Poll::Ready(_) => writable = false,
                    Poll::Pending => break,
                }
            }
            if writable
                && written == message.len()
                && let Some(upload) = upload
            {
                match upload.poll(cx, &mut link.stream) {
                    Poll::Ready(Err(UploadError::Client(refusal))) => {
                        return Poll::Ready(Err(Failure::Client(refusal)));
                    }
                    Poll::Ready(Err(UploadError::Server)) => writable = false,
                    _ => {}
                }
                let now = upload.progress();
                if progress.replace(now) != Some(now) {
                    client_is_slow.set(now.1.is_some());
                    link.alarm
                        .as_mut()
                        .reset(Instant::now() + now.1.unwrap_or(servers_time));
                }
            }
            loop {
                match link.poll_more(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(n)) if n > 0 => match parse_head(&mut link.buf, to_head) {
                        Ok(Some(head)) => return Poll::Ready(Ok(head)),
                        Ok(None) => {}
                        Err(why) => return Poll::Ready(Err(Failure::Broken(why))),
                    },
                    Poll::Ready(_) if link.reused && link.buf.is_empty() => return Poll::Ready(Err(Failure::Stale)),
                    Poll::Ready(Ok(_)) => {
                        return Poll::Ready(Err(Failure::Broken("the connection ended before the answer".into())));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Broken(error.to_string()))),
                }
            }
        };
        self.alarm.as_mut().reset(deadline);
        let (head, framing, keep) = poll_fn(|cx| match poll_head(self, cx) {
            Poll::Pending => self.alarm.as_mut().poll(cx).map(|()| match client_is_slow.get() {
                true => Err(Failure::Client(refusal::body_too_slow())),
                false => Err(Failure::Timeout),
            }),
            answered => answered,
        })
        .await?;
        if !writable || upload.as_ref().is_some_and(|u| u.is_done()) {
            *upload = None;
        }
        Ok((head, framing, keep && writable && written == message.len()))
    }

    /// What follows a head that [`Link::exchange`] has returned.
    pub(crate) fn rest(
        mut self,
        framing: Framing,
        keep: bool,
        upload: Option<Box<Upload>>,
        pools: &Rc<Pools>,
        server: &Server<'_>,
    ) -> AnswerRest {
        match framing {
            // The whole body has arrived together with the head.
            Framing::Length(length) if self.buf.len() as u64 >= length => {
                let bytes = self.buf.split_to(length as usize).freeze();
                if keep && upload.is_none() {
                    pools.give(server.number, server.idle_max, self);
                }
                AnswerRest::Full(bytes)
            }
            framing => AnswerRest::Stream(Box::new(AnswerBody {
                link: Some(self),
                framing,
                keep,
                upload,
                pools: pools.clone(),
                server: server.number,
                idle_max: server.idle_max,
                read_timeout: server.read_timeout,
                pause: None,
                in_flight: None,
            })),
        }
    }
}

/// The body of an answer on its way.
pub(crate) struct AnswerBody {
    link: Option<Link>,
    framing: Framing,
    keep: bool,
    /// The rest of the request's body, if the server answers before it has all of it.
    upload: Option<Box<Upload>>,
    pools: Rc<Pools>,
    server: usize,
    idle_max: usize,
    read_timeout: Duration,
    /// Runs while nothing arrives.
    pause: Option<Pin<Box<Sleep>>>,
    in_flight: Option<InFlight>,
}

impl AnswerBody {
    /// Counts the request as in flight until this body ends.
    pub(crate) fn hold(&mut self, in_flight: InFlight) {
        self.in_flight = Some(in_flight);
    }

    /// How many bytes are to come, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            _ => None,
        }
    }

    fn release(&mut self) {
        if let Some(link) = self.link.take()
            && self.keep
            && self.upload.as_ref().is_none_or(|u| u.is_done())
        {
            self.pools.give(self.server, self.idle_max, link);
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let next = self.poll_inner(cx);
        match &next {
            Poll::Pending => {
                let timeout = self.read_timeout;
                let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                ready!(pause.as_mut().poll(cx));
                self.link = None;
                Poll::Ready(Some(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the server paused for too long",
                ))))
            }
            Poll::Ready(Some(Ok(_))) => {
                self.pause = None;
                next
            }
            Poll::Ready(_) => {
                self.link = None;
                self.in_flight = None;
                next
            }
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let Some(link) = self.link.as_mut() else {
                return Poll::Ready(None);
            };
            if let Some(upload) = &mut self.upload {
                match upload.poll(cx, &mut link.stream) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => self.upload = None,
                    Poll::Ready(Err(UploadError::Server)) => {
                        self.keep = false;
                        self.upload = None;
                    }
                    Poll::Ready(Err(UploadError::Client(refusal))) => {
                        return Poll::Ready(Some(Err(io::Error::other(refusal.message.clone()))));
                    }
                }
            }
            match take_frame(&mut self.framing, &mut link.buf) {
                Ok(Taken::Data(bytes)) => {
                    if self.framing == Framing::Length(0) {
                        self.release();
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Ok(Taken::End) => {
                    self.framing = Framing::Length(0);
                    self.release();
                    return Poll::Ready(None);
                }
                Ok(Taken::More) => {}
                Err(why) => return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, why)))),
            }
            if ready!(link.poll_more(cx))? == 0 {
                return Poll::Ready(match self.framing {
                    Framing::Close => {
                        self.framing = Framing::Length(0);
                        None
                    }
                    _ => Some(Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server's answer broke off",
                    ))),
                });
            }
        }
    }
}

impl Failure {
    /// What the client is told in the end.
    pub(crate) fn refusal(self, upstream: &str) -> Refusal {
        match self {
            Failure::Connect(why) => refusal::upstream_unreachable(upstream, &why),
            Failure::Stale => refusal::upstream_broken(upstream, "the connection ended before the answer"),
            Failure::Broken(why) => refusal::upstream_broken(upstream, &why),
            Failure::Timeout => refusal::upstream_timeout(upstream),
            Failure::Client(refusal) => refusal,
        }
    }

    /// The same in a word or two, for logs.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Failure::Connect(why) | Failure::Broken(why) => why,
            Failure::Stale => "a pooled connection had ended",
            Failure::Timeout => "no answer in time",
            Failure::Client(_) => "the client's request failed",
        }
    }
}
