//! What later operations of a transaction may take from earlier ones: in a body `{"$ref":"0/0/id"}` in the place of a value, in a
//! filter `id=eq.$ref(0/0/id)`: operation, row and column, the first two counted from 0.

use crate::types;
use mainstay_model::{Error, RelationId, Schema, Type};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;

/// What the operations before this one leave behind, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preceding(pub Vec<Leaves>);

/// What one operation leaves behind.
#[derive(Clone, Debug)]
pub(crate) enum Leaves {
    /// Rows of a table, with all their columns.
    Rows(RelationId),
    /// The values that were asked for.
    Values(Vec<(Arc<str>, Type)>),
    /// Nothing.
    Nothing,
}

/// A value of an earlier operation's row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    pub step: u16,
    pub row: u32,
    pub column: u32,
    pub ty: Type,
}

impl Preceding {
    /// The reference that a JSON value is, if it is one: an object whose only member is `$ref`, with a path as its value. Any other
    /// object stays what it is, also one of JSON Schema, whose paths begin with `#`.
    pub fn in_json(&self, json: &str, schema: &Schema) -> Result<Option<Reference>, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire<'a> {
            #[serde(borrow, rename = "$ref")]
            path: Cow<'a, str>,
        }
        if !json.starts_with('{') {
            return Ok(None);
        }
        match serde_json::from_str::<Wire<'_>>(json) {
            Ok(wire) => match parse(&wire.path) {
                Some(path) => self.find(path, &wire.path, schema).map(Some),
                None => Ok(None),
            },
            Err(_) => Ok(None),
        }
    }

    /// The reference that the operand of a filter is, if it is one.
    pub fn in_filter(&self, operand: &str, schema: &Schema) -> Result<Option<Reference>, Error> {
        let Some(text) = operand.strip_prefix("$ref(").and_then(|rest| rest.strip_suffix(')')) else {
            return Ok(None);
        };
        match parse(text) {
            Some(path) => self.find(path, text, schema).map(Some),
            None => Err(invalid(text, "a reference is operation/row/column, such as 0/0/id")),
        }
    }

    fn find(&self, (step, row, name): (u16, u32, &str), text: &str, schema: &Schema) -> Result<Reference, Error> {
        let Some(leaves) = self.0.get(usize::from(step)) else {
            return Err(invalid(
                text,
                &format!(
                    "there is no operation {step} before this one, which is number {}",
                    self.0.len()
                ),
            ));
        };
        let found = match leaves {
            Leaves::Rows(relation) => {
                let relation = schema.relation(*relation);
                relation
                    .column(name)
                    .map(|column| (column, relation.columns[column as usize].ty.clone()))
            }
            Leaves::Values(values) => values
                .iter()
                .position(|(own, _)| **own == *name)
                .map(|i| (i as u32, values[i].1.clone())),
            Leaves::Nothing => {
                return Err(invalid(text, &format!("operation {step} gives no rows")));
            }
        };
        let (column, ty) = found.ok_or_else(|| invalid(text, &format!("operation {step} gives no column '{name}'")))?;
        Ok(Reference { step, row, column, ty })
    }
}

/// `0/0/id`; a name may have slashes of its own.
fn parse(path: &str) -> Option<(u16, u32, &str)> {
    let (step, rest) = path.split_once('/')?;
    let (row, name) = rest.split_once('/')?;
    Some((step.parse().ok()?, row.parse().ok()?, name)).filter(|(.., name)| !name.is_empty())
}

fn invalid(path: &str, why: &str) -> Error {
    Error::new("PGRST100", format!("The reference '{path}' leads nowhere"))
        .detail(why.to_owned())
        .hint("a reference is operation/row/column, operations and rows counted from 0")
}

/// Whether a value of one type may be stored as another as it is.
pub(crate) fn storable(from: &Type, to: &Type) -> bool {
    types::comparable(from) == types::comparable(to)
        || (from.is_integer() && to.is_integer())
        || (from.is_text() && to.is_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_values() {
        let schema = Schema::default();
        let preceding = Preceding(vec![
            Leaves::Values(vec![("id".into(), Type::Int4), ("a/b".into(), Type::Text)]),
            Leaves::Nothing,
        ]);
        let show = |found: Result<Option<Reference>, Error>| match found {
            Ok(Some(r)) => format!("{}/{}/{} {}", r.step, r.row, r.column, r.ty),
            Ok(None) => "a value".to_owned(),
            Err(error) => error.details.clone().unwrap_or_default(),
        };
        for (json, want) in [
            (r#"{"$ref":"0/3/id"}"#, "0/3/0 integer"),
            (r#"{"$ref":"0/0/a/b"}"#, "0/0/1 text"),
            (r##"{"$ref":"#/definitions/x"}"##, "a value"),
            (r#"{"$ref":"0/0/id","x":1}"#, "a value"),
            (r#"{"a":{"$ref":"0/0/id"}}"#, "a value"),
            ("5", "a value"),
            (r#"{"$ref":"0/0/nope"}"#, "operation 0 gives no column 'nope'"),
            (r#"{"$ref":"1/0/id"}"#, "operation 1 gives no rows"),
            (
                r#"{"$ref":"2/0/id"}"#,
                "there is no operation 2 before this one, which is number 2",
            ),
        ] {
            assert_eq!(show(preceding.in_json(json, &schema)), want, "{json}");
        }
        for (text, want) in [
            ("$ref(0/0/id)", "0/0/0 integer"),
            ("0/0/id", "a value"),
            ("$ref(id)", "a reference is operation/row/column, such as 0/0/id"),
        ] {
            assert_eq!(show(preceding.in_filter(text, &schema)), want, "{text}");
        }
    }
}
