//! What every case starts with: a small library's schema, a store for it, and short words for what is asked of it.

pub use super::library::*;
use super::{Factory, JsonRows};
use crate::{Answer, CommitListener, Read, Store};
use mainstay_model::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A store with the library's tables, empty.
pub struct World {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The library.
    pub schema: Arc<Schema>,
    /// Who asks.
    pub identity: Identity,
    pub(super) plans: AtomicU64,
}

/// A numeric value.
pub fn number(text: &str) -> Value {
    Value::Numeric(Decimal::parse(text).unwrap_or(Decimal::ZERO))
}

/// A text value.
pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Collects what the suite's listeners are told.
#[derive(Default)]
pub struct Recorder {
    /// Transactions in the order in which they were told.
    pub told: std::sync::Mutex<Vec<Changes>>,
}

impl CommitListener for Recorder {
    fn committed(&self, changes: &Changes) {
        self.told
            .lock()
            .unwrap_or_else(|p| p.into_inner())
            .push(changes.clone());
    }

    fn voided(&self, _: u16, _: &str) {}
}

impl Recorder {
    /// A copy of what was told so far.
    pub fn told(&self) -> Vec<Changes> {
        self.told.lock().unwrap_or_else(|p| p.into_inner()).clone()
    }
}

impl World {
    /// Over a store that was opened for [`library`].
    pub fn over(store: Arc<dyn Store>, schema: Arc<Schema>) -> World {
        World {
            store,
            schema,
            identity: Identity::service(),
            plans: AtomicU64::new(0),
        }
    }

    pub(super) async fn open(factory: &dyn Factory) -> World {
        let schema = Arc::new(library());
        let captured = [
            (BOOKS, ChangeKind::Insert),
            (BOOKS, ChangeKind::Update),
            (BOOKS, ChangeKind::Delete),
            (AUTHORS, ChangeKind::Insert),
        ];
        let store = factory.open(schema.clone(), &captured).await;
        World::over(store, schema)
    }

    /// A column of a relation as an expression.
    pub fn column(&self, relation: RelationId, name: &str) -> Expr {
        let found = &self.schema.relation(relation);
        let index = found.column(name).unwrap_or_else(|| panic!("no column {name}"));
        Expr::column(index, found.columns[index as usize].ty.clone())
    }

    /// `column = value`
    pub fn equals(&self, relation: RelationId, name: &str, value: Value) -> Expr {
        let column = self.column(relation, name);
        let ty = column.ty.clone();
        Expr::compare(Operator::Eq, column, Expr::literal(value, ty))
    }

    /// A query of some columns.
    pub fn query(&self, relation: RelationId, columns: &[&str]) -> QueryShape {
        QueryShape {
            select: columns
                .iter()
                .map(|name| {
                    Item::Field(Projected {
                        expr: self.column(relation, name),
                        name: (*name).into(),
                    })
                })
                .collect(),
            ..QueryShape::of(Source::Relation(RelationRef::new(relation)))
        }
    }

    /// Ascending, nulls last.
    pub fn by(&self, relation: RelationId, name: &str) -> OrderBy {
        OrderBy {
            expr: self.column(relation, name),
            descending: false,
            nulls_first: false,
        }
    }

    /// Asks, with a plan of its own.
    pub async fn read(&self, shape: QueryShape, params: &[Value]) -> Result<Answer> {
        let shape = Arc::new(shape);
        let plan = self.plans.fetch_add(1, Ordering::Relaxed);
        let read = Read {
            plan,
            kept: true,
            shape: &shape,
            params,
            identity: &self.identity,
            representation: &JsonRows,
        };
        // Every second time as one who does not want to wait, so that both ways mean the same.
        if plan.is_multiple_of(2)
            && let Some(answer) = self.store.read_at_once(read, false)
        {
            return answer;
        }
        self.store.read(read).await
    }

