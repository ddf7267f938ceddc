//! A write: as few round trips as it takes. A step of which nothing must be looked at before the commit goes out with its settings
//! as one batch, which is one transaction; else BEGIN, what can be sent without an answer to what went before, and COMMIT.

mod ending;

use crate::about::About;
use crate::failure;
use crate::pace;
use crate::pool::{Held, Pool};
use crate::read::is_stale;
use crate::settings::Settings;
use crate::step::{self, Run};
use crate::store::PostgresStore;
use crate::wire::{Batch, Exchange, Lost, Message, Response, Together};
use mainstay_model::{
    Action, Change, ChangeKind, Committed, Error, Identity, Representation, ResponseSettings, Result, Retry, Row,
    StepOutcome, Transaction,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A transaction that ran into another one is done again so many times.
const ATTEMPTS: u32 = 4;
/// An insertion of more rows travels alone.
const ROWS_TOGETHER: usize = 16;

const REMEMBER: &str = "UPDATE mainstay.idempotency SET outcomes = $2 WHERE scope = $1";
const LOG: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'mainstay', '')";
const RESET: &str = "SELECT 1 WHERE pg_catalog.set_config('role', 'none', true) IS NULL";

/// What a statement of a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// BEGIN, settings and the like: it must succeed, and says nothing.
    Plain,
    Found,
    Consumed,
    /// The step with this index; its counts are [`Part::Plain`].
    Step(usize),
    Response,
    /// COMMIT
    Commit,
}

/// A transaction on its way.
pub(crate) struct Attempt<'a> {
    pub store: &'a PostgresStore,
    pub transaction: &'a Transaction,
    identity: &'a Identity,
    representations: &'a [Arc<dyn Representation>],
    pub held: Held<'a>,
    /// An insertion that others may travel with.
    insertion: Option<(Run<'a>, Together)>,
    outcomes: Vec<StepOutcome>,
    rows: Vec<Vec<Row>>,
    response: Option<Box<ResponseSettings>>,
    /// BEGIN was sent.
    pub open: bool,
    /// The caller's role and settings are set.
    set: bool,
}

/// How an attempt ended without an error.
enum Ended {
    Committed,
    /// Undone on purpose: a dry run.
    Undone,
    /// It had been done before.
    Replayed(Vec<StepOutcome>),
}

impl PostgresStore {
    pub(crate) async fn transact(
        &self,
        transaction: &Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
    ) -> Result<Committed> {
        for (index, step) in transaction.steps.iter().enumerate() {
            if step.returning.is_some() && representations.get(index).is_none() {
                return Err(Error::internal(
                    "a step returns rows and nobody says how they are encoded",
                ));
            }
        }
        let needs_tables =
            transaction.idempotency.is_some() || !transaction.consumed.is_empty() || !transaction.emit.is_empty();
        if needs_tables && !self.server.installed.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::unsupported(
                "idempotency keys and events need the schema \"mainstay\", which this database does not have",
            )
            .hint("Let Mainstay's login role create it: GRANT CREATE ON DATABASE."));
        }
        let mut attempt = 1;
        loop {
            let error = match self.attempt(transaction, identity, representations).await {
                Ok(committed) => return Ok(committed),
                Err(error) => error,
            };
            let collided = error.retry == Retry::Safe && (error.code == "40001" || error.code == "40P01");
            if attempt == ATTEMPTS || !(collided || (attempt == 1 && error.code == STALE)) {
                return Err(error);
            }
            if collided {
                tokio::time::sleep(jitter(attempt)).await;
            }
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        transaction: &Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
    ) -> Result<Committed> {
        let insertion = self.insertion(transaction, identity, representations)?;
        let joined = insertion
            .as_ref()
            .and_then(|(_, together)| Pool::joinable(&self.server, together));
        let mut attempt = Attempt {
            store: self,
            transaction,
            identity,
            representations,
            held: match joined {
                Some(held) => held,
                None => Pool::take(&self.server, About::transaction(transaction)).await?,
            },
            insertion,
            outcomes: Vec::with_capacity(transaction.steps.len()),
            rows: Vec::new(),
            response: None,
            open: false,
            set: false,
        };
        let result = attempt.run().await;
        let Attempt {
            held,
            outcomes,
            response,
            ..
        } = attempt;
        let listeners = &self.server.listeners;
        let ended = match result {
            Ok(ended) => ended,
            Err((error, usable)) => {
                if usable {
                    held.release();
                }
                return Err(error);
            }
        };
        held.release();
        Ok(match ended {
            Ended::Committed => Committed {
                position: listeners.committed(changes(transaction, &outcomes)),
                outcomes,
                replayed: false,
                response,
            },
            Ended::Undone => Committed {
                outcomes,
                position: listeners.position(),
                replayed: false,
                response,
            },
            Ended::Replayed(outcomes) => Committed {
                outcomes,
                position: listeners.position(),
                replayed: true,
                response: None,
            },
        })
    }
}

