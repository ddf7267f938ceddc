//! Filters as the query string writes them: `column=op.value`, and trees of them in `and=(…)` and `or=(…)`.

use crate::cursor::{Cursor, Field, Parsed, Unexpected};
use crate::{Limits, error, select};
use mainstay_model::{AggregateFunction, Error, IsTest, Operator};
use std::borrow::Cow;

/// A condition, or several joined.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree<'a> {
    /// One condition.
    Condition(Condition<'a>),
    /// All or any of several.
    Group {
        /// The opposite.
        negated: bool,
        /// Any rather than all.
        any: bool,
        members: Vec<Tree<'a>>,
    },
}

/// A test of one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition<'a> {
    /// Without a name in `count()`.
    pub field: Field<'a>,
    /// In `having`: of a group's values.
    pub aggregate: Option<AggregateFunction>,
    pub negated: bool,
    pub test: Test<'a>,
}

/// What a value is tested for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test<'a> {
    /// An operator with one operand.
    Operator {
        operator: Operator,
        /// The operator's name in SQL, for messages.
        symbol: &'static str,
        /// With an array of operands: all of them, or any.
        quantifier: Option<Quantifier>,
        /// `*` stands for `%`.
        pattern: bool,
        value: Cow<'a, str>,
    },
    /// One of a list.
    In(Vec<Cow<'a, str>>),
    /// `IS [NOT]`
    Is(IsTest, bool),
    /// Full text, with the language of the configuration.
    Search {
        operator: Operator,
        language: Option<Cow<'a, str>>,
        value: Cow<'a, str>,
    },
}

/// Over an array of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
}

/// How a value ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The whole parameter is the value.
    Parameter,
    /// Inside parentheses a value ends at `,` or `)`.
    Tree,
}

const OPERATOR: &str = "\"not\" or operator (eq, gt, ...)";

/// Names of simple operators, their meaning and SQL symbol, and whether they take `(any)` and `(all)`.
const OPERATORS: &[(&str, Operator, &str, bool)] = &[
    ("eq", Operator::Eq, "=", true),
    ("neq", Operator::Ne, "<>", false),
    ("gt", Operator::Gt, ">", true),
    ("gte", Operator::Ge, ">=", true),
    ("lt", Operator::Lt, "<", true),
    ("lte", Operator::Le, "<=", true),
    ("like", Operator::Like, "~~", true),
    ("ilike", Operator::ILike, "~~*", true),
    ("match", Operator::Match, "~", true),
    ("imatch", Operator::IMatch, "~*", true),
    ("cs", Operator::Contains, "@>", false),
    ("cd", Operator::ContainedBy, "<@", false),
    ("ov", Operator::Overlaps, "&&", false),
    ("sl", Operator::StrictlyLeft, "<<", false),
    ("sr", Operator::StrictlyRight, ">>", false),
    ("nxr", Operator::NotExtendsRight, "&<", false),
    ("nxl", Operator::NotExtendsLeft, "&>", false),
    ("adj", Operator::Adjacent, "-|-", false),
    ("isdistinct", Operator::IsDistinctFrom, "IS DISTINCT FROM", false),
];

/// What the value of every filter parameter begins with, as a regular expression: an operator of [`OPERATORS`] or one of those that
/// have a form of their own.
pub(crate) const PATTERN: &str = "^(not\\.)?((eq|gt|gte|lt|lte|like|ilike|match|imatch)(\\((any|all)\\))?\
    |neq|cs|cd|ov|sl|sr|nxr|nxl|adj|isdistinct|in|is|(fts|plfts|phfts|wfts)(\\([^()]+\\))?)\\.";

/// Reads the value of a filter parameter: everything after `column=`.
pub(crate) fn parse_test(text: &str) -> Result<(bool, Test<'_>), Error> {
    let mut cursor = Cursor::new(text);
    test(&mut cursor, Place::Parameter).map_err(|unexpected| unexpected.into_error("filter", text, text))
}

/// Reads the value of a filter parameter of a function: `None` when it is no test but an argument.
pub(crate) fn parse_test_or_argument(text: &str) -> Option<(bool, Test<'_>)> {
    test(&mut Cursor::new(text), Place::Parameter).ok()
}