    /// What a query answers, as JSON.
    pub async fn rows(&self, shape: QueryShape) -> String {
        let answer = self
            .read(shape, &[])
            .await
            .unwrap_or_else(|e| panic!("a read failed: {e}"));
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    /// All rows of a relation by its key, some columns.
    pub async fn table(&self, relation: RelationId, columns: &[&str]) -> String {
        let order = self.schema.relation(relation).primary_key().to_vec();
        let shape = QueryShape {
            order: order
                .iter()
                .map(|c| {
                    let name = self.schema.relation(relation).columns[*c as usize].name.clone();
                    self.by(relation, &name)
                })
                .collect(),
            ..self.query(relation, columns)
        };
        self.rows(shape).await
    }

    /// An insertion.
    pub fn insert(&self, relation: RelationId, columns: &[&str], rows: Vec<Vec<Value>>) -> Step {
        let found = self.schema.relation(relation);
        Step::new(Action::Insert {
            relation: RelationRef::new(relation),
            columns: columns
                .iter()
                .map(|name| found.column(name).unwrap_or_else(|| panic!("no column {name}")))
                .collect(),
            rows: rows
                .into_iter()
                .map(|row| row.into_iter().map(Cell::Value).collect())
                .collect(),
            conflict: None,
            check: None,
            updated: None,
        })
    }

    /// An update.
    pub fn update(&self, relation: RelationId, set: &[(&str, Value)], filter: Option<Expr>) -> Step {
        let found = self.schema.relation(relation);
        Step::new(Action::Update {
            relation: RelationRef::new(relation),
            set: set
                .iter()
                .map(|(name, value)| {
                    (
                        found.column(name).unwrap_or_else(|| panic!("no column {name}")),
                        Cell::Value(value.clone()),
                    )
                })
                .collect(),
            filter,
            order: Vec::new(),
            limit: None,
            offset: 0,
            check: None,
        })
    }

    /// A deletion.
    pub fn delete(&self, relation: RelationId, filter: Option<Expr>) -> Step {
        Step::new(Action::Delete {
            relation: RelationRef::new(relation),
            filter,
            order: Vec::new(),
            limit: None,
            offset: 0,
        })
    }

    /// A call.
    pub fn call(&self, function: FunctionId, args: Vec<Value>) -> Call {
        let found = self.schema.function(function);
        Call {
            function,
            args: args
                .into_iter()
                .zip(&found.args)
                .map(|(value, arg)| Expr::literal(value, arg.ty.clone()))
                .collect(),
            body: Some(Arc::new(found.body.clone())),
        }
    }

    /// Writes one transaction; what steps return is JSON.
    pub async fn transact(&self, transaction: Transaction) -> Result<Committed> {
        let json: Arc<dyn Representation> = Arc::new(JsonRows);
        let representations = vec![json; transaction.steps.len()];
        self.store
            .write_as(&transaction, &self.identity, &representations)
            .await
    }

    /// Writes one step.
    pub async fn write(&self, step: Step) -> Result<StepOutcome> {
        let committed = self
            .transact(Transaction {
                steps: vec![step],
                ..Transaction::default()
            })
            .await?;
        Ok(committed.outcomes.into_iter().next().unwrap_or_default())
    }

    /// Writes one step that must succeed.
    pub async fn done(&self, step: Step) -> StepOutcome {
        self.write(step).await.unwrap_or_else(|e| panic!("a write failed: {e}"))
    }

    /// Writes one step that must fail.
    pub async fn refused(&self, step: Step) -> Error {
        match self.write(step).await {
            Ok(outcome) => panic!("a write that must fail did {outcome:?}"),
            Err(error) => error,
        }
    }

    /// Two authors, three books, two tags.
    pub async fn fill(&self) {
        let author = |id, name: &str, rating: Value| vec![Value::Int(id), text(name), Value::Date(0), rating];
        let authors = vec![
            author(1, "Ann", number("4.50")),
            author(2, "Bob", Value::Null),
            author(3, "Cyd", number("-1.25")),
        ];
        self.done(self.insert(AUTHORS, &["id", "name", "born", "rating"], authors))
            .await;
        let book =
            |id, author, title: &str, price: &str| vec![Value::Int(id), Value::Int(author), text(title), number(price)];
        let books = vec![
            book(10, 1, "Air", "9.90"),
            book(11, 1, "Bees", "20.00"),
            book(12, 2, "Cats", "0.50"),
        ];
        self.done(self.insert(BOOKS, &["id", "author_id", "title", "price"], books))
            .await;
        let tag = |id, label: &str| vec![Value::Int(id), text(label)];
        self.done(self.insert(TAGS, &["id", "label"], vec![tag(1, "old"), tag(2, "new")]))
            .await;
        let pair = |book, tag| vec![Value::Int(book), Value::Int(tag)];
        self.done(self.insert(
            BOOK_TAGS,
            &["book_id", "tag_id"],
            vec![pair(10, 1), pair(10, 2), pair(12, 2)],
        ))
        .await;
    }

    /// The outbox's records, all.
    pub async fn outbox(&self) -> Vec<OutboxRecord> {
        self.store
            .outbox(0, 10_000)
            .await
            .unwrap_or_else(|e| panic!("the outbox cannot be read: {e}"))
    }
}

/// Polls all futures until each is done: as many clients on one thread.
pub async fn all<T>(futures: Vec<crate::BoxFuture<'_, T>>) -> Vec<T> {
    let mut waiting: Vec<_> = futures.into_iter().map(Some).collect();
    let mut done: Vec<Option<T>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, slot) in waiting.iter_mut().zip(&mut done) {
            if let Some(running) = future
                && let std::task::Poll::Ready(value) = running.as_mut().poll(context)
            {
                *slot = Some(value);
                *future = None;
            }
        }
        if waiting.iter().any(Option::is_some) {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(std::mem::take(&mut done).into_iter().flatten().collect())
    })
    .await
}
