//! The library: the schema that every case starts with, built by hand so that no parser stands between the suite and the store.

use super::world::number;
use mainstay_model::*;
use std::collections::HashMap;

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
            updated: None,
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
