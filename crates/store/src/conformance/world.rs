//! What every case starts with: a small library's schema, a store for it, and short words for what is asked of it.

use super::{Factory, JsonRows};
use crate::{Answer, CommitListener, Read, Store};
use mainstay_model::*;
use std::collections::HashMap;
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
    plans: AtomicU64,
}

/// `authors(id bigint identity, name text unique, born date, rating numeric(4,2), active boolean default true)`
pub const AUTHORS: RelationId = RelationId(0);
/// `books(id integer, author_id → authors cascade, title varchar(20), price numeric(10,2) ≥ 0, added timestamptz default now())`,
/// unique (author_id, title)
pub const BOOKS: RelationId = RelationId(1);
/// `tags(id integer, label text)`
pub const TAGS: RelationId = RelationId(2);
/// `book_tags(book_id → books cascade, tag_id → tags)`
pub const BOOK_TAGS: RelationId = RelationId(3);
/// `nodes(id integer, parent → nodes, deferred)`
pub const NODES: RelationId = RelationId(4);
/// `things(id uuid default gen_random_uuid(), flag boolean, small smallint, real double precision, exact numeric, raw bytea, day date,
/// clock time, at timestamptz, doc jsonb, words text[])`
pub const THINGS: RelationId = RelationId(5);
/// `family(id integer, parent → family)`
pub const FAMILY: RelationId = RelationId(6);

/// `rename_author(id bigint, name text) returns setof authors`
pub const RENAME_AUTHOR: FunctionId = FunctionId(0);
/// `twice(n integer) returns integer`
pub const TWICE: FunctionId = FunctionId(1);
/// `announce(topic text) returns void`: emits
pub const ANNOUNCE: FunctionId = FunctionId(2);
/// `add_pair(name text) returns setof authors`: inserts an author, then one who breaks the rule
pub const ADD_PAIR: FunctionId = FunctionId(3);

fn column(name: &str, ty: Type) -> Column {
    Column {
        name: name.into(),
        ty,
        domain: None,
        not_null: false,
        default: None,
        default_text: None,
        generated: None,
        identity: None,
        comment: None,
        span: Span::default(),
    }
}

fn not_null(name: &str, ty: Type) -> Column {
    Column {
        not_null: true,
        ..column(name, ty)
    }
}

fn key(
    name: &str,
    columns: &[u32],
    target: RelationId,
    target_columns: &[u32],
    on_delete: ReferentialAction,
) -> ForeignKey {
    ForeignKey {
        name: name.into(),
        columns: columns.to_vec(),
        target,
        target_columns: target_columns.to_vec(),
        on_delete,
        on_update: ReferentialAction::NoAction,
        deferred: false,
    }
}

fn relation(name: &str, columns: Vec<Column>, table: Table) -> Relation {
    Relation {
        namespace: "public".into(),
        name: name.into(),
        store: "main".into(),
        service: None,
        columns,
        kind: RelationKind::Table(table),
        comment: None,
        grants: Vec::new(),
        span: Span::default(),
    }
}

fn table(name: &str, primary_key: &[u32]) -> Table {
    Table {
        primary_key: primary_key.to_vec(),
        primary_key_name: Some(format!("{name}_pkey").into()),
        ..Table::default()
    }
}

/// The library's schema.
pub fn library() -> Schema {
    let authors = relation(
        "authors",
        vec![
            Column {
                identity: Some(IdentityColumn::ByDefault),
                ..not_null("id", Type::Int8)
            },
            not_null("name", Type::Text),
            column("born", Type::Date),
            column("rating", Type::Numeric(Some((4, 2)))),
            Column {
                default: Some(Expr::literal(Value::Bool(true), Type::Bool)),
                ..not_null("active", Type::Bool)
            },
        ],
        Table {
            uniques: vec![Unique {
                name: "authors_name_key".into(),
                columns: vec![1],
                nulls_not_distinct: false,
            }],
            ..table("authors", &[0])
        },
    );
    let price = Expr::compare(
        Operator::Ge,
        Expr::column(3, Type::Numeric(Some((10, 2)))),
        Expr::literal(number("0"), Type::Numeric(None)),
    );
    let books = relation(
        "books",
        vec![
            not_null("id", Type::Int4),
            not_null("author_id", Type::Int8),
            not_null("title", Type::Varchar(Some(20))),
            column("price", Type::Numeric(Some((10, 2)))),
            Column {
                default: Some(Expr::new(ExprKind::Call(Builtin::Now, Vec::new()), Type::TimestampTz)),
                ..not_null("added", Type::TimestampTz)
            },
        ],
        Table {
            uniques: vec![Unique {
                name: "books_author_id_title_key".into(),
                columns: vec![1, 2],
                nulls_not_distinct: false,
            }],
            foreign_keys: vec![key(
                "books_author_id_fkey",
                &[1],
                AUTHORS,
                &[0],
                ReferentialAction::Cascade,
            )],
            checks: vec![Check {
                name: "books_price_check".into(),
                expr: price,
            }],
            ..table("books", &[0])
        },
    );
    let tags = relation(
        "tags",
        vec![not_null("id", Type::Int4), not_null("label", Type::Text)],
        table("tags", &[0]),
    );
    let book_tags = relation(
        "book_tags",
        vec![not_null("book_id", Type::Int4), not_null("tag_id", Type::Int4)],
        Table {
            foreign_keys: vec![
                key("book_tags_book_id_fkey", &[0], BOOKS, &[0], ReferentialAction::Cascade),
                key("book_tags_tag_id_fkey", &[1], TAGS, &[0], ReferentialAction::NoAction),
            ],
            ..table("book_tags", &[0, 1])
        },
    );
    let nodes = relation(
        "nodes",
        vec![not_null("id", Type::Int4), column("parent", Type::Int4)],
        Table {
            foreign_keys: vec![ForeignKey {
                deferred: true,
                ..key("nodes_parent_fkey", &[1], NODES, &[0], ReferentialAction::NoAction)
            }],
            ..table("nodes", &[0])
        },
    );
    let things = relation(
        "things",
        vec![
            Column {
                default: Some(Expr::new(
                    ExprKind::Call(Builtin::GenRandomUuid, Vec::new()),
                    Type::Uuid,
                )),
                ..not_null("id", Type::Uuid)
            },
            column("flag", Type::Bool),
            column("small", Type::Int2),
            column("real", Type::Float8),
            column("exact", Type::Numeric(None)),
            column("raw", Type::Bytea),
            column("day", Type::Date),
            column("clock", Type::Time),
            column("at", Type::TimestampTz),
            column("doc", Type::Jsonb),
            column("words", Type::Array(Box::new(Type::Text))),
        ],
        table("things", &[0]),
    );
    let family = relation(
        "family",
        vec![not_null("id", Type::Int4), column("parent", Type::Int4)],
        Table {
            foreign_keys: vec![key(
                "family_parent_fkey",
                &[1],
                FAMILY,
                &[0],
                ReferentialAction::NoAction,
            )],
            ..table("family", &[0])
        },
    );
    let mut schema = Schema {
        relations: vec![authors, books, tags, book_tags, nodes, things, family],
        functions: functions(),
        enums: HashMap::new(),
        namespaces: vec!["public".into()],
        has_grants: true,
        ..Schema::default()
    };
    schema.index();
    schema.relate();
    schema
}

