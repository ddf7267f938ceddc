//! What a store was slow to answer or to do: told of with its statements, their plan and the request behind it. Who is fast pays
//! for none of it: of a request there is a reference, and its name is made when something was slow.

use crate::engine::{Engine, Question};
use crate::statements::Statement;
use ahash::RandomState;
use mainstay_model::{Action, Error, Identity, Representation, Result, Transaction};
use mainstay_store::{Explain, Explanation, Store};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A statement that stays slow is told of so often.
pub const SLOW_EVERY: Duration = Duration::from_secs(10);

/// Writes of which it is known when they were last told of.
const WRITES_MAX: usize = 1024;

/// Who is told of what is slow.
type Told = Arc<dyn Fn(SlowOperation) + Send + Sync>;

/// When something is slow, and who is told.
#[derive(Clone)]
pub struct Slow {
    /// The store took this long or longer.
    pub(crate) after: Duration,
    told: Told,
    writes: Arc<Mutex<HashMap<u64, Instant, RandomState>>>,
    hasher: RandomState,
}

/// Something slow.
pub struct SlowOperation {
    /// The request, as [`Named::name`] has it; of what nobody asked for, nothing.
    pub request: Option<String>,
    /// Whose.
    pub role: Arc<str>,
    /// What reads with this statement have cost until now; of a write nothing.
    pub statement: Option<Statement>,
    /// How long the store took.
    pub took: Duration,
    /// The statements and their plan, or why there are none.
    pub explanation: Result<Explanation>,
}

/// What can say which request it is.
pub trait Named: Sync {
    /// Method, path and trace, for a log.
    fn name(&self) -> String;
}

/// The request behind an operation, if there is one.
#[derive(Clone, Copy, Default)]
pub struct Asked<'r>(pub Option<&'r dyn Named>);

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().unwrap_or_default())
    }
}

impl Asked<'_> {
    fn name(self) -> Option<String> {
        self.0.map(Named::name)
    }
}

/// Whether what took long is told of: it succeeded, or was cancelled for taking so long.
pub(crate) fn is_worth_telling(error: Option<&Error>) -> bool {
    error.is_none_or(|error| error.code == "57014")
}

impl Slow {
    /// Has `told` told of what takes so long, of one statement at most every [`SLOW_EVERY`].
    pub fn new(after: Duration, told: impl Fn(SlowOperation) + Send + Sync + 'static) -> Slow {
        Slow {
            after,
            told: Arc::new(told),
            writes: Arc::default(),
            hasher: RandomState::new(),
        }
    }

    /// A write was slow.
    pub(crate) fn write(
        &self,
        store: &Arc<dyn Store>,
        transaction: Transaction,
        identity: &Identity,
        representations: &[Arc<dyn Representation>],
        took: Duration,
        asked: Asked<'_>,
    ) {
        if !self.is_time_to_tell(&transaction, &identity.role) {
            return;
        }
        let request = asked.name();
        let (store, told) = (store.clone(), self.told.clone());
        let (identity, representations) = (identity.clone(), representations.to_vec());
        tokio::spawn(async move {
            let wanted = Explain::default();
            let explained = store
                .explain_write(&transaction, &identity, &representations, wanted)
                .await;
            told(SlowOperation {
                request,
                role: identity.role,
                statement: None,
                took,
                explanation: explained.map(|steps| {
                    let mut all = Explanation {
                        statements: Vec::new(),
                        plan: String::new(),
                    };
                    for step in steps {
                        all.statements.extend(step.statements);
                        all.plan.push_str(&step.plan);
                        all.plan.push('\n');
                    }
                    all
                }),
            });
        });
    }

    /// Whether a write like this one was not told of for so long; it is then counted as told of.
    fn is_time_to_tell(&self, transaction: &Transaction, role: &str) -> bool {
        let mut what: Vec<(u8, u32)> = Vec::with_capacity(transaction.steps.len());
        for step in &transaction.steps {
            what.push(match &step.action {
                Action::Insert { relation, .. } => (0, relation.relation.0),
                Action::Update { relation, .. } => (1, relation.relation.0),
                Action::Delete { relation, .. } => (2, relation.relation.0),
                Action::Call(call) => (3, call.function.0),
                Action::Read => (4, 0),
            });
        }
        let key = self.hasher.hash_one((what, role));
        let mut writes = self.writes.lock().unwrap_or_else(|e| e.into_inner());
        if writes.get(&key).is_some_and(|told| told.elapsed() < SLOW_EVERY) {
            return false;
        }
        if writes.len() >= WRITES_MAX {
            writes.clear();
        }
        writes.insert(key, Instant::now());
        true
    }
}

impl Engine {
    /// A read was slow.
    pub(crate) fn slow_read(&self, question: Question<'_>, took: Duration) {
        let plan = question.plan;
        let Some(slow) = self
            .inner
            .slow
            .as_ref()
            .filter(|_| plan.cost.is_time_to_tell(SLOW_EVERY))
        else {
            return;
        };
        let request = question.asked.name();
        let (engine, told) = (self.clone(), slow.told.clone());
        let (identity, representation) = (question.identity.clone(), question.representation.clone());
        let mut statement = Statement::of(plan, &identity.role);
        statement.params.clone_from(&question.query.params);
        tokio::spawn(async move {
            let wanted = Explain::default();
            let explanation = engine.explain(&statement, &identity, &*representation, wanted).await;
            told(SlowOperation {
                request,
                role: identity.role,
                statement: Some(statement),
                took,
                explanation,
            });
        });
    }
}
