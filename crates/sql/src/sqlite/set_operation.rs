//! Rows from several lists or queries: VALUES, UNION, INTERSECT and EXCEPT, their columns brought to one form.

use super::barrier::can_fail;
use super::render::{Renderer, SourceColumn, Term};
use super::select::RenderedSelect;
use super::storage::Form;
use mainstay_model::{Error, Result, Select, SetOperation, Type};

impl<'a> Renderer<'a> {
    /// `VALUES (…), (…)`
    pub fn values(&mut self, select: &Select, want: Option<&[Form]>) -> Result<RenderedSelect> {
        let width = select.values.iter().map(Vec::len).max().unwrap_or(0);
        let mut rows: Vec<Vec<Term>> = Vec::with_capacity(select.values.len());
        for row in &select.values {
            if row.len() != width {
                return Err(Error::new("42601", "VALUES lists must all be the same length"));
            }
            rows.push(row.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?);
        }
        let mut columns = Vec::with_capacity(width);
        for at in 0..width {
            let mut ty = select.values[0][at].ty.clone();
            for row in &select.values {
                if ty == Type::Unknown || (ty.is_integer() && matches!(row[at].ty, Type::Numeric(_))) {
                    ty = row[at].ty.clone();
                }
            }
            let number = matches!(ty, Type::Numeric(_));
            let terms = rows
                .iter()
                .zip(&select.values)
                .map(
                    |(row, exprs)| match exprs[at].ty.is_integer() && number && !row[at].null {
                        true => Term {
                            form: Form::Scaled(0),
                            digits: 19,
                            ..row[at].clone()
                        },
                        false => row[at].clone(),
                    },
                )
                .collect::<Vec<_>>();
            let (terms, form) = match want.and_then(|w| w.get(at)) {
                Some(form) => {
                    let terms = terms
                        .into_iter()
                        .map(|t| self.convert_typed(t, &ty, *form))
                        .collect::<Result<Vec<_>>>()?;
                    (terms, *form)
                }
                None => self.align(terms)?,
            };
            let digits = terms.iter().map(|t| t.digits).max().unwrap_or(0);
            for (row, term) in rows.iter_mut().zip(terms) {
                row[at] = term;
            }
            let name = select
                .projection
                .get(at)
                .map_or_else(|| format!("column{}", at + 1).into(), |p| p.name.clone());
            columns.push(SourceColumn {
                name,
                sql: format!("c{at}"),
                ty,
                form,
                digits,
                not_null: false,
                fallible: rows.iter().any(|row| can_fail(&row[at].sql)),
            });
        }
        let rows = rows
            .iter()
            .map(|row| {
                format!(
                    "({})",
                    row.iter().map(|t| t.sql.as_str()).collect::<Vec<_>>().join(", ")
                )
            })
            .collect::<Vec<_>>()
            .join(", ");
        let names = (0..width)
            .map(|at| format!("column{} AS c{at}", at + 1))
            .collect::<Vec<_>>()
            .join(", ");
        let inner = format!("SELECT {names} FROM (VALUES {rows})");
        if select.order.is_empty() {
            return Ok(RenderedSelect { sql: inner, columns });
        }
        let alias = self.alias();
        let mut compound = select.clone();
        // The keys of an ordered VALUES are output columns, as after a set operation.
        compound.set_operation = Some((SetOperation::UnionAll, Box::default()));
        let order = self.output_order(&compound, &columns, &alias)?;
        Ok(RenderedSelect {
            sql: format!("SELECT {alias}.* FROM ({inner}) AS {alias}{order}"),
            columns,
        })
    }

