//! Constants: numbers, strings, and strings with their type in front.

use super::{At, Binder, Bound, null};
use mainstay_model::{Decimal, Expr, Type, Value};
use squawk_syntax::ast::{self, AstNode, LitKind};

impl Binder<'_> {
    pub(super) fn literal(&mut self, literal: &ast::Literal) -> Bound<Expr> {
        let at = At::of(literal.syntax());
        let Some(kind) = literal.kind() else {
            return Err(self.problem(at, "a constant is expected here"));
        };
        Ok(match kind {
            LitKind::Null(_) => null(),
            LitKind::True(_) => Expr::literal(Value::Bool(true), Type::Bool),
            LitKind::False(_) => Expr::literal(Value::Bool(false), Type::Bool),
            LitKind::IntNumber(_) => {
                let digits = literal.integer_value().map(|v| v.to_string()).unwrap_or_default();
                self.number(&digits, at)?
            }
            LitKind::NumericNumber(token) => self.number(&token.text().replace('_', ""), at)?,
            LitKind::String(_)
            | LitKind::EscString(_)
            | LitKind::DollarQuotedString(_)
            | LitKind::UnicodeEscString(_)
            | LitKind::NationalString(_) => Expr::literal(Value::Text(self.string(literal)?), Type::Unknown),
            LitKind::BitString(_) | LitKind::ByteString(_) => {
                return Err(self
                    .refused(at, "a bit string")
                    .help("bytes are written as '\\x…'::bytea"));
            }
            LitKind::PositionalParam(token) => {
                let index = literal.positional_param_index();
                match index.and_then(|i| Some((u16::try_from(i).ok()?, self.params.get(i)?))) {
                    Some((index, (_, ty))) => Expr::param(index, ty.clone()),
                    None => return Err(self.problem(at, format!("there is no parameter {}", token.text()))),
                }
            }
            LitKind::Default(_) => return Err(self.problem(at, "DEFAULT is not allowed in this context")),
            LitKind::On(token) | LitKind::Off(token) => {
                return Err(self.problem(at, format!("syntax error at or near \"{}\"", token.text())));
            }
        })
    }

    /// What a string literal says.
    pub(super) fn string(&self, literal: &ast::Literal) -> Bound<String> {
        let at = At::of(literal.syntax());
        literal
            .string_value()
            .ok_or_else(|| self.problem(at, "the string is not terminated"))
    }

    /// A constant with a minus in front, which is part of it: the smallest integer is one, though its opposite is a bigint.
    pub(super) fn negative_literal(&self, literal: &ast::Literal, at: At) -> Option<Bound<Expr>> {
        let digits = match literal.kind()? {
            LitKind::IntNumber(_) => literal.integer_value()?.to_string(),
            LitKind::NumericNumber(token) => token.text().replace('_', ""),
            _ => return None,
        };
        Some(self.number(&format!("-{digits}"), at))
    }

    /// A number: the smallest of integer, bigint and numeric that holds it.
    pub(super) fn number(&self, text: &str, at: At) -> Bound<Expr> {
        if let Ok(v) = text.parse::<i32>() {
            return Ok(Expr::literal(Value::Int(v.into()), Type::Int4));
        }
        if let Ok(v) = text.parse::<i64>() {
            return Ok(Expr::literal(Value::Int(v), Type::Int8));
        }
        match Decimal::parse(text) {
            Some(v) => Ok(Expr::literal(Value::Numeric(v), Type::Numeric(None))),
            None => Err(self.problem(at, format!("\"{text}\" is no number that numeric can hold"))),
        }
    }

    /// The opposite of a number that is a constant.
    pub(super) fn negative(&self, value: &Value, ty: &Type) -> Option<Expr> {
        let value = match value {
            Value::Int(v) => Value::Int(v.checked_neg()?),
            Value::Float(v) => Value::Float(-v),
            Value::Numeric(v) => {
                let text = v.to_string();
                let text = match text.strip_prefix('-') {
                    Some(positive) => positive.to_owned(),
                    None => format!("-{text}"),
                };
                Value::Numeric(Decimal::parse(&text)?)
            }
            _ => return None,
        };
        Some(Expr::literal(value, ty.clone()))
    }

    /// `type 'text'`, with the qualifier that an interval may have behind it.
    pub(super) fn typed_literal(&mut self, cast: &ast::CastExpr, literal: &ast::Literal, ty: &Type) -> Bound<Expr> {
        let at = At::of(cast.syntax());
        let mut text = self.string(literal)?;
        if let Some(qualifier) = cast.interval_qualifier() {
            let unit = qualifier.syntax().to_string().to_lowercase();
            let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
            if unit.contains(' ') || unit.contains('(') || !plain {
                let problem = self.refused(at, format!("the interval qualifier `{unit}` here"));
                return Err(problem.help("write the units into the string: interval '1 day 2 hours'"));
            }
            text = format!("{text} {unit}");
        }
        self.literal_of(&text, At::of(literal.syntax()), ty)
    }
}
