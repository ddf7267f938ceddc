//! Tables of what PostgreSQL 15 answered (time zone UTC), one JSON array a line, and what reading them takes.

use std::sync::Arc;

use crate::{Error, Type};
use serde_json::Value as Json;

/// The rows of a table.
pub(super) fn rows(table: &str) -> impl Iterator<Item = Vec<Json>> + '_ {
    table.lines().map(|line| match serde_json::from_str(line) {
        Ok(Json::Array(row)) => row,
        other => panic!("a row is an array: {other:?}"),
    })
}

/// The type that Postgres calls `name`.
pub(super) fn type_named(name: &str) -> Type {
    if let Some(element) = name.strip_suffix("[]") {
        return Type::Array(Box::new(type_named(element)));
    }
    let argument = |name: &str| name.split(['(', ')']).nth(1).map(str::to_owned);
    match name.split('(').next().unwrap_or(name) {
        "boolean" => Type::Bool,
        "smallint" => Type::Int2,
        "integer" => Type::Int4,
        "bigint" => Type::Int8,
        "real" => Type::Float4,
        "double precision" => Type::Float8,
        "numeric" => Type::Numeric(argument(name).map(|argument| {
            let (precision, scale) = argument.split_once(',').unwrap_or((&argument, "0"));
            (precision.parse().unwrap(), scale.parse().unwrap())
        })),
        "text" => Type::Text,
        "character varying" => Type::Varchar(argument(name).map(|length| length.parse().unwrap())),
        "character" => Type::Char(argument(name).map_or(1, |length| length.parse().unwrap())),
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytea,
        "date" => Type::Date,
        "time without time zone" => Type::Time,
        "timestamp without time zone" => Type::Timestamp,
        "timestamp with time zone" => Type::TimestampTz,
        "interval" => Type::Interval,
        "json" => Type::Json,
        "jsonb" => Type::Jsonb,
        _ => Type::Other(Arc::from(name)),
    }
}

/// An error as the tables have it: code, message, detail, hint.
pub(super) fn error_row(error: &Error) -> Vec<Json> {
    vec![
        "err".into(),
        error.code.as_ref().into(),
        error.message.as_str().into(),
        error.details.as_deref().into(),
        error.hint.as_deref().into(),
    ]
}

/// Fails with every row that differs, not with the first.
pub(super) fn assert_no_differences(differences: Vec<String>) {
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Records a row whose answer, which begins at column `from`, is not what was got.
pub(super) fn compare(row: &[Json], from: usize, got: Vec<Json>, differences: &mut Vec<String>) {
    if got != row[from..] {
        let asked: Vec<String> = row[..from].iter().map(Json::to_string).collect();
        differences.push(format!(
            "{}\n  want {}\n  got  {}",
            asked.join(" "),
            Json::from(&row[from..]),
            Json::from(got)
        ));
    }
}
