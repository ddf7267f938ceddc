//! The predicate index against SQLite: random tables, random filters and random changes; SQLite says which rows match. An answer
//! that the cache keeps although a row came into it or went out of it is a mistake.

use crate::world::{Random, Scratch, open, schema, wait};
use crate::{ordered, turn};
use mainstay_cache::{Cache, Columns, Config, Footprint, Key, Lookup, Pending, ReadSet, TableReads};
use mainstay_model::*;
use mainstay_store::conformance::JsonRows;
use mainstay_store::{CommitListener, Read, Store};
use mainstay_store_sqlite::SqliteStore;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const SCHEMAS: usize = 30;
const FILTERS: usize = 100;
const CHANGES: usize = 40;
const ROWS: usize = 60;
/// Fills under way when a change comes.
const LATE: usize = 5;
pub const TABLE: RelationId = RelationId(0);

/// Types of columns, and texts of the values that they are given.
const TYPES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-3", "0", "1", "2", "3"]),
    ("integer", &["-1", "0", "1", "2", "3", "4", "5"]),
    ("bigint", &["0", "1", "2", "3", "9007199254740993"]),
    ("real", &["-0.5", "0", "-0", "0.1", "1", "2.5"]),
    ("double precision", &["-0.5", "0", "-0", "0.1", "1", "2.5", "1e300"]),
    ("numeric(6,2)", &["-2.25", "0", "1", "1.5", "1.50", "3", "10.01"]),
    (
        "numeric",
        &[
            "-2.25",
            "0",
            "1.0",
            "1.00",
            "1.5",
            "123456789012345678901234567890.5",
            "3",
        ],
    ),
    (
        "text",
        &["", "a", "A", "ab", "a%b", "a_b", "abc", "ä", "b", "a\\b", "a "],
    ),
    ("varchar(8)", &["", "a", "A", "ab", "abc", "b", "bcd", "a "]),
    ("char(3)", &["a", "ab", "abc", "b"]),
    (
        "uuid",
        &[
            "00000000-0000-0000-0000-000000000001",
            "7f000000-0000-0000-0000-000000000000",
            "f0000000-0000-0000-0000-000000000002",
        ],
    ),
    ("bytea", &["\\x", "\\x00", "\\x01ff", "\\xff"]),
    ("date", &["2026-01-01", "2026-01-02", "1999-12-31", "infinity"]),
    ("time", &["00:00:00", "12:30:00", "23:59:59.999999"]),
    (
        "timestamp",
        &[
            "2026-01-01 00:00:00",
            "2026-01-02 12:00:00",
            "1969-12-31 23:59:59.5",
            "-infinity",
        ],
    ),
    (
        "timestamptz",
        &[
            "2026-01-01 00:00:00Z",
            "2026-01-01 01:00:00+01",
            "2026-01-02 12:00:00Z",
            "infinity",
        ],
    ),
    ("mood", &["sad", "ok", "happy"]),
    ("jsonb", &["{\"a\": 1}", "{\"a\": \"x\"}", "[1, 2]", "null"]),
    ("text[]", &["{}", "{a}", "{a,b}", "{NULL}"]),
];

/// Patterns for LIKE and regular expressions that all engines read alike.
const PATTERNS: &[&str] = &[
    "a", "a%", "%b", "_", "%", "a\\%b", "a\\_b", "%a%", "__", "", "A%", "ä", "a\\\\b",
];
const EXPRESSIONS: &[&str] = &["^a", "b$", "a.b", "^$"];

/// A table of a random schema.
pub struct Table {
    pub store: Arc<SqliteStore>,
    pub schema: Arc<Schema>,
    /// Each column's type and the texts of its values.
    pub columns: Vec<(Type, &'static [&'static str])>,
    pub rows: Vec<Row>,
    _scratch: Scratch,
}

#[derive(Default)]
struct Images(Mutex<Vec<Row>>);

impl CommitListener for Images {
    fn committed(&self, changes: &Changes) {
        let mut images = self.0.lock().unwrap();
        images.extend(changes.rows.iter().filter_map(|change| change.after.clone()));
    }

    fn voided(&self, _: u16, _: &str) {}
}

