//! Names to columns and text to values: a tree of levels becomes the shape of a query and its parameters.

use crate::cursor::{Field, Operand};
use crate::level::Level;
use crate::order::OrderTerm;
use crate::preceding::{Preceding, Reference};
use crate::relationship;
use crate::rows::Rows;
use crate::select::SelectedField;
use crate::skeleton::Origin;
use crate::{RestConfig, error, spread, types};
use mainstay_model::{
    Aggregate, AggregateFunction, Builtin, Call, Earlier, Embed, EmbedJoin, Error, Expr, ExprKind, Item, Operator,
    OrderBy, Projected, QueryShape, RelationRef, Returns, Schema, Source, SourceId, Type, Value,
};
use std::borrow::Cow;
use std::sync::Arc;

/// Binds one request; its parameters gather here.
pub(crate) struct Binder<'s> {
    pub schema: &'s Schema,
    pub namespace: &'s str,
    pub config: &'s RestConfig,
    /// At most so many rows on every level, whatever the request asks.
    pub page_limit: Option<u64>,
    pub params: Vec<Value>,
    /// Where the values of comparisons stood in the request.
    pub origins: Vec<Origin>,
    /// Whether a value depends on when the request was read.
    pub momentary: bool,
    /// What values may be taken from.
    pub preceding: Option<Arc<Preceding>>,
    /// Parameters that take them.
    pub earlier: Vec<Earlier>,
}

/// What binding yields.
pub(crate) type Bound<T> = Result<T, Error>;

