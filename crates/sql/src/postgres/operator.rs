//! Operators, and full text search, which is one operator with four ways of writing the query.

use super::expr::infix;
use super::name::{quote_identifier, quote_literal};
use super::render::Renderer;
use mainstay_model::{Error, Expr, ExprKind, Operator, Result, Type, Value};

impl<'a> Renderer<'a> {
    /// An operator with its operands.
    pub fn operator(&mut self, operator: Operator, operands: &[Expr]) -> Result<String> {
        match (operator, operands) {
            (Operator::Neg, [one]) => Ok(format!("(- {})", self.expr(one)?)),
            (Operator::Add, [one]) => Ok(format!("(+ {})", self.expr(one)?)),
            (Operator::TextSearch, operands) => self.text_search("to_tsquery", operands),
            (Operator::TextSearchPlain, operands) => self.text_search("plainto_tsquery", operands),
            (Operator::TextSearchPhrase, operands) => self.text_search("phraseto_tsquery", operands),
            (Operator::TextSearchWeb, operands) => self.text_search("websearch_to_tsquery", operands),
            (
                Operator::JsonGetText,
                [
                    row @ Expr { ty: Type::Row(_), .. },
                    Expr {
                        kind: ExprKind::Literal(Value::Text(field)),
                        ..
                    },
                ],
            ) => {
                // A field of a row; what it is cast to afterwards is its own type.
                let row = self.expr(row)?;
                Ok(format!("({row}).{}", quote_identifier(field)))
            }
            (operator, [left, right]) => {
                let sign = infix(operator).ok_or_else(|| Error::internal(format!("{operator:?} is not binary")))?;
                Ok(format!("({} {sign} {})", self.expr(left)?, self.expr(right)?))
            }
            (operator, operands) => Err(Error::internal(format!(
                "operator {operator:?} with {} operands",
                operands.len()
            ))),
        }
    }

    /// `document @@ query`. A document that is not yet a `tsvector` is made one, in the same configuration as the query.
    fn text_search(&mut self, function: &str, operands: &[Expr]) -> Result<String> {
        let (document, query, configuration) = match operands {
            [document, query] => (document, query, None),
            [document, query, configuration] => (document, query, Some(configuration)),
            _ => return Err(Error::internal("a text search takes two or three operands")),
        };
        let configuration = match configuration {
            Some(configuration) => match &configuration.kind {
                // A number would be taken for an internal one, and no such thing is not found but fails.
                ExprKind::Literal(Value::Text(name)) if name == "-" || name.bytes().all(|b| b.is_ascii_digit()) => {
                    format!("{}::regconfig, ", quote_literal(&quote_identifier(name)))
                }
                _ => format!("({})::regconfig, ", self.expr(configuration)?),
            },
            None => String::new(),
        };
        let is_vector =
            matches!(&document.ty, Type::Other(name) if matches!(&**name, "tsvector" | "pg_catalog.tsvector"));
        let left = self.expr(document)?;
        let left = match &document.ty {
            _ if is_vector => left,
            Type::Json | Type::Jsonb | Type::Text => format!("to_tsvector({configuration}{left})"),
            _ => format!("to_tsvector({configuration}({left})::text)"),
        };
        let query = match &query.kind {
            ExprKind::Param(_) | ExprKind::Literal(_) => self.expr(query)?,
            _ => format!("({})::text", self.expr(query)?),
        };
        Ok(format!("({left} @@ {function}({configuration}{query}))"))
    }
}
