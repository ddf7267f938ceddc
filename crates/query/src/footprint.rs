//! What an answer depends on: for each table read, which rows and which columns. Made once per plan; a request adds the values of
//! its parameters and claims.
//!
//! Which rows is said as narrowly as can be proved. Every condition used is one that a row must satisfy for the answer to contain
//! it, or to be counted, ordered, grouped or looked at on the way to something that is contained: so a row that satisfies it neither
//! before nor after a change leaves the answer as it was. What cannot be decided from the row alone may stand in a condition:
//! the index takes it for "maybe".

use crate::narrow::{Moved, Taking, equates, flatten, is_constant, taking_part, through_view, unknowable};
use mainstay_cache::{Columns, Footprint, ReadSet, TableReads};
use mainstay_model::{
    Claim, ColumnRef, EmbedJoin, Expr, ExprKind, FromItem, Identity, Item, QueryShape, RelationId, RelationRef, Result,
    Rewrite, Schema, Select, Source, SourceId, Statement, Type, Value, rewrite_expr, rewrite_select, rewrite_statement,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A footprint without values.
#[derive(Debug)]
pub(crate) struct Template {
    relations: Vec<RelationId>,
    read_set: Arc<ReadSet>,
    slots: Vec<Slot>,
}

/// What a request gives to a condition.
#[derive(Debug, PartialEq)]
enum Slot {
    /// The value of a parameter.
    Param(u16),
    /// What its token says, as a type.
    Claim(Claim, Type),
}

/// One table's part in it.
#[derive(Debug)]
struct Part {
    relation: RelationId,
    /// `None` is every column.
    columns: Option<BTreeSet<u32>>,
    /// Which rows; `None` is every row. Still with the request's parameters and claims.
    filter: Option<Expr>,
    /// Whether such a row is certainly in the answer.
    certain: bool,
}

impl Template {
    /// Of answers that are not kept.
    pub fn nothing() -> Template {
        Template {
            relations: Vec::new(),
            read_set: Arc::new(ReadSet::new(Vec::new())),
            slots: Vec::new(),
        }
    }

    fn new(parts: Vec<Part>) -> Template {
        let relations: BTreeSet<RelationId> = parts.iter().map(|part| part.relation).collect();
        let mut slots = Slots(Vec::new());
        let tables = parts
            .into_iter()
            .map(|part| TableReads {
                relation: part.relation,
                columns: match part.columns {
                    None => Columns::All,
                    Some(columns) => columns.into_iter().collect(),
                },
                // The rewriting fails on nothing.
                certain: part.certain,
                filter: part
                    .filter
                    .map(|f| rewrite_expr(&f, &mut slots).unwrap_or_else(|_| unknowable(&f))),
            })
            .collect();
        Template {
            relations: relations.into_iter().collect(),
            read_set: Arc::new(ReadSet::new(tables)),
            slots: slots.0,
        }
    }

    /// The tables read.
    pub fn relations(&self) -> Vec<RelationId> {
        self.relations.clone()
    }

    /// With the values of one request.
    pub fn footprint(&self, params: &[Value], class: &Identity) -> Footprint {
        let value = |slot: &Slot| match slot {
            Slot::Param(index) => params.get(usize::from(*index)).cloned(),
            // A claim that is no value of the type: what the database makes of it is not for us to know.
            Slot::Claim(claim, ty) => class.claim(claim, ty).ok(),
        };
        Footprint::new(self.read_set.clone(), self.slots.iter().map(value).collect())
    }
}

/// Numbers what a request gives, and takes out what nobody can decide from a row.
struct Slots(Vec<Slot>);

impl Rewrite for Slots {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        let slot = match &expr.kind {
            ExprKind::Param(index) => Slot::Param(*index),
            ExprKind::Claim(claim) => Slot::Claim(claim.clone(), expr.ty.clone()),
            ExprKind::Exists(_)
            | ExprKind::Scalar(_)
            | ExprKind::ArraySelect(_)
            | ExprKind::InSelect { .. }
            | ExprKind::Call(..)
            | ExprKind::UserCall(..)
            | ExprKind::Represented(..)
            | ExprKind::Case { .. }
            | ExprKind::Aggregate(_)
            | ExprKind::Embedded(_)
            | ExprKind::EmbeddedColumn(..) => return Ok(Some(unknowable(expr))),
            ExprKind::Column(column) if column.source != SourceId::SELF => return Ok(Some(unknowable(expr))),
            _ => return Ok(None),
        };
        let index = self.0.iter().position(|known| *known == slot).unwrap_or_else(|| {
            self.0.push(slot);
            self.0.len() - 1
        });
        Ok(Some(match u16::try_from(index) {
            Ok(index) => Expr::param(index, expr.ty.clone()),
            Err(_) => unknowable(expr),
        }))
    }
}

