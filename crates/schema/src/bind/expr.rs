//! Expressions: operators, tests, casts, names, and what stands in parentheses.

use super::coerce::{CastContext, shown};
use super::scope::Clause;
use super::syntax::{Operand, Tree, expressions};
use super::{At, Binder, Bound, claims};
use crate::names::text;
use mainstay_model::{Builtin, Expr, ExprKind, Type, Value, time};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

impl Binder<'_> {
    /// An expression; the type of a literal may still be undecided.
    pub(super) fn expr(&mut self, expr: &ast::Expr) -> Bound<Expr> {
        let operand = self.operand(expr)?;
        self.tree(&operand)
    }

    /// An expression with its place.
    pub(super) fn placed(&mut self, operand: &Operand) -> Bound<(Expr, At)> {
        Ok((self.tree(operand)?, operand.at))
    }

    pub(super) fn tree(&mut self, operand: &Operand) -> Bound<Expr> {
        self.deeper(operand.at, |binder| binder.tree_here(operand))
    }

    fn tree_here(&mut self, operand: &Operand) -> Bound<Expr> {
        let at = operand.at;
        match &operand.tree {
            Tree::Atom(expr) => self.atom(expr),
            Tree::And(list) => Ok(Expr::condition(ExprKind::And(self.conditions(list, "AND")?))),
            Tree::Or(list) => Ok(Expr::condition(ExprKind::Or(self.conditions(list, "OR")?))),
            Tree::Not(inner) => {
                let bound = self.tree(inner)?;
                Ok(self.condition(bound, inner.at, "NOT")?.negate())
            }
            Tree::Prefix(symbol, inner) => {
                if let ("-", Tree::Atom(ast::Expr::Literal(literal))) = (symbol.as_str(), &inner.tree)
                    && let Some(negative) = self.negative_literal(literal, at)
                {
                    return negative;
                }
                let bound = self.tree(inner)?;
                self.prefix(symbol, at, bound, inner.at)
            }
            Tree::Binary(symbol, symbol_at, left, right) => {
                self.comparison_or_operator(symbol, *symbol_at, left, right)
            }
            Tree::Is(left, right, negated) => self.is(left, right, *negated),
            Tree::IsNull(inner, negated) => self.is_null(inner, *negated),
            Tree::Distinct(left, right, negated) => self.distinct(left, right, *negated, at),
            Tree::In(left, right, negated) => self.is_in(left, right, *negated, at),
            Tree::Like(symbol, left, pattern, escape) => self.like(symbol, left, pattern, escape.as_deref(), at),
            Tree::Between {
                operand,
                low,
                high,
                symmetric,
                negated,
            } => self.between(operand, (low, high), *symmetric, *negated, at),
            Tree::Cast(inner, ty) => self.cast(inner, ty),
            Tree::Collate(inner, name) => self.collate(inner, name, at),
            Tree::AtTimeZone(inner, zone) => {
                let (value, zone) = (self.placed(inner)?, self.placed(zone)?);
                self.at_time_zone(value, zone, at)
            }
            Tree::Refused(what) => Err(self.refused(at, what)),
        }
    }

    fn conditions(&mut self, list: &[Operand], word: &str) -> Bound<Vec<Expr>> {
        let mut conditions = Vec::with_capacity(list.len());
        for operand in list {
            let bound = self.tree(operand)?;
            conditions.push(self.condition(bound, operand.at, word)?);
        }
        Ok(conditions)
    }

    fn cast(&mut self, inner: &Operand, ty: &ast::Type) -> Bound<Expr> {
        let to = self.cast_type(ty)?;
        // ARRAY[]::int[] has no elements to tell its type.
        if let (Some(array), Type::Array(element)) = (array_of(inner), &to)
            && array.select_variant().is_none()
        {
            let mut elements = Vec::new();
            for expr in expressions(array.syntax()) {
                let operand = self.operand(&expr)?;
                let bound = self.tree(&operand)?;
                elements.push(self.coerce(bound, operand.at, element, CastContext::Explicit)?);
            }
            return Ok(Expr::new(ExprKind::Array(elements), to));
        }
        let bound = self.tree(inner)?;
        self.cast_to(bound, inner.at, &to)
    }

    /// The type that is cast to. What a default is cast to, its column looks at.
    fn cast_type(&self, ty: &ast::Type) -> Bound<Type> {
        let in_default = self.scopes.last().is_some_and(|scope| scope.clause == Clause::Default);
        match in_default {
            true => Ok(crate::types::resolve(ty, self.schema, self.source)?.0),
            false => crate::types::resolve_bare(ty, self.schema, self.source),
        }
    }

    /// An explicit cast.
    pub(super) fn cast_to(&mut self, expr: Expr, at: At, to: &Type) -> Bound<Expr> {
        // 'now'::text::date is how older dumps write current_date.
        if let (ExprKind::Literal(Value::Text(text)), Type::Text) = (&expr.kind, &expr.ty)
            && matches!(to, Type::Date | Type::Timestamp | Type::TimestampTz)
            && time::is_volatile_literal(text, to)
            && text.trim().eq_ignore_ascii_case("now")
        {
            return Ok(now_as(to));
        }
        if let (ExprKind::Literal(Value::Text(name)), Type::Other(class)) = (&expr.kind, to)
            && &**class == "regclass"
        {
            // The name of a sequence or relation: its spelling is settled by whoever takes it.
            return Ok(Expr::literal(Value::Text(name.clone()), Type::Text));
        }
        if let (ExprKind::Literal(Value::Text(text)), Type::Unknown, Type::Char(1..)) = (&expr.kind, &expr.ty, to) {
            let cut = Value::Text(text.clone()).cast(&Type::Text, to);
            return Ok(Expr::literal(
                cut.map_err(|error| self.problem(at, error.message.clone()))?,
                to.clone(),
            ));
        }
        self.coerce(expr, at, to, CastContext::Explicit)
    }

    fn collate(&mut self, inner: &Operand, name: &str, at: At) -> Bound<Expr> {
        let bound = self.tree(inner)?;
        let bare = name
            .rsplit('.')
            .next()
            .unwrap_or(name)
            .trim_matches('"')
            .to_ascii_lowercase();
        // Every engine compares text by code point here, which is what these mean.
        match bare.as_str() {
            "c" | "posix" | "default" | "ucs_basic" | "c.utf8" | "pg_c_utf8" => Ok(self.settle(bound)),
            _ => Err(self
                .refused(at, format!("the collation {name}"))
                .help("text is compared by code point: COLLATE \"C\"")),
        }
    }

    /// `x AT TIME ZONE zone`: sessions run in UTC, so that only UTC has a meaning that every engine shares.
    pub(super) fn at_time_zone(
        &mut self,
        (value, value_at): (Expr, At),
        (zone, zone_at): (Expr, At),
        at: At,
    ) -> Bound<Expr> {
        let utc = match &zone.kind {
            ExprKind::Literal(Value::Text(name)) => {
                matches!(
                    name.to_ascii_lowercase().as_str(),
                    "utc" | "gmt" | "z" | "zulu" | "etc/utc" | "etc/gmt" | "uct"
                )
            }
            _ => false,
        };
        if !utc {
            let problem = self.refused(zone_at, "a time zone other than 'UTC'");
            return Err(problem.help("store timestamptz, and convert to the reader's zone where it is shown"));
        }
        let value = match value.ty {
            Type::Date | Type::Unknown => self.coerce(value, value_at, &Type::TimestampTz, CastContext::Implicit)?,
            _ => value,
        };
        let to = match value.ty {
            Type::Timestamp => Type::TimestampTz,
            Type::TimestampTz => Type::Timestamp,
            _ => {
                let message = format!("function timezone(text, {}) does not exist", shown(&value.ty));
                return Err(self.problem(at, message));
            }
        };
        self.coerce(value, value_at, &to, CastContext::Explicit)
    }

    fn atom(&mut self, expr: &ast::Expr) -> Bound<Expr> {
        let at = At::of(expr.syntax());
        match expr {
            ast::Expr::Literal(literal) => self.literal(literal),
            ast::Expr::NameRef(name) => self.name_ref(name),
            ast::Expr::FieldExpr(field) => self.field(field),
            ast::Expr::CallExpr(call) => self.call(call),
            ast::Expr::CastExpr(cast) => {
                let Some(ty) = cast.ty() else {
                    return Err(self.problem(at, "the type of the cast is missing"));
                };
                if cast.treat_token().is_some() {
                    return Err(self.refused(at, "TREAT"));
                }
                if let (None, Some(literal)) = (cast.cast_token(), cast.literal()) {
                    let to = self.cast_type(&ty)?;
                    return self.typed_literal(cast, &literal, &to);
                }
                let inner = expressions(cast.syntax()).into_iter().next();
                let Some(inner) = inner else {
                    return Err(self.problem(at, "the value of the cast is missing"));
                };
                let inner = self.operand(&inner)?;
                self.cast(&inner, &ty)
            }
            ast::Expr::ArrayExpr(array) => self.array(array),
            ast::Expr::CaseExpr(case) => self.case(case),
            ast::Expr::IndexExpr(index) => self.subscript(index),
            ast::Expr::SliceExpr(_) => Err(self.refused(at, "a slice of an array")),
            ast::Expr::ParenExpr(paren) => {
                if let Some(select) = select_in(expr) {
                    return self.scalar_subquery(&select, at);
                }
                match expressions(paren.syntax()).into_iter().next() {
                    Some(inner) => self.expr(&inner),
                    None => Err(self.problem(at, "an expression is missing in the parentheses")),
                }
            }
            ast::Expr::TupleExpr(_) => {
                let problem = self.refused(at, "a row as a value");
                Err(problem
                    .help("rows can be compared: (a, b) = (c, d); as a value use jsonb_build_object or a table's row"))
            }
            // Chains of operators never arrive here: `operand` takes them apart.
            _ => Err(self.problem(at, "this expression is not understood")),
        }
    }

    fn name_ref(&mut self, name: &ast::NameRef) -> Bound<Expr> {
        let at = At::of(name.syntax());
        if !name.is_quoted()
            && let Some(value) = self.keyword_value(&name.syntax().to_string().to_ascii_lowercase(), at)?
        {
            return Ok(value);
        }
        self.name(&text(name), at)
    }

    /// The values that SQL spells as keywords.
    pub(super) fn keyword_value(&mut self, keyword: &str, at: At) -> Bound<Option<Expr>> {
        Ok(Some(match keyword {
            "current_timestamp" => now_as(&Type::TimestampTz),
            "localtimestamp" => now_as(&Type::Timestamp),
            "current_date" => now_as(&Type::Date),
            "localtime" => Expr::new(ExprKind::Cast(Box::new(now_as(&Type::TimestampTz))), Type::Time),
            "current_user" | "current_role" | "session_user" | "user" => claims::role(),
            "current_time" => {
                return Err(self
                    .refused(at, "current_time")
                    .help("use localtime or current_timestamp"));
            }
            "current_schema" => {
                let first = self.namespaces().next().unwrap_or("public").to_owned();
                Expr::literal(Value::Text(first), Type::Text)
            }
            "current_catalog" | "system_user" => return Err(self.refused(at, keyword)),
            _ => return Ok(None),
        }))
    }

    fn field(&mut self, field: &ast::FieldExpr) -> Bound<Expr> {
        let at = At::of(field.syntax());
        if field.star_token().is_some() {
            return Err(self
                .problem(at, "row expansion via \"*\" is not supported here")
                .help("name the columns"));
        }
        match path_of(&ast::Expr::FieldExpr(field.clone())) {
            Some(path) => self.qualified(&path, at),
            None => {
                // `$1.name`, where the argument is a row.
                if let (Some(ast::Expr::Literal(base)), Some(name)) = (field.base(), field.field()) {
                    let row = self.literal(&base)?;
                    if let Some(value) = self.row_field(&row, &text(&name), At::of(name.syntax()))? {
                        return Ok(value);
                    }
                }
                let problem = self.refused(at, "a field of a composite value");
                Err(problem.help("read the columns from the table itself: table.column"))
            }
        }
    }
}

