//! Casts between types, and assignment to columns.

use super::render::{Renderer, Term, column_digits, quote_text};
use super::storage::{Form, column_form};
use mainstay_model::{Column, Error, Expr, ExprKind, Result, Type, Value, time};

impl<'a> Renderer<'a> {
    /// `inner::to`.
    pub fn cast(&mut self, inner: &Expr, to: &Type) -> Result<Term> {
        if let ExprKind::Literal(value) = &inner.kind
            && let Some(folded) = self.fold(value, &inner.ty, to)?
        {
            return Ok(folded);
        }
        if inner.ty == *to {
            return self.expr(inner);
        }
        // A field of a row-typed argument is written as a member of its JSON and cast back to what it is.
        if let ExprKind::Operator(mainstay_model::Operator::JsonGetText, operands) = &inner.kind
            && let [left, right] = operands.as_slice()
            && let Some((source, at)) = self.row_field(left, right)
        {
            let from = source.columns[at as usize].ty.clone();
            let field = self.column_of(&source, at)?;
            return self.cast_term(field, &from, to);
        }
        let term = if inner.ty.is_integer() && matches!(to, Type::Numeric(_)) {
            self.number(inner)?
        } else {
            self.expr(inner)?
        };
        self.cast_term(term, &inner.ty, to)
    }

    /// A constant cast now rather than for each row; `None` if it must wait.
    fn fold(&mut self, value: &Value, from: &Type, to: &Type) -> Result<Option<Term>> {
        if value.is_null() {
            return Ok(Some(Term::null()));
        }
        if matches!(
            to,
            Type::Char(0) | Type::Enum(_) | Type::Row(_) | Type::Void | Type::Unknown
        ) || matches!(from, Type::Row(_))
        {
            return Ok(None);
        }
        if let Value::Text(text) = value
            && time::is_volatile_literal(text, to)
        {
            return Ok(None);
        }
        let from = if *from == Type::Unknown { &Type::Text } else { from };
        let folded = value.clone().cast(from, to)?;
        Ok(Some(self.literal(&folded, to)?))
    }

