//! A read: settings, statement and counts in one batch, one round trip, on one of this thread's connections.

use crate::about::About;
use crate::failure;
use crate::lanes::Lanes;
use crate::plan::{Form, Ready, Sink};
use crate::settings::{self, RESPONSE, Settings};
use crate::store::PostgresStore;
use crate::wire::{Batch, Lost, Response, ServerError};
use mainstay_model::{Error, Fence, Result};
use mainstay_store::{Answer, Explain, Explanation, Read};
use std::time::{Duration, Instant};

/// A read whose connection went is tried again, if that was soon; a failure that is the server's moment's as well.
const ATTEMPTS: usize = 3;
const SOON: Duration = Duration::from_secs(2);

/// Which statements a batch has, before and after the one that matters.
struct Layout {
    main: usize,
    response: Option<usize>,
}

impl PostgresStore {
    pub(crate) async fn answer(&self, read: Read<'_>) -> Result<Answer> {
        let ready = Ready::of(&self.server, &self.schema, self.generation, &read)?;
        let bytes_max = self.server.config.answer_bytes_max;
        match self.buffered(&ready, &read, bytes_max).await? {
            Some(answer) => Ok(answer),
            None => Err(failure::too_large(bytes_max)),
        }
    }

    /// The whole answer, if what the database sends of it is no larger than `bytes_max`.
    pub(crate) async fn buffered(&self, ready: &Ready, read: &Read<'_>, bytes_max: usize) -> Result<Option<Answer>> {
        let server = &self.server;
        // Before the snapshot: what this process has committed until now is in it, and perhaps more.
        let seen = server.listeners.position();
        let asked = self
            .ask(About::read(read.shape), bytes_max, |batch| {
                self.batch(batch, ready, read)
            })
            .await?;
        let Some((response, layout)) = asked else {
            return Ok(None);
        };
        let mut encoder = read.representation.encoder();
        let mut sink = Sink {
            encoder: &mut *encoder,
            bytes_max: server.config.answer_bytes_max,
        };
        let rows = sink.answer(&ready.form, &ready.columns, response.rows(layout.main))?;
        let total = match (&ready.count, &ready.form) {
            (Some(count), Form::Rows) => count.total(|at| response.rows(layout.main + 1 + at).next())?,
            (_, Form::Rows) => None,
            _ => Some(1),
        };
        let asked = layout.response.and_then(|at| response.rows(at).next());
        Ok(Some(Answer {
            body: encoder.finish(),
            rows,
            total,
            fence: Fence::UpTo(seen),
            response: asked.and_then(settings::response),
        }))
    }

