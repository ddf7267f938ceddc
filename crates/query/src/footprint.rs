//! What an answer depends on: for each table read, which rows and which columns. Made once per plan; a request's values are put
//! in when its answer is kept.

use mainstay_cache::{Columns, Footprint, TableFootprint};
use mainstay_model::{
    EmbedJoin, Expr, ExprKind, FromItem, Identity, Item, QueryShape, RelationId, RelationRef, Result, Rewrite, Schema,
    Select, Source, SourceId, Statement, Value, rewrite_expr, rewrite_select, rewrite_statement,
};
use std::collections::{BTreeMap, BTreeSet};

/// A footprint without values.
#[derive(Debug, Default)]
pub(crate) struct Template {
    tables: Vec<Part>,
}

/// One table's part in it.
#[derive(Debug)]
struct Part {
    relation: RelationId,
    /// `None` is every column.
    columns: Option<BTreeSet<u32>>,
    /// Which rows; `None` is every row. Still with parameters and claims.
    filter: Option<Expr>,
}

impl Template {
    /// The tables read.
    pub fn relations(&self) -> Vec<RelationId> {
        let set: BTreeSet<RelationId> = self.tables.iter().map(|t| t.relation).collect();
        set.into_iter().collect()
    }

    /// With the values of one request.
    pub fn footprint(&self, params: &[Value], class: &Identity) -> Result<Footprint> {
        let mut values = Values { params, class };
        let tables = self
            .tables
            .iter()
            .map(|part| {
                Ok(TableFootprint {
                    relation: part.relation,
                    columns: match &part.columns {
                        None => Columns::All,
                        Some(columns) => columns.iter().copied().collect(),
                    },
                    filter: part.filter.as_ref().map(|f| rewrite_expr(f, &mut values)).transpose()?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Footprint { tables })
    }
}

/// Puts values in the place of parameters and claims.
struct Values<'a> {
    params: &'a [Value],
    class: &'a Identity,
}

impl Rewrite for Values<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        Ok(match &expr.kind {
            ExprKind::Param(i) => self
                .params
                .get(*i as usize)
                .map(|v| Expr::literal(v.clone(), expr.ty.clone())),
            ExprKind::Claim(claim) => Some(Expr::literal(self.class.claim(claim, &expr.ty)?, expr.ty.clone())),
            _ => None,
        })
    }
}

/// The footprint of an authorised shape.
pub(crate) fn of(schema: &Schema, shape: &QueryShape) -> Template {
    let mut reads = Reads {
        schema,
        template: Template::default(),
    };
    reads.shape(shape, BTreeSet::new());
    reads.template
}

struct Reads<'a> {
    schema: &'a Schema,
    template: Template,
}

