//! JSON text: checked as the `json` type checks it, and brought into the form in which `jsonb` prints it.
//!
//! Numbers are never turned into floats: `1.50` stays `1.50`, and an integer of any length keeps its digits.

use crate::value::decimal::{Decimal, overflow};
use crate::value::output::write_json_string;
use crate::{Error, Result};

/// Deeper nesting is refused, so that a hostile document cannot exhaust the stack.
pub(crate) const DEPTH_MAX: usize = 512;

/// Refuses what is not JSON. Errors: 22P02, 54001 (nested too deeply).
pub(super) fn check(text: &str) -> Result<()> {
    let mut reader = Reader {
        text,
        at: 0,
        decode: false,
    };
    reader.value(0, &mut Ignore)?;
    reader.end()
}

/// The text `jsonb` prints: keys sorted by length and then bytes, the last of duplicates kept, `": "` and `", "` between. Errors:
/// 22P02, 22P05 (`\u0000`), 22003 (a number too large), 54001.
pub(crate) fn normalize(text: &str) -> Result<String> {
    let mut reader = Reader {
        text,
        at: 0,
        decode: true,
    };
    let mut tree = Vec::new();
    reader.value(0, &mut tree)?;
    reader.end()?;
    let mut out = Vec::with_capacity(text.len() + text.len() / 8);
    if let Some(node) = tree.pop() {
        node.write(&mut out);
    }
    Ok(crate::value::output::into_string(out))
}

/// One JSON value inside a larger text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl JsonKind {
    /// What a valid JSON text is, from its first character.
    pub fn of(text: &str) -> JsonKind {
        match text.trim_start().as_bytes().first() {
            Some(b'n') => JsonKind::Null,
            Some(b't' | b'f') => JsonKind::Bool,
            Some(b'"') => JsonKind::String,
            Some(b'[') => JsonKind::Array,
            Some(b'{') => JsonKind::Object,
            _ => JsonKind::Number,
        }
    }
}

/// Checks a JSON array and splits it into its elements' own texts. Errors: 22P02 (also when it is no array), 54001.
pub fn json_elements(text: &str) -> Result<Vec<&str>> {
    let mut parts = Vec::new();
    let mut reader = Reader {
        text,
        at: 0,
        decode: false,
    };
    reader.blanks();
    if reader.peek() != Some(b'[') {
        reader.value(0, &mut Ignore)?;
        return Err(Error::new("22P02", "expected JSON array"));
    }
    reader.array(&mut |reader: &mut Reader<'_>| {
        let start = reader.start_of_value();
        reader.value(1, &mut Ignore)?;
        parts.push((start, reader.at));
        Ok(())
    })?;
    reader.end()?;
    Ok(parts.into_iter().map(|(start, end)| &text[start..end]).collect())
}

/// Checks a JSON object and splits it into its keys, unescaped, and its members' own texts, in order, duplicates included. Errors:
/// 22P02 (also when it is no object), 22P05, 54001.
pub fn json_members(text: &str) -> Result<Vec<(String, &str)>> {
    let mut parts = Vec::new();
    let mut reader = Reader {
        text,
        at: 0,
        decode: false,
    };
    reader.blanks();
    if reader.peek() != Some(b'{') {
        reader.value(0, &mut Ignore)?;
        return Err(Error::new("22P02", "expected JSON object"));
    }
    reader.object(true, &mut |reader: &mut Reader<'_>, key: String| {
        let start = reader.start_of_value();
        reader.value(1, &mut Ignore)?;
        parts.push((key, start, reader.at));
        Ok(())
    })?;
    reader.end()?;
    Ok(parts
        .into_iter()
        .map(|(key, start, end)| (key, &text[start..end]))
        .collect())
}

/// The text that a JSON string stands for. Errors: 22P02, 22P05 (`\u0000`).
pub(super) fn unescape(text: &str) -> Result<String> {
    let mut reader = Reader {
        text,
        at: 0,
        decode: true,
    };
    reader.blanks();
    let content = reader.string()?;
    reader.end()?;
    Ok(content)
}

/// What the reader tells of the values it meets.
trait Sink {
    fn scalar(&mut self, node: Node) -> Result<()>;
    fn wants_nodes(&self) -> bool;
    /// The containers' contents arrive in a sink of their own.
    fn container(&mut self, node: Node);
}

struct Ignore;