impl Table {
    fn new(r: &mut Random) -> Table {
        let mut chosen: Vec<_> = (0..5 + r.below(8)).map(|_| r.of(TYPES)).collect();
        // Whose operators nobody else has.
        chosen.extend(TYPES.iter().filter(|(ty, _)| ["boolean", "text"].contains(ty)));
        let columns: String = chosen
            .iter()
            .enumerate()
            .map(|(n, (ty, _))| format!(", c{n} {ty}"))
            .collect();
        let ddl = format!(
            "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE TABLE t (id integer PRIMARY KEY{columns}); GRANT SELECT ON t TO anon;"
        );
        let scratch = Scratch::new();
        let schema = schema(&ddl);
        let store = open(&scratch, &schema);
        let images = Arc::new(Images::default());
        store.listen(images.clone());
        let mut columns = vec![(Type::Int4, &["0", "7", "30", "59"][..])];
        columns.extend(chosen.iter().enumerate().map(|(n, (_, texts))| {
            let ty = schema.relation(TABLE).columns[n + 1].ty.clone();
            (ty, *texts)
        }));
        let row = |id: usize, r: &mut Random| {
            let rest = columns
                .iter()
                .skip(1)
                .map(|(ty, texts)| Cell::Value(value(ty, texts, 6, r)));
            std::iter::once(Cell::Value(Value::Int(id as i64)))
                .chain(rest)
                .collect()
        };
        let insert = Action::Insert {
            relation: RelationRef::new(TABLE),
            columns: (0..columns.len() as u32).collect(),
            rows: (0..ROWS).map(|id| row(id, r)).collect(),
            conflict: None,
            check: None,
            updated: None,
        };
        let transaction = Transaction {
            steps: vec![Step::new(insert)],
            ..Transaction::default()
        };
        wait(store.write(&transaction, &Identity::service())).unwrap();
        let rows = std::mem::take(&mut *images.0.lock().unwrap());
        assert_eq!(rows.len(), ROWS);
        Table {
            store,
            schema,
            columns,
            rows,
            _scratch: scratch,
        }
    }

    /// The ids of the rows that match, from SQLite; an error for what it does not do.
    fn matching(&self, filter: &Filter) -> Result<HashSet<i64>> {
        static PLAN: AtomicU64 = AtomicU64::new(1 << 40);
        let mut shape = QueryShape::of(Source::Relation(RelationRef::new(TABLE)));
        shape.select = vec![Item::Field(Projected {
            expr: Expr::column(0, Type::Int4),
            name: "id".into(),
        })];
        shape.filter = Some(filter.expr.clone());
        let read = Read {
            plan: PLAN.fetch_add(1, Ordering::Relaxed),
            kept: true,
            shape: &Arc::new(shape),
            params: &filter.params,
            identity: &Identity::anon(),
            representation: &JsonRows,
        };
        let answer = wait(self.store.read(read))?;
        let rows: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        Ok(rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_i64().unwrap())
            .collect())
    }
}

pub fn value(ty: &Type, texts: &[&str], null_one_in: usize, r: &mut Random) -> Value {
    match r.one_in(null_one_in) {
        true => Value::Null,
        false => Value::parse(r.of(texts), ty).unwrap_or_else(|e| panic!("{ty}: {e}")),
    }
}

/// A filter with the values of its parameters, and which operators are in it.
pub struct Filter {
    pub expr: Expr,
    pub params: Vec<Value>,
    operators: Vec<String>,
}

/// Makes filters over a table.
pub struct Maker<'a> {
    table: &'a Table,
    r: &'a mut Random,
    params: Vec<Value>,
    operators: Vec<String>,
}