impl Reads<'_> {
    /// `read`: columns that the query around this one reads of it.
    fn shape(&mut self, shape: &QueryShape, mut read: BTreeSet<u32>) {
        let embeds = shape.select.iter().filter(|i| matches!(i, Item::Embed(_))).count();
        let mut embedded = vec![BTreeSet::new(); embeds];
        for item in &shape.select {
            if let Item::Field(field) = item {
                self.expr(&field.expr, &mut read, &mut embedded);
            }
        }
        for expr in shape.filter.iter().chain(&shape.having) {
            self.expr(expr, &mut read, &mut embedded);
        }
        if !mainstay_cache::failpoint::is_set("forget-order-columns") {
            for key in &shape.order {
                self.expr(&key.expr, &mut read, &mut embedded);
            }
        }
        let mut embedded = embedded.into_iter();
        for item in &shape.select {
            let Item::Embed(embed) = item else { continue };
            let mut inner: BTreeSet<u32> = embedded.next().unwrap_or_default();
            match &embed.join {
                EmbedJoin::Columns(pairs) => {
                    read.extend(pairs.iter().map(|p| p.0));
                    inner.extend(pairs.iter().map(|p| p.1));
                }
                EmbedJoin::Through {
                    junction,
                    outer,
                    related,
                } => {
                    read.extend(outer.iter().map(|p| p.0));
                    inner.extend(related.iter().map(|p| p.1));
                    let between = outer.iter().map(|p| p.1).chain(related.iter().map(|p| p.0)).collect();
                    self.relation(junction, between, None);
                }
                EmbedJoin::Computed(_) => {}
            }
            self.shape(&embed.query, inner);
        }
        match &shape.from {
            Source::Relation(relation) => self.relation(relation, read, shape.filter.as_ref()),
            Source::Call(call) => {
                for arg in &call.args {
                    self.expr(arg, &mut BTreeSet::new(), &mut []);
                }
                for statement in call.body.iter().flat_map(|b| b.iter()) {
                    self.statement(statement);
                }
            }
        }
    }

    /// A relation of which `read` columns are read, where `filter` holds.
    fn relation(&mut self, relation: &RelationRef, mut read: BTreeSet<u32>, filter: Option<&Expr>) {
        if let Some(security) = &relation.security {
            self.expr(security, &mut read, &mut []);
        }
        if let Some(select) = &relation.expansion {
            // A view's rows are its tables' rows; which, its own filters tell.
            self.select(select);
            return;
        }
        let whole = read.contains(&u32::MAX);
        let count = self.schema.relation(relation.relation).columns.len() as u32;
        read.retain(|c| *c < count);
        // Parameters of a function's body and outer columns mean nothing here; the index takes what it cannot decide for "maybe".
        let conditions: Vec<Expr> = relation
            .security
            .iter()
            .map(|s| (**s).clone())
            .chain(filter.cloned())
            .collect();
        self.template.tables.push(Part {
            relation: relation.relation,
            columns: (!whole).then_some(read),
            filter: (!conditions.is_empty()).then(|| Expr::all(conditions)),
        });
    }

    /// Columns of the row at hand go to `own`; subqueries are tables read by themselves.
    fn expr(&mut self, expr: &Expr, own: &mut BTreeSet<u32>, embedded: &mut [BTreeSet<u32>]) {
        let mut walk = ColumnsOf {
            own: BTreeSet::new(),
            embedded: BTreeMap::new(),
            selects: Vec::new(),
        };
        // The walk fails on nothing.
        let _ = rewrite_expr(expr, &mut walk);
        own.extend(walk.own);
        for (n, columns) in walk.embedded {
            if let Some(into) = embedded.get_mut(n as usize) {
                into.extend(columns);
            }
        }
        for select in walk.selects {
            self.select(&select);
            // Columns of the row at hand inside a subquery belong to it as well.
            let mut inner = Outer::default();
            let _ = rewrite_select(&select, &mut inner);
            own.extend(inner.own);
        }
    }

    fn select(&mut self, select: &Select) {
        let mut tables = Tables::default();
        let _ = rewrite_select(select, &mut tables);
        self.tables(tables, select_is_flat(select).then_some(select));
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Select(select) => self.select(select),
            other => {
                let mut tables = Tables::default();
                let _ = rewrite_statement(other, &mut tables);
                self.tables(tables, None);
            }
        }
    }

    /// Each table found in a statement. When the statement is one flat SELECT over a single table, its WHERE narrows the rows.
    fn tables(&mut self, tables: Tables, flat: Option<&Select>) {
        let single = tables.relations.len() == 1;
        for (relation, source) in &tables.relations {
            let read = tables.used.get(source).cloned().unwrap_or_default();
            let filter = match flat {
                Some(select) if single => select.filter.as_ref().map(|f| as_self(f, *source)),
                _ => None,
            };
            self.relation(relation, read, filter.as_ref());
        }
    }
}

/// Whether a query's one WHERE decides which rows of its one table count.
fn select_is_flat(select: &Select) -> bool {
    select.with.is_empty() && select.set_operation.is_none() && matches!(&*select.from, [FromItem::Relation { .. }])
}

/// An expression over a row source as one over the row at hand; other sources, and the parameters of a body that is not the
/// request's, become something that nobody can decide.
fn as_self(expr: &Expr, source: SourceId) -> Expr {
    struct AsSelf(SourceId);
    impl Rewrite for AsSelf {
        fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
            Ok(match &expr.kind {
                ExprKind::Param(_) => Some(unknowable(expr)),
                ExprKind::Column(c) if c.source != self.0 => Some(unknowable(expr)),
                _ => None,
            })
        }
        fn source(&mut self, source: SourceId) -> SourceId {
            if source == self.0 { SourceId::SELF } else { source }
        }
    }
    rewrite_expr(expr, &mut AsSelf(source)).unwrap_or_else(|_| unknowable(expr))
}

/// An expression of the same type whose value the index cannot know.
fn unknowable(expr: &Expr) -> Expr {
    Expr::new(
        ExprKind::Opaque {
            sql: "outer".into(),
            dependencies: Vec::new(),
        },
        expr.ty.clone(),
    )
}

/// Columns of the row at hand and of embeds, and the subqueries met.
struct ColumnsOf {
    own: BTreeSet<u32>,
    embedded: BTreeMap<u16, BTreeSet<u32>>,
    selects: Vec<Select>,
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
                let mut walk = ColumnsOf {
                    own: BTreeSet::new(),
                    embedded: BTreeMap::new(),
                    selects: Vec::new(),
                };
                rewrite_expr(inner, &mut walk)?;
                self.embedded.entry(*n).or_default().extend(walk.own);
                self.selects.extend(walk.selects);
                return Ok(Some(expr.clone()));
            }
            ExprKind::Exists(select) | ExprKind::Scalar(select) | ExprKind::ArraySelect(select) => {
                self.selects.push((**select).clone());
                return Ok(Some(expr.clone()));
            }
            ExprKind::InSelect { operands, select, .. } => {
                for operand in operands {
                    rewrite_expr(operand, self)?;
                }
                self.selects.push((**select).clone());
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
