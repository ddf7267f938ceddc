//! Answers that go on: the rows that come after the first part of an answer, handed over as they are read, no faster than they are taken.
//!
//! A small channel for one producer and one consumer, bounded in bytes. The producer may be a task or a thread; an end that it did not
//! say is a failure, so that nobody takes what broke off for the whole.

use crate::Answer;
use bytes::Bytes;
use mainstay_model::{Error, Result};
use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Encoded rows that wait to be taken, in bytes: beyond it the producer waits.
const WAITING_BYTES_MAX: usize = 256 << 10;

/// An answer whose rows may not be all there yet.
#[derive(Debug)]
pub struct Streamed {
    /// The answer or, where something follows, its first part: then `rows` are those of the part, and there is no total.
    pub answer: Answer,
    /// What follows.
    pub rest: Option<Rest>,
}

impl From<Answer> for Streamed {
    fn from(answer: Answer) -> Streamed {
        Streamed { answer, rest: None }
    }
}

/// What follows the first part of an answer. Dropped, it ends the read.
pub struct Rest {
    shared: Arc<Shared>,
    /// What must live as long as the rest is wanted.
    _kept: Option<Box<dyn Any + Send + Sync>>,
}

/// Where the rows of an answer that goes on are put.
pub struct Outlet {
    shared: Arc<Shared>,
}

/// What came of handing something over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    /// It will be taken.
    Over,
    /// It was not taken in time; it has been given back.
    NotYet,
    /// Nobody wants the rest any more.
    Gone,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    taken: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    end: Option<Result<()>>,
    gone: bool,
    producer: Option<Waker>,
    consumer: Option<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic elsewhere leaves behind is whole: every change here is.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A rest and where it comes from.
pub fn rest() -> (Outlet, Rest) {
    let shared = Arc::new(Shared::default());
    let outlet = Outlet { shared: shared.clone() };
    (outlet, Rest { shared, _kept: None })
}

impl Rest {
    /// Keeps something until the rest has been taken or is not wanted any more.
    pub fn keeping(mut self, kept: Box<dyn Any + Send + Sync>) -> Rest {
        self._kept = Some(kept);
        self
    }

    /// The next rows as they are encoded; `None` after the last. An error is the last thing that comes: what was given before it is
    /// not the whole answer.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let mut state = self.shared.lock();
        if let Some(part) = state.waiting.pop_front() {
            state.bytes -= part.len();
            let producer = state.producer.take();
            drop(state);
            self.shared.taken.notify_one();
            if let Some(producer) = producer {
                producer.wake();
            }
            return Poll::Ready(Some(Ok(part)));
        }
        match &mut state.end {
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            None => {
                state.consumer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// As [`Rest::poll_next`], to be awaited.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.gone = true;
        state.waiting.clear();
        state.bytes = 0;
        let producer = state.producer.take();
        drop(state);
        self.shared.taken.notify_one();
        if let Some(producer) = producer {
            producer.wake();
        }
    }
}

impl Outlet {
    /// Hands a part over once there is room for it. Never [`Handed::NotYet`].
    pub async fn put(&mut self, part: Bytes) -> Handed {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.gone {
                return Poll::Ready(Handed::Gone);
            }
            if state.bytes >= WAITING_BYTES_MAX {
                state.producer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.accept(state, part.clone());
            Poll::Ready(Handed::Over)
        })
        .await
    }

    /// As [`Outlet::put`], for a thread of its own, which waits until a moment.
    pub fn put_blocking(&mut self, part: &Bytes, until: Instant) -> Handed {
        let mut state = self.shared.lock();
        loop {
            if state.gone {
                return Handed::Gone;
            }
            if state.bytes < WAITING_BYTES_MAX {
                self.accept(state, part.clone());
                return Handed::Over;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Handed::NotYet;
            }
            let waited = self.shared.taken.wait_timeout(state, left);
            state = waited.unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    fn accept(&self, mut state: MutexGuard<'_, State>, part: Bytes) {
        if part.is_empty() {
            return;
        }
        state.bytes += part.len();
        state.waiting.push_back(part);
        let consumer = state.consumer.take();
        drop(state);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }

    /// Ready when nobody wants the rest any more.
    pub async fn gone(&mut self) {
        poll_fn(|cx| {
            let mut state = self.shared.lock();
            if state.gone {
                return Poll::Ready(());
            }
            state.producer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Says how it ended. Dropped without, it has failed.
    pub fn end(self, how: Result<()>) {
        self.close(how);
    }

    fn close(&self, how: Result<()>) {
        let mut state = self.shared.lock();
        if state.end.is_none() {
            state.end = Some(how);
        }
        let consumer = state.consumer.take();
        drop(state);
        if let Some(consumer) = consumer {
            consumer.wake();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.close(Err(Error::internal("the rest of an answer was abandoned")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use std::time::Duration;

    fn poll(rest: &mut Rest) -> Poll<Option<Result<Bytes>>> {
        rest.poll_next(&mut Context::from_waker(Waker::noop()))
    }

    fn text(polled: Poll<Option<Result<Bytes>>>) -> String {
        match polled {
            Poll::Pending => "pending".to_owned(),
            Poll::Ready(None) => "end".to_owned(),
            Poll::Ready(Some(Ok(part))) => String::from_utf8_lossy(&part).into_owned(),
            Poll::Ready(Some(Err(error))) => format!("error: {}", error.message),
        }
    }

    #[test]
    fn every_end_is_told_from_every_other() {
        for (how, last) in [
            (Some(Ok(())), "end"),
            (Some(Err(Error::internal("broken"))), "error: broken"),
            (None, "error: the rest of an answer was abandoned"),
        ] {
            let (mut outlet, mut rest) = rest();
            assert_eq!(text(poll(&mut rest)), "pending");
            let handed = outlet.put_blocking(&Bytes::from_static(b"a"), Instant::now());
            assert_eq!(handed, Handed::Over);
            match how {
                Some(how) => outlet.end(how),
                None => drop(outlet),
            }
            assert_eq!(text(poll(&mut rest)), "a");
            assert_eq!(text(poll(&mut rest)), last);
            assert_eq!(text(poll(&mut rest)), "end");
        }
    }

    #[test]
    fn whoever_is_faster_waits() {
        let (mut outlet, mut rest) = rest();
        let part = Bytes::from(vec![b'x'; WAITING_BYTES_MAX]);
        let soon = || Instant::now() + Duration::from_millis(20);
        assert_eq!(outlet.put_blocking(&part, soon()), Handed::Over);
        assert_eq!(outlet.put_blocking(&part, soon()), Handed::NotYet);
        let producer = std::thread::spawn(move || {
            let patient = || Instant::now() + Duration::from_secs(60);
            let first = outlet.put_blocking(&part, patient());
            [first, outlet.put_blocking(&part, patient())]
        });
        while !matches!(poll(&mut rest), Poll::Ready(Some(Ok(_)))) {
            std::thread::yield_now();
        }
        drop(rest);
        let [first, second] = producer.join().unwrap();
        assert!(matches!(first, Handed::Over | Handed::Gone), "{first:?}");
        assert_eq!(second, Handed::Gone);
    }

    #[test]
    fn what_is_kept_goes_with_the_rest() {
        let (outlet, rest) = rest();
        let kept = Arc::new(());
        let rest = rest.keeping(Box::new(kept.clone()));
        assert_eq!(Arc::strong_count(&kept), 2);
        assert!(!outlet.shared.lock().gone);
        drop(rest);
        assert_eq!(Arc::strong_count(&kept), 1);
        assert!(outlet.shared.lock().gone);
    }
}
