//! Queries: projections, grouping, set operations, `WITH`, ordering.

use super::barrier::Barrier;
use super::compare::wide_key;
use super::quote_identifier;
use super::render::{Common, Renderer, RowSource, SourceColumn, Term, value_form};
use super::storage::Form;
use mainstay_model::{
    CommonTable, Error, Expr, ExprKind, Result, Select, SourceId, Statement, Type, Value, Volatility,
};
use std::rc::Rc;

/// A rendered query: its columns are named `c0`, `c1` ….
#[derive(Clone, Debug)]
pub(super) struct RenderedSelect {
    pub sql: String,
    /// `sql` is the unqualified name; `name` the output's.
    pub columns: Vec<SourceColumn>,
}

/// The parts of a SELECT that follow its projection.
struct Tail {
    from: String,
    filter: String,
    barrier: Barrier,
}

impl<'a> Renderer<'a> {
    /// A query, its columns in the forms wanted.
    pub fn select(&mut self, select: &Select, want: Option<&[Form]>) -> Result<RenderedSelect> {
        self.deeper(|r| {
            let kept = r.scope.clone();
            let result = r.select_inside(select, want);
            r.scope = kept;
            result
        })
    }

    fn select_inside(&mut self, select: &Select, want: Option<&[Form]>) -> Result<RenderedSelect> {
        let with = self.with(&select.with)?;
        let mut body = if select.set_operation.is_some() {
            self.set_operation(select, want)?
        } else if !select.values.is_empty() {
            self.values(select, want)?
        } else {
            self.core(select, want)?
        };
        body.sql = format!("{with}{}{}", body.sql, self.limit(select)?);
        Ok(body)
    }

    fn limit(&mut self, select: &Select) -> Result<String> {
        let mut sql = String::new();
        if let Some(limit) = &select.limit
            && !is_null(limit)
        {
            sql = format!(" LIMIT {}", self.count("mainstay_limit", limit)?);
        }
        if let Some(offset) = &select.offset
            && !is_null(offset)
        {
            if sql.is_empty() {
                sql.push_str(" LIMIT -1");
            }
            sql.push_str(&format!(" OFFSET {}", self.count("mainstay_offset", offset)?));
        }
        Ok(sql)
    }

    /// A number of rows. What is not known here is looked at when it is: a negative one is an error, and NULL is none.
    fn count(&mut self, function: &str, expr: &Expr) -> Result<String> {
        let number = self.condition(expr)?;
        Ok(match expr.kind {
            ExprKind::Literal(Value::Int(0..)) => number,
            _ => format!("{function}({number})"),
        })
    }

