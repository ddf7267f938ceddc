//! The HTTP/1.1 client towards upstreams (RFC 9112), polled by the request's own task, with a pool of connections per worker.
//!
//! A message to send is bytes: the head, and the body if it is at hand. A longer body streams after it, while the answer
//! is already being waited for, because servers may answer before they have read everything. What comes back is parsed
//! without copying header values. A connection goes back to its pool only after a complete answer to a complete request
//! with nothing left over; whatever else happens to it closes it, which also tells the server that its client has gone.

use crate::balance::InFlight;
use crate::refusal::{self, Refusal};
use crate::upload::{Upload, UploadError};
use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
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

/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header fields of an answer.
const HEADERS_MAX: usize = 128;
/// Most bytes of a chunk's size line or of a trailer section.
const CHUNK_LINE_MAX: usize = 8 << 10;
const READ_BYTES: usize = 16 << 10;

/// One connection to a server.
pub(crate) struct Link {
    stream: TcpStream,
    buf: BytesMut,
    /// Whether it has carried a request before.
    reused: bool,
    idle_since: u64,
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

/// An answer's head.
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// What follows an answer's head.
pub(crate) enum AnswerRest {
    /// The whole body; the connection is free again.
    Full(Bytes),
    Stream(AnswerBody),
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
        if links.len() < idle_max {
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

    /// Sends `message` and then what `upload` yields, and waits for the answer's head.

    pub(crate) async fn exchange(
        mut self,
        message: &[u8],
        mut upload: Option<Upload>,
        to_head: bool,
        deadline: Instant,
        pools: &Rc<Pools>,
        server: &Server<'_>,
    ) -> Result<(AnswerHead, AnswerRest), Failure> {
        let mut written = 0;
        let mut writable = true;
        let answered = poll_fn(|cx| {
            while writable && written < message.len() {
                match Pin::new(&mut self.stream).poll_write(cx, &message[written..]) {
                    Poll::Ready(Ok(n)) if n > 0 => written += n,
                    // The answer may be there all the same: a server may refuse and close before it has read all.
                    Poll::Ready(_) => writable = false,
                    Poll::Pending => break,
                }
            }
            if writable
                && written == message.len()
                && let Some(upload) = &mut upload
                && let Poll::Ready(Err(error)) = upload.poll(cx, &mut self.stream)
            {
                match error {
                    UploadError::Client(refusal) => return Poll::Ready(Err(Failure::Client(refusal))),
                    UploadError::Server => writable = false,
                }
            }
            loop {
                match self.poll_more(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(n)) if n > 0 => match parse_head(&mut self.buf, to_head) {
                        Ok(Some(head)) => return Poll::Ready(Ok(head)),
                        Ok(None) => {}
                        Err(why) => return Poll::Ready(Err(Failure::Broken(why))),
                    },
                    Poll::Ready(_) if self.reused && self.buf.is_empty() => return Poll::Ready(Err(Failure::Stale)),
                    Poll::Ready(Ok(_)) => {
                        return Poll::Ready(Err(Failure::Broken("the connection ended before the answer".into())));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Failure::Broken(error.to_string()))),
                }
            }
        });
        let Ok(answered) = tokio::time::timeout_at(deadline, answered).await else {
            return Err(Failure::Timeout);
        };
        let (head, framing, keep) = answered?;
        let upload = upload.filter(|u| !u.is_done());
        let keep = keep && writable && written == message.len();
        let mut body = AnswerBody {
            link: Some(self),
            framing,
            keep,
            upload: if writable { upload } else { None },
            pools: pools.clone(),
            server: server.number,
            idle_max: server.idle_max,
            read_timeout: server.read_timeout,
            pause: None,
            in_flight: None,
        };
        let rest = match body.take_whole() {
            Some(bytes) => AnswerRest::Full(bytes),
            None => AnswerRest::Stream(body),
        };
        Ok((head, rest))
    }
}