impl Maker<'_> {
    /// A random filter over a table.
    pub fn filter(table: &Table, r: &mut Random) -> Filter {
        let mut maker = Maker {
            table,
            r,
            params: Vec::new(),
            operators: Vec::new(),
        };
        let expr = maker.condition(3);
        Filter {
            expr,
            params: maker.params,
            operators: maker.operators,
        }
    }

    fn count(&mut self, operator: impl std::fmt::Debug) {
        self.operators.push(format!("{operator:?}"));
    }

    fn condition(&mut self, depth: usize) -> Expr {
        match self.r.below(if depth == 0 { 4 } else { 8 }) {
            4 | 5 => {
                self.count("AND");
                Expr::all((0..2 + self.r.below(2)).map(|_| self.condition(depth - 1)).collect())
            }
            6 => {
                self.count("OR");
                Expr::any((0..2 + self.r.below(2)).map(|_| self.condition(depth - 1)).collect())
            }
            7 => {
                self.count("NOT");
                self.condition(depth - 1).negate()
            }
            _ => self.leaf(),
        }
    }

    fn pick(&mut self) -> (Expr, Type, &'static [&'static str]) {
        let n = self.r.below(self.table.columns.len());
        let (ty, texts) = self.table.columns[n].clone();
        (Expr::column(n as u32, ty.clone()), ty, texts)
    }

    /// A constant, written out or as a parameter.
    fn constant(&mut self, value: Value, ty: &Type) -> Expr {
        match self.r.one_in(2) {
            true => Expr::literal(value, ty.clone()),
            false => {
                self.params.push(value);
                Expr::param(self.params.len() as u16 - 1, ty.clone())
            }
        }
    }

    fn some(&mut self, ty: &Type, texts: &[&str]) -> Expr {
        let value = value(ty, texts, 12, self.r);
        self.constant(value, ty)
    }

    fn comparison(&mut self) -> Operator {
        use Operator::*;
        self.r
            .of(&[Eq, Eq, Ne, Lt, Le, Gt, Ge, IsDistinctFrom, IsNotDistinctFrom])
    }

    fn leaf(&mut self) -> Expr {
        let (column, ty, texts) = self.pick();
        if ty == Type::Jsonb {
            self.count("->>");
            let key = Expr::literal(Value::Text("a".into()), Type::Text);
            let member = Expr::new(ExprKind::Operator(Operator::JsonGetText, vec![column, key]), Type::Text);
            let x = self.r.of(&["1", "x"]);
            return Expr::compare(Operator::Eq, member, Expr::literal(Value::Text(x.into()), Type::Text));
        }
        if matches!(ty, Type::Array(_)) {
            let operator = self.r.of(&[Operator::Eq, Operator::Contains]);
            self.count(("array", operator));
            let right = self.some(&ty, texts);
            return Expr::compare(operator, column, right);
        }
        if ty == Type::Bool && self.r.one_in(3) {
            let (test, negated) = (
                self.r.of(&[IsTest::True, IsTest::False, IsTest::Unknown]),
                self.r.one_in(2),
            );
            self.count(("IS", test));
            let operand = Box::new(column);
            return Expr::condition(ExprKind::Is { operand, test, negated });
        }
        if ty == Type::Bool && self.r.one_in(2) {
            self.count("flag");
            return column;
        }
        if matches!(ty, Type::Text | Type::Varchar(_)) && !self.r.one_in(4) {
            use Operator::*;
            let operator = self
                .r
                .of(&[Like, Like, NotLike, ILike, NotILike, Match, NotMatch, IMatch, NotIMatch]);
            self.count(operator);
            let patterns = if matches!(operator, Match | NotMatch | IMatch | NotIMatch) {
                EXPRESSIONS
            } else {
                PATTERNS
            };
            let pattern = self.some(&Type::Text, patterns);
            return Expr::compare(operator, column, pattern);
        }
        match self.r.below(13) {
            0 | 1 => {
                let negated = self.r.one_in(2);
                self.count("IS NULL");
                let (operand, test) = (Box::new(column), IsTest::Null);
                Expr::condition(ExprKind::Is { operand, test, negated })
            }
            2 | 3 => {
                let negated = self.r.one_in(3);
                self.count(("IN", negated));
                let list = (0..self.r.below(4)).map(|_| self.some(&ty, texts)).collect();
                let operand = Box::new(column);
                Expr::condition(ExprKind::In { operand, list, negated })
            }
            4 | 5 => {
                use Operator::*;
                let (operator, all) = (self.r.of(&[Eq, Eq, Ne, Lt, Ge]), self.r.one_in(3));
                self.count((if all { "ALL" } else { "ANY" }, operator));
                let items: Arc<[Value]> = (0..self.r.below(4)).map(|_| value(&ty, texts, 12, self.r)).collect();
                let array = match self.r.one_in(20) {
                    true => Value::Null,
                    false => Value::Array(items),
                };
                let array = Box::new(self.constant(array, &Type::Array(Box::new(ty))));
                let operand = Box::new(column);
                Expr::condition(ExprKind::Quantified {
                    operator,
                    all,
                    operand,
                    array,
                })
            }
            6 => {
                self.count("BETWEEN");
                let (low, high) = (self.some(&ty, texts), self.some(&ty, texts));
                let between = Expr::all(vec![
                    Expr::compare(Operator::Ge, column.clone(), low),
                    Expr::compare(Operator::Le, column, high),
                ]);
                if self.r.one_in(3) { between.negate() } else { between }
            }
            7 if ty.is_integer() => {
                self.count("cast");
                let (to, operator) = (self.r.of(&[Type::Int8, Type::Numeric(None)]), self.comparison());
                let cast = Expr::new(ExprKind::Cast(Box::new(column)), to.clone());
                let right = self.some(&to, &["0", "1", "2"]);
                Expr::compare(operator, cast, right)
            }
            8 if ty.is_integer() => {
                self.count("arithmetic");
                let one = Expr::literal(Value::Int(1), ty.clone());
                let sum = Expr::new(ExprKind::Operator(Operator::Add, vec![column, one]), ty.clone());
                let right = self.some(&ty, &["1", "2"]);
                Expr::compare(Operator::Eq, sum, right)
            }
            9 | 10 => {
                // Two columns of one type.
                let same: Vec<u32> = (0..self.table.columns.len() as u32)
                    .filter(|n| self.table.columns[*n as usize].0 == ty)
                    .collect();
                let other = Expr::column(self.r.of(&same), ty.clone());
                let operator = self.comparison();
                self.count(("columns", operator));
                Expr::compare(operator, column, other)
            }
            _ => {
                let operator = self.comparison();
                self.count(operator);
                let constant = self.some(&ty, texts);
                match self.r.one_in(5) {
                    true => Expr::compare(operator, constant, column),
                    false => Expr::compare(operator, column, constant),
                }
            }
        }
    }
}