impl<'s> Binder<'s> {
    pub fn new(schema: &'s Schema, namespace: &'s str, config: &'s RestConfig) -> Binder<'s> {
        Binder {
            schema,
            namespace,
            config,
            page_limit: None,
            params: Vec::new(),
            origins: Vec::new(),
            momentary: false,
            preceding: None,
            earlier: Vec::new(),
        }
    }

    /// A value as a parameter.
    pub fn param(&mut self, value: Value, ty: Type) -> Bound<Expr> {
        Ok(Expr::param(self.slot(value)?, ty))
    }

    /// A value of an earlier operation's row as a parameter, cast to `ty` where it is of another.
    pub fn referred(&mut self, reference: Reference, ty: &Type) -> Bound<Expr> {
        let Reference {
            step,
            row,
            column,
            ty: own,
        } = reference;
        let param = self.slot(Value::Null)?;
        self.earlier.push(Earlier {
            param,
            step,
            row,
            column,
        });
        let own = types::comparable(&own);
        let wanted = types::comparable(ty);
        let value = Expr::param(param, own.clone());
        Ok(match own == wanted {
            true => value,
            false => Expr::new(ExprKind::Cast(Box::new(value)), wanted),
        })
    }

    /// The text of a comparison's operand as a parameter.
    pub fn comparand(&mut self, text: &str, declared: &Type) -> Bound<Expr> {
        if let Some(preceding) = self.preceding.clone()
            && let Some(reference) = preceding.in_filter(text, self.schema)?
        {
            return self.referred(reference, declared);
        }
        let (value, ty) = types::operand(text, declared, self.schema)?;
        self.momentary |= types::is_momentary(text, declared);
        let slot = self.slot(value)?;
        self.origins.push(Origin::new(slot, text, declared, &ty));
        Ok(Expr::param(slot, ty))
    }

    pub fn slot(&mut self, value: Value) -> Bound<u16> {
        if self.params.len() >= self.config.limits.values {
            return Err(error::too_much(
                "too many values",
                self.config.limits.values,
                "limits.values",
            ));
        }
        self.params.push(value);
        Ok((self.params.len() - 1) as u16)
    }

    /// The shape of the top level.
    pub fn root(&mut self, level: &Level<'_>, rows: &Rows<'s>, from: Source) -> Bound<QueryShape> {
        let everything = level.fields.is_empty() && level.embeds.is_empty();
        self.level(level, rows, from, everything)
    }

    fn level(&mut self, level: &Level<'_>, rows: &Rows<'s>, from: Source, everything: bool) -> Bound<QueryShape> {
        let bound = self.level_bound(level, rows, from, everything);
        // A relationship that is not there is told of before a column that is not.
        bound.map_err(|error| match &*error.code {
            "42703" => self.unrelated(level, rows).unwrap_or(error),
            _ => error,
        })
    }

    fn unrelated(&self, level: &Level<'_>, rows: &Rows<'s>) -> Option<Error> {
        level.embeds.iter().find_map(|child| {
            match relationship::find(self.schema, self.namespace, rows, &child.name, child.hint.as_deref()) {
                Ok(way) => self.unrelated(child, &way.rows),
                Err(error) => Some(error),
            }
        })
    }

    fn level_bound(&mut self, level: &Level<'_>, rows: &Rows<'s>, from: Source, everything: bool) -> Bound<QueryShape> {
        let mut shape = QueryShape::of(from);
        if everything {
            self.star(rows, &mut shape.select);
        }
        for field in &level.fields {
            match field {
                None => self.star(rows, &mut shape.select),
                Some(field) => shape.select.push(Item::Field(self.selected(field, rows)?)),
            }
        }
        let grouped =
            shape.is_aggregate() || !level.having.is_empty() || level.order.iter().any(|term| term.aggregate.is_some());
        // Values first and related rows after them, in whatever order they were asked for.
        let mut embedded = Vec::with_capacity(level.embeds.len());
        for child in &level.embeds {
            let (mut embed, rows) = self.embed(child, rows)?;
            if embed.spread && (embed.query.is_aggregate() || grouped && spread::can_be_lifted(&embed)) {
                spread::lift(&mut embed, embedded.len() as u16, &mut shape.select)?;
            }
            embedded.push((rows, embed.one));
            shape.select.push(Item::Embed(embed));
        }
        let conditions = level
            .filters
            .iter()
            .map(|tree| self.tree(tree, rows, level))
            .collect::<Bound<Vec<_>>>()?;
        shape.order = level
            .order
            .iter()
            .map(|term| self.order(term, rows, level, &embedded))
            .collect::<Bound<_>>()?;
        let mut conditions = conditions;
        if let Some(values) = &level.after {
            conditions.push(self.after(values, &shape.order, rows)?);
        }
        shape.filter = (!conditions.is_empty()).then(|| Expr::all(conditions));
        let groups = level
            .having
            .iter()
            .map(|tree| self.grouped(tree, rows, level))
            .collect::<Bound<Vec<_>>>()?;
        shape.having = (!groups.is_empty()).then(|| Expr::all(groups));
        if shape.is_aggregate() {
            self.check_grouped_order(&shape, level, rows)?;
        }
        self.page(level, &mut shape)?;
        Ok(shape)
    }

    fn star(&self, rows: &Rows<'s>, select: &mut Vec<Item>) {
        select.extend(rows.all().into_iter().map(|(index, name, ty)| {
            let value = Expr::column(index, ty.clone());
            Item::Field(Projected {
                expr: self.shown(value, rows),
                name,
            })
        }));
    }

    fn embed(&mut self, child: &Level<'_>, outer: &Rows<'s>) -> Bound<(Embed, Rows<'s>)> {
        let way = relationship::find(self.schema, self.namespace, outer, &child.name, child.hint.as_deref())?;
        let from = match &way.join {
            EmbedJoin::Computed(function) => {
                let row = Expr::new(ExprKind::WholeRow(SourceId::SELF), Type::Row(outer.name.into()));
                Source::Call(Call {
                    function: *function,
                    args: vec![row],
                    body: None,
                })
            }
            EmbedJoin::Columns(_) | EmbedJoin::Through { .. } => match way.rows.relation {
                Some(id) => Source::Relation(RelationRef::new(id)),
                None => return Err(Error::internal("a relationship leads to no relation")),
            },
        };
        let query = self.level(child, &way.rows, from, false)?;
        let embed = Embed {
            name: child.shown_name().into(),
            join: way.join,
            one: way.one,
            inner: child.inner,
            spread: child.spread,
            hidden: child.is_hidden(),
            query,
        };
        Ok((embed, way.rows))
    }

    // Values

    pub fn selected(&mut self, selected: &SelectedField<'_>, rows: &Rows<'s>) -> Bound<Projected> {
        let cast = |expr: Expr, to: &Option<Cow<'_, str>>, schema: &Schema| match to {
            Some(name) => Ok::<_, Error>(Expr::new(ExprKind::Cast(Box::new(expr)), types::named(name, schema)?)),
            None => Ok(expr),
        };
        if let Some(field) = self.count_as_column(selected, rows) {
            let call = Aggregate {
                function: AggregateFunction::Count,
                args: Vec::new(),
                distinct: false,
                filter: None,
                order: Vec::new(),
            };
            let count = Expr::new(ExprKind::Aggregate(Box::new(call)), Type::Int8);
            return Ok(Projected {
                expr: cast(count, &selected.cast, self.schema)?,
                name: selected.alias.as_deref().unwrap_or(&field.name).into(),
            });
        }
        let value = match &selected.field {
            Some(field) => {
                let value = self.field(field, rows)?;
                let value = match selected.aggregate {
                    None => self.shown(value, rows),
                    Some(_) => value,
                };
                Some(cast(value, &selected.cast, self.schema)?)
            }
            None => None,
        };
        let (expr, own_name) = match selected.aggregate {
            None => match (value, &selected.field) {
                (Some(value), Some(field)) => (value, field.output_name()),
                _ => return Err(Error::internal("a selected value without a column")),
            },
            Some(_) if !self.config.aggregates => return Err(error::aggregates_off()),
            Some(function) => {
                let (ty, name) = aggregate_type(function, value.as_ref().map(|v| &v.ty))?;
                let args = value.into_iter().collect();
                let call = Aggregate {
                    function,
                    args,
                    distinct: false,
                    filter: None,
                    order: Vec::new(),
                };
                let aggregate = Expr::new(ExprKind::Aggregate(Box::new(call)), ty);
                (cast(aggregate, &selected.aggregate_cast, self.schema)?, name)
            }
        };
        Ok(Projected {
            expr,
            name: selected.alias.as_deref().unwrap_or(own_name).into(),
        })
    }