/// The footprint of an authorised shape.
pub(crate) fn of(schema: &Schema, shape: &QueryShape) -> Template {
    let mut reads = Reads {
        schema,
        parts: Vec::new(),
        args: None,
    };
    reads.shape(shape, BTreeSet::new(), Vec::new());
    if let Source::Relation(relation) = &shape.from
        && is_page_free(shape)
        && let Some(part) = reads.parts.last_mut()
    {
        // What the shape itself reads comes last.
        part.certain = relation.expansion.is_none() && part.relation == relation.relation;
    }
    Template::new(reads.parts)
}

/// Whether every row that matches is shown by itself.
fn is_page_free(shape: &QueryShape) -> bool {
    let hides = |item: &Item| matches!(item, Item::Embed(embed) if embed.inner);
    let paged = shape.limit.is_some() || shape.offset.is_some();
    !paged && !shape.distinct && !shape.is_aggregate() && !shape.select.iter().any(hides)
}

struct Reads<'a> {
    schema: &'a Schema,
    parts: Vec<Part>,
    /// Within a function's body: what its parameters stand for.
    args: Option<Vec<Expr>>,
}

impl Reads<'_> {
    /// `read`: columns that the query around this one reads of it; `given`: what its rows must satisfy to be looked at.
    fn shape(&mut self, shape: &QueryShape, mut read: BTreeSet<u32>, given: Vec<Expr>) {
        let conditions: Vec<Expr> = given.into_iter().chain(shape.filter.clone()).collect();
        let (outer, mut known) = match &shape.from {
            Source::Relation(relation) => (
                Some(relation.relation),
                relation.security.iter().map(|s| (**s).clone()).collect(),
            ),
            Source::Call(_) => (None, Vec::new()),
        };
        known.extend(conditions.iter().cloned());
        let embeds = shape.select.iter().filter(|i| matches!(i, Item::Embed(_))).count();
        let mut embedded = vec![BTreeSet::new(); embeds];
        for item in &shape.select {
            if let Item::Field(field) = item {
                self.expr(&field.expr, &mut read, &mut embedded, &known);
            }
        }
        for expr in shape.filter.iter().chain(&shape.having) {
            self.expr(expr, &mut read, &mut embedded, &known);
        }
        if !mainstay_cache::failpoint::is_set("forget-order-columns") {
            for key in &shape.order {
                self.expr(&key.expr, &mut read, &mut embedded, &known);
            }
        }
        let mut embedded = embedded.into_iter();
        for item in &shape.select {
            let Item::Embed(embed) = item else { continue };
            let mut inner: BTreeSet<u32> = embedded.next().unwrap_or_default();
            let mut narrowed = Vec::new();
            match &embed.join {
                EmbedJoin::Columns(pairs) => {
                    read.extend(pairs.iter().map(|p| p.0));
                    inner.extend(pairs.iter().map(|p| p.1));
                    if let Source::Relation(relation) = &embed.query.from {
                        narrowed = self.carried(outer, &known, relation.relation, pairs);
                    }
                }
                EmbedJoin::Through {
                    junction,
                    outer: pairs,
                    related,
                } => {
                    read.extend(pairs.iter().map(|p| p.0));
                    inner.extend(related.iter().map(|p| p.1));
                    let between = pairs.iter().map(|p| p.1).chain(related.iter().map(|p| p.0)).collect();
                    let carried = self.carried(outer, &known, junction.relation, pairs);
                    self.relation(junction, between, carried);
                }
                EmbedJoin::Computed(_) => {
                    // The function is handed this row.
                    if let Source::Call(call) = &embed.query.from {
                        call.args
                            .iter()
                            .for_each(|arg| self.expr(arg, &mut read, &mut [], &known));
                    }
                }
            }
            self.shape(&embed.query, inner, narrowed);
        }
        match &shape.from {
            Source::Relation(relation) => self.relation(relation, read, conditions),
            Source::Call(call) => {
                for arg in &call.args {
                    self.expr(arg, &mut BTreeSet::new(), &mut [], &[]);
                }
                let outer_args = self.args.replace(call.args.clone());
                for statement in call.body.iter().flat_map(|b| b.iter()) {
                    self.statement(statement);
                }
                self.args = outer_args;
            }
        }
    }

    /// What the join's equalities carry over from one relation's conditions to the other's: when the outer rows all have one
    /// value, so have the rows that they are joined with.
    fn carried(&self, outer: Option<RelationId>, known: &[Expr], to: RelationId, pairs: &[(u32, u32)]) -> Vec<Expr> {
        let type_of = |relation: RelationId, column: u32| {
            let columns = &self.schema.relation(relation).columns;
            columns.get(column as usize).map(|c| c.ty.clone())
        };
        let mut conjuncts = Vec::new();
        known.iter().for_each(|condition| flatten(condition, &mut conjuncts));
        let mut out = Vec::new();
        for &(from_column, to_column) in pairs {
            let ty = outer.and_then(|outer| type_of(outer, from_column));
            // Across types equality may be another.
            let (Some(ty), true) = (&ty, ty == type_of(to, to_column)) else {
                continue;
            };
            for conjunct in &conjuncts {
                let from = ColumnRef {
                    source: SourceId::SELF,
                    column: from_column,
                };
                if equates(conjunct, from) {
                    let mut moved = Moved(from, Expr::column(to_column, ty.clone()));
                    out.extend(rewrite_expr(conjunct, &mut moved).ok());
                }
            }
        }
        out
    }

    /// A relation of which `read` columns are read, of the rows that satisfy all `conditions`.
    fn relation(&mut self, relation: &RelationRef, mut read: BTreeSet<u32>, mut conditions: Vec<Expr>) {
        // From here on all parameters are the request's: those of a function's body have been replaced in the conditions, and
        // policies and views have none.
        let args = self.args.take();
        if let Some(security) = &relation.security {
            conditions.push((**security).clone());
            self.expr(security, &mut read, &mut [], &conditions);
        }
        if let Some(select) = &relation.expansion {
            let through = conditions.iter().filter_map(|c| through_view(select, c)).collect();
            self.select(select, through);
            self.args = args;
            return;
        }
        self.args = args;
        let whole = read.contains(&u32::MAX);
        let count = self.schema.relation(relation.relation).columns.len() as u32;
        read.retain(|c| *c < count);
        self.parts.push(Part {
            relation: relation.relation,
            columns: (!whole).then_some(read),
            filter: (!conditions.is_empty()).then(|| Expr::all(conditions)),
            certain: false,
        });
    }

    /// Columns of the row at hand go to `own`; subqueries are tables read by themselves, for rows that satisfy all of `known`.
    fn expr(&mut self, expr: &Expr, own: &mut BTreeSet<u32>, embedded: &mut [BTreeSet<u32>], known: &[Expr]) {
        let mut walk = ColumnsOf::default();
        // The walk fails on nothing.
        let _ = rewrite_expr(expr, &mut walk);
        own.extend(walk.own);
        for (n, columns) in walk.embedded {
            if let Some(into) = embedded.get_mut(n as usize) {
                into.extend(columns);
            }
        }
        for (select, is_own) in walk.selects {
            self.select(&select, if is_own { known.to_vec() } else { Vec::new() });
        }
    }

    /// `more`: what its rows must satisfy besides, in its own terms.
    fn select(&mut self, select: &Select, more: Vec<Expr>) {
        let mut tables = Tables::default();
        let _ = rewrite_select(select, &mut tables);
        let mut conditions: Vec<Expr> = select.filter.iter().cloned().collect();
        if select.set_operation.is_none() {
            conditions.extend(more);
        }
        self.tables(tables, taking_part(&select.from, &conditions));
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Select(select) => self.select(select, Vec::new()),
            other => {
                let mut tables = Tables::default();
                let _ = rewrite_statement(other, &mut tables);
                self.tables(tables, Taking::new());
            }
        }
    }

    /// Each table found in a statement, and of those in its FROM which rows take part.
    fn tables(&mut self, tables: Tables, taking: Taking) {
        for (relation, source) in &tables.relations {
            let read = tables.used.get(source).cloned().unwrap_or_default();
            let conditions = taking
                .iter()
                .filter(|(of, _)| of == source)
                .flat_map(|(_, conditions)| conditions);
            let conditions = conditions.map(|condition| self.as_self(condition, *source)).collect();
            self.relation(relation, read, conditions);
        }
    }

    /// An expression over a row source as one over the row at hand. Other sources become something that nobody can decide.
    fn as_self(&self, expr: &Expr, source: SourceId) -> Expr {
        let mut as_self = AsSelf {
            source,
            args: self.args.as_deref(),
        };
        rewrite_expr(expr, &mut as_self).unwrap_or_else(|_| unknowable(expr))
    }
}

