//! What a read or a transaction is about, so that those who wait for one table, which somebody has locked, do not hold up the others.

use mainstay_model::{Action, FunctionId, QueryShape, RelationId, Source, Transaction};

/// A table, a view, a function, or none of them. A number means the same within one generation of the schema; where two mix, they share
/// what others have alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct About(u64);

impl About {
    /// What Mainstay asks for itself.
    pub const NOTHING: About = About(u64::MAX);

    /// A read: of what it names first.
    pub fn read(shape: &QueryShape) -> About {
        match &shape.from {
            Source::Relation(relation) => About::relation(relation.relation),
            Source::Call(call) => About::function(call.function),
        }
    }

    /// A transaction: of what its first step changes.
    pub fn transaction(transaction: &Transaction) -> About {
        match transaction.steps.first().map(|step| &step.action) {
            Some(Action::Call(call)) => About::function(call.function),
            Some(
                Action::Insert { relation, .. } | Action::Update { relation, .. } | Action::Delete { relation, .. },
            ) => About::relation(relation.relation),
            _ => About::NOTHING,
        }
    }

    fn relation(id: RelationId) -> About {
        About(u64::from(id.0))
    }

    fn function(id: FunctionId) -> About {
        About(1 << 32 | u64::from(id.0))
    }
}
