//! Takes out of a file what no SQL grammar holds: psql's meta-commands, the data of `COPY … FROM stdin`, a byte order mark. What is
//! taken out is replaced by blanks, so that every byte offset keeps its meaning.

use std::ops::Range;

/// A file made fit for the parser.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// As long as the original, byte for byte.
    pub(crate) text: String,
    /// The data that follows `COPY … FROM stdin;`.
    pub(crate) copies: Vec<CopyBlock>,
    /// psql's meta-commands, without line ends.
    pub(crate) commands: Vec<Range<usize>>,
    /// Where parentheses are nested more deeply than [`NESTING_MAX`].
    pub(crate) too_deep: Option<usize>,
}

/// The data of one COPY.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CopyBlock {
    /// Offset of the semicolon that ends the statement.
    pub(crate) semicolon: usize,
    /// The lines of data, without the `\.` line.
    pub(crate) data: Range<usize>,
    /// Whether the `\.` line is there.
    pub(crate) ended: bool,
}

/// How deeply parentheses, brackets and prefix operators may be nested: far more than people write, and few enough that walking
/// the tree cannot exhaust the stack.
pub(crate) const NESTING_MAX: usize = 200;

/// Prepares a file.
pub(crate) fn prepare(original: &str) -> Prepared {
    let bytes = original.as_bytes();
    let mut prepared = Prepared::default();
    let mut blanks: Vec<Range<usize>> = Vec::new();
    if original.starts_with('\u{feff}') {
        blanks.push(0..3);
    }
    let mut at = if blanks.is_empty() { 0 } else { 3 };
    let mut statement = at;
    // Whether the statement declares a function; looked at once.
    let mut function: Option<bool> = None;
    let mut depth = Depth::default();
    while at < bytes.len() {
        let next = match bytes[at] {
            b'\'' => {
                // `E'…'` knows backslash escapes, but only when the E is a word of its own.
                let escapes = at > 0
                    && matches!(bytes[at - 1], b'e' | b'E')
                    && !(at > 1 && (bytes[at - 2].is_ascii_alphanumeric() || matches!(bytes[at - 2], b'_' | b'$')));
                quoted_end(bytes, at, b'\'', escapes)
            }
            b'"' => quoted_end(bytes, at, b'"', false),
            b'-' if bytes.get(at + 1) == Some(&b'-') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'$' if at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') => {
                dollar_end(original, at)
            }
            b'\\' => {
                let end = line_end(bytes, at);
                blanks.push(at..end);
                prepared.commands.push(at..end);
                if original[statement..at].trim().is_empty() {
                    statement = end;
                }
                end
            }
            b';' => {
                let copy = is_copy_from_stdin(&original[statement..at]);
                statement = at + 1;
                function = None;
                depth = Depth::default();
                if copy {
                    let start = (line_end(bytes, at) + 1).min(bytes.len());
                    let (end, next, ended) = copy_end(bytes, start);
                    prepared.copies.push(CopyBlock {
                        semicolon: at,
                        data: start..end,
                        ended,
                    });
                    blanks.push(start..next);
                    statement = next;
                    next
                } else {
                    at + 1
                }
            }
            byte => {
                if depth.exceeded_by(byte) && prepared.too_deep.is_none() {
                    prepared.too_deep = Some(at);
                }
                at + 1
            }
        };
        // The body of a function is parsed as well.
        let literal = matches!(bytes[at], b'\'' | b'$') && next > at + 2;
        if literal
            && prepared.too_deep.is_none()
            && *function.get_or_insert_with(|| declares_function(&original[statement..at]))
        {
            let inner = original[at..next].trim_matches(['\'', '$']);
            prepared.too_deep = prepare(inner).too_deep.map(|_| at);
        }
        if !matches!(bytes[at], b' ' | b'\n' | b'\r' | b'\t' | b';') && next > at + 1 {
            depth.run = 0;
        }
        at = next.max(at + 1);
    }
    prepared.text = blanked(original, &blanks);
    prepared
}

/// Counts what a recursive parser recurses on.
#[derive(Default)]
struct Depth {
    open: usize,
    /// Operator characters and letters of NOT in a row, without an operand between them.
    run: usize,
    word: Vec<u8>,
    cases: usize,
}

