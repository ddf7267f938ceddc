//! Which foreign key is violated: SQLite does not say, so the rows that were changed are followed to what they refer to and to what
//! refers to them.

use crate::capture::Touched;
use crate::constraint::{Attempt, Inquiry};
use crate::statement::Statement;
use mainstay_model::{Change, ChangeKind, Error, ForeignKey, ReferentialAction, RelationId, Type, Value};
use mainstay_sql::sqlite::{Stored, column_form, encode, quote_identifier, table_name};

impl Inquiry<'_> {
    /// The error for a foreign key that stood in the way.
    pub(crate) fn foreign_key_of(&self, attempt: &Attempt<'_>, touched: &[Touched]) -> Error {
        if let Some(error) = self.foreign_key(touched, false) {
            return error;
        }
        // A statement for a single row looks for the parent before it writes, so that nothing was seen of the row.
        let (id, kind) = match attempt {
            Attempt::Insert { relation, .. } => (Some(*relation), ChangeKind::Insert),
            Attempt::Update { relation, .. } => (Some(relation.relation), ChangeKind::Update),
            Attempt::Other { relation } => (*relation, ChangeKind::Update),
        };
        let found = id.zip(self.attempted_row(attempt)).and_then(|(relation, row)| {
            let change = Change {
                relation,
                kind,
                before: None,
                after: Some(row.into()),
            };
            self.foreign_key(
                &[Touched {
                    change,
                    rowid: 0,
                    depth: 0,
                }],
                false,
            )
        });
        if let Some(error) = found {
            return error;
        }
        match id
            .map(|id| self.schema.relation(id))
            .and_then(|r| Some((r, r.table()?.foreign_keys.as_slice())))
        {
            Some((relation, [only])) => Error::new(
                "23503",
                format!(
                    "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
                    relation.name, only.name
                ),
            )
            .constraint(&*only.name),
            _ => Error::new("23503", "a foreign key constraint is violated"),
        }
    }

    /// Which foreign key the changed rows violate. `standing`: the rows are still there (a deferred key, before the rollback), so
    /// only what can be seen of them counts.
    pub fn foreign_key(&self, touched: &[Touched], standing: bool) -> Option<Error> {
        touched
            .iter()
            .find_map(|row| self.child_violation(row, touched, standing))
            .or_else(|| touched.iter().find_map(|row| self.parent_violation(row, standing)))
    }

    /// The same for keys that are not declared deferred, although they were deferred for one statement.
    pub fn foreign_key_now(&self, touched: &[Touched]) -> Option<Error> {
        let error = self.foreign_key(touched, true)?;
        let name = error.constraint.as_deref()?;
        let deferred = self.schema.relations.iter().any(|r| {
            r.table()
                .is_some_and(|t| t.foreign_keys.iter().any(|k| *k.name == *name && k.deferred))
        });
        (!deferred).then_some(error)
    }

    /// A row that refers to what is not there.
    fn child_violation(&self, row: &Touched, touched: &[Touched], standing: bool) -> Option<Error> {
        let after = row.change.after.as_ref()?;
        let id = row.change.relation;
        let relation = self.schema.relation(id);
        for key in &relation.table()?.foreign_keys {
            let values: Vec<&Value> = key.columns.iter().map(|c| &after[*c as usize]).collect();
            if values.iter().any(|v| v.is_null()) {
                continue;
            }
            // A row inserted by the same statement is there no more when the statement has failed.
            let with_it = touched.iter().any(|other| {
                other.change.relation == key.target
                    && other.change.after.as_ref().is_some_and(|r| {
                        key.target_columns
                            .iter()
                            .zip(&values)
                            .all(|(c, v)| r[*c as usize] == **v)
                    })
            });
            if !standing && with_it {
                continue;
            }
            if self.exists(key.target, &key.target_columns, &values) != Some(false) {
                continue;
            }
            if standing && self.exists(id, &key.columns, &values) != Some(true) {
                continue;
            }
            let target = self.schema.relation(key.target);
            return Some(
                Error::new(
                    "23503",
                    format!(
                        "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
                        relation.name, key.name
                    ),
                )
                .detail(match self.may_tell(id, &key.columns) {
                    true => format!(
                        "Key ({})=({}) is not present in table \"{}\".",
                        self.names(id, &key.columns),
                        texts(&values, |i| &relation.columns[key.columns[i] as usize].ty),
                        target.name
                    ),
                    false => format!("Key is not present in table \"{}\".", target.name),
                })
                .constraint(&*key.name),
            );
        }
        None
    }

    /// A row that is gone, or has another key, although others refer to it.
    fn parent_violation(&self, row: &Touched, standing: bool) -> Option<Error> {
        if row.change.kind == ChangeKind::Insert {
            return None;
        }
        let before = row.change.before.as_ref()?;
        let id = row.change.relation;
        let relation = self.schema.relation(id);
        for (child_id, key) in self.references(id) {
            let action = match row.change.kind {
                ChangeKind::Delete => key.on_delete,
                _ => key.on_update,
            };
            // Those rows went along, and are back only since the statement is undone.
            if matches!(action, ReferentialAction::Cascade | ReferentialAction::SetNull) {
                continue;
            }
            let values: Vec<&Value> = key.target_columns.iter().map(|c| &before[*c as usize]).collect();
            let kept = row.change.after.as_ref().is_some_and(|after| {
                key.target_columns
                    .iter()
                    .zip(&values)
                    .all(|(c, v)| after[*c as usize] == **v)
            });
            if kept || values.iter().any(|v| v.is_null()) {
                continue;
            }
            if standing && self.exists(id, &key.target_columns, &values) != Some(false) {
                continue;
            }
            if self.exists(child_id, &key.columns, &values) != Some(true) {
                continue;
            }
            let child = self.schema.relation(child_id);
            return Some(
                Error::new(
                    "23503",
                    format!(
                        "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
                        relation.name, key.name, child.name
                    ),
                )
                .detail(match self.may_tell(id, &key.target_columns) {
                    true => format!(
                        "Key ({})=({}) is still referenced from table \"{}\".",
                        self.names(id, &key.target_columns),
                        texts(&values, |i| &relation.columns[key.target_columns[i] as usize].ty),
                        child.name
                    ),
                    false => format!("Key is still referenced from table \"{}\".", child.name),
                })
                .constraint(&*key.name),
            );
        }
        None
    }

    fn references(&self, target: RelationId) -> impl Iterator<Item = (RelationId, &ForeignKey)> {
        self.schema.relations.iter().enumerate().flat_map(move |(i, r)| {
            let keys: &[ForeignKey] = r.table().map_or(&[], |t| &t.foreign_keys);
            keys.iter()
                .filter(move |k| k.target == target)
                .map(move |k| (RelationId(i as u32), k))
        })
    }

    /// Whether a table has a row with these values; `None` if that cannot be found out.
    fn exists(&self, id: RelationId, columns: &[u32], values: &[&Value]) -> Option<bool> {
        let relation = self.schema.relation(id);
        let conditions: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(i, c)| format!("{} = ?{}", quote_identifier(&relation.columns[*c as usize].name), i + 1))
            .collect();
        let sql = format!(
            "SELECT 1 FROM {} WHERE {}",
            quote_identifier(&table_name(self.schema, id)),
            conditions.join(" AND ")
        );
        let mut statement = Statement::prepare(self.conn, &sql).ok()?;
        for (i, (value, column)) in values.iter().zip(columns).enumerate() {
            let ty = &relation.columns[*column as usize].ty;
            let stored: Stored<'_> = encode(value, ty, column_form(ty)).ok()?;
            statement.bind(i + 1, &stored).ok()?;
        }
        statement.exists().ok()
    }
}

fn texts<'t>(values: &[&Value], ty: impl Fn(usize) -> &'t Type) -> String {
    values
        .iter()
        .enumerate()
        .map(|(i, v)| v.to_text(ty(i)))
        .collect::<Vec<_>>()
        .join(", ")
}
