//! One connection and the task that drives it. Whoever asks writes a batch into the buffer and waits; the task writes the buffer out,
//! cuts what comes back into answers and hands each to who waits longest. Batches of one turn go out in one system call.

use super::batch::{Batch, Parsed, Statements};
use super::cancel::Cancel;
use super::connect::{Opened, Socket};
use super::queue::{Lost, Queue, Together, Told};
use super::response::{Message, Response, ServerError};
use super::tls::Tls;
use bytes::{Buf, BytesMut};
use mainstay_model::Result;
use parking_lot::Mutex;
use postgres_protocol::message::frontend;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;

/// Room for reading that is kept free, and how much more is made when it is used up.
pub(super) const READ_BYTES: usize = 4 << 10;
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// Who waits longer for a server that takes no connections waits in vain.
const SILENT: Duration = Duration::from_secs(5);

/// An answer that is smaller is never too large.
const LOOKED_AT_FROM: usize = 32 << 10;

/// A connection. Cheap to clone; it ends when the last clone goes and everybody has been answered.
#[derive(Clone)]
pub(crate) struct Connection {
    handle: Arc<Handle>,
}

/// A connection that is not kept alive by being known.
pub(crate) struct WeakConnection(Weak<Handle>);

struct Handle(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    in_flight: AtomicUsize,
    /// How many have been answered.
    answered: AtomicUsize,
    closed: AtomicBool,
    /// When a query on it was last cancelled, in milliseconds since `began`; a cancellation may hit the one after.
    cancelled_ms: AtomicU64,
    /// Since when somebody has been at the front of the queue, likewise; 0 without one.
    front_ms: AtomicU64,
    began: Instant,
    /// The thread whose runtime drives it.
    home: std::thread::ThreadId,
}

struct State {
    out: BytesMut,
    queue: Queue,
    statements: Statements,
    waker: Option<Waker>,
    /// No more is taken.
    ending: bool,
    lost: Option<Lost>,
}

/// What the driver needs beyond the socket.
pub(crate) struct Limits {
    /// Largest answer, in bytes.
    pub answer_bytes_max: usize,
    /// A front of the queue that waits longer has lost its server; zero waits for ever.
    pub silence: Duration,
    /// Whether nobody else gets a connection either: then silence is sooner taken for what it is.
    pub unreachable: Arc<AtomicBool>,
    /// Statements kept.
    pub statements_max: usize,
    /// Whether statements have names.
    pub named: bool,
}

/// A batch that was sent.
pub(crate) struct Exchange {
    connection: Connection,
    reply: oneshot::Receiver<Result<Response, Lost>>,
    parsed: Parsed,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.ending = true;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }
}

impl Connection {
    /// Drives an opened connection on the runtime at hand.
    pub fn drive(opened: Opened, limits: Limits, tls: Tls) -> Connection {
        let inner = Arc::new(Inner {
            state: Mutex::new(State {
                out: BytesMut::new(),
                queue: Queue::default(),
                statements: Statements::new(limits.statements_max, limits.named),
                waker: None,
                ending: false,
                lost: None,
            }),
            in_flight: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            cancelled_ms: AtomicU64::new(0),
            front_ms: AtomicU64::new(0),
            began: Instant::now(),
            home: std::thread::current().id(),
        });
        let driver = Driver {
            inner: inner.clone(),
            _ends: Ends(inner.clone()),
            socket: opened.socket,
            input: opened.input,
            scanned: 0,
            skip: 0,
            too_large: false,
            writing: BytesMut::new(),
            unflushed: false,
            front_since: None,
            front_cancelled: false,
            last_error: None,
            limits,
            cancel: Arc::new(Cancel {
                host: opened.host,
                key: opened.key,
                tls,
            }),
        };
        tokio::spawn(driver.run());
        Connection {
            handle: Arc::new(Handle(inner)),
        }
    }

