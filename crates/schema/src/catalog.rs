//! What has been declared so far: everything a statement may still change, before it is bound into a
//! [`Schema`](mainstay_model::Schema). Expressions stay syntax here; relations and columns are known by their place in these lists,
//! which a later DROP leaves as a gap.

use crate::names::{Name, generated_name};
use crate::source_text::SourceText;
use crate::{Problem, preprocess::CopyBlock};
use mainstay_model::{IdentityColumn, PartitionBy, PolicyCommand, Privilege, ReferentialAction, Sequence, Span, Type};
use squawk_syntax::SyntaxNode;
use squawk_syntax::ast;
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// A file that is read.
pub(crate) struct File {
    pub(crate) source: SourceText,
    pub(crate) original: String,
    pub(crate) copies: Vec<CopyBlock>,
    pub(crate) store: Arc<str>,
    pub(crate) service: Option<Arc<str>>,
}

/// Where something was written, as far as the meaning of names depends on it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) file: usize,
    /// The search path in force.
    pub(crate) path: Rc<[Arc<str>]>,
}

/// A piece of syntax and where it was written.
#[derive(Clone)]
pub(crate) struct Written<T> {
    pub(crate) node: T,
    pub(crate) place: Place,
}

/// A table or view.
pub(crate) struct DraftRelation {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    pub(crate) span: Span,
    pub(crate) comment: Option<String>,
    pub(crate) dropped: bool,
    pub(crate) kind: DraftKind,
}

pub(crate) enum DraftKind {
    Table(DraftTable),
    View(DraftView),
}

#[derive(Default)]
pub(crate) struct DraftTable {
    pub(crate) columns: Vec<DraftColumn>,
    pub(crate) primary_key: Option<DraftUnique>,
    pub(crate) uniques: Vec<DraftUnique>,
    pub(crate) foreign_keys: Vec<DraftForeignKey>,
    pub(crate) checks: Vec<DraftCheck>,
    pub(crate) indexes: Vec<DraftIndex>,
    pub(crate) policies: Vec<DraftPolicy>,
    pub(crate) row_security: bool,
    pub(crate) partition: Option<(PartitionBy, Vec<usize>)>,
    /// Of a partition: the table that it is a part of, which then stands for it.
    pub(crate) partition_of: Option<usize>,
}

#[derive(Clone)]
pub(crate) struct DraftView {
    pub(crate) query: ast::SelectVariant,
    /// How many columns each relation had when the view was declared: what `*` means in it.
    pub(crate) known: Rc<[usize]>,
    pub(crate) columns: Option<Vec<Arc<str>>>,
    pub(crate) renames: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) security_invoker: bool,
    pub(crate) security_barrier: bool,
    pub(crate) materialized: bool,
    pub(crate) column_comments: Vec<(Arc<str>, Option<String>, Span)>,
}

#[derive(Clone)]
pub(crate) struct DraftColumn {
    pub(crate) name: Arc<str>,
    pub(crate) span: Span,
    pub(crate) dropped: bool,
    pub(crate) ty: DraftType,
    pub(crate) not_null: bool,
    pub(crate) default: Option<Written<ast::Expr>>,
    pub(crate) generated: Option<Written<ast::Expr>>,
    /// How it numbers its rows, and the sequence's place.
    pub(crate) identity: Option<(IdentityColumn, usize)>,
    pub(crate) comment: Option<String>,
}

/// The type of a column: as written, or known already (`serial`).
#[derive(Clone)]
pub(crate) enum DraftType {
    Written(Written<ast::Type>),
    Known(Type),
}

#[derive(Clone)]
pub(crate) struct DraftUnique {
    pub(crate) name: Arc<str>,
    pub(crate) columns: Vec<usize>,
    pub(crate) nulls_not_distinct: bool,
}

