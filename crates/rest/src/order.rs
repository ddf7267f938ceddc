//! `order=`: columns, JSON paths, aggregates and columns of embedded rows, with their direction.

use crate::cursor::{Cursor, Field, Parsed};
use crate::select;
use mainstay_model::{AggregateFunction, Error};
use std::borrow::Cow;

/// One sort key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OrderTerm<'a> {
    /// The embedded rows whose column it is, if not a column of the row itself.
    pub embed: Option<Cow<'a, str>>,
    /// `None` in `count()`.
    pub field: Option<Field<'a>>,
    /// Of a group's values.
    pub aggregate: Option<AggregateFunction>,
    pub descending: bool,
    /// `None`: last when ascending, first when descending, as Postgres has it.
    pub nulls_first: Option<bool>,
}

/// Reads the whole parameter.
pub(crate) fn parse(text: &str) -> Result<Vec<OrderTerm<'_>>, Error> {
    let mut cursor = Cursor::new(text);
    terms(&mut cursor).map_err(|unexpected| unexpected.into_error("order", text, text))
}

fn terms<'a>(cursor: &mut Cursor<'a>) -> Parsed<Vec<OrderTerm<'a>>> {
    let mut terms = Vec::new();
    loop {
        terms.push(term(cursor)?);
        if cursor.at_end() {
            return Ok(terms);
        }
        cursor.expect(",")?;
    }
}

fn term<'a>(cursor: &mut Cursor<'a>) -> Parsed<OrderTerm<'a>> {
    let (mut field, aggregate) = select::operand(cursor)?;
    let mut embed = None;
    if cursor.peek() == Some('(') && aggregate.is_none() && field.as_ref().is_some_and(|f| f.path.is_empty()) {
        cursor.eat("(");
        embed = field.map(|field| field.name);
        field = Some(cursor.field()?);
        cursor.expect(")")?;
    }
    let mut descending = None;
    let mut nulls_first = None;
    while cursor.eat(".") {
        // A word is taken only whole: what follows it is looked at below.
        if descending.is_none() && cursor.eat("asc") {
            descending = Some(false);
        } else if descending.is_none() && cursor.eat("desc") {
            descending = Some(true);
        } else if cursor.eat("nullsfirst") {
            nulls_first = Some(true);
            break;
        } else if cursor.eat("nullslast") {
            nulls_first = Some(false);
            break;
        } else if descending.is_none() {
            return cursor.fail_word("\"asc\", \"desc\", \"nullsfirst\" or \"nullslast\"");
        } else {
            return cursor.fail_word("\"nullsfirst\" or \"nullslast\"");
        }
    }
    cursor.skip_spaces();
    if !cursor.at_end() && cursor.peek() != Some(',') {
        return cursor.fail(match (descending, nulls_first) {
            (_, Some(_)) => "\",\" or end of input",
            (Some(_), None) => "delimiter (.), \",\" or end of input",
            (None, None) => "letter, digit, \"-\", \"->>\", \"->\", delimiter (.), \",\" or end of input",
        });
    }
    Ok(OrderTerm {
        embed,
        field,
        aggregate,
        descending: descending.unwrap_or(false),
        nulls_first,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let show = |text| {
            parse(text).map(|terms| {
                let show = |t: &OrderTerm<'_>| {
                    let embed = t.embed.as_ref().map(|e| format!("{e}/")).unwrap_or_default();
                    let direction = if t.descending { "desc" } else { "asc" };
                    let nulls = t
                        .nulls_first
                        .map(|f| if f { " first" } else { " last" })
                        .unwrap_or_default();
                    let (name, path) = match &t.field {
                        Some(field) => (&*field.name, field.path.len()),
                        None => ("", 0),
                    };
                    let aggregate = t.aggregate.map(|a| format!(".{a:?}")).unwrap_or_default();
                    format!("{embed}{name}{}{aggregate} {direction}{nulls}", "->".repeat(path))
                };
                terms.iter().map(show).collect::<Vec<_>>().join(", ")
            })
        };
        for (text, want) in [
            ("id", "id asc"),
            ("id.desc", "id desc"),
            ("name.asc, id.desc.nullslast", "name asc, id desc last"),
            ("id.nullsfirst", "id asc first"),
            ("data->>a->b.desc", "data->-> desc"),
            ("clients(name).desc.nullsfirst,id", "clients/name desc first, id asc"),
            ("clients(data->0)", "clients/data-> asc"),
            ("descr", "descr asc"),
            ("price.sum().desc,count()", "price.Sum desc, .Count asc"),
            ("data->>a.max().desc.nullslast", "data->.Max desc last"),
            ("count", "count asc"),
        ] {
            assert_eq!(show(text).as_deref(), Ok(want), "{text}");
        }
        for (text, column, details) in [
            (
                "id.smth34",
                4,
                "unexpected \"s\" expecting \"asc\", \"desc\", \"nullsfirst\" or \"nullslast\"",
            ),
            (
                "id.descc",
                8,
                "unexpected 'c' expecting delimiter (.), \",\" or end of input",
            ),
            (
                "id.asc.nullslasttt",
                17,
                "unexpected 't' expecting \",\" or end of input",
            ),
            (
                "id.asc.smth34",
                8,
                "unexpected \"s\" expecting \"nullsfirst\" or \"nullslast\"",
            ),
            (
                "",
                1,
                "unexpected end of input expecting field name (* or [a..z0..9_$])",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                error.message,
                format!("\"failed to parse order ({text})\" (line 1, column {column})")
            );
            assert_eq!(error.details.as_deref(), Some(details), "{text}");
        }
    }
}