/// How an answer's body ends (RFC 9112 §6.3).
#[derive(Debug, PartialEq)]
enum Framing {
    /// So many bytes to go.
    Length(u64),
    Chunked(Chunk),
    /// With the connection.
    Close,
}

#[derive(Debug, PartialEq)]
enum Chunk {
    Size,
    Data(u64),
    End,
    Trailers,
}

/// Takes a head off the front of `buf` once it is complete; interim answers are skipped.
fn parse_head(buf: &mut BytesMut, to_head: bool) -> Result<Option<(AnswerHead, Framing, bool)>, String> {
    loop {
        let mut spans = [(0usize, 0usize, 0usize, 0usize); HEADERS_MAX];
        let (length, status, count, version) = {
            let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut parsed = httparse::Response::new(&mut fields);
            let length = match parsed.parse(buf) {
                Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
                Ok(httparse::Status::Partial) if buf.len() < HEAD_BYTES_MAX => return Ok(None),
                Ok(_) => return Err(format!("a head of more than {HEAD_BYTES_MAX} bytes")),
                Err(error) => return Err(format!("not HTTP: {error}")),
            };
            let base = buf.as_ptr() as usize;
            for (span, field) in spans.iter_mut().zip(parsed.headers.iter()) {
                let (name, value) = (
                    field.name.as_ptr() as usize - base,
                    field.value.as_ptr() as usize - base,
                );
                *span = (name, name + field.name.len(), value, value + field.value.len());
            }
            (
                length,
                parsed.code.unwrap_or(0),
                parsed.headers.len(),
                parsed.version.unwrap_or(0),
            )
        };
        let head = buf.split_to(length).freeze();
        let status = StatusCode::from_u16(status).map_err(|_| format!("status {status}"))?;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("101 to a request that asked for no upgrade".into());
        }
        if status.is_informational() {
            if buf.is_empty() {
                return Ok(None);
            }
            continue;
        }
        return fields(&head, &spans[..count], status, version, to_head).map(Some);
    }
}

fn fields(
    head: &Bytes,
    spans: &[(usize, usize, usize, usize)],
    status: StatusCode,
    version: u8,
    to_head: bool,
) -> Result<(AnswerHead, Framing, bool), String> {
    let mut headers = HeaderMap::with_capacity(spans.len() + 4);
    let mut length: Option<u64> = None;
    let mut encodings = 0;
    let mut chunked = false;
    let mut keep = version == 1;
    let mut named = Vec::new();
    for &(name_from, name_to, from, to) in spans {
        let name = HeaderName::from_bytes(&head[name_from..name_to]).map_err(|_| "a header's name")?;
        let value = HeaderValue::from_maybe_shared(head.slice(from..to)).map_err(|_| "a header's value")?;
        if name == CONTENT_LENGTH {
            for part in value.as_bytes().split(|b| *b == b',') {
                let part = part.trim_ascii();
                let digits = !part.is_empty() && part.iter().all(u8::is_ascii_digit);
                let number = std::str::from_utf8(part)
                    .ok()
                    .filter(|_| digits)
                    .and_then(|t| t.parse().ok());
                if number.is_none() || length.is_some_and(|l| Some(l) != number) {
                    return Err("Content-Length".into());
                }
                length = number;
            }
            continue;
        }
        if name == TRANSFER_ENCODING {
            encodings += 1;
            chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            continue;
        }
        if name == CONNECTION {
            for token in value.as_bytes().split(|b| *b == b',') {
                match token.trim_ascii() {
                    t if t.eq_ignore_ascii_case(b"close") => keep = false,
                    t if t.eq_ignore_ascii_case(b"keep-alive") => keep |= version == 0,
                    t => named.extend(HeaderName::from_bytes(t)),
                }
            }
            continue;
        }
        if crate::transform::is_hop_by_hop(&name) {
            continue;
        }
        headers.append(name, value);
    }
    for name in named {
        headers.remove(name);
    }
    if encodings > 0 {
        // Both together is how answers are smuggled: the length is not believed, nor the connection afterwards.
        if length.take().is_some() {
            keep = false;
        }
        if encodings > 1 || !chunked || version == 0 {
            return Err("Transfer-Encoding".into());
        }
    }
    let bodiless = to_head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if let Some(length) = length
        && status != StatusCode::NO_CONTENT
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let framing = match (bodiless, chunked, length) {
        (true, ..) => Framing::Length(0),
        (_, true, _) => Framing::Chunked(Chunk::Size),
        (_, _, Some(length)) => Framing::Length(length),
        _ => {
            keep = false;
            Framing::Close
        }
    };
    Ok((AnswerHead { status, headers }, framing, keep))
}

