//! Range literals: `[1,10)`, `(,2024-01-01]`, `empty`, in the form Postgres prints.

use crate::value::time;
use crate::{Error, Result, Type, Value};

struct Bound {
    /// `None` is unbounded.
    value: Option<Value>,
    inclusive: bool,
}

/// Reads a range of `element` and gives its canonical text.
pub(super) fn normalize(text: &str, element: &Type) -> Result<String> {
    let Some((mut lower, mut upper)) = read(text, element)? else {
        return Ok("empty".to_owned());
    };
    if let (Some(low), Some(high)) = (&lower.value, &upper.value) {
        match low.sql_cmp(high) {
            Some(std::cmp::Ordering::Greater) => {
                return Err(Error::new(
                    "22000",
                    "range lower bound must be less than or equal to range upper bound",
                ));
            }
            Some(std::cmp::Ordering::Equal) if !(lower.inclusive && upper.inclusive) => return Ok("empty".to_owned()),
            _ => {}
        }
    }
    if matches!(element, Type::Int4 | Type::Int8 | Type::Date) {
        // Discrete: the lower bound is inclusive, the upper exclusive.
        if !lower.inclusive
            && let Some(value) = lower.value.take_if(is_finite)
        {
            lower = Bound {
                value: Some(successor(value, element)?),
                inclusive: true,
            };
        }
        if upper.inclusive
            && let Some(value) = upper.value.take_if(is_finite)
        {
            upper = Bound {
                value: Some(successor(value, element)?),
                inclusive: false,
            };
        }
        if let (Some(low), Some(high)) = (&lower.value, &upper.value)
            && low.sql_cmp(high).is_some_and(|order| order.is_ge())
        {
            return Ok("empty".to_owned());
        }
    }
    let mut out = String::new();
    out.push(if lower.inclusive { '[' } else { '(' });
    write_bound(&lower, element, &mut out);
    out.push(',');
    write_bound(&upper, element, &mut out);
    out.push(if upper.inclusive { ']' } else { ')' });
    Ok(out)
}

fn is_finite(value: &mut Value) -> bool {
    !matches!(value, Value::Date(i32::MIN | i32::MAX))
}

fn successor(value: Value, element: &Type) -> Result<Value> {
    match value {
        Value::Int(n) => Value::Int(
            n.checked_add(1)
                .ok_or_else(|| Error::new("22003", "bigint out of range"))?,
        )
        .fit(element),
        Value::Date(days) => Ok(Value::Date(time::date_add(days, 1)?)),
        other => Ok(other),
    }
}

fn write_bound(bound: &Bound, element: &Type, out: &mut String) {
    let Some(value) = &bound.value else {
        return;
    };
    let text = value.to_text(element);
    if !text.contains(['"', '\\', '(', ')', '[', ']', ',', ' ']) {
        return out.push_str(&text);
    }
    out.push('"');
    out.push_str(&text);
    out.push('"');
}

fn read(text: &str, element: &Type) -> Result<Option<(Bound, Bound)>> {
    let malformed = |detail: &str| Error::new("22P02", format!("malformed range literal: \"{text}\"")).detail(detail);
    let body = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    if let Some(head) = body.get(..5).filter(|head| head.eq_ignore_ascii_case("empty")) {
        return if head.len() == body.len() {
            Ok(None)
        } else {
            Err(malformed("Junk after \"empty\" key word."))
        };
    }
    let lower_inclusive = body.starts_with('[');
    if !lower_inclusive && !body.starts_with('(') {
        return Err(malformed("Missing left parenthesis or bracket."));
    }
    let (lower, rest) = read_bound(&body[1..]).ok_or_else(|| malformed("Unexpected end of input."))?;
    let rest = rest
        .strip_prefix(',')
        .ok_or_else(|| malformed("Missing comma after lower bound."))?;
    let (upper, rest) = read_bound(rest).ok_or_else(|| malformed("Unexpected end of input."))?;
    let upper_inclusive = rest.starts_with(']');
    if !upper_inclusive && !rest.starts_with(')') {
        return Err(malformed("Too many commas."));
    }
    if rest.len() > 1 {
        return Err(malformed("Junk after right parenthesis or bracket."));
    }
    let bound = |text: Option<String>, inclusive: bool| -> Result<Bound> {
        let value = text.map(|text| Value::parse(&text, element)).transpose()?;
        Ok(Bound {
            inclusive: inclusive && value.is_some(),
            value,
        })
    };
    Ok(Some((bound(lower, lower_inclusive)?, bound(upper, upper_inclusive)?)))
}

/// A bound's text (`None` when nothing stands there) and what follows it.
fn read_bound(text: &str) -> Option<(Option<String>, &str)> {
    if text.starts_with([',', ')', ']']) {
        return Some((None, text));
    }
    let mut content = String::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            ',' | ')' | ']' if !quoted => return Some((Some(content), &text[at..])),
            '\\' => content.push(chars.next()?.1),
            '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                content.push('"');
            }
            '"' => quoted = !quoted,
            c => content.push(c),
        }
    }
    None
}
