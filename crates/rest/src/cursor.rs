//! Reads the little languages of the query string, one character after the other, and says where and what it did not expect.

use crate::error;
use mainstay_model::Error;
use std::borrow::Cow;

/// A place in the text of one parameter.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// Something that the grammar has no place for.
#[derive(Debug)]
pub(crate) struct Unexpected {
    at: usize,
    expecting: Cow<'static, str>,
    /// `"x"` rather than `'x'`: the dialect prints an unmatched word and an unmatched character differently.
    word: bool,
    /// What was found, if it is not what stands at `at`.
    found: Option<Option<char>>,
}

/// What reading yields.
pub(crate) type Parsed<T> = Result<T, Unexpected>;

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn at_end(&self) -> bool {
        self.at == self.text.len()
    }

    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn peek_byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes `word` if it comes next.
    pub fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    pub fn skip_spaces(&mut self) {
        while matches!(self.peek_byte(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Everything for which `accept` holds.
    pub fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Everything that is left.
    pub fn take_all(&mut self) -> &'a str {
        let rest = self.rest();
        self.at = self.text.len();
        rest
    }

    /// What stands here was not expected.
    pub fn fail<T>(&self, expecting: impl Into<Cow<'static, str>>) -> Parsed<T> {
        Err(Unexpected {
            at: self.at,
            expecting: expecting.into(),
            word: false,
            found: None,
        })
    }

    /// A word that stands here was not expected.
    pub fn fail_word<T>(&self, expecting: impl Into<Cow<'static, str>>) -> Parsed<T> {
        Err(Unexpected {
            at: self.at,
            expecting: expecting.into(),
            word: true,
            found: None,
        })
    }

    /// Takes `word` or fails.
    pub fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.eat(word) {
            Ok(())
        } else {
            self.fail_word(format!("\"{word}\""))
        }
    }

    /// A name: letters, digits, `_`, `$`, inner spaces and dashes, or anything in double quotes.
    pub fn name(&mut self) -> Parsed<Cow<'a, str>> {
        if self.peek_byte() == Some(b'"') {
            return self.quoted();
        }
        self.dashed(is_identifier, "field name (* or [a..z0..9_$])")
    }

    /// Words joined by dashes, each without the spaces around it; a dash before `>` is an arrow.
    fn dashed(&mut self, accept: impl Fn(char) -> bool + Copy, expecting: &'static str) -> Parsed<Cow<'a, str>> {
        let start = self.at;
        let mut padded = false;
        loop {
            let part = self.take_while(accept);
            if part.is_empty() {
                return self.fail_word(expecting);
            }
            padded |= part.starts_with(' ') || part.ends_with(' ');
            let rest = self.rest();
            if rest.starts_with('-') && !rest.starts_with("->") {
                self.at += 1;
            } else {
                break;
            }
        }
        let whole = &self.text[start..self.at];
        Ok(if padded {
            Cow::Owned(whole.split('-').map(str::trim).collect::<Vec<_>>().join("-"))
        } else {
            Cow::Borrowed(whole)
        })
    }

    /// A value in double quotes, `\` before a quote or itself.
    pub fn quoted(&mut self) -> Parsed<Cow<'a, str>> {
        self.expect("\"")?;
        let start = self.at;
        let mut owned: Option<String> = None;
        loop {
            let Some(c) = self.peek() else {
                return self.fail_word("\"\\\"\"");
            };
            match c {
                '"' => {
                    let plain = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(owned.map_or(Cow::Borrowed(plain), Cow::Owned));
                }
                '\\' => {
                    let so_far = owned.get_or_insert_with(|| self.text[start..self.at].to_owned());
                    self.at += 1;
                    let Some(escaped) = self.text[self.at..].chars().next() else {
                        return self.fail_word("any character");
                    };
                    so_far.push(escaped);
                    self.at += escaped.len_utf8();
                }
                c => {
                    if let Some(so_far) = &mut owned {
                        so_far.push(c);
                    }
                    self.at += c.len_utf8();
                }
            }
        }
    }

    /// The steps of a JSON path: `->key`, `->>key`, `->0`.
    pub fn json_path(&mut self) -> Parsed<Vec<Arrow<'a>>> {
        let mut path = Vec::new();
        loop {
            let text = if self.eat("->>") {
                true
            } else if self.eat("->") {
                false
            } else {
                return Ok(path);
            };
            path.push(Arrow {
                text,
                operand: self.json_operand()?,
            });
        }
    }

    fn json_operand(&mut self) -> Parsed<Operand<'a>> {
        let start = self.at;
        let negative = self.eat("-");
        let digits = self.take_while(|c| c.is_ascii_digit());
        let rest = self.rest();
        let ends = rest.is_empty() || ["->", "::", ".", ",", ")"].iter().any(|end| rest.starts_with(end));
        if !digits.is_empty() && ends {
            let text = &self.text[start..self.at];
            return match text.parse() {
                Ok(index) => Ok(Operand::Index(index)),
                Err(_) => Err(Unexpected {
                    at: start,
                    expecting: "an array index that fits an integer".into(),
                    word: true,
                    found: None,
                }),
            };
        }
        if negative {
            return if digits.is_empty() {
                self.fail_word("digit")
            } else {
                self.fail("digit, \"->\", \"::\", \".\", \",\" or end of input")
            };
        }
        self.at = start;
        if self.peek_byte() == Some(b'"') {
            return Ok(Operand::Key(self.quoted()?));
        }
        let key = self.dashed(
            |c| !matches!(c, '(' | '-' | ':' | '.' | ',' | '>' | ')'),
            "\"-\", digit or any non reserved character different from: .,>()",
        )?;
        Ok(Operand::Key(match key {
            Cow::Borrowed(key) => Cow::Borrowed(key.trim()),
            Cow::Owned(key) => Cow::Owned(key.trim().to_owned()),
        }))
    }

    /// A column, maybe with a JSON path, with spaces around it.
    pub fn field(&mut self) -> Parsed<Field<'a>> {
        self.skip_spaces();
        let name = self.name()?;
        let path = self.json_path()?;
        self.skip_spaces();
        Ok(Field { name, path })
    }

    /// The text of a type in a cast.
    pub fn type_name(&mut self) -> Parsed<Cow<'a, str>> {
        let name = self.take_while(is_identifier);
        if name.is_empty() {
            return self.fail("letter or digit");
        }
        Ok(Cow::Borrowed(name.trim()))
    }

    /// Names separated by commas, to the end.
    pub fn names(&mut self) -> Parsed<Vec<Cow<'a, str>>> {
        let mut names = Vec::new();
        loop {
            self.skip_spaces();
            names.push(self.name()?);
            self.skip_spaces();
            if !self.eat(",") {
                break;
            }
        }
        if self.at_end() {
            Ok(names)
        } else {
            self.fail("\",\" or end of input")
        }
    }
}