    /// A query with a set operation, and its ORDER BY.
    pub fn set_operation(&mut self, select: &Select, want: Option<&[Form]>) -> Result<RenderedSelect> {
        let Some((operation, right)) = &select.set_operation else {
            return Err(Error::internal("no set operation"));
        };
        let left = Select {
            with: Vec::new(),
            set_operation: None,
            order: Vec::new(),
            limit: None,
            offset: None,
            ..select.clone()
        };
        // Rendered once as they come, and again only if their forms differ: a long chain must not be rendered over and over.
        let mark = self.mark();
        let secured = self.secured;
        let (l, r) = (self.select(&left, want)?, self.select(right, want)?);
        if l.columns.len() != r.columns.len() {
            return Err(Error::new(
                "42601",
                "each UNION, INTERSECT or EXCEPT query must have the same number of columns",
            ));
        }
        let mut forms = Vec::new();
        let mut columns = Vec::new();
        for (at, (a, b)) in l.columns.iter().zip(&r.columns).enumerate() {
            let ty = if a.ty == Type::Unknown || (a.ty.is_integer() && matches!(b.ty, Type::Numeric(_))) {
                &b.ty
            } else {
                &a.ty
            };
            let term = |c: &SourceColumn| Term {
                sql: String::new(),
                form: if c.ty.is_integer() && matches!(ty, Type::Numeric(_)) {
                    Form::Scaled(0)
                } else {
                    c.form
                },
                digits: if c.ty.is_integer() { 19 } else { c.digits },
                atom: true,
                // A column of NULLs alone has no form of its own.
                null: c.ty == Type::Unknown,
            };
            let form = match want.and_then(|w| w.get(at)) {
                Some(form) => *form,
                None => match self.common_form(&[&term(a), &term(b)]) {
                    form if matches!(ty, Type::Numeric(_)) && form == Form::Plain => Form::Wide,
                    form => form,
                },
            };
            forms.push(form);
            columns.push(SourceColumn {
                ty: ty.clone(),
                form,
                digits: a.digits.max(b.digits),
                not_null: a.not_null && b.not_null,
                fallible: a.fallible || b.fallible,
                ..a.clone()
            });
        }
        let alike = |side: &RenderedSelect| {
            side.columns
                .iter()
                .zip(&forms)
                .all(|(column, form)| column.form == *form)
        };
        let (l, r) = if want.is_some() || (alike(&l) && alike(&r)) {
            (l.sql, r.sql)
        } else {
            self.reset(mark);
            (
                self.select(&left, Some(&forms))?.sql,
                self.select(right, Some(&forms))?.sql,
            )
        };
        let nested =
            right.set_operation.is_some() || !right.order.is_empty() || right.limit.is_some() || right.offset.is_some();
        let r = if nested || !right.with.is_empty() {
            format!("SELECT * FROM ({r})")
        } else {
            r
        };
        let l = if left.distinct_on.is_empty() {
            l
        } else {
            format!("SELECT * FROM ({l})")
        };
        let names = columns.iter().map(|c| c.sql.clone()).collect::<Vec<_>>().join(", ");
        let special = columns.iter().any(|c| !self.distinct_as_it_is(c));
        let sql = match operation {
            SetOperation::UnionAll => format!("{l} UNION ALL {r}"),
            SetOperation::Union if special && want.is_none() => {
                let alias = self.alias();
                let keys = self.keys_under(&alias, &columns);
                format!(
                    "SELECT {names} FROM ({l} UNION ALL {r}) AS {alias} GROUP BY {}",
                    keys.join(", ")
                )
            }
            SetOperation::Union => format!("{l} UNION {r}"),
            SetOperation::Intersect | SetOperation::Except if special => {
                // The keys may fail of rows that either side hides.
                let whole = |sql: &str| match self.secured != secured {
                    true => format!("SELECT * FROM ({sql}) LIMIT -1"),
                    false => sql.to_owned(),
                };
                let (l, r) = (whole(&l), whole(&r));
                let (a, b) = (self.alias(), self.alias());
                let (keys, other) = (self.keys_under(&a, &columns), self.keys_under(&b, &columns));
                let same = keys
                    .iter()
                    .zip(&other)
                    .map(|(x, y)| format!("{x} IS {y}"))
                    .collect::<Vec<_>>();
                let not = if *operation == SetOperation::Except { "NOT " } else { "" };
                format!(
                    "SELECT {names} FROM ({l}) AS {a} WHERE {not}EXISTS (SELECT 1 FROM ({r}) AS {b} WHERE {}) GROUP BY {}",
                    same.join(" AND "),
                    keys.join(", ")
                )
            }
            SetOperation::Intersect => format!("{l} INTERSECT {r}"),
            SetOperation::Except => format!("{l} EXCEPT {r}"),
            SetOperation::IntersectAll | SetOperation::ExceptAll if special => {
                let (a, b) = (self.alias(), self.alias());
                let (keys, other) = (self.keys_under(&a, &columns), self.keys_under(&b, &columns));
                let keyed = |sql: &str, alias: &str, keys: &[String]| {
                    let all = keys
                        .iter()
                        .enumerate()
                        .map(|(at, k)| format!("{k} AS k{at}"))
                        .collect::<Vec<_>>()
                        .join(", ");
                    format!(
                        "SELECT {names}, {all}, row_number() OVER (PARTITION BY {}) AS rn FROM ({sql}) AS {alias}",
                        keys.join(", ")
                    )
                };
                let (x, y) = (self.alias(), self.alias());
                let same = (0..keys.len())
                    .map(|at| format!("{x}.k{at} IS {y}.k{at} AND "))
                    .collect::<String>();
                let not = if *operation == SetOperation::ExceptAll {
                    "NOT "
                } else {
                    ""
                };
                format!(
                    "SELECT {names} FROM ({}) AS {x} WHERE {not}EXISTS (SELECT 1 FROM ({}) AS {y} WHERE {same}{x}.rn = {y}.rn)",
                    keyed(&l, &a, &keys),
                    keyed(&r, &b, &other)
                )
            }
            SetOperation::IntersectAll | SetOperation::ExceptAll => {
                // Which of several equal rows it is makes each of them different.
                let word = if *operation == SetOperation::IntersectAll {
                    "INTERSECT"
                } else {
                    "EXCEPT"
                };
                let numbered =
                    |sql: &str| format!("SELECT {names}, row_number() OVER (PARTITION BY {names}) AS rn FROM ({sql})");
                format!("SELECT {names} FROM ({} {word} {})", numbered(&l), numbered(&r))
            }
        };
        if select.order.is_empty() {
            return Ok(RenderedSelect { sql, columns });
        }
        let alias = self.alias();
        let order = self.output_order(select, &columns, &alias)?;
        Ok(RenderedSelect {
            sql: format!("SELECT {alias}.* FROM ({sql}) AS {alias}{order}"),
            columns,
        })
    }
}
