//! Who may do what: privileges checked, views expanded, policies added, functions' bodies given the rights they run with. What
//! comes out of here can be handed to a store as it is; nothing else in the product decides this.

mod inline;
mod policy;
mod query;
mod statement;
mod transaction;

pub(crate) use transaction::transaction;

use mainstay_model::{
    Claim, Error, Expr, FunctionId, Item, Policy, Projected, QueryShape, RelationId, RelationRef, Result, Schema,
    Source, SourceId, Statement,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How deep views, policies and functions may refer to one another.
const DEPTH_MAX: usize = 32;

/// What authorisation found out on its way.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Every claim that decides what is seen.
    pub claims: BTreeSet<Claim>,
    /// Why an answer must not be kept, if it must not.
    pub volatile: Option<&'static str>,
    /// Whether a policy decides about rows of any table that is read.
    pub policed: bool,
    /// The stores reached.
    pub stores: BTreeSet<Arc<str>>,
}

/// Stands for every column of a row source: no grant on single columns covers it.
const WHOLE_ROW: u32 = u32::MAX;

/// Whose rights a statement runs with.
#[derive(Clone, Debug)]
enum Rights {
    /// The owner's: no privilege and no policy stands in the way.
    Owner,
    /// A role's.
    Role(Arc<str>),
}

/// Columns read, per row source.
type Used = BTreeMap<SourceId, BTreeSet<u32>>;

/// Walks an operation and adds security to it.
pub(crate) struct Authoriser<'a> {
    schema: &'a Schema,
    /// With which the relations at hand are read.
    rights: Rights,
    /// Of the current user: those of whoever asks, or of the owner in a function that is a `SECURITY DEFINER`. An ordinary view lends its
    /// owner's rights to its relations; the functions that it calls, and the views over it that are `security_invoker`, have these.
    user: Rights,
    /// Relations whose policies are being expanded, against recursion.
    policies: Vec<RelationId>,
    depth: usize,
    /// Row sources of inlined bodies are numbered from here.
    next_source: u32,
    used: Used,
    pub facts: Facts,
}

impl<'a> Authoriser<'a> {
    /// For a caller's role.
    pub fn new(schema: &'a Schema, role: &Arc<str>) -> Authoriser<'a> {
        let rights = if &**role == "service_role" {
            Rights::Owner
        } else {
            Rights::Role(role.clone())
        };
        Authoriser {
            schema,
            user: rights.clone(),
            rights,
            policies: Vec::new(),
            depth: 0,
            next_source: 1 << 16,
            used: Used::new(),
            facts: Facts::default(),
        }
    }

    /// A function's statements with the rights that they run with.
    fn body(&mut self, id: FunctionId) -> Result<Vec<Statement>> {
        let schema = self.schema;
        let function = schema.function(id);
        let user = if function.security_definer {
            Rights::Owner
        } else {
            self.user.clone()
        };
        let outer = std::mem::replace(&mut self.user, user.clone());
        let body = self.within(user, |inner| function.body.iter().map(|s| inner.statement(s)).collect());
        self.user = outer;
        body
    }

    /// Runs with other rights, one level deeper, with row sources of its own.
    fn within<T>(&mut self, rights: Rights, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new(
                "54001",
                "stack depth limit exceeded: views, policies or functions refer to one another",
            ));
        }
        let outer_rights = std::mem::replace(&mut self.rights, rights);
        let outer_used = std::mem::take(&mut self.used);
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        self.used = outer_used;
        self.rights = outer_rights;
        result
    }
}

/// A function's statements as the service role runs them: what an engine that translates has to be able to translate.
pub fn body_of(schema: &Schema, function: FunctionId) -> Result<Vec<Statement>> {
    Authoriser::new(schema, &"service_role".into()).body(function)
}

/// Every row and column of a relation as the service role reads them: of a view, what an engine that translates has to be able to
/// translate.
pub fn rows_of(schema: &Schema, relation: RelationId) -> Result<QueryShape> {
    Authoriser::new(schema, &"service_role".into()).shape(&every_row(schema, relation))
}

/// The rows that each condition of a policy lets through, as above.
pub fn rows_of_policy(schema: &Schema, relation: RelationId, policy: &Policy) -> Result<Vec<QueryShape>> {
    let conditions = policy.using.iter().chain(&policy.check);
    conditions
        .map(|condition| {
            let shape = QueryShape {
                filter: Some(condition.clone()),
                ..every_row(schema, relation)
            };
            Authoriser::new(schema, &"service_role".into()).shape(&shape)
        })
        .collect()
}

fn every_row(schema: &Schema, relation: RelationId) -> QueryShape {
    let columns = schema.relation(relation).columns.iter().enumerate();
    QueryShape {
        select: columns
            .map(|(at, column)| {
                Item::Field(Projected {
                    expr: Expr::column(at as u32, column.ty.clone()),
                    name: column.name.clone(),
                })
            })
            .collect(),
        ..QueryShape::of(Source::Relation(RelationRef::new(relation)))
    }
}