struct AsSelf<'a> {
    source: SourceId,
    args: Option<&'a [Expr]>,
}

impl Rewrite for AsSelf<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        Ok(match (&expr.kind, self.args) {
            (ExprKind::Column(c), _) if c.source != self.source => Some(unknowable(expr)),
            (ExprKind::WholeRow(_), _) => Some(unknowable(expr)),
            (ExprKind::Param(index), Some(args)) => Some(match args.get(usize::from(*index)) {
                Some(arg) if arg.ty == expr.ty && is_constant(arg) => arg.clone(),
                _ => unknowable(expr),
            }),
            _ => None,
        })
    }

    fn source(&mut self, source: SourceId) -> SourceId {
        if source == self.source { SourceId::SELF } else { source }
    }
}

/// Columns of the row at hand and of embeds, and the subqueries met.
#[derive(Default)]
struct ColumnsOf {
    own: BTreeSet<u32>,
    embedded: BTreeMap<u16, BTreeSet<u32>>,
    /// Each with whether the row at hand is the one outside of it, or an embed's.
    selects: Vec<(Select, bool)>,
}

impl ColumnsOf {
    fn select(&mut self, select: &Select) -> Result<()> {
        // Columns of the row at hand inside a subquery belong to it as well.
        let mut inner = Outer::default();
        rewrite_select(select, &mut inner)?;
        self.own.extend(inner.own);
        self.selects.push((select.clone(), true));
        Ok(())
    }
}

