//! A read: settings, statement and counts in one batch, one round trip, on one of this thread's connections.

use crate::about::About;
use crate::failure;
use crate::lanes::Lanes;
use crate::pace;
use crate::plan::{Form, Ready, Sink};
use crate::settings::{self, RESPONSE, Settings};
use crate::store::PostgresStore;
use crate::wire::{Batch, Connection, Lost, Response, ServerError, Together};
use mainstay_model::{Error, Fence, Identity, Result};
use mainstay_store::{Answer, Read};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A read that waits so long behind another is sent elsewhere.
const HELD_UP: Duration = Duration::from_millis(200);
/// So often.
const MOVES: u32 = 3;

/// A read whose connection went is tried again, if that was soon; a failure that is the server's moment's as well.
const ATTEMPTS: usize = 3;
const SOON: Duration = Duration::from_secs(2);
/// What takes longer is slow, whoever it waited for.
const TOO_LONG: Duration = Duration::from_millis(20);

/// Which statements a batch has, before and after the one that matters.
pub(crate) struct Layout {
    pub main: usize,
    pub response: Option<usize>,
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
            .ask(bytes_max, Some((ready, read)), |batch, joins| {
                self.batch(batch, ready, read, joins)
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
            (Some(count), Form::Rows | Form::Document) => {
                count.total(|at| response.rows(layout.main + 1 + at).next())?
            }
            (_, Form::Rows | Form::Document) => None,
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

    /// Settings and the function that is called first.
    pub(crate) fn begin(&self, batch: &mut Batch<'_>, ready: &Ready, read: &Read<'_>) -> Result<()> {
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
        let identity = read.identity;
        let plain = self.is_plain(identity);
        let settings = Settings {
            identity: (!plain).then_some(identity),
            search_path: ready.path.as_deref(),
            read_only: !plain || !ready.inert,
            time_zone: read.representation.time_zone(),
            statement_timeout_ms,
            traceparent: None,
            asynchronous: false,
        };
        settings.write(batch)?;
        self.pre_request(batch)?;
        Ok(())
    }

    /// Whoever asks as the login role itself, without claims, needs nothing set; and where no code runs, nothing can write.
    fn is_plain(&self, identity: &Identity) -> bool {
        let server = &self.server;
        identity.claims.is_empty()
            && identity.request.is_none()
            && server.config.pre_request.is_none()
            && *server.login() == *identity.role
    }

    /// What a read may share its settings and its transaction with: reads of the same caller that are quick, where no code can change
    /// what the next one sees.
    fn together(&self, ready: &Ready, read: &Read<'_>) -> Option<Together> {
        let (server, identity) = (&self.server, read.identity);
        let plain = self.is_plain(identity);
        let shares = !ready.calls
            && server.config.pre_request.is_none()
            && !server.is_pooled()
            && identity.request.is_none()
            && read.representation.time_zone().is_none()
            && (ready.inert || (!plain && !server.asks.settings.load(Ordering::Relaxed)))
            && ready.pace.is_quick(&server.shortest, pace::READ);
        shares.then(|| Together::Reads {
            caller: (!plain).then(|| identity.clone()),
            path: ready.path.clone(),
        })
    }

    fn batch(&self, batch: &mut Batch<'_>, ready: &Ready, read: &Read<'_>, joins: bool) -> Result<Layout> {
        if !joins {
            self.begin(batch, ready, read)?;
        }
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

    /// Sends a batch and waits, again if that is safe and may help; `known` is what it asks, if that may be asked together with others.
    /// `None`: the answer is larger than `bytes_max`.
    pub(crate) async fn ask(
        &self,
        bytes_max: usize,
        known: Option<(&Ready, &Read<'_>)>,
        write: impl Fn(&mut Batch<'_>, bool) -> Result<Layout>,
    ) -> Result<Option<(Response, Layout)>> {
        let server = &self.server;
        let began = Instant::now();
        let mut attempt = 1;
        let mut moves = MOVES;
        let about = known.map_or(About::NOTHING, |(_, read)| About::read(read.shape));
        let mut together = known.and_then(|(ready, read)| self.together(ready, read));
        loop {
            let joinable = together.as_ref().and_then(|together| Lanes::joinable(server, together));
            let connection = match joinable {
                Some(connection) => connection,
                None if moves < MOVES => Lanes::beside(server, about).await?,
                None => Lanes::take(server, about).await?,
            };
            let ahead = connection.in_flight();
            let idle = ahead == 0;
            let turn = connection.answered() + ahead;
            let sent = Instant::now();
            let (layout, exchange) = connection.send_together(bytes_max, together.take(), &write)?;
            let again = attempt < ATTEMPTS && began.elapsed() < SOON;
            let Some(answered) = moved(exchange.wait(), &connection, turn, idle || moves == 0).await else {
                moves -= 1;
                continue;
            };
            if let Some((ready, _)) = known
                && (idle || sent.elapsed() > TOO_LONG)
                && answered.is_ok()
            {
                server.shortest.at_least(sent);
                ready.pace.took(sent);
            }
            attempt += 1;
            match answered {
                Err(Lost::Behind) => attempt -= 1,
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

/// The answer; `None` when it is not its turn for long, and it had better be sent on another connection. Forgotten, it is cancelled when
/// its turn comes.
async fn moved<T>(answer: impl Future<Output = T>, connection: &Connection, turn: usize, stays: bool) -> Option<T> {
    if stays {
        return Some(answer.await);
    }
    let mut answer = std::pin::pin!(answer);
    loop {
        match tokio::time::timeout(HELD_UP, &mut answer).await {
            Ok(answer) => return Some(answer),
            Err(_) if connection.answered() < turn && connection.front_waits() > HELD_UP => return None,
            Err(_) => {}
        }
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
