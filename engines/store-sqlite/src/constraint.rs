//! A violated constraint as Postgres reports it: which one, of which table, and the row or key that violates it. SQLite says little
//! (of foreign keys nothing at all), so the rest is found by looking.

use crate::bind::{Env, Prepared};
use crate::call::row_refused;
use crate::capture::Touched;
use crate::failure::plain;
use crate::statement::Failure;
use mainstay_model::{
    Error, Expr, ExprKind, FromItem, Identity, OrderBy, Privilege, Projected, RelationId, RelationRef, Rewrite, Schema,
    Select, SourceId, Statement as Sql, Type, Value, rewrite_expr, time,
};
use mainstay_sql::sqlite::{self, decode, quote_identifier, table_name};
use rusqlite::{Connection, ffi};
use std::collections::HashMap;
use std::rc::Rc;

/// What was attempted when the constraint stood in the way.
pub(crate) enum Attempt<'a> {
    /// One row, with the values of the columns that were given.
    Insert {
        relation: RelationId,
        given: HashMap<u32, &'a Value>,
        /// What policies ask of the new row.
        check: Option<&'a Expr>,
    },
    /// Rows that match, with the values of the columns that were given.
    Update {
        relation: &'a RelationRef,
        given: HashMap<u32, &'a Value>,
        filter: Option<&'a Expr>,
        order: &'a [OrderBy],
        check: Option<&'a Expr>,
    },
    /// A deletion, or a statement of a function's body.
    Other { relation: Option<RelationId> },
}

/// Looks for what a violated constraint's error should say.
pub(crate) struct Inquiry<'a> {
    /// The connection that failed.
    pub conn: &'a Rc<Connection>,
    /// The model.
    pub schema: &'a Schema,
    /// The store whose tables are meant.
    pub store: &'a str,
    /// The operation's parameters and caller.
    pub env: &'a Env<'a>,
}

/// The prefix of constraints that only keep a type's range.
const TYPE_CHECK: &str = "_mainstay_type_";

