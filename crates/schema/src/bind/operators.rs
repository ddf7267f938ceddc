//! Postgres' operators, as far as the model has them, and what becomes of their operands.

use super::coerce::{CastContext, shown};
use super::resolve::{Choice, Pattern, choose, fit};
use super::{At, Binder, Bound};
use mainstay_model::{Builtin, Expr, ExprKind, Operator, Type, Value};

/// Types whose values have an order, with a comparison of their own.
const ORDERED: [&str; 18] = [
    "bool",
    "int4",
    "int8",
    "int2",
    "numeric",
    "float8",
    "float4",
    "text",
    "bpchar",
    "uuid",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "jsonb",
    "anyenum",
];

/// Comparisons and arithmetic between different types that need no cast.
const MIXED: [(&str, &str, &str); 8] = [
    ("int2", "int4", "int4"),
    ("int4", "int2", "int4"),
    ("int2", "int8", "int8"),
    ("int8", "int2", "int8"),
    ("int4", "int8", "int8"),
    ("int8", "int4", "int8"),
    ("float4", "float8", "float8"),
    ("float8", "float4", "float8"),
];

/// Symbol, left, right, result, meaning. An empty left is a prefix operator.
const TABLE: &[(&str, &str, &str, &str, Operator)] = &[
    ("%", "int2", "int2", "int2", Operator::Mod),
    ("%", "int4", "int4", "int4", Operator::Mod),
    ("%", "int8", "int8", "int8", Operator::Mod),
    ("%", "numeric", "numeric", "numeric", Operator::Mod),
    ("^", "float8", "float8", "float8", Operator::Pow),
    ("^", "numeric", "numeric", "numeric", Operator::Pow),
    ("+", "date", "int4", "date", Operator::Add),
    ("+", "int4", "date", "date", Operator::Add),
    ("-", "date", "int4", "date", Operator::Sub),
    ("-", "date", "date", "int4", Operator::Sub),
    ("+", "date", "interval", "timestamp", Operator::Add),
    ("+", "interval", "date", "timestamp", Operator::Add),
    ("-", "date", "interval", "timestamp", Operator::Sub),
    ("+", "date", "time", "timestamp", Operator::Add),
    ("+", "time", "date", "timestamp", Operator::Add),
    ("+", "timestamp", "interval", "timestamp", Operator::Add),
    ("+", "interval", "timestamp", "timestamp", Operator::Add),
    ("-", "timestamp", "interval", "timestamp", Operator::Sub),
    ("+", "timestamptz", "interval", "timestamptz", Operator::Add),
    ("+", "interval", "timestamptz", "timestamptz", Operator::Add),
    ("-", "timestamptz", "interval", "timestamptz", Operator::Sub),
    ("-", "timestamp", "timestamp", "interval", Operator::Sub),
    ("-", "timestamptz", "timestamptz", "interval", Operator::Sub),
    ("+", "time", "interval", "time", Operator::Add),
    ("+", "interval", "time", "time", Operator::Add),
    ("-", "time", "interval", "time", Operator::Sub),
    ("-", "time", "time", "interval", Operator::Sub),
    ("+", "interval", "interval", "interval", Operator::Add),
    ("-", "interval", "interval", "interval", Operator::Sub),
    ("*", "interval", "float8", "interval", Operator::Mul),
    ("*", "float8", "interval", "interval", Operator::Mul),
    ("/", "interval", "float8", "interval", Operator::Div),
    ("||", "text", "text", "text", Operator::Concat),
    ("||", "text", "anynonarray", "text", Operator::Concat),
    ("||", "anynonarray", "text", "text", Operator::Concat),
    ("||", "jsonb", "jsonb", "jsonb", Operator::Concat),
    ("||", "bytea", "bytea", "bytea", Operator::Concat),
    (
        "||",
        "anycompatiblearray",
        "anycompatiblearray",
        "anycompatiblearray",
        Operator::Concat,
    ),
    (
        "||",
        "anycompatiblearray",
        "anycompatible",
        "anycompatiblearray",
        Operator::Concat,
    ),
    (
        "||",
        "anycompatible",
        "anycompatiblearray",
        "anycompatiblearray",
        Operator::Concat,
    ),
    ("~~", "text", "text", "bool", Operator::Like),
    ("~~", "bpchar", "text", "bool", Operator::Like),
    ("!~~", "text", "text", "bool", Operator::NotLike),
    ("!~~", "bpchar", "text", "bool", Operator::NotLike),
    ("~~*", "text", "text", "bool", Operator::ILike),
    ("~~*", "bpchar", "text", "bool", Operator::ILike),
    ("!~~*", "text", "text", "bool", Operator::NotILike),
    ("!~~*", "bpchar", "text", "bool", Operator::NotILike),
    ("~", "text", "text", "bool", Operator::Match),
    ("~*", "text", "text", "bool", Operator::IMatch),
    ("!~", "text", "text", "bool", Operator::NotMatch),
    ("!~*", "text", "text", "bool", Operator::NotIMatch),
    ("->", "json", "text", "json", Operator::JsonGet),
    ("->", "json", "int4", "json", Operator::JsonGet),
    ("->", "jsonb", "text", "jsonb", Operator::JsonGet),
    ("->", "jsonb", "int4", "jsonb", Operator::JsonGet),
    ("->>", "json", "text", "text", Operator::JsonGetText),
    ("->>", "json", "int4", "text", Operator::JsonGetText),
    ("->>", "jsonb", "text", "text", Operator::JsonGetText),
    ("->>", "jsonb", "int4", "text", Operator::JsonGetText),
    ("#>", "json", "text[]", "json", Operator::JsonPath),
    ("#>", "jsonb", "text[]", "jsonb", Operator::JsonPath),
    ("#>>", "json", "text[]", "text", Operator::JsonPathText),
    ("#>>", "jsonb", "text[]", "text", Operator::JsonPathText),
    ("@>", "jsonb", "jsonb", "bool", Operator::Contains),
    ("<@", "jsonb", "jsonb", "bool", Operator::ContainedBy),
    ("@>", "anyarray", "anyarray", "bool", Operator::Contains),
    ("<@", "anyarray", "anyarray", "bool", Operator::ContainedBy),
    ("&&", "anyarray", "anyarray", "bool", Operator::Overlaps),
    ("?", "jsonb", "text", "bool", Operator::JsonHasKey),
    ("?|", "jsonb", "text[]", "bool", Operator::JsonHasAnyKey),
    ("?&", "jsonb", "text[]", "bool", Operator::JsonHasAllKeys),
    ("-", "jsonb", "text", "jsonb", Operator::Sub),
    ("-", "jsonb", "int4", "jsonb", Operator::Sub),
    ("-", "jsonb", "text[]", "jsonb", Operator::Sub),
    ("-", "", "int2", "int2", Operator::Neg),
    ("-", "", "int4", "int4", Operator::Neg),
    ("-", "", "int8", "int8", Operator::Neg),
    ("-", "", "numeric", "numeric", Operator::Neg),
    ("-", "", "float4", "float4", Operator::Neg),
    ("-", "", "float8", "float8", Operator::Neg),
    ("-", "", "interval", "interval", Operator::Neg),
];

