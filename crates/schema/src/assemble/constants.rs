//! Constants of INSERT as the text that a type's input function takes.

use crate::Problem;
use crate::source_text::SourceText;
use mainstay_model::Type;
use squawk_syntax::ast::{self, AstNode, LitKind};

/// What a constant is.
pub(super) enum Constant {
    Null,
    /// `DEFAULT`
    Default,
    Text(String),
}

const HELP: &str = "write the value out, or leave the column to its default";

/// The value of a constant expression for a column of type `ty`.
pub(super) fn evaluate(expr: &ast::Expr, ty: &Type, source: &SourceText) -> Result<Constant, Problem> {
    match expr {
        ast::Expr::Literal(literal) => literal_value(literal, ty, source),
        ast::Expr::ParenExpr(paren) => match paren.expr() {
            Some(inner) => evaluate(&inner, ty, source),
            None => Err(not_constant(expr, source)),
        },
        ast::Expr::CastExpr(cast) => match (cast.expr(), cast.literal()) {
            (_, Some(literal)) => literal_value(&literal, ty, source),
            (Some(inner), None) => evaluate(&inner, ty, source),
            (None, None) => Err(not_constant(expr, source)),
        },
        ast::Expr::PrefixExpr(prefix) => {
            let Some(inner) = prefix.expr() else {
                return Err(not_constant(expr, source));
            };
            let sign = prefix
                .syntax()
                .first_token()
                .map(|t| t.text().to_owned())
                .unwrap_or_default();
            match (sign.as_str(), evaluate(&inner, &Type::Unknown, source)?) {
                ("+", constant) => Ok(constant),
                ("-", Constant::Text(number)) if number.starts_with(|c: char| c.is_ascii_digit()) => {
                    Ok(Constant::Text(fitting(format!("-{number}"), ty)))
                }
                ("-", Constant::Text(number)) if number.starts_with('-') => {
                    Ok(Constant::Text(fitting(number[1..].to_owned(), ty)))
                }
                ("-", Constant::Null) => Ok(Constant::Null),
                _ => Err(not_constant(expr, source)),
            }
        }
        ast::Expr::ArrayExpr(array) if array.select_variant().is_none() => {
            let element = match ty {
                Type::Array(element) => element,
                other => other,
            };
            array_text(array.exprs(), element, source).map(Constant::Text)
        }
        // `'a' || 'b'`, as long texts are written.
        ast::Expr::BinExpr(binary) => {
            let concatenates = matches!(binary.op(), Some(ast::BinOp::CustomOp(op)) if op.syntax().text() == "||");
            let (Some(left), Some(right), true) = (binary.lhs(), binary.rhs(), concatenates) else {
                return Err(not_constant(expr, source));
            };
            match (evaluate(&left, ty, source)?, evaluate(&right, ty, source)?) {
                (Constant::Text(left), Constant::Text(right)) if !matches!(ty, Type::Array(_)) => {
                    Ok(Constant::Text(left + &right))
                }
                (Constant::Null, _) | (_, Constant::Null) => Ok(Constant::Null),
                _ => Err(not_constant(expr, source)),
            }
        }
        _ => Err(not_constant(expr, source)),
    }
}

fn not_constant(expr: &ast::Expr, source: &SourceText) -> Problem {
    let text = expr.syntax().text().to_string();
    let shown: String = text.chars().take(40).collect();
    source
        .error_at(expr, format!("`{shown}` is no constant: the rows of a schema are"))
        .help(HELP)
}

fn literal_value(literal: &ast::Literal, ty: &Type, source: &SourceText) -> Result<Constant, Problem> {
    let text = match literal.kind() {
        Some(LitKind::Null(_)) => return Ok(Constant::Null),
        Some(LitKind::Default(_)) => return Ok(Constant::Default),
        Some(LitKind::True(_)) => Some("true".to_owned()),
        Some(LitKind::False(_)) => Some("false".to_owned()),
        Some(LitKind::IntNumber(token)) => Some(
            literal
                .integer_value()
                .map_or_else(|| token.text().to_owned(), |number| number.to_string()),
        ),
        Some(LitKind::NumericNumber(token)) => {
            let digits = token.text().replace('_', "");
            Some(fitting(
                if digits.starts_with('.') {
                    format!("0{digits}")
                } else {
                    digits
                },
                ty,
            ))
        }
        Some(LitKind::ByteString(_)) => literal.string_value().map(|hex| hex.chars().map(bits_of).collect()),
        Some(LitKind::PositionalParam(_)) | None => None,
        Some(_) => literal.string_value(),
    };
    text.map(Constant::Text)
        .ok_or_else(|| source.error_at(literal, "this is no constant").help(HELP))
}

/// A hexadecimal digit of a bit string.
fn bits_of(digit: char) -> String {
    digit.to_digit(16).map(|d| format!("{d:04b}")).unwrap_or_default()
}

/// A number with a fraction or exponent in the form that the column takes: an integer column rounds it, as the assignment does.
fn fitting(number: String, ty: &Type) -> String {
    if !ty.is_integer() || !number.contains(['.', 'e', 'E']) {
        return number;
    }
    match number.parse::<f64>() {
        // Halves go away from zero, as numeric rounds.
        Ok(value) if value.abs() < 9e15 => format!("{}", value.round()),
        _ => number,
    }
}

fn array_text(elements: impl Iterator<Item = ast::Expr>, ty: &Type, source: &SourceText) -> Result<String, Problem> {
    let mut parts = Vec::new();
    for element in elements {
        let nested = matches!(&element, ast::Expr::ArrayExpr(_));
        parts.push(match evaluate(&element, ty, source)? {
            Constant::Null => "NULL".to_owned(),
            Constant::Default => return Err(not_constant(&element, source)),
            Constant::Text(text) if nested => text,
            Constant::Text(text) => quoted_element(&text),
        });
    }
    Ok(format!("{{{}}}", parts.join(",")))
}

/// An array's element, in quotes where Postgres' array syntax needs them.
fn quoted_element(text: &str) -> String {
    let plain = !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '{' | '}' | ',' | '"' | '\\'));
    if plain {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
