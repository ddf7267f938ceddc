//! The writer: one thread, one connection, and one COMMIT for all who wait (group commit). Each member runs in a savepoint of its own, so
//! that one's failure leaves its neighbours alone. After the COMMIT, in order and for each member: the position becomes visible, the
//! listeners are told, the client is answered.

use crate::budget::Budget;
use crate::config::Captured;
use crate::context;
use crate::counter::Counter;
use crate::failure::{closed, displaced as displaced_error, plain};
use crate::open::Opened;
use crate::outbox::Outbox;
use crate::preupdate::Hook;
use crate::shared::Shared;
use crate::statement::{Failure, Statement};
use crate::step::Steps;
use mainstay_embedded::Held;
use mainstay_model::{
    Change, Changes, Committed, Error, Identity, Position, Representation, Result, StepOutcome, Transaction, time,
};
use mainstay_sql::sqlite::Stored;
use rusqlite::{Connection, ffi};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often what is kept for a limited time is looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What is done with the writer to itself.
type Alone = Box<dyn FnOnce(&mut Writer) + Send>;

/// What is asked of the writer.
pub(crate) enum Job {
    /// A transaction.
    Write(Box<Submission>),
    /// Outbox records that the bus has.
    Confirm(u64, oneshot::Sender<Result<()>>),
    /// Something with a transaction of its own.
    Alone(Alone),
    /// The end, after all that was asked before.
    Stop,
}

/// A transaction with whoever waits for it.
pub(crate) struct Submission {
    /// What is to be done.
    pub transaction: Transaction,
    /// For whom.
    pub identity: Identity,
    /// How what each step returns is encoded.
    pub representations: Vec<Arc<dyn Representation>>,
    /// Who waits.
    pub reply: oneshot::Sender<Result<Committed>>,
}

/// A member of a group.
enum Member {
    Write(Box<Submission>),
    Confirm(u64, oneshot::Sender<Result<()>>),
}

/// What a member did, before it is known whether it is committed.
pub(crate) enum Done {
    /// Its changes are in the open transaction.
    Changed {
        outcomes: Vec<StepOutcome>,
        changes: Vec<Change>,
    },
    /// It changed nothing: a replay, a dry run.
    Nothing { outcomes: Vec<StepOutcome>, replayed: bool },
    /// Internal bookkeeping.
    Confirmed,
}

pub(crate) struct Statements {
    pub begin: Statement,
    pub commit: Statement,
    pub rollback: Statement,
    pub savepoint: Statement,
    pub release: Statement,
    pub rollback_to: Statement,
    pub data_version: Statement,
    pub find_idempotency: Statement,
    pub put_idempotency: Statement,
    pub put_consumed: Statement,
    pub put_sequence: Statement,
}

/// The writer's state, all on its thread.
pub(crate) struct Writer {
    pub(crate) steps: Steps,
    pub(crate) statements: Statements,
    pub(crate) outbox: Outbox,
    pub(crate) budget: Arc<Budget>,
    pub(crate) captured: Captured,
    pub(crate) positions: Counter,
    pub(crate) sequence: Counter,
    /// `PRAGMA data_version` as last seen: another value means that somebody else has written.
    seen_version: Option<i64>,
    swept: Instant,
    /// The file, where it has one that can be watched.
    held: Option<Held>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) conn: Rc<Connection>,
    /// Held until the connection is closed.
    _lock: File,
}

