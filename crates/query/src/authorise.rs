//! Who may do what: privileges checked, views expanded, policies added, functions' bodies given the rights they run with. What
//! comes out of here can be handed to a store as it is; nothing else in the product decides this.

use mainstay_model::{
    Action, Builtin, Call, Claim, Delete, Embed, EmbedJoin, Error, Expr, ExprKind, FromItem, FunctionId, Identity,
    Insert, Item, Policy, PolicyCommand, Privilege, QueryShape, RelationId, RelationKind, RelationRef, Result, Rewrite,
    Schema, Select, Source, SourceId, Statement, Step, Transaction, Type, Update, Value, Volatility, rewrite_expr,
    rewrite_select, rewrite_statement,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How deep views, policies and functions may refer to one another.
const DEPTH_MAX: usize = 32;

/// What authorisation found out on its way.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Every claim that decides what is seen.
    pub claims: BTreeSet<Claim>,
    /// Why an answer must not be kept, if it must not.
    pub volatile: Option<&'static str>,
    /// The stores reached.
    pub stores: BTreeSet<Arc<str>>,
}

/// Stands for every column of a row source: no grant on single columns covers it.
const WHOLE_ROW: u32 = u32::MAX;

/// Whose rights a statement runs with.
#[derive(Clone, Debug)]
enum Rights {
    /// The owner's: no privilege and no policy stands in the way.
    Owner,
    /// A role's.
    Role(Arc<str>),
}

/// Columns read, per row source.
type Used = BTreeMap<SourceId, BTreeSet<u32>>;

/// Walks an operation and adds security to it.
pub(crate) struct Authoriser<'a> {
    schema: &'a Schema,
    rights: Rights,
    /// Relations whose policies are being expanded, against recursion.
    policies: Vec<RelationId>,
    depth: usize,
    /// Row sources of inlined bodies are numbered from here.
    next_source: u32,
    used: Used,
    pub facts: Facts,
}

