//! The tables of accounts, their columns found by name, and the operations that are asked of them.

use crate::fault::Result;
use crate::rows::{Fields, Rows};
use mainstay_model::{
    Action, Cell, Committed, Error, Expr, ExprKind, Identity, IsTest, Item, Operator, Projected, Query, QueryShape,
    RelationId, RelationRef, Representation, Retry, Schema, Source, Step, Transaction, Type, Value,
};
use mainstay_query::{Engine, ReadOptions};
use std::sync::Arc;

/// A transaction that nothing hinders is tried so often.
const ATTEMPTS: usize = 3;

/// A table with the columns that this room uses, which are numbered by their place in a constant list of names.
pub(crate) struct Table {
    relation: RelationId,
    /// In the schema's numbering.
    columns: Vec<(u32, Type, Arc<str>)>,
}

/// `column op value`, the column by its number here.
pub(crate) enum Where {
    /// `=`
    Is(usize, Value),
    /// `<>`
    Not(usize, Value),
    /// `<`
    Before(usize, Value),
    /// `>`, or NULL
    AfterOrNull(usize, Value),
}

impl Table {
    /// Finds `{namespace}.{name}`. The error says what is missing.
    pub fn find(schema: &Schema, namespace: &str, name: &str, columns: &[&str]) -> Result<Table, String> {
        let relation = schema
            .find_relation(namespace, name)
            .ok_or_else(|| format!("the schema has no table {namespace}.{name}"))?;
        let described = schema.relation(relation);
        let columns = columns
            .iter()
            .map(|column| {
                let index = described
                    .column(column)
                    .ok_or_else(|| format!("{namespace}.{name} has no column {column}"))?;
                Ok((index, described.columns[index as usize].ty.clone(), Arc::from(*column)))
            })
            .collect::<Result<_, String>>()?;
        Ok(Table { relation, columns })
    }

    /// The shape of a read of every known column by equality with `by`, in that order.
    pub fn by(&self, by: &[usize]) -> Arc<QueryShape> {
        let mut shape = QueryShape::of(Source::Relation(RelationRef::new(self.relation)));
        shape.select = (0..self.columns.len())
            .map(|column| {
                Item::Field(Projected {
                    expr: self.column(column),
                    name: self.columns[column].2.clone(),
                })
            })
            .collect();
        let equal = |(index, column): (usize, &usize)| {
            Expr::compare(
                Operator::Eq,
                self.column(*column),
                Expr::param(index as u16, self.ty(*column)),
            )
        };
        shape.filter = Some(Expr::all(by.iter().enumerate().map(equal).collect()));
        Arc::new(shape)
    }

    /// One new row.
    pub fn insert(&self, values: Vec<(usize, Value)>) -> Step {
        let (columns, row) = values
            .into_iter()
            .map(|(column, value)| (self.columns[column].0, Cell::Value(value)))
            .unzip();
        Step::new(Action::Insert {
            relation: RelationRef::new(self.relation),
            columns,
            rows: vec![row],
            conflict: None,
            check: None,
            updated: None,
        })
    }

    /// New values for the rows that match all of `filter`.
    pub fn update(&self, values: Vec<(usize, Value)>, filter: Vec<Where>) -> Step {
        let set = values
            .into_iter()
            .map(|(column, value)| (self.columns[column].0, Cell::Value(value)))
            .collect();
        let (filter, params) = self.filter(filter);
        let action = Action::Update {
            relation: RelationRef::new(self.relation),
            set,
            filter,
            order: Vec::new(),
            limit: None,
            offset: 0,
            check: None,
        };
        Step {
            params,
            ..Step::new(action)
        }
    }

    /// The rows that match all of `filter` go.
    pub fn delete(&self, filter: Vec<Where>) -> Step {
        let (filter, params) = self.filter(filter);
        let action = Action::Delete {
            relation: RelationRef::new(self.relation),
            filter,
            order: Vec::new(),
            limit: None,
            offset: 0,
        };
        Step {
            params,
            ..Step::new(action)
        }
    }

    fn filter(&self, conditions: Vec<Where>) -> (Option<Expr>, Vec<Value>) {
        let mut params = Vec::with_capacity(conditions.len());
        let conditions = conditions
            .into_iter()
            .map(|condition| {
                let (operator, column, value) = match condition {
                    Where::Is(column, value) => (Operator::Eq, column, value),
                    Where::Not(column, value) => (Operator::Ne, column, value),
                    Where::Before(column, value) => (Operator::Lt, column, value),
                    Where::AfterOrNull(column, value) => {
                        let null = Expr::condition(ExprKind::Is {
                            operand: Box::new(self.column(column)),
                            test: IsTest::Null,
                            negated: false,
                        });
                        params.push(value);
                        let param = Expr::param((params.len() - 1) as u16, self.ty(column));
                        let after = Expr::compare(Operator::Gt, self.column(column), param);
                        return Expr::any(vec![null, after]);
                    }
                };
                params.push(value);
                let param = Expr::param((params.len() - 1) as u16, self.ty(column));
                Expr::compare(operator, self.column(column), param)
            })
            .collect();
        (Some(Expr::all(conditions)), params)
    }

    fn ty(&self, column: usize) -> Type {
        self.columns[column].1.clone()
    }

    fn column(&self, column: usize) -> Expr {
        let (index, ty, _) = &self.columns[column];
        Expr::column(*index, ty.clone())
    }
}

/// Exactly one row must be touched, or the whole transaction is undone and [`undone`] is true of its error.
pub(crate) fn exactly_one(mut step: Step) -> Step {
    step.singular = true;
    step
}

/// Whether a transaction was undone because a step found not exactly one row.
pub(crate) fn undone(error: &Error) -> bool {
    error.code == "PGRST116"
}

/// The engine as this room uses it: as one role, past the cache.
pub(crate) struct Accounts {
    engine: Engine,
    /// One for all requests, since plans are found by the address of its role.
    identity: Identity,
}

impl Accounts {
    pub fn new(engine: Engine, role: &str) -> Accounts {
        Accounts {
            engine,
            identity: Identity::role(role),
        }
    }

    /// The first row of a read.
    pub async fn one(&self, shape: &Arc<QueryShape>, params: Vec<Value>) -> Result<Option<Fields>> {
        let query = Query {
            shape: shape.clone(),
            params,
        };
        let rows = Arc::new(Rows::default());
        let representation: Arc<dyn Representation> = rows.clone();
        let options = ReadOptions {
            bypass_cache: true,
            ..ReadOptions::default()
        };
        self.engine
            .read(&query, &self.identity, &representation, options)
            .await?;
        Ok(rows.take().into_iter().next())
    }

    /// All of a transaction or nothing, tried again where the store says that this is safe.
    pub async fn write(&self, transaction: Transaction) -> Result<Committed, Error> {
        let mut attempt = 1;
        loop {
            match self.engine.write(transaction.clone(), &self.identity).await {
                Err(error) if error.retry == Retry::Safe && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }
}
