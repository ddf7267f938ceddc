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

/// A relation in which a table's columns appear: the table itself, or a view. For each column of the table, where it appears.
struct Face {
    relation: RelationId,
    shown: Vec<Vec<u32>>,
}

/// A view may show a key's column several times; of so many combinations at most are ways of their own.
const COMBINATIONS_MAX: usize = 16;

impl Schema {
    /// Fills [`Schema::relationships`]; call after [`Schema::index`].
    ///
    /// A view takes part in the relationships of the tables whose key columns it shows. A junction is a table whose primary
    /// key contains the columns of two foreign keys of its own, or a view that shows all of that.
    pub fn relate(&mut self) {
        let edges = self.edges();
        let mut out: Vec<Vec<Relationship>> = vec![Vec::new(); self.relations.len()];
        let mut from: Vec<Vec<usize>> = vec![Vec::new(); self.relations.len()];
        for (index, edge) in edges.iter().enumerate() {
            from[edge.from.0 as usize].push(index);
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
        for (junction, own) in from.iter().enumerate() {
            if own.len() < 2 || !self.may_be_junction(RelationId(junction as u32)) {
                continue;
            }
            let key = self.key_of(RelationId(junction as u32));
            let pairs = own.iter().flat_map(|left| own.iter().map(move |right| (*left, *right)));
            for (left, right) in pairs.map(|(left, right)| (&edges[left], &edges[right])) {
                if !is_junction(&key, left, right) {
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

    /// What is in no served schema joins nothing that is asked for.
    fn may_be_junction(&self, relation: RelationId) -> bool {
        self.namespaces.is_empty() || self.namespaces.contains(&self.relation(relation).namespace)
    }

    /// The columns of the primary key; of a view, the columns that show the whole key of a table.
    pub fn key_of(&self, relation: RelationId) -> Vec<u32> {
        let Some(view) = self.relation(relation).view() else {
            return self.relation(relation).primary_key().to_vec();
        };
        let mut tables: Vec<RelationId> = view.origins.iter().flatten().map(|(table, _)| *table).collect();
        tables.sort_unstable();
        tables.dedup();
        let shows = |table: RelationId, column: u32| view.origins.iter().position(|o| *o == Some((table, column)));
        tables
            .iter()
            .filter_map(|table| {
                let key = self.relation(*table).primary_key();
                key.iter()
                    .map(|c| shows(*table, *c).map(|at| at as u32))
                    .collect::<Option<Vec<u32>>>()
            })
            .flatten()
            .collect()
    }

    /// Each table with itself and every view that shows its columns, by the table's index.
    fn faces(&self) -> Vec<Vec<Face>> {
        let mut faces: Vec<Vec<Face>> = Vec::with_capacity(self.relations.len());
        for (i, relation) in self.relations.iter().enumerate() {
            let itself = relation.table().map(|_| Face {
                relation: RelationId(i as u32),
                shown: (0..relation.columns.len() as u32).map(|c| vec![c]).collect(),
            });
            faces.push(itself.into_iter().collect());
        }
        for (i, relation) in self.relations.iter().enumerate() {
            let Some(view) = relation.view() else { continue };
            let id = RelationId(i as u32);
            for (column, origin) in view.origins.iter().enumerate() {
                let Some((base, base_column)) = origin else { continue };
                let width = self.relation(*base).columns.len();
                let of_base = &mut faces[base.0 as usize];
                if of_base.last().is_none_or(|face| face.relation != id) {
                    of_base.push(Face {
                        relation: id,
                        shown: vec![Vec::new(); width],
                    });
                }
                if let Some(shown) = of_base.last_mut().and_then(|f| f.shown.get_mut(*base_column as usize)) {
                    shown.push(column as u32);
                }
            }
        }
        faces
    }

    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        let faces = self.faces();
        for (i, relation) in self.relations.iter().enumerate() {
            let Some(table) = relation.table() else { continue };
            for key in &table.foreign_keys {
                let sorted = |columns: &[u32]| {
                    let mut columns = columns.to_vec();
                    columns.sort_unstable();
                    columns
                };
                let own = sorted(&key.columns);
                let unique =
                    sorted(&table.primary_key) == own || table.uniques.iter().any(|u| sorted(&u.columns) == own);
                for from in &faces[i] {
                    let from_columns = combinations(from, &key.columns);
                    for to in &faces[key.target.0 as usize] {
                        for others in combinations(to, &key.target_columns) {
                            edges.extend(from_columns.iter().map(|own| Edge {
                                from: from.relation,
                                to: to.relation,
                                name: key.name.clone(),
                                columns: own.iter().copied().zip(others.iter().copied()).collect(),
                                unique,
                            }));
                        }
                    }
                }
            }
        }
        edges
    }
}

/// Whether two keys lead from a junction with this primary key to what it joins.
fn is_junction(key: &[u32], left: &Edge, right: &Edge) -> bool {
    let mut columns = left.columns.iter().chain(&right.columns).map(|(own, _)| own);
    !key.is_empty() && !left.unique && !right.unique && left.name != right.name && columns.all(|c| key.contains(c))
}

/// Every way in which a face shows all of these columns; none when it lacks one.
fn combinations(face: &Face, columns: &[u32]) -> Vec<Vec<u32>> {
    let mut out: Vec<Vec<u32>> = vec![Vec::new()];
    for column in columns {
        let shown = face.shown.get(*column as usize).map_or(&[] as &[u32], Vec::as_slice);
        out = out
            .iter()
            .flat_map(|so_far| {
                shown.iter().map(move |c| {
                    let mut longer = so_far.clone();
                    longer.push(*c);
                    longer
                })
            })
            .take(COMBINATIONS_MAX)
            .collect();
    }
    out
}
