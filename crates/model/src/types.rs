//! Postgres' types, as far as an engine other than Postgres can keep their meaning.

use std::fmt;
use std::sync::Arc;

/// The type of a column, an argument or an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`, unconstrained when `None`, else (precision, scale).
    Numeric(Option<(u16, u16)>),
    /// `text` (also `name`, `citext` is refused)
    Text,
    /// `character varying`, with its length in characters if it has one.
    Varchar(Option<u32>),
    /// `character(n)`: blank-padded.
    Char(u32),
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `interval`
    Interval,
    /// `json`: the text as it came.
    Json,
    /// `jsonb`: normalised.
    Jsonb,
    /// An enum, by its name; the labels stand in [`crate::Schema::enums`].
    Enum(Arc<str>),
    /// A one-dimensional array.
    Array(Box<Type>),
    /// The row of a relation or a composite type, by name.
    Row(Arc<str>),
    /// `void`, as a function's result.
    Void,
    /// A literal whose type the context has not decided yet.
    Unknown,
    /// A type kept in its canonical text form (`int4range`, `tsvector`, `inet` …): stored, compared for equality, returned; its own
    /// operators need an engine that knows it.
    Other(Arc<str>),
}

impl Type {
    /// `smallint`, `integer` or `bigint`.
    pub fn is_integer(&self) -> bool {
        matches!(self, Type::Int2 | Type::Int4 | Type::Int8)
    }

    /// Any number.
    pub fn is_number(&self) -> bool {
        self.is_integer() || matches!(self, Type::Float4 | Type::Float8 | Type::Numeric(_))
    }

    /// `text`, `varchar` or `char`.
    pub fn is_text(&self) -> bool {
        matches!(self, Type::Text | Type::Varchar(_) | Type::Char(_))
    }

    /// `json` or `jsonb`.
    pub fn is_json(&self) -> bool {
        matches!(self, Type::Json | Type::Jsonb)
    }

    /// Whether `=` on two values of this type is equality of their stored bytes in every engine, so that a cache may reproduce it.
    pub fn equal_bytes_are_equal(&self) -> bool {
        matches!(
            self,
            Type::Bool
                | Type::Int2
                | Type::Int4
                | Type::Int8
                | Type::Text
                | Type::Varchar(_)
                | Type::Uuid
                | Type::Date
                | Type::Time
                | Type::Timestamp
                | Type::TimestampTz
                | Type::Bytea
                | Type::Enum(_)
                | Type::Numeric(Some(_))
        )
    }
}

/// The type as Postgres' `format_type` writes it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Bool => f.write_str("boolean"),
            Type::Int2 => f.write_str("smallint"),
            Type::Int4 => f.write_str("integer"),
            Type::Int8 => f.write_str("bigint"),
            Type::Float4 => f.write_str("real"),
            Type::Float8 => f.write_str("double precision"),
            Type::Numeric(None) => f.write_str("numeric"),
            Type::Numeric(Some((p, s))) => write!(f, "numeric({p},{s})"),
            Type::Text => f.write_str("text"),
            Type::Varchar(None) => f.write_str("character varying"),
            Type::Varchar(Some(n)) => write!(f, "character varying({n})"),
            Type::Char(n) => write!(f, "character({n})"),
            Type::Uuid => f.write_str("uuid"),
            Type::Bytea => f.write_str("bytea"),
            Type::Date => f.write_str("date"),
            Type::Time => f.write_str("time without time zone"),
            Type::Timestamp => f.write_str("timestamp without time zone"),
            Type::TimestampTz => f.write_str("timestamp with time zone"),
            Type::Interval => f.write_str("interval"),
            Type::Json => f.write_str("json"),
            Type::Jsonb => f.write_str("jsonb"),
            Type::Enum(name) | Type::Row(name) | Type::Other(name) => f.write_str(name),
            Type::Array(element) => write!(f, "{element}[]"),
            Type::Void => f.write_str("void"),
            Type::Unknown => f.write_str("unknown"),
        }
    }
}
