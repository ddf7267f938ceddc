//! What a project is: relations, functions, roles and rules, read from `schema.sql` or from a database.

use crate::{Expr, Relationship, Select, Sequence, Statement, Type, Volatility};
use std::collections::HashMap;
use std::sync::Arc;

/// Index of a relation in [`Schema::relations`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationId(pub u32);

/// Index of a function in [`Schema::functions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionId(pub u32);

/// A place in a source file: byte offsets, and 1-based line and column (in characters) of the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The file as the user named it; empty for what has no source.
    pub file: Arc<str>,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
}

/// What a function runs with: names and values of the database's own settings (`SET search_path = …`).
pub type Settings = Vec<(Arc<str>, Arc<str>)>;

/// The whole model.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// Tables and views.
    pub relations: Vec<Relation>,
    /// Functions; overloads share a name.
    pub functions: Vec<Function>,
    /// Enums by name, with their labels in order.
    pub enums: HashMap<Arc<str>, Arc<[Arc<str>]>>,
    /// Domains, composite and range types by name.
    pub types: HashMap<Arc<str>, DeclaredType>,
    /// Sequences by name.
    pub sequences: HashMap<Arc<str>, Sequence>,
    /// How relations are related, per relation; filled by [`Schema::relate`].
    pub relationships: Vec<Vec<Relationship>>,
    /// Schemas in the order in which names are looked up; the first is the default.
    pub namespaces: Vec<Arc<str>>,
    /// Whether any GRANT was read: without one, everything is served to `service_role` only.
    pub has_grants: bool,
    /// Schemas that are not served, in which functions of a row (computed columns and relationships) are looked for too.
    pub extra_search_path: Vec<Arc<str>>,
    /// (domain, `json` or `text`) → the function behind an implicit cast between them: how values of the domain are read and shown.
    pub representations: Vec<DomainCast>,
    /// Functions and aggregates that yield a media type.
    pub media_handlers: Vec<MediaHandler>,
    /// Where the functions are that make GeoJSON of rows (`st_asgeojson(record)`), if the database has them.
    pub geojson: Option<Arc<str>>,
    /// What functions set for the transaction that calls them (`SET statement_timeout …`), where a database says so.
    pub function_settings: HashMap<FunctionId, Settings>,
    /// Changes whenever anything above does; part of every cache key.
    pub digest: u64,
    /// (schema, name) → relation; filled by [`Schema::index`].
    pub relation_names: HashMap<(Arc<str>, Arc<str>), RelationId>,
    /// (schema, name) → functions; filled by [`Schema::index`].
    pub function_names: HashMap<(Arc<str>, Arc<str>), Vec<FunctionId>>,
}

/// A type of the schema's own that is no enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclaredType {
    /// A domain over another type. Its checks stand with the columns that use it.
    Domain(Type),
    /// `CREATE TYPE … AS (…)`
    Composite(Vec<(Arc<str>, Type)>),
    /// `CREATE TYPE … AS RANGE`; known as [`Type::Other`].
    Range,
}

/// An implicit cast between a domain and `json` or `text`, made by a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainCast {
    /// The type cast from: a domain's key in [`Schema::types`], or `json` or `text`.
    pub source: Arc<str>,
    /// The type cast to.
    pub target: Arc<str>,
    /// The function's schema.
    pub namespace: Arc<str>,
    /// The function's name.
    pub name: Arc<str>,
}

/// A function whose result, or an aggregate whose value, is a domain named after a media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaHandler {
    /// The schema of the function or aggregate.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `text/html`, `*/*`
    pub media_type: Arc<str>,
    /// What the domain is over.
    pub base: Type,
    /// What it is for.
    pub subject: MediaSubject,
}

/// What a media handler makes its type of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaSubject {
    /// An aggregate over the rows of this relation.
    Rows(RelationId),
    /// An aggregate over any rows.
    AnyRows,
    /// A function's own result.
    Result,
}

/// A table or a view.
#[derive(Clone, Debug)]
pub struct Relation {
    /// The schema it is in (`public`).
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The store that holds it: a name of `[store.*]`.
    pub store: Arc<str>,
    /// The service that owns it, if the project has services.
    pub service: Option<Arc<str>>,
    /// In order.
    pub columns: Vec<Column>,
    /// What kind, and what is particular to it.
    pub kind: RelationKind,
    /// `COMMENT ON`
    pub comment: Option<String>,
    /// Privileges; `service_role` needs none.
    pub grants: Vec<Grant>,
    /// Where it was declared.
    pub span: Span,
}

