//! Calls that SQL's grammar sets apart: arguments between keywords, and functions whose arguments follow rules of their own.

use super::call::{Arg, Called};
use super::coerce::CastContext;
use super::syntax::expressions;
use super::{At, Binder, Bound};
use crate::names::{Name, type_key};
use mainstay_model::{Builtin, Expr, ExprKind, Type, Value};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Binder<'_> {
    /// Functions that SQL's grammar or their arguments' types set apart.
    pub(super) fn special_call(&mut self, name: &str, args: &[Arg], at: At) -> Bound<Option<Expr>> {
        let plain = || args.iter().map(|a| (a.value.clone(), a.at)).collect::<Vec<_>>();
        Ok(Some(match name {
            "coalesce" => self.of_one_type(Builtin::Coalesce, name, plain(), at)?,
            "greatest" => self.of_one_type(Builtin::Greatest, name, plain(), at)?,
            "least" => self.of_one_type(Builtin::Least, name, plain(), at)?,
            "nullif" => self.null_if(plain(), at)?,
            "current_timestamp" | "localtimestamp" | "localtime" | "current_time" => {
                return self.keyword_value(name, at);
            }
            "make_interval" => self.make_interval(args, at)?,
            "nextval" => self.next_value(args, at)?,
            _ => return Ok(None),
        }))
    }

    /// `make_interval(days => 3)`: all seven arguments, zero where left out.
    pub(super) fn make_interval(&mut self, args: &[Arg], at: At) -> Bound<Expr> {
        const NAMES: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
        let mut values: Vec<Option<Expr>> = vec![None; NAMES.len()];
        for (index, arg) in args.iter().enumerate() {
            let position = match &arg.name {
                Some(name) => NAMES.iter().position(|n| **n == **name),
                None => Some(index).filter(|i| *i < NAMES.len()),
            };
            let Some(position) = position else {
                return Err(self
                    .problem(arg.at, "make_interval has no such argument")
                    .help(NAMES.join(", ")));
            };
            let ty = if position == 6 { Type::Float8 } else { Type::Int4 };
            values[position] = Some(self.coerce(arg.value.clone(), arg.at, &ty, CastContext::Implicit)?);
        }
        let values = values.into_iter().enumerate().map(|(i, value)| {
            value.unwrap_or_else(|| match i {
                6 => Expr::literal(Value::Float(0.0), Type::Float8),
                _ => Expr::literal(Value::Int(0), Type::Int4),
            })
        });
        let _ = at;
        Ok(Expr::new(
            ExprKind::Call(Builtin::MakeInterval, values.collect()),
            Type::Interval,
        ))
    }

    /// `nextval('sequence')`, the sequence by the name that the schema has for it.
    pub(super) fn next_value(&mut self, args: &[Arg], at: At) -> Bound<Expr> {
        let [arg] = args else {
            return Err(self.problem(at, "nextval takes one argument, the name of a sequence"));
        };
        let ExprKind::Literal(Value::Text(written)) = &arg.value.kind else {
            return Err(self
                .refused(arg.at, "nextval of a computed name")
                .help("write the sequence's name as a constant"));
        };
        let name = Name::parse(written);
        let keys: Vec<Arc<str>> = match &name.namespace {
            Some(namespace) => vec![type_key(namespace, &name.name), name.name.clone()],
            None => self
                .namespaces()
                .map(|n| type_key(n, &name.name))
                .chain([name.name.clone()])
                .collect(),
        };
        let Some(key) = keys.into_iter().find(|k| self.schema.sequences.contains_key(k)) else {
            let problem = self.problem(arg.at, format!("relation \"{written}\" does not exist"));
            return Err(problem.did_you_mean(&name.name, self.schema.sequences.keys().map(|k| &**k)));
        };
        let sequence = Expr::literal(Value::Text(key.to_string()), Type::Text);
        Ok(Expr::new(ExprKind::Call(Builtin::NextVal, vec![sequence]), Type::Int8))
    }

    /// Calls whose arguments are separated by keywords.
    pub(super) fn special_form(&mut self, call: &ast::CallExpr, at: At) -> Bound<Option<Expr>> {
        if let Some(extract) = call.extract_fn() {
            return self.extract(&extract).map(Some);
        }
        if let Some(exists) = call.exists_fn() {
            let Some(select) = exists.select_variant() else {
                return Err(self.problem(at, "EXISTS needs a query"));
            };
            let query = self.query(&select)?;
            return Ok(Some(Expr::condition(ExprKind::Exists(Box::new(query)))));
        }
        if let Some(position) = call.position_fn() {
            let mut args = self.plain_args(&expressions(position.syntax()))?;
            args.reverse();
            return self.scalar("strpos", args, at).map(Some);
        }
        if let Some(substring) = call.substring_fn() {
            let Some(inner) = substring.substring_args() else {
                return Err(self.problem(at, "the arguments are missing"));
            };
            return self.substring(inner, at).map(Some);
        }
        if let Some(trim) = call.trim_fn() {
            let name = match trim.trim_side() {
                Some(ast::TrimSide::TrimLeading(_)) => "ltrim",
                Some(ast::TrimSide::TrimTrailing(_)) => "rtrim",
                _ => "btrim",
            };
            let Some(inner) = trim.trim_args() else {
                return Err(self.problem(at, "the arguments are missing"));
            };
            let mut args = self.plain_args(&expressions(inner.syntax()))?;
            if let ast::TrimArgs::TrimExprFrom(_) = inner
                && !args.is_empty()
            {
                // trim(characters FROM text)
                args.rotate_left(1);
            }
            return self.scalar(name, args, at).map(Some);
        }
        if super::forms::Quantifier::of(call).is_some() {
            return Err(self.problem(at, "ANY, SOME and ALL stand to the right of a comparison: x = ANY (…)"));
        }
        if call.overlay_fn().is_some() {
            return Err(self
                .refused(at, "overlay")
                .help("put the text together from left, right and substring"));
        }
        if call.expr().is_none() {
            let name = call
                .syntax()
                .first_token()
                .map(|t| t.text().to_ascii_lowercase())
                .unwrap_or_default();
            return Err(self.refused(at, name));
        }
        Ok(None)
    }

    pub(super) fn substring(&mut self, inner: ast::SubstringArgs, at: At) -> Bound<Expr> {
        let node: SyntaxNode = inner.syntax().clone();
        let mut args = match &inner {
            ast::SubstringArgs::SubstringExprs(_) => self.plain_args(&expressions(&node))?,
            ast::SubstringArgs::SubstringSimilarEscape(_) => return Err(self.refused(at, "substring with a pattern")),
            _ => self.plain_args(&expressions(&node))?,
        };
        if let ast::SubstringArgs::SubstringForFrom(form) = &inner {
            if form.from_token().is_some() && args.len() == 3 {
                args.swap(1, 2);
            } else if args.len() == 2 {
                args.insert(
                    1,
                    Arg {
                        name: None,
                        value: Expr::literal(Value::Int(1), Type::Int4),
                        at,
                    },
                );
            }
        }
        if args
            .get(1)
            .is_some_and(|a| a.value.ty.is_text() || a.value.ty == Type::Unknown)
        {
            let problem = self.refused(at, "substring with a regular expression");
            return Err(problem.help("regexp_replace can cut out what does not match"));
        }
        self.scalar("substring", args, at)
    }

    pub(super) fn plain_args(&mut self, exprs: &[ast::Expr]) -> Bound<Vec<Arg>> {
        let mut args = Vec::with_capacity(exprs.len());
        for expr in exprs {
            args.push(Arg {
                name: None,
                value: self.expr(expr)?,
                at: At::of(expr.syntax()),
            });
        }
        Ok(args)
    }

    pub(super) fn scalar(&mut self, name: &str, args: Vec<Arg>, at: At) -> Bound<Expr> {
        match self.resolve(Some("pg_catalog"), name, args, at)? {
            Called::Scalar(expr) => Ok(expr),
            _ => Err(self.problem(at, format!("{name} is no plain function"))),
        }
    }
}
