//! Comparison and order: how SQLite comes to the answer that Postgres gives for each type.

use super::Bind;
use super::render::{Renderer, Term, quote_text};
use super::storage::Form;
use mainstay_model::{Error, Expr, ExprKind, Operator, OrderBy, Result, Type, Value};

/// SQLite's spelling of a comparison.
fn spelling(operator: Operator) -> Option<&'static str> {
    Some(match operator {
        Operator::Eq => "=",
        Operator::Ne => "<>",
        Operator::Lt => "<",
        Operator::Le => "<=",
        Operator::Gt => ">",
        Operator::Ge => ">=",
        Operator::IsDistinctFrom => "IS NOT",
        Operator::IsNotDistinctFrom => "IS",
        _ => return None,
    })
}

/// The operator with its sides exchanged.
fn flipped(operator: Operator) -> Operator {
    match operator {
        Operator::Lt => Operator::Gt,
        Operator::Le => Operator::Ge,
        Operator::Gt => Operator::Lt,
        Operator::Ge => Operator::Le,
        other => other,
    }
}

fn is_ordering(operator: Operator) -> bool {
    matches!(operator, Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge)
}

impl<'a> Renderer<'a> {
    /// A comparison of two expressions.
    pub fn compare(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Result<String> {
        if matches!(left.ty, Type::Numeric(_)) || matches!(right.ty, Type::Numeric(_)) {
            if self.is_value(right) && !self.is_value(left) {
                return self.compare_number_with_value(operator, left, right);
            }
            if self.is_value(left) && !self.is_value(right) {
                return self.compare_number_with_value(flipped(operator), right, left);
            }
            let (left_term, right_term) = (self.number(left)?, self.number(right)?);
            return self.compare_terms(operator, (left_term, &left.ty), (right_term, &right.ty));
        }
        let (left_term, right_term) = (self.expr(left)?, self.expr(right)?);
        self.compare_terms(operator, (left_term, &left.ty), (right_term, &right.ty))
    }

    /// Whether an expression is a constant, parameter or claim, whose form can be chosen to suit the other side.
    pub fn is_value(&self, expr: &Expr) -> bool {
        if self.scope.arguments.is_some() && !matches!(number_value(expr).map(|e| &e.kind), Some(ExprKind::Literal(_)))
        {
            return false;
        }
        number_value(expr).is_some()
    }

    /// A number that is a value, as a bind or constant of the given form.
    pub fn number_bind(&mut self, expr: &Expr, form: Form) -> Result<String> {
        let value = number_value(expr).ok_or_else(|| Error::internal("not a value"))?;
        match &value.kind {
            ExprKind::Literal(constant) => self.constant(constant, &Type::Numeric(None), form),
            ExprKind::Param(index) => self.bind(Bind::Param(*index, value.ty.clone(), form)),
            ExprKind::Claim(claim) => self.bind(Bind::Claim(claim.clone(), value.ty.clone(), form)),
            _ => Err(Error::internal("not a value")),
        }
    }

    fn compare_number_with_value(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Result<String> {
        let sign = spelling(operator).ok_or_else(|| Error::internal("not a comparison"))?;
        let term = self.number(left)?;
        match term.form {
            Form::Scaled(scale) => {
                let form = match operator {
                    Operator::Lt | Operator::Ge => Form::Ceiling(scale),
                    Operator::Le | Operator::Gt => Form::Floor(scale),
                    _ => Form::Exact(scale),
                };
                let value = self.number_bind(right, form)?;
                Ok(format!("({} {sign} {value})", term.sql))
            }
            Form::Wide if is_ordering(operator) => {
                let form = match operator {
                    Operator::Lt | Operator::Ge => Form::WideFirst,
                    _ => Form::WideLast,
                };
                let value = self.number_bind(right, form)?;
                Ok(format!("({} {sign} {value})", term.sql))
            }
            Form::Wide if operator == Operator::Eq && term.atom => {
                let (first, last) = (
                    self.number_bind(right, Form::WideFirst)?,
                    self.number_bind(right, Form::WideLast)?,
                );
                Ok(format!("({0} >= {first} AND {0} <= {last})", term.sql))
            }
            Form::Wide => {
                let value = Term::wide(self.number_bind(right, Form::Wide)?).atom();
                Ok(format!("({} {sign} {})", wide_key(&term), wide_key(&value)))
            }
            _ => {
                // NULL, or a number that is not numeric: both sides take the form of the value.
                let value = self.number(right)?;
                self.compare_terms(operator, (term, &left.ty), (value, &right.ty))
            }
        }
    }

    /// A comparison of two terms.
    pub fn compare_terms(&mut self, operator: Operator, left: (Term, &Type), right: (Term, &Type)) -> Result<String> {
        let Some(sign) = spelling(operator) else {
            return self.pattern(operator, left, right);
        };
        let (left, right) = if is_ordering(operator) {
            self.order_keys(left, right)?
        } else {
            self.equal_keys(left, right)?
        };
        Ok(format!("({left} {sign} {right})"))
    }

    /// Whether `=` on the stored form is Postgres' equality.
    pub fn equal_key_is_itself(&self, ty: &Type) -> bool {
        match ty {
            Type::Numeric(_) | Type::Interval | Type::Jsonb => false,
            Type::Array(element) => !matches!(
                **element,
                Type::Numeric(_)
                    | Type::Float4
                    | Type::Float8
                    | Type::Interval
                    | Type::Jsonb
                    | Type::Json
                    | Type::Array(_)
            ),
            _ => true,
        }
    }

    /// Two texts that are equal in SQLite when the values are in Postgres.
    pub fn equal_keys(&mut self, left: (Term, &Type), right: (Term, &Type)) -> Result<(String, String)> {
        if let Some(pair) = self.number_keys(&left, &right)? {
            return Ok(pair);
        }
        super::kept::refuse_equality(left.1)?;
        Ok((self.equal_key(left.0, left.1), self.equal_key(right.0, right.1)))
    }

    fn order_keys(&mut self, left: (Term, &Type), right: (Term, &Type)) -> Result<(String, String)> {
        if let Some(pair) = self.number_keys(&left, &right)? {
            return Ok(pair);
        }
        Ok((self.order_key(left.0, left.1)?, self.order_key(right.0, right.1)?))
    }

    /// Both sides in one numeric form, if either is numeric.
    fn number_keys(&mut self, left: &(Term, &Type), right: &(Term, &Type)) -> Result<Option<(String, String)>> {
        if !matches!(left.1, Type::Numeric(_)) && !matches!(right.1, Type::Numeric(_)) {
            return Ok(None);
        }
        let as_number = |(term, ty): &(Term, &Type)| match term.form {
            Form::Plain if !term.null && ty.is_integer() => Term {
                form: Form::Scaled(0),
                digits: 19,
                ..term.clone()
            },
            _ => term.clone(),
        };
        let float = |(term, ty): &(Term, &Type)| match ty {
            Type::Float4 | Type::Float8 => term.sql.clone(),
            _ => number_to_float(term),
        };
        if matches!(left.1, Type::Float4 | Type::Float8) || matches!(right.1, Type::Float4 | Type::Float8) {
            return Ok(Some((float(left), float(right))));
        }
        let (terms, form) = self.comparable(as_number(left), as_number(right));
        let [l, r] = terms.map(|t| {
            if form == Form::Wide && !t.null {
                wide_key(&t)
            } else {
                t.sql
            }
        });
        Ok(Some((l, r)))
    }

    /// A text whose equality in SQLite is the value's in Postgres: what is grouped by and made distinct.
    pub fn equal_key(&mut self, term: Term, ty: &Type) -> String {
        match ty {
            _ if term.null => term.sql,
            Type::Numeric(_) if term.form == Form::Wide => wide_key(&term),
            Type::Interval => format!("mainstay_interval_key({})", term.sql),
            Type::Jsonb => format!("mainstay_jsonb_key({})", term.sql),
            Type::Array(element) if !self.equal_key_is_itself(ty) => {
                format!("mainstay_array_key({}, {})", term.sql, self.code(element, Form::Plain))
            }
            _ => term.sql,
        }
    }

    /// A text whose order in SQLite is the value's in Postgres.
    pub fn order_key(&mut self, term: Term, ty: &Type) -> Result<String> {
        Ok(match ty {
            _ if term.null => term.sql,
            Type::Numeric(_) if term.form == Form::Wide => wide_key(&term),
            Type::Enum(name) => {
                let labels = self
                    .schema
                    .enums
                    .get(name)
                    .ok_or_else(|| Error::internal(format!("enum {name} is not known")))?;
                if let Some(at) = labels.iter().position(|l| quote_text(l).is_some_and(|q| q == term.sql)) {
                    return Ok(at.to_string());
                }
                let mut sql = format!("(CASE {}", term.sql);
                for (at, label) in labels.iter().enumerate() {
                    sql.push_str(&format!(" WHEN {} THEN {at}", quote_text(label).unwrap_or_default()));
                }
                sql + " END)"
            }
            Type::Array(element) => format!("mainstay_array_key({}, {})", term.sql, self.code(element, Form::Plain)),
            Type::Interval | Type::Jsonb => self.equal_key(term, ty),
            Type::Other(name) => {
                return Err(Error::unsupported(format!("SQLite cannot order values of type {name}"))
                    .hint("Such values are stored and compared for equality only."));
            }
            Type::Json => {
                return Err(Error::new(
                    "42883",
                    "could not identify an ordering operator for type json",
                ));
            }
            _ => term.sql,
        })
    }

    /// `ORDER BY` over expressions in scope; empty without keys that order anything.
    pub fn order_by(&mut self, order: &[OrderBy]) -> Result<String> {
        let mut keys = Vec::new();
        for (at, key) in order.iter().enumerate() {
            keys.extend(self.order_item(key, at + 1 == order.len())?);
        }
        Ok(if keys.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", keys.join(", "))
        })
    }

    /// One sort key; `None` for a constant, which SQLite would take as a column's number.
    pub fn order_item(&mut self, key: &OrderBy, last: bool) -> Result<Option<String>> {
        if matches!(key.expr.kind, ExprKind::Literal(_)) {
            return Ok(None);
        }
        let not_null = match &key.expr.kind {
            ExprKind::Column(column) => self.source_column(*column)?.not_null,
            _ => false,
        };
        let term = self.expr(&key.expr)?;
        let sql = match term.form {
            // Equal numbers lie side by side in their bytes; with nothing to order them by further, an index may serve.
            Form::Wide if last => term.sql,
            _ => self.order_key(term, &key.expr.ty)?,
        };
        let direction = if key.descending { " DESC" } else { "" };
        // NULLs are least in SQLite; saying so would keep it from reading an index.
        let nulls = match (key.descending, key.nulls_first) {
            _ if not_null => "",
            (false, true) | (true, false) => "",
            (false, false) => " NULLS LAST",
            (true, true) => " NULLS FIRST",
        };
        Ok(Some(format!("{sql}{direction}{nulls}")))
    }
}

/// The bytes of a wide number without its display scale, so that `1.0` equals `1.00`. Built-in SQL: unique indexes rely on it.
pub(super) fn wide_key(term: &Term) -> String {
    if term.atom {
        format!("substr({0}, 1, length({0}) - 2)", term.sql)
    } else {
        format!("mainstay_num_key({})", term.sql)
    }
}

/// A numeric term as a REAL.
pub(super) fn number_to_float(term: &Term) -> String {
    match term.form {
        Form::Scaled(0) => format!("CAST({} AS REAL)", term.sql),
        // Both are exact in a double, so their quotient is the nearest double.
        Form::Scaled(scale) if term.digits <= 15 => format!("(CAST({} AS REAL) / 1e{scale})", term.sql),
        Form::Scaled(scale) => format!("mainstay_num_float(mainstay_num({}, {scale}))", term.sql),
        Form::Wide => format!("mainstay_num_float({})", term.sql),
        _ if term.null => term.sql.clone(),
        _ => format!("CAST({} AS REAL)", term.sql),
    }
}

/// The constant, parameter or claim that an expression is, under a cast to numeric that changes no value.
fn number_value(expr: &Expr) -> Option<&Expr> {
    match &expr.kind {
        ExprKind::Literal(Value::Numeric(_) | Value::Int(_)) => Some(expr),
        ExprKind::Param(_) | ExprKind::Claim(_) if matches!(expr.ty, Type::Numeric(_)) || expr.ty.is_integer() => {
            Some(expr)
        }
        ExprKind::Cast(inner) if expr.ty == Type::Numeric(None) => match inner.ty {
            Type::Numeric(_) | Type::Int2 | Type::Int4 | Type::Int8 => number_value(inner),
            _ => None,
        },
        _ => None,
    }
}
