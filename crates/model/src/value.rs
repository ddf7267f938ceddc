//! Typed values. `input` reads Postgres' text forms, `output` writes them, as JSON and as text.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

mod decimal;
#[cfg(test)]
mod golden;
mod input;
mod output;
pub mod time;

pub use decimal::Decimal;
pub use input::json::{JsonKind, json_elements, json_members};
pub use output::write_json_string;

/// A value. Which [`crate::Type`]s it may stand for is said at each variant.
#[derive(Clone, Debug)]
pub enum Value {
    /// SQL NULL, of any type.
    Null,
    /// `boolean`
    Bool(bool),
    /// `smallint`, `integer`, `bigint`
    Int(i64),
    /// `real` (already rounded to it) and `double precision`
    Float(f64),
    /// `numeric`
    Numeric(Decimal),
    /// `text`, `varchar`, `char`, enums, `json` (as it came), `jsonb` (normalised text) and [`crate::Type::Other`]
    Text(String),
    /// `uuid`
    Uuid(u128),
    /// `bytea`
    Bytes(Vec<u8>),
    /// `date`: days since 1970-01-01; `i32::MAX` and `i32::MIN` are infinity.
    Date(i32),
    /// `time`: microseconds since midnight.
    Time(i64),
    /// `timestamp` (as if UTC) and `timestamptz`: microseconds since 1970-01-01T00:00Z; `i64::MAX` and `i64::MIN` are infinity.
    Timestamp(i64),
    /// `interval`: (months, days, microseconds)
    Interval(i32, i32, i64),
    /// An array.
    Array(Arc<[Value]>),
}

/// A value borrowed from where it lies, so that encoding a row allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the borrowed form of the Value of its name")]
pub enum ValueRef<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// `numeric` as a scaled integer: (unscaled, scale).
    Scaled(i64, u16),
    /// `numeric` in its text form, trailing zeros kept.
    NumericText(&'a str),
    Text(&'a str),
    Uuid(u128),
    Bytes(&'a [u8]),
    Date(i32),
    Time(i64),
    Timestamp(i64),
    Interval(i32, i32, i64),
    /// Any value that is owned anyway.
    Owned(&'a Value),
}

impl PartialEq for Value {
    /// Identity of representation, not SQL's `=`: NULL is NULL, NaN is NaN, -0.0 is not 0.0.
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Numeric(a), Value::Numeric(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Uuid(a), Value::Uuid(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Interval(a, b, c), Value::Interval(d, e, f)) => (a, b, c) == (d, e, f),
            (Value::Array(a), Value::Array(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Null => {}
            Value::Bool(v) => v.hash(state),
            Value::Int(v) | Value::Time(v) | Value::Timestamp(v) => v.hash(state),
            Value::Float(v) => v.to_bits().hash(state),
            Value::Numeric(v) => v.hash(state),
            Value::Text(v) => v.hash(state),
            Value::Uuid(v) => v.hash(state),
            Value::Bytes(v) => v.hash(state),
            Value::Date(v) => v.hash(state),
            Value::Interval(a, b, c) => (a, b, c).hash(state),
            Value::Array(v) => v.hash(state),
        }
    }
}

impl Value {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// SQL's order of two values of one type: `None` when either is NULL or they are not comparable (arrays, JSON and intervals
    /// included: whoever cannot decide must not guess). Text by code point; NaN above every number and equal to itself.
    pub fn sql_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => a.partial_cmp(b)?,
            },
            (Value::Numeric(a), Value::Numeric(b)) => a.cmp_value(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Date(a), Value::Date(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) | (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            _ => return None,
        })
    }
}
