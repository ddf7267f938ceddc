//! The order in which views and functions can be created: each after what it reads and calls.

use mainstay_model::{
    Delete, Error, Expr, ExprKind, FromItem, FunctionId, Insert, RelationId, RelationKind, RelationRef, Result,
    Rewrite, Schema, Update, rewrite_expr, rewrite_select, rewrite_statement,
};
use std::collections::HashSet;

/// What is created after the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    View(RelationId),
    Function(FunctionId),
}

/// Views and functions, each behind what it depends on. Error: 42P17 when they depend on each other in a circle.
pub(super) fn of(schema: &Schema) -> Result<Vec<Item>> {
    let mut sorter = Sorter {
        schema,
        open: Vec::new(),
        done: HashSet::new(),
        order: Vec::new(),
    };
    for (at, relation) in schema.relations.iter().enumerate() {
        if matches!(relation.kind, RelationKind::View(_)) {
            sorter.visit(Item::View(RelationId(at as u32)))?;
        }
    }
    for at in 0..schema.functions.len() {
        sorter.visit(Item::Function(FunctionId(at as u32)))?;
    }
    Ok(sorter.order)
}

struct Sorter<'s> {
    schema: &'s Schema,
    open: Vec<Item>,
    done: HashSet<Item>,
    order: Vec<Item>,
}

impl Sorter<'_> {
    fn visit(&mut self, item: Item) -> Result<()> {
        if self.done.contains(&item) {
            return Ok(());
        }
        if self.open.contains(&item) {
            let name = match item {
                Item::View(id) => &self.schema.relation(id).name,
                Item::Function(id) => &self.schema.function(id).name,
            };
            return Err(Error::new("42P17", format!("\"{name}\" depends on itself"))
                .hint("A body that is bound when it is created can only call what exists already."));
        }
        self.open.push(item);
        for needed in needs(self.schema, item)? {
            self.visit(needed)?;
        }
        self.open.pop();
        self.done.insert(item);
        self.order.push(item);
        Ok(())
    }
}

fn needs(schema: &Schema, item: Item) -> Result<Vec<Item>> {
    let mut found = Found {
        schema,
        items: Vec::new(),
    };
    match item {
        Item::View(id) => {
            if let Some(view) = schema.relation(id).view() {
                rewrite_select(&view.select, &mut found)?;
            }
        }
        Item::Function(id) => {
            let function = schema.function(id);
            for statement in &function.body {
                rewrite_statement(statement, &mut found)?;
            }
            for arg in &function.args {
                if let Some(default) = &arg.default {
                    rewrite_expr(default, &mut found)?;
                }
            }
            if let mainstay_model::Returns::Row(id) | mainstay_model::Returns::SetOfRow(id) = function.returns {
                found.relation(&RelationRef::new(id))?;
            }
        }
    }
    Ok(found.items)
}

/// Notes what is referred to, and changes nothing.
struct Found<'s> {
    schema: &'s Schema,
    items: Vec<Item>,
}

impl Found<'_> {
    fn note(&mut self, relation: RelationId) {
        if self.schema.relation(relation).view().is_some() {
            self.items.push(Item::View(relation));
        }
    }
}

impl Rewrite for Found<'_> {
    fn expr(&mut self, expr: &Expr) -> Result<Option<Expr>> {
        if let ExprKind::UserCall(function, _) = &expr.kind {
            self.items.push(Item::Function(*function));
        }
        Ok(None)
    }

    fn relation(&mut self, relation: &RelationRef) -> Result<RelationRef> {
        self.note(relation.relation);
        Ok(relation.clone())
    }

    fn from_item(&mut self, item: &FromItem) -> Result<Option<FromItem>> {
        if let FromItem::Function { function, .. } = item {
            self.items.push(Item::Function(*function));
        }
        Ok(None)
    }

    fn insert(&mut self, insert: Insert) -> Result<Insert> {
        self.note(insert.relation.relation);
        Ok(insert)
    }

    fn update(&mut self, update: Update) -> Result<Update> {
        self.note(update.relation.relation);
        Ok(update)
    }

    fn delete(&mut self, delete: Delete) -> Result<Delete> {
        self.note(delete.relation.relation);
        Ok(delete)
    }
}
