//! Statements of views, policies and function bodies: their row sources are read with the rights at hand, and what makes an answer
//! depend on more than the data is noted.

use super::{Authoriser, Used, WHOLE_ROW};
use mainstay_model::{
    Builtin, Delete, Error, Expr, ExprKind, FromItem, Insert, Operator, PolicyCommand, Privilege, RelationRef, Result,
    Rewrite, Select, SourceId, Statement, Type, Update, Value, Volatility, rewrite_expr, rewrite_select,
    rewrite_statement,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Authoriser<'_> {
    pub(super) fn select(&mut self, select: &Select) -> Result<Select> {
        let mut collect = Collect::default();
        rewrite_select(select, &mut collect)?;
        merge(&mut self.used, collect.used);
        rewrite_select(select, self)
    }

    pub(super) fn statement(&mut self, statement: &Statement) -> Result<Statement> {
        let mut collect = Collect::default();
        rewrite_statement(statement, &mut collect)?;
        self.used = collect.used;
        rewrite_statement(statement, self)
    }

    pub(super) fn collect_in_expr(&mut self, expr: &Expr) -> Result<()> {
        let mut collect = Collect::default();
        rewrite_expr(expr, &mut collect)?;
        merge(&mut self.used, collect.used);
        Ok(())
    }

    /// `security` for a relation that a statement writes to.
    pub(super) fn written(&mut self, relation: &RelationRef, commands: &[PolicyCommand]) -> Result<RelationRef> {
        let mut out = self.expanded(relation.relation, commands)?;
        if out.expansion.take().is_some() {
            return Err(Error::unsupported(format!(
                "a function's body cannot write to the view \"{}\" here; write to its table",
                self.schema.relation(relation.relation).name
            )));
        }
        Ok(out)
    }
}

impl Rewrite for Authoriser<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match &expr.kind {
            ExprKind::Claim(claim) => {
                self.facts.claims.insert(claim.clone());
            }
            ExprKind::Call(builtin, _) => match builtin {
                Builtin::CurrentSetting => {
                    self.facts.volatile.get_or_insert("current_setting");
                }
                // Their volatility is that of the session's settings, which are fixed here.
                Builtin::ToJson | Builtin::ToJsonb | Builtin::RowToJson | Builtin::ToChar => {}
                other if other.volatility() == Volatility::Volatile => {
                    self.facts.volatile.get_or_insert("volatile function");
                }
                other if other.volatility() == Volatility::Stable => {
                    self.facts.volatile.get_or_insert("depends on the clock");
                }
                _ => {}
            },
            ExprKind::Cast(inner) if may_mean_now(inner, &expr.ty) => {
                self.facts.volatile.get_or_insert("depends on the clock");
            }
            ExprKind::Opaque { .. } | ExprKind::Represented(..) => {
                self.facts.volatile.get_or_insert("opaque SQL");
            }
            ExprKind::UserCall(function, args) => return self.inline(*function, args, &expr.ty),
            _ => {}
        }
        Ok(None)
    }

    fn from_item(&mut self, item: &FromItem) -> Result<Option<FromItem>> {
        match item {
            FromItem::Relation { relation, source } => {
                let used = self.used.get(source).cloned().unwrap_or_default();
                Ok(Some(FromItem::Relation {
                    relation: self.readable(relation, &used)?,
                    source: *source,
                }))
            }
            FromItem::Function { function, args, source } => {
                let id = *function;
                let function = self.schema.function(id);
                let [Statement::Select(_)] = &*function.body else {
                    return Err(Error::unsupported(format!(
                        "function {} in FROM must be a single SELECT",
                        function.name
                    )));
                };
                self.may_call(id)?;
                if function.volatility == Volatility::Volatile {
                    self.facts.volatile.get_or_insert("volatile function");
                }
                let args: Vec<Expr> = args.iter().map(|a| rewrite_expr(a, self)).collect::<Result<_>>()?;
                let Some(Statement::Select(body)) = self.body(id)?.pop() else {
                    return Err(Error::internal("a function lost its body"));
                };
                let definer = self.schema.function(id).security_definer;
                let mut select = Box::new(self.with_args(&body, &args)?);
                if definer && select.limit.is_none() && select.offset.is_none() {
                    // What its owner does not give out is not asked about: no engine merges a query with an offset with the one around it.
                    select.offset = Some(Expr::literal(Value::Int(0), Type::Int8));
                }
                Ok(Some(FromItem::Subquery {
                    select,
                    source: *source,
                    lateral: false,
                }))
            }
            _ => Ok(None),
        }
    }

    fn insert(&mut self, mut insert: Insert) -> Result<Insert> {
        let id = insert.relation.relation;
        self.privileges(id, Privilege::Insert, insert.columns.iter().copied())?;
        self.defaults(id, &insert.columns)?;
        let mut checks: Vec<Expr> = self.policy(id, PolicyCommand::Insert, true)?.into_iter().collect();
        // What is read: in RETURNING, in DO UPDATE of the row there and of the one proposed, and by naming the key.
        let sources = [SourceId::SELF, SourceId::EXCLUDED];
        let mut reads: BTreeSet<u32> = sources
            .iter()
            .filter_map(|s| self.used.get(s))
            .flatten()
            .copied()
            .collect();
        reads.extend(insert.conflict.iter().flat_map(|c| c.target.iter().copied()));
        let reads_any = !reads.is_empty();
        if reads_any {
            self.privileges(id, Privilege::Select, reads.into_iter())?;
        }
        if insert.conflict.as_ref().is_some_and(|c| !c.set.is_empty()) {
            let set: Vec<u32> = insert.conflict.iter().flat_map(|c| c.set.iter().map(|s| s.0)).collect();
            self.privileges(id, Privilege::Update, set.into_iter())?;
            let commands: &[PolicyCommand] = if reads_any {
                &[PolicyCommand::Update, PolicyCommand::Select]
            } else {
                &[PolicyCommand::Update]
            };
            insert.relation = self.written(&insert.relation, commands)?;
            let mut updated: Vec<Expr> = self.policy(id, PolicyCommand::Update, true)?.into_iter().collect();
            if reads_any {
                updated.extend(self.policy(id, PolicyCommand::Select, false)?);
            }
            insert.updated = (!updated.is_empty()).then(|| Arc::new(Expr::all(updated)));
        } else {
            self.facts.stores.insert(self.schema.relation(id).store.clone());
        }
        if reads_any {
            checks.extend(self.policy(id, PolicyCommand::Select, false)?);
        }
        insert.check = (!checks.is_empty()).then(|| Arc::new(Expr::all(checks)));
        Ok(insert)
    }

    fn update(&mut self, mut update: Update) -> Result<Update> {
        let id = update.relation.relation;
        self.privileges(id, Privilege::Update, update.set.iter().map(|s| s.0))?;
        let reads = self.used.get(&SourceId::SELF).cloned().unwrap_or_default();
        if !reads.is_empty() {
            self.privileges(id, Privilege::Select, reads.iter().copied())?;
        }
        let commands: &[PolicyCommand] = if reads.is_empty() {
            &[PolicyCommand::Update]
        } else {
            &[PolicyCommand::Update, PolicyCommand::Select]
        };
        update.relation = self.written(&update.relation, commands)?;
        let mut checks: Vec<Expr> = self.policy(id, PolicyCommand::Update, true)?.into_iter().collect();
        if !reads.is_empty() {
            checks.extend(self.policy(id, PolicyCommand::Select, false)?);
        }
        update.check = (!checks.is_empty()).then(|| Arc::new(Expr::all(checks)));
        Ok(update)
    }

    fn delete(&mut self, mut delete: Delete) -> Result<Delete> {
        let id = delete.relation.relation;
        self.privileges(id, Privilege::Delete, std::iter::empty())?;
        let reads = self.used.get(&SourceId::SELF).cloned().unwrap_or_default();
        if !reads.is_empty() {
            self.privileges(id, Privilege::Select, reads.iter().copied())?;
        }
        let commands: &[PolicyCommand] = if reads.is_empty() {
            &[PolicyCommand::Delete]
        } else {
            &[PolicyCommand::Delete, PolicyCommand::Select]
        };
        delete.relation = self.written(&delete.relation, commands)?;
        Ok(delete)
    }
}