impl PostgresStore {
    /// A transaction that is one insertion which may travel with others: it stays a transaction of its own, and is acknowledged when it
    /// is in the log. One that was slow lately may wait for somebody's lock, which others should not have to.
    fn insertion<'a>(
        &self,
        transaction: &'a Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
    ) -> Result<Option<(Run<'a>, Together)>> {
        let server = &self.server;
        let [step] = transaction.steps.as_slice() else {
            return Ok(None);
        };
        let Action::Insert {
            relation,
            rows,
            conflict: None,
            ..
        } = &step.action
        else {
            return Ok(None);
        };
        let is_table = |table: &mainstay_model::Table| !table.foreign;
        let may = (1..=ROWS_TOGETHER).contains(&rows.len())
            && self.schema.relation(relation.relation).table().is_some_and(is_table)
            && !transaction.dry_run
            && transaction.idempotency.is_none()
            && transaction.consumed.is_empty()
            && transaction.emit.is_empty()
            && !step::is_limited(step)
            && server.logs_insertions();
        if !may {
            return Ok(None);
        }
        let run = Run::new(self, step, &[], None, &identity.role, representations.first())
            .map_err(|error| error.at_step(0))?;
        let (statement, pace) = run.statement();
        let together = (statement.sql().starts_with("INSERT") && pace.is_quick(&server.shortest, pace::INSERTION))
            .then(|| Together::Insertions(statement.id()));
        Ok(together.map(|together| (run, together)))
    }
}

/// A code of our own for a statement that must be prepared anew; nobody sees it.
const STALE: &str = "26000";

/// An error, and whether the connection is fit for the next transaction.
pub(crate) type Failed = (Error, bool);

