//! The forms of expressions that have a syntax of their own: IN, ANY, CASE, ARRAY, subqueries, `extract(… FROM …)` and its kin.

use super::coerce::{CastContext, Category, base, category, shown};
use super::syntax::{Operand, Tree, expressions};
use super::{At, Binder, Bound, expr::select_in};
use mainstay_model::{Builtin, Expr, ExprKind, FromItem, Projected, Select, Series, Type, Value};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode};

/// `ANY (…)`, `SOME (…)`, `ALL (…)`
pub(super) struct Quantifier {
    all: bool,
    node: SyntaxNode,
}

impl Quantifier {
    pub(super) fn of(call: &ast::CallExpr) -> Option<Quantifier> {
        let any = call
            .any_fn()
            .map(|f| f.syntax().clone())
            .or_else(|| call.some_fn().map(|f| f.syntax().clone()));
        match (any, call.all_fn()) {
            (Some(node), _) => Some(Quantifier { all: false, node }),
            (None, Some(all)) => Some(Quantifier {
                all: true,
                node: all.syntax().clone(),
            }),
            (None, None) => None,
        }
    }
}

/// Whether an expression calls a function of the schema: in a query of its own it is called once, not once for each row.
fn calls(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |e| found |= matches!(e.kind, ExprKind::UserCall(..)));
    found
}

/// What `extract` takes out of a date or time, and its other names.
const DATE_PARTS: [(&str, &str); 22] = [
    ("century", "centuries cent c"),
    ("day", "days d"),
    ("decade", "decades dec decs"),
    ("dow", ""),
    ("doy", ""),
    ("epoch", ""),
    ("hour", "hours hr hrs h"),
    ("isodow", ""),
    ("isoyear", ""),
    ("julian", "j jd"),
    (
        "microseconds",
        "microsecond microsec microsecs us usec usecs useconds usecond",
    ),
    ("millennium", "millennia mil mils"),
    (
        "milliseconds",
        "millisecond millisec millisecs ms msec msecs mseconds msecond",
    ),
    ("minute", "minutes min mins m"),
    ("month", "months mon mons"),
    ("quarter", "qtr"),
    ("second", "seconds sec secs s"),
    ("timezone", ""),
    ("timezone_hour", "timezone_h"),
    ("timezone_minute", "timezone_m"),
    ("week", "weeks w"),
    ("year", "years yr yrs y"),
];