    /// `WITH …` and a blank, or nothing; the members come into scope.
    pub fn with(&mut self, members: &[CommonTable]) -> Result<String> {
        if members.is_empty() {
            return Ok(String::new());
        }
        let mut parts = Vec::new();
        for member in members {
            let Statement::Select(select) = &member.statement else {
                return Err(Error::unsupported(format!(
                    "WITH {}: a data-modifying statement in WITH is not supported by SQLite",
                    member.name
                ))
                .hint("Make it a statement of its own in the function's body."));
            };
            let name = format!("w{}", self.alias());
            let secured = self.secured;
            let column = |at: usize, name: &std::sync::Arc<str>, ty: &Type, form: Form, digits: u16| SourceColumn {
                name: name.clone(),
                sql: format!("c{at}"),
                ty: ty.clone(),
                form,
                digits,
                not_null: false,
                fallible: member.recursive,
            };
            let (sql, columns) = if member.recursive && select.set_operation.is_some() {
                // The recursive term's values grow beyond what the first term proves: numbers take the form that holds any.
                let forms: Vec<Form> = member.columns.iter().map(|(_, ty)| value_form(ty)).collect();
                let columns: Vec<SourceColumn> = member
                    .columns
                    .iter()
                    .zip(&forms)
                    .enumerate()
                    .map(|(at, ((n, ty), form))| column(at, n, ty, *form, 19))
                    .collect();
                self.scope.common.insert(
                    member.id,
                    Rc::new(Common {
                        name: name.clone(),
                        columns: columns.clone(),
                        hides: false,
                    }),
                );
                (self.select(select, Some(&forms))?.sql, columns)
            } else {
                let rendered = self.select(select, None)?;
                let columns = rendered.columns;
                (rendered.sql, columns)
            };
            let columns: Vec<SourceColumn> = columns
                .iter()
                .enumerate()
                .map(|(at, c)| match member.columns.get(at) {
                    Some((name, _)) => SourceColumn {
                        fallible: c.fallible,
                        ..column(at, name, &c.ty, c.form, c.digits)
                    },
                    None => c.clone(),
                })
                .collect();
            let names = (0..columns.len())
                .map(|at| format!("c{at}"))
                .collect::<Vec<_>>()
                .join(", ");
            let once = match &member.statement {
                Statement::Select(select) if is_volatile(select) => "MATERIALIZED ",
                _ => "",
            };
            parts.push(format!("{name} ({names}) AS {once}({sql})"));
            let hides = self.secured != secured;
            self.scope
                .common
                .insert(member.id, Rc::new(Common { name, columns, hides }));
        }
        let recursive = if members.iter().any(|m| m.recursive) {
            "RECURSIVE "
        } else {
            ""
        };
        Ok(format!("WITH {recursive}{} ", parts.join(", ")))
    }

    /// A SELECT without set operations, with its ORDER BY.
    fn core(&mut self, select: &Select, want: Option<&[Form]>) -> Result<RenderedSelect> {
        let Tail { from, filter, barrier } = self.tail(select)?;
        let mut terms = Vec::new();
        let mut fallible = Vec::new();
        for (at, projected) in select.projection.iter().enumerate() {
            let (term, can_fail) = self.watched(|r| r.expr(&projected.expr))?;
            fallible.push(can_fail);
            let term = match want.and_then(|w| w.get(at)) {
                Some(form) => self.convert_typed(term, &projected.expr.ty, *form)?,
                None => term,
            };
            terms.push(term);
        }
        let mut columns = self.columns_of(select, &terms);
        for (column, fallible) in columns.iter_mut().zip(fallible) {
            column.fallible = fallible;
        }
        let mut group = Vec::new();
        for key in &select.group_by {
            if matches!(key.kind, ExprKind::Literal(_)) {
                continue;
            }
            let term = self.expr(key)?;
            group.push(self.equal_key(term, &key.ty));
        }
        let group = if group.is_empty() {
            String::new()
        } else {
            format!(" GROUP BY {}", group.join(", "))
        };
        let having = match &select.having {
            Some(having) => format!(" HAVING {}", barrier.of_groups(self.watched(|r| r.condition(having))?)),
            None => String::new(),
        };
        let list = |terms: &[Term]| {
            if terms.is_empty() {
                return "1".to_owned();
            }
            terms
                .iter()
                .enumerate()
                .map(|(at, t)| format!("{} AS c{at}", t.sql))
                .collect::<Vec<_>>()
                .join(", ")
        };
        if !select.distinct_on.is_empty() {
            return self.distinct_on(
                select,
                &list(&terms),
                columns,
                &format!("{from}{filter}{group}{having}"),
            );
        }
        let special = select.distinct && columns.iter().any(|c| !self.distinct_as_it_is(c));
        if special {
            // Equal values may differ in their bytes (1.0 and 1.00): grouped by what makes them equal.
            let alias = self.alias();
            let keys = self.keys_under(&alias, &columns);
            let inner = format!("SELECT {}{from}{filter}{group}{having}", list(&terms));
            let order = self.output_order(select, &columns, &alias)?;
            let names = columns
                .iter()
                .map(|c| format!("{alias}.{0} AS {0}", c.sql))
                .collect::<Vec<_>>()
                .join(", ");
            let sql = format!(
                "SELECT {names} FROM ({inner}) AS {alias} GROUP BY {}{order}",
                keys.join(", ")
            );
            return Ok(RenderedSelect { sql, columns });
        }
        let distinct = if select.distinct { "DISTINCT " } else { "" };
        let order = self.order_by(&select.order)?;
        if group.is_empty()
            && let Some(condition) = &select.having
            && !select.projection.iter().any(|p| p.expr.has_aggregate())
        {
            // SQLite wants an aggregate in the result before it hears of HAVING.
            let condition = self.condition(condition)?;
            let list = if terms.is_empty() {
                String::new()
            } else {
                format!("{}, ", list(&terms))
            };
            let names = if columns.is_empty() {
                "1".to_owned()
            } else {
                columns.iter().map(|c| c.sql.as_str()).collect::<Vec<_>>().join(", ")
            };
            let sql =
                format!("SELECT {names} FROM (SELECT {list}count(*) AS n, {condition} AS h{from}{filter}) WHERE h");
            return Ok(RenderedSelect { sql, columns });
        }
        Ok(RenderedSelect {
            sql: format!("SELECT {distinct}{}{from}{filter}{group}{having}{order}", list(&terms)),
            columns,
        })
    }