    /// Writes a batch and sends it as soon as the task runs. Errors: what `write` says; nothing is sent then.
    pub fn send<T>(&self, write: impl FnOnce(&mut Batch<'_>) -> Result<T>) -> Result<(T, Exchange)> {
        self.send_for(usize::MAX, write)
    }

    /// As [`Connection::send`], for an answer of at most so many bytes: a query whose answer is larger is cancelled.
    pub fn send_for<T>(
        &self,
        bytes_max: usize,
        write: impl FnOnce(&mut Batch<'_>) -> Result<T>,
    ) -> Result<(T, Exchange)> {
        self.send_together(bytes_max, None, |batch, _| write(batch))
    }

    /// As [`Connection::send_for`]; `together` says what it may share its journey with, and `write` is told whether it joins what
    /// others have begun: then, of reads, the settings are made, and an insertion must not wait for the log.
    pub fn send_together<T>(
        &self,
        bytes_max: usize,
        together: Option<Together>,
        write: impl FnOnce(&mut Batch<'_>, bool) -> Result<T>,
    ) -> Result<(T, Exchange)> {
        let (sender, reply) = oneshot::channel();
        let inner = &self.handle.0;
        let mut state = inner.state.lock();
        if let Some(lost) = &state.lost {
            let _ = sender.send(Err(lost.clone()));
            let exchange = Exchange {
                connection: self.clone(),
                reply,
                parsed: Parsed::new(),
            };
            drop(state);
            // What is written matters to the caller, not to anybody else.
            let mut nowhere = BytesMut::new();
            let mut statements = Statements::new(16, true);
            let value = write(&mut Batch::new(&mut nowhere, &mut statements), false)?;
            return Ok((value, exchange));
        }
        let State {
            out, statements, queue, ..
        } = &mut *state;
        let joins = together.as_ref().filter(|together| queue.can_join(together, out));
        if let Some(together) = joins {
            queue.begin_join(together, out);
        }
        let mark = out.len();
        let mut batch = Batch::new(out, statements);
        let value = match write(&mut batch, joins.is_some()) {
            Ok(value) => value,
            Err(error) => {
                drop(batch);
                out.truncate(mark);
                if let Some(together) = joins {
                    queue.abandon_join(together, out);
                }
                return Err(error);
            }
        };
        let (parsed, count) = batch.finish();
        match joins {
            Some(_) => queue.join(mark, out, sender, bytes_max, count),
            None => queue.push(mark, sender, bytes_max, count, together),
        }
        inner.in_flight.fetch_add(1, Ordering::Relaxed);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        let exchange = Exchange {
            connection: self.clone(),
            reply,
            parsed,
        };
        Ok((value, exchange))
    }

    /// Whether what is sent now would join what others have begun.
    pub fn can_join(&self, together: &Together) -> bool {
        let state = self.handle.0.state.lock();
        state.queue.can_join(together, &state.out)
    }

    /// Whether what was sent last has not left, and may be joined by something.
    pub fn is_joinable(&self) -> bool {
        self.handle.0.state.lock().queue.is_joinable()
    }

    /// The same, without keeping it alive.
    pub fn downgrade(&self) -> WeakConnection {
        WeakConnection(Arc::downgrade(&self.handle))
    }

    /// Batches without an answer.
    pub fn in_flight(&self) -> usize {
        self.handle.0.in_flight.load(Ordering::Relaxed)
    }

    /// How many batches have been answered: those ahead of one that is sent now are answered when so many more are.
    pub fn answered(&self) -> usize {
        self.handle.0.answered.load(Ordering::Relaxed)
    }

    /// How long the one at the front of the queue has been waiting.
    pub fn front_waits(&self) -> Duration {
        let inner = &self.handle.0;
        match inner.front_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            at => inner.began.elapsed().saturating_sub(Duration::from_millis(at)),
        }
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.handle.0.closed.load(Ordering::Acquire)
    }

    /// Whether it is driven on this thread.
    pub fn is_at_home(&self) -> bool {
        self.handle.0.home == std::thread::current().id()
    }

    /// Whether a cancellation that was meant for another query may have hit one of now.
    pub fn was_cancelled_lately(&self) -> bool {
        let inner = &self.handle.0;
        let at = inner.cancelled_ms.load(Ordering::Relaxed);
        at > 0 && (inner.began.elapsed().as_millis() as u64).saturating_sub(at) < 2000
    }

    /// Forgets what is prepared: the next batches prepare anew.
    pub fn forget_statements(&self) {
        self.handle.0.state.lock().statements.forget();
    }
}

impl WeakConnection {
    /// The connection, unless it has ended.
    pub fn upgrade(&self) -> Option<Connection> {
        let handle = self.0.upgrade()?;
        Some(Connection { handle })
    }
}

impl Exchange {
    /// The answer. Dropped before it is there, the query is cancelled.
    pub async fn wait(self) -> Result<Response, Lost> {
        let gone = || Lost::Connection("the connection's thread ended".to_owned(), None);
        let response = self.reply.await.unwrap_or_else(|_| Err(gone()))?;
        if !self.parsed.is_empty() {
            let count = response.messages().filter(|m| matches!(m, Message::Parsed)).count();
            let mut state = self.connection.handle.0.state.lock();
            state.statements.learn(&self.parsed, count);
        }
        Ok(response)
    }
}

struct Driver {
    inner: Arc<Inner>,
    _ends: Ends,
    socket: Box<dyn Socket>,
    input: BytesMut,
    /// Bytes of `input` that are whole messages of the answer at hand.
    scanned: usize,
    /// Bytes still to come of a message that is thrown away.
    skip: usize,
    too_large: bool,
    writing: BytesMut,
    unflushed: bool,
    /// Since when the front of the queue has been the front.
    front_since: Option<Instant>,
    front_cancelled: bool,
    last_error: Option<Box<ServerError>>,
    limits: Limits,
    cancel: Arc<Cancel>,
}

impl Driver {
    async fn run(mut self) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let silence = self.limits.silence;
        let reason = poll_fn(|cx| {
            while tick.poll_tick(cx).is_ready() {
                let waited = self.front_since.map_or(Duration::ZERO, |since| since.elapsed());
                if !silence.is_zero() && waited > silence {
                    return Poll::Ready(format!("no answer within {} s", silence.as_secs()));
                }
                if waited > SILENT && self.limits.unreachable.load(Ordering::Relaxed) {
                    return Poll::Ready("no answer, and no other connection to be had".to_owned());
                }
            }
            self.turn(cx)
        })
        .await;
        self.end(reason);
    }

    /// Everything that can be done now. Ready with why it is over.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            if let Poll::Ready(why) = self.write(cx) {
                return Poll::Ready(why);
            }
            match self.read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(why)) => return Poll::Ready(why),
                Poll::Pending => {}
            }
            let mut state = self.inner.state.lock();
            if !state.out.is_empty() && self.writing.is_empty() {
                continue;
            }
            if state.queue.is_empty() {
                self.front_since = None;
                self.inner.front_ms.store(0, Ordering::Relaxed);
                if state.ending {
                    return Poll::Ready(String::new());
                }
            } else if self.front_since.is_none() {
                self.front_since = Some(self.inner.front());
            }
            // Whoever waits at the front and goes away has its query cancelled; those behind it are left until they are the front.
            if !self.front_cancelled && state.queue.is_deserted(cx) {
                self.front_cancelled = true;
                self.inner.cancel(&self.cancel);
            }
            if !state.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            if self.writing.is_empty() {
                let mut state = self.inner.state.lock();
                if state.out.is_empty() {
                    drop(state);
                    if self.unflushed {
                        match Pin::new(&mut self.socket).poll_flush(cx) {
                            Poll::Ready(Ok(())) => self.unflushed = false,
                            Poll::Ready(Err(e)) => return Poll::Ready(e.to_string()),
                            Poll::Pending => {}
                        }
                    }
                    return Poll::Pending;
                }
                // The buffers change places, so that neither is allocated again.
                self.writing.clear();
                std::mem::swap(&mut self.writing, &mut state.out);
                state.queue.depart();
            }
            match Pin::new(&mut self.socket).poll_write(cx, &self.writing) {
                Poll::Ready(Ok(0)) => return Poll::Ready("the connection takes no more".to_owned()),
                Poll::Ready(Ok(n)) => {
                    self.writing.advance(n);
                    self.unflushed = true;
                }
                Poll::Ready(Err(e)) => {
                    // What the server said before it hung up is worth more than that it hung up.
                    let _ = self.read(cx);
                    return Poll::Ready(e.to_string());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads until there is nothing more. Ready when something was answered.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut answered = false;
        loop {
            // A whole block at a time: answers hold on to the block that they came in.
            if self.input.capacity() - self.input.len() < READ_BYTES {
                self.input.reserve(BLOCK_BYTES);
            }
            match pin!(self.socket.read_buf(&mut self.input)).poll(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err("the server closed the connection".to_owned())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e.to_string())),
                Poll::Pending => return if answered { Poll::Ready(Ok(())) } else { Poll::Pending },
            }
            answered |= self.split()?;
        }
    }

    /// Cuts whole messages into answers. Whether one was handed over.
    fn split(&mut self) -> Result<bool, String> {
        let mut answered = false;
        loop {
            if self.skip > 0 {
                let gone = self.skip.min(self.input.len());
                self.input.advance(gone);
                self.skip -= gone;
                if self.skip > 0 {
                    return Ok(answered);
                }
            }
            let rest = &self.input[self.scanned..];
            let Some((head, _)) = rest.split_first_chunk::<5>() else {
                return Ok(answered);
            };
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if length < 4 {
                return Err("the answer is not PostgreSQL's".to_owned());
            }
            let tag = head[0];
            let answer = self.scanned + length;
            if answer > LOOKED_AT_FROM && (answer > self.bytes_max() || self.too_large) {
                // Nobody gets this answer any more; its end is waited for.
                self.too_large = true;
                self.refuse_front();
                self.input.advance(self.scanned);
                self.scanned = 0;
            }
            if rest_is_short(&self.input, self.scanned, length) {
                if self.too_large && tag != b'Z' {
                    self.input.advance(self.scanned);
                    self.scanned = 0;
                    self.skip = length + 1;
                    continue;
                }
                self.input.reserve(length + 1 - (self.input.len() - self.scanned));
                return Ok(answered);
            }
            let body = self.scanned + 5..self.scanned + 1 + length;
            if tag == b'E' {
                self.last_error = Some(Box::new(ServerError::read(&self.input[body])));
            }
            self.scanned += 1 + length;
            if tag == b'Z' {
                let bytes = self.input.split_to(self.scanned).freeze();
                self.scanned = 0;
                let answer = match std::mem::take(&mut self.too_large) {
                    true => Err(Lost::TooLarge),
                    false => Ok(bytes),
                };
                self.last_error = None;
                self.front_cancelled = false;
                let mut state = self.inner.state.lock();
                let (told, count) = state.queue.answered(answer);
                self.front_since = (!state.queue.is_empty()).then(|| self.inner.front());
                drop(state);
                self.inner.in_flight.fetch_sub(count, Ordering::Relaxed);
                self.inner.answered.fetch_add(count, Ordering::Relaxed);
                answered |= count > 0;
                tell(told);
            }
        }
    }

    /// How large the answer at hand may be.
    fn bytes_max(&self) -> usize {
        let most = self.limits.answer_bytes_max.saturating_add(64 << 10);
        let state = self.inner.state.lock();
        state.queue.bytes_max().map_or(most, |max| max.min(most))
    }

    /// The answer at hand is larger than those who wait for it want: they are told, and what produces the rest is stopped.
    fn refuse_front(&mut self) {
        let mut state = self.inner.state.lock();
        let Some(told) = state.queue.refuse_front() else {
            return;
        };
        drop(state);
        tell(told);
        if !std::mem::replace(&mut self.front_cancelled, true) {
            self.inner.cancel(&self.cancel);
        }
    }

    /// Tells everybody, and the server.
    fn end(mut self, reason: String) {
        self.inner.end(Lost::Connection(reason, self.last_error.take()));
        let mut socket = self.socket;
        tokio::spawn(async move {
            let mut goodbye = BytesMut::new();
            frontend::terminate(&mut goodbye);
            let _ = socket.write_all(&goodbye).await;
            let _ = socket.shutdown().await;
        });
    }
}