impl Binder<'_> {
    /// `left symbol ANY|ALL (array or query)`
    pub(super) fn quantified(&mut self, symbol: &str, at: At, left: &Operand, quantifier: Quantifier) -> Bound<Expr> {
        let place = At::of(&quantifier.node);
        let first = expressions(&quantifier.node).into_iter().next();
        let select = quantifier.node.children().find_map(ast::SelectVariant::cast);
        if let Some(select) = select.or_else(|| first.as_ref().and_then(select_in)) {
            let equal = symbol == "=" && !quantifier.all;
            let unequal = matches!(symbol, "<>" | "!=") && quantifier.all;
            if equal || unequal {
                return self.in_select(left, &select, unequal, at);
            }
            let operand = self.placed(left)?;
            let select = self.column_query(&select, place)?;
            let element = Self::output_columns(&select).remove(0).1;
            let array = Expr::new(ExprKind::ArraySelect(Box::new(select)), Type::Array(Box::new(element)));
            return self.against_array(symbol, at, operand, (array, place), quantifier.all);
        }
        let Some(first) = first else {
            return Err(self.problem(place, "an array is missing"));
        };
        let operand = self.placed(left)?;
        let array = (self.expr(&first)?, At::of(first.syntax()));
        self.against_array(symbol, at, operand, array, quantifier.all)
    }

    fn against_array(
        &mut self,
        symbol: &str,
        at: At,
        operand: (Expr, At),
        array: (Expr, At),
        all: bool,
    ) -> Bound<Expr> {
        let element = match &array.0.ty {
            Type::Array(element) => (**element).clone(),
            Type::Unknown => Type::Unknown,
            other => {
                let message = format!("op ANY/ALL (array) requires array on right side, not {}", shown(other));
                return Err(self.problem(array.1, message));
            }
        };
        // The comparison is that with one element.
        let sample = match element {
            Type::Unknown => super::null(),
            ref ty => Expr::param(0, ty.clone()),
        };
        let (operator, left, right) = self.comparable(symbol, at, operand, (sample, array.1))?;
        let wanted = Type::Array(Box::new(right.ty.clone()));
        let array = self.coerce(array.0, array.1, &wanted, CastContext::Explicit)?;
        if left.ty.is_text()
            && let ExprKind::Array(elements) = &array.kind
            && elements.is_empty()
        {
            return Ok(Self::boolean(all));
        }
        let equal = operator == mainstay_model::Operator::Eq && !all;
        let unequal = operator == mainstay_model::Operator::Ne && all;
        match array.kind {
            // `= ANY (ARRAY[…])` is what IN becomes in a dump.
            ExprKind::Array(list) if (equal || unequal) && !list.is_empty() => Ok(Expr::condition(ExprKind::In {
                operand: Box::new(left),
                list,
                negated: unequal,
            })),
            kind => {
                let array = Box::new(Expr::new(kind, array.ty));
                Ok(Expr::condition(ExprKind::Quantified {
                    operator,
                    all,
                    operand: Box::new(left),
                    array,
                }))
            }
        }
    }

    /// `left [NOT] IN (list or query)`
    pub(super) fn is_in(&mut self, left: &Operand, right: &Operand, negated: bool, at: At) -> Bound<Expr> {
        let Tree::Atom(list) = &right.tree else {
            return Err(self.problem(right.at, "IN needs a list or a query in parentheses"));
        };
        if let Some(select) = select_in(list) {
            return self.in_select(left, &select, negated, at);
        }
        if !matches!(list, ast::Expr::ParenExpr(_) | ast::Expr::TupleExpr(_)) {
            return Err(self.problem(right.at, "IN needs a list or a query in parentheses"));
        }
        let mut members = Vec::new();
        for expr in expressions(list.syntax()) {
            members.push(self.operand(&expr)?);
        }
        if members.is_empty() {
            return Err(self.problem(right.at, "the list of IN is empty"));
        }
        if let Some(row) = self.row(left)? {
            return self.row_in(row, &members, negated, at);
        }
        let operand = self.placed(left)?;
        let mut values = Vec::new();
        for member in &members {
            values.push(self.placed(member)?);
        }
        let types = std::iter::once((&operand.0.ty, operand.1)).chain(values.iter().map(|(e, at)| (&e.ty, *at)));
        match self.common_type(types, "IN") {
            Ok(common) => {
                let sample = Expr::param(0, common.clone());
                let value = match operand.0.ty {
                    Type::Unknown => (
                        self.coerce(operand.0, operand.1, &common, CastContext::Implicit)?,
                        operand.1,
                    ),
                    _ => operand,
                };
                let (_, value, sample) = self.comparable("=", at, value, (sample, right.at))?;
                let mut list = Vec::with_capacity(values.len());
                for (expr, place) in values {
                    list.push(self.coerce(expr, place, &sample.ty, CastContext::Implicit)?);
                }
                Ok(Expr::condition(ExprKind::In {
                    operand: Box::new(value),
                    list,
                    negated,
                }))
            }
            // No type for all of them: each is compared by itself.
            Err(_) => {
                let mut parts = Vec::new();
                for value in values {
                    parts.push(self.binary("=", at, operand.clone(), value)?);
                }
                let any = Expr::any(parts);
                Ok(if negated { any.negate() } else { any })
            }
        }
    }

    fn row_in(&mut self, row: Vec<(Expr, At)>, members: &[Operand], negated: bool, at: At) -> Bound<Expr> {
        let mut parts = Vec::new();
        for member in members {
            let Some(values) = self.row(member)? else {
                return Err(self.problem(member.at, "a row is compared with rows: (a, b) IN ((1, 2), (3, 4))"));
            };
            if values.len() != row.len() {
                return Err(self.problem(member.at, "unequal number of entries in row expressions"));
            }
            let mut equal = Vec::new();
            for (left, right) in row.iter().cloned().zip(values) {
                equal.push(self.binary("=", at, left, right)?);
            }
            parts.push(Expr::all(equal));
        }
        let any = Expr::any(parts);
        Ok(if negated { any.negate() } else { any })
    }

    fn in_select(&mut self, left: &Operand, select: &ast::SelectVariant, negated: bool, at: At) -> Bound<Expr> {
        let operands = match self.row(left)? {
            Some(row) => row,
            None => vec![self.placed(left)?],
        };
        let mut query = self.query(select)?;
        let columns = Self::output_columns(&query);
        if columns.len() != operands.len() {
            let amount = if columns.len() > operands.len() { "many" } else { "few" };
            return Err(self.problem(At::of(select.syntax()), format!("subquery has too {amount} columns")));
        }
        let mut bound = Vec::with_capacity(operands.len());
        for (index, (operand, (_, ty))) in operands.into_iter().zip(columns).enumerate() {
            let place = operand.1;
            let sample = Expr::param(0, ty);
            let (_, operand, sample) = self.comparable("=", at, operand, (sample, place))?;
            self.coerce_output(&mut query, index, &sample.ty, place, CastContext::Implicit)?;
            bound.push(operand);
        }
        Ok(Expr::condition(ExprKind::InSelect {
            operands: bound,
            select: Box::new(query),
            negated,
        }))
    }

    /// A query of one column.
    fn column_query(&mut self, select: &ast::SelectVariant, at: At) -> Bound<Select> {
        let query = self.query(select)?;
        match Self::output_columns(&query).len() {
            1 => Ok(query),
            _ => Err(self.problem(at, "subquery must return only one column")),
        }
    }

    /// `(SELECT one value)`. Of a query without rows of its own only the value is left: `(SELECT auth.uid())` is the usual case.
    pub(super) fn scalar_subquery(&mut self, select: &ast::SelectVariant, at: At) -> Bound<Expr> {
        let mut query = self.column_query(select, at)?;
        let plain = query.with.is_empty()
            && query.from.is_empty()
            && query.filter.is_none()
            && query.group_by.is_empty()
            && query.having.is_none()
            && query.values.is_empty()
            && query.set_operation.is_none()
            && query.limit.is_none()
            && query.offset.is_none();
        if plain
            && let [Projected { expr, .. }] = query.projection.as_slice()
            && !expr.has_aggregate()
            && !super::expr_effects(expr, self.schema).volatile
            && !calls(expr)
        {
            return Ok(query.projection.remove(0).expr);
        }
        let ty = Self::output_columns(&query).remove(0).1;
        Ok(Expr::new(ExprKind::Scalar(Box::new(query)), ty))
    }

    pub(super) fn array(&mut self, array: &ast::ArrayExpr) -> Bound<Expr> {
        let at = At::of(array.syntax());
        if let Some(select) = array.select_variant() {
            let query = self.column_query(&select, at)?;
            let element = Self::output_columns(&query).remove(0).1;
            return Ok(Expr::new(
                ExprKind::ArraySelect(Box::new(query)),
                Type::Array(Box::new(element)),
            ));
        }
        let mut elements = Vec::new();
        for expr in expressions(array.syntax()) {
            let operand = self.operand(&expr)?;
            elements.push(self.placed(&operand)?);
        }
        if elements.is_empty() {
            let problem = self.problem(at, "cannot determine type of empty array");
            return Err(problem.help("cast it to the type that is meant, for example ARRAY[]::integer[]"));
        }
        let (elements, ty) = self.unify(elements, "ARRAY")?;
        if matches!(ty, Type::Array(_)) {
            return Err(self.refused(at, "an array of more than one dimension"));
        }
        Ok(Expr::new(ExprKind::Array(elements), Type::Array(Box::new(ty))))
    }

    pub(super) fn case(&mut self, case: &ast::CaseExpr) -> Bound<Expr> {
        let at = At::of(case.syntax());
        let operand = match case.expr() {
            Some(expr) => {
                let operand = self.operand(&expr)?;
                Some(self.placed(&operand)?)
            }
            None => None,
        };
        let mut conditions = Vec::new();
        let mut results = Vec::new();
        for when in case.when_clause_list().into_iter().flat_map(|l| l.when_clauses()) {
            let parts = expressions(when.syntax());
            let [condition, result] = parts.as_slice() else {
                return Err(self.problem(At::of(when.syntax()), "WHEN needs a condition and THEN a result"));
            };
            let condition = self.operand(condition)?;
            let place = condition.at;
            let bound = self.placed(&condition)?;
            conditions.push(match &operand {
                Some(operand) => self.binary("=", place, operand.clone(), bound)?,
                None => self.condition(bound.0, place, "CASE/WHEN")?,
            });
            let result = self.operand(result)?;
            results.push(self.placed(&result)?);
        }
        if conditions.is_empty() {
            return Err(self.problem(at, "CASE needs WHEN"));
        }
        let otherwise = case.else_clause().and_then(|e| e.expr());
        if let Some(expr) = &otherwise {
            // The type of ELSE is looked at first.
            let operand = self.operand(expr)?;
            results.insert(0, self.placed(&operand)?);
        }
        let (mut results, ty) = self.unify(results, "CASE")?;
        let otherwise = otherwise.map(|_| Box::new(results.remove(0)));
        let whens = conditions.into_iter().zip(results).collect();
        Ok(Expr::new(ExprKind::Case { whens, otherwise }, ty))
    }

    /// `array[n]` and `jsonb['key']`.
    pub(super) fn subscript(&mut self, index: &ast::IndexExpr) -> Bound<Expr> {
        let at = At::of(index.syntax());
        let parts = expressions(index.syntax());
        let [of, position] = parts.as_slice() else {
            return Err(self.problem(at, "a subscript is missing"));
        };
        let (value, place) = (self.expr(of)?, At::of(of.syntax()));
        let subscript = (self.expr(position)?, At::of(position.syntax()));
        match &value.ty {
            Type::Jsonb => self.binary("->", at, (value, place), subscript),
            Type::Array(element) => {
                let ty = (**element).clone();
                // The n-th element is the n-th row of its rows; only a constant n is in every engine's reach.
                let offset = match subscript.0.kind {
                    ExprKind::Literal(Value::Int(n)) if n >= 1 => n - 1,
                    ExprKind::Literal(Value::Int(_)) => {
                        return Ok(Expr::literal(Value::Null, ty));
                    }
                    _ => {
                        let problem = self.refused(subscript.1, "a subscript that is not a constant");
                        return Err(problem.help("join unnest(array) instead"));
                    }
                };
                let source = self.new_source();
                let columns = vec![("unnest".into(), ty.clone())];
                self.item(None, &columns, source, None);
                let select = Select {
                    projection: vec![Projected {
                        expr: super::scope::column(source, 0, ty.clone()),
                        name: "unnest".into(),
                    }],
                    from: vec![FromItem::Series {
                        series: Series::Unnest,
                        args: vec![value],
                        columns,
                        source,
                    }],
                    limit: Some(Expr::literal(Value::Int(1), Type::Int8)),
                    offset: (offset > 0).then(|| Expr::literal(Value::Int(offset), Type::Int8)),
                    ..Select::default()
                };
                Ok(Expr::new(ExprKind::Scalar(Box::new(select)), ty))
            }
            other => {
                let message = format!(
                    "cannot subscript type {} because it does not support subscripting",
                    shown(other)
                );
                Err(self.problem(at, message))
            }
        }
    }

    /// `extract(field FROM x)`: numeric, as since Postgres 14.
    pub(super) fn extract(&mut self, extract: &ast::ExtractFn) -> Bound<Expr> {
        let at = At::of(extract.syntax());
        let field = match extract.extract_field() {
            Some(ast::ExtractField::ExtractFieldLiteral(field)) => match field.literal() {
                Some(literal) => self.string(&literal)?,
                None => String::new(),
            },
            Some(ast::ExtractField::ExtractFieldName(field)) => field.syntax().to_string(),
            None => String::new(),
        };
        let Some(value) = expressions(extract.syntax()).into_iter().next() else {
            return Err(self.problem(at, "extract needs a value: extract(year FROM x)"));
        };
        let value = (self.expr(&value)?, At::of(value.syntax()));
        self.date_part(&field, value, at)
    }

    /// A part of a date or time, as numeric.
    pub(super) fn date_part(&mut self, field: &str, (value, place): (Expr, At), at: At) -> Bound<Expr> {
        let field = field.trim().trim_matches('"').to_ascii_lowercase();
        let unit = DATE_PARTS
            .iter()
            .find(|(unit, others)| *unit == field || others.split(' ').any(|o| o == field));
        let value = match value.ty {
            Type::Unknown => self.coerce(value, place, &Type::TimestampTz, CastContext::Implicit)?,
            _ => value,
        };
        if !matches!(
            value.ty,
            Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz | Type::Interval
        ) {
            let message = format!(
                "function pg_catalog.extract(unknown, {}) does not exist",
                shown(&value.ty)
            );
            return Err(self
                .problem(at, message)
                .help("extract takes a date, a time, a timestamp or an interval"));
        }
        let Some((unit, _)) = unit else {
            let message = format!("unit \"{field}\" not recognized for type {}", shown(&value.ty));
            return Err(self
                .problem(at, message)
                .did_you_mean(&field, DATE_PARTS.map(|(unit, _)| unit)));
        };
        let field = Expr::literal(Value::Text((*unit).into()), Type::Text);
        Ok(Expr::new(
            ExprKind::Call(Builtin::DatePart, vec![field, value]),
            Type::Numeric(None),
        ))
    }

    /// `coalesce`, `greatest`, `least`
    pub(super) fn of_one_type(&mut self, builtin: Builtin, name: &str, args: Vec<(Expr, At)>, at: At) -> Bound<Expr> {
        if args.is_empty() {
            return Err(self.problem(at, format!("{name} needs at least one argument")));
        }
        let (args, ty) = self.unify(args, &name.to_uppercase())?;
        Ok(Expr::new(ExprKind::Call(builtin, args), ty))
    }

    /// `nullif(a, b)`: of the type in which both are compared.
    pub(super) fn null_if(&mut self, args: Vec<(Expr, At)>, at: At) -> Bound<Expr> {
        let mut args = args.into_iter();
        let (Some(left), Some(right), None) = (args.next(), args.next(), args.next()) else {
            return Err(self.problem(at, "nullif takes two arguments"));
        };
        let given = base(&left.0.ty);
        let (_, left, right) = self.comparable("=", at, left, right)?;
        let ty = base(&left.ty);
        // Dates and timestamps are compared as the finer of them, which the result is not.
        let coarser = category(&given) == Category::DateTime && given != ty;
        let result = Expr::new(ExprKind::Call(Builtin::NullIf, vec![left, right]), ty);
        match coarser {
            true => self.coerce(result, at, &given, CastContext::Explicit),
            false => Ok(result),
        }
    }
}
