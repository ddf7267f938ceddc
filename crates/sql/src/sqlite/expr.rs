//! Expressions: logic, tests, subqueries and the rest that is no operator, cast or function of its own.

use super::render::{Renderer, RowSource, SourceColumn, Term, quote_text};
use super::storage::Form;
use mainstay_model::{Error, Expr, ExprKind, IsTest, Operator, Result, Select, Type, Value};
use std::rc::Rc;

impl<'a> Renderer<'a> {
    /// An expression as a term.
    pub fn expr(&mut self, expr: &Expr) -> Result<Term> {
        self.deeper(|r| r.expr_inside(expr))
    }

    fn expr_inside(&mut self, expr: &Expr) -> Result<Term> {
        match &expr.kind {
            ExprKind::Literal(value) => self.literal(value, &expr.ty),
            ExprKind::Column(column) => {
                let source = self.scope.sources.get(&column.source).cloned().ok_or_else(|| {
                    Error::internal(format!(
                        "column {} of source {} is not in scope",
                        column.column, column.source.0
                    ))
                })?;
                self.column_of(&source, column.column)
            }
            ExprKind::Param(index) => self.param(*index, &expr.ty),
            ExprKind::Claim(claim) => self.claim(claim, &expr.ty),
            ExprKind::Not(inner) => Ok(Term::plain(format!("(NOT {})", self.condition(inner)?))),
            ExprKind::And(list) => self.connected(list, " AND ", "1"),
            ExprKind::Or(list) => self.connected(list, " OR ", "0"),
            ExprKind::Operator(operator, operands) => self.operator(*operator, operands, &expr.ty),
            ExprKind::Is { operand, test, negated } => self.is_test(operand, *test, *negated),
            ExprKind::In { operand, list, negated } => self.in_list(operand, list, *negated),
            ExprKind::Quantified {
                operator,
                all,
                operand,
                array,
            } => self.quantified(*operator, *all, operand, array),
            ExprKind::InSelect {
                operands,
                select,
                negated,
            } => self.in_select(operands, select, *negated),
            ExprKind::Exists(select) => Ok(Term::plain(format!("EXISTS ({})", self.select(select, None)?.sql))),
            ExprKind::Scalar(select) => self.scalar_select(select),
            ExprKind::ArraySelect(select) => self.array_select(select, &expr.ty),
            ExprKind::Case { whens, otherwise } => self.case(whens, otherwise.as_deref()),
            ExprKind::Cast(inner) => self.cast(inner, &expr.ty),
            ExprKind::Call(function, args) => self.call(*function, args, &expr.ty),
            ExprKind::UserCall(function, args) => self.user_call(*function, args),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, &expr.ty),
            ExprKind::Array(elements) => self.array(elements),
            ExprKind::WholeRow(source) => {
                let source = self
                    .scope
                    .sources
                    .get(source)
                    .cloned()
                    .ok_or_else(|| Error::internal(format!("source {} is not in scope", source.0)))?;
                self.whole_row(&source)
            }
            ExprKind::Embedded(index) => Ok(Term::plain(self.embedded(*index)?)),
            ExprKind::EmbeddedColumn(index, inner) => self.embedded_column(*index, inner),
            ExprKind::Represented(cast, _) => Err(Error::unsupported(format!(
                "SQLite has no function {}.{} that shows a domain's values",
                cast.namespace, cast.name
            ))),
            ExprKind::Opaque { sql, .. } => Err(Error::unsupported(format!(
                "SQLite cannot evaluate the expression {sql}"
            ))
            .hint("It needs a database that understands it, such as Postgres.")),
        }
    }

    /// An expression as a condition.
    pub fn condition(&mut self, expr: &Expr) -> Result<String> {
        Ok(self.expr(expr)?.sql)
    }

    fn connected(&mut self, list: &[Expr], word: &str, empty: &str) -> Result<Term> {
        let parts = list.iter().map(|e| self.condition(e)).collect::<Result<Vec<_>>>()?;
        Ok(Term::plain(match parts.len() {
            0 => empty.to_owned(),
            1 => parts.into_iter().next().unwrap_or_default(),
            2..=64 => format!("({})", parts.join(word)),
            // A long chain nests as deeply as it is long; SQLite takes a thousand levels.
            _ => {
                let groups: Vec<String> = parts
                    .chunks(64)
                    .map(|chunk| format!("({})", chunk.join(word)))
                    .collect();
                format!("({})", groups.join(word))
            }
        }))
    }

    fn is_test(&mut self, operand: &Expr, test: IsTest, negated: bool) -> Result<Term> {
        if let (ExprKind::WholeRow(source), IsTest::Null) = (&operand.kind, test) {
            // Of a row, IS NULL asks for every field, and so does IS NOT NULL.
            let columns = self
                .scope
                .sources
                .get(source)
                .cloned()
                .ok_or_else(|| Error::internal("a row is not in scope"))?;
            let mut tests = Vec::new();
            for index in 0..columns.columns.len() {
                let column = self.column_of(&columns, index as u32)?;
                tests.push(format!("{} IS{} NULL", column.sql, if negated { " NOT" } else { "" }));
            }
            return Ok(Term::plain(format!("({})", tests.join(" AND "))));
        }
        let sql = self.condition(operand)?;
        let word = match test {
            IsTest::Null | IsTest::Unknown => "NULL",
            IsTest::True => "TRUE",
            IsTest::False => "FALSE",
        };
        Ok(Term::plain(format!(
            "({sql} IS {}{word})",
            if negated { "NOT " } else { "" }
        )))
    }

    fn in_list(&mut self, operand: &Expr, list: &[Expr], negated: bool) -> Result<Term> {
        let negate = |sql: String| if negated { format!("(NOT {sql})") } else { sql };
        if list.is_empty() {
            return Ok(Term::plain(if negated { "1" } else { "0" }));
        }
        let plain = |ty: &Type| {
            !matches!(
                ty,
                Type::Numeric(_)
                    | Type::Interval
                    | Type::Jsonb
                    | Type::Array(_)
                    | Type::Row(_)
                    | Type::Float4
                    | Type::Float8
            )
        };
        if plain(&operand.ty) && list.iter().all(|e| plain(&e.ty)) {
            let left = self.condition(operand)?;
            let right = list.iter().map(|e| self.condition(e)).collect::<Result<Vec<_>>>()?;
            return Ok(Term::plain(negate(format!("({left} IN ({}))", right.join(", ")))));
        }
        // A scaled column keeps its index: each value is brought to the column's scale.
        if matches!(operand.ty, Type::Numeric(_)) && list.iter().all(|e| self.is_value(e)) {
            let left = self.expr(operand)?;
            if let Form::Scaled(scale) = left.form {
                let right = list
                    .iter()
                    .map(|e| self.number_bind(e, Form::Exact(scale)))
                    .collect::<Result<Vec<_>>>()?;
                return Ok(Term::plain(negate(format!("({} IN ({}))", left.sql, right.join(", ")))));
            }
        }
        let parts = list
            .iter()
            .map(|e| self.compare(Operator::Eq, operand, e))
            .collect::<Result<Vec<_>>>()?;
        Ok(Term::plain(negate(format!("({})", parts.join(" OR ")))))
    }

    /// How to go through an array's elements: what `json_each` reads, and an element as a term of the element's type.
    pub fn array_elements(&mut self, array: &str, element: &Type, value: &str) -> (String, Term) {
        let code = self.code(element, Form::Plain);
        match element {
            Type::Int2
            | Type::Int4
            | Type::Int8
            | Type::Text
            | Type::Varchar(_)
            | Type::Bool
            | Type::Uuid
            | Type::Enum(_) => (array.to_owned(), Term::plain(value)),
            Type::Unknown | Type::Other(_) | Type::Interval => (array.to_owned(), Term::plain(value)),
            // Numbers would lose their digits and documents their text, were SQLite to read them out of JSON.
            Type::Numeric(_) => (
                format!("mainstay_array_texts({array}, {code})"),
                Term::wide(format!("mainstay_cast({value}, 'text', 'numeric@w')")),
            ),
            Type::Json | Type::Jsonb | Type::Char(_) | Type::Row(_) => {
                (format!("mainstay_array_texts({array}, {code})"), Term::plain(value))
            }
            _ => (
                format!("mainstay_array_texts({array}, {code})"),
                Term::plain(format!("mainstay_cast({value}, 'text', {code})")),
            ),
        }
    }

    fn quantified(&mut self, operator: Operator, all: bool, operand: &Expr, array: &Expr) -> Result<Term> {
        let element = match &array.ty {
            Type::Array(element) => (**element).clone(),
            _ => Type::Text,
        };
        let list = self.expr(array)?;
        if list.null {
            return Ok(list);
        }
        if operator == Operator::Eq && !all {
            let left = self.expr(operand)?;
            // Of an argument that is NULL the answer is NULL: as if the array had nothing but a NULL, so that an index still serves.
            let elements = match array.kind {
                ExprKind::Param(_) => format!("coalesce({}, '[null]')", list.sql),
                _ => list.sql.clone(),
            };
            let (source, value) = self.array_elements(&elements, &element, "value");
            let right = match (left.form, value.form) {
                (Form::Scaled(scale), Form::Wide) => Some(format!("mainstay_num_exact({}, {scale})", value.sql)),
                (Form::Plain, Form::Plain)
                    if self.equal_key_is_itself(&operand.ty) && self.equal_key_is_itself(&element) =>
                {
                    Some(value.sql)
                }
                _ => None,
            };
            if let Some(right) = right {
                let sql = format!("({} IN (SELECT {right} FROM json_each({source})))", left.sql);
                // A parameter that is no array at all does not occur; anything else may be NULL, and then so is the answer.
                return Ok(Term::plain(match array.kind {
                    ExprKind::Param(_) | ExprKind::Array(_) | ExprKind::Literal(_) | ExprKind::ArraySelect(_) => sql,
                    _ => format!("(CASE WHEN {} IS NOT NULL THEN {sql} END)", list.sql),
                }));
            }
        }
        let left = self.expr(operand)?;
        let each = self.alias();
        let (source, value) = self.array_elements(&list.sql, &element, &format!("{each}.value"));
        let comparison = self.compare_terms(operator, (left, &operand.ty), (value, &element))?;
        let (deciding, decided, otherwise) = if all {
            ("min(c) = 0", 0, 1)
        } else {
            ("max(c) = 1", 1, 0)
        };
        Ok(Term::plain(format!(
            "(SELECT CASE WHEN {list} IS NULL THEN NULL WHEN {deciding} THEN {decided} WHEN count(c) < count(*) THEN NULL \
             ELSE {otherwise} END FROM (SELECT {comparison} AS c FROM json_each({source}) AS {each}))",
            list = list.sql
        )))
    }

    fn in_select(&mut self, operands: &[Expr], select: &Select, negated: bool) -> Result<Term> {
        let lefts = operands.iter().map(|e| self.number(e)).collect::<Result<Vec<_>>>()?;
        let rendered = self.select(select, None)?;
        if rendered.columns.len() != lefts.len() {
            return Err(Error::new("42601", "subquery has a wrong number of columns"));
        }
        let simple = lefts
            .iter()
            .zip(&rendered.columns)
            .zip(operands)
            .all(|((left, right), operand)| {
                let number = matches!(right.form, Form::Wide | Form::Scaled(_)) || matches!(left.form, Form::Wide);
                match (left.form, right.form) {
                    _ if left.null => true,
                    (Form::Scaled(0), Form::Plain) if operand.ty.is_integer() => true,
                    (Form::Scaled(a), Form::Scaled(b)) => a == b,
                    _ => !number && self.equal_key_is_itself(&operand.ty) && self.equal_key_is_itself(&right.ty),
                }
            });
        let (left, right) = if simple {
            (lefts.into_iter().map(|t| t.sql).collect::<Vec<_>>(), rendered.sql)
        } else {
            let alias = self.alias();
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for ((term, operand), column) in lefts.into_iter().zip(operands).zip(&rendered.columns) {
                let value = Term {
                    sql: format!("{alias}.{}", column.sql),
                    form: column.form,
                    digits: column.digits,
                    atom: true,
                    null: false,
                };
                let value = if column.ty.is_integer() && value.form == Form::Plain {
                    Term {
                        form: Form::Scaled(0),
                        digits: 19,
                        ..value
                    }
                } else {
                    value
                };
                let (l, r) = self.equal_keys((term, &operand.ty), (value, &column.ty))?;
                left.push(l);
                right.push(r);
            }
            (
                left,
                format!("SELECT {} FROM ({}) AS {alias}", right.join(", "), rendered.sql),
            )
        };
        let left = if left.len() == 1 {
            left.join("")
        } else {
            format!("({})", left.join(", "))
        };
        Ok(Term::plain(format!(
            "({left} {}IN ({right}))",
            if negated { "NOT " } else { "" }
        )))
    }

    fn scalar_select(&mut self, select: &Select) -> Result<Term> {
        let rendered = self.select(select, None)?;
        let column = rendered
            .columns
            .first()
            .ok_or_else(|| Error::new("42601", "subquery must return only one column"))?;
        let sql = if yields_at_most_one_row(select) {
            format!("({})", rendered.sql)
        } else {
            // SQLite would take the first of several rows; Postgres refuses (21000).
            format!("(SELECT mainstay_single({}) FROM ({}))", column.sql, rendered.sql)
        };
        Ok(Term {
            sql,
            form: column.form,
            digits: column.digits,
            atom: false,
            null: false,
        })
    }

    fn array_select(&mut self, select: &Select, ty: &Type) -> Result<Term> {
        let rendered = self.select(select, None)?;
        let column = rendered
            .columns
            .first()
            .ok_or_else(|| Error::new("42601", "subquery must return only one column"))?;
        let element = match ty {
            Type::Array(element) => &**element,
            _ => &column.ty,
        };
        let value = Term {
            sql: column.sql.clone(),
            form: column.form,
            digits: column.digits,
            atom: true,
            null: false,
        };
        let json = self.to_json(value, element)?;
        Ok(Term::plain(format!(
            "(SELECT coalesce(mainstay_array_agg({json}), '[]') FROM ({}))",
            rendered.sql
        )))
    }

    fn case(&mut self, whens: &[(Expr, Expr)], otherwise: Option<&Expr>) -> Result<Term> {
        let conditions = whens
            .iter()
            .map(|(when, _)| self.condition(when))
            .collect::<Result<Vec<_>>>()?;
        let results = whens
            .iter()
            .map(|(_, then)| then)
            .chain(otherwise)
            .map(|e| self.expr(e))
            .collect::<Result<Vec<_>>>()?;
        let digits = results.iter().map(|t| t.digits).max().unwrap_or(0);
        let (results, form) = self.align(results)?;
        let digits = results.iter().map(|t| t.digits).max().unwrap_or(digits);
        let mut sql = "(CASE".to_owned();
        for (condition, result) in conditions.iter().zip(&results) {
            sql.push_str(&format!(" WHEN {condition} THEN {}", result.sql));
        }
        if otherwise.is_some()
            && let Some(last) = results.last()
        {
            sql.push_str(&format!(" ELSE {}", last.sql));
        }
        sql.push_str(" END)");
        Ok(Term {
            sql,
            form,
            digits,
            atom: false,
            null: false,
        })
    }

    /// `ARRAY[…]` as its JSON text.
    fn array(&mut self, elements: &[Expr]) -> Result<Term> {
        let mut parts = Vec::new();
        for element in elements {
            let term = self.expr(element)?;
            parts.push(self.to_json(term, &element.ty)?);
        }
        Ok(Term::plain(json_concat('[', parts, ']')))
    }

    /// The whole row as `row_to_json` writes it; NULL when an outer join found none.
    pub fn whole_row(&mut self, source: &Rc<RowSource>) -> Result<Term> {
        let mut parts = Vec::new();
        let mut present = Vec::new();
        for (index, column) in source.columns.iter().enumerate() {
            let value = self.column_of(source, index as u32)?;
            present.push(format!("{} IS NULL", value.sql));
            let key = crate::json_text::quote(&column.name);
            let key = quote_text(&format!("{key}:")).ok_or_else(|| Error::internal("a column's name has a NUL"))?;
            parts.push(format!("{key} || {}", self.to_json(value, &column.ty)?));
        }
        let json = json_concat('{', parts, '}');
        Ok(Term::plain(if source.nullable {
            format!("(CASE WHEN NOT ({}) THEN {json} END)", present.join(" AND "))
        } else {
            json
        }))
    }

    /// The JSON text of a term as `to_json` writes it; `null` for NULL, so that it can be joined to a document.
    pub fn to_json(&mut self, term: Term, ty: &Type) -> Result<String> {
        if term.null {
            return Ok("'null'".to_owned());
        }
        Ok(match (ty, term.form) {
            (Type::Int2 | Type::Int4 | Type::Int8, Form::Plain) => {
                format!("coalesce(CAST({} AS TEXT), 'null')", term.sql)
            }
            (Type::Bool, _) => format!(
                "(CASE {} WHEN 1 THEN 'true' WHEN 0 THEN 'false' ELSE 'null' END)",
                term.sql
            ),
            (Type::Json | Type::Jsonb | Type::Array(_) | Type::Row(_), _) => format!("coalesce({}, 'null')", term.sql),
            (ty, form) => {
                let form = if ty.is_integer() { Form::Plain } else { form };
                let code = self.code(ty, form);
                format!("mainstay_to_json({}, {code})", term.sql)
            }
        })
    }

    /// A term as the text that is shown: `char(n)` with its padding, everything else as a cast to `text` gives it.
    pub fn to_shown_text(&mut self, term: Term, ty: &Type) -> Result<String> {
        let sql = self.to_text(term, ty)?;
        Ok(match ty {
            Type::Char(length @ 1..) if sql != "NULL" => {
                format!("mainstay_rpad({sql}, max({length}, length({sql})), ' ')")
            }
            _ => sql,
        })
    }

    /// A term as text, as a cast to `text` gives it.
    pub fn to_text(&mut self, term: Term, ty: &Type) -> Result<String> {
        if term.null {
            return Ok("NULL".to_owned());
        }
        Ok(match ty {
            Type::Text | Type::Varchar(_) | Type::Char(_) | Type::Enum(_) | Type::Uuid | Type::Json | Type::Jsonb => {
                term.sql
            }
            // A cast writes the whole prefix, which the value itself leaves out.
            Type::Other(name) if **name == *"inet" => format!("mainstay_cast({}, 'other:inet', 'text')", term.sql),
            Type::Interval | Type::Other(_) | Type::Unknown | Type::Row(_) | Type::Void => term.sql,
            Type::Int2 | Type::Int4 | Type::Int8 => format!("CAST({} AS TEXT)", term.sql),
            Type::Bool => format!("(CASE {} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)", term.sql),
            ty => {
                let code = self.code(ty, term.form);
                format!("mainstay_cast({}, {code}, 'text')", term.sql)
            }
        })
    }
}