impl Depth {
    fn exceeded_by(&mut self, byte: u8) -> bool {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
            if self.word.len() < 8 {
                self.word.push(byte.to_ascii_lowercase());
            }
            return false;
        }
        match self.word.as_slice() {
            b"" => {}
            b"not" => self.run += 1,
            b"case" | b"begin" => {
                self.cases += 1;
                self.run = 0;
            }
            b"end" => {
                self.cases = self.cases.saturating_sub(1);
                self.run = 0;
            }
            _ => self.run = 0,
        }
        self.word.clear();
        match byte {
            b'(' | b'[' => self.open += 1,
            b')' | b']' => {
                self.open = self.open.saturating_sub(1);
                self.run = 0;
            }
            b'+' | b'-' | b'~' | b'!' | b'@' | b'#' | b'&' | b'|' | b'`' | b'?' | b'*' | b'/' | b'<' | b'>' | b'='
            | b'%' | b'^' => self.run += 1,
            _ => {}
        }
        self.open + self.run + self.cases > NESTING_MAX
    }
}

fn blanked(original: &str, blanks: &[Range<usize>]) -> String {
    let mut bytes = original.as_bytes().to_vec();
    for range in blanks {
        for byte in &mut bytes[range.clone()] {
            if !matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    // Whole characters were replaced by ASCII, so this cannot fail; and if it did, nothing would be read.
    String::from_utf8(bytes).unwrap_or_default()
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(|&b| b == b'\n')
        .map_or(bytes.len(), |i| from + i)
}

fn quoted_end(bytes: &[u8], from: usize, quote: u8, escapes: bool) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 2;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn comment_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `$tag$ … $tag$`; of a lone dollar, the next byte.
fn dollar_end(text: &str, from: usize) -> usize {
    let rest = &text[from + 1..];
    let tag = rest.find('$').map(|end| &rest[..end]).filter(|tag| {
        tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit())
    });
    let Some(tag) = tag else { return from + 1 };
    let open = from + tag.len() + 2;
    let delimiter = &text[from..open];
    text[open..]
        .find(delimiter)
        .map_or(text.len(), |i| open + i + delimiter.len())
}

/// Whether a statement, up to its semicolon, is a COPY that reads what follows it.
fn is_copy_from_stdin(statement: &str) -> bool {
    // Most statements are none, and some are long.
    let head = statement.trim_start();
    if !head.starts_with(['-', '/']) && !head.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("copy")) {
        return false;
    }
    let statement = without_comments(statement).to_ascii_lowercase();
    let mut words = statement.split_ascii_whitespace();
    words.next() == Some("copy")
        && words
            .clone()
            .zip(words.skip(1))
            .any(|(a, b)| a == "from" && b.trim_end_matches('(') == "stdin")
}

fn declares_function(statement: &str) -> bool {
    let head = without_comments(statement).to_ascii_lowercase();
    let mut words = head.split_ascii_whitespace();
    words.next() == Some("create") && words.take(3).any(|w| w == "function" || w == "procedure")
}

fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"--") {
            at = line_end(bytes, at);
        } else if rest.starts_with(b"/*") {
            at = comment_end(bytes, at);
            out.push(' ');
        } else {
            let width = text[at..].chars().next().map_or(1, char::len_utf8);
            out.push_str(&text[at..at + width]);
            at += width;
        }
    }
    out
}

/// Where the data ends, where the file goes on, and whether `\.` was there.
fn copy_end(bytes: &[u8], start: usize) -> (usize, usize, bool) {
    let mut at = start;
    while at < bytes.len() {
        let end = line_end(bytes, at);
        if bytes[at..end].strip_suffix(b"\r").unwrap_or(&bytes[at..end]) == b"\\." {
            return (at, end, true);
        }
        at = end + 1;
    }
    (bytes.len(), bytes.len(), false)
}

/// The fields of one line of COPY's text format.
pub(crate) fn copy_fields(line: &str, delimiter: char, null: &str) -> Vec<Option<String>> {
    let mut fields = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (i, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == delimiter {
            fields.push(copy_field(&line[start..i], null));
            start = i + c.len_utf8();
        }
    }
    fields.push(copy_field(&line[start..], null));
    fields
}

