//! What a database holds, object by object, in the words of its own catalogue. A schema that is wanted and a database that is there
//! are read with the same queries from the same server, so that equal objects have equal texts.

use std::collections::{BTreeMap, BTreeSet};

/// What an object is. The order is that of dropping, dependents first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A rule on a table or view.
    Rule,
    /// A trigger.
    Trigger,
    /// A row security policy.
    Policy,
    /// A view.
    View,
    /// A materialised view.
    MaterializedView,
    /// A function or procedure.
    Function,
    /// An index that no constraint made.
    Index,
    /// A primary key, unique, foreign key, check or exclusion constraint.
    Constraint,
    /// A column's default.
    Default,
    /// A column.
    Column,
    /// A table.
    Table,
    /// A sequence that is not a column's identity.
    Sequence,
    /// An enum, domain, composite or range type.
    Type,
    /// An extension.
    Extension,
    /// A schema.
    Schema,
}

impl Kind {
    /// The word for people, and the key in the records.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Rule => "rule",
            Kind::Trigger => "trigger",
            Kind::Policy => "policy",
            Kind::View => "view",
            Kind::MaterializedView => "materialized view",
            Kind::Function => "function",
            Kind::Index => "index",
            Kind::Constraint => "constraint",
            Kind::Default => "default",
            Kind::Column => "column",
            Kind::Table => "table",
            Kind::Sequence => "sequence",
            Kind::Type => "type",
            Kind::Extension => "extension",
            Kind::Schema => "schema",
        }
    }

    /// Whether dropping one loses what users stored.
    pub(crate) fn holds_data(self) -> bool {
        matches!(self, Kind::Column | Kind::Table | Kind::Sequence)
    }
}

/// What an object is called: its kind and its quoted, qualified name (`public.orders`, `public.orders.total`).
pub(crate) type Key = (Kind, String);

/// Privileges of everybody but the owner: (grantee, privilege) → whether it may be granted on.
pub(crate) type Acl = BTreeMap<(String, String), bool>;

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    /// Quoted and qualified; unique within its kind.
    pub(crate) name: String,
    /// The table or view that it is a part of.
    pub(crate) table: Option<String>,
    /// Its oid: the order in which things were made.
    pub(crate) oid: u32,
    /// What is compared: its definition as the database writes it.
    pub(crate) definition: String,
    /// What makes it, where that is one statement.
    pub(crate) create: String,
    /// What COMMENT ON and DROP call it: `TABLE public.orders`, `POLICY p ON public.orders`.
    pub(crate) subject: String,
    pub(crate) comment: Option<String>,
    /// What GRANT calls it; `None` if it has no privileges.
    pub(crate) acl_on: Option<String>,
    pub(crate) acl: Acl,
    pub(crate) detail: Detail,
}

/// What the diff needs to know beyond the definition.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) enum Detail {
    #[default]
    None,
    Table(Table),
    Column(Column),
    Constraint {
        kind: char,
        valid: bool,
        /// The quoted name alone.
        name: String,
        /// The table that a foreign key refers to.
        target: Option<String>,
    },
    Index {
        unique: bool,
        valid: bool,
    },
    View {
        columns: Vec<(String, String)>,
        options: String,
    },
    Function {
        /// Its body was bound when it was made (`BEGIN ATOMIC`).
        bound: bool,
        /// Arguments as a whole, and what it returns: CREATE OR REPLACE can change neither.
        signature: String,
    },
    Enum(Vec<String>),
    Domain {
        not_null: bool,
        default: Option<String>,
        checks: BTreeMap<String, String>,
        base: String,
    },
    Composite(Vec<(String, String)>),
    Sequence {
        owner: Option<String>,
    },
}

/// A table's own properties.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Table {
    pub(crate) bytes: i64,
    pub(crate) partition_key: Option<String>,
    /// Of a partition: its bounds.
    pub(crate) bound: Option<String>,
    pub(crate) parents: Vec<String>,
    pub(crate) options: String,
    pub(crate) unlogged: bool,
    pub(crate) row_security: bool,
    pub(crate) force_row_security: bool,
    pub(crate) replica_identity: String,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Column {
    /// The quoted name alone.
    pub(crate) name: String,
    pub(crate) number: i32,
    pub(crate) ty: String,
    pub(crate) collation: Option<String>,
    pub(crate) not_null: bool,
    /// `a` always, `d` by default, empty: none.
    pub(crate) identity: String,
    pub(crate) identity_options: String,
    /// Of a generated column: its expression.
    pub(crate) generated: Option<String>,
    /// A view's: it is described by the view.
    pub(crate) of_view: bool,
}

/// Everything in some schemas.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    pub(crate) objects: BTreeMap<Key, Object>,
    /// (dependent, what it needs, the column's number if it is one): from the database's own dependencies.
    pub(crate) dependencies: Vec<(Key, Key, i32)>,
}

impl Shape {
    pub(crate) fn get(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// Parts of a table or view, of one kind.
    pub(crate) fn parts<'s>(&'s self, kind: Kind, table: &'s str) -> impl Iterator<Item = &'s Object> {
        self.of(kind).filter(move |o| o.table.as_deref() == Some(table))
    }

    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects
            .range((kind, String::new())..)
            .take_while(move |((k, _), _)| *k == kind)
            .map(|(_, object)| object)
    }

    /// Columns of a table in their order.
    pub(crate) fn columns<'s>(&'s self, table: &'s str) -> Vec<(&'s Object, &'s Column)> {
        let mut columns: Vec<(&'s Object, &'s Column)> = self
            .parts(Kind::Column, table)
            .filter_map(|o| match &o.detail {
                Detail::Column(c) => Some((o, c)),
                _ => None,
            })
            .collect();
        columns.sort_by_key(|(_, c)| c.number);
        columns
    }

    pub(crate) fn table(&self, name: &str) -> Option<&Table> {
        match &self.get(Kind::Table, name)?.detail {
            Detail::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.objects.keys().cloned().collect()
    }
}

impl Object {
    pub(crate) fn key(&self) -> Key {
        (self.kind, self.name.clone())
    }

    /// How people call it.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.kind.word(), self.name)
    }
}
