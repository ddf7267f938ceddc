//! Long reads: a bounded number of threads, a bounded queue, a deadline each, and an end when nobody waits any more.

use crate::failure::{closed, queue_full};
use crate::reader::{Limit, Question, Reader};
use crate::shared::Shared;
use mainstay_model::{Encoder, Error, Identity, QueryShape, Result, Value};
use mainstay_store::Answer;
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
    /// Who waits.
    pub reply: oneshot::Sender<Result<Answer>>,
}

struct Queue {
    waiting: Mutex<(VecDeque<LongRead>, bool)>,
    more: Condvar,
}

/// The threads for long reads.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    limit: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
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
        });
        let mut threads = Vec::new();
        for _ in 0..shared.config.long_read_threads.max(1) {
            let (queue, shared) = (queue.clone(), shared.clone());
            threads.push(
                std::thread::Builder::new()
                    .name("store-long-read".to_owned())
                    .spawn(move || work(&queue, &shared))?,
            );
        }
        Ok(Pool {
            queue,
            limit: shared.config.long_read_queue,
            threads: Mutex::new(threads),
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
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(queue: &Queue, shared: &Arc<Shared>) {
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
            shape,
            params,
            identity,
            encoder,
            cancelled,
            reply,
        } = read;
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let reader = match &mut reader {
                Some(reader) => reader,
                none => none.insert(Reader::open(shared)?),
            };
            let question = Question {
                plan,
                shape: &shape,
                params: &params,
                identity: &identity,
            };
            reader.read(
                shared,
                question,
                encoder,
                Limit::Time(shared.config.statement_timeout, cancelled),
            )
        }));
        let answer = answer.unwrap_or_else(|_| {
            reader = None;
            Err(Error::internal("a long read panicked"))
        });
        let _ = reply.send(answer);
    }
}
