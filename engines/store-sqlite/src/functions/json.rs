//! JSON operators and functions. `json` keeps its text: what is taken out of it is a slice. `jsonb` is in Postgres' normal form, so a
//! slice of it is as well; what is built anew is brought into that form.

use super::{Args, PURE, json_strings, lenient, strict};
use mainstay_model::{Decimal, Error, Result, Type, Value, write_json_string};
use mainstay_sql::json_text::{elements, members, unquote};
use rusqlite::Connection;
use rusqlite::types::{Value as Sql, ValueRef};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Deeper documents are refused (54001); the model's own limit when it reads one.
const DEPTH_MAX: usize = 512;

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    // Of `jsonb`, a scalar at the top is an array of itself to whoever asks for an element.
    strict(c, "mainstay_jsonb_element", 2, |args| {
        Ok(element(args)?.map_or(Sql::Null, |raw| Sql::Text(raw.to_owned())))
    })?;
    strict(c, "mainstay_jsonb_element_text", 2, |args| {
        Ok(element(args)?.map_or(Sql::Null, as_text))
    })?;
    strict(c, "mainstay_json_get", 2, |args| {
        Ok(get(args)?.map_or(Sql::Null, |raw| Sql::Text(raw.to_owned())))
    })?;
    strict(c, "mainstay_json_get_text", 2, |args| {
        Ok(get(args)?.map_or(Sql::Null, as_text))
    })?;
    strict(c, "mainstay_json_path", 2, |args| {
        Ok(follow(args)?.map_or(Sql::Null, |raw| Sql::Text(raw.to_owned())))
    })?;
    strict(c, "mainstay_json_path_text", 2, |args| {
        Ok(follow(args)?.map_or(Sql::Null, as_text))
    })?;
    strict(c, "mainstay_json_typeof", 1, |args| {
        Ok(Sql::Text(kind(args.text(0)?).to_owned()))
    })?;
    strict(c, "mainstay_json_array_length", 1, |args| {
        match elements(args.text(0)?) {
            Some(items) => Ok(Sql::Integer(items.len() as i64)),
            None => Err(not_an(args.text(0)?, "get array length of")),
        }
    })?;
    strict(c, "mainstay_jsonb_contains", 2, |args| {
        Ok(super::boolean(contains(
            &Json::parse(args.text(0)?)?,
            &Json::parse(args.text(1)?)?,
            true,
        )))
    })?;
    strict(c, "mainstay_jsonb_has", 2, |args| {
        Ok(super::boolean(has_key(args.text(0)?, args.text(1)?)))
    })?;
    strict(c, "mainstay_jsonb_has_any", 2, |args| {
        Ok(super::boolean(
            string_list(args.text(1)?)
                .iter()
                .any(|k| has_key(args.text(0).unwrap_or(""), k)),
        ))
    })?;
    strict(c, "mainstay_jsonb_has_all", 2, |args| {
        Ok(super::boolean(
            string_list(args.text(1)?)
                .iter()
                .all(|k| has_key(args.text(0).unwrap_or(""), k)),
        ))
    })?;
    strict(c, "mainstay_jsonb_key", 1, |args| {
        let mut key = Vec::new();
        Json::parse(args.text(0)?)?.order_key(&mut key);
        Ok(Sql::Blob(key))
    })?;
    strict(c, "mainstay_jsonb_concat", 2, |args| {
        let joined = match (Json::parse(args.text(0)?)?, Json::parse(args.text(1)?)?) {
            (Json::Object(mut a), Json::Object(b)) => {
                for (key, value) in b {
                    put(&mut a, key, value);
                }
                Json::Object(a)
            }
            (Json::Array(mut a), Json::Array(b)) => {
                a.extend(b);
                Json::Array(a)
            }
            (Json::Array(mut a), b) => {
                a.push(b);
                Json::Array(a)
            }
            (a, Json::Array(b)) => Json::Array(std::iter::once(a).chain(b).collect()),
            (a, b) => Json::Array(vec![a, b]),
        };
        Ok(Sql::Text(joined.write()))
    })?;
    strict(c, "mainstay_jsonb_delete", 2, |args| {
        delete(args, false).map(|json| Sql::Text(json.write()))
    })?;
    strict(c, "mainstay_jsonb_delete_keys", 2, |args| {
        delete(args, true).map(|json| Sql::Text(json.write()))
    })?;
    strict(c, "mainstay_jsonb_set", 4, |args| {
        let path = string_list(args.text(1)?);
        let document = Json::parse(args.text(0)?)?;
        if matches!(document, Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_)) {
            return Err(Error::new("22023", "cannot set path in scalar"));
        }
        let new = Json::parse(args.text(2)?)?;
        Ok(Sql::Text(set(document, &path, &new, args.int(3)? != 0)?.write()))
    })?;
    for (name, array, normal) in [
        ("mainstay_json_build_array", true, false),
        ("mainstay_jsonb_build_array", true, true),
        ("mainstay_json_build_object", false, false),
        ("mainstay_jsonb_build_object", false, true),
    ] {
        lenient(c, name, -1, PURE, move |args| build(args, array, normal).map(Sql::Text))?;
    }
    Ok(())
}

