//! Which [`Type`] a written type is: Postgres' own names and synonyms, and those that the schema declares.

use crate::Problem;
use crate::names::{Name, type_key};
use crate::source_text::SourceText;
use mainstay_model::{DeclaredType, Schema, Type};
use squawk_syntax::ast::{self, AstNode};
use std::sync::Arc;

/// What a written type is, and the domain it was written with, if any. `SETOF` is the caller's matter.
///
/// # Errors
/// A type that nobody knows, or one whose meaning no engine but Postgres keeps.
pub(crate) fn resolve(
    ty: &ast::Type,
    schema: &Schema,
    source: &SourceText,
) -> Result<(Type, Option<Arc<str>>), Problem> {
    Ok(match ty {
        ast::Type::ArrayType(array) => {
            let element = array
                .ty()
                .ok_or_else(|| source.error_at(array, "the type of the array's elements is missing"))?;
            let element = resolve_bare(&element, schema, source)?;
            (Type::Array(Box::new(element)), None)
        }
        ast::Type::PathType(path) => return resolve_path(path, schema, source),
        ast::Type::VarcharType(varchar) => (Type::Varchar(length(varchar.arg_list(), source)?), None),
        ast::Type::CharacterType(character) => (Type::Char(length(character.arg_list(), source)?.unwrap_or(1)), None),
        ast::Type::BitType(bit) => {
            let length = length(bit.arg_list(), source)?.unwrap_or(1);
            (Type::Other(format!("bit({length})").into()), None)
        }
        ast::Type::BitVaryingType(bit) => (other("bit varying", length(bit.arg_list(), source)?), None),
        ast::Type::DoubleType(_) => (Type::Float8, None),
        ast::Type::TimeType(time) => match time.timezone() {
            Some(ast::Timezone::WithTimezone(_)) => (Type::Other("time with time zone".into()), None),
            _ => (Type::Time, None),
        },
        ast::Type::TimestampType(timestamp) => match timestamp.timezone() {
            Some(ast::Timezone::WithTimezone(_)) => (Type::TimestampTz, None),
            _ => (Type::Timestamp, None),
        },
        ast::Type::IntervalType(_) => (Type::Interval, None),
    })
}

/// As [`resolve`], where only columns would keep the constraints of a domain.
pub(crate) fn resolve_bare(ty: &ast::Type, schema: &Schema, source: &SourceText) -> Result<Type, Problem> {
    let (resolved, domain) = resolve(ty, schema, source)?;
    if let Some(domain) = domain {
        source.unkept(ty, domain);
    }
    Ok(resolved)
}

/// Digits of a second that a written `time`, `timestamp` or `interval` keeps, if it says so and they are fewer than all six.
pub(crate) fn reduced_precision(ty: &ast::Type) -> Option<u32> {
    let literal = match ty {
        ast::Type::TimeType(ty) => ty.literal(),
        ast::Type::TimestampType(ty) => ty.literal(),
        ast::Type::IntervalType(ty) => ty.literal(),
        _ => None,
    }?;
    literal.syntax().to_string().parse().ok().filter(|digits| *digits < 6)
}

/// The integer type behind `serial` and its kin, which declare a sequence besides.
pub(crate) fn serial(ty: &ast::Type) -> Option<Type> {
    let ast::Type::PathType(path) = ty else { return None };
    let name = Name::from_ref(&path.path_ref()?)?;
    match &*name.name {
        "serial" | "serial4" => Some(Type::Int4),
        "bigserial" | "serial8" => Some(Type::Int8),
        "smallserial" | "serial2" => Some(Type::Int2),
        _ => None,
    }
}

/// Whether a type was written with SETOF.
pub(crate) fn is_set(ty: &ast::Type) -> bool {
    let token = match ty {
        ast::Type::ArrayType(array) => return array.ty().is_some_and(|element| is_set(&element)),
        ast::Type::PathType(ty) => ty.setof_token(),
        ast::Type::VarcharType(ty) => ty.setof_token(),
        ast::Type::CharacterType(ty) => ty.setof_token(),
        ast::Type::BitType(ty) => ty.setof_token(),
        ast::Type::BitVaryingType(ty) => ty.setof_token(),
        ast::Type::DoubleType(ty) => ty.setof_token(),
        ast::Type::TimeType(ty) => ty.setof_token(),
        ast::Type::TimestampType(ty) => ty.setof_token(),
        ast::Type::IntervalType(ty) => ty.setof_token(),
    };
    token.is_some()
}