impl Attempt<'_> {
    async fn run(&mut self) -> Result<Ended, Failed> {
        let transaction = self.transaction;
        if (transaction.idempotency.is_some() || !transaction.consumed.is_empty())
            && let Some(outcomes) = self.before().await?
        {
            return Ok(Ended::Replayed(outcomes));
        }
        let count = transaction.steps.len();
        // What must be looked at, or written, once the outcomes are known.
        let looks =
            transaction.dry_run || transaction.idempotency.is_some() || transaction.steps.iter().any(step::is_limited);
        let alone = count == 1 && !looks && transaction.emit.is_empty() && !self.open;
        loop {
            let from = self.outcomes.len();
            let mut to = from;
            // Everything up to the next step that needs an answer to one of these.
            while to < count
                && transaction.steps[to]
                    .references()
                    .iter()
                    .all(|(of, ..)| usize::from(*of) < from || usize::from(*of) >= to)
            {
                to += 1;
            }
            let last = to == count;
            let commits = last && !looks;
            self.steps(from..to, alone, commits).await?;
            if commits {
                return Ok(Ended::Committed);
            }
            if last {
                break;
            }
        }
        if transaction.dry_run {
            self.as_if_committed().await?;
            self.rollback().await?;
            return Ok(Ended::Undone);
        }
        self.commit().await?;
        Ok(Ended::Committed)
    }

    /// Sends steps that do not wait for one another; with `commits`, the end as well.
    async fn steps(&mut self, range: std::ops::Range<usize>, alone: bool, commits: bool) -> Result<(), Failed> {
        let store = self.store;
        let server = &store.server;
        let transaction = self.transaction;
        let mut runs = Vec::with_capacity(range.len());
        let mut together = None;
        for index in range.clone() {
            let step = &transaction.steps[index];
            if step::is_nothing(step) {
                runs.push(None);
                continue;
            }
            if let Some((run, with)) = self.insertion.take_if(|_| alone) {
                runs.push(Some(run));
                together = Some(with);
                continue;
            }
            let wanted = transaction.refers_to(index).then(|| columns_wanted(transaction, index));
            let run = Run::new(
                store,
                step,
                &self.rows,
                wanted,
                &self.identity.role,
                self.representations.get(index),
            );
            match run {
                Ok(run) => runs.push(Some(run)),
                Err(error) => {
                    if self.open {
                        self.rollback().await?;
                    }
                    return Err((error.at_step(index), true));
                }
            }
        }
        let mut parts = Vec::with_capacity(8);
        let (open, set) = (self.open, self.set);
        let path = transaction.steps.first().and_then(|step| self.path(step));
        let shares = together.is_some();
        let began = Instant::now();
        let sent = self
            .held
            .connection()
            .send_together(usize::MAX, together, |batch, joins| {
                if !open && !alone {
                    begin(store, batch, &mut parts)?;
                }
                if !set {
                    let settings = Settings {
                        identity: Some(self.identity),
                        search_path: path.as_deref(),
                        read_only: false,
                        time_zone: self.representations.iter().find_map(|r| r.time_zone()),
                        statement_timeout_ms: store.timeout_ms(),
                        traceparent: transaction.traceparent.as_deref(),
                        asynchronous: joins,
                    };
                    if settings.write(batch)? {
                        parts.push(Part::Plain);
                    }
                    if store.pre_request(batch)? {
                        parts.push(Part::Plain);
                    }
                }
                for (index, run) in range.clone().zip(&runs) {
                    let Some(run) = run else { continue };
                    let statements = run.write(batch)?;
                    parts.push(Part::Step(index));
                    parts.extend((1..statements).map(|_| Part::Plain));
                }
                if commits {
                    self.tail(batch, &mut parts, &[], !alone)?;
                }
                Ok(())
            });
        let ((), exchange) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                if self.open {
                    self.rollback().await?;
                }
                return Err((error, true));
            }
        };
        self.open = !alone;
        self.set = true;
        if shares {
            self.held.has_begun();
        }
        let response = self.wait(exchange, &parts, commits).await?;
        if !response.is_durable {
            self.log().await?;
        }
        if let [Some(run)] = runs.as_slice() {
            server.shortest.at_least(began);
            run.statement().1.took(began);
        }
        if commits {
            self.open = false;
        }
        for (at, part) in parts.iter().enumerate() {
            let Part::Step(index) = *part else { continue };
            let Some(run) = &runs[index - range.start] else {
                continue;
            };
            self.skip_to(index);
            let bytes_max = server.config.answer_bytes_max;
            match run.done(&response, at, self.representations.get(index), bytes_max) {
                Ok(done) => {
                    self.outcomes.push(done.outcome);
                    self.rows.push(done.rows);
                }
                Err(error) => {
                    let error = error.at_step(index);
                    if self.open {
                        self.rollback().await?;
                        return Err((error, true));
                    }
                    // It is committed, and what it says cannot be given.
                    return Err((error.outcome_unknown(), true));
                }
            }
        }
        self.skip_to(range.end);
        self.take_response(&response, &parts);
        Ok(())
    }

    /// Waits until what this connection has committed is in the log: a transaction that writes nothing but a line there.
    async fn log(&mut self) -> Result<(), Failed> {
        let server = &self.store.server;
        let sent = self.held.connection().send(|batch| batch.plain(server.text(LOG), LOG));
        let (_, exchange) = sent.map_err(|error| (error.outcome_unknown(), false))?;
        self.wait(exchange, &[Part::Plain], true)
            .await
            .map(drop)
            .map_err(|(error, usable)| (error.outcome_unknown(), usable))
    }

    /// Steps that do nothing have their outcomes, too.
    fn skip_to(&mut self, index: usize) {
        while self.outcomes.len() < index {
            let at = self.outcomes.len();
            let step = &self.transaction.steps[at];
            self.outcomes.push(step::nothing(self.representations.get(at), step));
            self.rows.push(Vec::new());
        }
    }

    /// Waits for a batch. On an error the transaction is undone. `commits`: without an answer nobody knows whether it is.
    pub async fn wait(&mut self, exchange: Exchange, parts: &[Part], commits: bool) -> Result<Response, Failed> {
        let server = &self.store.server;
        let bytes_max = server.config.answer_bytes_max;
        let response = match exchange.wait().await {
            Ok(response) => response,
            Err(Lost::TooLarge) if !commits => {
                let _ = self.rollback().await;
                return Err((failure::too_large(bytes_max), false));
            }
            Err(lost) if commits => return Err((failure::unknown(lost, bytes_max), false)),
            Err(lost) => return Err((failure::lost(lost, bytes_max), false)),
        };
        let mut at = 0;
        let mut failed = None;
        for message in response.messages() {
            match message {
                Message::Done(_) => at += 1,
                Message::Failed(body) => failed = Some(crate::wire::ServerError::read(body)),
                _ => {}
            }
        }
        let Some(failed) = failed else {
            // A transaction that failed before is rolled back by COMMIT without an error.
            if let Some(place) = parts.iter().position(|part| *part == Part::Commit)
                && response.tag(place) != Some(b"COMMIT")
            {
                return Err((Error::internal("the transaction was rolled back by COMMIT"), false));
            }
            return Ok(response);
        };
        if is_stale(&failed) {
            self.held.connection().forget_statements();
            if self.open {
                self.rollback().await?;
            }
            return Err((Error::new(STALE, failed.message).retry(Retry::Safe), true));
        }
        if failed.code == "25006" && server.address.hosts.len() > 1 {
            // The primary has become a standby.
            server.drop_connections();
        }
        let fatal = failed.fatal;
        let mut error = failure::failed(failed);
        let step = parts
            .get(..=at)
            .unwrap_or(parts)
            .iter()
            .rev()
            .find_map(|part| match part {
                Part::Step(index) => Some(*index),
                _ => None,
            });
        if let (Some(index), Some(Part::Step(_) | Part::Plain)) = (step, parts.get(at)) {
            error = error.at_step(index);
        }
        if self.open && !fatal {
            self.rollback().await?;
        }
        Err((error, !fatal))
    }

    /// `search_path` for what a step names.
    fn path(&self, step: &mainstay_model::Step) -> Option<Arc<str>> {
        self.store.path(step)
    }
}