#[derive(Clone)]
pub(crate) struct DraftForeignKey {
    pub(crate) name: Arc<str>,
    pub(crate) columns: Vec<usize>,
    /// Known when the table had been declared before.
    pub(crate) target: Option<usize>,
    pub(crate) target_name: Name,
    pub(crate) target_columns: Option<Vec<(Arc<str>, Span)>>,
    pub(crate) on_delete: ReferentialAction,
    pub(crate) on_update: ReferentialAction,
    pub(crate) deferred: bool,
    pub(crate) place: Place,
    pub(crate) span: Span,
}

#[derive(Clone)]
pub(crate) struct DraftCheck {
    pub(crate) name: Arc<str>,
    pub(crate) expr: Written<ast::Expr>,
}

#[derive(Clone)]
pub(crate) struct DraftIndex {
    pub(crate) name: Arc<str>,
    pub(crate) unique: bool,
    pub(crate) nulls_not_distinct: bool,
    pub(crate) keys: Vec<DraftKey>,
    pub(crate) filter: Option<ast::Expr>,
    pub(crate) method: Arc<str>,
    pub(crate) place: Place,
}

#[derive(Clone)]
pub(crate) struct DraftKey {
    pub(crate) expr: ast::Expr,
    /// The column, if it is nothing more.
    pub(crate) column: Option<usize>,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

#[derive(Clone)]
pub(crate) struct DraftPolicy {
    pub(crate) name: Arc<str>,
    pub(crate) command: PolicyCommand,
    pub(crate) restrictive: bool,
    pub(crate) roles: Vec<Arc<str>>,
    pub(crate) using: Option<Written<ast::Expr>>,
    pub(crate) check: Option<Written<ast::Expr>>,
    pub(crate) span: Span,
}

/// An enum, domain, composite or range type.
pub(crate) struct DraftDeclared {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    pub(crate) span: Span,
    pub(crate) dropped: bool,
    pub(crate) kind: DeclaredKind,
}

pub(crate) enum DeclaredKind {
    Enum(Vec<Arc<str>>),
    Domain(DraftDomain),
    Composite(Vec<(Arc<str>, ast::Type)>),
    Range,
}

pub(crate) struct DraftDomain {
    pub(crate) base: ast::Type,
    pub(crate) not_null: bool,
    pub(crate) default: Option<Written<ast::Expr>>,
    pub(crate) checks: Vec<DraftCheck>,
}

pub(crate) struct DraftSequence {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) definition: Sequence,
    pub(crate) dropped: bool,
}

pub(crate) struct DraftFunction {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    /// Types of the arguments that identify it, as [`crate::ddl::signature_of`] writes them.
    pub(crate) signature: Vec<String>,
    pub(crate) place: Place,
    pub(crate) span: Span,
    pub(crate) dropped: bool,
    pub(crate) comment: Option<String>,
    pub(crate) params: Option<ast::ParamList>,
    pub(crate) returns: Option<ast::RetType>,
    pub(crate) options: Vec<ast::FuncOption>,
    pub(crate) body: Option<ast::RoutineBody>,
    /// Why it cannot be served, if it cannot.
    pub(crate) refused: Option<String>,
}

/// A GRANT or REVOKE, applied once the columns of views are known.
pub(crate) struct DraftGrant {
    pub(crate) revoke: bool,
    pub(crate) target: GrantTarget,
    pub(crate) roles: Vec<Arc<str>>,
}

pub(crate) enum GrantTarget {
    /// Relation, privileges and their columns.
    Relation(usize, GrantedPrivileges),
    Function(usize),
}

/// Privileges, each with its columns if it is for some only.
pub(crate) type GrantedPrivileges = Vec<(Privilege, Option<Vec<(Arc<str>, Span)>>)>;

/// `ALTER DEFAULT PRIVILEGES`
pub(crate) struct DefaultGrant {
    pub(crate) namespaces: Option<Vec<Arc<str>>>,
    /// `None`: on functions.
    pub(crate) privileges: Option<Vec<Privilege>>,
    pub(crate) roles: Vec<Arc<str>>,
}

