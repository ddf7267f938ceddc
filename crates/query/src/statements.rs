//! What reads cost their stores: counted per plan where a store answers, never on a hit; and the indexes that are missing for
//! what is really asked.

use crate::plan::Plan;
use mainstay_model::{
    Embed, EmbedJoin, Expr, ExprKind, Item, Operator, QueryShape, Relation, RelationId, Schema, Source, SourceId, Value,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a plan has cost since it was made.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    calls: AtomicU64,
    total_us: AtomicU64,
    max_us: AtomicU64,
    rows: AtomicU64,
    /// The values of the slowest, for its plan.
    slowest: Mutex<Vec<Value>>,
    /// When it was last told of for being slow.
    told: Mutex<Option<Instant>>,
}

impl Cost {
    /// One more answer of the store.
    pub fn add(&self, us: u64, rows: u64, params: &[Value]) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        if us > self.max_us.fetch_max(us, Ordering::Relaxed)
            && let Ok(mut slowest) = self.slowest.try_lock()
        {
            slowest.clear();
            slowest.extend_from_slice(params);
        }
    }

    /// Whether it was not told of for so long; it is then counted as told of.
    pub fn is_time_to_tell(&self, every: Duration) -> bool {
        let mut told = self.told.lock().unwrap_or_else(|e| e.into_inner());
        let is_time = told.is_none_or(|at| at.elapsed() >= every);
        if is_time {
            *told = Some(Instant::now());
        }
        is_time
    }
}

/// A statement, as operators see it.
#[derive(Clone, Debug)]
pub struct Statement {
    /// The plan's number.
    pub plan: u64,
    /// Whose.
    pub role: Arc<str>,
    /// What is read.
    pub shape: Arc<QueryShape>,
    /// The store's index.
    pub store: u16,
    /// How often a store answered it.
    pub calls: u64,
    /// All of them together, in microseconds of waiting for the store.
    pub total_us: u64,
    /// The slowest, in microseconds.
    pub max_us: u64,
    /// Rows given.
    pub rows: u64,
    /// The values of the slowest.
    pub params: Vec<Value>,
}

impl Statement {
    pub(crate) fn of(plan: &Plan, role: &Arc<str>) -> Statement {
        let cost = &plan.cost;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statement {
            plan: plan.id,
            role: role.clone(),
            shape: plan.shape.clone(),
            store: plan.store,
            calls: of(&cost.calls),
            total_us: of(&cost.total_us),
            max_us: of(&cost.max_us),
            rows: of(&cost.rows),
            params: cost.slowest.lock().unwrap_or_else(|e| e.into_inner()).clone(),
        }
    }
}

/// An index that statements would use if it were there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingIndex {
    /// The table.
    pub relation: RelationId,
    /// The columns: those compared for equality, then one of a range.
    pub columns: Vec<u32>,
    /// How often a statement asked that would use it.
    pub calls: u64,
    /// What those waited for the store, in microseconds.
    pub total_us: u64,
}

impl MissingIndex {
    /// The statement that makes it.
    pub fn ddl(&self, schema: &Schema) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let relation = schema.relation(self.relation);
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|c| quoted(&relation.columns[*c as usize].name))
            .collect();
        format!(
            "CREATE INDEX ON {}.{} ({})",
            quoted(&relation.namespace),
            quoted(&relation.name),
            columns.join(", ")
        )
    }
}

/// The indexes that are missing for statements, those first that would save most.
pub fn missing_indexes(schema: &Schema, statements: &[Statement]) -> Vec<MissingIndex> {
    let mut wanted: BTreeMap<(RelationId, Vec<u32>), (u64, u64)> = BTreeMap::new();
    for statement in statements {
        let mut found = Vec::new();
        of_shape(schema, &statement.shape, &[], &mut found);
        found.sort();
        found.dedup();
        for index in found {
            let (calls, total_us) = wanted.entry(index).or_default();
            *calls += statement.calls;
            *total_us += statement.total_us;
        }
    }
    let mut out: Vec<MissingIndex> = wanted
        .into_iter()
        .map(|((relation, columns), (calls, total_us))| MissingIndex {
            relation,
            columns,
            calls,
            total_us,
        })
        .collect();
    out.sort_by_key(|m| std::cmp::Reverse(m.total_us));
    out
}

/// What one level of a read would look up, whose rows are also found by `joined` columns of the level around it.
fn of_shape(schema: &Schema, shape: &QueryShape, joined: &[u32], found: &mut Vec<(RelationId, Vec<u32>)>) {
    if let Source::Relation(source) = &shape.from {
        let relation = schema.relation(source.relation);
        let (mut equal, mut ranges) = (joined.to_vec(), Vec::new());
        if let Some(filter) = &shape.filter {
            conjuncts(filter, &mut equal, &mut ranges);
        }
        equal.sort_unstable();
        equal.dedup();
        let leads = |column: &u32| leading(relation).any(|c| c == *column);
        let is_served = equal.iter().chain(&ranges).any(leads);
        if relation.table().is_some() && !is_served && !(equal.is_empty() && ranges.is_empty()) {
            equal.extend(ranges.first());
            found.push((source.relation, equal));
        }
    }
    for item in &shape.select {
        if let Item::Embed(embed) = item {
            of_embed(schema, embed, found);
        }
    }
}