    /// `count` where no column is called so counts the rows, as it did before there were aggregates, and like then it needs no
    /// leave of `aggregates`.
    fn count_as_column<'f, 'a>(&self, selected: &'f SelectedField<'a>, rows: &Rows<'s>) -> Option<&'f Field<'a>> {
        let field = selected.field.as_ref()?;
        let is_count = selected.aggregate.is_none() && field.name == "count" && field.path.is_empty();
        (is_count && rows.column("count").is_none() && self.computed("count", rows).is_none()).then_some(field)
    }

    /// A column, a computed column, or something inside its JSON.
    pub fn field(&self, field: &Field<'_>, rows: &Rows<'s>) -> Bound<Expr> {
        let base = match rows.column(&field.name) {
            Some((index, ty)) => Expr::column(index, ty.clone()),
            None => self
                .computed(&field.name, rows)
                .ok_or_else(|| error::unknown_column(rows.name, &field.name))?,
        };
        if field.path.is_empty() {
            return Ok(base);
        }
        let mut value = if base.ty.is_json() {
            base
        } else {
            Expr::new(ExprKind::Call(Builtin::ToJsonb, vec![base]), Type::Jsonb)
        };
        for arrow in &field.path {
            if !value.ty.is_json() {
                let sign = if arrow.text { "->>" } else { "->" };
                let right = match &arrow.operand {
                    Operand::Key(_) => "unknown",
                    Operand::Index(_) => "integer",
                };
                return Err(error::no_operator_with(&value.ty, sign, right));
            }
            let key = match &arrow.operand {
                Operand::Key(key) => Expr::literal(Value::Text(key.to_string()), Type::Text),
                Operand::Index(index) => Expr::literal(Value::Int(i64::from(*index)), Type::Int4),
            };
            let (operator, ty) = if arrow.text {
                (Operator::JsonGetText, Type::Text)
            } else {
                (Operator::JsonGet, value.ty.clone())
            };
            value = Expr::new(ExprKind::Operator(operator, vec![value, key]), ty);
        }
        Ok(value)
    }

    /// A function of the row that gives one value: `CREATE FUNCTION name(relation) RETURNS text`.
    fn computed(&self, name: &str, rows: &Rows<'s>) -> Option<Expr> {
        let relation = self.schema.relation(rows.relation?);
        self.schema.find_functions(self.namespace, name).iter().find_map(|&id| {
            let function = self.schema.function(id);
            let Returns::Scalar(ty) = &function.returns else {
                return None;
            };
            if !relationship::takes_row_of(relation, &function.args) {
                return None;
            }
            let row = Expr::new(ExprKind::WholeRow(SourceId::SELF), Type::Row(relation.name.clone()));
            Some(Expr::new(ExprKind::UserCall(id, vec![row]), ty.clone()))
        })
    }

    // Order