/// What kind of relation.
#[derive(Clone, Debug)]
pub enum RelationKind {
    /// Holds rows.
    Table(Table),
    /// Is computed.
    View(View),
}

/// What is particular to a table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Columns of the primary key, in its order; empty without one.
    pub primary_key: Vec<u32>,
    /// Name of the primary key's constraint.
    pub primary_key_name: Option<Arc<str>>,
    /// UNIQUE constraints.
    pub uniques: Vec<Unique>,
    /// References to other tables.
    pub foreign_keys: Vec<ForeignKey>,
    /// CHECK constraints, also those of domains and columns.
    pub checks: Vec<Check>,
    /// Indexes that are not constraints.
    pub indexes: Vec<Index>,
    /// `ENABLE ROW LEVEL SECURITY`
    pub row_security: bool,
    /// Policies.
    pub policies: Vec<Policy>,
    /// `PARTITION BY`, as written: the shard key or the time axis.
    pub partition: Option<(PartitionBy, Vec<u32>)>,
    /// Its rows live elsewhere (`CREATE FOREIGN TABLE`).
    pub foreign: bool,
    /// What its engine lets be written, where that is not everything.
    pub writable: Option<Writable>,
}

/// What an engine lets be written, whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writable {
    /// Rows can be inserted.
    pub insert: bool,
    /// Rows can be updated.
    pub update: bool,
    /// Rows can be deleted.
    pub delete: bool,
}

/// How a table is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the SQL keyword of its name")]
pub enum PartitionBy {
    Hash,
    Range,
    List,
}

/// What is particular to a view.
#[derive(Clone, Debug)]
pub struct View {
    /// Its definition; empty ([`View::is_opaque`]) when only the database knows it.
    pub select: Arc<Select>,
    /// `security_invoker`: read with the caller's rights, not the owner's.
    pub security_invoker: bool,
    /// `security_barrier`: what is asked of it is asked of the rows that it gives, and of no others.
    pub security_barrier: bool,
    /// `MATERIALIZED`
    pub materialized: bool,
    /// For each column, the base table's column that it shows unchanged, if it does.
    pub origins: Vec<Option<(RelationId, u32)>>,
    /// The table that writes go to, when the view is simple enough for Postgres to update.
    pub updatable: Option<RelationId>,
    /// What can be written, where the database says it (`INSTEAD OF` triggers included); otherwise it follows from `updatable`.
    pub writable: Option<Writable>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: Arc<str>,
    /// Its type; a domain's base type.
    pub ty: Type,
    /// The domain it was declared with.
    pub domain: Option<Arc<str>>,
    /// `NOT NULL`, also from a primary key.
    pub not_null: bool,
    /// What an omitted value becomes.
    pub default: Option<Expr>,
    /// The default as written, for documentation.
    pub default_text: Option<String>,
    /// Computed from the other columns.
    pub generated: Option<Expr>,
    /// `GENERATED … AS IDENTITY` or `serial`. Its numbers come from the sequence `table_column_seq`, 1 by 1, unless the default is
    /// `nextval` of another.
    pub identity: Option<IdentityColumn>,
    /// `COMMENT ON`
    pub comment: Option<String>,
    /// Where it was declared.
    pub span: Span,
}

/// A column that numbers its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityColumn {
    /// `GENERATED ALWAYS`: an explicit value is refused (428C9).
    Always,
    /// `GENERATED BY DEFAULT`, `serial`.
    ByDefault,
}

/// A UNIQUE constraint or index.
#[derive(Clone, Debug)]
pub struct Unique {
    /// The constraint's name.
    pub name: Arc<str>,
    /// Its columns.
    pub columns: Vec<u32>,
    /// `NULLS NOT DISTINCT`
    pub nulls_not_distinct: bool,
}

