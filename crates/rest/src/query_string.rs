//! The query string: one pass that splits and decodes it, and one that says what each parameter is for.

use crate::filter::{self, Condition, Tree};
use crate::level::Level;
use crate::order;
use crate::select::{self, Selected};
use crate::{Limits, cursor::Cursor, error};
use mainstay_model::Error;
use std::borrow::Cow;

/// One parameter, decoded.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Splits `a=b&c=d` and decodes both sides; a parameter without `=` says nothing and is left out.
///
/// Errors: 22021 for bytes that are no UTF-8 and for NUL, which Postgres' text cannot hold; 54000 for too many.
pub(crate) fn split<'a>(query: &'a str, limits: &Limits) -> Result<Vec<Pair<'a>>, Error> {
    let mut pairs = Vec::with_capacity(8);
    for part in query.split('&') {
        let Some(equals) = part.find('=') else {
            match part {
                "" => continue,
                // A condition that was meant to be one and says nothing would be a write to every row.
                name => return Err(error::no_value(&decode(name)?)),
            }
        };
        if pairs.len() == limits.parameters {
            return Err(error::too_much(
                "too many query parameters",
                limits.parameters,
                "limits.parameters",
            ));
        }
        pairs.push((decode(&part[..equals])?, decode(&part[equals + 1..])?));
    }
    Ok(pairs)
}

/// `%41` and `+` to what they stand for; a `%` that no two digits follow stands for itself.
pub(crate) fn decode(text: &str) -> Result<Cow<'_, str>, Error> {
    if !text.bytes().any(|b| b == b'%' || b == b'+' || b == 0) {
        return Ok(Cow::Borrowed(text));
    }
    decode_bytes(text.as_bytes(), true).map(Cow::Owned)
}

/// Decodes a segment of the path, where `+` is itself.
pub(crate) fn decode_segment(text: &str) -> Result<Cow<'_, str>, Error> {
    if !text.bytes().any(|b| b == b'%' || b == 0) {
        return Ok(Cow::Borrowed(text));
    }
    decode_bytes(text.as_bytes(), false).map(Cow::Owned)
}

fn decode_bytes(bytes: &[u8], plus: bool) -> Result<String, Error> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
        match (bytes[i], digit(i + 1), digit(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 2;
            }
            (b'+', ..) if plus => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        i += 1;
    }
    if out.contains(&0) {
        return Err(Error::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    String::from_utf8(out).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        Error::new(
            "22021",
            format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"),
        )
    })
}

/// What the parameters of a request ask.
pub(crate) struct Request<'a> {
    /// The selection with the filters, orders and pages of every level in their places.
    pub root: Level<'a>,
    /// `columns=`
    pub columns: Option<Vec<Cow<'a, str>>>,
    /// `on_conflict=`
    pub on_conflict: Option<Vec<Cow<'a, str>>>,
    /// Parameters of a function that are arguments, in order.
    pub arguments: Vec<(&'a str, &'a str)>,
    /// `limit` or `offset` of the top level was given.
    pub paged: bool,
}

/// How a parameter that is no filter is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// There are none: it must be a filter.
    None,
    /// It is an argument of the function.
    Function,
}

