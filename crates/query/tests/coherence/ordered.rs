//! Pages of random tables in the order of a column that is not selected, against SQLite: a change of that column alone may put
//! another row on the page, and the cache has to know.

use crate::predicates::{Filter, Found, Maker, TABLE, Table, value};
use crate::world::{Random, wait};
use mainstay_cache::{Cache, Config};
use mainstay_model::*;
use mainstay_query::{CacheVerdict, Engine, ReadOptions};
use mainstay_store::Store;
use mainstay_store::conformance::JsonRows;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pages of one table.
const PAGES: usize = 24;
/// Changes, each of one column of one row.
const CHANGES: usize = 24;

/// A page in the cache.
struct Page {
    query: Query,
    about: String,
    answer: bytes::Bytes,
}

/// Engines over one table, with a cache and without.
struct Engines {
    cached: Engine,
    fresh: Engine,
}

impl Engines {
    fn of(table: &Table) -> Engines {
        let cache = Cache::new(Config {
            bound: Duration::from_secs(20),
            ..Config::default()
        });
        let engine = |cache| Engine::new(table.schema.clone(), vec![table.store.clone() as Arc<dyn Store>], cache);
        let engines = Engines {
            cached: engine(Some(cache.clone())),
            fresh: engine(None),
        };
        cache.proved(0, Instant::now());
        engines
    }

    fn ask(engine: &Engine, query: &Query) -> Result<(bytes::Bytes, CacheVerdict)> {
        let representation: Arc<dyn Representation> = Arc::new(JsonRows);
        let identity = Identity::service();
        let reply = wait(engine.read(query, &identity, &representation, ReadOptions::default()))?;
        Ok((reply.body, reply.cache))
    }
}

/// Up to three ids of the rows that match, in the order of some column.
fn page(table: &Table, filter: Filter, r: &mut Random) -> (Query, String) {
    let mut shape = QueryShape::of(Source::Relation(RelationRef::new(TABLE)));
    shape.select = vec![Item::Field(Projected {
        expr: Expr::column(0, Type::Int4),
        name: "id".into(),
    })];
    let by = |column: u32, descending: bool| OrderBy {
        expr: Expr::column(column, table.columns[column as usize].0.clone()),
        descending,
        nulls_first: descending,
    };
    let orderable: Vec<u32> = (1..table.columns.len() as u32)
        .filter(|n| !matches!(table.columns[*n as usize].0, Type::Jsonb | Type::Array(_)))
        .collect();
    let column = r.of(&orderable);
    shape.order = vec![by(column, r.one_in(2)), by(0, false)];
    let about = format!("{:?} by column {column}", filter.expr);
    let mut params = filter.params;
    shape.limit = Some(params.len() as u16);
    params.push(Value::Int(1 + r.below(3) as i64));
    // Half of them look at all rows, so that the order alone decides.
    if r.one_in(2) {
        shape.filter = Some(filter.expr);
    }
    let shape = Arc::new(shape);
    (Query { shape, params }, about)
}

/// A new value for one column of one row, written to the store.
fn change(table: &Table, r: &mut Random) {
    let column = 1 + r.below(table.columns.len() - 1);
    let (ty, texts) = table.columns[column].clone();
    let id = Expr::literal(Value::Int(r.below(table.rows.len()) as i64), Type::Int4);
    let update = Action::Update {
        relation: RelationRef::new(TABLE),
        set: vec![(column as u32, Cell::Value(value(&ty, texts, 6, r)))],
        filter: Some(Expr::compare(Operator::Eq, Expr::column(0, Type::Int4), id)),
        order: Vec::new(),
        limit: None,
        offset: 0,
        check: None,
    };
    let transaction = Transaction {
        steps: vec![Step::new(update)],
        ..Transaction::default()
    };
    wait(table.store.write(&transaction, &Identity::service())).unwrap();
}

/// Adds what comes of one table to what was found.
pub fn check(table: &Table, r: &mut Random, found: &mut Found) {
    let engines = Engines::of(table);
    let mut pages: Vec<Page> = Vec::new();
    while pages.len() < PAGES {
        let filter = Maker::filter(table, r);
        let (query, about) = page(table, filter, r);
        match Engines::ask(&engines.cached, &query) {
            Ok((answer, CacheVerdict::Stored | CacheVerdict::Hit)) => pages.push(Page { query, about, answer }),
            Ok((_, verdict)) => panic!("{about} was not kept: {verdict:?}"),
            Err(error) => assert_eq!(&*error.code, "0A000", "{error}: {about}"),
        }
    }
    for _ in 0..CHANGES {
        change(table, r);
        for page in &mut pages {
            let (now, _) = Engines::ask(&engines.fresh, &page.query).unwrap();
            let (served, verdict) = Engines::ask(&engines.cached, &page.query).unwrap();
            found.pages += 1;
            found.pages_kept += usize::from(verdict == CacheVerdict::Hit);
            found.pages_changed += usize::from(now != page.answer);
            if served != now {
                found.wrong.push(format!("a page is served as it was: {}", page.about));
            }
            page.answer = now;
        }
    }
}