/// Rows that a file brings.
pub(crate) struct DraftSeed {
    pub(crate) relation: usize,
    pub(crate) columns: Option<Vec<(Arc<str>, Span)>>,
    pub(crate) rows: SeedRows,
    pub(crate) place: Place,
    pub(crate) span: Span,
}

pub(crate) enum SeedRows {
    /// Lines of COPY's text format, with delimiter and null text.
    Copy(Range<usize>, char, String),
    /// Rows of VALUES.
    Values(Vec<ast::Row>),
    /// `SELECT` of one row of constants.
    Select(SyntaxNode),
    /// `DEFAULT VALUES`
    Defaults,
}

/// Everything declared so far.
#[derive(Default)]
pub(crate) struct Catalog {
    pub(crate) files: Vec<File>,
    pub(crate) relations: Vec<DraftRelation>,
    pub(crate) declared: Vec<DraftDeclared>,
    pub(crate) sequences: Vec<DraftSequence>,
    pub(crate) functions: Vec<DraftFunction>,
    pub(crate) grants: Vec<DraftGrant>,
    pub(crate) default_grants: Vec<DefaultGrant>,
    pub(crate) seeds: Vec<DraftSeed>,
    pub(crate) sequence_values: Vec<(usize, i64)>,
    /// Schemas declared, besides `public`.
    pub(crate) namespaces: Vec<Arc<str>>,
    /// Schemas of extensions and the system: nothing in them is ours.
    pub(crate) foreign_namespaces: HashSet<Arc<str>>,
    pub(crate) has_grants: bool,
    /// (schema, name) of relations, indexes and sequences, which share one space of names.
    relation_names: HashSet<(Arc<str>, Arc<str>)>,
    /// (schema, name) of constraints.
    constraint_names: HashSet<(Arc<str>, Arc<str>)>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) notes: Vec<crate::Note>,
}

impl Catalog {
    pub(crate) fn source(&self, place: &Place) -> &SourceText {
        &self.files[place.file].source
    }

    /// A relation by name, as the search path finds it.
    pub(crate) fn relation(&self, name: &Name, path: &[Arc<str>]) -> Option<usize> {
        let find = |namespace: &str| {
            let matches = |r: &DraftRelation| !r.dropped && *r.name == *name.name && *r.namespace == *namespace;
            self.relations.iter().position(matches)
        };
        match &name.namespace {
            Some(namespace) => find(namespace),
            None => path.iter().find_map(|n| find(n)),
        }
    }

    /// A sequence by name, as the search path finds it.
    pub(crate) fn sequence(&self, name: &Name, path: &[Arc<str>]) -> Option<usize> {
        let find = |namespace: &str| {
            let matches = |s: &DraftSequence| !s.dropped && *s.name == *name.name && *s.namespace == *namespace;
            self.sequences.iter().position(matches)
        };
        match &name.namespace {
            Some(namespace) => find(namespace),
            None => path.iter().find_map(|n| find(n)),
        }
    }

    /// A type by name, as the search path finds it.
    pub(crate) fn declared_type(&self, name: &Name, path: &[Arc<str>]) -> Option<usize> {
        let find = |namespace: &str| {
            let matches = |t: &DraftDeclared| !t.dropped && *t.name == *name.name && *t.namespace == *namespace;
            self.declared.iter().position(matches)
        };
        match &name.namespace {
            Some(namespace) => find(namespace),
            None => path.iter().find_map(|n| find(n)),
        }
    }

    /// Functions by name, and by the types of their arguments if those are given.
    pub(crate) fn functions_named(&self, name: &Name, signature: Option<&[String]>, path: &[Arc<str>]) -> Vec<usize> {
        let find = |namespace: &str| -> Vec<usize> {
            let matches = |(i, f): (usize, &DraftFunction)| {
                let same = !f.dropped && *f.name == *name.name && *f.namespace == *namespace;
                (same && signature.is_none_or(|s| s == f.signature)).then_some(i)
            };
            self.functions.iter().enumerate().filter_map(matches).collect()
        };
        match &name.namespace {
            Some(namespace) => find(namespace),
            None => path
                .iter()
                .map(|n| find(n))
                .find(|found| !found.is_empty())
                .unwrap_or_default(),
        }
    }

