//! Mathematical functions: on integers and floats, on scaled integers while they fit, on ordered BLOBs beyond.

use super::render::{Renderer, Term, quote_text};
use super::storage::{Form, SCALED_DIGITS_MAX};
use mainstay_model::{Builtin, Error, Expr, ExprKind, Result, Type, Value};

impl<'a> Renderer<'a> {
    /// Roots, powers, logarithms and rounding.
    pub fn mathematics(&mut self, function: Builtin, args: &[Expr], ty: &Type) -> Result<Term> {
        use Builtin::*;
        let first = args
            .first()
            .ok_or_else(|| Error::internal(format!("{function:?} without an argument")))?;
        let name = match function {
            Abs => "abs",
            Ceil => "ceil",
            Floor => "floor",
            Sign => "sign",
            Sqrt => "sqrt",
            Exp => "exp",
            Ln => "ln",
            Log => "log",
            Power => "power",
            Round => "round",
            _ => "trunc",
        };
        if ty.is_integer() && function == Abs {
            let sql = format!("abs({})", self.condition(first)?);
            return Ok(self.integer(sql, ty));
        }
        if !matches!(ty, Type::Numeric(_)) {
            let mut parts = Vec::new();
            for arg in args {
                parts.push(self.float(arg)?);
            }
            return Ok(Term::plain(match function {
                Abs => format!("abs({})", parts.join(", ")),
                _ => format!("mainstay_float_{name}({})", parts.join(", ")),
            }));
        }
        let term = self.number(first)?;
        if term.null {
            return Ok(term);
        }
        let places = match args.get(1) {
            None => Some(0),
            Some(Expr {
                kind: ExprKind::Literal(Value::Int(places)),
                ..
            }) => Some(*places),
            Some(_) => None,
        };
        match (function, term.form, places) {
            (Abs, Form::Scaled(scale), _) => return Ok(Term::scaled(format!("abs({})", term.sql), scale, term.digits)),
            (Ceil | Floor, Form::Scaled(0), _) => return Ok(term),
            // To as many digits as there are, or more: nothing to round.
            (Round | Trunc, Form::Scaled(scale), Some(places)) if (i64::from(scale)..=18).contains(&places) => {
                if let Some(term) = self.rescale(&term, places as u16) {
                    return Ok(term);
                }
            }
            (Round, Form::Scaled(scale), Some(places))
                if (0..i64::from(scale)).contains(&places) && term.digits <= SCALED_DIGITS_MAX =>
            {
                let sql = format!("mainstay_scaled_round({}, {})", term.sql, i64::from(scale) - places);
                return Ok(Term::scaled(
                    sql,
                    places as u16,
                    term.digits.saturating_sub(scale - places as u16) + 1,
                ));
            }
            _ => {}
        }
        let wide = self.to_wide(term);
        let mut parts = vec![wide.sql];
        for (at, arg) in args.iter().enumerate().skip(1) {
            let term = self.number(arg)?;
            let places = matches!(function, Round | Trunc) && at == 1;
            parts.push(if places { term.sql } else { self.to_wide(term).sql });
        }
        if matches!(function, Round | Trunc) && parts.len() == 1 {
            parts.push("0".to_owned());
        }
        Ok(Term::wide(format!("mainstay_num_{name}({})", parts.join(", "))))
    }

    /// GREATEST and LEAST, which pass over NULL.
    pub fn extreme(&mut self, function: Builtin, args: &[Expr], ty: &Type) -> Result<Term> {
        let name = if function == Builtin::Greatest {
            "mainstay_greatest"
        } else {
            "mainstay_least"
        };
        let mut terms = Vec::new();
        for arg in args {
            let term = self.expr(arg)?;
            terms.push(self.as_numeric(term, &arg.ty, ty));
        }
        match ty {
            Type::Enum(enumeration) => {
                let labels = self.schema.enums.get(enumeration).cloned().unwrap_or_else(|| [].into());
                let mut keys = Vec::new();
                for term in terms {
                    keys.push(self.order_key(term, ty)?);
                }
                let mut sql = format!("(CASE {name}({})", keys.join(", "));
                for (at, label) in labels.iter().enumerate() {
                    sql.push_str(&format!(" WHEN {at} THEN {}", quote_text(label).unwrap_or_default()));
                }
                Ok(Term::plain(sql + " END)"))
            }
            Type::Interval | Type::Jsonb | Type::Json | Type::Array(_) | Type::Other(_) => Err(Error::unsupported(
                format!("GREATEST and LEAST of {ty} are not supported by SQLite"),
            )),
            _ => {
                let (terms, form) = self.align(terms)?;
                let digits = terms.iter().map(|t| t.digits).max().unwrap_or(0);
                let sql = format!(
                    "{name}({})",
                    terms.iter().map(|t| t.sql.as_str()).collect::<Vec<_>>().join(", ")
                );
                Ok(Term {
                    sql,
                    form,
                    digits,
                    atom: false,
                    null: false,
                })
            }
        }
    }
}