/// What `->` finds, as a slice of the document.
fn get<'c>(args: &Args<'c, '_>) -> Result<Option<&'c str>> {
    let document = args.text(0)?;
    Ok(match args.raw(1) {
        ValueRef::Integer(index) => at_index(document, index),
        _ => at_key(document, args.text(1)?),
    })
}

fn element<'c>(args: &Args<'c, '_>) -> Result<Option<&'c str>> {
    let (document, index) = (args.text(0)?, args.int(1)?);
    let scalar = !matches!(document.as_bytes().first(), Some(b'[' | b'{'));
    Ok(if scalar {
        matches!(index, 0 | -1).then_some(document)
    } else {
        at_index(document, index)
    })
}

fn at_key<'d>(document: &'d str, key: &str) -> Option<&'d str> {
    // The last of several equal keys counts.
    members(document)?
        .into_iter()
        .rev()
        .find(|(k, _)| k == key)
        .map(|(_, raw)| raw)
}

fn at_index(document: &str, index: i64) -> Option<&str> {
    let items = elements(document)?;
    let at = if index < 0 { items.len() as i64 + index } else { index };
    items.get(usize::try_from(at).ok()?).copied()
}

fn follow<'c>(args: &Args<'c, '_>) -> Result<Option<&'c str>> {
    let mut document = args.text(0)?.trim();
    for step in string_list(args.text(1)?) {
        let found = match document.as_bytes().first() {
            Some(b'{') => at_key(document, &step),
            Some(b'[') => step.parse().ok().and_then(|index| at_index(document, index)),
            _ => None,
        };
        match found {
            Some(found) => document = found,
            None => return Ok(None),
        }
    }
    Ok(Some(document))
}

/// The elements of a stored `text[]`.
pub(super) fn string_list(array: &str) -> Vec<Cow<'_, str>> {
    elements(array)
        .unwrap_or_default()
        .into_iter()
        .filter(|raw| *raw != "null")
        .map(|raw| unquote(raw).unwrap_or(raw.into()))
        .collect()
}

/// A JSON value as `->>` gives it: a string without its quotes, null as NULL.
pub(super) fn as_text(raw: &str) -> Sql {
    match unquoted(raw) {
        Some(text) => Sql::Text(text.into_owned()),
        None => Sql::Null,
    }
}

fn unquoted(raw: &str) -> Option<Cow<'_, str>> {
    match raw {
        "null" => None,
        raw if raw.starts_with('"') => Some(unquote(raw).unwrap_or(raw.into())),
        raw => Some(raw.into()),
    }
}

fn kind(document: &str) -> &'static str {
    match document.trim_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn not_an(document: &str, what: &str) -> Error {
    let got = if kind(document) == "object" {
        "a non-array"
    } else {
        "a scalar"
    };
    Error::new("22023", format!("cannot {what} {got}"))
}