    /// The table's own properties; `None` for a view.
    pub(crate) fn table(&self, relation: usize) -> Option<&DraftTable> {
        match &self.relations.get(relation)?.kind {
            DraftKind::Table(table) => Some(table),
            DraftKind::View(_) => None,
        }
    }

    /// How many columns each relation has had so far, dropped ones included; 0 for a view.
    pub(crate) fn column_counts(&self) -> Rc<[usize]> {
        let counts = (0..self.relations.len()).map(|at| self.table(at).map_or(0, |t| t.columns.len()));
        counts.collect()
    }

    /// As [`Catalog::table`], to change it.
    pub(crate) fn table_mut(&mut self, relation: usize) -> Option<&mut DraftTable> {
        match &mut self.relations.get_mut(relation)?.kind {
            DraftKind::Table(table) => Some(table),
            DraftKind::View(_) => None,
        }
    }

    /// Takes a name that the user gave to a relation, index or sequence; false if it is taken.
    pub(crate) fn take_relation_name(&mut self, namespace: &Arc<str>, name: &Arc<str>) -> bool {
        self.relation_names.insert((namespace.clone(), name.clone()))
    }

    /// Gives up the name of a relation, index or sequence.
    pub(crate) fn free_relation_name(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        self.relation_names.remove(&(namespace.clone(), name.clone()));
    }

    /// Notes a name that the user gave to a constraint.
    pub(crate) fn take_constraint_name(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        self.constraint_names.insert((namespace.clone(), name.clone()));
    }

    /// Gives up a constraint's name.
    pub(crate) fn free_constraint_name(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        self.constraint_names.remove(&(namespace.clone(), name.clone()));
    }

    /// The name of an unnamed index, primary key, unique constraint or sequence.
    pub(crate) fn generate_relation_name(
        &mut self,
        namespace: &Arc<str>,
        table: &str,
        columns: &str,
        label: &str,
    ) -> Arc<str> {
        let is_constraint = label == "pkey" || label == "key";
        let name = generated_name(table, columns, label, &|name| {
            let key = (namespace.clone(), Arc::from(name));
            self.relation_names.contains(&key) || (is_constraint && self.constraint_names.contains(&key))
        });
        self.relation_names.insert((namespace.clone(), name.clone()));
        name
    }

    /// The name of an unnamed check or foreign key.
    pub(crate) fn generate_constraint_name(
        &mut self,
        namespace: &Arc<str>,
        table: &str,
        columns: &str,
        label: &str,
    ) -> Arc<str> {
        let name = generated_name(table, columns, label, &|name| {
            self.constraint_names.contains(&(namespace.clone(), Arc::from(name)))
        });
        self.constraint_names.insert((namespace.clone(), name.clone()));
        name
    }

    /// Applies what `ALTER DEFAULT PRIVILEGES` said to something new.
    pub(crate) fn apply_default_grants(&mut self, namespace: &str, target: NewObject) {
        for default in &self.default_grants {
            if default
                .namespaces
                .as_ref()
                .is_some_and(|list| !list.iter().any(|n| **n == *namespace))
            {
                continue;
            }
            let target = match (target, &default.privileges) {
                (NewObject::Relation(relation), Some(privileges)) => {
                    GrantTarget::Relation(relation, privileges.iter().map(|p| (*p, None)).collect())
                }
                (NewObject::Function(function), None) => GrantTarget::Function(function),
                _ => continue,
            };
            self.grants.push(DraftGrant {
                revoke: false,
                target,
                roles: default.roles.clone(),
            });
        }
    }
}

/// What default privileges are applied to.
#[derive(Clone, Copy)]
pub(crate) enum NewObject {
    Relation(usize),
    Function(usize),
}

impl DraftTable {
    /// A live column by name.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| !c.dropped && *c.name == *name)
    }

    /// Names of live columns.
    pub(crate) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|c| !c.dropped).map(|c| &*c.name)
    }
}