impl Writer {
    /// Takes over what was opened, on the thread that will write.
    pub fn new(opened: Opened, captured: Captured, shared: Arc<Shared>) -> Result<Writer, Failure> {
        let Opened {
            mut conn,
            lock,
            capture,
            positions,
            sequence,
            sequences,
            version: _,
        } = opened;
        let budget = Budget::install(&mut conn)?;
        let conn = Rc::new(conn);
        context::set_sequences(sequences);
        let hook = Hook::install(&conn, Rc::new(capture));
        let config = &shared.config;
        let steps = Steps::new(
            &conn,
            shared.schema.clone(),
            &config.name,
            hook,
            config.plans_max,
            config.answer_bytes_max,
        );
        let prepare = |sql| Statement::prepare(&conn, sql);
        let statements = Statements {
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            rollback: prepare("ROLLBACK")?,
            savepoint: prepare("SAVEPOINT member")?,
            release: prepare("RELEASE member")?,
            rollback_to: prepare("ROLLBACK TO member")?,
            data_version: prepare("PRAGMA data_version")?,
            find_idempotency: prepare(
                "SELECT fingerprint, outcomes FROM _mainstay_idempotency WHERE scope = ?1 AND at_us > ?2",
            )?,
            put_idempotency: prepare(
                "INSERT OR REPLACE INTO _mainstay_idempotency (scope, fingerprint, outcomes, at_us) VALUES (?1, ?2, ?3, ?4)",
            )?,
            put_consumed: prepare(
                "INSERT INTO _mainstay_consumed (consumer, event, at_us) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING RETURNING 1",
            )?,
            put_sequence: prepare(
                "INSERT INTO _mainstay_sequence (name, next) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET next = excluded.next",
            )?,
        };
        let outbox = Outbox::new(&conn)?;
        let mut writer = Writer {
            steps,
            statements,
            outbox,
            budget,
            captured,
            positions,
            sequence,
            seen_version: None,
            swept: Instant::now(),
            held: shared.config.vfs.is_none().then(|| Held::of(&shared.config.path)),
            shared,
            conn,
            _lock: lock,
        };
        writer.check_version();
        writer.sweep();
        Ok(writer)
    }