/// Operators that ranges and other types kept as text have: their meaning needs an engine that knows the type.
const OF_TEXT_KEPT: [(&str, Operator); 8] = [
    ("@>", Operator::Contains),
    ("<@", Operator::ContainedBy),
    ("&&", Operator::Overlaps),
    ("<<", Operator::StrictlyLeft),
    (">>", Operator::StrictlyRight),
    ("&<", Operator::NotExtendsRight),
    ("&>", Operator::NotExtendsLeft),
    ("-|-", Operator::Adjacent),
];

fn comparison(symbol: &str) -> Option<Operator> {
    Some(match symbol {
        "=" => Operator::Eq,
        "<>" | "!=" => Operator::Ne,
        "<" => Operator::Lt,
        "<=" => Operator::Le,
        ">" => Operator::Gt,
        ">=" => Operator::Ge,
        _ => return None,
    })
}

fn arithmetic(symbol: &str) -> Option<Operator> {
    Some(match symbol {
        "+" => Operator::Add,
        "-" => Operator::Sub,
        "*" => Operator::Mul,
        "/" => Operator::Div,
        _ => return None,
    })
}

struct Candidate {
    patterns: Vec<Pattern>,
    result: &'static str,
    operator: Operator,
}

fn candidates(symbol: &str, prefix: bool) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut add = |left: &str, right: &str, result, operator| {
        let patterns = [left, right]
            .into_iter()
            .filter(|t| !t.is_empty())
            .map(Pattern::named)
            .collect();
        found.push(Candidate {
            patterns,
            result,
            operator,
        });
    };
    if !prefix {
        if let Some(operator) = comparison(symbol) {
            ORDERED
                .iter()
                .chain(&["anyarray"])
                .for_each(|ty| add(ty, ty, "bool", operator));
            MIXED
                .iter()
                .for_each(|(left, right, _)| add(left, right, "bool", operator));
        }
        if let Some(operator) = arithmetic(symbol) {
            for ty in ["int4", "int8", "int2", "numeric", "float8", "float4"] {
                add(ty, ty, ty, operator);
            }
            MIXED
                .iter()
                .for_each(|(left, right, result)| add(left, right, result, operator));
        }
    }
    for (_, left, right, result, operator) in TABLE
        .iter()
        .filter(|(s, left, ..)| *s == symbol && left.is_empty() == prefix)
    {
        add(left, right, result, *operator);
    }
    found
}