fn copy_field(raw: &str, null: &str) -> Option<String> {
    if raw == null {
        return None;
    }
    if !raw.contains('\\') {
        return Some(raw.to_owned());
    }
    // Octal and hexadecimal escapes name bytes, so characters are put together at the end.
    let mut out: Vec<u8> = Vec::with_capacity(raw.len());
    let bytes = raw.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' || at + 1 == bytes.len() {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        at += 1;
        let digits = |from: usize, most: usize, radix: u32| {
            bytes[from..]
                .iter()
                .take(most)
                .take_while(|b| (**b as char).is_digit(radix))
                .count()
        };
        let number = |from: usize, count: usize, radix: u32| {
            std::str::from_utf8(&bytes[from..from + count])
                .ok()
                .and_then(|t| u32::from_str_radix(t, radix).ok())
                .unwrap_or(0) as u8
        };
        match bytes[at] {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let count = digits(at, 3, 8);
                out.push(number(at, count, 8));
                at += count - 1;
            }
            b'x' if digits(at + 1, 2, 16) > 0 => {
                let count = digits(at + 1, 2, 16);
                out.push(number(at + 1, count, 16));
                at += count;
            }
            other => out.push(other),
        }
        at += 1;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_commands_are_blanked_in_place() {
        let text = "\u{feff}\\restrict abc\r\nSET x = 1;\nCOPY public.t (a, b) FROM stdin;\n1\tö;'\n\\N\t\\.\n\\.\n\nSELECT '\\x', E'\\'\\n';\n\\c db\n";
        let prepared = prepare(text);
        assert_eq!(prepared.text.len(), text.len());
        let squeezed: Vec<&str> = prepared.text.split_whitespace().collect();
        assert_eq!(
            squeezed.join(" "),
            "SET x = 1; COPY public.t (a, b) FROM stdin; SELECT '\\x', E'\\'\\n';"
        );
        assert_eq!(prepared.copies.len(), 1);
        assert_eq!(&text[prepared.copies[0].data.clone()], "1\tö;'\n\\N\t\\.\n");
        assert!(prepared.copies[0].ended);
        let commands: Vec<&str> = prepared.commands.iter().map(|c| text[c.clone()].trim_end()).collect();
        assert_eq!(commands, ["\\restrict abc", "\\c db"]);
    }

    #[test]
    fn quotes_comments_and_dollars_hide_what_is_in_them() {
        for text in [
            "SELECT $a$ \\c ; copy t from stdin; $a$;",
            "-- \\c it's\nSELECT 1;",
            "/* ' /* \\c */ ; */ SELECT 1;",
            "SELECT \"a\\b\", 'it''s \\';",
            "SELECT $1, a$b;",
        ] {
            let prepared = prepare(text);
            assert_eq!(prepared.text, text);
            assert_eq!((prepared.copies.len(), prepared.commands.len()), (0, 0), "{text}");
        }
    }

    #[test]
    fn fields_are_unescaped() {
        let none = None;
        let some = |s: &str| Some(s.to_owned());
        for (line, expected) in [
            ("1\t\\N\t", vec![some("1"), none.clone(), some("")]),
            ("a\\tb\\\\c\\nd", vec![some("a\tb\\c\nd")]),
            ("\\303\\266\\x41\\q", vec![some("öAq")]),
            ("\\\\N", vec![some("\\N")]),
            ("a\\\tb", vec![some("a\tb")]),
            ("x\\", vec![some("x\\")]),
        ] {
            assert_eq!(copy_fields(line, '\t', "\\N"), expected, "{line:?}");
        }
    }

    #[test]
    fn deep_nesting_is_noticed() {
        assert_eq!(prepare(&"(".repeat(NESTING_MAX + 1)).too_deep, Some(NESTING_MAX));
        assert!(prepare(&"NOT ".repeat(10_000)).too_deep.is_some());
        assert!(prepare(&"- ".repeat(10_000)).too_deep.is_some());
        assert!(prepare(&"CASE WHEN ".repeat(10_000)).too_deep.is_some());
        assert_eq!(prepare(&"(1),".repeat(10_000)).too_deep, None);
        assert_eq!(prepare(&"(1 - 2) * -3, NOT a, ".repeat(10_000)).too_deep, None);
        assert_eq!(prepare(&"('-', '*') , ".repeat(10_000)).too_deep, None);
        assert_eq!(prepare(&"(CASE WHEN a THEN 1 END),".repeat(10_000)).too_deep, None);
    }
}