/// Collects which columns of which row source are read.
#[derive(Default)]
struct Collect {
    used: Used,
    /// Columns of the n-th embed's row. What that row's own embeds are asked for stands among their values.
    embedded: BTreeMap<u16, BTreeSet<u32>>,
}

impl Rewrite for Collect {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match &expr.kind {
            ExprKind::Column(column) => {
                self.used.entry(column.source).or_default().insert(column.column);
            }
            ExprKind::WholeRow(source) => {
                self.used.entry(*source).or_default().insert(WHOLE_ROW);
            }
            ExprKind::EmbeddedColumn(n, inner) => {
                let mut of = Collect::default();
                rewrite_expr(inner, &mut of)?;
                let own = of.used.remove(&SourceId::SELF).unwrap_or_default();
                self.embedded.entry(*n).or_default().extend(own);
                merge(&mut self.used, of.used);
                return Ok(Some(expr.clone()));
            }
            _ => {}
        }
        Ok(None)
    }
}

/// The columns of the row at hand that an expression reads, subqueries included, and those of embeds.
pub(super) fn own_columns(expr: &Expr, own: &mut BTreeSet<u32>, embedded: &mut [BTreeSet<u32>]) -> Result<()> {
    let mut collect = Collect::default();
    rewrite_expr(expr, &mut collect)?;
    own.extend(collect.used.remove(&SourceId::SELF).unwrap_or_default());
    for (n, columns) in collect.embedded {
        if let Some(known) = embedded.get_mut(usize::from(n)) {
            known.extend(columns);
        }
    }
    Ok(())
}

/// Whether a cast may turn a text such as `'today'` into what it means at the moment. What a request brings as a parameter is a
/// value already.
fn may_mean_now(inner: &Expr, to: &Type) -> bool {
    let to_time = matches!(to, Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz);
    let from_text = inner.ty.is_text() || inner.ty == Type::Unknown;
    to_time
        && from_text
        && match &inner.kind {
            ExprKind::Literal(Value::Text(text)) => {
                let text = text.to_ascii_lowercase();
                ["now", "today", "tomorrow", "yesterday"]
                    .iter()
                    .any(|word| text.contains(word))
            }
            ExprKind::Literal(_) => false,
            // A field of a row, written as a member of its JSON, is a moment already.
            ExprKind::Operator(Operator::JsonGetText, operands) => {
                !operands.first().is_some_and(|row| matches!(row.ty, Type::Row(_)))
            }
            _ => true,
        }
}

fn merge(into: &mut Used, from: Used) {
    for (source, columns) in from {
        into.entry(source).or_default().extend(columns);
    }
}
