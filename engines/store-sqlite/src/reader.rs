//! Reads: a connection per thread that asks, on which a read runs inline, within a budget, in one snapshot.

use crate::bind::{Env, Prepared};
use crate::budget::Budget;
use crate::call::{Functions, Place};
use crate::connection;
use crate::context;
use crate::failure::plain;
use crate::level::{LevelPlan, Sink};
use crate::parts::Parts;
use crate::row_argument;
use crate::shared::Shared;
use crate::statement::{Failure, Statement};
use crate::zone;
use mainstay_model::{
    Encoder, Error, Fence, Identity, OutboxRecord, Position, QueryShape, Result, Returns, Schema, Source, Type, Value,
};
use mainstay_sql::sqlite::{self, Stored};
use mainstay_store::{Answer, Read};
use rusqlite::Connection;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// After a plan has overrun its budget, so many of its reads go straight to the long-read threads.
const HEAVY_READS: u8 = 32;

/// The shapes of plans that a connection keeps weigh at most so many bytes; what is compiled from them, a few times as many.
const PLANS_BYTES_MAX: usize = 16 << 20;

/// A portion of the outbox ends after so many bytes.
const OUTBOX_BYTES_MAX: usize = 8 << 20;

/// What is asked, whoever answers.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The plan's number.
    pub plan: u64,
    /// Whether the plan comes again.
    pub kept: bool,
    /// The authorised shape.
    pub shape: &'a Arc<QueryShape>,
    /// Values of its parameters.
    pub params: &'a [Value],
    /// Whose claims are seen.
    pub identity: &'a Identity,
}

/// What came of an inline read.
pub(crate) enum Inline {
    /// It was answered, or failed.
    Done(Result<Answer>),
    /// It costs more than may be spent on this thread.
    TooLong,
}

/// Whether the same read is asked for again when it is too long for this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is.
    First,
    /// It goes to the long-read threads.
    Last,
}

/// What an answer may cost.
pub(crate) enum Limit {
    /// Thousands of instructions.
    Kops(u32),
    /// Time, or until nobody waits for it.
    Time(Duration, Arc<AtomicBool>),
}

/// A plan on a connection.
struct ReadPlan {
    kind: Kind,
    /// Reads that still go straight to the long-read threads.
    heavy: u8,
}

enum Kind {
    /// Compiled as a whole.
    Query {
        root: LevelPlan,
        count: Option<Prepared>,
        /// The answer is the function's one value.
        scalar: Option<Type>,
        rows_max: u64,
        /// Several statements, which must share a snapshot.
        many: bool,
    },
    /// A function that is run statement by statement.
    Call,
}

/// A connection for reading, with what was prepared on it.
pub(crate) struct Reader {
    // Statements keep the connection open; it is closed when the last one is gone.
    plans: FxHashMap<u64, ReadPlan>,
    /// What the shapes of its plans weigh.
    plans_bytes: usize,
    functions: Functions,
    outbox: Option<Statement>,
    begin: Statement,
    commit: Statement,
    budget: Arc<Budget>,
    conn: Rc<Connection>,
}

thread_local! {
    static READERS: RefCell<Vec<(Weak<Shared>, Reader)>> = const { RefCell::new(Vec::new()) };
}

/// Runs something on this thread's connection to a store.
pub(crate) fn with_reader<T>(shared: &Arc<Shared>, run: impl FnOnce(&mut Reader) -> Result<T>) -> Result<T> {
    READERS.with(|readers| {
        let mut readers = readers
            .try_borrow_mut()
            .map_err(|_| Error::internal("an encoder called the store"))?;
        if let Some((_, reader)) = readers
            .iter_mut()
            .find(|(of, _)| std::ptr::eq(of.as_ptr(), Arc::as_ptr(shared)))
        {
            return run(reader);
        }
        readers.retain(|(of, _)| of.upgrade().is_some_and(|s| !s.is_closed()));
        readers.push((Arc::downgrade(shared), Reader::open(shared)?));
        match readers.last_mut() {
            Some((_, reader)) => run(reader),
            None => Err(Error::internal("a reader vanished")),
        }
    })
}

