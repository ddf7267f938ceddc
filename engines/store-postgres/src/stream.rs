//! Answers that are handed over as they are read, in constant memory.
//!
//! Every read begins on one of its thread's connections, where others are pipelined behind it and must not wait for a slow client. When
//! what comes back passes [`Config::stream_from_bytes`], the query is cancelled there and asked once more on a connection of its own
//! ([`Single`]), which is read row by row and only as fast as the client takes: where nobody reads, the database stops producing. What
//! is run twice is a read, as it is after a lost connection, and only its first part; the next reads of the same plan go to a
//! connection of their own at once, as long as there is one. Nothing is guessed from the planner's estimates, and small answers, which
//! most of those without a limit are, keep their pipeline.
//!
//! It is one statement, so one snapshot. The first part is waited for before the response begins, so that what fails early is an
//! ordinary error; what fails later ends the rest with an error, which the gateway makes a broken connection. Who lets go of the rest
//! has the query cancelled. A function's word on the response is asked for between its first row and the others, in the same batch.
//!
//! [`Config::stream_from_bytes`]: crate::Config

use crate::failure;
use crate::plan::{Form, Ready, Sink};
use crate::settings::{self, RESPONSE};
use crate::store::PostgresStore;
use crate::wire::{Ended, Lost, ServerError, Single};
use mainstay_model::{Encoder, Error, Fence, Position, ResponseSettings, Result};
use mainstay_store::{Answer, Handed, Outlet, Read, Streamed};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// After a large answer, so many reads of its plan go to a connection of their own at once.
const LARGE_READS: u8 = 32;
/// Encoded rows are handed over in parts of about so many bytes.
const PART_BYTES: usize = 64 << 10;

/// Which executions of the batch are what.
#[derive(Clone, Copy)]
struct Layout {
    rows: usize,
    /// What the database asks of the response, and then the rows after the first.
    response: Option<(usize, usize)>,
}

/// An answer being read.
struct Reading {
    single: Single,
    ready: Arc<Ready>,
    layout: Layout,
    encoder: Box<dyn Encoder>,
    /// Executions that are done.
    done: usize,
    rows: u64,
    settings: Option<Box<ResponseSettings>>,
    statement_timeout: Duration,
    _permit: OwnedSemaphorePermit,
}

/// Why a read stopped before its end.
enum Stopped {
    /// The server said so.
    Server(ServerError),
    /// The connection went.
    Lost(Lost),
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Error(error)
    }
}

impl PostgresStore {
    pub(crate) async fn streamed(&self, read: Read<'_>) -> Result<Streamed> {
        let server = &self.server;
        let ready = Ready::of(server, &self.schema, self.generation, &read)?;
        if ready.count.is_some() || ready.form != Form::Rows || !read.representation.streams() {
            return self.answer(read).await.map(Streamed::from);
        }
        let large = ready.large.load(Ordering::Relaxed);
        if large > 0
            && let Ok(permit) = server.streams.clone().try_acquire_owned()
        {
            ready.large.store(large - 1, Ordering::Relaxed);
            return self.alone(&ready, read, permit).await;
        }
        let config = &server.config;
        let bytes_max = config.stream_from_bytes.min(config.answer_bytes_max);
        if let Some(answer) = self.buffered(&ready, &read, bytes_max).await? {
            return Ok(answer.into());
        }
        ready.large.store(LARGE_READS, Ordering::Relaxed);
        let permit = tokio::time::timeout(config.queue_timeout, server.streams.clone().acquire_owned()).await;
        match permit {
            Ok(Ok(permit)) => self.alone(&ready, read, permit).await,
            Ok(Err(_)) => Err(failure::closed()),
            Err(_) => Err(failure::queue_timeout(config.queue_timeout.as_millis())
                .detail(format!("{} large answers are under way", config.stream_connections))),
        }
    }

