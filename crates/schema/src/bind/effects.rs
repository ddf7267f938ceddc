//! What a bound expression or statement does beyond yielding a value.

use mainstay_model::{
    Builtin, Delete, Expr, ExprKind, FromItem, FunctionId, Insert, Result, Rewrite, Schema, Statement, Update,
    Volatility, rewrite_expr, rewrite_statement,
};

/// What something does. Functions that it calls count as far as they have been bound: their own `writes` and volatility.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Whether it writes rows, advances a sequence or emits an event: then it runs on the writer, by POST only.
    pub(crate) writes: bool,
    /// Whether it calls anything that may give another answer each time.
    pub(crate) volatile: bool,
}

/// What a statement does.
pub(crate) fn statement_effects(statement: &Statement, schema: &Schema) -> Effects {
    let mut scan = Scan {
        schema,
        effects: Effects::default(),
    };
    // Nothing is rewritten; the walk is what is wanted, and it cannot fail.
    let _ = rewrite_statement(statement, &mut scan);
    scan.effects
}

/// What an expression does.
pub(crate) fn expr_effects(expr: &Expr, schema: &Schema) -> Effects {
    let mut scan = Scan {
        schema,
        effects: Effects::default(),
    };
    let _ = rewrite_expr(expr, &mut scan);
    scan.effects
}

struct Scan<'s> {
    schema: &'s Schema,
    effects: Effects,
}

impl Scan<'_> {
    fn function(&mut self, id: FunctionId) {
        let function = self.schema.function(id);
        self.effects.writes |= function.writes;
        self.effects.volatile |= function.volatility == Volatility::Volatile;
    }
}

impl Rewrite for Scan<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match &expr.kind {
            ExprKind::Call(builtin, _) => {
                self.effects.volatile |= builtin.volatility() == Volatility::Volatile;
                self.effects.writes |= matches!(builtin, Builtin::Emit | Builtin::NextVal);
            }
            ExprKind::UserCall(id, _) => self.function(*id),
            _ => {}
        }
        Ok(None)
    }

    fn from_item(&mut self, item: &FromItem) -> Result<Option<FromItem>> {
        if let FromItem::Function { function, .. } = item {
            self.function(*function);
        }
        Ok(None)
    }

    fn insert(&mut self, insert: Insert) -> Result<Insert> {
        self.effects.writes = true;
        Ok(insert)
    }

    fn update(&mut self, update: Update) -> Result<Update> {
        self.effects.writes = true;
        Ok(update)
    }

    fn delete(&mut self, delete: Delete) -> Result<Delete> {
        self.effects.writes = true;
        Ok(delete)
    }
}
