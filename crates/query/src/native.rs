//! Which store an operation goes to, found before anything is authorised: where the database enforces its own privileges and
//! policies, nothing is added to what a dialect asked.

use mainstay_model::{
    Action, EmbedJoin, Error, FunctionId, Item, QueryShape, RelationId, Result, Schema, Source, Transaction,
};
use std::sync::Arc;

/// The store that answers a shape, if it enforces privileges itself. Error: 0A000 when it would take another one, too.
pub(crate) fn of_shape(
    schema: &Schema,
    shape: &QueryShape,
    is_native: &dyn Fn(&str) -> bool,
) -> Result<Option<Arc<str>>> {
    let mut found = Found::new(schema);
    found.shape(shape);
    found.native(is_native)
}

/// The store that a transaction goes to, if it enforces privileges itself. Error: 0A000 when it would take another one, too.
pub(crate) fn of_transaction(
    schema: &Schema,
    transaction: &Transaction,
    is_native: &dyn Fn(&str) -> bool,
) -> Result<Option<Arc<str>>> {
    let mut found = Found::new(schema);
    for step in &transaction.steps {
        match &step.action {
            Action::Insert { relation, .. } | Action::Update { relation, .. } | Action::Delete { relation, .. } => {
                found.relation(relation.relation);
            }
            Action::Call(call) => found.function(call.function),
            Action::Read => {}
        }
        if let Some(returning) = &step.returning {
            found.shape(returning);
        }
    }
    found.native(is_native)
}

/// The stores that an operation names: mostly one.
struct Found<'a> {
    schema: &'a Schema,
    stores: Vec<&'a Arc<str>>,
}

impl<'a> Found<'a> {
    fn new(schema: &'a Schema) -> Found<'a> {
        Found {
            schema,
            stores: Vec::new(),
        }
    }

    fn shape(&mut self, shape: &QueryShape) {
        match &shape.from {
            Source::Relation(relation) => self.relation(relation.relation),
            Source::Call(call) => self.function(call.function),
        }
        for item in &shape.select {
            if let Item::Embed(embed) = item {
                if let EmbedJoin::Through { junction, .. } = &embed.join {
                    self.relation(junction.relation);
                }
                self.shape(&embed.query);
            }
        }
    }

    fn relation(&mut self, id: RelationId) {
        self.store(&self.schema.relation(id).store);
    }

    fn function(&mut self, id: FunctionId) {
        self.store(&self.schema.function(id).store);
    }

    fn store(&mut self, store: &'a Arc<str>) {
        if !self.stores.contains(&store) {
            self.stores.push(store);
        }
    }

    fn native(self, is_native: &dyn Fn(&str) -> bool) -> Result<Option<Arc<str>>> {
        if !self.stores.iter().any(|store| is_native(store)) {
            return Ok(None);
        }
        match self.stores.as_slice() {
            [first, second, ..] => Err(Error::unsupported(format!(
                "one operation cannot span the stores \"{first}\" and \"{second}\""
            ))
            .hint("ask for each by itself; let an event carry a change to the other store")),
            stores => Ok(stores.first().map(|store| (*store).clone())),
        }
    }
}