    /// FROM and WHERE; the sources come into scope.
    fn tail(&mut self, select: &Select) -> Result<Tail> {
        let (from, mut barrier) = self.from(&select.from)?;
        if let Some(filter) = &select.filter {
            barrier.ask(self.parts(filter)?);
        }
        let from = if from.is_empty() {
            from
        } else {
            format!(" FROM {}", barrier.close(&from))
        };
        Ok(Tail {
            from,
            filter: barrier.filter(),
            barrier,
        })
    }

    fn columns_of(&self, select: &Select, terms: &[Term]) -> Vec<SourceColumn> {
        select
            .projection
            .iter()
            .zip(terms)
            .enumerate()
            .map(|(at, (projected, term))| SourceColumn {
                name: projected.name.clone(),
                sql: format!("c{at}"),
                ty: projected.expr.ty.clone(),
                form: term.form,
                digits: term.digits,
                not_null: match &projected.expr.kind {
                    ExprKind::Column(column) => self.source_column(*column).is_ok_and(|c| c.not_null),
                    ExprKind::Literal(value) => !value.is_null(),
                    _ => false,
                },
                fallible: false,
            })
            .collect()
    }

    pub fn distinct_as_it_is(&self, column: &SourceColumn) -> bool {
        match column.form {
            Form::Scaled(_) => true,
            _ => self.equal_key_is_itself(&column.ty),
        }
    }

    pub fn keys_under(&mut self, alias: &str, columns: &[SourceColumn]) -> Vec<String> {
        columns
            .iter()
            .map(|c| {
                let term = Term {
                    sql: format!("{alias}.{}", c.sql),
                    form: c.form,
                    digits: c.digits,
                    atom: true,
                    null: false,
                };
                self.equal_key(term, &c.ty)
            })
            .collect()
    }