/// Reads `a.b.column->>key`: the names of embedded rows, and the field.
pub(crate) fn parse_path(text: &str) -> Result<(Vec<Cow<'_, str>>, Field<'_>), Error> {
    let read = || -> Parsed<_> {
        let mut cursor = Cursor::new(text);
        let mut names = vec![cursor.name()?];
        while cursor.eat(".") {
            names.push(cursor.name()?);
        }
        let path = cursor.json_path()?;
        if !cursor.at_end() {
            return cursor.fail("\"->\", delimiter (.) or end of input");
        }
        let name = names.pop().unwrap_or_default();
        Ok((names, Field { name, path }))
    };
    read().map_err(|unexpected: Unexpected| unexpected.into_error("tree path", text, text))
}

/// A logic parameter: the embedded rows that it is about, and the tree.
pub(crate) fn parse_logic<'a>(
    key: &'a str,
    value: &'a str,
    limits: &Limits,
) -> Result<(Vec<Cow<'a, str>>, Tree<'a>), Error> {
    let mut path: Vec<Cow<'a, str>> = Vec::new();
    let mut cursor = Cursor::new(key);
    loop {
        path.push(cursor.name().map_err(|u| u.into_error("logic path", key, key))?);
        if !cursor.eat(".") {
            break;
        }
    }
    let any = path.pop().is_some_and(|word| word == "or");
    let negated = path.iter().any(|word| word == "not");
    path.retain(|word| word != "not");
    let mut reader = TreeReader {
        cursor: Cursor::new(value),
        limits,
        conditions: 0,
        excess: None,
        grouped: false,
    };
    let members = reader.members(1).and_then(|members| {
        if reader.cursor.at_end() {
            Ok(members)
        } else {
            reader.cursor.fail("end of input")
        }
    });
    if let Some(excess) = reader.excess {
        return Err(excess);
    }
    let members = members.map_err(|unexpected| {
        // The dialect's own parser sees the operator in front of the value, and counts columns with it.
        let seen = format!(
            "{}{}{value}",
            if negated { "not." } else { "" },
            if any { "or" } else { "and" }
        );
        unexpected
            .shifted(seen.len() - value.len())
            .into_error("logic tree", value, &seen)
    })?;
    Ok((path, Tree::Group { negated, any, members }))
}

struct TreeReader<'a, 'l> {
    cursor: Cursor<'a>,
    limits: &'l Limits,
    conditions: usize,
    excess: Option<Error>,
    /// Of groups, whose values may be aggregates.
    grouped: bool,
}

impl<'a> TreeReader<'a, '_> {
    /// `(member, member, …)`
    fn members(&mut self, depth: usize) -> Parsed<Vec<Tree<'a>>> {
        if depth > self.limits.filter_depth {
            self.excess = Some(error::too_much(
                "filters nested too deep",
                self.limits.filter_depth,
                "api.max_depth",
            ));
            return self.cursor.fail("fewer parentheses");
        }
        self.cursor.skip_spaces();
        self.cursor.expect("(")?;
        let mut members = Vec::new();
        loop {
            members.push(self.member(depth)?);
            self.cursor.skip_spaces();
            if self.cursor.eat(",") {
                continue;
            }
            if !self.cursor.eat(")") {
                return self.cursor.fail_word("\",\" or \")\"");
            }
            self.cursor.skip_spaces();
            return Ok(members);
        }
    }

    fn member(&mut self, depth: usize) -> Parsed<Tree<'a>> {
        self.conditions += 1;
        if self.conditions > self.limits.conditions {
            self.excess = Some(error::too_much(
                "too many conditions",
                self.limits.conditions,
                "limits.conditions",
            ));
            return self.cursor.fail("fewer conditions");
        }
        self.cursor.skip_spaces();
        let mut ahead = self.cursor;
        let negated = ahead.eat("not.");
        let any = ahead.eat("or");
        if any || ahead.eat("and") {
            ahead.skip_spaces();
            if ahead.peek() == Some('(') {
                self.cursor = ahead;
                let members = self.members(depth + 1)?;
                return Ok(Tree::Group { negated, any, members });
            }
        }
        if matches!(self.cursor.peek(), None | Some('(' | ')' | ',')) {
            return self
                .cursor
                .fail_word("field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)");
        }
        self.condition(Place::Tree)
    }

    fn condition(&mut self, place: Place) -> Parsed<Tree<'a>> {
        let (field, aggregate) = match self.grouped {
            true => select::operand(&mut self.cursor)?,
            false => (Some(self.cursor.field()?), None),
        };
        if !self.cursor.eat(".") {
            return self.cursor.fail("delimiter (.)");
        }
        let (negated, test) = test(&mut self.cursor, place)?;
        Ok(Tree::Condition(Condition {
            field: field.unwrap_or(Field {
                name: Cow::Borrowed(""),
                path: Vec::new(),
            }),
            aggregate,
            negated,
            test,
        }))
    }
}