impl<'a> Request<'a> {
    /// Says what each parameter is for, and puts it there. `name`: of the top level, for messages.
    pub fn read(
        pairs: &'a [Pair<'a>],
        name: &'a str,
        arguments: Arguments,
        limits: &Limits,
    ) -> Result<Request<'a>, Error> {
        let first = |wanted: &str| pairs.iter().find(|(key, _)| key == wanted).map(|(_, value)| &**value);
        let selection = match first("select") {
            Some(text) => select::parse(text, limits)?,
            None => vec![Selected::Star],
        };
        let mut request = Request {
            root: Level::root(name, selection),
            columns: None,
            on_conflict: None,
            arguments: Vec::new(),
            paged: false,
        };
        let mut conditions = 0;
        // Of several for one level the first order counts, and the last page: as the dialect has it.
        for (key, value) in pairs {
            let (key, value) = (&**key, &**value);
            let last = key.rsplit('.').next().unwrap_or(key);
            match last {
                "order" => {
                    let (path, _) = filter::parse_path(key)?;
                    let terms = order::parse(value)?;
                    let level = request.root.find(&path)?;
                    if level.order.is_empty() {
                        level.order = terms;
                    }
                }
                "having" => {
                    let (path, _) = filter::parse_path(key)?;
                    let tree = filter::parse_having(value, limits)?;
                    request.root.find(&path)?.having.push(tree);
                }
                // A column may be called so: no filter begins with a parenthesis.
                "after" if value.trim_start().starts_with('(') => {
                    let (path, _) = filter::parse_path(key)?;
                    let values = filter::parse_after(value)?;
                    request.paged |= path.is_empty();
                    request.root.find(&path)?.after.get_or_insert(values);
                }
                "limit" | "offset" => {
                    let (path, _) = filter::parse_path(key)?;
                    request.paged |= path.is_empty();
                    let level = request.root.find(&path)?;
                    let Ok(number) = value.trim().parse::<i64>() else {
                        return Err(error::no_number(key, value));
                    };
                    if last == "limit" {
                        level.limit = Some(number)
                    } else {
                        level.offset = number.max(0)
                    }
                }
                "and" | "or" => {
                    let (path, tree) = filter::parse_logic(key, value, limits)?;
                    request.root.find(&path)?.filters.push(tree);
                }
                _ if matches!(key, "select" | "columns" | "on_conflict") => {}
                _ => {
                    let (negated, test) = match arguments {
                        Arguments::None => filter::parse_test(value)?,
                        Arguments::Function => match filter::parse_test_or_argument(value) {
                            Some(test) => test,
                            None => {
                                request.arguments.push((key, value));
                                continue;
                            }
                        },
                    };
                    conditions += 1;
                    if conditions > limits.conditions {
                        return Err(error::too_much(
                            "too many conditions",
                            limits.conditions,
                            "limits.conditions",
                        ));
                    }
                    let (path, field) = filter::parse_path(key)?;
                    request.root.find(&path)?.filters.push(Tree::Condition(Condition {
                        field,
                        aggregate: None,
                        negated,
                        test,
                    }));
                }
            }
        }
        request.columns = first("columns")
            .map(|text| names("columns parameter", text))
            .transpose()?;
        request.on_conflict = first("on_conflict")
            .map(|text| names("on_conflict parameter", text))
            .transpose()?;
        Ok(request)
    }
}

fn names<'a>(what: &str, text: &'a str) -> Result<Vec<Cow<'a, str>>, Error> {
    Cursor::new(text)
        .names()
        .map_err(|unexpected| unexpected.into_error(what, text, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_split_and_decoded() {
        let limits = Limits::default();
        let show = |query: &str| {
            split(query, &limits).map(|pairs| {
                pairs
                    .iter()
                    .map(|(k, v)| format!("{k}:{v}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        for (query, want) in [
            ("", ""),
            ("a=1&b=2", "a:1 b:2"),
            ("&b=&=c&", "b: :c"),
            ("a=x%20y+z", "a:x y z"),
            ("caf%C3%A9=%E2%82%AC", "café:€"),
            ("a=100%&b=%4", "a:100% b:%4"),
            ("a=b=c", "a:b=c"),
        ] {
            assert_eq!(show(query).as_deref(), Ok(want), "{query}");
        }
        let said = show("id&a=1").unwrap_err();
        assert_eq!(
            (&*said.code, &*said.message),
            ("PGRST100", "the parameter \"id\" has no value")
        );
        assert_eq!(show("a=%ff").unwrap_err().code, "22021");
        assert_eq!(show("a=%00").unwrap_err().code, "22021");
        assert_eq!(show(&"a=1&".repeat(limits.parameters + 1)).unwrap_err().code, "54000");
    }
}