/// The current moment as a type.
fn now_as(ty: &Type) -> Expr {
    let now = Expr::new(ExprKind::Call(Builtin::Now, Vec::new()), Type::TimestampTz);
    match ty {
        Type::Date => Expr::new(ExprKind::Call(Builtin::CurrentDate, Vec::new()), Type::Date),
        Type::TimestampTz => now,
        ty => Expr::new(ExprKind::Cast(Box::new(now)), ty.clone()),
    }
}

/// `a`, `a.b`, `a.b.c`, `(a).b` as names; `None` for a field of anything else.
pub(super) fn path_of(expr: &ast::Expr) -> Option<Vec<Arc<str>>> {
    match expr {
        ast::Expr::NameRef(name) => Some(vec![text(name)]),
        ast::Expr::ParenExpr(paren) => {
            let inner = expressions(paren.syntax()).into_iter().next()?;
            matches!(inner, ast::Expr::NameRef(_)).then(|| path_of(&inner))?
        }
        ast::Expr::FieldExpr(field) => {
            let mut path = path_of(&field.base()?)?;
            // With one child only, the base is the field: `a.` without anything behind it.
            if field.star_token().is_none() {
                let name = field.field()?;
                if Some(name.syntax()) == field.base().as_ref().map(|b| b.syntax()) {
                    return None;
                }
                path.push(text(&name));
            }
            Some(path)
        }
        _ => None,
    }
}

/// The query inside parentheses, if that is what they hold.
pub(super) fn select_in(expr: &ast::Expr) -> Option<ast::SelectVariant> {
    let ast::Expr::ParenExpr(paren) = expr else { return None };
    let mut node = paren.syntax().clone();
    loop {
        let child = node.children().next()?;
        if let Some(select) = ast::SelectVariant::cast(child.clone()) {
            return Some(select);
        }
        // (((SELECT …))): a query however many parentheses stand around it.
        let nested = ast::ParenExpr::can_cast(child.kind()) && node.children().count() == 1;
        if !nested {
            return None;
        }
        node = child;
    }
}

/// `ARRAY[…]`, also in parentheses.
fn array_of(operand: &Operand) -> Option<ast::ArrayExpr> {
    match &operand.tree {
        Tree::Atom(ast::Expr::ArrayExpr(array)) => Some(array.clone()),
        Tree::Atom(ast::Expr::ParenExpr(paren)) => match expressions(paren.syntax()).as_slice() {
            [ast::Expr::ArrayExpr(array)] => Some(array.clone()),
            _ => None,
        },
        _ => None,
    }
}