/// Reads `having=`: a condition on groups, `price.sum().gt.10`, or a tree of them, `(count().gt.1,price.max().lt.5)`.
pub(crate) fn parse_having<'a>(text: &'a str, limits: &Limits) -> Result<Tree<'a>, Error> {
    let mut reader = TreeReader {
        cursor: Cursor::new(text),
        limits,
        conditions: 0,
        excess: None,
        grouped: true,
    };
    let (negated, rest) = match text.strip_prefix("not.") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let any = rest.starts_with("or(");
    let tree = if any || rest.starts_with("and(") || rest.starts_with('(') {
        reader.cursor.eat("not.");
        if !reader.cursor.eat("or") {
            reader.cursor.eat("and");
        }
        reader.members(1).map(|members| Tree::Group { negated, any, members })
    } else {
        reader.condition(Place::Parameter)
    };
    let tree = tree.and_then(|tree| match reader.cursor.at_end() {
        true => Ok(tree),
        false => reader.cursor.fail("end of input"),
    });
    if let Some(excess) = reader.excess {
        return Err(excess);
    }
    tree.map_err(|unexpected| unexpected.into_error("having", text, text))
}

/// Reads `after=`: the values, in the order of the sort keys, of the row that comes before the page; `null` is NULL, `"null"` is not.
pub(crate) fn parse_after(text: &str) -> Result<Vec<Option<Cow<'_, str>>>, Error> {
    let read = || -> Parsed<_> {
        let mut cursor = Cursor::new(text);
        cursor.skip_spaces();
        cursor.expect("(")?;
        let mut values = Vec::new();
        loop {
            values.push(match quoted_whole(&mut cursor) {
                Some(quoted) => Some(quoted),
                None => Some(cursor.take_while(|c| c != ',' && c != ')'))
                    .filter(|text| *text != "null")
                    .map(Cow::Borrowed),
            });
            if !cursor.eat(",") {
                break;
            }
        }
        if !cursor.eat(")") {
            return cursor.fail_word("\",\" or \")\"");
        }
        match cursor.at_end() {
            true => Ok(values),
            false => cursor.fail("end of input"),
        }
    };
    read().map_err(|unexpected: Unexpected| unexpected.into_error("after", text, text))
}

/// `[not.]operator[(quantifier)].value`
fn test<'a>(cursor: &mut Cursor<'a>, place: Place) -> Parsed<(bool, Test<'a>)> {
    let begin = *cursor;
    let negated = cursor.eat("not.");
    let mut ahead = *cursor;
    let word = ahead.take_while(|c| c.is_ascii_lowercase());
    let refuse = || {
        if negated {
            cursor.fail_word("operator (eq, gt, ...)")
        } else {
            unknown(begin)
        }
    };
    let search = match word {
        "in" if ahead.eat(".") => {
            *cursor = ahead;
            return Ok((negated, Test::In(list(cursor, place)?)));
        }
        "is" if ahead.eat(".") => {
            *cursor = ahead;
            let (test, not) = is_test(cursor, place)?;
            return Ok((negated, Test::Is(test, not)));
        }
        "fts" => Some(Operator::TextSearch),
        "plfts" => Some(Operator::TextSearchPlain),
        "phfts" => Some(Operator::TextSearchPhrase),
        "wfts" => Some(Operator::TextSearchWeb),
        _ => None,
    };
    if let Some(operator) = search {
        let mut language = None;
        if ahead.eat("(") {
            language = Some(ahead.type_name()?);
            ahead.expect(")")?;
        }
        if !ahead.eat(".") {
            return ahead.fail("delimiter (.)");
        }
        *cursor = ahead;
        return Ok((
            negated,
            Test::Search {
                operator,
                language,
                value: value(cursor, place)?,
            },
        ));
    }
    let Some(&(_, operator, symbol, quantifiable)) = OPERATORS.iter().find(|(name, ..)| *name == word) else {
        return refuse();
    };
    let mut quantifier = None;
    if quantifiable && ahead.eat("(") {
        quantifier = Some(if ahead.eat("any)") {
            Quantifier::Any
        } else if ahead.eat("all)") {
            Quantifier::All
        } else {
            return ahead.fail_word("\"any\" or \"all\"");
        });
    }
    if !ahead.eat(".") {
        return if word.is_empty() {
            refuse()
        } else {
            ahead.fail("delimiter (.)")
        };
    }
    *cursor = ahead;
    let pattern = matches!(operator, Operator::Like | Operator::ILike);
    Ok((
        negated,
        Test::Operator {
            operator,
            symbol,
            quantifier,
            pattern,
            value: value(cursor, place)?,
        },
    ))
}