/// Answers on this thread, if it does not take too long and the answer is no larger than `bytes_max`. Where that is less than any answer
/// may have, a larger one is too long as well.
pub(crate) fn read_inline(shared: &Arc<Shared>, read: &Read<'_>, bytes_max: usize, turn: Turn) -> Inline {
    let question = Question {
        plan: read.plan,
        kept: read.kept,
        shape: read.shape,
        params: read.params,
        identity: read.identity,
    };
    if let Err(error) = zone::check(read.shape, read.representation.time_zone()) {
        return Inline::Done(Err(error));
    }
    let result = with_reader(shared, |reader| {
        if let Some(plan) = reader.plans.get_mut(&question.plan)
            && plan.heavy > 0
        {
            if turn == Turn::Last {
                plan.heavy -= 1;
            }
            return Ok(Inline::TooLong);
        }
        let kops = Limit::Kops(shared.config.read_budget_kops);
        let answer = reader.read(shared, question, read.representation.encoder(), kops, bytes_max, None);
        let too_large = bytes_max < shared.config.answer_bytes_max && answer.as_ref().is_err_and(|e| e.code == "54000");
        if too_large || answer.as_ref().is_err_and(|e| e.code == "57014") && reader.budget.is_spent() {
            if let Some(plan) = reader.plans.get_mut(&question.plan) {
                plan.heavy = HEAVY_READS;
            }
            return Ok(Inline::TooLong);
        }
        Ok(Inline::Done(answer))
    });
    result.unwrap_or_else(|error| Inline::Done(Err(error)))
}

impl Reader {
    /// Opens a connection for reading.
    pub fn open(shared: &Shared) -> Result<Reader> {
        shared.check()?;
        let failed = |error: rusqlite::Error| plain(&Failure::from(error));
        let mut conn = connection::open_reader(&shared.config).map_err(failed)?;
        let budget = Budget::install(&mut conn).map_err(failed)?;
        let conn = Rc::new(conn);
        let prepare = |sql| Statement::prepare(&conn, sql).map_err(|failure| plain(&failure));
        Ok(Reader {
            plans: FxHashMap::default(),
            plans_bytes: 0,
            functions: Functions::new(shared.config.plans_max),
            outbox: None,
            begin: prepare("BEGIN")?,
            commit: prepare("COMMIT")?,
            budget,
            conn,
        })
    }