fn resolve_path(
    path: &ast::PathType,
    schema: &Schema,
    source: &SourceText,
) -> Result<(Type, Option<Arc<str>>), Problem> {
    let written = path.path_ref().and_then(|p| Name::from_ref(&p));
    let Some(name) = written else {
        return Err(source.error_at(path, "a type is missing here"));
    };
    let builtin_allowed = name.namespace.as_deref().is_none_or(|n| n == "pg_catalog");
    if builtin_allowed && let Some(ty) = builtin(&name.name, path.arg_list(), source)? {
        return Ok((ty, None));
    }
    let default = [Arc::from("public")];
    let namespaces: &[Arc<str>] = match (&name.namespace, schema.namespaces.is_empty()) {
        (Some(namespace), _) => std::slice::from_ref(namespace),
        (None, true) => &default,
        (None, false) => &schema.namespaces,
    };
    for namespace in namespaces {
        if let Some(found) = declared(namespace, &name.name, schema) {
            return Ok(found);
        }
    }
    if let Some(reason) = refused(&name.name) {
        return Err(source
            .error_at(path, format!("the type `{}` is not supported", name.name))
            .help(reason));
    }
    // A type of an extension lives in a schema of its own, or has a name that extensions are known for.
    let foreign_namespace = name.namespace.as_ref().is_some_and(|namespace| {
        !matches!(&**namespace, "public" | "pg_catalog" | "auth")
            && !schema.relation_names.keys().any(|(own, _)| own == namespace)
    });
    if foreign_namespace || EXTENSION_TYPES.contains(&&*name.name) {
        let text = path.syntax().to_string();
        let text = if path.setof_token().is_some() {
            text[5..].trim_start()
        } else {
            &text
        };
        return Ok((Type::Other(text.into()), None));
    }
    let known = BUILTIN_NAMES
        .iter()
        .copied()
        .chain(schema.enums.keys().chain(schema.types.keys()).map(|k| &**k));
    let problem = source
        .error_at(path, format!("there is no type `{name}`"))
        .help("declare it with CREATE TYPE or CREATE DOMAIN, or use one of Postgres' own types");
    Err(problem.did_you_mean(&name.name, known))
}

fn declared(namespace: &str, name: &str, schema: &Schema) -> Option<(Type, Option<Arc<str>>)> {
    let key = type_key(namespace, name);
    if schema.enums.contains_key(&key) {
        return Some((Type::Enum(key), None));
    }
    match schema.types.get(&key) {
        Some(DeclaredType::Domain(base)) => return Some((base.clone(), Some(key))),
        Some(DeclaredType::Composite(_)) => return Some((Type::Row(key), None)),
        Some(DeclaredType::Range) => return Some((Type::Other(key), None)),
        None => {}
    }
    schema.find_relation(namespace, name).map(|_| (Type::Row(key), None))
}

/// Names to offer when a written one is near.
const BUILTIN_NAMES: [&str; 28] = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "int",
    "int2",
    "int4",
    "int8",
    "real",
    "double precision",
    "numeric",
    "decimal",
    "text",
    "varchar",
    "char",
    "uuid",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "json",
    "jsonb",
    "serial",
    "bigserial",
    "smallserial",
    "float",
];

/// Types of well-known extensions: kept as text where the extension is not there.
const EXTENSION_TYPES: [&str; 21] = [
    "geometry",
    "geography",
    "box2d",
    "box3d",
    "raster",
    "hstore",
    "ltree",
    "lquery",
    "ltxtquery",
    "vector",
    "halfvec",
    "sparsevec",
    "cube",
    "seg",
    "isbn",
    "isbn13",
    "ean13",
    "issn",
    "upc",
    "semver",
    "uri",
];

/// Postgres' types whose values are kept in their canonical text.
const TEXT_KEPT: [&str; 44] = [
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "money",
    "tsvector",
    "tsquery",
    "xml",
    "jsonpath",
    "pg_lsn",
    "oid",
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
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
    "refcursor",
];