impl PostgresStore {
    /// `search_path` for what a step names.
    pub(crate) fn path(&self, step: &mainstay_model::Step) -> Option<Arc<str>> {
        let store = self;
        let namespace = match (&step.action, step.relation(), &step.returning) {
            (Action::Call(call), ..) => &store.schema.function(call.function).namespace,
            (_, Some(relation), _) => &store.schema.relation(relation).namespace,
            (_, None, Some(shape)) => crate::plan::namespace(&store.schema, &shape.from),
            _ => return None,
        };
        crate::plan::path(&store.server, namespace)
    }
}

/// BEGIN.
pub(crate) fn begin(store: &PostgresStore, batch: &mut Batch<'_>, parts: &mut Vec<Part>) -> Result<()> {
    batch.plain(store.server.text("BEGIN"), "BEGIN")?;
    parts.push(Part::Plain);
    Ok(())
}

/// The columns of a step's rows that later ones take.
fn columns_wanted(transaction: &Transaction, index: usize) -> Vec<u32> {
    let later = transaction.steps.iter().skip(index + 1);
    let mut columns: Vec<u32> = later
        .flat_map(mainstay_model::Step::references)
        .filter(|(of, ..)| usize::from(*of) == index)
        .map(|(_, _, column)| column)
        .collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// What listeners are told: which tables, without images, which only triggers see.
fn changes(transaction: &Transaction, outcomes: &[StepOutcome]) -> Vec<Change> {
    let steps = transaction.steps.iter().zip(outcomes);
    steps
        .filter(|(_, outcome)| outcome.affected > 0)
        .filter_map(|(step, _)| {
            let kind = match &step.action {
                Action::Insert { .. } => ChangeKind::Insert,
                Action::Update { .. } => ChangeKind::Update,
                Action::Delete { .. } => ChangeKind::Delete,
                Action::Call(_) | Action::Read => return None,
            };
            Some(Change {
                relation: step.relation()?,
                kind,
                before: None,
                after: None,
            })
        })
        .collect()
}

/// Longer each time, and never the same for two.
fn jitter(attempt: u32) -> Duration {
    let mut random = [0; 2];
    let _ = getrandom::fill(&mut random);
    let spread = u64::from(u16::from_be_bytes(random)) % 10_000;
    Duration::from_micros((2_000 + spread) * u64::from(attempt * attempt))
}
