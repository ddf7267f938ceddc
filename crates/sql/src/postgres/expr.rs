//! Expressions. Whatever is not atomic stands in parentheses, so that no precedence has to be known.

use super::SlotValue;
use super::name::{parameter_type_name, quote_literal, type_name};
use super::render::{Renderer, nth_embed, qualified};
use mainstay_model::{
    Aggregate, AggregateFunction, Claim, Error, Expr, ExprKind, FunctionId, IsTest, Operator, OrderBy, Result, Select,
    Type, Value,
};
use std::sync::Arc;

impl<'a> Renderer<'a> {
    /// An expression.
    pub fn expr(&mut self, expr: &Expr) -> Result<String> {
        self.deeper(|r| r.expr_here(expr))
    }

    fn expr_here(&mut self, expr: &Expr) -> Result<String> {
        Ok(match &expr.kind {
            ExprKind::Literal(value) => self.literal(value, &expr.ty)?,
            ExprKind::Column(column) => self.column(*column)?,
            ExprKind::Param(index) if self.definition => format!("${}", u32::from(*index) + 1),
            ExprKind::Param(index) => self.slot(SlotValue::Param(*index), &expr.ty)?,
            ExprKind::Claim(claim) => self.claim(claim),
            ExprKind::Not(inner) => format!("(NOT {})", self.expr(inner)?),
            ExprKind::And(list) => self.junction(list, " AND ", "true")?,
            ExprKind::Or(list) => self.junction(list, " OR ", "false")?,
            ExprKind::Operator(operator, operands) => self.operator(*operator, operands)?,
            ExprKind::Is { operand, test, negated } => {
                let word = match test {
                    IsTest::Null => "NULL",
                    IsTest::True => "TRUE",
                    IsTest::False => "FALSE",
                    IsTest::Unknown => "UNKNOWN",
                };
                let not = if *negated { "NOT " } else { "" };
                format!("({} IS {not}{word})", self.expr(operand)?)
            }
            ExprKind::In { list, negated, .. } if list.is_empty() => negated.to_string(),
            ExprKind::In { operand, list, negated } => {
                let not = if *negated { "NOT " } else { "" };
                format!("({} {not}IN ({}))", self.expr(operand)?, self.list(list)?)
            }
            ExprKind::Quantified {
                operator,
                all,
                operand,
                array,
            } => {
                let word = if *all { "ALL" } else { "ANY" };
                let sign =
                    infix(*operator).ok_or_else(|| Error::internal(format!("{operator:?} has no form with {word}")))?;
                format!("({} {sign} {word} ({}))", self.expr(operand)?, self.expr(array)?)
            }
            ExprKind::InSelect {
                operands,
                select,
                negated,
            } => {
                let not = if *negated { "NOT " } else { "" };
                let left = match &**operands {
                    [only] => self.expr(only)?,
                    several => format!("({})", self.list(several)?),
                };
                format!("({left} {not}IN ({}))", self.subquery(select)?)
            }
            ExprKind::Exists(select) => format!("EXISTS ({})", self.subquery(select)?),
            ExprKind::Scalar(select) => format!("({})", self.subquery(select)?),
            ExprKind::ArraySelect(select) => format!("ARRAY({})", self.subquery(select)?),
            ExprKind::Case { whens, otherwise } => {
                let mut sql = String::from("(CASE");
                for (when, then) in whens {
                    sql.push_str(&format!(" WHEN {} THEN {}", self.expr(when)?, self.expr(then)?));
                }
                if let Some(otherwise) = otherwise {
                    sql.push_str(&format!(" ELSE {}", self.expr(otherwise)?));
                }
                sql.push_str(" END)");
                sql
            }
            ExprKind::Cast(inner) => format!("({})::{}", self.expr(inner)?, type_name(&expr.ty)),
            ExprKind::Call(function, args) => self.builtin(*function, args, &expr.ty)?,
            ExprKind::UserCall(function, args) => self.user_call(*function, args)?,
            ExprKind::Represented(cast, inner) => {
                format!("{}({})", qualified(&cast.namespace, &cast.name), self.expr(inner)?)
            }
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate)?,
            ExprKind::Array(items) => format!("ARRAY[{}]::{}", self.list(items)?, type_name(&expr.ty)),
            ExprKind::WholeRow(source) => self.source(*source)?.row()?,
            ExprKind::Embedded(index) => self.embedded(*index)?,
            ExprKind::EmbeddedColumn(index, inner) => self.embedded_column(*index, inner)?,
            ExprKind::Opaque { sql, .. } => format!("({sql})"),
        })
    }

    /// Several, separated by commas.
    pub fn list(&mut self, list: &[Expr]) -> Result<String> {
        Ok(list
            .iter()
            .map(|e| self.expr(e))
            .collect::<Result<Vec<_>>>()?
            .join(", "))
    }

    fn junction(&mut self, list: &[Expr], word: &str, empty: &str) -> Result<String> {
        let parts = list.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
        Ok(match &*parts {
            [] => empty.to_owned(),
            [only] => only.clone(),
            _ => format!("({})", parts.join(word)),
        })
    }

    /// A subquery: it sees what is around it, and what it brings into scope ends with it.
    fn subquery(&mut self, select: &Select) -> Result<String> {
        let scope = self.scope.clone();
        self.scoped(scope, |r| r.select(select))
    }

    /// A constant: in a definition a literal with its type, else a parameter.
    fn literal(&mut self, value: &Value, ty: &Type) -> Result<String> {
        if !self.definition {
            return match value {
                Value::Null => Ok(format!("NULL{}", cast_suffix(ty))),
                Value::Bool(value) => Ok(value.to_string()),
                value => self.slot(SlotValue::Literal(value.clone()), ty),
            };
        }
        Ok(match (value, ty) {
            (Value::Null, ty) => format!("NULL{}", cast_suffix(ty)),
            (Value::Bool(value), _) => value.to_string(),
            (Value::Int(n), Type::Int4) if *n >= 0 => n.to_string(),
            (value, Type::Unknown) => quote_literal(&value.to_text(&Type::Text)),
            (value, ty) => format!("{}::{}", quote_literal(&value.to_text(ty)), parameter_type_name(ty)),
        })
    }

    fn claim(&self, claim: &Claim) -> String {
        let path = |keys: &[Arc<str>], last: &str| {
            let mut sql = String::from("(auth.jwt()");
            for (at, key) in keys.iter().enumerate() {
                let arrow = if at + 1 == keys.len() { last } else { "->" };
                sql.push_str(&format!(" {arrow} {}", quote_literal(key)));
            }
            sql.push(')');
            sql
        };
        let sql = match claim {
            Claim::Uid => "auth.uid()".to_owned(),
            Claim::Role => "auth.role()".to_owned(),
            Claim::All => "auth.jwt()".to_owned(),
            Claim::Json(keys) => path(keys, "->"),
            Claim::Text(keys) => path(keys, "->>"),
        };
        if self.claims_once {
            format!("(SELECT {sql})")
        } else {
            sql
        }
    }

    /// A call of the schema's own function as a value.
    fn user_call(&mut self, function: FunctionId, args: &[Expr]) -> Result<String> {
        let args = self.arguments(function, args)?;
        Ok(format!("{}({args})", self.function(function)))
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<String> {
        let name = match aggregate.function {
            AggregateFunction::Count => "count",
            AggregateFunction::Sum => "sum",
            AggregateFunction::Avg => "avg",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::BoolAnd => "bool_and",
            AggregateFunction::BoolOr => "bool_or",
            AggregateFunction::StringAgg => "string_agg",
            AggregateFunction::ArrayAgg => "array_agg",
            AggregateFunction::JsonAgg => "json_agg",
            AggregateFunction::JsonbAgg => "jsonb_agg",
            AggregateFunction::JsonObjectAgg => "json_object_agg",
            AggregateFunction::JsonbObjectAgg => "jsonb_object_agg",
        };
        let mut inside = match &*aggregate.args {
            [] => "*".to_owned(),
            args => self.list(args)?,
        };
        if aggregate.distinct {
            inside.insert_str(0, "DISTINCT ");
        }
        inside.push_str(&self.order_by(&aggregate.order)?);
        let mut sql = format!("{name}({inside})");
        if let Some(filter) = &aggregate.filter {
            sql.push_str(&format!(" FILTER (WHERE {})", self.expr(filter)?));
        }
        Ok(sql)
    }

    /// ` ORDER BY …`, or nothing.
    pub fn order_by(&mut self, order: &[OrderBy]) -> Result<String> {
        let keys = order
            .iter()
            .map(|key| Ok(sort_key(&self.expr(&key.expr)?, key)))
            .collect::<Result<Vec<_>>>()?;
        Ok(if keys.is_empty() {
            String::new()
        } else {
            format!(" ORDER BY {}", keys.join(", "))
        })
    }

    /// [`ExprKind::Embedded`]
    fn embedded(&mut self, index: u16) -> Result<String> {
        let level = self
            .scope
            .level
            .clone()
            .ok_or_else(|| Error::internal("a test of an embed outside a query"))?;
        self.embed_exists(nth_embed(level.shape, index)?, &level.source)
    }
}