fn has_key(document: &str, key: &str) -> bool {
    match members(document) {
        Some(found) => found.iter().any(|(k, _)| k == key),
        None => match elements(document) {
            Some(items) => items
                .iter()
                .any(|raw| raw.starts_with('"') && unquote(raw).is_some_and(|s| s == key)),
            None => unquote(document.trim()).is_some_and(|s| s == key),
        },
    }
}

/// A document as a tree, with numbers in their own digits.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a document that was checked when it was stored.
    pub(super) fn parse(text: &str) -> Result<Json> {
        Json::parse_at(text, 0)
    }

    fn parse_at(text: &str, depth: usize) -> Result<Json> {
        if depth > DEPTH_MAX {
            return Err(Error::new("54001", "the document nests too deeply"));
        }
        let text = text.trim();
        let damaged = || Error::new("22P02", "invalid input syntax for type json");
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let mut out = Vec::new();
                for (key, raw) in members(text).ok_or_else(damaged)? {
                    put(&mut out, key.into_owned(), Json::parse_at(raw, depth + 1)?);
                }
                Json::Object(out)
            }
            Some(b'[') => {
                let items = elements(text).ok_or_else(damaged)?;
                Json::Array(
                    items
                        .into_iter()
                        .map(|raw| Json::parse_at(raw, depth + 1))
                        .collect::<Result<_>>()?,
                )
            }
            Some(b'"') => Json::String(unquote(text).ok_or_else(damaged)?.into_owned()),
            Some(b't') => Json::Bool(true),
            Some(b'f') => Json::Bool(false),
            Some(b'n') => Json::Null,
            Some(_) => Json::Number(text.to_owned()),
            None => return Err(damaged()),
        })
    }

    /// In the form in which `jsonb` prints it.
    pub(super) fn write(&self) -> String {
        let mut out = Vec::new();
        self.write_to(&mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Json::Null => out.extend_from_slice(b"null"),
            Json::Bool(true) => out.extend_from_slice(b"true"),
            Json::Bool(false) => out.extend_from_slice(b"false"),
            Json::Number(text) => out.extend_from_slice(text.as_bytes()),
            Json::String(text) => write_json_string(text, out),
            Json::Array(items) => {
                out.push(b'[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    item.write_to(out);
                }
                out.push(b']');
            }
            Json::Object(fields) => {
                out.push(b'{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b", ");
                    }
                    write_json_string(key, out);
                    out.extend_from_slice(b": ");
                    value.write_to(out);
                }
                out.push(b'}');
            }
        }
    }

    fn equal(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Null, Json::Null) => true,
            (Json::Bool(a), Json::Bool(b)) => a == b,
            (Json::String(a), Json::String(b)) => a == b,
            (Json::Number(a), Json::Number(b)) => a == b || number(a).cmp_value(&number(b)).is_eq(),
            (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equal(b)),
            (Json::Object(a), Json::Object(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(k, v)| b.iter().any(|(other, w)| k == other && v.equal(w)))
            }
            _ => false,
        }
    }

    /// Bytes whose order is `jsonb`'s: Null < String < Number < Boolean < Array < Object, longer ones after shorter ones; an empty array
    /// at the top before all.
    pub(super) fn order_key(&self, out: &mut Vec<u8>) {
        match self {
            Json::Array(items) if items.is_empty() && out.is_empty() => out.push(0),
            Json::Null => out.push(1),
            Json::String(text) => {
                out.push(2);
                write_terminated(text.as_bytes(), out);
            }
            Json::Number(text) => {
                out.push(3);
                let bytes = number(text).to_ordered_bytes();
                write_terminated(&bytes[..bytes.len().saturating_sub(2)], out);
            }
            Json::Bool(value) => {
                out.push(4);
                out.push(u8::from(*value));
            }
            Json::Array(items) => {
                out.push(5);
                out.extend_from_slice(&(items.len() as u32).to_be_bytes());
                for item in items {
                    item.order_key(out);
                }
            }
            Json::Object(fields) => {
                out.push(6);
                out.extend_from_slice(&(fields.len() as u32).to_be_bytes());
                for (key, value) in fields {
                    write_terminated(key.as_bytes(), out);
                    value.order_key(out);
                }
            }
        }
    }
}