impl<'a> Authoriser<'a> {
    /// For a caller's role.
    pub fn new(schema: &'a Schema, role: &Arc<str>) -> Authoriser<'a> {
        let rights = if &**role == "service_role" {
            Rights::Owner
        } else {
            Rights::Role(role.clone())
        };
        Authoriser {
            schema,
            rights,
            policies: Vec::new(),
            depth: 0,
            next_source: 1 << 16,
            used: Used::new(),
            facts: Facts::default(),
        }
    }

    /// A read as a dialect asks it.
    pub fn shape(&mut self, shape: &QueryShape) -> Result<QueryShape> {
        self.shape_with(shape, &BTreeSet::new())
    }

    /// `extra`: columns that the query around this one reads of it.
    fn shape_with(&mut self, shape: &QueryShape, extra: &BTreeSet<u32>) -> Result<QueryShape> {
        let mut own = extra.clone();
        let mut embedded: Vec<BTreeSet<u32>> = Vec::new();
        let embeds: Vec<&Embed> = shape
            .select
            .iter()
            .filter_map(|i| if let Item::Embed(e) = i { Some(e) } else { None })
            .collect();
        embedded.resize(embeds.len(), BTreeSet::new());
        let exprs = shape
            .select
            .iter()
            .filter_map(|item| {
                if let Item::Field(field) = item {
                    Some(&field.expr)
                } else {
                    None
                }
            })
            .chain(&shape.filter)
            .chain(shape.order.iter().map(|o| &o.expr))
            .chain(&shape.having);
        for expr in exprs {
            own_columns(expr, &mut own, &mut embedded)?;
        }
        for embed in &embeds {
            match &embed.join {
                EmbedJoin::Columns(pairs) | EmbedJoin::Through { outer: pairs, .. } => {
                    own.extend(pairs.iter().map(|p| p.0))
                }
                EmbedJoin::Computed(_) => {}
            }
            // A computed relationship is handed this row.
            if let (EmbedJoin::Computed(_), Source::Call(call)) = (&embed.join, &embed.query.from) {
                for arg in &call.args {
                    own_columns(arg, &mut own, &mut [])?;
                }
            }
        }
        let from = match &shape.from {
            Source::Relation(relation) => Source::Relation(self.readable(relation, &own)?),
            Source::Call(call) => Source::Call(self.call(call)?),
        };
        let mut select = Vec::with_capacity(shape.select.len());
        let mut embed_index = 0;
        for item in &shape.select {
            select.push(match item {
                Item::Field(field) => Item::Field(mainstay_model::Projected {
                    expr: rewrite_expr(&field.expr, self)?,
                    name: field.name.clone(),
                }),
                Item::Embed(embed) => {
                    let inner = std::mem::take(&mut embedded[embed_index]);
                    embed_index += 1;
                    Item::Embed(self.embed(embed, inner)?)
                }
            });
        }
        Ok(QueryShape {
            from,
            select,
            filter: shape.filter.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
            order: shape
                .order
                .iter()
                .map(|o| {
                    Ok(mainstay_model::OrderBy {
                        expr: rewrite_expr(&o.expr, self)?,
                        ..*o
                    })
                })
                .collect::<Result<_>>()?,
            distinct: shape.distinct,
            having: shape.having.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
            limit: shape.limit,
            offset: shape.offset,
            count: shape.count,
        })
    }

    /// An embed; `columns` of it are read by the query around it.
    fn embed(&mut self, embed: &Embed, mut columns: BTreeSet<u32>) -> Result<Embed> {
        let join = match &embed.join {
            EmbedJoin::Columns(pairs) => {
                columns.extend(pairs.iter().map(|p| p.1));
                EmbedJoin::Columns(pairs.clone())
            }
            EmbedJoin::Through {
                junction,
                outer,
                related,
            } => {
                columns.extend(related.iter().map(|p| p.1));
                let between = outer.iter().map(|p| p.1).chain(related.iter().map(|p| p.0)).collect();
                EmbedJoin::Through {
                    junction: self.readable(junction, &between)?,
                    outer: outer.clone(),
                    related: related.clone(),
                }
            }
            EmbedJoin::Computed(function) => EmbedJoin::Computed(*function),
        };
        Ok(Embed {
            name: embed.name.clone(),
            join,
            one: embed.one,
            inner: embed.inner,
            spread: embed.spread,
            hidden: embed.hidden,
            query: self.shape_with(&embed.query, &columns)?,
        })
    }

    /// A relation to read `columns` from, with its view expanded and its policies added.
    fn readable(&mut self, relation: &RelationRef, columns: &BTreeSet<u32>) -> Result<RelationRef> {
        let id = relation.relation;
        self.privileges(id, Privilege::Select, columns.iter().copied())?;
        self.expanded(id, &[PolicyCommand::Select])
    }

    /// A relation with its view expanded and the `USING` of the policies for all of `commands` added.
    fn expanded(&mut self, id: RelationId, commands: &[PolicyCommand]) -> Result<RelationRef> {
        let schema = self.schema;
        let relation = schema.relation(id);
        self.facts.stores.insert(relation.store.clone());
        let mut out = RelationRef::new(id);
        match &relation.kind {
            RelationKind::View(view) => {
                let rights = if view.security_invoker {
                    self.rights.clone()
                } else {
                    Rights::Owner
                };
                out.expansion = Some(Arc::new(self.within(rights, |inner| inner.select(&view.select))?));
            }
            RelationKind::Table(_) => {
                let mut all = Vec::new();
                for command in commands {
                    all.extend(self.policy(id, *command, false)?);
                }
                out.security = (!all.is_empty()).then(|| Arc::new(Expr::all(all)));
            }
        }
        Ok(out)
    }

    /// The predicate of the policies for a command: `None` when none applies. `check`: on new rows rather than those there.
    fn policy(&mut self, id: RelationId, command: PolicyCommand, check: bool) -> Result<Option<Expr>> {
        let Rights::Role(role) = self.rights.clone() else {
            return Ok(None);
        };
        let schema = self.schema;
        let relation = schema.relation(id);
        let Some(table) = relation.table().filter(|t| t.row_security) else {
            return Ok(None);
        };
        if self.policies.contains(&id) {
            return Err(Error::new(
                "42P17",
                format!(
                    "infinite recursion detected in policy for relation \"{}\"",
                    relation.name
                ),
            )
            .hint("let a SECURITY DEFINER function do the look-up that the policy needs"));
        }
        self.policies.push(id);
        let mut permissive = Vec::new();
        let mut restrictive = Vec::new();
        for policy in table.policies.iter().filter(|p| applies(p, command, &role)) {
            let expr = if check {
                policy.check.as_ref().or(policy.using.as_ref())
            } else {
                policy.using.as_ref()
            };
            // A policy without the clause that counts (FOR INSERT has no USING) lets every row pass it.
            let expr = match expr {
                Some(expr) => self.within(self.rights.clone(), |inner| {
                    inner.collect_in_expr(expr)?;
                    rewrite_expr(expr, inner)
                })?,
                None => Expr::all(Vec::new()),
            };
            if policy.restrictive {
                restrictive.push(expr)
            } else {
                permissive.push(expr)
            }
        }
        self.policies.pop();
        let mut all = vec![Expr::any(permissive)];
        all.extend(restrictive);
        Ok(Some(Expr::all(all)))
    }

    /// Refuses unless the role has the privilege on every column, or on any when none is named.
    fn privileges(&self, id: RelationId, privilege: Privilege, columns: impl Iterator<Item = u32>) -> Result<()> {
        let Rights::Role(role) = &self.rights else {
            return Ok(());
        };
        let relation = self.schema.relation(id);
        let mut any = false;
        for column in columns {
            any = true;
            if !relation.allows(role, privilege, Some(column)) {
                return Err(denied(relation, role, privilege));
            }
        }
        let holds = |column| relation.allows(role, privilege, column);
        if !any && !holds(None) && !(0..relation.columns.len() as u32).any(|c| holds(Some(c))) {
            return Err(denied(relation, role, privilege));
        }
        Ok(())
    }

    /// Refuses unless the role may call the function.
    fn may_call(&self, id: FunctionId) -> Result<()> {
        let Rights::Role(role) = &self.rights else {
            return Ok(());
        };
        let function = self.schema.function(id);
        if function.grants.iter().any(|g| **g == **role || &**g == "public") {
            return Ok(());
        }
        Err(
            Error::denied(format!("permission denied for function {}", function.name))
                .hint(format!("GRANT EXECUTE ON FUNCTION {} TO {role};", function.name)),
        )
    }

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

    /// A function's statements with the rights that they run with.
    fn body(&mut self, id: FunctionId) -> Result<Vec<Statement>> {
        let schema = self.schema;
        let function = schema.function(id);
        let rights = if function.security_definer {
            Rights::Owner
        } else {
            self.rights.clone()
        };
        self.within(rights, |inner| {
            function.body.iter().map(|s| inner.statement(s)).collect()
        })
    }

    /// Runs with other rights, one level deeper, with row sources of its own.
    fn within<T>(&mut self, rights: Rights, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(Error::new(
                "54001",
                "stack depth limit exceeded: views, policies or functions refer to one another",
            ));
        }
        let outer_rights = std::mem::replace(&mut self.rights, rights);
        let outer_used = std::mem::take(&mut self.used);
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        self.used = outer_used;
        self.rights = outer_rights;
        result
    }

