//! Operators: arithmetic with Postgres' types and errors, patterns, JSON and arrays.

use super::render::{Renderer, Term};
use super::storage::{Form, SCALED_DIGITS_MAX};
use mainstay_model::{Error, Expr, ExprKind, Operator, Result, Type, Value};

impl<'a> Renderer<'a> {
    /// An operator with its operands; `ty` is the result's type.
    pub fn operator(&mut self, operator: Operator, operands: &[Expr], ty: &Type) -> Result<Term> {
        use Operator::*;
        let (left, right) = match operands {
            [one] if operator == Neg => return self.negative(one, ty),
            [one] if operator == Add => return self.expr(one),
            [left, right] => (left, right),
            // With the language as a third operand, too.
            _ if matches!(
                operator,
                TextSearch | TextSearchPlain | TextSearchPhrase | TextSearchWeb
            ) =>
            {
                return Err(no_text_search());
            }
            _ => {
                return Err(Error::internal(format!(
                    "operator {operator:?} with {} operands",
                    operands.len()
                )));
            }
        };
        match operator {
            Eq | Ne | Lt | Le | Gt | Ge | IsDistinctFrom | IsNotDistinctFrom => {
                if let (Eq | Ne, Type::Json) = (operator, &left.ty) {
                    return Err(Error::new("42883", "operator does not exist: json = json")
                        .hint("Cast both sides to jsonb or text."));
                }
                Ok(Term::plain(self.compare(operator, left, right)?))
            }
            Like | ILike | NotLike | NotILike | Match | IMatch | NotMatch | NotIMatch => {
                let (l, r) = (self.expr(left)?, self.expr(right)?);
                Ok(Term::plain(self.pattern(operator, (l, &left.ty), (r, &right.ty))?))
            }
            Add | Sub | Mul | Div | Mod | Pow => self.arithmetic(operator, left, right, ty),
            Concat => self.concat(left, right),
            JsonGet | JsonGetText | JsonPath | JsonPathText => {
                if let Some((source, at)) = self.row_field(left, right) {
                    let field = self.column_of(&source, at)?;
                    let field_type = source.columns[at as usize].ty.clone();
                    return Ok(Term::plain(match operator {
                        JsonGet => self.to_json(field, &field_type)?,
                        _ => self.to_text(field, &field_type)?,
                    }));
                }
                let element = left.ty == Type::Jsonb && right.ty.is_integer();
                let name = match operator {
                    JsonGet if element => "mainstay_jsonb_element",
                    JsonGetText if element => "mainstay_jsonb_element_text",
                    JsonGet => "mainstay_json_get",
                    JsonGetText => "mainstay_json_get_text",
                    JsonPath => "mainstay_json_path",
                    _ => "mainstay_json_path_text",
                };
                Ok(Term::plain(format!(
                    "{name}({}, {})",
                    self.condition(left)?,
                    self.condition(right)?
                )))
            }
            Contains | ContainedBy | Overlaps => {
                let (l, r) = (self.condition(left)?, self.condition(right)?);
                let (container, part) = if operator == ContainedBy { (&r, &l) } else { (&l, &r) };
                Ok(Term::plain(match (&left.ty, operator) {
                    (Type::Jsonb, Contains | ContainedBy) => format!("mainstay_jsonb_contains({container}, {part})"),
                    (Type::Array(element), Overlaps) => {
                        format!("mainstay_array_overlaps({l}, {r}, {})", self.code(element, Form::Plain))
                    }
                    (Type::Array(element), _) => {
                        format!(
                            "mainstay_array_contains({container}, {part}, {})",
                            self.code(element, Form::Plain)
                        )
                    }
                    (other, _) => return Err(not_here(operator, other)),
                }))
            }
            JsonHasKey => Ok(Term::plain(format!(
                "mainstay_jsonb_has({}, {})",
                self.condition(left)?,
                self.condition(right)?
            ))),
            JsonHasAnyKey | JsonHasAllKeys => {
                let name = if operator == JsonHasAnyKey {
                    "mainstay_jsonb_has_any"
                } else {
                    "mainstay_jsonb_has_all"
                };
                Ok(Term::plain(format!(
                    "{name}({}, {})",
                    self.condition(left)?,
                    self.condition(right)?
                )))
            }
            StrictlyLeft | StrictlyRight | NotExtendsRight | NotExtendsLeft | Adjacent => {
                Err(not_here(operator, &left.ty))
            }
            TextSearch | TextSearchPlain | TextSearchPhrase | TextSearchWeb => Err(no_text_search()),
            Neg => Err(Error::internal("unary minus with two operands")),
        }
    }