    /// The connection, for what is asked about statements rather than by them.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.conn
    }

    /// Answers within a limit. Errors: 57014 beyond it, 54000 when the answer, or what of it cannot be handed over, is larger than
    /// `bytes_max`. Where `parts` has begun to take it, the answer is its last part.
    pub fn read(
        &mut self,
        shared: &Shared,
        question: Question<'_>,
        mut encoder: Box<dyn Encoder>,
        limit: Limit,
        bytes_max: usize,
        mut parts: Option<&mut Parts>,
    ) -> Result<Answer> {
        shared.check()?;
        match limit {
            Limit::Kops(kops) => self.budget.allow_kops(kops),
            Limit::Time(time, cancelled) => {
                self.budget.allow_time(time, Some(cancelled.clone()));
                if let Some(parts) = &mut parts {
                    parts.watch(self.budget.clone(), cancelled);
                }
            }
        }
        // Before the snapshot: what has been committed until now is in it, and perhaps more.
        let seen = shared.position.load(Ordering::Acquire);
        context::begin_read();
        if !self.plans.contains_key(&question.plan) {
            let plan = self.plan(&shared.schema, question.shape)?;
            if question.kept {
                let bytes = question.shape.weight();
                if self.plans.len() >= shared.config.plans_max || self.plans_bytes + bytes > PLANS_BYTES_MAX {
                    self.plans.clear();
                    self.plans_bytes = 0;
                }
                self.plans_bytes += bytes;
            }
            self.plans.insert(question.plan, plan);
        }
        let mut sink = Sink {
            encoder: &mut *encoder,
            bytes_max,
            parts,
        };
        let env = Env::new(question.params, question.identity, context::now_us());
        let answered = self.answer(shared, question, &env, &mut sink);
        if !question.kept {
            self.plans.remove(&question.plan);
        }
        let (rows, total) = answered?;
        let fence = Fence::UpTo(Position {
            store: shared.config.index,
            token: seen,
        });
        Ok(Answer {
            body: encoder.finish(),
            rows,
            total,
            fence,
            response: None,
        })
    }

    fn answer(
        &mut self,
        shared: &Shared,
        question: Question<'_>,
        env: &Env<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(u64, Option<u64>)> {
        let Reader {
            plans,
            functions,
            begin,
            commit,
            conn,
            ..
        } = self;
        let plan = plans
            .get_mut(&question.plan)
            .ok_or_else(|| Error::internal("a plan vanished"))?;
        if !matches!(&plan.kind, Kind::Query { count: None, .. }) {
            // What is counted, and what a function does statement by statement, is answered as a whole.
            sink.parts = None;
        }
        match (&mut plan.kind, &question.shape.from) {
            (
                Kind::Query {
                    root, scalar: Some(ty), ..
                },
                _,
            ) => Ok((root.scalar(env, ty, sink)?, Some(1))),
            (
                Kind::Query {
                    root,
                    count: None,
                    many: false,
                    rows_max,
                    ..
                },
                _,
            ) => Ok((root.rows(env, None, sink, *rows_max)?, None)),
            (
                Kind::Query {
                    root, count, rows_max, ..
                },
                _,
            ) => in_snapshot(begin, commit, || {
                let rows = root.rows(env, None, sink, *rows_max)?;
                let total = match count {
                    Some(count) => count.integer(env)?.map(|n| n.max(0) as u64),
                    None => None,
                };
                Ok((rows, total))
            }),
            (Kind::Call, Source::Call(call)) => in_snapshot(begin, commit, || {
                let place = Place {
                    conn,
                    schema: &shared.schema,
                    store: &shared.config.name,
                    capture: None,
                };
                let outcome = functions.call(place, call, Some(question.shape), env, Some(sink))?;
                Ok((outcome.rows, outcome.total))
            }),
            (Kind::Call, Source::Relation(_)) => Err(Error::internal("a plan's number was given to another shape")),
        }
    }

    fn plan(&self, schema: &Schema, shape: &QueryShape) -> Result<ReadPlan> {
        let (mut scalar, mut rows_max) = (None, u64::MAX);
        if let Source::Call(call) = &shape.from {
            let function = schema.function(call.function);
            let body = call.body.as_ref().map_or(function.body.len(), |b| b.len());
            // NULL arguments of a STRICT function, arguments that are rows, and several statements, need its statements to be run
            // one by one.
            let takes_rows = function
                .args
                .iter()
                .any(|argument| row_argument::is_needed(&argument.ty));
            if body != 1
                || takes_rows
                || (function.strict && !call.args.is_empty())
                || function.returns == Returns::Void
            {
                return Ok(ReadPlan {
                    kind: Kind::Call,
                    heavy: 0,
                });
            }
            match &function.returns {
                Returns::Scalar(ty) => scalar = Some(ty.clone()),
                returns if !returns.is_set() => rows_max = 1,
                _ => {}
            }
        }
        let query = match sqlite::compile_query(schema, shape) {
            Ok(query) => query,
            // What cannot be one SELECT may still be run.
            Err(error) if error.code == "0A000" && matches!(shape.from, Source::Call(_)) => {
                return Ok(ReadPlan {
                    kind: Kind::Call,
                    heavy: 0,
                });
            }
            Err(error) => return Err(error),
        };
        let root = LevelPlan::new(&self.conn, &query.root)?;
        let count = query.count.as_ref().map(|c| Prepared::new(&self.conn, c)).transpose()?;
        let many = root.has_embeds();
        Ok(ReadPlan {
            kind: Kind::Query {
                root,
                count,
                scalar,
                rows_max,
                many,
            },
            heavy: 0,
        })
    }

    /// Outbox records above `after`, in order.
    pub fn outbox(&mut self, after: u64, limit: usize) -> Result<Vec<OutboxRecord>> {
        const SQL: &str = "SELECT sequence, id, topic, key, time_us, payload, traceparent FROM _mainstay_outbox \
                           WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
        self.budget.lift();
        let failed = |failure: Failure| plain(&failure);
        let statement = match &mut self.outbox {
            Some(statement) => statement,
            none => none.insert(Statement::prepare(&self.conn, SQL).map_err(failed)?),
        };
        let integer = |n: u64| Stored::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        statement.reset();
        statement.bind(1, &integer(after)).map_err(failed)?;
        statement.bind(2, &integer(limit as u64)).map_err(failed)?;
        let mut records = Vec::new();
        let text = |value: Stored<'_>| match value {
            Stored::Text(text) => text.into_owned(),
            _ => String::new(),
        };
        let number = |value: Stored<'_>| match value {
            Stored::Integer(n) => n,
            _ => 0,
        };
        let mut bytes = 0;
        // One is always given, however large.
        while bytes < OUTBOX_BYTES_MAX && statement.step().map_err(failed)? {
            records.push(OutboxRecord {
                sequence: number(statement.value(0)) as u64,
                id: text(statement.value(1)),
                topic: text(statement.value(2)),
                key: text(statement.value(3)),
                time_us: number(statement.value(4)),
                payload: text(statement.value(5)),
                traceparent: match statement.value(6) {
                    Stored::Text(text) => Some(text.into_owned()),
                    _ => None,
                },
            });
            bytes += records.last().map_or(0, |record| record.payload.len());
        }
        statement.reset();
        Ok(records)
    }

    /// A round trip.
    pub fn ping(&mut self) -> Result<()> {
        self.budget.lift();
        let mut statement =
            Statement::prepare(&self.conn, "SELECT count(*) FROM _mainstay_meta").map_err(|failure| plain(&failure))?;
        statement.integer().map_err(|failure| plain(&failure))?;
        Ok(())
    }
}

/// Runs statements that must see the same rows.
fn in_snapshot<T>(begin: &mut Statement, commit: &mut Statement, run: impl FnOnce() -> Result<T>) -> Result<T> {
    begin.run().map_err(|failure| plain(&failure))?;
    let result = run();
    // It has written nothing (but to temporary tables), so that this only gives the snapshot back.
    let ended = commit.run().map_err(|failure| plain(&failure));
    let value = result?;
    ended?;
    Ok(value)
}