impl Sink for Ignore {
    fn scalar(&mut self, _: Node) -> Result<()> {
        Ok(())
    }
    fn wants_nodes(&self) -> bool {
        false
    }
    fn container(&mut self, _: Node) {}
}

impl Sink for Vec<Node> {
    fn scalar(&mut self, node: Node) -> Result<()> {
        self.push(node);
        Ok(())
    }
    fn wants_nodes(&self) -> bool {
        true
    }
    fn container(&mut self, node: Node) {
        self.push(node);
    }
}

enum Node {
    Literal(&'static str),
    Number(Decimal),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Literal(word) => out.extend_from_slice(word.as_bytes()),
            Node::Number(number) => number.write(out),
            Node::String(text) => write_json_string(text, out),
            Node::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b", ");
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Node::Object(members) => {
                out.push(b'{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b", ");
                    }
                    write_json_string(key, out);
                    out.extend_from_slice(b": ");
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Sorted as `jsonb` sorts keys; of equal ones the last stays.
fn sort_members(mut members: Vec<(String, Node)>) -> Vec<(String, Node)> {
    members.reverse();
    members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    members.dedup_by(|later, kept| later.0 == kept.0);
    members
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// Whether strings must stand for text (`jsonb`): `\u0000` and lone surrogates are refused.
    decode: bool,
}

impl Reader<'_> {
    fn invalid(&self, detail: String) -> Error {
        Error::new("22P02", "invalid input syntax for type json").detail(detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn start_of_value(&mut self) -> usize {
        self.blanks();
        self.at
    }

    /// The token here: a string, a word, what begins like a number, or one character.
    fn token(&self) -> &str {
        let rest = &self.text[self.at..];
        let bytes = rest.as_bytes();
        let word = |from: usize| {
            bytes[from..]
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_' || **b >= 0x80)
                .count()
        };
        let length = match bytes.first() {
            Some(b'"') => {
                let mut escaped = false;
                let end = bytes[1..].iter().position(|b| {
                    let ends = *b == b'"' && !escaped;
                    escaped = *b == b'\\' && !escaped;
                    ends
                });
                end.map_or(rest.len(), |end| end + 2)
            }
            Some(b'-' | b'0'..=b'9') => {
                let (length, _) = number_length(bytes);
                length + word(length)
            }
            _ => word(0).max(rest.chars().next().map_or(0, char::len_utf8)),
        };
        &rest[..length]
    }

    /// The token here is out of place, or is no token at all.
    fn unexpected(&self, expected: &str) -> Error {
        let token = self.token();
        if token.is_empty() {
            return self.invalid("The input string ended unexpectedly.".to_owned());
        }
        if token.starts_with('"')
            && let Err(error) = (Reader { ..*self }).string()
        {
            return error;
        }
        let known = matches!(token, "true" | "false" | "null" | "{" | "}" | "[" | "]" | "," | ":")
            || token.starts_with('"')
            || number_length(token.as_bytes()) == (token.len(), true);
        if !known {
            return self.invalid(format!("Token \"{token}\" is invalid."));
        }
        self.invalid(format!("Expected {expected}, but found \"{token}\"."))
    }

    fn end(&mut self) -> Result<()> {
        self.blanks();
        if self.at < self.text.len() {
            return Err(self.unexpected("end of input"));
        }
        Ok(())
    }

    fn value(&mut self, depth: usize, sink: &mut dyn Sink) -> Result<()> {
        self.blanks();
        if depth > DEPTH_MAX {
            return Err(Error::new("54001", "stack depth limit exceeded")
                .hint(format!("At most {DEPTH_MAX} levels of JSON are read.")));
        }
        let wanted = sink.wants_nodes();
        match self.peek() {
            Some(b'{') => {
                let mut members = Vec::new();
                self.object(wanted, &mut |reader: &mut Self, key: String| {
                    if !wanted {
                        return reader.value(depth + 1, &mut Ignore);
                    }
                    let mut node = Vec::with_capacity(1);
                    reader.value(depth + 1, &mut node)?;
                    members.extend(node.pop().map(|node| (key, node)));
                    Ok(())
                })?;
                sink.container(Node::Object(sort_members(members)));
                Ok(())
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.array(&mut |reader: &mut Self| {
                    if wanted {
                        reader.value(depth + 1, &mut items)
                    } else {
                        reader.value(depth + 1, &mut Ignore)
                    }
                })?;
                sink.container(Node::Array(items));
                Ok(())
            }
            Some(b'"') => {
                let content = self.string()?;
                sink.scalar(Node::String(content))
            }
            _ => {
                let token = self.token();
                let length = token.len();
                let node = match token {
                    "true" => Node::Literal("true"),
                    "false" => Node::Literal("false"),
                    "null" => Node::Literal("null"),
                    _ if number_length(token.as_bytes()) == (length, true) => {
                        if wanted {
                            Node::Number(Decimal::parse(token).ok_or_else(overflow)?)
                        } else {
                            Node::Literal("")
                        }
                    }
                    _ => return Err(self.unexpected("JSON value")),
                };
                self.at += length;
                sink.scalar(node)
            }
        }
    }

    fn array(&mut self, element: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected("\",\" or \"]\"")),
            }
        }
    }

