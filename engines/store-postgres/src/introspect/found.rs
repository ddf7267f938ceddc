//! What the catalogs hold, as it comes: rows with the catalogs' own numbers and letters, which the modules beside this one make sense of.

use super::Server;
use super::node_tree::Shown;
use std::collections::HashMap;
use std::sync::Arc;

/// What is served and what that depends on.
pub(super) struct Found {
    pub server: Server,
    pub namespaces: Vec<NamespaceRow>,
    pub roles: Vec<RoleRow>,
    /// (member, group) where the member has the group's privileges without asking.
    pub members: Vec<(u32, u32)>,
    pub types: Vec<TypeRow>,
    /// (type, label), in order.
    pub labels: Vec<(u32, Arc<str>)>,
    pub functions: Vec<FunctionRow>,
    /// Relations that are served or that a served one depends on.
    pub reach: Vec<u32>,
    /// (schema, name, the table that it is a part of)
    pub partitions: Vec<(u32, String, String)>,
    pub casts: Vec<CastRow>,
    pub digest: u64,
}

pub(super) struct NamespaceRow {
    pub oid: u32,
    pub name: Arc<str>,
    pub acl: String,
    /// How many tables and views are in it.
    pub relations: u32,
}

pub(super) struct RoleRow {
    pub oid: u32,
    pub name: Arc<str>,
    pub superuser: bool,
    pub bypasses_rls: bool,
    pub can_login: bool,
    pub settable: bool,
}

pub(super) struct TypeRow {
    pub oid: u32,
    pub name: Arc<str>,
    pub namespace: u32,
    /// `typtype`: b, c, d, e, p, r, m
    pub kind: u8,
    /// Of an array.
    pub element: u32,
    /// Of a domain: its base and that one's modifier.
    pub base: u32,
    pub base_modifier: i32,
    pub not_null: bool,
    /// Of a row: the relation, or what stands for one behind `CREATE TYPE … AS (…)`.
    pub relation: u32,
    /// Whether it is the latter.
    pub composite: bool,
    /// What `format_type` calls it, of the catalogs' own.
    pub written: Option<Arc<str>>,
    /// Of a domain: its default.
    pub default: Option<String>,
}

pub(super) struct CastRow {
    pub source: u32,
    pub target: u32,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

pub(super) struct FunctionRow {
    pub namespace: u32,
    pub name: Arc<str>,
    /// `prokind`: f, p, a, w
    pub kind: u8,
    pub returns_set: bool,
    pub returns: u32,
    pub volatility: u8,
    pub strict: bool,
    pub security_definer: bool,
    pub variadic: bool,
    pub one_row: bool,
    /// How many of the inputs are at the end and have a default.
    pub defaults: usize,
    pub inputs: Vec<u32>,
    /// Types, modes and names of all arguments; empty where all are inputs, or without names.
    pub all: Vec<u32>,
    pub modes: Vec<Option<String>>,
    pub names: Vec<Option<String>>,
    /// The default of each of all arguments; empty when none has one.
    pub default_texts: Vec<Option<String>>,
    pub settings: Vec<Option<String>>,
    pub comment: Option<String>,
    pub acl: String,
    /// The extension it belongs to.
    pub extension: Option<String>,
}

/// The detail of everything in reach.
pub(super) struct Details {
    pub relations: Vec<RelationRow>,
    pub columns: Vec<ColumnRow>,
    pub constraints: Vec<ConstraintRow>,
    pub indexes: Vec<IndexRow>,
    pub policies: Vec<PolicyRow>,
    /// What each view's columns show.
    pub views: HashMap<u32, Vec<Shown>>,
    /// (grantee, or 0 for everyone, privilege) by the list's text.
    pub acls: HashMap<String, Vec<(u32, String)>>,
}

pub(super) struct RelationRow {
    pub oid: u32,
    pub namespace: u32,
    pub name: Arc<str>,
    /// `relkind`: r, p, f, v, m
    pub kind: u8,
    pub comment: Option<String>,
    pub acl: String,
    pub row_security: bool,
    pub security_invoker: bool,
    /// `pg_relation_is_updatable`, triggers included, and without them; absent where it is everything.
    pub writes: Option<i32>,
    pub writes_itself: Option<i32>,
    /// `h`, `r` or `l`, and the columns, of which 0 is an expression.
    pub partition: Option<(u8, Vec<i16>)>,
}

pub(super) struct ColumnRow {
    pub relation: u32,
    pub number: i16,
    pub name: Arc<str>,
    pub ty: u32,
    pub modifier: i32,
    pub not_null: bool,
    pub identity: u8,
    pub generated: bool,
    pub default: Option<String>,
    pub comment: Option<String>,
    pub acl: Option<String>,
}

pub(super) struct ConstraintRow {
    pub relation: u32,
    /// p, u or f
    pub kind: u8,
    pub name: Arc<str>,
    pub columns: Vec<i16>,
    pub target: u32,
    pub target_columns: Vec<i16>,
    pub on_delete: u8,
    pub on_update: u8,
    pub deferred: bool,
    pub nulls_not_distinct: bool,
}

pub(super) struct IndexRow {
    pub relation: u32,
    pub name: Arc<str>,
    pub unique: bool,
    pub columns: Vec<i16>,
    /// Per key: 1 is DESC, 2 is NULLS FIRST.
    pub flags: Vec<i16>,
    pub method: Arc<str>,
    pub filter: Option<String>,
}

pub(super) struct PolicyRow {
    pub relation: u32,
    pub name: Arc<str>,
    pub command: u8,
    pub permissive: bool,
    /// Roles by oid; 0 is everyone.
    pub roles: Vec<u32>,
    pub using: Option<String>,
    pub check: Option<String>,
}