/// A character of a name that needs no quotes.
fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | ' ' | '$')
}

impl Unexpected {
    /// Names another character as what was found.
    pub fn found(mut self, found: Option<char>) -> Unexpected {
        self.found = Some(found);
        self
    }

    /// The same, so many bytes later.
    pub fn shifted(mut self, bytes: usize) -> Unexpected {
        self.at += bytes;
        self
    }

    /// The error a client sees: `what` was being read of `text`. Columns count in `whole`, which is what the parser saw.
    pub fn into_error(self, what: &str, text: &str, whole: &str) -> Error {
        let column = whole[..self.at].chars().count() + 1;
        let unexpected = match self.found.unwrap_or_else(|| whole[self.at..].chars().next()) {
            None => "end of input".to_owned(),
            Some(c) if self.word => format!("\"{c}\""),
            Some(c) => format!("'{c}'"),
        };
        error::syntax(
            format!("\"failed to parse {what} ({text})\" (line 1, column {column})"),
            format!("unexpected {unexpected} expecting {}", self.expecting),
        )
    }
}

/// A column, maybe with a path into its JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field<'a> {
    pub name: Cow<'a, str>,
    pub path: Vec<Arrow<'a>>,
}

/// A step of a JSON path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrow<'a> {
    /// `->>`: what it yields is text.
    pub text: bool,
    pub operand: Operand<'a>,
}

/// What a step goes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand<'a> {
    /// A member of an object.
    Key(Cow<'a, str>),
    /// An element of an array, from the end when negative.
    Index(i32),
}

impl Field<'_> {
    /// The name that the value has in the answer without an alias: the last key of a path, else the column.
    pub fn output_name(&self) -> &str {
        let key = self.path.iter().rev().find_map(|arrow| match &arrow.operand {
            Operand::Key(key) => Some(&**key),
            Operand::Index(_) => None,
        });
        key.unwrap_or(&self.name)
    }
}