    /// `LIKE`, `ILIKE` and regular expressions.
    pub fn pattern(&mut self, operator: Operator, text: (Term, &Type), pattern: (Term, &Type)) -> Result<String> {
        let (name, negated) = match operator {
            Operator::Like => ("mainstay_like", false),
            Operator::NotLike => ("mainstay_like", true),
            Operator::ILike => ("mainstay_ilike", false),
            Operator::NotILike => ("mainstay_ilike", true),
            Operator::Match => ("mainstay_regex", false),
            Operator::NotMatch => ("mainstay_regex", true),
            Operator::IMatch => ("mainstay_iregex", false),
            Operator::NotIMatch => ("mainstay_iregex", true),
            other => return Err(not_here(other, text.1)),
        };
        if self.definition
            && name == "mainstay_like"
            && !matches!(text.1, Type::Char(1..))
            && let Some(glob) = glob_of(&pattern.0.sql)
        {
            return Ok(format!(
                "({} {}GLOB {glob})",
                text.0.sql,
                if negated { "NOT " } else { "" }
            ));
        }
        let text = self.to_shown_text(text.0, text.1)?;
        let pattern = self.to_text(pattern.0, pattern.1)?;
        Ok(format!(
            "{}{name}({pattern}, {text}){}",
            if negated { "(NOT " } else { "" },
            if negated { ")" } else { "" }
        ))
    }

    fn negative(&mut self, operand: &Expr, ty: &Type) -> Result<Term> {
        let term = self.expr(operand)?;
        if term.null {
            return Ok(term);
        }
        let sql = format!("(-{})", term.sql);
        Ok(match (ty, term.form) {
            (Type::Numeric(_), Form::Scaled(scale)) => Term::scaled(sql, scale, term.digits),
            (Type::Numeric(_), Form::Wide) => Term::wide(format!("mainstay_num_neg({})", term.sql)),
            (Type::Interval, _) => Term::plain(format!("mainstay_interval_neg({})", term.sql)),
            (ty, _) if ty.is_integer() => match &operand.kind {
                ExprKind::Literal(Value::Int(n)) if *n != i64::MIN => Term::plain(sql),
                _ => self.integer(sql, ty),
            },
            _ => Term::plain(sql),
        })
    }

    /// An integer expression with its range checked: SQLite computes on in 64 bits, and beyond them in REAL.
    pub fn integer(&self, sql: String, ty: &Type) -> Term {
        if self.definition {
            return Term::plain(sql);
        }
        Term::plain(match ty {
            Type::Int2 => format!("mainstay_int2({sql})"),
            Type::Int4 => format!("mainstay_int4({sql})"),
            _ => format!("mainstay_int8({sql})"),
        })
    }

    fn arithmetic(&mut self, operator: Operator, left: &Expr, right: &Expr, ty: &Type) -> Result<Term> {
        let moment = |ty: &Type| {
            matches!(
                ty,
                Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz | Type::Interval
            )
        };
        if moment(&left.ty) || moment(&right.ty) {
            return self.moments(operator, left, right);
        }
        if left.ty == Type::Jsonb && operator == Operator::Sub {
            let many = if matches!(right.ty, Type::Array(_)) {
                "_keys"
            } else {
                ""
            };
            let (document, key) = (self.condition(left)?, self.condition(right)?);
            return Ok(Term::plain(format!("mainstay_jsonb_delete{many}({document}, {key})")));
        }
        let sign = match operator {
            Operator::Add => "+",
            Operator::Sub => "-",
            Operator::Mul => "*",
            Operator::Div => "/",
            Operator::Mod => "%",
            _ => "^",
        };
        match ty {
            ty if ty.is_integer() && operator != Operator::Pow => {
                let (l, r) = (self.expr(left)?, self.expr(right)?);
                if l.null || r.null {
                    return Ok(Term::null());
                }
                let nonzero = matches!(&right.kind, ExprKind::Literal(Value::Int(n)) if *n != 0 && *n != -1);
                let sql = match operator {
                    Operator::Div if !nonzero => format!("mainstay_int_div({}, {})", l.sql, r.sql),
                    Operator::Mod if !nonzero => format!("mainstay_int_mod({}, {})", l.sql, r.sql),
                    Operator::Div | Operator::Mod => return Ok(Term::plain(format!("({} {sign} {})", l.sql, r.sql))),
                    _ => format!("({} {sign} {})", l.sql, r.sql),
                };
                Ok(self.integer(sql, ty))
            }
            Type::Float4 | Type::Float8 => {
                let (l, r) = (self.float(left)?, self.float(right)?);
                let name = match operator {
                    Operator::Add => "add",
                    Operator::Sub => "sub",
                    Operator::Mul => "mul",
                    Operator::Div => "div",
                    Operator::Pow => "power",
                    _ => return Err(not_here(operator, ty)),
                };
                if self.definition && matches!(operator, Operator::Add | Operator::Sub | Operator::Mul) {
                    return Ok(Term::plain(format!("({l} {sign} {r})")));
                }
                let sql = format!("mainstay_float_{name}({l}, {r})");
                Ok(Term::plain(if *ty == Type::Float4 {
                    format!("mainstay_float4({sql})")
                } else {
                    sql
                }))
            }
            Type::Numeric(_) => {
                let (l, r) = (self.number(left)?, self.number(right)?);
                self.numeric(operator, l, r)
            }
            other => Err(not_here(operator, other)),
        }
    }