    /// Works until it is stopped, or nobody can ask any more.
    pub fn work(mut self, jobs: &Receiver<Job>) {
        // A quarter of the bound, so that the proof of freshness is never older than the bound while this thread is alive.
        let tick = (self.shared.config.bound / 4).clamp(Duration::from_millis(5), Duration::from_secs(60));
        let mut members = VecDeque::new();
        let mut alone: Option<Alone> = None;
        let mut stopping = false;
        while !stopping {
            match jobs.recv_timeout(tick) {
                Err(RecvTimeoutError::Timeout) => {
                    self.check_version();
                    if self.swept.elapsed() >= SWEEP_EVERY {
                        self.sweep();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(Job::Alone(work)) => alone = Some(work),
                Ok(job) => stopping |= admit(job, &mut members),
            }
            while !stopping && alone.is_none() && members.len() < self.shared.config.group_max {
                match jobs.try_recv() {
                    Ok(Job::Alone(work)) => alone = Some(work),
                    Ok(job) => stopping |= admit(job, &mut members),
                    Err(_) => break,
                }
            }
            self.group(&mut members);
            if let Some(work) = alone.take() {
                work(&mut self);
            }
            if self.swept.elapsed() >= SWEEP_EVERY {
                self.sweep();
            }
        }
        while let Ok(job) = jobs.try_recv() {
            match job {
                Job::Write(submission) => drop(submission.reply.send(Err(closed()))),
                Job::Confirm(_, reply) => drop(reply.send(Err(closed()))),
                // Whoever waits for it sees that it was dropped.
                Job::Alone(_) | Job::Stop => {}
            }
        }
        self.finish();
    }

    /// Brings everything into the main file, so that a copy of it is whole.
    fn finish(self) {
        self.budget.lift();
        let Writer { conn, .. } = &self;
        let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Does all members in one transaction and answers them. A member whose failure made SQLite roll everything back (disk full, a
    /// statement that took too long) is answered and left out, and the others, of which nothing is left, are done again.
    fn group(&mut self, members: &mut VecDeque<Member>) {
        'again: while !members.is_empty() {
            self.budget.lift();
            let at = Instant::now();
            if let Err(failure) = self.statements.begin.run() {
                let error = plain(&failure);
                members.drain(..).for_each(|member| member.answer(Err(error.clone())));
                return;
            }
            if let Err(error) = self.note_version(at) {
                self.roll_back();
                members.drain(..).for_each(|member| member.answer(Err(error.clone())));
                return;
            }
            let mut results: Vec<Result<Done>> = Vec::with_capacity(members.len());
            let mut index = 0;
            while let Some(member) = members.get(index) {
                if member.is_abandoned() {
                    members.remove(index);
                    continue;
                }
                let result = self.member(member);
                if self.conn.is_autocommit() {
                    let error = result
                        .err()
                        .unwrap_or_else(|| Error::internal("the transaction ended by itself"));
                    if let Some(culprit) = members.remove(index) {
                        culprit.answer(Err(error));
                    }
                    continue 'again;
                }
                results.push(result);
                index += 1;
            }
            self.end(members, results);
            return;
        }
    }

    /// Commits what was done and answers everybody.
    fn end(&mut self, members: &mut VecDeque<Member>, mut results: Vec<Result<Done>>) {
        let is_work = |r: &Result<Done>| matches!(r, Ok(Done::Changed { .. } | Done::Confirmed));
        let missed = self.steps.capture().take_missed();
        self.budget.lift();
        if results.iter().any(is_work) {
            let transactions = results.iter().filter(|r| matches!(r, Ok(Done::Changed { .. }))).count();
            if let Err(error) = self.commit(transactions as u64) {
                self.forget_reservations();
                for result in &mut results {
                    if is_work(result) {
                        *result = Err(error.clone());
                    }
                }
            }
        } else {
            self.roll_back();
        }
        if missed {
            self.shared.tell_voided("a change could not be read");
        }
        let first = self.positions.last();
        let last = first + results.iter().filter(|r| matches!(r, Ok(Done::Changed { .. }))).count() as u64;
        // Visible to every read that starts now; only then may anybody be told.
        self.shared.position.store(last, Ordering::Release);
        let store = self.shared.config.index;
        let mut answers = Vec::with_capacity(results.len());
        for result in results {
            answers.push(result.map(|done| match done {
                Done::Changed { outcomes, changes } => {
                    let position = Position {
                        store,
                        token: self.positions.take(),
                    };
                    self.shared.tell_committed(&Changes {
                        position,
                        rows: changes,
                    });
                    Committed {
                        outcomes,
                        position,
                        replayed: false,
                        response: None,
                    }
                }
                Done::Nothing { outcomes, replayed } => Committed {
                    outcomes,
                    position: Position {
                        store,
                        token: self.positions.last(),
                    },
                    replayed,
                    response: None,
                },
                Done::Confirmed => Committed {
                    outcomes: Vec::new(),
                    position: Position {
                        store,
                        token: self.positions.last(),
                    },
                    replayed: false,
                    response: None,
                },
            }));
        }
        // Together, so that whoever waits for several is woken once.
        for (member, answer) in members.drain(..).zip(answers) {
            member.answer(answer);
        }
    }

    /// Writes what goes with every commit, and commits, to a file that is still there.
    pub(crate) fn commit(&mut self, transactions: u64) -> Result<()> {
        let prepared = self
            .positions
            .reserve(&self.conn, transactions)
            .and_then(|()| self.sequence.reserve(&self.conn, 0))
            .map_err(Failure::from);
        if let Err(failure) = prepared.and_then(|()| self.save_sequences()) {
            self.roll_back();
            return Err(plain(&failure));
        }
        if let Err(failure) = self.statements.commit.run() {
            self.roll_back();
            let error = plain(&failure);
            // What was written before the disk failed may be found, whole, after a crash.
            return Err(match failure.primary() {
                ffi::SQLITE_IOERR => error.outcome_unknown(),
                _ => error,
            });
        }
        context::sequences_saved();
        self.look_at_file().map_err(Error::outcome_unknown)
    }

    /// Whether the file is where it was.
    fn look_at_file(&mut self) -> Result<()> {
        let displaced = self.held.as_ref().is_some_and(|held| held.displaced().is_some());
        if self.shared.set_displaced(displaced) {
            self.shared.tell_voided("the file was deleted, replaced or put back");
        }
        if displaced { Err(displaced_error()) } else { Ok(()) }
    }

    fn save_sequences(&mut self) -> Result<(), Failure> {
        for (name, next) in context::changed_sequences() {
            let statement = &mut self.statements.put_sequence;
            statement.bind(1, &Stored::Text(Cow::Owned(name)))?;
            statement.bind(2, &Stored::Integer(next))?;
            statement.run()?;
        }
        Ok(())
    }

    pub(crate) fn roll_back(&mut self) {
        if !self.conn.is_autocommit() {
            // If even this fails the connection is beyond help, and the next BEGIN says so.
            let _ = self.statements.rollback.run();
        }
        self.steps.capture().truncate(0);
    }

    pub(crate) fn forget_reservations(&mut self) {
        self.positions.forget_reservation();
        self.sequence.forget_reservation();
    }

    /// Does one member in a savepoint of its own.
    fn member(&mut self, member: &Member) -> Result<Done> {
        self.steps.capture().truncate(0);
        self.budget.allow_time(self.shared.config.statement_timeout, None);
        self.statements.savepoint.run().map_err(|failure| plain(&failure))?;
        let result = catch_unwind(AssertUnwindSafe(|| match member {
            Member::Write(submission) => self.transaction(submission),
            Member::Confirm(sequence, _) => self.outbox.forget(*sequence).map(|()| Done::Confirmed),
        }))
        .unwrap_or_else(|_| Err(Error::internal("the write panicked")));
        self.budget.lift();
        context::truncate(0);
        if self.conn.is_autocommit() {
            return Err(result
                .err()
                .unwrap_or_else(|| Error::internal("the transaction ended by itself")));
        }
        let keep = matches!(result, Ok(Done::Changed { .. } | Done::Confirmed));
        if !keep {
            self.statements.rollback_to.run().map_err(|failure| plain(&failure))?;
        }
        // With nothing violated, or nothing left of it.
        self.steps.stop_deferring()?;
        self.statements.release.run().map_err(|failure| plain(&failure))?;
        self.steps.capture().truncate(0);
        result
    }

    /// Looks whether somebody else has written.
    fn check_version(&mut self) {
        self.budget.lift();
        // Whoever asks is told.
        let _ = self.note_version(Instant::now());
    }

    /// `at`: a moment before which every foreign commit is seen now. Error: the file is not where it was.
    pub(crate) fn note_version(&mut self, at: Instant) -> Result<()> {
        self.look_at_file()?;
        let Ok(Some(version)) = self.statements.data_version.integer() else {
            return Ok(());
        };
        if self.seen_version.is_some_and(|seen| seen != version) {
            self.shared.tell_voided("another program wrote to the file");
        }
        self.seen_version = Some(version);
        self.shared.set_checked(at);
        Ok(())
    }

    /// Forgets what was to be kept for a limited time.
    fn sweep(&mut self) {
        self.swept = Instant::now();
        let now = time::now();
        let before = |kept: Duration| now.saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX));
        let config = &self.shared.config;
        let idempotency = before(config.idempotency_kept);
        let consumed = before(config.consumed_kept);
        // Figures for the query planner, of tables that have grown much since the last time.
        let _ = self.conn.execute_batch("PRAGMA optimize = 0x10002");
        // A few at a time: no write waits long for it, and what is left goes the next time.
        let _ = self.conn.execute(
            "DELETE FROM _mainstay_idempotency WHERE scope IN (SELECT scope FROM _mainstay_idempotency WHERE at_us < ?1 LIMIT 10000)",
            [idempotency],
        );
        let _ = self.conn.execute(
            "DELETE FROM _mainstay_consumed WHERE (consumer, event) IN \
             (SELECT consumer, event FROM _mainstay_consumed WHERE at_us < ?1 LIMIT 10000)",
            [consumed],
        );
    }
}

impl Member {
    fn answer(self, result: Result<Committed>) {
        match self {
            // Whoever does not wait any more does not want to know.
            Member::Write(submission) => drop(submission.reply.send(result)),
            Member::Confirm(_, reply) => drop(reply.send(result.map(|_| ()))),
        }
    }

    /// Whether nobody waits for it any more. It has not begun, so it need not.
    fn is_abandoned(&self) -> bool {
        match self {
            Member::Write(submission) => submission.reply.is_closed(),
            Member::Confirm(..) => false,
        }
    }
}

/// Adds a job to the group; says whether it is the last one.
fn admit(job: Job, members: &mut VecDeque<Member>) -> bool {
    match job {
        Job::Write(submission) => members.push_back(Member::Write(submission)),
        Job::Confirm(sequence, reply) => members.push_back(Member::Confirm(sequence, reply)),
        Job::Alone(_) => {}
        Job::Stop => return true,
    }
    false
}