/// An answer in the cache, and which rows SQLite says are in it.
struct Kept {
    filter: Filter,
    matching: HashSet<i64>,
    key: Key,
    read_set: Arc<ReadSet>,
}

impl Kept {
    fn begin(&self, cache: &Cache) -> Pending {
        let values = self.filter.params.iter().cloned().map(Some).collect();
        cache.begin_fill(&self.key, 0, Footprint::new(self.read_set.clone(), values))
    }

    /// A fill that has seen all changes up to a position.
    fn end(cache: &Cache, pending: Pending, token: u64) -> bool {
        let fence = Fence::UpTo(Position { store: 0, token });
        let (_, kept) = cache.finish_fill(pending, "x".into(), 0, None, &fence, None);
        kept.is_ok()
    }

    fn fill(&self, cache: &Cache) {
        assert!(Kept::end(cache, self.begin(cache), u64::MAX));
    }
}

/// What came of a run.
#[derive(Default)]
pub struct Found {
    cases: usize,
    kept: usize,
    changed: usize,
    /// Fills that read before a change and ended after it, and how many of them the fence refused.
    late: usize,
    late_refused: usize,
    /// Pages in the order of a column that is not selected, looked at after a change.
    pub pages: usize,
    pub pages_kept: usize,
    pub pages_changed: usize,
    pub wrong: Vec<String>,
    operators: BTreeMap<String, usize>,
    refused: usize,
}

