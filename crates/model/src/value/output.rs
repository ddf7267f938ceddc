//! Postgres' output functions: value to text and to JSON.

use crate::{Type, Value, ValueRef};

/// Appends `text` as a JSON string with its quotes, escaped as Postgres' `escape_json` does.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    let _ = (text, out);
}

impl Value {
    /// Borrows it.
    #[allow(clippy::should_implement_trait)]
    pub fn as_ref(&self) -> ValueRef<'_> {
        ValueRef::Owned(self)
    }

    /// Its text as the output function of `ty` writes it; NULL gives the empty string.
    pub fn to_text(&self, ty: &Type) -> String {
        let _ = ty;
        String::new()
    }

    /// Its JSON as `to_json` writes it.
    pub fn to_json_text(&self, ty: &Type) -> String {
        let _ = ty;
        String::new()
    }
}

impl ValueRef<'_> {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, ValueRef::Null | ValueRef::Owned(Value::Null))
    }

    /// Copies it.
    pub fn to_owned(&self) -> Value {
        Value::Null
    }

    /// Appends what `to_json` gives for it; NULL is `null`.
    pub fn write_json(&self, ty: &Type, out: &mut Vec<u8>) {
        let _ = (ty, out);
    }

    /// Appends what the type's output function gives (booleans `t` and `f`); nothing for NULL.
    pub fn write_text(&self, ty: &Type, out: &mut Vec<u8>) {
        let _ = (ty, out);
    }

    /// Appends what a cast to `text` gives (booleans `true` and `false`, `char(n)` without its padding); nothing for NULL.
    pub fn write_cast_text(&self, ty: &Type, out: &mut Vec<u8>) {
        let _ = (ty, out);
    }
}