    fn select(&mut self, select: &Select) -> Result<Select> {
        let mut collect = Collect::default();
        rewrite_select(select, &mut collect)?;
        merge(&mut self.used, collect.used);
        rewrite_select(select, self)
    }

    fn statement(&mut self, statement: &Statement) -> Result<Statement> {
        let mut collect = Collect::default();
        rewrite_statement(statement, &mut collect)?;
        self.used = collect.used;
        rewrite_statement(statement, self)
    }

    fn collect_in_expr(&mut self, expr: &Expr) -> Result<()> {
        let mut collect = Collect::default();
        rewrite_expr(expr, &mut collect)?;
        merge(&mut self.used, collect.used);
        Ok(())
    }

    /// A function used as a value: its one SELECT in the place of the call.
    fn inline(&mut self, id: FunctionId, args: &[Expr], ty: &Type) -> Result<Option<Expr>> {
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
        let body = self.with_args(&body, &args)?;
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
    fn with_args(&mut self, body: &Select, args: &[Expr]) -> Result<Select> {
        let base = self.next_source;
        self.next_source += 1 << 12;
        rewrite_select(body, &mut Inline { args, base })
    }

    /// One step of a transaction.
    pub fn step(&mut self, step: &Step) -> Result<Step> {
        let returning = step.returning.as_ref();
        let action = match &step.action {
            Action::Insert {
                relation,
                columns,
                rows,
                conflict,
                ..
            } => {
                let id = relation.relation;
                self.privileges(id, Privilege::Insert, columns.iter().copied())?;
                let check = self.policy(id, PolicyCommand::Insert, true)?;
                let mut out = RelationRef::new(id);
                self.facts.stores.insert(self.schema.relation(id).store.clone());
                let mut checks: Vec<Expr> = check.into_iter().collect();
                if let Some(conflict) = conflict {
                    self.privileges(id, Privilege::Select, conflict.target.iter().copied())?;
                    if !conflict.ignore {
                        self.privileges(id, Privilege::Update, columns.iter().copied())?;
                        out = self.expanded(id, &[PolicyCommand::Update, PolicyCommand::Select])?;
                        checks.extend(self.policy(id, PolicyCommand::Update, true)?);
                    }
                }
                let visible = match returning {
                    Some(_) => self.policy(id, PolicyCommand::Select, false)?.map(Arc::new),
                    None => None,
                };
                Action::Insert {
                    relation: out,
                    columns: columns.clone(),
                    rows: rows.clone(),
                    conflict: conflict.clone(),
                    check: (!checks.is_empty()).then(|| Arc::new(Expr::all(checks))),
                    visible,
                }
            }
            Action::Update {
                relation,
                set,
                filter,
                order,
                limit,
                offset,
                ..
            } => {
                let id = relation.relation;
                self.privileges(id, Privilege::Update, set.iter().map(|s| s.0))?;
                let reads = self.reads(id, filter.as_ref(), order, returning)?;
                let commands: &[PolicyCommand] = if reads {
                    &[PolicyCommand::Update, PolicyCommand::Select]
                } else {
                    &[PolicyCommand::Update]
                };
                let out = self.expanded(id, commands)?;
                let mut checks: Vec<Expr> = self.policy(id, PolicyCommand::Update, true)?.into_iter().collect();
                if reads {
                    checks.extend(self.policy(id, PolicyCommand::Select, false)?);
                }
                Action::Update {
                    relation: out,
                    set: set.clone(),
                    filter: filter.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
                    order: order.clone(),
                    limit: *limit,
                    offset: *offset,
                    check: (!checks.is_empty()).then(|| Arc::new(Expr::all(checks))),
                }
            }
            Action::Delete {
                relation,
                filter,
                order,
                limit,
                offset,
            } => {
                let id = relation.relation;
                self.privileges(id, Privilege::Delete, std::iter::empty())?;
                let reads = self.reads(id, filter.as_ref(), order, returning)?;
                let commands: &[PolicyCommand] = if reads {
                    &[PolicyCommand::Delete, PolicyCommand::Select]
                } else {
                    &[PolicyCommand::Delete]
                };
                Action::Delete {
                    relation: self.expanded(id, commands)?,
                    filter: filter.as_ref().map(|e| rewrite_expr(e, self)).transpose()?,
                    order: order.clone(),
                    limit: *limit,
                    offset: *offset,
                }
            }
            Action::Call(call) => Action::Call(self.call(call)?),
            Action::Read => Action::Read,
        };
        let returning = match returning {
            None => None,
            Some(shape) => {
                let mut authorised = match (&step.action, &shape.from) {
                    // The call stands in the action; its privilege and body have been seen to.
                    (Action::Call(_), Source::Call(_)) => self.over_rows(shape)?,
                    _ => self.shape(shape)?,
                };
                if step.relation().is_some()
                    && let Source::Relation(relation) = &mut authorised.from
                {
                    // Which rows are returned the action has decided; `visible` and `check` have looked at each.
                    relation.security = None;
                }
                Some(authorised)
            }
        };
        Ok(Step {
            action,
            params: step.params.clone(),
            returning,
            max_affected: step.max_affected,
            singular: step.singular,
        })
    }

    /// A shape over rows that a call has already made: the rows are the function's to give, what is embedded is not.
    fn over_rows(&mut self, shape: &QueryShape) -> Result<QueryShape> {
        let mut out = shape.clone();
        for item in &mut out.select {
            if let Item::Embed(embed) = item {
                *embed = self.embed(embed, BTreeSet::new())?;
            }
        }
        Ok(out)
    }

    /// Whether an update or delete reads the table's columns, having checked that it may.
    fn reads(
        &mut self,
        id: RelationId,
        filter: Option<&Expr>,
        order: &[mainstay_model::OrderBy],
        returning: Option<&QueryShape>,
    ) -> Result<bool> {
        let mut columns = BTreeSet::new();
        for expr in filter.into_iter().chain(order.iter().map(|o| &o.expr)) {
            own_columns(expr, &mut columns, &mut [])?;
        }
        let reads = !columns.is_empty() || returning.is_some();
        if !columns.is_empty() {
            self.privileges(id, Privilege::Select, columns.into_iter())?;
        }
        Ok(reads)
    }

    /// `security` for a relation that a statement writes to.
    fn written(&mut self, relation: &RelationRef, commands: &[PolicyCommand]) -> Result<RelationRef> {
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
            ExprKind::Opaque { .. } => {
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
                let select = Box::new(self.with_args(&body, &args)?);
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
        let mut checks: Vec<Expr> = self.policy(id, PolicyCommand::Insert, true)?.into_iter().collect();
        if insert.conflict.as_ref().is_some_and(|c| !c.set.is_empty()) {
            let set: Vec<u32> = insert.conflict.iter().flat_map(|c| c.set.iter().map(|s| s.0)).collect();
            self.privileges(id, Privilege::Update, set.into_iter())?;
            insert.relation = self.written(&insert.relation, &[PolicyCommand::Update])?;
            checks.extend(self.policy(id, PolicyCommand::Update, true)?);
        } else {
            self.facts.stores.insert(self.schema.relation(id).store.clone());
        }
        if !insert.returning.is_empty() {
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

/// Substitutes arguments for parameters and moves row sources out of the way.
struct Inline<'a> {
    args: &'a [Expr],
    base: u32,
}

impl Rewrite for Inline<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
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

/// Collects which columns of which row source are read.
#[derive(Default)]
struct Collect {
    used: Used,
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
            _ => {}
        }
        Ok(None)
    }
}

/// The columns of the row at hand that an expression reads, subqueries included, and those of embeds that it orders by.
fn own_columns(expr: &Expr, own: &mut BTreeSet<u32>, embedded: &mut [BTreeSet<u32>]) -> Result<()> {
    if let ExprKind::EmbeddedColumn(n, inner) = &expr.kind {
        if let Some(columns) = embedded.get_mut(*n as usize) {
            let mut none: [BTreeSet<u32>; 0] = [];
            own_columns(inner, columns, &mut none)?;
        }
        return Ok(());
    }
    let mut collect = Collect::default();
    rewrite_expr(expr, &mut collect)?;
    own.extend(collect.used.remove(&SourceId::SELF).unwrap_or_default());
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
            _ => true,
        }
}

fn merge(into: &mut Used, from: Used) {
    for (source, columns) in from {
        into.entry(source).or_default().extend(columns);
    }
}

fn applies(policy: &Policy, command: PolicyCommand, role: &str) -> bool {
    (policy.command == command || policy.command == PolicyCommand::All)
        && (policy.roles.is_empty() || policy.roles.iter().any(|r| &**r == role || &**r == "public"))
}

fn denied(relation: &mainstay_model::Relation, role: &str, privilege: Privilege) -> Error {
    let kind = if relation.view().is_some() { "view" } else { "table" };
    let verb = match privilege {
        Privilege::Select => "SELECT",
        Privilege::Insert => "INSERT",
        Privilege::Update => "UPDATE",
        Privilege::Delete => "DELETE",
        Privilege::Truncate => "TRUNCATE",
        Privilege::References => "REFERENCES",
        Privilege::Trigger => "TRIGGER",
    };
    Error::denied(format!("permission denied for {kind} {}", relation.name)).hint(format!(
        "Grant the required privileges to the current role with: GRANT {verb} ON {}.{} TO {role};",
        relation.namespace, relation.name
    ))
}

/// A whole transaction, and the one store that it goes to.
pub(crate) fn transaction(
    schema: &Schema,
    transaction: Transaction,
    identity: &Identity,
) -> Result<(Transaction, Arc<str>)> {
    let mut authoriser = Authoriser::new(schema, &identity.role);
    let steps = transaction
        .steps
        .iter()
        .map(|s| authoriser.step(s))
        .collect::<Result<Vec<_>>>()?;
    let mut stores = authoriser.facts.stores.into_iter();
    let store = stores.next().unwrap_or_else(|| "main".into());
    if let Some(other) = stores.next() {
        return Err(Error::unsupported(format!(
            "one transaction cannot span the stores \"{store}\" and \"{other}\""
        ))
        .hint("let an event carry the change to the other store"));
    }
    Ok((Transaction { steps, ..transaction }, store))
}
