//! `select=`: columns, aliases, casts, JSON arrows, aggregates and embedded rows, as a tree.

use crate::cursor::{Cursor, Field, Parsed};
use crate::{Limits, error};
use mainstay_model::{AggregateFunction, Error};
use std::borrow::Cow;

/// One member of a selection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Selected<'a> {
    /// `*`
    Star,
    /// A value.
    Field(SelectedField<'a>),
    /// Related rows.
    Embed(SelectedEmbed<'a>),
}

/// A value: a column or an aggregate of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SelectedField<'a> {
    pub alias: Option<Cow<'a, str>>,
    /// `None` in `count()`.
    pub field: Option<Field<'a>>,
    pub cast: Option<Cow<'a, str>>,
    pub aggregate: Option<AggregateFunction>,
    pub aggregate_cast: Option<Cow<'a, str>>,
}

/// Related rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SelectedEmbed<'a> {
    pub alias: Option<Cow<'a, str>>,
    pub name: Cow<'a, str>,
    pub hint: Option<Cow<'a, str>>,
    pub inner: bool,
    pub spread: bool,
    pub select: Vec<Selected<'a>>,
}

/// Reads the whole parameter.
pub(crate) fn parse<'a>(text: &'a str, limits: &Limits) -> Result<Vec<Selected<'a>>, Error> {
    let mut reader = Reader {
        cursor: Cursor::new(text),
        limits,
        items: 0,
        excess: None,
    };
    let result = reader.forest(0).and_then(|forest| {
        if reader.cursor.at_end() {
            Ok(forest)
        } else {
            reader.cursor.fail("\",\" or end of input")
        }
    });
    if let Some(excess) = reader.excess {
        return Err(excess);
    }
    result.map_err(|unexpected| unexpected.into_error("select parameter", text, text))
}

struct Reader<'a, 'l> {
    cursor: Cursor<'a>,
    limits: &'l Limits,
    items: usize,
    /// A limit that was passed: reported instead of the syntax error that ends the reading.
    excess: Option<Error>,
}

const AFTER_FIELD: &str = "letter, digit, \"-\", \"->>\", \"->\", \"::\", \".\", \")\", \",\" or end of input";