fn tell(told: Told) {
    for (reply, answer) in told {
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }
}

fn rest_is_short(input: &BytesMut, scanned: usize, length: usize) -> bool {
    input.len() - scanned < 1 + length
}

/// Tells everybody when the runtime ends under the task.
struct Ends(Arc<Inner>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0
            .end(Lost::Connection("the connection's runtime ended".to_owned(), None));
    }
}

impl Inner {
    /// Somebody is at the front of the queue from now on.
    fn front(&self) -> Instant {
        let now = Instant::now();
        let ms = now.duration_since(self.began).as_millis() as u64;
        self.front_ms.store(ms.max(1), Ordering::Relaxed);
        now
    }

    /// Nothing more is answered.
    fn end(&self, lost: Lost) {
        let mut state = self.state.lock();
        if state.lost.is_some() {
            return;
        }
        state.lost = Some(lost.clone());
        self.closed.store(true, Ordering::Release);
        let told = state.queue.end(&lost);
        drop(state);
        self.in_flight.store(0, Ordering::Relaxed);
        tell(told);
    }

    /// Cancels what runs.
    fn cancel(&self, cancel: &Arc<Cancel>) {
        let ms = (self.began.elapsed().as_millis() as u64).max(1);
        self.cancelled_ms.store(ms, Ordering::Relaxed);
        tokio::spawn(cancel.clone().send());
    }
}