/// No operator begins here. The dialect names the first character that is not that of `not`.
fn unknown<T>(mut at: Cursor<'_>) -> Parsed<T> {
    let begin = at;
    for letter in ["n", "o", "t"] {
        if !at.eat(letter) {
            break;
        }
    }
    let found = at.peek();
    let refused: Parsed<T> = begin.fail_word(OPERATOR);
    refused.map_err(|unexpected| unexpected.found(found))
}

fn is_test(cursor: &mut Cursor<'_>, place: Place) -> Parsed<(IsTest, bool)> {
    let mut ahead = *cursor;
    let word = match place {
        Place::Parameter => ahead.take_all(),
        Place::Tree => ahead.take_while(|c| c != ',' && c != ')').trim_end(),
    };
    for (name, test, negated) in [
        ("null", IsTest::Null, false),
        ("not_null", IsTest::Null, true),
        ("true", IsTest::True, false),
        ("false", IsTest::False, false),
        ("unknown", IsTest::Unknown, false),
    ] {
        if word.eq_ignore_ascii_case(name) {
            *cursor = ahead;
            return Ok((test, negated));
        }
    }
    cursor.fail_word("isVal: (null, not_null, true, false, unknown)")
}

fn value<'a>(cursor: &mut Cursor<'a>, place: Place) -> Parsed<Cow<'a, str>> {
    if place == Place::Parameter {
        return Ok(Cow::Borrowed(cursor.take_all()));
    }
    if let Some(quoted) = quoted_whole(cursor) {
        return Ok(quoted);
    }
    if cursor.peek() == Some('{') {
        let mut ahead = *cursor;
        let text = ahead.rest();
        ahead.eat("{");
        let inner = ahead.take_while(|c| c != '{' && c != '}');
        if ahead.eat("}") {
            *cursor = ahead;
            return Ok(Cow::Borrowed(&text[..inner.len() + 2]));
        }
    }
    Ok(Cow::Borrowed(cursor.take_while(|c| c != ',' && c != ')')))
}

/// A quoted value that ends where a value may end; quotes elsewhere are part of the value.
fn quoted_whole<'a>(cursor: &mut Cursor<'a>) -> Option<Cow<'a, str>> {
    if cursor.peek() != Some('"') {
        return None;
    }
    let mut ahead = *cursor;
    let quoted = ahead.quoted().ok()?;
    if !matches!(ahead.peek(), None | Some(',' | ')')) {
        return None;
    }
    *cursor = ahead;
    Some(quoted)
}

/// `(a,b,"c,d")`; `()` is the empty list.
fn list<'a>(cursor: &mut Cursor<'a>, place: Place) -> Parsed<Vec<Cow<'a, str>>> {
    cursor.skip_spaces();
    cursor.expect("(")?;
    let mut values = Vec::new();
    loop {
        cursor.skip_spaces();
        values.push(match quoted_whole(cursor) {
            Some(quoted) => quoted,
            None => Cow::Borrowed(cursor.take_while(|c| c != ',' && c != ')')),
        });
        if !cursor.eat(",") {
            break;
        }
    }
    if !cursor.eat(")") {
        return cursor.fail_word("\",\" or \")\"");
    }
    cursor.skip_spaces();
    if place == Place::Parameter && !cursor.at_end() {
        return cursor.fail("end of input");
    }
    if matches!(&*values, [only] if only.is_empty()) {
        values.clear();
    }
    Ok(values)
}

#[cfg(test)]
mod tests;