    /// A term of type `from` as `to`.
    pub fn cast_term(&mut self, term: Term, from: &Type, to: &Type) -> Result<Term> {
        use Type::*;
        if term.null || from == to {
            return Ok(term);
        }
        Ok(match (from, to) {
            (Int2 | Int4 | Int8, Int2 | Int4 | Int8) => {
                let narrower = matches!((from, to), (Int8, Int4 | Int2) | (Int4, Int2));
                if narrower {
                    self.integer(term.sql, to)
                } else {
                    Term {
                        form: Form::Plain,
                        ..term
                    }
                }
            }
            (Int2 | Int4 | Int8 | Numeric(_), Numeric(typmod)) => {
                let term = match from {
                    Int2 => Term {
                        form: Form::Scaled(0),
                        digits: 5,
                        ..term
                    },
                    Int4 => Term {
                        form: Form::Scaled(0),
                        digits: 10,
                        ..term
                    },
                    Int8 => Term {
                        form: Form::Scaled(0),
                        digits: 19,
                        ..term
                    },
                    _ => term,
                };
                match typmod {
                    None => term,
                    Some((precision, scale)) => self.fit_number(term, *precision, *scale, to),
                }
            }
            (Numeric(_), Int2 | Int4 | Int8) => {
                let wide = self.to_wide(term);
                Term::plain(match to {
                    Int8 => format!("mainstay_num_int({})", wide.sql),
                    Int4 => format!("mainstay_int4(mainstay_num_int({}))", wide.sql),
                    _ => format!("mainstay_int2(mainstay_num_int({}))", wide.sql),
                })
            }
            (Int2 | Int4 | Int8, Float8) => Term::plain(format!("CAST({} AS REAL)", term.sql)),
            (Numeric(_), Float8) => Term::plain(super::compare::number_to_float(&term)),
            (Int2 | Int4 | Int8 | Numeric(_) | Float8, Float4) => {
                let real = if *from == Float8 {
                    term.sql
                } else {
                    super::compare::number_to_float(&Term {
                        form: if from.is_integer() { Form::Scaled(0) } else { term.form },
                        ..term
                    })
                };
                Term::plain(format!("mainstay_float4({real})"))
            }
            (Float4, Float8) => term,
            (Bool, Int4) => term,
            (Bool, Int2 | Int8) | (Int2 | Int8, Bool) => return Err(no_cast(from, to)),
            (Int4, Bool) => Term::plain(format!("({} <> 0)", term.sql)),
            (Timestamp, TimestampTz) | (TimestampTz, Timestamp) | (Jsonb, Json) | (Row(_), Json) => term,
            (Row(_), Jsonb) => Term::plain(format!("mainstay_cast({}, 'json', 'jsonb')", term.sql)),
            (_, Enum(name)) if from.is_text() || matches!(from, Unknown | Enum(_)) => self.to_enum(term, name)?,
            (_, Text | Varchar(None) | Unknown) => {
                let sql = self.to_text(term, from)?;
                Term::plain(sql)
            }
            (_, Varchar(Some(length))) => {
                let unchanged = matches!(from, Varchar(Some(present)) | Char(present) if present <= length);
                let sql = self.to_text(term, from)?;
                if unchanged {
                    Term::plain(sql)
                } else {
                    Term::plain(format!("substr({sql}, 1, {length})"))
                }
            }
            // `character` of unsaid length cuts nothing.
            (_, Char(0)) => {
                let sql = self.to_text(term, from)?;
                Term::plain(format!("rtrim({sql})"))
            }
            (_, Char(length)) => {
                let sql = self.to_text(term, from)?;
                Term::plain(format!("rtrim(substr({sql}, 1, {length}))"))
            }
            (_, Other(name)) if **name == *"bpchar" => Term::plain(self.to_shown_text(term, from)?),
            (_, Void) => Term::plain(format!("nullif({0}, {0})", term.sql)),
            (_, Row(name)) => {
                return Err(Error::unsupported(format!(
                    "a cast from {from} to the row type {name} is not supported by SQLite"
                )));
            }
            (Enum(_), _) => return Err(no_cast(from, to)),
            (Other(_), _) | (_, Other(_)) => self.cast_kept(term, from, to)?,
            (from, to) => {
                let code = self.code(from, term.form);
                match to {
                    Numeric(typmod) => {
                        let wide = Term::wide(format!("mainstay_cast({}, {code}, 'numeric@w')", term.sql));
                        match typmod {
                            None => wide,
                            Some((precision, scale)) => self.fit_number(wide, *precision, *scale, to),
                        }
                    }
                    to => Term::plain(format!(
                        "mainstay_cast({}, {code}, {})",
                        term.sql,
                        self.code(to, Form::Plain)
                    )),
                }
            }
        })
    }

    /// A number as `numeric(precision, scale)` keeps it: rounded, and refused when it does not fit (22003).
    fn fit_number(&mut self, term: Term, precision: u16, scale: u16, ty: &Type) -> Term {
        let form = column_form(ty);
        if let (Form::Scaled(present), Form::Scaled(wanted)) = (term.form, form)
            && present <= wanted
            && let Some(fitting) = self.rescale(&term, wanted)
            && fitting.digits <= precision
        {
            return fitting;
        }
        let wide = self.to_wide(term);
        match form {
            Form::Scaled(_) => Term::scaled(
                format!("mainstay_num_scaled({}, {precision}, {scale})", wide.sql),
                scale,
                column_digits(ty),
            ),
            _ => Term::wide(format!("mainstay_num_fit({}, {precision}, {scale})", wide.sql)),
        }
    }