    /// A number as a REAL.
    pub fn float(&mut self, expr: &Expr) -> Result<String> {
        let term = self.number(expr)?;
        Ok(match &expr.ty {
            Type::Float4 | Type::Float8 => term.sql,
            _ => super::compare::number_to_float(&term),
        })
    }

    /// Numeric arithmetic: on scaled integers while the result is proven to fit, else on ordered BLOBs.
    pub fn numeric(&mut self, operator: Operator, left: Term, right: Term) -> Result<Term> {
        if left.null || right.null {
            return Ok(Term::null());
        }
        if let (Form::Scaled(a), Form::Scaled(b)) = (left.form, right.form) {
            match operator {
                Operator::Add | Operator::Sub => {
                    let scale = a.max(b);
                    if let (Some(l), Some(r)) = (self.rescale(&left, scale), self.rescale(&right, scale)) {
                        let digits = l.digits.max(r.digits) + 1;
                        if digits <= SCALED_DIGITS_MAX {
                            let sign = if operator == Operator::Add { "+" } else { "-" };
                            return Ok(Term::scaled(format!("({} {sign} {})", l.sql, r.sql), scale, digits));
                        }
                    }
                }
                Operator::Mul if left.digits + right.digits <= SCALED_DIGITS_MAX => {
                    return Ok(Term::scaled(
                        format!("({} * {})", left.sql, right.sql),
                        a + b,
                        left.digits + right.digits,
                    ));
                }
                _ => {}
            }
        }
        let name = match operator {
            Operator::Add => "add",
            Operator::Sub => "sub",
            Operator::Mul => "mul",
            Operator::Div => "div",
            Operator::Mod => "mod",
            Operator::Pow => "power",
            other => return Err(not_here(other, &Type::Numeric(None))),
        };
        let (left, right) = (self.to_wide(left), self.to_wide(right));
        Ok(Term::wide(format!("mainstay_num_{name}({}, {})", left.sql, right.sql)))
    }