impl Inquiry<'_> {
    /// The error for a failure; `touched` are the rows that the statement had changed before it failed.
    pub fn error(&self, failure: &Failure, attempt: &Attempt<'_>, touched: &[Touched]) -> Error {
        let message = &*failure.message;
        let found = if failure.primary() == ffi::SQLITE_MISMATCH {
            self.no_key(attempt)
        } else if failure.primary() != ffi::SQLITE_CONSTRAINT {
            None
        } else if let Some(columns) = message.strip_prefix("UNIQUE constraint failed: ") {
            self.unique(columns, attempt)
        } else if let Some(column) = message.strip_prefix("NOT NULL constraint failed: ") {
            self.not_null(column, attempt)
        } else if let Some(name) = message.strip_prefix("CHECK constraint failed: ") {
            self.check(name, attempt)
        } else if message.starts_with("FOREIGN KEY constraint failed") {
            Some(self.foreign_key_of(attempt, touched))
        } else if failure.code == ffi::SQLITE_CONSTRAINT_DATATYPE {
            Some(Error::new("42804", message.to_owned()))
        } else {
            None
        };
        let error = found.unwrap_or_else(|| plain(failure));
        // Policies are asked before constraints, which would tell of rows that the caller may not see; what does not fit a type is
        // found before both.
        if !error.code.starts_with("23") {
            return error;
        }
        match attempt {
            Attempt::Insert {
                relation,
                check: Some(check),
                ..
            } if !self.passes(check, attempt) => row_refused(self.schema, Some(*relation)),
            Attempt::Update {
                relation,
                check: Some(check),
                ..
            } if !self.passes(check, attempt) => row_refused(self.schema, Some(relation.relation)),
            _ => error,
        }
    }

    /// Whether the row that was to be written satisfies the policies; a row that cannot be told is taken to.
    pub(crate) fn passes(&self, check: &Expr, attempt: &Attempt<'_>) -> bool {
        let id = match attempt {
            Attempt::Insert { relation, .. } => *relation,
            Attempt::Update { relation, .. } => relation.relation,
            Attempt::Other { .. } => return true,
        };
        self.attempted_row(attempt)
            .is_none_or(|row| self.row_passes(id, check, &row))
    }

    /// Whether a row satisfies policies, over the tables as they are.
    pub(crate) fn row_passes(&self, id: RelationId, check: &Expr, row: &[Value]) -> bool {
        let columns = &self.schema.relation(id).columns;
        let projection = columns.iter().zip(row).map(|(column, value)| Projected {
            expr: Expr::literal(value.clone(), column.ty.clone()),
            name: column.name.clone(),
        });
        let row = Select {
            projection: projection.collect(),
            ..Select::default()
        };
        let select = Select {
            projection: vec![Projected {
                expr: Expr::literal(Value::Int(1), Type::Int4),
                name: "passes".into(),
            }],
            from: vec![FromItem::Subquery {
                select: Box::new(row),
                source: SourceId::SELF,
                lateral: false,
            }],
            filter: Some(check.clone()),
            ..Select::default()
        };
        let found = sqlite::compile_statement(self.schema, &Sql::Select(Box::new(select)))
            .and_then(|plan| Prepared::new(self.conn, &plan.run)?.exists(self.env));
        // What cannot be found out is refused: the safe side.
        found.unwrap_or(false)
    }

    /// Whether the caller may be told values of these columns: not where policies decide what is seen, nor without the privilege.
    pub(crate) fn may_tell(&self, id: RelationId, columns: &[u32]) -> bool {
        let relation = self.schema.relation(id);
        let identity = self.env.identity;
        identity.bypasses_policies()
            || (!relation.table().is_some_and(|t| t.row_security)
                && columns
                    .iter()
                    .all(|c| relation.allows(&identity.role, Privilege::Select, Some(*c))))
    }

    fn tables(&self) -> impl Iterator<Item = (RelationId, String)> {
        self.schema
            .relations
            .iter()
            .enumerate()
            .filter(|(_, r)| *r.store == *self.store && r.table().is_some())
            .map(|(i, _)| RelationId(i as u32))
            .map(|id| (id, table_name(self.schema, id)))
    }

    /// `table.a, table.b` as a table and its columns.
    fn columns(&self, text: &str) -> Option<(RelationId, Vec<u32>)> {
        self.tables().find_map(|(id, name)| {
            let relation = self.schema.relation(id);
            let columns = text
                .split(", ")
                .map(|part| relation.column(part.strip_prefix(&*name)?.strip_prefix('.')?))
                .collect::<Option<Vec<_>>>()?;
            Some((id, columns))
        })
    }

    fn unique(&self, text: &str, attempt: &Attempt<'_>) -> Option<Error> {
        let violated = |name: &str| {
            Error::new(
                "23505",
                format!("duplicate key value violates unique constraint \"{name}\""),
            )
            .constraint(name)
        };
        if let Some(index) = text.strip_prefix("index '") {
            return Some(violated(index.trim_end_matches('\'')));
        }
        let (id, columns) = self.columns(text)?;
        let relation = self.schema.relation(id);
        let table = relation.table()?;
        let same = |other: &[u32]| other.len() == columns.len() && other.iter().all(|c| columns.contains(c));
        let plain_keys = |keys: &[OrderBy]| {
            keys.iter()
                .map(|k| match &k.expr.kind {
                    ExprKind::Column(column) => Some(column.column),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
        };
        let (name, columns) = if same(&table.primary_key) {
            let name = table
                .primary_key_name
                .clone()
                .unwrap_or_else(|| format!("{}_pkey", relation.name).into());
            (name, table.primary_key.clone())
        } else if let Some(unique) = table.uniques.iter().find(|u| same(&u.columns)) {
            (unique.name.clone(), unique.columns.clone())
        } else {
            let index = table
                .indexes
                .iter()
                .find(|i| i.unique && plain_keys(&i.keys).is_some_and(|k| same(&k)))?;
            (index.name.clone(), plain_keys(&index.keys)?)
        };
        let error = violated(&name);
        let given = match attempt {
            Attempt::Insert { relation, given, .. } if *relation == id => given,
            Attempt::Update { relation, given, .. } if relation.relation == id => given,
            _ => return Some(error),
        };
        if !self.may_tell(id, &columns) {
            return Some(error);
        }
        let missing = columns.iter().any(|c| !given.contains_key(c));
        let row = if missing { self.attempted_row(attempt) } else { None };
        let values: Option<Vec<String>> = columns
            .iter()
            .map(|c| {
                let value = given
                    .get(c)
                    .copied()
                    .or_else(|| row.as_ref().map(|r| &r[*c as usize]))?;
                Some(value.to_text(&relation.columns[*c as usize].ty))
            })
            .collect();
        Some(match values {
            Some(values) => error.detail(format!(
                "Key ({})=({}) already exists.",
                self.names(id, &columns),
                values.join(", ")
            )),
            None => error,
        })
    }

    /// The only thing that is not what SQLite's INTEGER PRIMARY KEY takes is NULL.
    fn no_key(&self, attempt: &Attempt<'_>) -> Option<Error> {
        let id = match attempt {
            Attempt::Insert { relation, .. } => *relation,
            Attempt::Update { relation, .. } => relation.relation,
            Attempt::Other { relation } => (*relation)?,
        };
        let key = *self.schema.relation(id).primary_key().first()?;
        Some(self.is_null(id, key, attempt))
    }

    fn not_null(&self, text: &str, attempt: &Attempt<'_>) -> Option<Error> {
        let (id, columns) = self.columns(text)?;
        Some(self.is_null(id, *columns.first()?, attempt))
    }

    fn is_null(&self, id: RelationId, column: u32, attempt: &Attempt<'_>) -> Error {
        let relation = self.schema.relation(id);
        let column = &relation.columns[column as usize].name;
        let error = Error::new(
            "23502",
            format!(
                "null value in column \"{column}\" of relation \"{}\" violates not-null constraint",
                relation.name
            ),
        );
        self.with_failing_row(error, id, attempt)
    }

    fn check(&self, name: &str, attempt: &Attempt<'_>) -> Option<Error> {
        let target = match attempt {
            Attempt::Insert { relation, .. } => Some(*relation),
            Attempt::Update { relation, .. } => Some(relation.relation),
            Attempt::Other { relation } => *relation,
        };
        if let Some(column) = name.strip_prefix(TYPE_CHECK) {
            return Some(self.out_of_range(target, column, attempt));
        }
        let has = |id: RelationId| {
            self.schema
                .relation(id)
                .table()
                .is_some_and(|t| t.checks.iter().any(|c| *c.name == *name))
        };
        // A cascade may violate another table's constraint than the statement's own.
        let id = target
            .filter(|id| has(*id))
            .or_else(|| self.tables().map(|t| t.0).find(|id| has(*id)))?;
        let relation = self.schema.relation(id);
        let error = Error::new(
            "23514",
            format!(
                "new row for relation \"{}\" violates check constraint \"{name}\"",
                relation.name
            ),
        )
        .constraint(name);
        if let Attempt::Update {
            relation,
            given,
            filter,
            order,
            check,
        } = attempt
            && relation.relation == id
            && let Some(violated) = self
                .schema
                .relation(id)
                .table()
                .and_then(|t| t.checks.iter().find(|c| *c.name == *name))
        {
            // Of all rows that match, those that the new values make violate it.
            let violating = rewrite_expr(&violated.expr, &mut Given(given)).ok()?.negate();
            let both = Expr::all(filter.iter().map(|f| (*f).clone()).chain([violating]).collect());
            let narrowed = Attempt::Update {
                relation,
                given: given.clone(),
                filter: Some(&both),
                order,
                check: *check,
            };
            return Some(self.with_failing_row(error, id, &narrowed));
        }
        Some(self.with_failing_row(error, id, attempt))
    }

    fn out_of_range(&self, target: Option<RelationId>, column: &str, attempt: &Attempt<'_>) -> Error {
        let Some((relation, at)) =
            target.and_then(|id| Some((self.schema.relation(id), self.schema.relation(id).column(column)?)))
        else {
            return Error::new("22003", format!("value out of range for column \"{column}\""));
        };
        let ty = &relation.columns[at as usize].ty;
        let value = self.attempted_row(attempt).map(|row| row[at as usize].to_text(ty));
        match ty {
            Type::Int2 | Type::Int4 | Type::Int8 => Error::new("22003", format!("{ty} out of range")),
            Type::Float4 | Type::Float8 => Error::new("22003", format!("value out of range for type {ty}")),
            Type::Numeric(Some((precision, scale))) => Error::new("22003", "numeric field overflow").detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {}.",
                match precision - scale.min(precision) {
                    0 => "1".to_owned(),
                    digits => format!("10^{digits}"),
                }
            )),
            Type::Varchar(_) | Type::Char(_) => Error::new("22001", format!("value too long for type {ty}")),
            Type::Enum(name) => Error::new(
                "22P02",
                match value {
                    Some(value) => format!("invalid input value for enum {name}: \"{value}\""),
                    None => format!("invalid input value for enum {name}"),
                },
            ),
            _ => Error::new("22003", format!("value out of range for type {ty}")),
        }
    }

    fn with_failing_row(&self, error: Error, id: RelationId, attempt: &Attempt<'_>) -> Error {
        let own = match attempt {
            Attempt::Insert { relation, .. } => *relation == id,
            Attempt::Update { relation, .. } => relation.relation == id,
            Attempt::Other { .. } => false,
        };
        let Some(row) = own.then(|| self.attempted_row(attempt)).flatten() else {
            return error;
        };
        let given = match attempt {
            Attempt::Insert { given, .. } | Attempt::Update { given, .. } => given,
            Attempt::Other { .. } => return error,
        };
        let relation = self.schema.relation(id);
        let all: Vec<u32> = (0..relation.columns.len() as u32).collect();
        let secured = relation.table().is_some_and(|t| t.row_security) && !self.env.identity.bypasses_policies();
        if secured {
            return error;
        }
        let whole = self.may_tell(id, &all);
        // Of what the caller may not read, only what the caller gave.
        let shown: Vec<u32> = all
            .into_iter()
            .filter(|c| whole || given.contains_key(c) || self.may_tell(id, &[*c]))
            .collect();
        let text = |column: &u32| match &row[*column as usize] {
            Value::Null => "null".to_owned(),
            value => shortened(value.to_text(&relation.columns[*column as usize].ty)),
        };
        let values = shown.iter().map(text).collect::<Vec<_>>().join(", ");
        error.detail(match whole {
            true => format!("Failing row contains ({values})."),
            false => format!("Failing row contains ({}) = ({values}).", self.names(id, &shown)),
        })
    }

    /// The row that was to be written: what was given, and for the rest the defaults, or what the row had before.
    pub(crate) fn attempted_row(&self, attempt: &Attempt<'_>) -> Option<Vec<Value>> {
        let (id, given, mut row) = match attempt {
            Attempt::Insert { relation, given, .. } => (*relation, given, self.defaults(*relation)),
            Attempt::Update {
                relation,
                given,
                filter,
                order,
                ..
            } => (relation.relation, given, self.first_match(relation, *filter, order)?),
            Attempt::Other { .. } => return None,
        };
        debug_assert_eq!(row.len(), self.schema.relation(id).columns.len());
        for (column, value) in given {
            *row.get_mut(*column as usize)? = (*value).clone();
        }
        Some(row)
    }

    fn defaults(&self, id: RelationId) -> Vec<Value> {
        let relation = self.schema.relation(id);
        relation
            .columns
            .iter()
            .map(|column| match &column.default {
                Some(Expr {
                    kind: ExprKind::Literal(value),
                    ..
                }) => value.clone(),
                Some(expr) => self.evaluate(expr, &column.ty).unwrap_or(Value::Null),
                None if column.identity.is_some() => self.next_rowid(id).map_or(Value::Null, Value::Int),
                None => Value::Null,
            })
            .collect()
    }

    fn evaluate(&self, expr: &Expr, ty: &Type) -> Option<Value> {
        let select = Select {
            projection: vec![Projected {
                expr: expr.clone(),
                name: "value".into(),
            }],
            ..Select::default()
        };
        let plan = sqlite::compile_statement(self.schema, &Sql::Select(Box::new(select))).ok()?;
        let mut prepared = Prepared::new(self.conn, &plan.run).ok()?;
        prepared.bind(self.env, None).ok()?;
        let column = plan.run.columns.first()?;
        let found = prepared.statement.step().ok()?;
        found
            .then(|| {
                decode(prepared.statement.value(0), &column.ty, column.form)
                    .ok()?
                    .fit(ty)
                    .ok()
            })
            .flatten()
    }

    fn next_rowid(&self, id: RelationId) -> Option<i64> {
        let name = table_name(self.schema, id);
        let sql = format!(
            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = ?1), 0), coalesce((SELECT max({}) FROM {}), 0)) + 1",
            sqlite::rowid_name(self.schema.relation(id)),
            quote_identifier(&name)
        );
        self.conn.query_row(&sql, [name], |row| row.get(0)).ok()
    }

    /// The first row that an update was to change, as it is.
    fn first_match(&self, relation: &RelationRef, filter: Option<&Expr>, order: &[OrderBy]) -> Option<Vec<Value>> {
        let columns = &self.schema.relation(relation.relation).columns;
        let shape = mainstay_model::QueryShape {
            select: (columns.iter().enumerate())
                .map(|(i, c)| {
                    mainstay_model::Item::Field(Projected {
                        expr: Expr::column(i as u32, c.ty.clone()),
                        name: c.name.clone(),
                    })
                })
                .collect(),
            filter: filter.cloned(),
            order: order.to_vec(),
            ..mainstay_model::QueryShape::of(mainstay_model::Source::Relation(relation.clone()))
        };
        let query = sqlite::compile_query(self.schema, &shape).ok()?;
        let mut prepared = Prepared::new(self.conn, &query.root.select).ok()?;
        prepared.bind(self.env, None).ok()?;
        prepared.statement.step().ok()?.then_some(())?;
        query
            .root
            .items
            .iter()
            .map(|item| match item {
                sqlite::LevelItem::Column { result, ty, form, .. } => {
                    decode(prepared.statement.value(*result as usize), ty, *form).ok()
                }
                sqlite::LevelItem::Embed { .. } => None,
            })
            .collect()
    }

    /// Columns by name, as Postgres lists a key.
    pub(crate) fn names(&self, id: RelationId, columns: &[u32]) -> String {
        let relation = self.schema.relation(id);
        columns
            .iter()
            .map(|c| &*relation.columns[*c as usize].name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Puts new values in the place of columns.
struct Given<'a>(&'a HashMap<u32, &'a Value>);

impl Rewrite for Given<'_> {
    fn expr(&mut self, expr: &Expr) -> mainstay_model::Result<Option<Expr>> {
        Ok(match &expr.kind {
            ExprKind::Column(column) if column.source == SourceId::SELF => self
                .0
                .get(&column.column)
                .map(|value| Expr::literal((*value).clone(), expr.ty.clone())),
            _ => None,
        })
    }
}

/// Postgres shows the first 64 bytes of each value of a failing row.
fn shortened(text: String) -> String {
    if text.len() <= 64 {
        return text;
    }
    let end = (0..=64).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}...", &text[..end])
}

/// An environment for looking around when there is no operation: while seeding.
pub(crate) fn no_operation(identity: &Identity) -> Env<'_> {
    Env::new(&[], identity, time::now())
}