    fn to_enum(&mut self, term: Term, name: &std::sync::Arc<str>) -> Result<Term> {
        let labels = self
            .schema
            .enums
            .get(name)
            .ok_or_else(|| Error::internal(format!("enum {name} is not known")))?;
        let quoted: Vec<String> = labels.iter().filter_map(|l| quote_text(l)).collect();
        if quoted.contains(&term.sql) {
            return Ok(term);
        }
        let message = quote_text(&format!("invalid input value for enum {name}: ")).unwrap_or_default();
        Ok(Term::plain(format!(
            "(CASE WHEN {0} IN ({1}) THEN {0} WHEN {0} IS NOT NULL THEN mainstay_raise('22P02', {message} || '\"' || {0} || '\"') END)",
            term.sql,
            quoted.join(", ")
        )))
    }

    /// A value as it is written to a column: with the column's form, rounded, padded and refused as an assignment is.
    pub fn assign(&mut self, expr: &Expr, column: &Column) -> Result<String> {
        // A cast to the column's own type is the assignment's: unlike an explicit cast it does not cut texts that are too long.
        let value = match &expr.kind {
            ExprKind::Cast(inner) if expr.ty == column.ty && inner.ty.is_text() && column.ty.is_text() => &**inner,
            _ => expr,
        };
        if let ExprKind::Literal(constant) = &value.kind
            && !constant.is_null()
            && !matches!(column.ty, Type::Enum(_))
        {
            let from = if value.ty == Type::Unknown {
                Type::Text
            } else {
                value.ty.clone()
            };
            let volatile = matches!(constant, Value::Text(text) if time::is_volatile_literal(text, &column.ty));
            if !volatile {
                let whole = untyped(&column.ty);
                let fitted = constant.clone().cast(&from, &whole)?.fit(&column.ty)?;
                return self.constant(&fitted, &column.ty, column_form(&column.ty));
            }
        }
        let term = if value.ty.is_integer() && matches!(column.ty, Type::Numeric(_)) {
            self.number(value)?
        } else {
            self.expr(value)?
        };
        self.assign_term(term, &value.ty, column)
    }

    /// The same of a term.
    pub fn assign_term(&mut self, term: Term, from: &Type, column: &Column) -> Result<String> {
        if term.null {
            return Ok(term.sql);
        }
        match &column.ty {
            Type::Numeric(None) => {
                let term = self.cast_term(term, from, &Type::Numeric(None))?;
                Ok(self.to_wide(term).sql)
            }
            ty @ Type::Numeric(Some((precision, scale))) => {
                let term = match (from, term.form) {
                    (Type::Numeric(Some(_)), form) if from == ty && form == column_form(ty) => return Ok(term.sql),
                    (from, _) => self.cast_term(term, from, &Type::Numeric(None))?,
                };
                Ok(self.fit_number(term, *precision, *scale, ty).sql)
            }
            // The length is the column's CHECK; only blanks may be lost.
            ty @ (Type::Varchar(_) | Type::Char(_)) => {
                let text = self.to_text(term, from)?;
                Ok(match ty {
                    Type::Varchar(None) => text,
                    Type::Varchar(Some(n)) if matches!(from, Type::Varchar(Some(present)) if present <= n) => text,
                    ty => format!("mainstay_fit({text}, {})", self.code(ty, Form::Plain)),
                })
            }
            // Of bits not even zeros may be lost.
            ty @ Type::Other(_) if matches!(from, Type::Other(_)) && from != ty => {
                let fitted = self.code(ty, Form::Plain);
                Ok(format!("mainstay_fit({}, {fitted})", term.sql))
            }
            ty => Ok(self.cast_term(term, from, ty)?.sql),
        }
    }
}

fn no_cast(from: &Type, to: &Type) -> Error {
    Error::new(
        "42846",
        format!("cannot cast type {} to {}", untyped(from), untyped(to)),
    )
}

/// The type without its length or precision.
fn untyped(ty: &Type) -> Type {
    match ty {
        Type::Numeric(_) => Type::Numeric(None),
        Type::Varchar(_) | Type::Char(_) => Type::Text,
        other => other.clone(),
    }
}
