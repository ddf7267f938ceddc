//! Policies for new rows that read what is being written, such as "an owner of the organisation may add members". PostgreSQL asks
//! them before a row is there, over the tables as the statement found them; asked afterwards, the new row would vouch for itself.
//!
//! So such a statement is done once to learn its rows, undone, asked about, and done again. A default that is random comes out
//! differently the second time: what a policy could read of it nobody could choose.

use crate::bind::Env;
use crate::call::row_refused;
use crate::capture::Capture;
use crate::constraint::Inquiry;
use crate::failure::plain;
use crate::step::Steps;
use mainstay_model::{
    ChangeKind, Expr, ExprKind, FromItem, RelationId, RelationRef, Result, Rewrite, Row, Schema, rewrite_expr,
};
use std::collections::HashSet;

/// Whether the answer to `checks` may be changed by a statement that writes `target`: they read it, or, where rows are `updated`, a table
/// that refers to it and may follow.
pub(crate) fn read_what_is_written<'a>(
    schema: &Schema,
    target: RelationId,
    updated: bool,
    checks: impl IntoIterator<Item = &'a Expr>,
) -> bool {
    let mut reads = Reads::default();
    for check in checks.into_iter().filter(|check| look_elsewhere(check)) {
        if rewrite_expr(check, &mut reads).is_err() {
            return true;
        }
    }
    // What is behind a view is not looked for.
    reads.unknown
        || reads.relations.iter().any(|read| {
            *read == target || schema.relation(*read).table().is_none() || (updated && follows(schema, *read, target))
        })
}

/// Whether a condition looks at more than the row and its caller: most do not, and are not copied to find out.
fn look_elsewhere(condition: &Expr) -> bool {
    let mut found = false;
    condition.walk(&mut |e| {
        found |= matches!(
            e.kind,
            ExprKind::InSelect { .. }
                | ExprKind::Exists(_)
                | ExprKind::Scalar(_)
                | ExprKind::ArraySelect(_)
                | ExprKind::UserCall(..)
                | ExprKind::Opaque { .. }
        );
    });
    found
}

/// Whether a table's foreign keys lead to another, over any number of tables.
fn follows(schema: &Schema, table: RelationId, target: RelationId) -> bool {
    let mut seen = HashSet::from([table]);
    let mut next = vec![table];
    while let Some(id) = next.pop() {
        for key in schema.relation(id).table().into_iter().flat_map(|t| &t.foreign_keys) {
            if key.target == target {
                return true;
            }
            if seen.insert(key.target) {
                next.push(key.target);
            }
        }
    }
    false
}

#[derive(Default)]
struct Reads {
    relations: HashSet<RelationId>,
    /// Something that does not say what it reads.
    unknown: bool,
}

impl Rewrite for Reads {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        self.unknown |= matches!(expr.kind, ExprKind::UserCall(..) | ExprKind::Opaque { .. });
        Ok(None)
    }

    fn from_item(&mut self, item: &FromItem) -> Result<Option<FromItem>> {
        self.unknown |= matches!(item, FromItem::Function { .. });
        Ok(None)
    }

    fn relation(&mut self, relation: &RelationRef) -> Result<RelationRef> {
        self.relations.insert(relation.relation);
        Ok(relation.clone())
    }
}

/// What is asked of rows: of those that are new or proposed, and of those that are updated.
#[derive(Clone, Copy)]
pub(crate) struct Checks<'a> {
    pub new: Option<&'a Expr>,
    pub updated: Option<&'a Expr>,
}

impl Steps {
    /// [`ask`] for a step.
    pub(crate) fn ask(
        &mut self,
        target: RelationId,
        checks: Checks<'_>,
        env: &Env<'_>,
        write: impl FnOnce(&mut Steps, &mut Vec<Row>) -> Result<()>,
    ) -> Result<()> {
        let (conn, schema, store) = (self.conn.clone(), self.schema.clone(), self.store.clone());
        let inquiry = Inquiry {
            conn: &conn,
            schema: &schema,
            store: &store,
            env,
        };
        let capture = self.hook.shared();
        ask(&inquiry, &capture, target, checks, |proposed| write(self, proposed))
    }
}

/// Does `write`, which may add rows that were proposed and came to nothing, and undoes it; then asks `checks` of every row. Whoever gets
/// `Ok` does it again.
pub(crate) fn ask(
    inquiry: &Inquiry<'_>,
    capture: &Capture,
    target: RelationId,
    checks: Checks<'_>,
    write: impl FnOnce(&mut Vec<Row>) -> Result<()>,
) -> Result<()> {
    let batch = |sql: &str| inquiry.conn.execute_batch(sql).map_err(|e| plain(&e.into()));
    let mark = capture.len();
    let mut proposed = Vec::new();
    batch("SAVEPOINT beforehand")?;
    let written = write(&mut proposed);
    let told = capture.since(mark, |touched| {
        let own = touched
            .iter()
            .filter(|t| t.depth == 0 && t.change.relation == target && t.change.kind != ChangeKind::Delete);
        let check = |kind: ChangeKind| match kind {
            ChangeKind::Insert => checks.new,
            _ => checks.updated,
        };
        own.map(|t| (check(t.change.kind), t.change.after.clone()))
            .collect::<Vec<_>>()
    });
    batch("ROLLBACK TO beforehand; RELEASE beforehand")?;
    capture.truncate(mark);
    let told = told.iter().map(|(check, row)| (*check, row.as_ref()));
    for (check, row) in told.chain(proposed.iter().map(|row| (checks.new, Some(row)))) {
        // What cannot be read is refused: the safe side.
        let passes = check.is_none_or(|check| row.is_some_and(|row| inquiry.row_passes(target, check, row)));
        if !passes {
            return Err(row_refused(inquiry.schema, Some(target)));
        }
    }
    written
}