/// A foreign key.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: Arc<str>,
    /// Referencing columns.
    pub columns: Vec<u32>,
    /// The referenced table.
    pub target: RelationId,
    /// Referenced columns, pair by pair.
    pub target_columns: Vec<u32>,
    /// `ON DELETE`
    pub on_delete: ReferentialAction,
    /// `ON UPDATE`
    pub on_update: ReferentialAction,
    /// `DEFERRABLE INITIALLY DEFERRED`
    pub deferred: bool,
}

/// What happens to a referencing row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the SQL keyword of its name")]
pub enum ReferentialAction {
    #[default]
    NoAction,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

/// A CHECK constraint.
#[derive(Clone, Debug)]
pub struct Check {
    /// The constraint's name.
    pub name: Arc<str>,
    /// Must not be false.
    pub expr: Expr,
}

/// An index.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its name.
    pub name: Arc<str>,
    /// Its keys.
    pub keys: Vec<crate::OrderBy>,
    /// `UNIQUE`
    pub unique: bool,
    /// `WHERE`
    pub filter: Option<Expr>,
    /// `USING btree|gin|…`
    pub method: Arc<str>,
}

/// A row security policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// What it is for.
    pub command: PolicyCommand,
    /// `AS RESTRICTIVE`
    pub restrictive: bool,
    /// For whom; empty is PUBLIC.
    pub roles: Vec<Arc<str>>,
    /// Which existing rows, on [`crate::SourceId::SELF`].
    pub using: Option<Expr>,
    /// Which new rows; `using` when absent.
    pub check: Option<Expr>,
    /// Where it was declared.
    pub span: Span,
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the SQL keyword of its name")]
pub enum PolicyCommand {
    All,
    Select,
    Insert,
    Update,
    Delete,
}

/// A privilege on a relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// To whom; `public` is everyone.
    pub role: Arc<str>,
    /// What.
    pub privilege: Privilege,
    /// Only these columns; `None` is all.
    pub columns: Option<Vec<u32>>,
}

/// What may be done with a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the SQL keyword of its name")]
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Truncate,
    References,
    Trigger,
}

/// A function.
#[derive(Clone, Debug)]
pub struct Function {
    /// The schema it is in.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The store whose tables it touches.
    pub store: Arc<str>,
    /// The service that owns it.
    pub service: Option<Arc<str>>,
    /// What it takes.
    pub args: Vec<Argument>,
    /// What it gives.
    pub returns: Returns,
    /// As declared.
    pub volatility: Volatility,
    /// `SECURITY DEFINER`: runs without the caller's policies and privileges.
    pub security_definer: bool,
    /// `STRICT`: NULL in, NULL out.
    pub strict: bool,
    /// The statements, bound; the last one yields the result.
    pub body: Vec<Statement>,
    /// Whether any statement writes or emits: such a function is called by POST only and runs on the writer.
    pub writes: bool,
    /// `COMMENT ON`
    pub comment: Option<String>,
    /// Who may call it; `public` is everyone.
    pub grants: Vec<Arc<str>>,
    /// Where it was declared.
    pub span: Span,
}

/// An argument.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Its name; empty when it has none.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Its default, if it may be left out.
    pub default: Option<Expr>,
    /// `VARIADIC`
    pub variadic: bool,
}

/// What a function gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Nothing.
    Void,
    /// One value.
    Scalar(Type),
    /// Many values.
    SetOfScalar(Type),
    /// One row of a relation.
    Row(RelationId),
    /// Many rows of a relation.
    SetOfRow(RelationId),
    /// Many rows of these columns (`RETURNS TABLE`).
    Table(Vec<(Arc<str>, Type)>),
    /// One row of these columns (`OUT` arguments).
    Record(Vec<(Arc<str>, Type)>),
}

impl Returns {
    /// Whether it is a set.
    pub fn is_set(&self) -> bool {
        matches!(self, Returns::SetOfScalar(_) | Returns::SetOfRow(_) | Returns::Table(_))
    }
}

impl View {
    /// Whether only the database knows the definition.
    pub fn is_opaque(&self) -> bool {
        self.select.projection.is_empty() && self.select.values.is_empty() && self.select.from.is_empty()
    }
}

