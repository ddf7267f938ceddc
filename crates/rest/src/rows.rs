//! What rows look like wherever they come from: a table, a view, or a function's result.

use mainstay_model::{FunctionId, RelationId, Returns, Schema, Type};
use std::sync::Arc;

/// A source of rows with named columns.
#[derive(Clone)]
pub(crate) struct Rows<'s> {
    /// What messages call it: the relation, or the function.
    pub name: &'s str,
    /// The relation whose rows they are, so that they can be embedded in and computed on.
    pub relation: Option<RelationId>,
    columns: Columns<'s>,
}

#[derive(Clone)]
enum Columns<'s> {
    Relation(&'s [mainstay_model::Column]),
    Named(&'s [(Arc<str>, Type)]),
    /// A scalar's one column, named after its function.
    One(&'s Arc<str>, &'s Type),
    None,
}

impl<'s> Rows<'s> {
    /// A table's or view's.
    pub fn of_relation(schema: &'s Schema, id: RelationId) -> Rows<'s> {
        let relation = schema.relation(id);
        Rows {
            name: &relation.name,
            relation: Some(id),
            columns: Columns::Relation(&relation.columns),
        }
    }

    /// A function's.
    pub fn of_function(schema: &'s Schema, id: FunctionId) -> Rows<'s> {
        let function = schema.function(id);
        match &function.returns {
            Returns::Row(relation) | Returns::SetOfRow(relation) => Rows::of_relation(schema, *relation),
            Returns::Table(columns) | Returns::Record(columns) => Rows {
                name: &function.name,
                relation: None,
                columns: Columns::Named(columns),
            },
            Returns::Scalar(ty) | Returns::SetOfScalar(ty) => Rows {
                name: &function.name,
                relation: None,
                columns: Columns::One(&function.name, ty),
            },
            Returns::Void => Rows {
                name: &function.name,
                relation: None,
                columns: Columns::None,
            },
        }
    }

    /// The index and type of a column.
    pub fn column(&self, name: &str) -> Option<(u32, &'s Type)> {
        match self.columns {
            Columns::Relation(columns) => columns
                .iter()
                .position(|c| &*c.name == name)
                .map(|i| (i as u32, &columns[i].ty)),
            Columns::Named(columns) => columns
                .iter()
                .position(|c| &*c.0 == name)
                .map(|i| (i as u32, &columns[i].1)),
            Columns::One(own, ty) => (**own == *name).then_some((0, ty)),
            Columns::None => None,
        }
    }

    /// The domain that a column was declared with.
    pub fn domain(&self, index: u32) -> Option<&'s str> {
        match self.columns {
            Columns::Relation(columns) => columns.get(index as usize)?.domain.as_deref(),
            Columns::Named(_) | Columns::One(..) | Columns::None => None,
        }
    }

    /// A column's name.
    pub fn column_name(&self, index: u32) -> Option<&'s str> {
        match self.columns {
            Columns::Relation(columns) => columns.get(index as usize).map(|c| &*c.name),
            Columns::Named(columns) => columns.get(index as usize).map(|c| &*c.0),
            Columns::One(own, _) => (index == 0).then_some(&**own),
            Columns::None => None,
        }
    }

    /// Every column, in order.
    pub fn all(&self) -> Vec<(u32, Arc<str>, &'s Type)> {
        match self.columns {
            Columns::Relation(columns) => columns
                .iter()
                .enumerate()
                .map(|(i, c)| (i as u32, c.name.clone(), &c.ty))
                .collect(),
            Columns::Named(columns) => columns
                .iter()
                .enumerate()
                .map(|(i, c)| (i as u32, c.0.clone(), &c.1))
                .collect(),
            Columns::One(own, ty) => vec![(0, own.clone(), ty)],
            Columns::None => Vec::new(),
        }
    }
}