/// The body of an answer on its way.
pub(crate) struct AnswerBody {
    link: Option<Link>,
    framing: Framing,
    keep: bool,
    /// The rest of the request's body, if the server answers before it has all of it.
    upload: Option<Upload>,
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

    /// The whole body, if it has arrived together with the head.
    fn take_whole(&mut self) -> Option<Bytes> {
        let Framing::Length(left) = self.framing else {
            return None;
        };
        let link = self.link.as_mut()?;
        if (link.buf.len() as u64) < left {
            return None;
        }
        let bytes = link.buf.split_to(left as usize).freeze();
        self.framing = Framing::Length(0);
        self.release();
        Some(bytes)
    }

    fn release(&mut self) {
        if let Some(link) = self.link.take()
            && self.keep
            && link.buf.is_empty()
            && self.upload.as_ref().is_none_or(Upload::is_done)
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
                        return Poll::Ready(Some(Err(io::Error::other(refusal.message))));
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

#[derive(Debug, PartialEq)]
enum Taken {
    Data(Bytes),
    End,
    More,
}

/// The next bytes of a body that are in `buf`.
fn take_frame(framing: &mut Framing, buf: &mut BytesMut) -> Result<Taken, &'static str> {
    match framing {
        Framing::Length(0) => Ok(Taken::End),
        Framing::Close if buf.is_empty() => Ok(Taken::More),
        Framing::Close => Ok(Taken::Data(buf.split().freeze())),
        Framing::Length(_) if buf.is_empty() => Ok(Taken::More),
        Framing::Length(left) => {
            let step = (*left).min(buf.len() as u64);
            *left -= step;
            Ok(Taken::Data(buf.split_to(step as usize).freeze()))
        }
        Framing::Chunked(chunk) => loop {
            match chunk {
                Chunk::Size => {
                    let Some(line) = take_line(buf)? else {
                        return Ok(Taken::More);
                    };
                    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
                    let rest = line[digits..].trim_ascii_start();
                    if !(1..=15).contains(&digits) || !(rest.is_empty() || rest[0] == b';') {
                        return Err("a chunk's size");
                    }
                    let size = std::str::from_utf8(&line[..digits])
                        .ok()
                        .and_then(|t| u64::from_str_radix(t, 16).ok());
                    *chunk = match size {
                        Some(0) => Chunk::Trailers,
                        Some(size) => Chunk::Data(size),
                        None => return Err("a chunk's size"),
                    };
                }
                Chunk::Data(_) if buf.is_empty() => return Ok(Taken::More),
                Chunk::Data(left) => {
                    let step = (*left).min(buf.len() as u64);
                    *left -= step;
                    if *left == 0 {
                        *chunk = Chunk::End;
                    }
                    return Ok(Taken::Data(buf.split_to(step as usize).freeze()));
                }
                Chunk::End => {
                    if buf.len() < 2 {
                        return Ok(Taken::More);
                    }
                    if &buf[..2] != b"\r\n" {
                        return Err("the end of a chunk");
                    }
                    buf.advance(2);
                    *chunk = Chunk::Size;
                }
                // Trailers are not passed on (RFC 9110 §6.5.1 allows that); they only have to end.
                Chunk::Trailers => match take_line(buf)? {
                    Some(line) if line.is_empty() => return Ok(Taken::End),
                    Some(_) => {}
                    None => return Ok(Taken::More),
                },
            }
        },
    }
}

fn take_line(buf: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
    match memchr::memchr(b'\n', buf) {
        None if buf.len() > CHUNK_LINE_MAX => Err("a line between chunks is too long"),
        None => Ok(None),
        Some(end) if end == 0 || buf[end - 1] != b'\r' => Err("a line between chunks without CR"),
        Some(end) => {
            let mut line = buf.split_to(end + 1);
            line.truncate(end - 1);
            Ok(Some(line.freeze()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, to_head: bool) -> Result<Option<(u16, Framing, bool, String)>, String> {
        let mut buf = BytesMut::from(text);
        let parsed = parse_head(&mut buf, to_head)?;
        Ok(parsed.map(|(head, framing, keep)| {
            let names: Vec<_> = head
                .headers
                .iter()
                .map(|(n, v)| format!("{n}={}", v.to_str().unwrap_or("?")))
                .collect();
            (head.status.as_u16(), framing, keep, names.join(" "))
        }))
    }

    #[test]
    fn framing_follows_the_rules() {
        let chunked = || Framing::Chunked(Chunk::Size);
        for (text, to_head, framing, keep, headers) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\n",
                false,
                Framing::Length(5),
                true,
                "a=b content-length=5",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                true,
                Framing::Length(0),
                true,
                "content-length=5",
            ),
            (
                "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n",
                false,
                Framing::Length(0),
                true,
                "",
            ),
            (
                "HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n",
                false,
                Framing::Length(0),
                true,
                "content-length=5",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                false,
                chunked(),
                true,
                "",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
                chunked(),
                false,
                "",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", false, Framing::Close, false, ""),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
                false,
                Framing::Length(1),
                false,
                "content-length=1",
            ),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
                false,
                Framing::Length(1),
                true,
                "content-length=1",
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: Close, X\r\nX: 1\r\nUpgrade: a\r\nContent-Length: 1\r\n\r\n",
                false,
                Framing::Length(1),
                false,
                "content-length=1",
            ),
            (
                "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                false,
                Framing::Length(0),
                true,
                "content-length=0",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\n",
                false,
                Framing::Length(4),
                true,
                "content-length=4",
            ),
        ] {
            let (_, got, kept, names) = parse(text, to_head).expect(text).expect(text);
            assert_eq!((got, kept, names.as_str()), (framing, keep, headers), "{text}");
        }
        for partial in ["HTTP/1.1 200 OK\r\nA: b", "HTTP/1.1 100 C\r\n\r\n", "HT"] {
            assert_eq!(parse(partial, false), Ok(None), "{partial}");
        }
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
        ] {
            assert!(parse(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn chunks_come_out_whole_however_they_arrive() {
        let wire = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: a\r\n\r\n";
        for step in 1..=wire.len() {
            let (mut framing, mut buf, mut out, mut ended) =
                (Framing::Chunked(Chunk::Size), BytesMut::new(), Vec::new(), false);
            for part in wire.chunks(step) {
                buf.extend_from_slice(part);
                loop {
                    match take_frame(&mut framing, &mut buf).expect("good chunks") {
                        Taken::Data(bytes) => out.extend_from_slice(&bytes),
                        Taken::More => break,
                        Taken::End => {
                            ended = true;
                            break;
                        }
                    }
                }
            }
            assert_eq!(
                (out.as_slice(), ended, buf.is_empty()),
                (&b"hello world"[..], true, true),
                "in steps of {step}"
            );
        }
        for bad in [
            "x\r\n",
            "5\nhello\r\n",
            "5\r\nhelloX\r\n",
            "\r\n",
            "fffffffffffffffff\r\n",
            "5 5\r\n",
        ] {
            let (mut framing, mut buf) = (Framing::Chunked(Chunk::Size), BytesMut::from(bad));
            let mut last = take_frame(&mut framing, &mut buf);
            while matches!(last, Ok(Taken::Data(_))) {
                last = take_frame(&mut framing, &mut buf);
            }
            assert!(last.is_err(), "{bad:?}");
        }
    }
}