impl Binder<'_> {
    /// `left symbol right`
    pub(super) fn binary(&mut self, symbol: &str, at: At, left: (Expr, At), right: (Expr, At)) -> Bound<Expr> {
        if let Some(folded) = super::claims::fold_json(symbol, &left.0, &right.0) {
            return Ok(folded);
        }
        let types = [left.0.ty.clone(), right.0.ty.clone()];
        if let Some(expr) = self.text_kept(symbol, &left, &right)? {
            return Ok(expr);
        }
        let candidates = candidates(symbol, false);
        let patterns: Vec<_> = candidates.iter().map(|c| c.patterns.clone()).collect();
        let chosen = match choose(&patterns, &types, true) {
            Choice::One(index) => &candidates[index],
            choice => return Err(self.no_operator(symbol, at, &types, choice)),
        };
        let Some(fitted) = fit(&chosen.patterns, &types) else {
            return Err(self.no_operator(symbol, at, &types, Choice::None));
        };
        let result = fitted.result(chosen.result).unwrap_or(Type::Text);
        let mut operands = Vec::with_capacity(2);
        for (index, (expr, place)) in [left, right].into_iter().enumerate() {
            let wanted = match &fitted.params[index] {
                // The other operand's length says how a literal is padded.
                Some(Type::Char(0)) if matches!(types[1 - index], Type::Char(_)) => types[1 - index].clone(),
                // What is appended to text becomes text.
                Some(_) | None if chosen.operator == Operator::Concat && result == Type::Text => Type::Text,
                Some(ty) => ty.clone(),
                None => expr.ty.clone(),
            };
            let context = if chosen.operator == Operator::Concat {
                CastContext::Assignment
            } else {
                CastContext::Implicit
            };
            operands.push(self.coerce(expr, place, &wanted, context)?);
        }
        Ok(Expr::new(ExprKind::Operator(chosen.operator, operands), result))
    }

    /// Operators between values of types that are kept as text.
    fn text_kept(&mut self, symbol: &str, left: &(Expr, At), right: &(Expr, At)) -> Bound<Option<Expr>> {
        let ((Type::Other(_), _) | (_, Type::Other(_))) = (&left.0.ty, &right.0.ty) else {
            return Ok(None);
        };
        let ty = if matches!(left.0.ty, Type::Other(_)) {
            left.0.ty.clone()
        } else {
            right.0.ty.clone()
        };
        let operator = match comparison(symbol) {
            Some(operator) => operator,
            None => match OF_TEXT_KEPT.iter().find(|(s, _)| *s == symbol) {
                Some((_, operator)) => *operator,
                None => return Ok(None),
            },
        };
        let both = |e: &Expr| e.ty == ty || e.ty == Type::Unknown;
        if comparison(symbol).is_some() && !(both(&left.0) && both(&right.0)) {
            return Ok(None);
        }
        let decide = |binder: &mut Self, (expr, at): &(Expr, At)| match expr.ty {
            Type::Unknown => binder.coerce(expr.clone(), *at, &ty, CastContext::Implicit),
            _ => Ok(expr.clone()),
        };
        let operands = vec![decide(self, left)?, decide(self, right)?];
        Ok(Some(Expr::condition(ExprKind::Operator(operator, operands))))
    }

    /// `symbol operand`
    pub(super) fn prefix(&mut self, symbol: &str, at: At, operand: Expr, place: At) -> Bound<Expr> {
        if let ("-", ExprKind::Literal(value)) = (symbol, &operand.kind)
            && let Some(negative) = self.negative(value, &operand.ty)
        {
            return Ok(negative);
        }
        let numeric = operand.ty.is_number();
        match symbol {
            "+" if numeric => return Ok(operand),
            "@" if numeric => {
                let ty = super::coerce::base(&operand.ty);
                return Ok(Expr::new(ExprKind::Call(Builtin::Abs, vec![operand]), ty));
            }
            "|/" if numeric => {
                let operand = self.coerce(operand, place, &Type::Float8, CastContext::Implicit)?;
                return Ok(Expr::new(ExprKind::Call(Builtin::Sqrt, vec![operand]), Type::Float8));
            }
            _ => {}
        }
        let types = [operand.ty.clone()];
        let candidates = candidates(symbol, true);
        let patterns: Vec<_> = candidates.iter().map(|c| c.patterns.clone()).collect();
        match choose(&patterns, &types, true) {
            Choice::One(index) => {
                let chosen = &candidates[index];
                let Some(fitted) = fit(&chosen.patterns, &types) else {
                    return Err(self.no_operator(symbol, at, &types, Choice::None));
                };
                let result = fitted.result(chosen.result).unwrap_or(Type::Text);
                let operand = self.coerce(operand, place, &result, CastContext::Implicit)?;
                Ok(Expr::new(ExprKind::Operator(chosen.operator, vec![operand]), result))
            }
            choice => Err(self.no_operator(symbol, at, &types, choice)),
        }
    }

    fn no_operator(&self, symbol: &str, at: At, types: &[Type], choice: Choice) -> crate::Problem {
        let written = match types {
            [operand] => format!("{symbol} {}", shown(operand)),
            [left, right] => format!("{} {symbol} {}", shown(left), shown(right)),
            _ => symbol.to_owned(),
        };
        match (choice, symbol) {
            (Choice::Ambiguous, _) => self
                .problem(at, format!("operator is not unique: {written}"))
                .help("add an explicit cast"),
            (_, "@@") => self.refused(at, "full text search in a function, view or policy").help(
                "filter with `fts`, `plfts`, `phfts` or `wfts` in the request, where the engine knows full text search",
            ),
            (_, "&" | "|" | "#" | "<<" | ">>" | "~" | "#-" | "@?" | "||/" | "!!" | "^@") => {
                self.refused(at, format!("the operator {symbol} of {written}"))
            }
            _ => self
                .problem(at, format!("operator does not exist: {written}"))
                .help("no operator of that name takes these types; cast one side to the other's type"),
        }
    }

    /// How two values of these types are compared: the types that both are cast to.
    pub(super) fn comparable(
        &mut self,
        symbol: &str,
        at: At,
        left: (Expr, At),
        right: (Expr, At),
    ) -> Bound<(Operator, Expr, Expr)> {
        let compared = self.binary(symbol, at, left, right)?;
        match compared.kind {
            ExprKind::Operator(operator, mut operands) if operands.len() == 2 => {
                let right = operands.pop();
                let left = operands.pop();
                match (left, right) {
                    (Some(left), Some(right)) => Ok((operator, left, right)),
                    _ => Err(self.problem(at, "a comparison has two sides")),
                }
            }
            _ => Err(self.problem(at, format!("{symbol} is no comparison"))),
        }
    }

    /// A boolean constant.
    pub(super) fn boolean(value: bool) -> Expr {
        Expr::literal(Value::Bool(value), Type::Bool)
    }
}