fn refused(name: &str) -> Option<&'static str> {
    match name {
        "citext" => Some("use text, and an index or a UNIQUE constraint on lower(column) where case must not matter"),
        "anyelement" | "anyarray" | "anynonarray" | "anyenum" | "anyrange" | "anycompatible" | "anycompatiblearray" => {
            Some("write one function for each type that it is called with")
        }
        "cstring" | "internal" => Some("it is for functions written in C, which run inside Postgres only"),
        _ => None,
    }
}

fn builtin(name: &str, args: Option<ast::ArgList>, source: &SourceText) -> Result<Option<Type>, Problem> {
    Ok(Some(match name {
        "bool" | "boolean" => Type::Bool,
        "int2" | "smallint" | "smallserial" | "serial2" => Type::Int2,
        "int4" | "int" | "integer" | "serial" | "serial4" => Type::Int4,
        "int8" | "bigint" | "bigserial" | "serial8" => Type::Int8,
        "float4" | "real" => Type::Float4,
        "float8" => Type::Float8,
        "float" => match length(args, source)? {
            Some(bits) if bits <= 24 => Type::Float4,
            _ => Type::Float8,
        },
        "numeric" | "decimal" | "dec" => Type::Numeric(precision_and_scale(args, source)?),
        "text" | "name" => Type::Text,
        "varchar" => Type::Varchar(length(args, source)?),
        "bpchar" => match length(args, source)? {
            Some(length) => Type::Char(length),
            None => Type::Text,
        },
        "char" => Type::Char(length(args, source)?.unwrap_or(1)),
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytea,
        "date" => Type::Date,
        "time" => Type::Time,
        "timetz" => Type::Other("time with time zone".into()),
        "timestamp" => Type::Timestamp,
        "timestamptz" => Type::TimestampTz,
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        "void" => Type::Void,
        "unknown" => Type::Unknown,
        "record" => Type::Row("record".into()),
        "trigger" | "event_trigger" => Type::Other(name.into()),
        "varbit" => other("bit varying", length(args, source)?),
        "bit" => Type::Other(format!("bit({})", length(args, source)?.unwrap_or(1)).into()),
        // Arrays by the names of their catalogue entries, as some dumps write them.
        _ if name.starts_with('_') => match builtin(&name[1..], args, source)? {
            Some(element) => Type::Array(Box::new(element)),
            None => return Ok(None),
        },
        _ if TEXT_KEPT.contains(&name) => Type::Other(name.into()),
        _ => return Ok(None),
    }))
}

fn other(name: &str, length: Option<u32>) -> Type {
    Type::Other(match length {
        Some(length) => format!("{name}({length})").into(),
        None => name.into(),
    })
}

/// The arguments of a type, which must be whole numbers.
fn numbers(args: Option<ast::ArgList>, source: &SourceText) -> Result<Vec<i64>, Problem> {
    let Some(list) = args else { return Ok(Vec::new()) };
    let number = |arg: ast::Arg| {
        let text = arg.syntax().to_string();
        text.replace([' ', '_'], "").parse::<i64>().map_err(|_| {
            source
                .error_at(&arg, format!("`{text}` is no whole number"))
                .help("a type takes plain numbers, as in varchar(40)")
        })
    };
    list.args().map(number).collect()
}

fn length(args: Option<ast::ArgList>, source: &SourceText) -> Result<Option<u32>, Problem> {
    let Some(list) = args else { return Ok(None) };
    match numbers(Some(list.clone()), source)?.as_slice() {
        [] => Ok(None),
        [n @ 1..=10_485_760] => Ok(Some(*n as u32)),
        _ => Err(source.error_at(&list, "a length is one number from 1 to 10485760")),
    }
}

fn precision_and_scale(args: Option<ast::ArgList>, source: &SourceText) -> Result<Option<(u16, u16)>, Problem> {
    let Some(list) = args else { return Ok(None) };
    match numbers(Some(list.clone()), source)?.as_slice() {
        [] => Ok(None),
        [p @ 1..=1000] => Ok(Some((*p as u16, 0))),
        [p @ 1..=1000, s @ 0..=1000] => Ok(Some((*p as u16, *s as u16))),
        [1..=1000, -1000..0] => Err(source
            .error_at(&list, "a negative scale is not supported")
            .help("round the values in a CHECK or in the application")),
        _ => Err(source.error_at(
            &list,
            "numeric takes a precision from 1 to 1000 and a scale from 0 to 1000",
        )),
    }
}