fn check(schemas: usize, seed: u64) -> Found {
    let mut found = Found::default();
    let mut r = Random(seed);
    // Of its own, so that the cases stay the same.
    let mut others = Random(seed ^ 0x00f_f5e7);
    let mut token = 0;
    for _ in 0..schemas {
        let table = Table::new(&mut r);
        let cache = Cache::new(Config::default());
        let mut all = Vec::new();
        while all.len() < FILTERS {
            let filter = Maker::filter(&table, &mut r);
            let matching = match table.matching(&filter) {
                Ok(matching) => matching,
                Err(error) => {
                    assert_eq!(&*error.code, "0A000", "{error}: {:?}", filter.expr);
                    found.refused += 1;
                    continue;
                }
            };
            let reads = TableReads {
                relation: TABLE,
                columns: Columns::All,
                filter: Some(filter.expr.clone()),
                certain: true,
            };
            let kept = Kept {
                key: Key::new(all.len() as u64, 0, &[], &Identity::anon(), &[], ""),
                filter,
                matching,
                read_set: Arc::new(ReadSet::new(vec![reads])),
            };
            kept.fill(&cache);
            all.push(kept);
        }
        for _ in 0..CHANGES {
            let (before, after) = (r.below(ROWS), r.below(ROWS));
            let (kind, before, after) = match r.below(5) {
                0 => (ChangeKind::Insert, None, Some(after)),
                1 => (ChangeKind::Delete, Some(before), None),
                // Another row's values altogether: its key moves as well.
                _ => (
                    ChangeKind::Update,
                    Some(before),
                    Some((before + 1 + after % (ROWS - 1)) % ROWS),
                ),
            };
            token += 1;
            let image = |row: Option<usize>| row.map(|n| table.rows[n].clone());
            let change = Change {
                relation: TABLE,
                kind,
                before: image(before),
                after: image(after),
            };
            let position = Position { store: 0, token };
            // Some fills have read before the change and end after it: what it changed they must not bring back.
            let late: Vec<Pending> = (0..LATE).map(|_| all[others.below(all.len())].begin(&cache)).collect();
            cache.apply(
                &table.schema,
                &Changes {
                    position,
                    rows: vec![change],
                },
            );
            for pending in late {
                found.late += 1;
                found.late_refused += usize::from(!Kept::end(&cache, pending, token - 1));
            }
            for kept in &all {
                let matches = |row: Option<usize>| {
                    row.is_some_and(|n| matches!(table.rows[n][0], Value::Int(id) if kept.matching.contains(&id)))
                };
                let changed = matches(before) || matches(after);
                let stays = matches!(cache.look_up(&kept.key, 0), Lookup::Hit(_));
                found.cases += 1;
                found.kept += usize::from(stays);
                found.changed += usize::from(changed);
                for operator in kept.filter.operators.iter().collect::<HashSet<_>>() {
                    *found.operators.entry(operator.clone()).or_default() += 1;
                }
                if stays && changed {
                    let row = |n: Option<usize>| n.map(|n| &table.rows[n]);
                    found.wrong.push(format!(
                        "{kind:?} {:?} -> {:?} with {:?} on {:?}",
                        row(before),
                        row(after),
                        kept.filter.params,
                        kept.filter.expr
                    ));
                }
                if !stays {
                    kept.fill(&cache);
                }
            }
        }
        ordered::check(&table, &mut others, &mut found);
        wait(table.store.close());
    }
    found
}

#[test]
fn no_answer_is_kept_that_sqlite_says_has_changed() {
    let _turn = turn();
    let found = check(SCHEMAS, 0x0dd_ba11);
    let share = |n: usize| 100.0 * n as f64 / found.cases as f64;
    println!(
        "{} cases: {:.1} % kept, {:.1} % changed, {:.1} % dropped for nothing; {} filters refused by the engine",
        found.cases,
        share(found.kept),
        share(found.changed),
        share(found.cases - found.kept - found.changed),
        found.refused
    );
    println!(
        "{} late fills, {} of them refused by the fence; {} ordered pages: {} kept, {} changed",
        found.late, found.late_refused, found.pages, found.pages_kept, found.pages_changed
    );
    for (operator, cases) in &found.operators {
        println!("  {operator}: {cases}");
    }
    assert_eq!(found.wrong.first(), None, "{} are wrong", found.wrong.len());
    assert!(found.cases >= 100_000);
    assert!(found.kept * 10 >= found.cases * 3, "too little is kept");
    assert!(found.changed * 10 >= found.cases * 2, "too little changes");
    assert!(found.late_refused > 1000, "too few fills are late");
    assert!(found.pages_kept * 10 >= found.pages * 3, "too few pages are kept");
    assert!(found.pages_changed > 50, "too few pages change");
    let rare: Vec<_> = found.operators.iter().filter(|(_, cases)| **cases < 2000).collect();
    assert!(rare.is_empty() && found.operators.len() >= 45, "{rare:?}");
}

/// The check finds what is wrong, whichever part of the index is broken.
#[cfg(feature = "failpoints")]
#[test]
fn every_failpoint_of_the_index_is_found() {
    let _turn = turn();
    for name in ["ignore-before-images", "forget-order-columns", "no-fence"] {
        mainstay_cache::failpoint::set(name, true);
        let found = check(2, 0x0dd_ba11);
        mainstay_cache::failpoint::set(name, false);
        assert!(!found.wrong.is_empty(), "{name} went unnoticed");
        println!(
            "{name}: {} of {} cases are wrong",
            found.wrong.len(),
            found.cases + found.pages
        );
    }
}