impl Rewrite for ColumnsOf {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match &expr.kind {
            ExprKind::Column(c) if c.source == SourceId::SELF => {
                self.own.insert(c.column);
            }
            ExprKind::WholeRow(SourceId::SELF) => {
                self.own.insert(u32::MAX);
            }
            ExprKind::EmbeddedColumn(n, inner) => {
                let mut walk = ColumnsOf::default();
                rewrite_expr(inner, &mut walk)?;
                self.embedded.entry(*n).or_default().extend(walk.own);
                self.selects
                    .extend(walk.selects.into_iter().map(|(select, _)| (select, false)));
                return Ok(Some(expr.clone()));
            }
            ExprKind::Exists(select) | ExprKind::Scalar(select) | ExprKind::ArraySelect(select) => {
                self.select(select)?;
                return Ok(Some(expr.clone()));
            }
            ExprKind::InSelect { operands, select, .. } => {
                for operand in operands {
                    rewrite_expr(operand, self)?;
                }
                self.select(select)?;
                return Ok(Some(expr.clone()));
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Columns of the row at hand, inside a subquery.
#[derive(Default)]
struct Outer {
    own: BTreeSet<u32>,
}

impl Rewrite for Outer {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match &expr.kind {
            ExprKind::Column(c) if c.source == SourceId::SELF => {
                self.own.insert(c.column);
            }
            ExprKind::WholeRow(SourceId::SELF) => {
                self.own.insert(u32::MAX);
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Every relation of a statement, at any depth, and which columns are read of which source.
#[derive(Default)]
struct Tables {
    relations: Vec<(RelationRef, SourceId)>,
    used: BTreeMap<SourceId, BTreeSet<u32>>,
}

impl Rewrite for Tables {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        match &expr.kind {
            ExprKind::Column(c) => {
                self.used.entry(c.source).or_default().insert(c.column);
            }
            ExprKind::WholeRow(source) => {
                self.used.entry(*source).or_default().insert(u32::MAX);
            }
            _ => {}
        }
        Ok(None)
    }

    fn from_item(&mut self, item: &FromItem) -> Result<Option<FromItem>> {
        if let FromItem::Relation { relation, source } = item {
            self.relations.push((relation.clone(), *source));
        }
        Ok(None)
    }
}
