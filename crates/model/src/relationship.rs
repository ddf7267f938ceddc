//! How relations are related: computed once from foreign keys, junction tables, views and functions.

use crate::{FunctionId, RelationId, Schema};
use std::sync::Arc;

/// A way from one relation to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relationship {
    /// Where it leads.
    pub target: RelationId,
    /// How many there are.
    pub cardinality: Cardinality,
    /// The foreign key's name, or the function's of a computed one; of many-to-many both, joined by a comma as in hints.
    pub constraint: Arc<str>,
    /// (own column, target column); of many-to-many (own column, junction column).
    pub columns: Vec<(u32, u32)>,
    /// Of many-to-many.
    pub through: Option<Through>,
    /// Of a computed relationship.
    pub function: Option<FunctionId>,
    /// Points back to the same relation.
    pub is_self: bool,
}

/// The junction of a many-to-many, (junction column, target column), and the name of the foreign key to the target.
pub type Through = (RelationId, Vec<(u32, u32)>, Arc<str>);

/// How many rows there are on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// Many of ours to one of theirs.
    ManyToOne,
    /// One of ours to many of theirs.
    OneToMany,
    /// One to one; `true` when the foreign key is ours.
    OneToOne(bool),
    /// Through a junction.
    ManyToMany,
}

impl Cardinality {
    /// Whether there is at most one on the other side.
    pub fn is_to_one(self) -> bool {
        matches!(self, Cardinality::ManyToOne | Cardinality::OneToOne(_))
    }
}

/// A foreign key between two relations that may be views.
struct Edge {
    from: RelationId,
    to: RelationId,
    name: Arc<str>,
    columns: Vec<(u32, u32)>,
    unique: bool,
}

impl Schema {
    /// Fills [`Schema::relationships`]; call after [`Schema::index`].
    ///
    /// A view takes part in the relationships of the tables whose key columns it shows. A junction is a table whose primary
    /// key contains the columns of two foreign keys of its own.
    pub fn relate(&mut self) {
        let edges = self.edges();
        let mut out: Vec<Vec<Relationship>> = vec![Vec::new(); self.relations.len()];
        for edge in &edges {
            let is_self = edge.from == edge.to;
            let (forward, backward) = if edge.unique {
                (Cardinality::OneToOne(true), Cardinality::OneToOne(false))
            } else {
                (Cardinality::ManyToOne, Cardinality::OneToMany)
            };
            out[edge.from.0 as usize].push(Relationship {
                target: edge.to,
                cardinality: forward,
                constraint: edge.name.clone(),
                columns: edge.columns.clone(),
                through: None,
                function: None,
                is_self,
            });
            out[edge.to.0 as usize].push(Relationship {
                target: edge.from,
                cardinality: backward,
                constraint: edge.name.clone(),
                columns: edge.columns.iter().map(|&(own, other)| (other, own)).collect(),
                through: None,
                function: None,
                is_self,
            });
        }
        for (left_index, left) in edges.iter().enumerate() {
            for (right_index, right) in edges.iter().enumerate() {
                if left_index == right_index || left.from != right.from || !self.is_junction(left, right) {
                    continue;
                }
                out[left.to.0 as usize].push(Relationship {
                    target: right.to,
                    cardinality: Cardinality::ManyToMany,
                    constraint: left.name.clone(),
                    columns: left.columns.iter().map(|&(junction, own)| (own, junction)).collect(),
                    through: Some((left.from, right.columns.clone(), right.name.clone())),
                    function: None,
                    is_self: left.to == right.to,
                });
            }
        }
        self.relationships = out;
    }

    fn is_junction(&self, left: &Edge, right: &Edge) -> bool {
        let key = self.relation(left.from).primary_key();
        let columns = || left.columns.iter().chain(&right.columns).map(|(own, _)| own);
        !key.is_empty() && columns().all(|c| key.contains(c)) && left.columns.iter().all(|c| !right.columns.contains(c))
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        // Each table stands for itself and for every view that shows its columns.
        let faces = |table: RelationId| {
            let mut faces: Vec<(RelationId, Vec<Option<u32>>)> = vec![(
                table,
                (0..self.relation(table).columns.len() as u32).map(Some).collect(),
            )];
            for (i, relation) in self.relations.iter().enumerate() {
                let Some(view) = relation.view() else { continue };
                let mut shown = vec![None; self.relation(table).columns.len()];
                for (column, origin) in view.origins.iter().enumerate() {
                    if let Some((base, base_column)) = origin
                        && *base == table
                    {
                        shown[*base_column as usize].get_or_insert(column as u32);
                    }
                }
                if shown.iter().any(Option::is_some) {
                    faces.push((RelationId(i as u32), shown));
                }
            }
            faces
        };
        for (i, relation) in self.relations.iter().enumerate() {
            let Some(table) = relation.table() else { continue };
            let own_faces = faces(RelationId(i as u32));
            for key in &table.foreign_keys {
                let sorted = |columns: &[u32]| {
                    let mut columns = columns.to_vec();
                    columns.sort_unstable();
                    columns
                };
                let own = sorted(&key.columns);
                let unique =
                    sorted(&table.primary_key) == own || table.uniques.iter().any(|u| sorted(&u.columns) == own);
                for (from, from_columns) in &own_faces {
                    for (to, to_columns) in faces(key.target) {
                        let columns: Option<Vec<(u32, u32)>> = key
                            .columns
                            .iter()
                            .zip(&key.target_columns)
                            .map(|(&own, &other)| Some((from_columns[own as usize]?, to_columns[other as usize]?)))
                            .collect();
                        if let Some(columns) = columns {
                            edges.push(Edge {
                                from: *from,
                                to,
                                name: key.name.clone(),
                                columns,
                                unique,
                            });
                        }
                    }
                }
            }
        }
        edges
    }
}
