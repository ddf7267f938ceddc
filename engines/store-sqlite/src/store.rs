//! The store as the contract asks for it: reads on the thread that asks, writes through the one writer.

use crate::config::{Captured, Config, Seed};
use crate::explain::Explaining;
use crate::failure::{closed, queue_full};
use crate::open::{self, Opened};
use crate::open_error::{OpenError, OpenErrorKind};
use crate::pool::{CancelOnDrop, LongRead, Pool};
use crate::reader::{Inline, Turn, read_inline, with_reader};
use crate::shared::Shared;
use crate::writer::{Job, Submission, Writer};
use mainstay_model::{Committed, Error, Identity, OutboxRecord, Position, Representation, Result, Schema, Transaction};
use mainstay_store::{
    Answer, BoxFuture, Capabilities, CommitListener, Explain, Explanation, Load, LoadFailure, Loaded, Read, Store,
    Streamed,
};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::oneshot;

/// A store in one SQLite file.
pub struct SqliteStore {
    shared: Arc<Shared>,
    capabilities: Capabilities,
    jobs: SyncSender<Job>,
    pool: Pool,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens or creates the file, brings its tables up to the schema, and starts the store's threads. `seeds` are loaded if the file
    /// was created just now; the changes in `captured` go to the outbox.
    pub fn open(
        config: Config,
        schema: Arc<Schema>,
        captured: Captured,
        seeds: Vec<Seed>,
    ) -> Result<Arc<SqliteStore>, OpenError> {
        let opened = open::open(&config, &schema, &seeds)?;
        let capabilities = Capabilities {
            engine: format!("SQLite {}", opened.version),
            store: config.index,
            before_images: true,
            multi_row_transactions: true,
            change_feed: true,
            native_policies: false,
            single_process: true,
            full_text: false,
            postgres_types: false,
        };
        let path = config.path.clone();
        let (jobs, queue) = sync_channel(config.write_queue.max(1));
        let shared = Arc::new(Shared::new(config, schema, opened.positions.last()));
        let failed = |message: String| OpenError::new(OpenErrorKind::Io, &path, message, "");
        let pool = Pool::start(&shared).map_err(|error| failed(error.to_string()))?;
        let (ready, started) = sync_channel(1);
        let of_writer = shared.clone();
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                let opened: Opened = opened;
                match Writer::new(opened, captured, of_writer) {
                    Ok(writer) => {
                        let _ = ready.send(Ok(()));
                        writer.work(&queue);
                    }
                    Err(failure) => drop(ready.send(Err(failure.message))),
                }
            });
        let writer = writer.map_err(|error| failed(error.to_string()))?;
        match started.recv() {
            Ok(Ok(())) => {}
            Ok(Err(message)) => return Err(failed(message)),
            Err(_) => return Err(failed("the writer's thread ended".to_owned())),
        }
        Ok(Arc::new(SqliteStore {
            shared,
            capabilities,
            jobs,
            pool,
            writer: Mutex::new(Some(writer)),
        }))
    }

    /// When it was last made sure that every commit of another program had been told to the listeners. A cache whose proof is older
    /// than its bound must not answer.
    pub fn last_checked(&self) -> Instant {
        self.shared.last_checked()
    }

    fn submit(&self, job: Job) -> Result<()> {
        self.shared.check()?;
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => queue_full("writes", self.shared.config.write_queue),
            TrySendError::Disconnected(_) => closed(),
        })
    }

    /// Reads that do not fit a turn of the caller's thread.
    async fn read_long(&self, read: Read<'_>, goes_on: bool) -> Result<Streamed> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let cancel = CancelOnDrop(cancelled.clone());
        let (reply, answer) = oneshot::channel();
        self.pool.submit(LongRead {
            plan: read.plan,
            kept: read.kept,
            shape: read.shape.clone(),
            params: read.params.to_vec(),
            identity: read.identity.clone(),
            encoder: read.representation.encoder(),
            cancelled,
            goes_on,
            reply,
        })?;
        let Streamed { answer, rest } = answer.await.unwrap_or_else(|_| Err(closed()))?;
        let rest = rest.map(|rest| rest.keeping(Box::new(cancel)));
        Ok(Streamed { answer, rest })
    }

    async fn answer(&self, read: Read<'_>, goes_on: bool) -> Result<Streamed> {
        match read_inline(&self.shared, &read, self.bytes_max(goes_on), Turn::Last) {
            Inline::Done(answer) => answer.map(Streamed::from),
            Inline::TooLong => self.read_long(read, goes_on).await,
        }
    }

    /// The largest answer that is given on the caller's thread.
    fn bytes_max(&self, goes_on: bool) -> usize {
        let config = &self.shared.config;
        match goes_on {
            true => config.stream_from_bytes.min(config.answer_bytes_max),
            false => config.answer_bytes_max,
        }
    }

    /// Ends the threads, after what was asked before.
    fn stop(&self) {
        self.shared.close();
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            // Waits for room, unlike a write: the end is not refused.
            let _ = self.jobs.send(Job::Stop);
            self.pool.stop();
            let _ = writer.join();
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store for SqliteStore {
    fn name(&self) -> &str {
        &self.shared.config.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn read<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, Result<Answer>> {
        Box::pin(async move { self.answer(read, false).await.map(|streamed| streamed.answer) })
    }

    fn stream<'a>(&'a self, read: Read<'a>) -> BoxFuture<'a, Result<Streamed>> {
        let goes_on = read.representation.streams();
        Box::pin(self.answer(read, goes_on))
    }

    fn read_at_once(&self, read: Read<'_>, goes_on: bool) -> Option<Result<Answer>> {
        let bytes_max = self.bytes_max(goes_on && read.representation.streams());
        match read_inline(&self.shared, &read, bytes_max, Turn::First) {
            Inline::Done(answer) => Some(answer),
            Inline::TooLong => None,
        }
    }

    fn explain<'a>(&'a self, read: Read<'a>, wanted: Explain) -> BoxFuture<'a, Result<Explanation>> {
        Box::pin(async move {
            with_reader(&self.shared, |reader| {
                let explaining = Explaining {
                    conn: reader.connection(),
                    schema: &self.shared.schema,
                    params: read.params,
                    identity: read.identity,
                    wanted,
                };
                explaining.shape(read.shape)
            })
        })
    }

    fn explain_write<'a>(
        &'a self,
        transaction: &'a Transaction,
        identity: &'a Identity,
        _: &'a [Arc<dyn Representation>],
        wanted: Explain,
    ) -> BoxFuture<'a, Result<Vec<Explanation>>> {
        Box::pin(async move {
            // Nothing is measured, so nothing is written: a connection that reads is enough.
            with_reader(&self.shared, |reader| {
                let steps = transaction.steps.iter().map(|step| {
                    let explaining = Explaining {
                        conn: reader.connection(),
                        schema: &self.shared.schema,
                        params: &step.params,
                        identity,
                        wanted,
                    };
                    explaining.step(step)
                });
                steps.collect()
            })
        })
    }

    fn write_as<'a>(
        &'a self,
        transaction: &'a Transaction,
        identity: &'a Identity,
        representations: &'a [Arc<dyn Representation>],
    ) -> BoxFuture<'a, Result<Committed>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let submission = Submission {
                transaction: transaction.clone(),
                identity: identity.clone(),
                representations: representations.to_vec(),
                reply,
            };
            self.submit(Job::Write(Box::new(submission)))?;
            answer
                .await
                .unwrap_or_else(|_| Err(Error::internal("the writer ended before it answered").outcome_unknown()))
        })
    }

    fn outbox(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<OutboxRecord>>> {
        Box::pin(async move { with_reader(&self.shared, |reader| reader.outbox(after, limit)) })
    }

    fn confirm(&self, sequence: u64) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.submit(Job::Confirm(sequence, reply))?;
            answer.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    fn load<'a>(
        &'a self,
        loads: Vec<Load>,
        sequences: &'a [(Arc<str>, i64)],
    ) -> BoxFuture<'a, Result<Vec<Loaded>, LoadFailure>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let sequences = sequences.to_vec();
            self.submit(Job::Alone(Box::new(move |writer| {
                let _ = reply.send(writer.load(loads, &sequences));
            })))?;
            answer.await.unwrap_or_else(|_| Err(closed().into()))
        })
    }

    fn listen(&self, listener: Arc<dyn CommitListener>) {
        self.shared.listen(listener);
    }

    fn position(&self) -> Position {
        Position {
            store: self.shared.config.index,
            token: self.shared.position.load(Ordering::Acquire),
        }
    }

    fn ping(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if self.shared.is_closed() || self.writer.lock().as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(closed());
            }
            self.shared.check()?;
            with_reader(&self.shared, |reader| reader.ping())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.stop() })
    }
}