    /// ORDER BY over the output of a subselect: every key must be one of the projection.
    pub fn output_order(&mut self, select: &Select, columns: &[SourceColumn], alias: &str) -> Result<String> {
        let mut keys = Vec::new();
        for key in &select.order {
            let at = match &key.expr.kind {
                ExprKind::Column(column) if select.set_operation.is_some() && column.source == SourceId::SELF => {
                    column.column as usize
                }
                _ => select
                    .projection
                    .iter()
                    .position(|p| p.expr == key.expr)
                    .ok_or_else(|| {
                        Error::new(
                            "42P10",
                            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
                        )
                    })?,
            };
            let direction = if key.descending { " DESC" } else { "" };
            let nulls = if key.nulls_first { " NULLS FIRST" } else { " NULLS LAST" };
            let term = Term {
                sql: format!("{alias}.c{at}"),
                form: columns.get(at).map_or(Form::Plain, |c| c.form),
                digits: 0,
                atom: true,
                null: false,
            };
            keys.push(format!("{}{direction}{nulls}", self.order_key(term, &key.expr.ty)?));
        }
        Ok(if keys.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", keys.join(", "))
        })
    }

    /// `DISTINCT ON`: the first row of each group by a row number.
    fn distinct_on(
        &mut self,
        select: &Select,
        list: &str,
        columns: Vec<SourceColumn>,
        tail: &str,
    ) -> Result<RenderedSelect> {
        let mut partition = Vec::new();
        for key in &select.distinct_on {
            let term = self.expr(key)?;
            partition.push(self.equal_key(term, &key.ty));
        }
        let order = self.order_by(&select.order)?;
        let alias = self.alias();
        let mut outer_order = Vec::new();
        let mut keys = String::new();
        for key in &select.order {
            if matches!(key.expr.kind, ExprKind::Literal(_)) {
                continue;
            }
            let at = outer_order.len();
            let term = self.expr(&key.expr)?;
            keys.push_str(&format!(", {} AS o{at}", self.order_key(term, &key.expr.ty)?));
            outer_order.push(format!(
                "{alias}.o{at}{}{}",
                if key.descending { " DESC" } else { "" },
                if key.nulls_first { " NULLS FIRST" } else { " NULLS LAST" }
            ));
        }
        let names = columns
            .iter()
            .map(|c| format!("{alias}.{0} AS {0}", c.sql))
            .collect::<Vec<_>>()
            .join(", ");
        let outer_order = if outer_order.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", outer_order.join(", "))
        };
        let sql = format!(
            "SELECT {names} FROM (SELECT {list}{keys}, row_number() OVER (PARTITION BY {}{order}) AS rn{tail}) AS {alias} \
             WHERE {alias}.rn = 1{outer_order}",
            partition.join(", ")
        );
        Ok(RenderedSelect { sql, columns })
    }

    /// A term in a form, integers among numbers included.
    pub fn convert_typed(&mut self, term: Term, ty: &Type, form: Form) -> Result<Term> {
        if ty.is_integer() && term.form == Form::Plain && form != Form::Plain && !term.null {
            let digits = match ty {
                Type::Int2 => 5,
                Type::Int4 => 10,
                _ => 19,
            };
            return self.convert(
                Term {
                    form: Form::Scaled(0),
                    digits,
                    ..term
                },
                form,
            );
        }
        self.convert(term, form)
    }

    /// A derived table's columns under its alias.
    pub fn derived_source(&self, columns: &[SourceColumn], alias: &str, nullable: bool) -> RowSource {
        RowSource {
            columns: columns.iter().map(|c| c.under(alias, nullable)).collect(),
            nullable,
            outer: false,
        }
    }

    /// The key by which a unique index finds a column's value: built-in SQL.
    pub fn unique_key(&self, name: &str, ty: &Type) -> String {
        let column = quote_identifier(name);
        match super::storage::column_form(ty) {
            Form::Wide => wide_key(&Term::wide(column).atom()),
            _ => column,
        }
    }
}

/// Whether a query yields what a function gives anew at each call: SQLite would call it once per mention, were the query flattened into
/// the one around it.
pub(super) fn is_volatile(select: &Select) -> bool {
    let mut found = false;
    let mut visit = |e: &Expr| {
        found |= matches!(&e.kind, ExprKind::Call(function, _) if function.volatility() == Volatility::Volatile);
    };
    select.projection.iter().for_each(|p| p.expr.walk(&mut visit));
    select.values.iter().flatten().for_each(|e| e.walk(&mut visit));
    found
        || select
            .set_operation
            .as_ref()
            .is_some_and(|(_, right)| is_volatile(right))
}

fn is_null(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Literal(value) if value.is_null())
        || matches!(&expr.kind, ExprKind::Cast(inner) if is_null(inner))
}
