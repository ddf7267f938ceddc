//! Arrays, which are stored as JSON arrays of what `to_json` gives for their elements.

use super::json::write_terminated;
use super::{PURE, boolean, lenient, strict};
use mainstay_model::{Error, Result, Type, Value};
use mainstay_sql::json_text::elements;
use mainstay_sql::sqlite::{Form, Stored, column_form, decode_json, encode};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use std::borrow::Cow;

fn items(array: &str) -> Result<Vec<&str>> {
    elements(array)
        .ok_or_else(|| Error::new("XX001", "a stored value is not a valid array").hint("Another program wrote it."))
}

fn array(items: &[&str]) -> Sql {
    Sql::Text(format!("[{}]", items.join(",")))
}

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    // A NULL array is an empty one where something is added to it.
    lenient(c, "mainstay_array_append", 2, PURE, |args| {
        let mut list = if args.is_null(0) {
            Vec::new()
        } else {
            items(args.text(0)?)?
        };
        list.push(args.text(1)?);
        Ok(array(&list))
    })?;
    lenient(c, "mainstay_array_prepend", 2, PURE, |args| {
        let rest = if args.is_null(1) {
            Vec::new()
        } else {
            items(args.text(1)?)?
        };
        let list: Vec<&str> = std::iter::once(args.text(0)?).chain(rest).collect();
        Ok(array(&list))
    })?;
    lenient(c, "mainstay_array_cat", 2, PURE, |args| {
        Ok(match (args.is_null(0), args.is_null(1)) {
            (true, true) => Sql::Null,
            (true, false) => Sql::Text(args.text(1)?.to_owned()),
            (false, true) => Sql::Text(args.text(0)?.to_owned()),
            (false, false) => {
                let mut list = items(args.text(0)?)?;
                list.extend(items(args.text(1)?)?);
                array(&list)
            }
        })
    })?;
    strict(c, "mainstay_array_remove", 2, |args| {
        let unwanted = args.text(1)?;
        let list: Vec<&str> = items(args.text(0)?)?
            .into_iter()
            .filter(|item| *item != unwanted)
            .collect();
        Ok(array(&list))
    })?;
    strict(c, "mainstay_array_position", 2, |args| {
        let wanted = args.text(1)?;
        let at = items(args.text(0)?)?.into_iter().position(|item| item == wanted);
        Ok(at.map_or(Sql::Null, |at| Sql::Integer(at as i64 + 1)))
    })?;
    // array_length(array, dimension); dimension 0 is cardinality().
    strict(c, "mainstay_array_length", 2, |args| {
        let mut list = items(args.text(0)?)?;
        let dimension = args.int(1)?;
        if dimension == 0 {
            fn count(list: &[&str]) -> usize {
                list.iter()
                    .map(|raw| {
                        if raw.starts_with('[') {
                            elements(raw).map_or(1, |l| count(&l))
                        } else {
                            1
                        }
                    })
                    .sum()
            }
            return Ok(Sql::Integer(count(&list) as i64));
        }
        for _ in 1..dimension {
            match list.first().and_then(|raw| elements(raw)) {
                Some(inner) => list = inner,
                None => return Ok(Sql::Null),
            }
        }
        Ok(if list.is_empty() || dimension < 1 {
            Sql::Null
        } else {
            Sql::Integer(list.len() as i64)
        })
    })?;
    // array_to_string(array, element's type, separator, text for NULL)
    lenient(c, "mainstay_array_to_string", 4, PURE, |args| {
        if args.is_null(0) || args.is_null(2) {
            return Ok(Sql::Null);
        }
        let element = args.type_code(1)?;
        let null = if args.is_null(3) { None } else { Some(args.text(3)?) };
        let mut parts = Vec::new();
        for raw in items(args.text(0)?)? {
            match value(raw, &element.0)? {
                Value::Null => parts.extend(null.map(str::to_owned)),
                value => parts.push(value.to_text(&element.0)),
            }
        }
        Ok(Sql::Text(parts.join(args.text(2)?)))
    })?;
    strict(c, "mainstay_array_contains", 3, |args| {
        let element = args.type_code(2)?;
        let (container, part) = (leaves(args.text(0)?, &element.0)?, leaves(args.text(1)?, &element.0)?);
        // NULL equals nothing, so an array with one is contained in none.
        Ok(boolean(
            part.iter().all(|wanted| wanted.is_some() && container.contains(wanted)),
        ))
    })?;
    strict(c, "mainstay_array_overlaps", 3, |args| {
        let element = args.type_code(2)?;
        let (left, right) = (leaves(args.text(0)?, &element.0)?, leaves(args.text(1)?, &element.0)?);
        Ok(boolean(left.iter().any(|item| item.is_some() && right.contains(item))))
    })?;
    // Bytes whose order is the arrays': element by element, NULL last, a shorter one first.
    strict(c, "mainstay_array_key", 2, |args| {
        let element = args.type_code(1)?;
        let mut out = Vec::new();
        for key in keys(args.text(0)?, &element.0)? {
            match key {
                Some(key) => {
                    out.push(1);
                    write_terminated(&key, &mut out);
                }
                None => out.push(2),
            }
        }
        out.push(0);
        Ok(Sql::Blob(out))
    })?;
    // The elements as texts that their type's input reads, for `json_each`.
    strict(c, "mainstay_array_texts", 2, |args| {
        let element = args.type_code(1)?;
        let mut out = Vec::new();
        for raw in items(args.text(0)?)? {
            out.push(match value(raw, &element.0)? {
                Value::Null => None,
                Value::Text(text) => Some(Cow::Owned(text)),
                value => Some(Cow::Owned(value.to_text(&element.0))),
            });
        }
        Ok(super::json::listed(out))
    })
}

fn value(raw: &str, element: &Type) -> Result<Value> {
    decode_json(raw, element).ok_or_else(|| Error::new("XX001", format!("a stored value is not a valid {element}[]")))
}

/// For each element bytes that are equal and ordered as the elements are; `None` is NULL.
fn keys(array: &str, element: &Type) -> Result<Vec<Option<Vec<u8>>>> {
    items(array)?.into_iter().map(|raw| key(raw, element)).collect()
}

/// The same of the elements of all dimensions: containment and overlap know none.
fn leaves(array: &str, element: &Type) -> Result<Vec<Option<Vec<u8>>>> {
    let mut out = Vec::new();
    for raw in items(array)? {
        if raw.starts_with('[') && !element.is_json() {
            out.extend(leaves(raw, element)?);
        } else {
            out.push(key(raw, element)?);
        }
    }
    Ok(out)
}

fn key(raw: &str, element: &Type) -> Result<Option<Vec<u8>>> {
    let form = match column_form(element) {
        Form::Scaled(_) => Form::Wide,
        form => form,
    };
    let value = value(raw, element)?;
    Ok(match encode(&value, element, form)? {
        Stored::Null => None,
        Stored::Integer(v) => Some(((v as u64) ^ (1 << 63)).to_be_bytes().to_vec()),
        Stored::Real(v) => {
            let bits = v.to_bits();
            let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
            Some(ordered.to_be_bytes().to_vec())
        }
        Stored::Text(text) => Some(match &value {
            Value::Interval(months, days, micros) => super::moment::interval_key((*months, *days, *micros)).to_vec(),
            _ => text.into_owned().into_bytes(),
        }),
        Stored::Blob(bytes) => {
            let length = if form == Form::Wide {
                bytes.len().saturating_sub(2)
            } else {
                bytes.len()
            };
            Some(bytes[..length].to_vec())
        }
    })
}