    /// Arithmetic on dates, times and intervals.
    fn moments(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Result<Term> {
        use Type::{Date, Interval, Time, Timestamp, TimestampTz};
        let add = operator == Operator::Add;
        let word = if add { "add" } else { "sub" };
        let (l, r) = match (&left.ty, &right.ty) {
            // Sums commute; the moment stands left in what follows.
            (Interval, Date | Time | Timestamp | TimestampTz) if add => (right, left),
            (Time, Date) if add => (right, left),
            (ty, Date) if add && ty.is_integer() => (right, left),
            (ty, Interval) if operator == Operator::Mul && ty.is_number() => (right, left),
            _ => (left, right),
        };
        let (a, b) = (self.expr(l)?, self.expr(r)?);
        if a.null || b.null {
            return Ok(Term::null());
        }
        let (x, y) = (&a.sql, &b.sql);
        Ok(Term::plain(match (&l.ty, &r.ty, operator) {
            (Date, ty, Operator::Add) if ty.is_integer() => format!("mainstay_date_add({x}, {y})"),
            (Date, ty, Operator::Sub) if ty.is_integer() => format!("mainstay_date_add({x}, -{y})"),
            (Date, Date, Operator::Sub) => format!("mainstay_date_diff({x}, {y})"),
            (Date, Interval, Operator::Add | Operator::Sub) => {
                format!("mainstay_ts_{word}(mainstay_cast({x}, 'date', 'timestamp'), {y})")
            }
            (Date, Time, Operator::Add) => {
                format!("mainstay_ts_add_time(mainstay_cast({x}, 'date', 'timestamp'), {y})")
            }
            (Timestamp | TimestampTz, Interval, Operator::Add | Operator::Sub) => {
                format!("mainstay_ts_{word}({x}, {y})")
            }
            (Timestamp | TimestampTz, Timestamp | TimestampTz, Operator::Sub) => format!("mainstay_ts_diff({x}, {y})"),
            (Timestamp | TimestampTz, Date, Operator::Sub) => {
                format!("mainstay_ts_diff({x}, mainstay_cast({y}, 'date', 'timestamp'))")
            }
            (Date, Timestamp | TimestampTz, Operator::Sub) => {
                format!("mainstay_ts_diff(mainstay_cast({x}, 'date', 'timestamp'), {y})")
            }
            (Time, Interval, Operator::Add | Operator::Sub) => format!("mainstay_time_{word}({x}, {y})"),
            (Time, Time, Operator::Sub) => format!("mainstay_time_diff({x}, {y})"),
            (Interval, Interval, Operator::Add | Operator::Sub) => format!("mainstay_interval_{word}({x}, {y})"),
            (Interval, ty, Operator::Mul | Operator::Div) if ty.is_number() => {
                let factor = self.float(r)?;
                format!(
                    "mainstay_interval_{}({x}, {factor})",
                    if operator == Operator::Mul { "mul" } else { "div" }
                )
            }
            (ty, _, operator) => return Err(not_here(operator, ty)),
        }))
    }

    fn concat(&mut self, left: &Expr, right: &Expr) -> Result<Term> {
        let (l, r) = (self.expr(left)?, self.expr(right)?);
        Ok(Term::plain(match (&left.ty, &right.ty) {
            (Type::Array(_), Type::Array(_)) => format!("mainstay_array_cat({}, {})", l.sql, r.sql),
            (Type::Array(_), element) => {
                let element = self.to_json(r, element)?;
                format!("mainstay_array_append({}, {element})", l.sql)
            }
            (element, Type::Array(_)) => {
                let element = self.to_json(l, element)?;
                format!("mainstay_array_prepend({element}, {})", r.sql)
            }
            (Type::Jsonb, Type::Jsonb) => format!("mainstay_jsonb_concat({}, {})", l.sql, r.sql),
            (Type::Bytea, Type::Bytea) => format!("mainstay_bytea_concat({}, {})", l.sql, r.sql),
            (left_type, right_type) => {
                let (l, r) = (self.to_text(l, left_type)?, self.to_text(r, right_type)?);
                format!("({l} || {r})")
            }
        }))
    }
}

/// A constant LIKE pattern as a GLOB pattern, which is SQLite's own and case-sensitive.
fn glob_of(pattern: &str) -> Option<String> {
    let inner = pattern.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut out = "'".to_owned();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        let literal = match c {
            '%' => {
                out.push('*');
                continue;
            }
            '_' => {
                out.push('?');
                continue;
            }
            '\\' => chars.next()?,
            c => c,
        };
        match literal {
            '*' | '?' | '[' => {
                out.push('[');
                out.push(literal);
                out.push(']');
            }
            c => out.push(c),
        }
    }
    out.push('\'');
    Some(out)
}

fn no_text_search() -> Error {
    Error::unsupported("full text search (@@) is not supported by SQLite")
        .hint("Use ilike or a regular expression, or a store on Postgres.")
}

/// The refusal of an operator on a type.
fn not_here(operator: Operator, ty: &Type) -> Error {
    let sign = match operator {
        Operator::Contains => "@>",
        Operator::ContainedBy => "<@",
        Operator::Overlaps => "&&",
        Operator::StrictlyLeft => "<<",
        Operator::StrictlyRight => ">>",
        Operator::NotExtendsRight => "&<",
        Operator::NotExtendsLeft => "&>",
        Operator::Adjacent => "-|-",
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::Mod => "%",
        Operator::Pow => "^",
        _ => return Error::unsupported(format!("operator {operator:?} on {ty} is not supported by SQLite")),
    };
    Error::unsupported(format!("operator {sign} on {ty} is not supported by SQLite")).hint(
        "Values of such types are stored and compared for equality only; a store on Postgres has their operators.",
    )
}