/// `::type`, where there is one.
fn cast_suffix(ty: &Type) -> String {
    match ty {
        Type::Unknown | Type::Void => String::new(),
        ty => format!("::{}", parameter_type_name(ty)),
    }
}

/// A sort key with its direction; nulls are mentioned only where they are not where Postgres puts them by itself.
pub(super) fn sort_key(sql: &str, key: &OrderBy) -> String {
    let direction = if key.descending { " DESC" } else { "" };
    let nulls = match (key.descending, key.nulls_first) {
        (false, true) => " NULLS FIRST",
        (true, false) => " NULLS LAST",
        _ => "",
    };
    format!("{sql}{direction}{nulls}")
}

/// How an operator between two operands is written, if it is.
pub(super) fn infix(operator: Operator) -> Option<&'static str> {
    Some(match operator {
        Operator::Eq => "=",
        Operator::Ne => "<>",
        Operator::Lt => "<",
        Operator::Le => "<=",
        Operator::Gt => ">",
        Operator::Ge => ">=",
        Operator::IsDistinctFrom => "IS DISTINCT FROM",
        Operator::IsNotDistinctFrom => "IS NOT DISTINCT FROM",
        Operator::Like => "LIKE",
        Operator::ILike => "ILIKE",
        Operator::NotLike => "NOT LIKE",
        Operator::NotILike => "NOT ILIKE",
        Operator::Match => "~",
        Operator::IMatch => "~*",
        Operator::NotMatch => "!~",
        Operator::NotIMatch => "!~*",
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::Mod => "%",
        Operator::Pow => "^",
        Operator::Concat => "||",
        Operator::JsonGet => "->",
        Operator::JsonGetText => "->>",
        Operator::JsonPath => "#>",
        Operator::JsonPathText => "#>>",
        Operator::Contains => "@>",
        Operator::ContainedBy => "<@",
        Operator::Overlaps => "&&",
        Operator::JsonHasKey => "?",
        Operator::JsonHasAnyKey => "?|",
        Operator::JsonHasAllKeys => "?&",
        Operator::StrictlyLeft => "<<",
        Operator::StrictlyRight => ">>",
        Operator::NotExtendsRight => "&<",
        Operator::NotExtendsLeft => "&>",
        Operator::Adjacent => "-|-",
        Operator::Neg
        | Operator::TextSearch
        | Operator::TextSearchPlain
        | Operator::TextSearchPhrase
        | Operator::TextSearchWeb => return None,
    })
}