/// Joins JSON texts into one document.
pub(super) fn json_concat(open: char, parts: Vec<String>, close: char) -> String {
    if parts.is_empty() {
        return format!("'{open}{close}'");
    }
    // Concatenation in balanced pairs, lest a wide row nest deeper than SQLite's parser allows.
    fn balanced(parts: &[String]) -> String {
        match parts {
            [] => "''".to_owned(),
            [one] => one.clone(),
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                format!("({} || ',' || {})", balanced(left), balanced(right))
            }
        }
    }
    format!("('{open}' || {} || '{close}')", balanced(&parts))
}

/// Whether a subquery cannot yield a second row, whatever the data.
fn yields_at_most_one_row(select: &Select) -> bool {
    if select.set_operation.is_some() {
        return false;
    }
    if let Some(Expr {
        kind: ExprKind::Literal(Value::Int(0 | 1)),
        ..
    }) = &select.limit
    {
        return true;
    }
    if !select.values.is_empty() {
        return select.values.len() == 1;
    }
    if select.from.is_empty() {
        return true;
    }
    select.group_by.is_empty() && select.projection.iter().any(|p| p.expr.has_aggregate())
}

impl SourceColumn {
    /// The column under another qualifier.
    pub fn under(&self, alias: &str, nullable: bool) -> SourceColumn {
        SourceColumn {
            sql: format!("{alias}.{}", self.sql),
            not_null: self.not_null && !nullable,
            ..self.clone()
        }
    }
}