    /// How the database would answer, or did.
    pub(crate) async fn explained(&self, read: Read<'_>, wanted: Explain) -> Result<Explanation> {
        let ready = Ready::of(&self.server, &self.schema, self.generation, &read)?;
        let mut options = Vec::new();
        for (is, name) in [
            (wanted.analyze, "ANALYZE"),
            (wanted.verbose, "VERBOSE"),
            (wanted.settings, "SETTINGS"),
            (wanted.buffers, "BUFFERS"),
            (wanted.wal, "WAL"),
        ] {
            if is {
                options.push(name);
            }
        }
        options.push(if wanted.json { "FORMAT JSON" } else { "FORMAT TEXT" });
        let sql = format!("EXPLAIN ({}) {}", options.join(", "), ready.main.sql());
        let explain = ready.main.as_explained(&self.server, &read.identity.role, sql);
        let write = |batch: &mut Batch<'_>| {
            self.begin(batch, &ready, &read)?;
            let main = explain.write(batch, read.params, None)?;
            Ok(Layout { main, response: None })
        };
        let bytes_max = self.server.config.answer_bytes_max;
        let asked = self.ask(About::read(read.shape), bytes_max, write).await?;
        let (response, layout) = asked.ok_or_else(|| failure::too_large(bytes_max))?;
        let lines: Vec<String> = response
            .rows(layout.main)
            .flat_map(crate::wire::cells)
            .map(|cell| String::from_utf8_lossy(cell.unwrap_or_default()).into_owned())
            .collect();
        Ok(Explanation {
            sql: ready.main.sql().to_owned(),
            plan: lines.join("\n"),
        })
    }

    /// Settings and the function that is called first.
    fn begin(&self, batch: &mut Batch<'_>, ready: &Ready, read: &Read<'_>) -> Result<()> {
        self.begin_within(batch, ready, read, self.timeout_ms())
    }

    /// As [`PostgresStore::begin`], with a limit on the statement's time instead of the connection's, zero for none.
    pub(crate) fn begin_within(
        &self,
        batch: &mut Batch<'_>,
        ready: &Ready,
        read: &Read<'_>,
        statement_timeout_ms: Option<u64>,
    ) -> Result<()> {
        let server = &self.server;
        let identity = read.identity;
        // Whoever asks as the login role itself, without claims, needs nothing set; and where no code runs, nothing can write.
        let plain = identity.claims.is_empty()
            && identity.request.is_none()
            && server.config.pre_request.is_none()
            && *server.login() == *identity.role;
        let settings = Settings {
            identity: (!plain).then_some(identity),
            search_path: ready.path.as_deref(),
            read_only: !plain || !ready.inert,
            time_zone: read.representation.time_zone(),
            statement_timeout_ms,
            traceparent: None,
        };
        settings.write(batch)?;
        self.pre_request(batch)?;
        Ok(())
    }

    fn batch(&self, batch: &mut Batch<'_>, ready: &Ready, read: &Read<'_>) -> Result<Layout> {
        self.begin(batch, ready, read)?;
        let main = ready.main.write(batch, read.params, None)?;
        if let Some(count) = &ready.count {
            count.write(batch, read.params, None)?;
        }
        let server = &self.server;
        let response = (ready.calls || server.config.pre_request.is_some())
            .then(|| batch.plain(server.text(RESPONSE), RESPONSE))
            .transpose()?;
        Ok(Layout { main, response })
    }

    /// The function that the configuration names.
    pub(crate) fn pre_request(&self, batch: &mut Batch<'_>) -> Result<bool> {
        let Some(sql) = &self.pre_request_sql else {
            return Ok(false);
        };
        batch.plain(self.server.text(sql), sql)?;
        Ok(true)
    }

    /// Of connections that cannot have one of their own.
    pub(crate) fn timeout_ms(&self) -> Option<u64> {
        let timeout = self.server.config.statement_timeout;
        (self.server.is_pooled() && !timeout.is_zero()).then_some(timeout.as_millis() as u64)
    }

    /// Sends a batch and waits, again if that is safe and may help. `None`: the answer is larger than `bytes_max`.
    async fn ask(
        &self,
        about: About,
        bytes_max: usize,
        write: impl Fn(&mut Batch<'_>) -> Result<Layout>,
    ) -> Result<Option<(Response, Layout)>> {
        let began = Instant::now();
        let mut attempt = 1;
        loop {
            let connection = Lanes::take(&self.server, about).await?;
            let (layout, exchange) = connection.send_for(bytes_max, &write)?;
            let again = attempt < ATTEMPTS && began.elapsed() < SOON;
            attempt += 1;
            match exchange.wait().await {
                Ok(response) => match response.error() {
                    None => return Ok(Some((response, layout))),
                    Some(error) if again && is_stale(&error) => connection.forget_statements(),
                    Some(error) if again && error.code == "40001" => {}
                    // Meant for the query before, whose client went away.
                    Some(error) if again && error.code == "57014" && connection.was_cancelled_lately() => {}
                    Some(error) => return Err(failure::failed(error)),
                },
                Err(Lost::Connection(..)) if again && !self.server.is_closed() => {}
                Err(Lost::TooLarge) => return Ok(None),
                Err(lost) => return Err(self.after_loss(lost, bytes_max)),
            }
        }
    }

    pub(crate) fn after_loss(&self, lost: Lost, bytes_max: usize) -> Error {
        if self.server.is_closed() {
            return failure::closed();
        }
        failure::lost(lost, bytes_max)
    }
}

/// Whether a statement that was prepared is no good any more: a column has another type, or a pooler gave another server.
pub(crate) fn is_stale(error: &ServerError) -> bool {
    match error.code.as_str() {
        "26000" | "42P05" => true,
        "0A000" => error.message.contains("cached plan must not change result type"),
        _ => false,
    }
}