fn of_embed(schema: &Schema, embed: &Embed, found: &mut Vec<(RelationId, Vec<u32>)>) {
    let joined: Vec<u32> = match &embed.join {
        EmbedJoin::Columns(pairs) => pairs.iter().map(|p| p.1).collect(),
        EmbedJoin::Through {
            junction,
            outer,
            related,
        } => {
            let columns: Vec<u32> = outer.iter().map(|p| p.1).collect();
            let table = schema.relation(junction.relation);
            if table.table().is_some() && !columns.iter().any(|c| leading(table).any(|l| l == *c)) {
                found.push((junction.relation, columns));
            }
            related.iter().map(|p| p.1).collect()
        }
        EmbedJoin::Computed(_) => Vec::new(),
    };
    of_shape(schema, &embed.query, &joined, found);
}

/// The first column of every index of a table.
fn leading(relation: &Relation) -> impl Iterator<Item = u32> {
    let table = relation.table();
    let keys = table.into_iter().flat_map(|t| {
        let uniques = t.uniques.iter().filter_map(|u| u.columns.first().copied());
        let indexes = t.indexes.iter().filter(|i| i.filter.is_none());
        let indexed = indexes.filter_map(|i| match i.keys.first().map(|k| &k.expr.kind) {
            Some(ExprKind::Column(c)) => Some(c.column),
            _ => None,
        });
        t.primary_key.first().copied().into_iter().chain(uniques).chain(indexed)
    });
    keys.collect::<Vec<u32>>().into_iter()
}

/// Columns that must equal a value, and columns that a range bounds, for every row that passes.
fn conjuncts(filter: &Expr, equal: &mut Vec<u32>, ranges: &mut Vec<u32>) {
    let own = |e: &Expr| match &e.kind {
        ExprKind::Column(c) if c.source == SourceId::SELF => Some(c.column),
        _ => None,
    };
    match &filter.kind {
        ExprKind::And(all) => all.iter().for_each(|e| conjuncts(e, equal, ranges)),
        ExprKind::Operator(Operator::Eq | Operator::IsNotDistinctFrom, operands) => {
            equal.extend(operands.first().and_then(own));
        }
        ExprKind::Operator(Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge, operands) => {
            ranges.extend(operands.first().and_then(own));
        }
        ExprKind::In {
            operand,
            negated: false,
            ..
        } => equal.extend(own(operand)),
        ExprKind::Quantified {
            operator: Operator::Eq,
            all: false,
            operand,
            ..
        } => equal.extend(own(operand)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_model::{RelationRef, Type};

    /// `pairs` has (id primary key, left, right); `left` is indexed.
    fn schema() -> Schema {
        let reading = mainstay_schema::read(&[mainstay_schema::Source {
            file: "s.sql".into(),
            text: "create table pairs (id int primary key, l int, r int); create index on pairs (l);".into(),
            store: "main".into(),
            service: None,
        }]);
        assert!(reading.problems.is_empty(), "{:?}", reading.problems);
        reading.schema
    }

    fn statement(schema: &Schema, filter: Expr) -> Statement {
        let relation = schema.find_relation("public", "pairs").expect("declared");
        let mut shape = QueryShape::of(Source::Relation(RelationRef::new(relation)));
        shape.filter = Some(filter);
        Statement {
            plan: 1,
            role: "anon".into(),
            shape: Arc::new(shape),
            store: 0,
            calls: 3,
            total_us: 300,
            max_us: 150,
            rows: 3,
            params: Vec::new(),
        }
    }

    fn compare(operator: Operator, column: u32) -> Expr {
        Expr::compare(operator, Expr::column(column, Type::Int4), Expr::param(0, Type::Int4))
    }

    #[test]
    fn an_index_is_missed_only_where_none_leads() {
        let schema = schema();
        let both = || Expr::all(vec![compare(Operator::Eq, 2), compare(Operator::Gt, 1)]);
        for (filter, missing) in [
            (compare(Operator::Eq, 0), None),
            (compare(Operator::Eq, 1), None),
            (
                compare(Operator::Eq, 2),
                Some(r#"CREATE INDEX ON "public"."pairs" ("r")"#),
            ),
            (
                compare(Operator::Gt, 2),
                Some(r#"CREATE INDEX ON "public"."pairs" ("r")"#),
            ),
            (both(), None),
            (compare(Operator::Ne, 2), None),
            (
                Expr::any(vec![compare(Operator::Eq, 2), compare(Operator::Eq, 0)]),
                None,
            ),
        ] {
            let found = missing_indexes(&schema, &[statement(&schema, filter.clone())]);
            let ddl: Vec<String> = found.iter().map(|m| m.ddl(&schema)).collect();
            assert_eq!(ddl.first().map(String::as_str), missing, "{filter:?}");
        }
    }

    #[test]
    fn statements_that_want_the_same_index_are_counted_together() {
        let schema = schema();
        let eq = statement(&schema, compare(Operator::Eq, 2));
        let found = missing_indexes(&schema, &[eq.clone(), eq]);
        assert_eq!((found.len(), found[0].calls, found[0].total_us), (1, 6, 600));
    }
}
