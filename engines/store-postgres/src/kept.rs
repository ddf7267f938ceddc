//! Steps that were compiled before: most writes differ from an earlier one in values alone.

use crate::pace::Pace;
use crate::plan::{self, Counts, Form, Prepared};
use crate::server::Server;
use mainstay_model::{Action, Cell, Expr, QueryShape, Result, Schema, Step};
use mainstay_sql::postgres::{self, Compiled, Options, Output, Status};
use rustc_hash::{FxHashMap, FxHasher};
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A step, compiled.
pub(crate) struct Kept {
    pub statement: Prepared,
    pub columns: Vec<Output>,
    pub status: Status,
    pub count: Option<Counts>,
    pub form: Form,
    pub pace: Pace,
}

/// A compiled step beside the one that it was compiled from.
type Known = (Options, Box<str>, Step, Arc<Kept>);

/// The filters and shapes of steps that a thread keeps weigh at most so many bytes; what is compiled from them, a few times as many.
const BYTES_MAX: usize = 4 << 20;

#[derive(Default)]
struct Steps {
    steps: FxHashMap<u64, Vec<Known>>,
    bytes: usize,
}

thread_local! {
    static KEPT: RefCell<Steps> = RefCell::default();
}

/// Bytes that a step holds whatever its values, about.
fn weight(step: &Step) -> usize {
    let filter = match &step.action {
        Action::Update { filter, .. } | Action::Delete { filter, .. } => filter.as_ref(),
        Action::Insert { .. } | Action::Call(_) | Action::Read => None,
    };
    filter.map_or(0, Expr::weight) + step.returning.as_ref().map_or(0, QueryShape::weight)
}

/// The step compiled, as this thread has it or anew. `generation` tells schemas apart.
pub(crate) fn compiled(
    server: &Server,
    schema: &Schema,
    generation: u64,
    role: &str,
    step: &Step,
    options: Options,
) -> Result<Arc<Kept>> {
    if !is_keepable(step) {
        return compile(server, schema, role, step, options).map(Arc::new);
    }
    let mut hasher = FxHasher::default();
    generation.hash(&mut hasher);
    role.hash(&mut hasher);
    options.hash(&mut hasher);
    hash(step, &mut hasher);
    let key = hasher.finish();
    let known = KEPT.with_borrow(|kept| {
        let mut known = kept.steps.get(&key)?.iter();
        let (.., found) =
            known.find(|(o, whose, other, _)| *o == options && **whose == *role && is_same(other, step))?;
        Some(found.clone())
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let made = Arc::new(compile(server, schema, role, step, options)?);
    let bytes = weight(step);
    if bytes > BYTES_MAX / 16 {
        return Ok(made);
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.steps.len() >= server.config.plans_max || kept.bytes + bytes > BYTES_MAX {
            *kept = Steps::default();
        }
        kept.bytes += bytes;
        kept.steps
            .entry(key)
            .or_default()
            .push((options, role.into(), bare(step), made.clone()));
    });
    Ok(made)
}

fn compile(server: &Server, schema: &Schema, role: &str, step: &Step, options: Options) -> Result<Kept> {
    let Compiled {
        sql,
        slots,
        columns,
        status,
        count,
    } = postgres::compile_step(schema, step, options)?;
    Ok(Kept {
        statement: Prepared::new(server, role, sql, slots, plan::results(&columns)),
        count: count.map(|counting| Counts::new(server, role, counting)),
        columns,
        status: status.unwrap_or_default(),
        form: match &step.action {
            _ if step.returning.as_ref().is_some_and(|s| s.document.is_some()) => Form::Document,
            Action::Call(call) => plan::of_call(schema, call),
            Action::Read => plan::form(schema, step.returning.as_ref()),
            _ => Form::Rows,
        },
        pace: Pace::default(),
    })
}

/// Insertions of many rows seldom come again alike; a default stands in the text.
fn is_keepable(step: &Step) -> bool {
    let is_value = |cell: &Cell| matches!(cell, Cell::Value(_));
    match &step.action {
        Action::Insert { rows, .. } => matches!(rows.as_slice(), [row] if row.iter().all(is_value)),
        Action::Update { set, .. } => set.iter().all(|(_, cell)| is_value(cell)),
        Action::Delete { .. } | Action::Call(_) | Action::Read => true,
    }
}

fn hash(step: &Step, hasher: &mut FxHasher) {
    std::mem::discriminant(&step.action).hash(hasher);
    match &step.action {
        Action::Insert { relation, columns, .. } => {
            relation.relation.hash(hasher);
            columns.hash(hasher);
        }
        Action::Update { relation, filter, .. } | Action::Delete { relation, filter, .. } => {
            relation.relation.hash(hasher);
            filter.hash(hasher);
        }
        Action::Call(call) => call.function.hash(hasher),
        Action::Read => {}
    }
    step.returning.hash(hasher);
}

/// Whether two steps differ in values alone.
fn is_same(known: &Step, step: &Step) -> bool {
    let actions = match (&known.action, &step.action) {
        (
            Action::Insert {
                relation,
                columns,
                conflict,
                check,
                updated,
                ..
            },
            Action::Insert {
                relation: other_relation,
                columns: other_columns,
                conflict: other_conflict,
                check: other_check,
                updated: other_visible,
                ..
            },
        ) => {
            (relation, columns, conflict) == (other_relation, other_columns, other_conflict)
                && (check, updated) == (other_check, other_visible)
        }
        (
            Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                check,
            },
            Action::Update {
                relation: other_relation,
                set: other_set,
                filter: other_filter,
                order: other_order,
                limit: other_limit,
                offset: other_offset,
                check: other_check,
            },
        ) => {
            (relation, filter, order, limit, offset)
                == (other_relation, other_filter, other_order, other_limit, other_offset)
                && check == other_check
                && set.iter().map(|s| s.0).eq(other_set.iter().map(|s| s.0))
        }
        (known, action) => known == action,
    };
    actions && known.returning == step.returning
}

/// The step without its values.
fn bare(step: &Step) -> Step {
    let mut action = step.action.clone();
    match &mut action {
        Action::Insert { rows, .. } => rows.clear(),
        Action::Update { set, .. } => set.iter_mut().for_each(|(_, cell)| *cell = Cell::Default),
        _ => {}
    }
    Step {
        returning: step.returning.clone(),
        ..Step::new(action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_model::{RelationId, RelationRef, Value};

    #[test]
    fn values_alone_make_no_difference() {
        let insert = |relation: u32, columns: &[u32], value: i64| {
            Step::new(Action::Insert {
                relation: RelationRef::new(RelationId(relation)),
                columns: columns.to_vec(),
                rows: vec![columns.iter().map(|_| Cell::Value(Value::Int(value))).collect()],
                conflict: None,
                check: None,
                updated: None,
            })
        };
        let key = |step: &Step| {
            let mut hasher = FxHasher::default();
            hash(step, &mut hasher);
            hasher.finish()
        };
        let known = bare(&insert(1, &[0, 2], 5));
        let again = insert(1, &[0, 2], 6);
        assert!(is_same(&known, &again));
        assert_eq!(key(&insert(1, &[0, 2], 5)), key(&again));
        for other in [insert(2, &[0, 2], 5), insert(1, &[0], 5), Step::new(Action::Read)] {
            assert!(!is_same(&known, &other));
        }
        let mut defaulted = insert(1, &[0], 5);
        if let Action::Insert { rows, .. } = &mut defaulted.action {
            rows[0][0] = Cell::Default;
        }
        assert!(is_keepable(&again) && !is_keepable(&defaulted));
    }
}