impl<'a> Reader<'a, '_> {
    fn forest(&mut self, depth: usize) -> Parsed<Vec<Selected<'a>>> {
        let mut forest = Vec::new();
        if depth > self.limits.embed_depth {
            self.excess = Some(error::too_much(
                "embedding too deep",
                self.limits.embed_depth,
                "api.max_depth",
            ));
            return self.cursor.fail("fewer parentheses");
        }
        let mut ahead = self.cursor;
        ahead.skip_spaces();
        if ahead.at_end() || ahead.peek() == Some(')') {
            self.cursor = ahead;
            return Ok(forest);
        }
        loop {
            self.items += 1;
            if self.items > self.limits.select_items {
                self.excess = Some(error::too_much(
                    "too many selected items",
                    self.limits.select_items,
                    "limits.select_items",
                ));
                return self.cursor.fail("fewer items");
            }
            forest.push(self.item(depth)?);
            if !self.cursor.eat(",") {
                return Ok(forest);
            }
        }
    }

    fn item(&mut self, depth: usize) -> Parsed<Selected<'a>> {
        let cursor = &mut self.cursor;
        cursor.skip_spaces();
        if cursor.eat("...") {
            let name = cursor.name()?;
            return self.embed(None, name, true, depth);
        }
        if cursor.eat("*") {
            cursor.skip_spaces();
            return if at_item_end(cursor) {
                Ok(Selected::Star)
            } else {
                cursor.fail("\")\", \",\" or end of input")
            };
        }
        let mut name = cursor.name()?;
        let mut alias = None;
        let rest = cursor.rest();
        if rest.starts_with(':') && !rest.starts_with("::") {
            cursor.eat(":");
            cursor.skip_spaces();
            alias = Some(std::mem::replace(&mut name, cursor.name()?));
        }
        if name == "count" && cursor.eat("()") {
            let aggregate_cast = if cursor.eat("::") {
                Some(cursor.type_name()?)
            } else {
                None
            };
            let field = SelectedField {
                alias,
                field: None,
                cast: None,
                aggregate: Some(AggregateFunction::Count),
                aggregate_cast,
            };
            return self.end(Selected::Field(field));
        }
        if matches!(cursor.peek(), Some('!' | '(')) {
            return self.embed(alias, name, false, depth);
        }
        let path = cursor.json_path()?;
        let cast = if cursor.eat("::") {
            Some(cursor.type_name()?)
        } else {
            None
        };
        let aggregate = self.aggregate()?;
        let cursor = &mut self.cursor;
        let aggregate_cast = if aggregate.is_some() && cursor.eat("::") {
            Some(cursor.type_name()?)
        } else {
            None
        };
        self.end(Selected::Field(SelectedField {
            alias,
            field: Some(Field { name, path }),
            cast,
            aggregate,
            aggregate_cast,
        }))
    }

    fn end(&mut self, item: Selected<'a>) -> Parsed<Selected<'a>> {
        self.cursor.skip_spaces();
        if at_item_end(&self.cursor) {
            Ok(item)
        } else {
            self.cursor.fail(AFTER_FIELD)
        }
    }

    fn aggregate(&mut self) -> Parsed<Option<AggregateFunction>> {
        if let Some(function) = aggregate(&mut self.cursor) {
            return Ok(Some(function));
        }
        if !self.cursor.eat(".") {
            return Ok(None);
        }
        self.cursor.fail_word("\"sum\", \"avg\", \"count\", \"max\" or \"min\"")
    }

    fn embed(
        &mut self,
        alias: Option<Cow<'a, str>>,
        name: Cow<'a, str>,
        spread: bool,
        depth: usize,
    ) -> Parsed<Selected<'a>> {
        let mut hint = None;
        let mut inner = false;
        for _ in 0..2 {
            if !self.cursor.eat("!") {
                break;
            }
            let word = self.cursor.name()?;
            match &*word {
                "inner" => inner = true,
                "left" => {}
                _ => hint = hint.or(Some(word)),
            }
        }
        self.cursor.expect("(")?;
        let select = self.forest(depth + 1)?;
        if !self.cursor.eat(")") {
            return self.cursor.fail("\",\" or \")\"");
        }
        self.cursor.skip_spaces();
        if !at_item_end(&self.cursor) {
            return self.cursor.fail("\")\", \",\" or end of input");
        }
        Ok(Selected::Embed(SelectedEmbed {
            alias,
            name,
            hint,
            inner,
            spread,
            select,
        }))
    }
}

/// Takes `.sum()` and the like, if one comes next.
pub(crate) fn aggregate(cursor: &mut Cursor<'_>) -> Option<AggregateFunction> {
    for (name, function) in [
        (".sum()", AggregateFunction::Sum),
        (".avg()", AggregateFunction::Avg),
        (".count()", AggregateFunction::Count),
        (".max()", AggregateFunction::Max),
        (".min()", AggregateFunction::Min),
    ] {
        if cursor.eat(name) {
            return Some(function);
        }
    }
    None
}

/// A value as `having` and `order` name it: a column with or without an aggregate, or `count()`, which has none.
pub(crate) fn operand<'a>(cursor: &mut Cursor<'a>) -> Parsed<(Option<Field<'a>>, Option<AggregateFunction>)> {
    cursor.skip_spaces();
    if cursor.eat("count()") {
        return Ok((None, Some(AggregateFunction::Count)));
    }
    let field = cursor.field()?;
    Ok((Some(field), aggregate(cursor)))
}