/// Bytes that end so that a prefix sorts before what it begins.
pub(super) fn write_terminated(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn number(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or(Decimal::NAN)
}

/// Puts a member in its place: keys stand by length, then by bytes; the last of equal ones stays.
pub(super) fn put(fields: &mut Vec<(String, Json)>, key: String, value: Json) {
    let place = fields.binary_search_by(|(k, _)| match k.len().cmp(&key.len()) {
        Ordering::Equal => k.as_bytes().cmp(key.as_bytes()),
        order => order,
    });
    match place {
        Ok(at) => fields[at].1 = value,
        Err(at) => fields.insert(at, (key, value)),
    }
}

/// `container @> part`
fn contains(container: &Json, part: &Json, top: bool) -> bool {
    match (container, part) {
        (Json::Object(a), Json::Object(b)) => b
            .iter()
            .all(|(key, value)| a.iter().any(|(k, v)| k == key && contains(v, value, false))),
        (Json::Array(a), Json::Array(b)) => b.iter().all(|wanted| {
            a.iter().any(|item| match wanted {
                Json::Array(_) | Json::Object(_) => contains(item, wanted, false),
                scalar => item.equal(scalar),
            })
        }),
        // An array may contain a scalar, at the top only.
        (Json::Array(a), scalar) if top && !matches!(scalar, Json::Object(_)) => {
            a.iter().any(|item| item.equal(scalar))
        }
        (a, b) => a.equal(b) && !matches!(a, Json::Array(_) | Json::Object(_)),
    }
}

/// `jsonb - key`, `jsonb - index`, `jsonb - keys`
fn delete(args: &Args<'_, '_>, many: bool) -> Result<Json> {
    let mut document = Json::parse(args.text(0)?)?;
    match (&mut document, args.raw(1)) {
        (Json::Array(items), ValueRef::Integer(index)) => {
            let at = if index < 0 { items.len() as i64 + index } else { index };
            if let Ok(at) = usize::try_from(at)
                && at < items.len()
            {
                items.remove(at);
            }
        }
        (Json::Object(_), ValueRef::Integer(_)) => {
            return Err(Error::new("22023", "cannot delete from object using integer index"));
        }
        (Json::Object(_) | Json::Array(_), _) => {
            let text = args.text(1)?;
            let keys = if many {
                string_list(text)
            } else {
                vec![Cow::Borrowed(text)]
            };
            match &mut document {
                Json::Object(fields) => fields.retain(|(key, _)| !keys.iter().any(|k| k == key)),
                Json::Array(items) => {
                    items.retain(|item| !matches!(item, Json::String(s) if keys.iter().any(|k| k == s)))
                }
                _ => {}
            }
        }
        _ => return Err(Error::new("22023", "cannot delete from scalar")),
    }
    Ok(document)
}

/// `jsonb_set`
fn set(document: Json, path: &[Cow<'_, str>], new: &Json, create: bool) -> Result<Json> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(document);
    };
    Ok(match document {
        Json::Object(mut fields) => {
            match fields.iter().position(|(key, _)| key == first) {
                Some(at) => {
                    let present = std::mem::replace(&mut fields[at].1, Json::Null);
                    fields[at].1 = if rest.is_empty() {
                        new.clone()
                    } else {
                        set(present, rest, new, create)?
                    };
                }
                None if rest.is_empty() && create => put(&mut fields, first.clone().into_owned(), new.clone()),
                None => {}
            }
            Json::Object(fields)
        }
        Json::Array(mut items) => {
            let index: i64 = first.parse().map_err(|_| {
                Error::new(
                    "22P02",
                    format!("path element at position 1 is not an integer: \"{first}\""),
                )
            })?;
            let at = if index < 0 { items.len() as i64 + index } else { index };
            match usize::try_from(at) {
                Ok(at) if at < items.len() => {
                    let present = std::mem::replace(&mut items[at], Json::Null);
                    items[at] = if rest.is_empty() {
                        new.clone()
                    } else {
                        set(present, rest, new, create)?
                    };
                }
                Ok(_) if rest.is_empty() && create => items.push(new.clone()),
                Err(_) if rest.is_empty() && create => items.insert(0, new.clone()),
                _ => {}
            }
            Json::Array(items)
        }
        scalar => scalar,
    })
}

/// `json_build_array`, `json_build_object` and their jsonb forms; values come as JSON texts.
fn build(args: &Args<'_, '_>, array: bool, normal: bool) -> Result<String> {
    if array {
        let mut parts = Vec::new();
        for at in 0..args.len() {
            parts.push(args.text(at)?);
        }
        let text = format!("[{}]", parts.join(", "));
        return if normal {
            Ok(Json::parse(&text)?.write_normalized()?)
        } else {
            Ok(text)
        };
    }
    if args.len() % 2 == 1 {
        return Err(Error::new("22023", "argument list must have even number of elements")
            .hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let mut out = vec![b'{'];
    for at in (0..args.len()).step_by(2) {
        if args.is_null(at) {
            return Err(Error::new(
                "22023",
                format!("argument {}: key must not be null", at + 1),
            ));
        }
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        write_json_string(args.text(at)?, &mut out);
        out.extend_from_slice(b" : ");
        out.extend_from_slice(args.text(at + 1)?.as_bytes());
    }
    out.push(b'}');
    let text = String::from_utf8(out).unwrap_or_default();
    if normal {
        Ok(Json::parse(&text)?.write_normalized()?)
    } else {
        Ok(text)
    }
}

impl Json {
    /// As `jsonb` prints it, numbers from `json` included (`1e2` is `100`).
    fn write_normalized(&self) -> Result<String> {
        match Value::Text(self.write()).cast(&Type::Json, &Type::Jsonb)? {
            Value::Text(text) => Ok(text),
            _ => Err(Error::internal("a document is no text")),
        }
    }
}

/// The elements of an array, each as its JSON text. `function` names it with its type in front, as Postgres words its refusal
/// (22023).
pub(super) fn each_element<'d>(document: &'d str, ty: &str, function: &str) -> Result<Vec<&'d str>> {
    elements(document).ok_or_else(|| {
        let scalar = kind(document) != "object";
        Error::new(
            "22023",
            match (ty, scalar) {
                ("jsonb", true) => "cannot extract elements from a scalar".to_owned(),
                ("jsonb", false) => "cannot extract elements from an object".to_owned(),
                (_, true) => format!("cannot call {ty}_{function} on a scalar"),
                (_, false) => format!("cannot call {ty}_{function} on a non-array"),
            },
        )
    })
}

/// The members of an object. Error: 22023.
pub(super) fn each_member<'d>(document: &'d str, ty: &str, function: &str) -> Result<Vec<(Cow<'d, str>, &'d str)>> {
    members(document).ok_or_else(|| {
        let array = kind(document) == "array";
        Error::new(
            "22023",
            match (ty, function) {
                (_, "object_keys") if array => format!("cannot call {ty}_{function} on an array"),
                (_, "object_keys") => format!("cannot call {ty}_{function} on a scalar"),
                ("jsonb", _) => format!("cannot call {ty}_{function} on a non-object"),
                _ if array => "cannot deconstruct an array as an object".to_owned(),
                _ => "cannot deconstruct a scalar".to_owned(),
            },
        )
    })
}

/// Texts as the JSON array that `json_each` goes through.
pub(super) fn listed<'t>(items: impl IntoIterator<Item = Option<Cow<'t, str>>>) -> Sql {
    Sql::Text(json_strings(items))
}

/// A JSON value as text, for [`listed`].
pub(super) fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    unquoted(raw)
}
