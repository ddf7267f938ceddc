//! Arguments of row types: a row literal or a JSON object, checked column by column, as the JSON object that bodies take apart.

use mainstay_model::{DeclaredType, Error, Result, Schema, Type, Value, json_members, write_json_string};
use std::sync::Arc;

type Columns = Vec<(Arc<str>, Type)>;

/// Whether values of a type have rows in them to be read.
pub(crate) fn is_needed(ty: &Type) -> bool {
    match ty {
        Type::Array(element) => is_needed(element),
        ty => matches!(ty, Type::Row(_)),
    }
}

/// A value of type `ty` with every row in it read. Errors: 22P02 for what is no row, and those of the columns' types.
pub(crate) fn read(value: Value, ty: &Type, schema: &Schema) -> Result<Value> {
    match (value, ty) {
        (Value::Text(text), Type::Row(name)) => match columns_of(name, schema) {
            Some(columns) => Ok(Value::Text(row(&text, &columns, schema)?)),
            None => Ok(Value::Text(text)),
        },
        (Value::Array(items), Type::Array(element)) if matches!(**element, Type::Row(_)) => {
            let items: Result<Vec<Value>> = items.iter().map(|item| read(item.clone(), element, schema)).collect();
            Ok(Value::Array(items?.into()))
        }
        (value, _) => Ok(value),
    }
}

/// What a row of the type `name` consists of; `None` for `record`, of which nobody knows.
fn columns_of(name: &Arc<str>, schema: &Schema) -> Option<Columns> {
    if let Some(DeclaredType::Composite(columns)) = schema.types.get(name) {
        return Some(columns.clone());
    }
    let relation = schema.relations.iter().find(|relation| relation.row_type() == *name)?;
    Some(
        relation
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.ty.clone()))
            .collect(),
    )
}

fn row(text: &str, columns: &Columns, schema: &Schema) -> Result<String> {
    let values = if text.starts_with('{') {
        members(text, columns, schema)?
    } else {
        fields(text, columns, schema)?
    };
    let mut out = b"{".to_vec();
    for (at, ((name, ty), value)) in columns.iter().zip(values).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_json_string(name, &mut out);
        out.push(b':');
        let json = match value {
            // A row within the row is the object that it was read as.
            Value::Text(text) if matches!(ty, Type::Row(_)) => text,
            value => value.to_json_text(ty),
        };
        out.extend_from_slice(json.as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).map_err(|_| Error::internal("a row is not text"))
}

/// The columns' values in a JSON object; what is not there is NULL, and what belongs to no column is passed over.
fn members(text: &str, columns: &Columns, schema: &Schema) -> Result<Vec<Value>> {
    let members = json_members(text)?;
    let value = |(name, ty): &(Arc<str>, Type)| match members.iter().rev().find(|(member, _)| **member == **name) {
        Some((_, json)) => checked(Value::from_json_text(json, ty)?, ty, schema),
        None => Ok(Value::Null),
    };
    columns.iter().map(value).collect()
}

/// The columns' values in a row literal, `(1,"a b",)`.
fn fields(text: &str, columns: &Columns, schema: &Schema) -> Result<Vec<Value>> {
    let malformed = |detail: &str| Error::new("22P02", format!("malformed record literal: \"{text}\"")).detail(detail);
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
    let mut rest = text
        .trim_start_matches(blank)
        .strip_prefix('(')
        .ok_or_else(|| malformed("Missing left parenthesis."))?;
    let mut values = Vec::with_capacity(columns.len());
    for (at, (_, ty)) in columns.iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix(',').ok_or_else(|| malformed("Too few columns."))?;
        }
        let (field, tail) = field(rest).ok_or_else(|| malformed("Unexpected end of input."))?;
        rest = tail;
        values.push(match field {
            Some(field) => checked(Value::parse(&field, ty)?, ty, schema)?,
            None => Value::Null,
        });
    }
    let rest = rest.strip_prefix(')').ok_or_else(|| malformed("Too many columns."))?;
    match rest.trim_start_matches(blank) {
        "" => Ok(values),
        _ => Err(malformed("Junk after right parenthesis.")),
    }
}

/// A field's text, `None` for NULL, and what follows it; nothing where the text ends within it.
fn field(text: &str) -> Option<(Option<String>, &str)> {
    if text.starts_with([',', ')']) {
        return Some((None, text));
    }
    let mut content = String::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | ')' if !quoted => return Some((Some(content), &text[at..])),
            '\\' => content.push(chars.next()?.1),
            '"' if quoted && chars.next_if(|(_, next)| *next == '"').is_some() => content.push('"'),
            '"' => quoted = !quoted,
            c => content.push(c),
        }
    }
    None
}

/// A column's value as its type has it: fitted, and a label that there is.
fn checked(value: Value, ty: &Type, schema: &Schema) -> Result<Value> {
    if let (Value::Text(text), Type::Enum(name)) = (&value, ty)
        && let Some(labels) = schema.enums.get(name)
        && !labels.iter().any(|label| **label == **text)
    {
        let message = format!("invalid input value for enum {name}: \"{text}\"");
        return Err(Error::new("22P02", message));
    }
    read(value.fit(ty)?, ty, schema)
}