fn at_item_end(cursor: &Cursor<'_>) -> bool {
    matches!(cursor.peek(), None | Some(',' | ')'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    fn show(items: &[Selected<'_>]) -> String {
        let mut out = String::new();
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                out.push(' ');
            }
            match item {
                Selected::Star => out.push('*'),
                Selected::Field(f) => {
                    if let Some(alias) = &f.alias {
                        write!(out, "{alias}=").unwrap();
                    }
                    match &f.field {
                        Some(field) => write!(out, "<{}>", field.name).unwrap(),
                        None => out.push('#'),
                    }
                    for arrow in f.field.iter().flat_map(|f| &f.path) {
                        write!(out, "{}{:?}", if arrow.text { "->>" } else { "->" }, arrow.operand).unwrap();
                    }
                    if let Some(cast) = &f.cast {
                        write!(out, "::{cast}").unwrap();
                    }
                    if let Some(aggregate) = f.aggregate {
                        write!(out, ".{aggregate:?}").unwrap();
                    }
                    if let Some(cast) = &f.aggregate_cast {
                        write!(out, "::{cast}").unwrap();
                    }
                }
                Selected::Embed(e) => {
                    if let Some(alias) = &e.alias {
                        write!(out, "{alias}=").unwrap();
                    }
                    let hint = e.hint.as_ref().map(|h| format!("!{h}")).unwrap_or_default();
                    let (spread, inner) = (if e.spread { "..." } else { "" }, if e.inner { "!inner" } else { "" });
                    write!(out, "{spread}[{}]{hint}{inner}({})", e.name, show(&e.select)).unwrap();
                }
            }
        }
        out
    }

    #[test]
    fn selections() {
        for (text, want) in [
            ("", ""),
            ("*", "*"),
            ("id,name", "<id> <name>"),
            (" id , name ", "<id> <name>"),
            ("a:id", "a=<id>"),
            ("id::text", "<id>::text"),
            ("a:id::character varying", "a=<id>::character varying"),
            ("full-name,a b", "<full-name> <a b>"),
            ("\"a,b\":\"c(\"", "a,b=<c(>"),
            ("data->a->>b", "<data>->Key(\"a\")->>Key(\"b\")"),
            ("data->0->>-1::int", "<data>->Index(0)->>Index(-1)::int"),
            ("x:data->>full-name", "x=<data>->>Key(\"full-name\")"),
            ("count()", "#.Count"),
            ("n:count()::text", "n=#.Count::text"),
            ("price.sum()", "<price>.Sum"),
            ("total:price::numeric.avg()::int", "total=<price>::numeric.Avg::int"),
            ("clients(*)", "[clients](*)"),
            (
                "*,c:clients!fk!inner(id,projects(name))",
                "* c=[clients]!fk!inner(<id> [projects](<name>))",
            ),
            ("...clients!inner!fk(name)", "...[clients]!fk!inner(<name>)"),
            ("clients!left()", "[clients]()"),
            ("clients( )", "[clients]()"),
        ] {
            let got = parse(text, &Limits::default()).map(|items| show(&items));
            assert_eq!(got.as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_selection_is_refused_where_it_stands() {
        for (text, column, details) in [
            (
                "id,clients(name[])",
                16,
                "unexpected '[' expecting letter, digit, \"-\", \"->>\", \"->\", \"::\", \".\", \")\", \",\" or end of input",
            ),
            ("*!hint", 2, "unexpected '!' expecting \")\", \",\" or end of input"),
            ("name::", 7, "unexpected end of input expecting letter or digit"),
            ("data->>--34", 9, "unexpected \"-\" expecting digit"),
            (
                "data->>-78xy",
                11,
                "unexpected 'x' expecting digit, \"->\", \"::\", \".\", \",\" or end of input",
            ),
            (
                "id,",
                4,
                "unexpected end of input expecting field name (* or [a..z0..9_$])",
            ),
            ("clients(id", 11, "unexpected end of input expecting \",\" or \")\""),
            ("id)", 3, "unexpected ')' expecting \",\" or end of input"),
            (
                "price.median()",
                7,
                "unexpected \"m\" expecting \"sum\", \"avg\", \"count\", \"max\" or \"min\"",
            ),
        ] {
            let error = parse(text, &Limits::default()).unwrap_err();
            assert_eq!(error.code, "PGRST100");
            assert_eq!(
                error.message,
                format!("\"failed to parse select parameter ({text})\" (line 1, column {column})"),
                "{text}"
            );
            assert_eq!(error.details.as_deref(), Some(details), "{text}");
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let limits = Limits::default();
        let deep = "a(".repeat(limits.embed_depth + 2);
        assert_eq!(parse(&deep, &limits).unwrap_err().code, "54000");
        let wide = "a,".repeat(limits.select_items + 1);
        assert_eq!(parse(&wide, &limits).unwrap_err().code, "54000");
    }
}