    fn order(
        &mut self,
        term: &OrderTerm<'_>,
        rows: &Rows<'s>,
        level: &Level<'_>,
        embedded: &[(Rows<'s>, bool)],
    ) -> Bound<OrderBy> {
        let expr = match &term.embed {
            None => self.group_value(term.field.as_ref(), term.aggregate, rows, level)?,
            Some(name) => {
                let Some(field) = &term.field else {
                    return Err(Error::internal("an order by a related row's column without the column"));
                };
                let index = level.embed(name).ok_or_else(|| error::not_embedded(name))?;
                let (inner_rows, one) = &embedded[index];
                if !one {
                    return Err(error::order_not_to_one(rows.name, level.embeds[index].shown_name()));
                }
                let inner = match called_so(&level.embeds[index], field) {
                    Some(selected) => self.selected(selected, inner_rows)?.expr,
                    None => self.field(field, inner_rows)?,
                };
                let ty = inner.ty.clone();
                Expr::new(ExprKind::EmbeddedColumn(index as u16, Box::new(inner)), ty)
            }
        };
        if expr.ty == Type::Json {
            return Err(
                Error::new("42883", "could not identify an ordering operator for type json")
                    .hint("Use an explicit ordering operator or modify the query."),
            );
        }
        let descending = term.descending;
        Ok(OrderBy {
            expr,
            descending,
            nulls_first: term.nulls_first.unwrap_or(descending),
        })
    }

    /// Column = value, for rows addressed by their key.
    pub fn equals(&mut self, column: u32, ty: &Type, text: &str) -> Bound<Expr> {
        let right = self.comparand(text, ty)?;
        Ok(Expr::compare(Operator::Eq, Expr::column(column, ty.clone()), right))
    }

    /// All filters of the top level, of a write.
    pub fn filter(&mut self, level: &Level<'_>, rows: &Rows<'s>) -> Bound<Option<Expr>> {
        // Embedded rows are part of the answer, not of what is written to.
        let bare = Level::root("", Vec::new());
        let conditions = level
            .filters
            .iter()
            .map(|tree| self.tree(tree, rows, &bare))
            .collect::<Bound<Vec<_>>>()?;
        Ok((!conditions.is_empty()).then(|| Expr::all(conditions)))
    }

    /// The order of the top level, of a write.
    pub fn write_order(&mut self, level: &Level<'_>, rows: &Rows<'s>) -> Bound<Vec<OrderBy>> {
        let bare = Level::root("", Vec::new());
        level
            .order
            .iter()
            .map(|term| self.order(term, rows, &bare, &[]))
            .collect()
    }
}

/// What a spread shows under a name of its own: outside of it, that is how it is called.
fn called_so<'l, 'a>(level: &'l Level<'a>, field: &Field<'_>) -> Option<&'l SelectedField<'a>> {
    let is_meant = |selected: &&SelectedField<'_>| {
        selected.aggregate.is_none() && selected.alias.as_deref() == Some(&*field.name) && field.path.is_empty()
    };
    level.fields.iter().flatten().filter(|_| level.spread).find(is_meant)
}

/// What an aggregate yields of values of a type, and what it is called.
fn aggregate_type(function: AggregateFunction, of: Option<&Type>) -> Bound<(Type, &'static str)> {
    let number = |name: &'static str, ty: fn(&Type) -> Type| match of {
        Some(of) if of.is_number() || *of == Type::Interval => Ok((ty(of), name)),
        of => Err(Error::new(
            "42883",
            format!("function {name}({}) does not exist", of.unwrap_or(&Type::Unknown)),
        )
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.")),
    };
    match function {
        AggregateFunction::Count => Ok((Type::Int8, "count")),
        AggregateFunction::Sum => number("sum", |of| match of {
            Type::Int2 | Type::Int4 => Type::Int8,
            Type::Int8 | Type::Numeric(_) => Type::Numeric(None),
            of => of.clone(),
        }),
        AggregateFunction::Avg => number("avg", |of| match of {
            Type::Float4 | Type::Float8 => Type::Float8,
            Type::Interval => Type::Interval,
            _ => Type::Numeric(None),
        }),
        AggregateFunction::Min => Ok((of.map_or(Type::Unknown, types::comparable), "min")),
        AggregateFunction::Max => Ok((of.map_or(Type::Unknown, types::comparable), "max")),
        _ => Err(Error::internal("an aggregate that the dialect does not have")),
    }
}

/// A relation as a source.
pub(crate) fn relation_source(id: mainstay_model::RelationId) -> Source {
    Source::Relation(RelationRef::new(id))
}