/// How a type of a schema is keyed and shown: bare in `public`, elsewhere qualified as `format_type` writes it (`app.mood`,
/// `app."Mood"`). A name with a dot in it is always qualified.
pub fn type_key(namespace: &str, name: &str) -> Arc<str> {
    if namespace == "public" && !name.contains('.') {
        return name.into();
    }
    let part = |name: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        if name.starts_with(plain) && name.chars().all(|c| plain(c) || c.is_ascii_digit()) {
            name.to_owned()
        } else {
            format!("\"{}\"", name.replace('"', "\"\""))
        }
    };
    format!("{}.{}", part(namespace), part(name)).into()
}

impl Relation {
    /// The name in [`Type::Row`] of a row of this relation.
    pub fn row_type(&self) -> Arc<str> {
        type_key(&self.namespace, &self.name)
    }

    /// What can be written at all, whoever asks.
    pub fn writable(&self) -> Writable {
        let all = |yes| Writable {
            insert: yes,
            update: yes,
            delete: yes,
        };
        match &self.kind {
            RelationKind::Table(table) => table.writable.unwrap_or(all(true)),
            RelationKind::View(view) => view.writable.unwrap_or(all(view.updatable.is_some())),
        }
    }

    /// The table's own properties; `None` for a view.
    pub fn table(&self) -> Option<&Table> {
        match &self.kind {
            RelationKind::Table(table) => Some(table),
            RelationKind::View(_) => None,
        }
    }

    /// The view's own properties; `None` for a table.
    pub fn view(&self) -> Option<&View> {
        match &self.kind {
            RelationKind::Table(_) => None,
            RelationKind::View(view) => Some(view),
        }
    }

    /// The index of a column.
    pub fn column(&self, name: &str) -> Option<u32> {
        self.columns.iter().position(|c| &*c.name == name).map(|i| i as u32)
    }

    /// The primary key's columns; empty for a view.
    pub fn primary_key(&self) -> &[u32] {
        self.table().map_or(&[], |t| &t.primary_key)
    }

    /// Whether `role` has `privilege` on the whole relation or on `column`.
    pub fn allows(&self, role: &str, privilege: Privilege, column: Option<u32>) -> bool {
        role == "service_role"
            || self.grants.iter().any(|g| {
                g.privilege == privilege
                    && (&*g.role == role || &*g.role == "public")
                    && match (&g.columns, column) {
                        (None, _) => true,
                        (Some(granted), Some(column)) => granted.contains(&column),
                        (Some(_), None) => false,
                    }
            })
    }
}

impl Schema {
    /// A relation by id.
    pub fn relation(&self, id: RelationId) -> &Relation {
        &self.relations[id.0 as usize]
    }

    /// A function by id.
    pub fn function(&self, id: FunctionId) -> &Function {
        &self.functions[id.0 as usize]
    }

    /// A relation by schema and name.
    pub fn find_relation(&self, namespace: &str, name: &str) -> Option<RelationId> {
        // A borrowed pair cannot be looked up in a map of owned ones without this shape; both are short.
        self.relation_names
            .get(&(Arc::from(namespace), Arc::from(name)))
            .copied()
    }

    /// A function's overloads by schema and name.
    pub fn find_functions(&self, namespace: &str, name: &str) -> &[FunctionId] {
        self.function_names
            .get(&(Arc::from(namespace), Arc::from(name)))
            .map_or(&[], Vec::as_slice)
    }

    /// How values of one type are made of those of another, if one of the two is a domain that says so.
    pub fn representation(&self, source: &str, target: &str) -> Option<&DomainCast> {
        self.representations
            .iter()
            .find(|cast| *cast.source == *source && *cast.target == *target)
    }

    /// How a column's values are made of what a body has for them, if its domain says so.
    pub fn written(&self, column: &Column) -> Option<&DomainCast> {
        self.representation("json", column.domain.as_deref()?)
    }

    /// Fills the name indexes; call after relations or functions were added.
    pub fn index(&mut self) {
        self.relation_names = self
            .relations
            .iter()
            .enumerate()
            .map(|(i, r)| ((r.namespace.clone(), r.name.clone()), RelationId(i as u32)))
            .collect();
        self.function_names.clear();
        for (i, f) in self.functions.iter().enumerate() {
            self.function_names
                .entry((f.namespace.clone(), f.name.clone()))
                .or_default()
                .push(FunctionId(i as u32));
        }
    }
}
