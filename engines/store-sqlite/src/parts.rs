//! Answers that are handed over as they are read. A long read whose rows pass [`Config::stream_from_bytes`] goes on on its thread, in its
//! snapshot and with its statement where it stands; the thread has a successor for the other long reads, and ends with the answer.
//!
//! [`Config::stream_from_bytes`]: crate::Config

use crate::budget::Budget;
use crate::failure::{closed, queue_full};
use crate::shared::Shared;
use bytes::Bytes;
use mainstay_model::{Error, Fence, Position, Result};
use mainstay_store::{Answer, Handed, Outlet, Streamed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Rows are handed over in parts of about so many bytes.
const PART_BYTES: usize = 64 << 10;
/// So often somebody who waits for a slow client looks whether the store has been closed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Who takes the rows of an answer before all of them are there.
pub(crate) struct Parts {
    shared: Arc<Shared>,
    /// Who waits for the answer, or its first part.
    reply: Option<oneshot::Sender<Result<Streamed>>>,
    /// Has another thread do the other long reads.
    succeed: Box<dyn Fn() -> std::io::Result<()>>,
    /// Where the rest goes, and until when.
    outlet: Option<(Outlet, Instant)>,
    watched: Option<(Arc<Budget>, Arc<AtomicBool>)>,
    /// What the snapshot is sure to have.
    seen: u64,
}

impl Parts {
    /// Of an answer that `reply` waits for.
    pub fn new(
        shared: Arc<Shared>,
        reply: oneshot::Sender<Result<Streamed>>,
        succeed: Box<dyn Fn() -> std::io::Result<()>>,
    ) -> Parts {
        // Before the snapshot.
        let seen = shared.position.load(Ordering::Acquire);
        Parts {
            shared,
            reply: Some(reply),
            succeed,
            outlet: None,
            watched: None,
            seen,
        }
    }

    /// What limits the statement: each part has its time anew, and the client's is not counted.
    pub fn watch(&mut self, budget: Arc<Budget>, cancelled: Arc<AtomicBool>) {
        self.watched = Some((budget, cancelled));
    }

    /// How many bytes make a part.
    pub fn bytes(&self) -> usize {
        match self.outlet {
            None => self.shared.config.stream_from_bytes,
            Some(_) => PART_BYTES,
        }
    }

    /// Takes a part; `rows` is how many rows there were until now. Errors: 53300 when too many answers go on, 57014 when nobody wants it or
    /// it has taken too long.
    pub fn take(&mut self, part: Bytes, rows: u64) -> Result<()> {
        match self.outlet {
            None => self.begin(part, rows)?,
            Some(_) => self.put(&part)?,
        }
        if let Some((budget, cancelled)) = &self.watched {
            budget.allow_time(self.shared.config.statement_timeout, Some(cancelled.clone()));
        }
        Ok(())
    }

    fn begin(&mut self, body: Bytes, rows: u64) -> Result<()> {
        let config = &self.shared.config;
        if self.shared.streams.fetch_add(1, Ordering::Relaxed) >= config.streams_max {
            self.shared.streams.fetch_sub(1, Ordering::Relaxed);
            return Err(queue_full("large answers", config.streams_max));
        }
        if let Err(error) = (self.succeed)() {
            self.shared.streams.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::internal(format!("no thread for the other reads: {error}")));
        }
        let (outlet, rest) = mainstay_store::rest();
        // From here on it counts as one that goes on, until it ends.
        self.outlet = Some((outlet, Instant::now() + config.stream_timeout));
        let answer = Answer {
            body,
            rows,
            total: None,
            fence: Fence::UpTo(Position {
                store: config.index,
                token: self.seen,
            }),
            response: None,
        };
        let streamed = Streamed {
            answer,
            rest: Some(rest),
        };
        let Some(reply) = self.reply.take() else {
            return Err(unwanted());
        };
        reply.send(Ok(streamed)).map_err(|_| unwanted())
    }

    fn put(&mut self, part: &Bytes) -> Result<()> {
        let Some((outlet, until)) = &mut self.outlet else {
            return Ok(());
        };
        loop {
            match outlet.put_blocking(part, Instant::now() + LOOK_EVERY) {
                Handed::Over => return Ok(()),
                Handed::Gone => return Err(unwanted()),
                Handed::NotYet if self.shared.is_closed() => return Err(closed()),
                Handed::NotYet if Instant::now() >= *until => {
                    let seconds = self.shared.config.stream_timeout.as_secs();
                    return Err(
                        Error::new("57014", format!("the answer was not taken within {seconds} s"))
                            .hint("Ask for it in pages."),
                    );
                }
                Handed::NotYet => {}
            }
        }
    }

    /// The end: the whole answer where none of it was taken, else its last part. Whether it went on, so that the thread has a successor.
    pub fn end(mut self, answer: Result<Answer>) -> bool {
        if self.outlet.is_none() {
            if let Some(reply) = self.reply.take() {
                let _ = reply.send(answer.map(Streamed::from));
            }
            return false;
        }
        let how = answer.and_then(|last| self.put(&last.body));
        match self.reply.take() {
            // It failed before anybody heard of it.
            Some(reply) => drop(reply.send(how.and_then(|()| Err(Error::internal("an answer went nowhere"))))),
            None => {
                if let Some((outlet, _)) = self.outlet.take() {
                    self.shared.streams.fetch_sub(1, Ordering::Relaxed);
                    outlet.end(how);
                }
            }
        }
        true
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if self.outlet.is_some() {
            self.shared.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn unwanted() -> Error {
    Error::new("57014", "nobody waits for the answer any more")
}