    /// On a connection of its own.
    async fn alone(&self, ready: &Arc<Ready>, read: Read<'_>, permit: OwnedSemaphorePermit) -> Result<Streamed> {
        let server = &self.server;
        let config = &server.config;
        // Before the snapshot, as ever.
        let seen = server.listeners.position();
        let mut single = server.single().await.map_err(|error| server.refusal(&error))?;
        let sent = single.send(|batch| {
            self.begin_within(batch, ready, &read, Some(0))?;
            if !ready.calls && config.pre_request.is_none() {
                let rows = ready.main.write(batch, read.params, None)?;
                return Ok(Layout { rows, response: None });
            }
            let response = || server.text(RESPONSE);
            let parts = ready
                .main
                .write_parted(batch, read.params, |batch| batch.plain(response(), RESPONSE))?;
            let (rows, response, others) = parts;
            Ok(Layout {
                rows,
                response: Some((response, others)),
            })
        });
        let layout = sent
            .await?
            .map_err(|lost| self.after_loss(lost, config.answer_bytes_max))?;
        let mut reading = Reading {
            single,
            ready: ready.clone(),
            layout,
            encoder: read.representation.encoder(),
            done: 0,
            rows: 0,
            settings: None,
            statement_timeout: config.statement_timeout,
            _permit: permit,
        };
        let goes_on = match reading.fill(config.stream_from_bytes).await {
            Ok(goes_on) => goes_on,
            Err(Stopped::Server(error)) => return Err(failure::failed(error)),
            Err(Stopped::Lost(lost)) => return Err(self.after_loss(lost, config.answer_bytes_max)),
            Err(Stopped::Error(error)) => return Err(error),
        };
        if !goes_on {
            // Not this time.
            ready.large.store(0, Ordering::Relaxed);
            return Ok(reading.whole(seen).into());
        }
        let answer = Answer {
            body: reading.encoder.take(),
            rows: reading.rows,
            total: None,
            fence: Fence::UpTo(seen),
            response: reading.settings.take(),
        };
        let (outlet, rest) = mainstay_store::rest();
        tokio::spawn(reading.hand_over(outlet, config.stream_timeout));
        Ok(Streamed {
            answer,
            rest: Some(rest),
        })
    }
}

impl Reading {
    /// Encodes rows until there are so many bytes, or no more rows. Whether there may be more.
    async fn fill(&mut self, bytes: usize) -> Result<bool, Stopped> {
        loop {
            let (tag, body) = match self.single.next().await {
                Ok(message) => message,
                Err(Ended::Lost(lost)) => return Err(Stopped::Lost(lost)),
                Err(Ended::Silent) => return Err(Stopped::Error(too_slow(self.statement_timeout))),
            };
            let at = self.done;
            let Layout { rows, response } = self.layout;
            match tag {
                b'D' if at == rows || response.is_some_and(|(_, others)| at == others) => {
                    let mut sink = Sink {
                        encoder: &mut *self.encoder,
                        // What has been taken no longer counts.
                        bytes_max: usize::MAX,
                    };
                    sink.row(&self.ready.columns, body)?;
                    self.rows += 1;
                }
                b'D' if response.is_some_and(|(response, _)| at == response) => {
                    self.settings = settings::response(body);
                }
                // Done, for now or for good; an empty statement.
                b'C' | b's' | b'I' => self.done += 1,
                b'E' => return Err(Stopped::Server(ServerError::read(body))),
                b'Z' => return Ok(false),
                _ => {}
            }
            // The response begins with the first part, so that what is asked of it must be known by then.
            if self.encoder.len() >= bytes && response.is_none_or(|(response, _)| self.done > response) {
                return Ok(true);
            }
        }
    }

    fn whole(self, seen: Position) -> Answer {
        Answer {
            body: self.encoder.finish(),
            rows: self.rows,
            total: None,
            fence: Fence::UpTo(seen),
            response: self.settings,
        }
    }

    /// Hands over what is left, until it ends, takes too long or is not wanted any more.
    async fn hand_over(mut self, mut outlet: Outlet, timeout: Duration) {
        let until = Instant::now() + timeout;
        let late = || {
            Error::new(
                "57014",
                format!("the answer was not taken within {} s", timeout.as_secs()),
            )
            .hint("Ask for it in pages, or raise the store's stream timeout.")
        };
        loop {
            let filled = tokio::select! {
                biased;
                () = outlet.gone() => return,
                filled = tokio::time::timeout_at(until, self.fill(PART_BYTES)) => filled,
            };
            let goes_on = match filled {
                Ok(Ok(goes_on)) => goes_on,
                Ok(Err(Stopped::Server(error))) => return outlet.end(Err(failure::failed(error))),
                Ok(Err(Stopped::Lost(lost))) => return outlet.end(Err(failure::lost(lost, usize::MAX))),
                Ok(Err(Stopped::Error(error))) => return outlet.end(Err(error)),
                Err(_) => return outlet.end(Err(late())),
            };
            if !goes_on {
                let last = self.encoder.finish();
                return match tokio::time::timeout_at(until, outlet.put(last)).await {
                    Ok(_) => outlet.end(Ok(())),
                    Err(_) => outlet.end(Err(late())),
                };
            }
            let part = self.encoder.take();
            match tokio::time::timeout_at(until, outlet.put(part)).await {
                Ok(Handed::Over | Handed::NotYet) => {}
                Ok(Handed::Gone) => return,
                Err(_) => return outlet.end(Err(late())),
            }
        }
    }
}

/// The statement has had its time without a row.
fn too_slow(timeout: Duration) -> Error {
    Error::new(
        "57014",
        format!("the database sent nothing for {} s", timeout.as_secs()),
    )
    .hint("Ask for less, add an index, or raise the store's statement timeout.")
}
