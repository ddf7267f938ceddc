//! Types that are kept as text: which of them SQLite keeps truthfully, and which it would only pretend to know.

use super::render::{Renderer, Term};
use mainstay_model::{Error, Returns, Schema, Span, Type};

/// Types whose text says all that equality asks: two values are equal exactly when their texts are.
const EQUAL_BY_TEXT: [&str; 18] = [
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit",
    "bit varying",
    "money",
    "oid",
    "pg_lsn",
    "time with time zone",
    "tsvector",
    "int4range",
    "int8range",
    "daterange",
    "tsrange",
    "tstzrange",
    "bpchar",
    "refcursor",
];

/// Types whose input nobody but Postgres can check.
const POSTGRES_ALONE: [&str; 29] = [
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tsquery",
    "xml",
    "jsonpath",
    "xid",
    "xid8",
    "cid",
    "tid",
    "txid_snapshot",
    "pg_snapshot",
    "regclass",
    "regproc",
    "regprocedure",
    "regtype",
    "regrole",
    "regnamespace",
    "regconfig",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
];

/// The name without its length.
fn base(name: &str) -> &str {
    name.split('(').next().unwrap_or(name)
}

/// 0A000 for a type that SQLite does not keep, alone or as an array's element.
pub(super) fn refuse(ty: &Type) -> Result<(), Error> {
    match ty {
        Type::Array(element) => refuse(element),
        Type::Other(name) if POSTGRES_ALONE.contains(&base(name)) => Err(Error::unsupported(format!(
            "the type {name} is not supported by SQLite"
        ))
        .hint("Use text and check the values in the application, or a store on PostgreSQL.")),
        _ => Ok(()),
    }
}

/// 0A000 where two texts may differ although the values are equal.
pub(super) fn refuse_equality(ty: &Type) -> Result<(), Error> {
    match ty {
        Type::Array(element) => refuse_equality(element),
        Type::Other(name) if !EQUAL_BY_TEXT.contains(&base(name)) => Err(Error::unsupported(format!(
            "SQLite cannot compare values of type {name}"
        ))
        .hint("Such values are stored and returned only; a store on PostgreSQL has their operators.")),
        _ => Ok(()),
    }
}

/// Columns, arguments and results of types that SQLite does not keep, in the stores for which `embedded` says yes.
pub fn unkept(schema: &Schema, embedded: impl Fn(&str) -> bool) -> Vec<(Span, Error)> {
    let mut found = Vec::new();
    for relation in schema
        .relations
        .iter()
        .filter(|r| r.table().is_some() && embedded(&r.store))
    {
        for column in &relation.columns {
            if let Err(error) = refuse(&column.ty) {
                found.push((column.span.clone(), named("column", &column.name, &error)));
            }
        }
    }
    for function in schema.functions.iter().filter(|f| embedded(&f.store)) {
        let results: Vec<&Type> = match &function.returns {
            Returns::Scalar(ty) | Returns::SetOfScalar(ty) => vec![ty],
            Returns::Table(columns) | Returns::Record(columns) => columns.iter().map(|(_, ty)| ty).collect(),
            _ => Vec::new(),
        };
        let arguments = function.args.iter().map(|argument| &argument.ty);
        if let Some(error) = arguments.chain(results).find_map(|ty| refuse(ty).err()) {
            found.push((function.span.clone(), named("function", &function.name, &error)));
        }
    }
    found
}

fn named(what: &str, name: &str, error: &Error) -> Error {
    let named = Error::unsupported(format!("{what} {name}: {}", error.message));
    match &error.hint {
        Some(hint) => named.hint(hint.clone()),
        None => named,
    }
}

impl Renderer<'_> {
    /// A cast to or from a type that is kept as text. Between two of them there is none but that of a length.
    pub(super) fn cast_kept(&mut self, term: Term, from: &Type, to: &Type) -> Result<Term, Error> {
        let sized = |name: &str| matches!(base(name), "bit" | "bit varying");
        let possible = match (from, to) {
            (Type::Other(from), Type::Other(to)) => base(from) == base(to) || sized(from) && sized(to),
            (from, Type::Other(_)) => from.is_text() || *from == Type::Unknown,
            _ => false,
        };
        if !possible {
            return Err(
                Error::unsupported(format!("a cast from {from} to {to} is not supported by SQLite"))
                    .hint("Cast to text first, or use a store on PostgreSQL."),
            );
        }
        let (from, to) = (
            self.code(from, super::storage::Form::Plain),
            self.code(to, super::storage::Form::Plain),
        );
        Ok(Term::plain(format!("mainstay_cast({}, {from}, {to})", term.sql)))
    }
}
