//! Long reads: a bounded number of threads, a bounded queue, a deadline each, and an end when nobody waits any more.

use crate::failure::{closed, queue_full};
use crate::parts::Parts;
use crate::reader::{Limit, Question, Reader};
use crate::shared::Shared;
use mainstay_model::{Encoder, Error, Identity, QueryShape, Result, Value};
use mainstay_store::Streamed;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// A read that takes long.
pub(crate) struct LongRead {
    /// The plan's number.
    pub plan: u64,
    /// Whether the plan comes again.
    pub kept: bool,
    /// The authorised shape.
    pub shape: Arc<QueryShape>,
    /// Values of its parameters.
    pub params: Vec<Value>,
    /// Whose claims are seen.
    pub identity: Identity,
    /// Where the rows go.
    pub encoder: Box<dyn Encoder>,
    /// Set when nobody waits any more.
    pub cancelled: Arc<AtomicBool>,
    /// Whether the answer may be handed over as it is read.
    pub goes_on: bool,
    /// Who waits.
    pub reply: oneshot::Sender<Result<Streamed>>,
}

struct Queue {
    waiting: Mutex<(VecDeque<LongRead>, bool)>,
    more: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Queue {
    /// One more thread that works.
    fn employ(self: &Arc<Queue>, shared: &Arc<Shared>) -> std::io::Result<()> {
        let (queue, shared) = (self.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("store-long-read".to_owned())
            .spawn(move || work(&queue, &shared))?;
        let mut threads = self.threads.lock();
        // Those that handed over and ended need not be waited for.
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }
}

/// The threads for long reads.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    limit: usize,
}

/// Cancels a read when the one who waits for it goes away.
pub(crate) struct CancelOnDrop(pub Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Pool {
    /// Starts the threads; each opens its connection when it has something to read.
    pub fn start(shared: &Arc<Shared>) -> std::io::Result<Pool> {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            more: Condvar::new(),
            threads: Mutex::default(),
        });
        for _ in 0..shared.config.long_read_threads.max(1) {
            queue.employ(shared)?;
        }
        Ok(Pool {
            queue,
            limit: shared.config.long_read_queue,
        })
    }

    /// Hands a read over. Errors: 53300 when too many wait, 57P03 after the end.
    pub fn submit(&self, read: LongRead) -> Result<()> {
        let mut waiting = self.queue.waiting.lock();
        if waiting.1 {
            return Err(closed());
        }
        if waiting.0.len() >= self.limit {
            return Err(queue_full("long reads", self.limit));
        }
        waiting.0.push_back(read);
        self.queue.more.notify_one();
        Ok(())
    }

    /// Ends the threads; reads that wait are refused, those under way are waited for.
    pub fn stop(&self) {
        {
            let mut waiting = self.queue.waiting.lock();
            waiting.1 = true;
            for read in waiting.0.drain(..) {
                let _ = read.reply.send(Err(closed()));
            }
        }
        self.queue.more.notify_all();
        // One that is waited for may still employ another.
        while let Some(thread) = { self.queue.threads.lock().pop() } {
            let _ = thread.join();
        }
    }
}

fn work(queue: &Arc<Queue>, shared: &Arc<Shared>) {
    let mut reader: Option<Reader> = None;
    loop {
        let read = {
            let mut waiting = queue.waiting.lock();
            loop {
                if let Some(read) = waiting.0.pop_front() {
                    break read;
                }
                if waiting.1 {
                    return;
                }
                queue.more.wait(&mut waiting);
            }
        };
        if read.cancelled.load(Ordering::Relaxed) {
            continue;
        }
        let LongRead {
            plan,
            kept,
            shape,
            params,
            identity,
            encoder,
            cancelled,
            goes_on,
            reply,
        } = read;
        let succeed = {
            let (queue, shared) = (queue.clone(), shared.clone());
            Box::new(move || queue.employ(&shared))
        };
        let mut parts = Parts::new(shared.clone(), reply, succeed);
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let reader = match &mut reader {
                Some(reader) => reader,
                none => none.insert(Reader::open(shared)?),
            };
            let question = Question {
                plan,
                kept,
                shape: &shape,
                params: &params,
                identity: &identity,
            };
            reader.read(
                shared,
                question,
                encoder,
                Limit::Time(shared.config.statement_timeout, cancelled),
                shared.config.answer_bytes_max,
                goes_on.then_some(&mut parts),
            )
        }));
        let answer = answer.unwrap_or_else(|_| {
            reader = None;
            Err(Error::internal("a long read panicked"))
        });
        if parts.end(answer) {
            return;
        }
    }
}
