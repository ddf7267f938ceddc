//! Functions: called as a source of rows, or their one SELECT put in the place of the call.

use super::Authoriser;
use mainstay_model::{
    Call, ColumnRef, Error, Expr, ExprKind, FunctionId, Operator, Result, Rewrite, Schema, Select, SourceId, Statement,
    Type, Value, Volatility, rewrite_expr, rewrite_select,
};
use std::sync::Arc;

impl Authoriser<'_> {
    /// A call as a source of rows.
    pub fn call(&mut self, call: &Call) -> Result<Call> {
        self.may_call(call.function)?;
        let schema = self.schema;
        let function = schema.function(call.function);
        self.facts.stores.insert(function.store.clone());
        if function.volatility == Volatility::Volatile {
            self.facts.volatile.get_or_insert("volatile function");
        }
        let body = self.body(call.function)?;
        let args = call.args.iter().map(|a| rewrite_expr(a, self)).collect::<Result<_>>()?;
        Ok(Call {
            function: call.function,
            args,
            body: Some(Arc::new(body)),
        })
    }

    /// A function used as a value: its one SELECT in the place of the call.
    pub(super) fn inline(&mut self, id: FunctionId, args: &[Expr], ty: &Type) -> Result<Option<Expr>> {
        let schema = self.schema;
        let function = schema.function(id);
        self.may_call(id)?;
        if function.volatility == Volatility::Volatile {
            self.facts.volatile.get_or_insert("volatile function");
        }
        let [Statement::Select(_)] = &*function.body else {
            // What it reads is not known here; no engine makes one expression of it either.
            self.facts.volatile.get_or_insert("function of several statements");
            return Ok(None);
        };
        if function.writes {
            self.facts.volatile.get_or_insert("function that writes");
            return Ok(None);
        }
        let args: Vec<Expr> = args.iter().map(|a| rewrite_expr(a, self)).collect::<Result<_>>()?;
        let Some(Statement::Select(body)) = self.body(id)?.pop() else {
            return Ok(None);
        };
        let mut body = self.with_args(&body, &args)?;
        // A function that gives one value gives its first row's; a subquery of several rows would be an error.
        if body.limit.is_none() && !body.from.is_empty() {
            body.limit = Some(Expr::literal(Value::Int(1), Type::Int8));
        }
        let value = Expr::new(ExprKind::Scalar(Box::new(body)), ty.clone());
        if !function.strict || args.is_empty() {
            return Ok(Some(value));
        }
        let is_null = |arg: &Expr| {
            Expr::condition(ExprKind::Is {
                operand: Box::new(arg.clone()),
                test: mainstay_model::IsTest::Null,
                negated: true,
            })
        };
        let all_given = Expr::all(args.iter().map(is_null).collect());
        Ok(Some(Expr::new(
            ExprKind::Case {
                whens: vec![(all_given, value)],
                otherwise: None,
            },
            ty.clone(),
        )))
    }

    /// A body with arguments in the place of parameters and row sources that collide with no other.
    pub(super) fn with_args(&mut self, body: &Select, args: &[Expr]) -> Result<Select> {
        let base = self.next_source;
        self.next_source += 1 << 12;
        let schema = self.schema;
        rewrite_select(body, &mut Inline { schema, args, base })
    }
}

/// Substitutes arguments for parameters and moves row sources out of the way.
struct Inline<'a> {
    schema: &'a Schema,
    args: &'a [Expr],
    base: u32,
}

impl Inline<'_> {
    /// A field of a row that is an argument, which bodies name like a member of JSON, as the column that it is.
    fn field(&self, expr: &Expr) -> Option<Expr> {
        let member = match &expr.kind {
            ExprKind::Cast(inner) => inner,
            _ => expr,
        };
        let ExprKind::Operator(Operator::JsonGetText, operands) = &member.kind else {
            return None;
        };
        let [row, name] = &**operands else { return None };
        let (ExprKind::Param(index), Type::Row(key), ExprKind::Literal(Value::Text(name))) =
            (&row.kind, &row.ty, &name.kind)
        else {
            return None;
        };
        let ExprKind::WholeRow(source) = self.args.get(usize::from(*index))?.kind else {
            return None;
        };
        let mut relations = self.schema.relations.iter().filter(|r| r.name == *key);
        let (relation, None) = (relations.next()?, relations.next()) else {
            return None;
        };
        let column = relation.column(name)?;
        let column_ref = ColumnRef { source, column };
        // Only where the body takes it as what it is: a detour over text may say something else.
        (relation.columns[column as usize].ty == expr.ty)
            .then(|| Expr::new(ExprKind::Column(column_ref), expr.ty.clone()))
    }
}

impl Rewrite for Inline<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        if let Some(field) = self.field(expr) {
            return Ok(Some(field));
        }
        Ok(match &expr.kind {
            ExprKind::Param(index) => Some(
                self.args
                    .get(*index as usize)
                    .cloned()
                    .ok_or_else(|| Error::internal("a body refers to an argument it lacks"))?,
            ),
            _ => None,
        })
    }

    fn source(&mut self, source: SourceId) -> SourceId {
        if source == SourceId::SELF || source == SourceId::EXCLUDED {
            source
        } else {
            SourceId(source.0 + self.base)
        }
    }

    fn common_table(&mut self, id: u32) -> u32 {
        id + self.base
    }
}