fn function(name: &str, args: &[(&str, Type)], returns: Returns, body: Vec<Statement>, writes: bool) -> Function {
    Function {
        namespace: "public".into(),
        name: name.into(),
        store: "main".into(),
        service: None,
        args: args
            .iter()
            .map(|(name, ty)| Argument {
                name: (*name).into(),
                ty: ty.clone(),
                default: None,
                variadic: false,
            })
            .collect(),
        returns,
        volatility: if writes {
            Volatility::Volatile
        } else {
            Volatility::Immutable
        },
        security_definer: false,
        strict: false,
        body,
        writes,
        comment: None,
        grants: vec!["public".into()],
        span: Span::default(),
    }
}

fn functions() -> Vec<Function> {
    let author_columns = || {
        [
            ("id", Type::Int8),
            ("name", Type::Text),
            ("born", Type::Date),
            ("rating", Type::Numeric(Some((4, 2)))),
            ("active", Type::Bool),
        ]
        .into_iter()
        .enumerate()
        .map(|(i, (name, ty))| Projected {
            expr: Expr::column(i as u32, ty),
            name: name.into(),
        })
        .collect::<Vec<_>>()
    };
    let rename = Update {
        with: Vec::new(),
        relation: RelationRef::new(AUTHORS),
        set: vec![(1, Expr::param(1, Type::Text))],
        from: Vec::new(),
        filter: Some(Expr::compare(
            Operator::Eq,
            Expr::column(0, Type::Int8),
            Expr::param(0, Type::Int8),
        )),
        check: None,
        returning: author_columns(),
    };
    let select = |expr: Expr, name: &str| {
        Statement::Select(Box::new(Select {
            projection: vec![Projected {
                expr,
                name: name.into(),
            }],
            ..Select::default()
        }))
    };
    let twice = Expr::new(
        ExprKind::Operator(
            Operator::Mul,
            vec![Expr::param(0, Type::Int4), Expr::literal(Value::Int(2), Type::Int4)],
        ),
        Type::Int4,
    );
    let payload = Expr::new(
        ExprKind::Call(
            Builtin::JsonBuildObject,
            vec![
                Expr::literal(Value::Text("told".into()), Type::Text),
                Expr::literal(Value::Bool(true), Type::Bool),
            ],
        ),
        Type::Jsonb,
    );
    let emit = Expr::new(
        ExprKind::Call(
            Builtin::Emit,
            vec![
                Expr::param(0, Type::Text),
                payload,
                Expr::literal(Value::Text("k".into()), Type::Text),
            ],
        ),
        Type::Void,
    );
    let insert = |name: Expr| {
        Statement::Insert(Box::new(Insert {
            with: Vec::new(),
            relation: RelationRef::new(AUTHORS),
            columns: vec![1],
            source: Some(Select {
                values: vec![vec![name]],
                ..Select::default()
            }),
            conflict: None,
            check: None,
            returning: author_columns(),
        }))
    };
    vec![
        function(
            "rename_author",
            &[("id", Type::Int8), ("name", Type::Text)],
            Returns::SetOfRow(AUTHORS),
            vec![Statement::Update(Box::new(rename))],
            true,
        ),
        function(
            "twice",
            &[("n", Type::Int4)],
            Returns::Scalar(Type::Int4),
            vec![select(twice, "twice")],
            false,
        ),
        function(
            "announce",
            &[("topic", Type::Text)],
            Returns::Void,
            vec![select(emit, "emit")],
            true,
        ),
        function(
            "add_pair",
            &[("name", Type::Text)],
            Returns::SetOfRow(AUTHORS),
            vec![
                insert(Expr::param(0, Type::Text)),
                insert(Expr::literal(Value::Null, Type::Text)),
            ],
            true,
        ),
    ]
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
            shape: &shape,
            params,
            identity: &self.identity,
            representation: &JsonRows,
        };
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
            visible: None,
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