    fn object(&mut self, keys: bool, member: &mut dyn FnMut(&mut Self, String) -> Result<()>) -> Result<()> {
        self.at += 1;
        self.blanks();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("string or \"}\""));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("string"));
            }
            let decode = self.decode;
            self.decode |= keys;
            let key = self.string()?;
            self.decode = decode;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("\":\""));
            }
            self.at += 1;
            member(self, key)?;
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.unexpected("\",\" or \"}\"")),
            }
        }
    }

    /// From an opening quote to behind the closing one; empty when the content is not wanted.
    fn string(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        let mut content = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .bytes()
                .take_while(|b| *b >= 0x20 && *b != b'"' && *b != b'\\')
                .count();
            if self.decode {
                content.push_str(&rest[..plain]);
            }
            self.at += plain;
            match rest.as_bytes().get(plain) {
                None => return Err(self.invalid(format!("Token \"{}\" is invalid.", &self.text[start..]))),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(content);
                }
                Some(b'\\') => self.escape(start, &mut content)?,
                Some(byte) => return Err(self.invalid(format!("Character with value 0x{byte:02x} must be escaped."))),
            }
        }
    }

    fn escape(&mut self, start: usize, content: &mut String) -> Result<()> {
        let rest = &self.text[self.at..];
        let Some(letter) = rest[1..].chars().next() else {
            return Err(self.invalid(format!("Token \"{}\" is invalid.", &self.text[start..])));
        };
        let plain = match letter {
            '"' | '\\' | '/' => letter,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode_escape(content),
            _ => return Err(self.invalid(format!("Escape sequence \"\\{letter}\" is invalid."))),
        };
        self.at += 1 + letter.len_utf8();
        if self.decode {
            content.push(plain);
        }
        Ok(())
    }

    fn hex4(&self, at: usize) -> Result<u32> {
        let digits = self
            .text
            .as_bytes()
            .get(at..at + 4)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits =
            digits.ok_or_else(|| self.invalid("\"\\u\" must be followed by four hexadecimal digits.".to_owned()))?;
        Ok(digits
            .iter()
            .fold(0, |n, digit| n * 16 + (*digit as char).to_digit(16).unwrap_or(0)))
    }

    fn unicode_escape(&mut self, content: &mut String) -> Result<()> {
        let unit = self.hex4(self.at + 2)?;
        self.at += 6;
        if !self.decode {
            return Ok(());
        }
        let code = match unit {
            0 => {
                return Err(Error::new("22P05", "unsupported Unicode escape sequence")
                    .detail("\\u0000 cannot be converted to text."));
            }
            0xd800..0xdc00 => {
                let lone = || self.invalid("Unicode low surrogate must follow a high surrogate.".to_owned());
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(lone());
                }
                let low = self.hex4(self.at + 2)?;
                if (0xd800..0xdc00).contains(&low) {
                    return Err(self.invalid("Unicode high surrogate must not follow a high surrogate.".to_owned()));
                }
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(lone());
                }
                self.at += 6;
                0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
            }
            0xdc00..0xe000 => {
                return Err(self.invalid("Unicode low surrogate must follow a high surrogate.".to_owned()));
            }
            unit => unit,
        };
        content.extend(char::from_u32(code));
        Ok(())
    }
}

/// How far what begins like a number goes, and whether it is one.
fn number_length(bytes: &[u8]) -> (usize, bool) {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = if bytes.get(at) == Some(&b'0') { 1 } else { digits(at) };
    let mut valid = whole > 0;
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        valid &= fraction > 0;
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        valid &= exponent > 0;
        at += exponent;
    }
    (at, valid)
}
