//! CSV as `COPY` reads it (RFC 4180, and a difference it does not make): an empty field is NULL, a quoted empty one the empty text.

use super::source::{Place, Records, Trouble};
use mainstay_store::TextRow;
use memchr::{memchr, memchr2};
use std::io::Read;

/// What some programs begin a file of UTF-8 with.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// How much is read at once.
const CHUNK: usize = 1 << 18;
/// The longest record: more is most likely a quote that was never closed.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// Records of a CSV file.
pub struct Csv<R> {
    input: R,
    delimiter: u8,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not yet been used.
    start: usize,
    ended: bool,
    /// Something has been read.
    begun: bool,
    /// The last record, in the buffer, without its line end.
    record: std::ops::Range<usize>,
    /// The line it begins on, from 1.
    line: u64,
    next_line: u64,
    /// Whether empty lines are no records, as they are not where there is more than one column.
    skip_empty: bool,
}

impl<R: Read> Csv<R> {
    /// Over an input, fields separated by `delimiter`.
    pub fn new(input: R, delimiter: u8) -> Csv<R> {
        Csv {
            input,
            delimiter,
            buffer: Vec::new(),
            start: 0,
            ended: false,
            begun: false,
            record: 0..0,
            line: 0,
            next_line: 1,
            skip_empty: true,
        }
    }

    /// With one column an empty line is a NULL.
    pub fn one_column(&mut self) {
        self.skip_empty = false;
    }

    /// Finds the next record; `false` at the end.
    fn advance(&mut self) -> Result<bool, Trouble> {
        loop {
            let Some(end) = self.find_end()? else {
                return Ok(false);
            };
            let (start, raw) = (self.start, &self.buffer[self.start..end]);
            self.line = self.next_line;
            let is_last = raw.last() != Some(&b'\n');
            self.next_line += raw.iter().filter(|b| **b == b'\n').count() as u64;
            let mut length = raw.len() - usize::from(!is_last);
            if length > 0 && raw[length - 1] == b'\r' {
                length -= 1;
            }
            self.start = end;
            self.record = start..start + length;
            if length > 0 || !self.skip_empty {
                return Ok(true);
            }
        }
    }

    /// Where the record at `start` ends, its line end included; `None` when there is none.
    fn find_end(&mut self) -> Result<Option<usize>, Trouble> {
        let mut quoted = false;
        let mut at = self.start;
        loop {
            let rest = &self.buffer[at..];
            let found = if quoted {
                memchr(b'"', rest)
            } else {
                memchr2(b'"', b'\n', rest)
            };
            match found {
                Some(offset) if self.buffer[at + offset] == b'\n' => return Ok(Some(at + offset + 1)),
                Some(offset) => {
                    quoted = !quoted;
                    at += offset + 1;
                }
                None if self.ended => {
                    if quoted {
                        self.record = self.start..self.buffer.len();
                        self.line = self.next_line;
                        let place = self.open_quote();
                        return Err(Trouble::at(place, "a quoted field begins here and never ends"));
                    }
                    let end = self.buffer.len();
                    return Ok((end > self.start).then_some(end));
                }
                None => {
                    at = self.buffer.len();
                    let used = self.start;
                    self.refill()?;
                    at -= used - self.start;
                }
            }
        }
    }

    /// Reads on, what has been used making room.
    fn refill(&mut self) -> Result<(), Trouble> {
        if !std::mem::replace(&mut self.begun, true) {
            while self.buffer.len() < BOM.len() && !self.ended {
                self.read_more()?;
            }
            if self.buffer.starts_with(BOM) {
                self.buffer.drain(..BOM.len());
            }
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > RECORD_BYTES_MAX {
            let place = Place {
                line: self.next_line,
                column: 1,
            };
            let limit = RECORD_BYTES_MAX >> 20;
            return Err(Trouble::at(
                place,
                format!("a record of more than {limit} MiB begins here; is a quote missing?"),
            ));
        }
        self.read_more()
    }

    fn read_more(&mut self) -> Result<(), Trouble> {
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = self.input.read(&mut self.buffer[length..]);
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.ended = true,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Trouble::of(format!("cannot be read: {e}"))),
        }
        Ok(())
    }

    /// Where the last unpaired quote of the record stands.
    fn open_quote(&self) -> Place {
        let record = &self.buffer[self.record.clone()];
        let last = Splitter::new(record, self.delimiter)
            .last()
            .map_or(0, |field| field.start);
        self.place_at(last)
    }

    /// A place by its offset in the record: columns count characters.
    fn place_at(&self, offset: usize) -> Place {
        let before = &self.buffer[self.record.start..self.record.start + offset];
        let lines = before.iter().filter(|b| **b == b'\n').count() as u64;
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        Place {
            line: self.line + lines,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() as u64 + 1,
        }
    }
}

impl<R: Read + Send> Records for Csv<R> {
    fn next(&mut self, row: &mut TextRow) -> Result<bool, Trouble> {
        row.clear();
        if !self.advance()? {
            return Ok(false);
        }
        let record = match std::str::from_utf8(&self.buffer[self.record.clone()]) {
            Ok(record) => record,
            Err(error) => {
                let place = self.place_at(error.valid_up_to());
                return Err(Trouble::at(place, "is not UTF-8 here; save the file as UTF-8"));
            }
        };
        for field in Splitter::new(record.as_bytes(), self.delimiter) {
            let text = &record[field.start..field.end];
            if !field.quoted {
                if text.is_empty() {
                    row.push_null();
                } else {
                    row.push(text);
                }
            } else if let Some(inner) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'))
                && memchr(b'"', inner.as_bytes()).is_none()
            {
                row.push(inner);
            } else {
                row.push(&unquoted(text));
            }
        }
        Ok(true)
    }

    fn line(&self) -> u64 {
        self.line
    }

    fn place(&self, field: usize) -> Place {
        let record = &self.buffer[self.record.clone()];
        let start = Splitter::new(record, self.delimiter)
            .nth(field)
            .map_or(record.len(), |f| f.start);
        self.place_at(start)
    }
}

/// A field with quotes anywhere in it, without them; doubled ones inside quotes stand for one.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '"' {
            out.push(c);
        } else if inside && chars.peek() == Some(&'"') {
            chars.next();
            out.push('"');
        } else {
            inside = !inside;
        }
    }
    out
}

/// Splits a record into its fields.
struct Splitter<'a> {
    record: &'a [u8],
    delimiter: u8,
    at: Option<usize>,
}

struct Field {
    start: usize,
    end: usize,
    quoted: bool,
}

impl<'a> Splitter<'a> {
    fn new(record: &'a [u8], delimiter: u8) -> Splitter<'a> {
        Splitter {
            record,
            delimiter,
            at: Some(0),
        }
    }
}

impl Iterator for Splitter<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        let start = self.at?;
        let (mut at, mut inside, mut quoted) = (start, false, false);
        loop {
            let rest = &self.record[at..];
            let found = if inside {
                memchr(b'"', rest)
            } else {
                memchr2(b'"', self.delimiter, rest)
            };
            match found {
                Some(offset) if rest[offset] == b'"' => {
                    inside = !inside;
                    quoted = true;
                    at += offset + 1;
                }
                Some(offset) => {
                    self.at = Some(at + offset + 1);
                    return Some(Field {
                        start,
                        end: at + offset,
                        quoted,
                    });
                }
                None => {
                    self.at = None;
                    return Some(Field {
                        start,
                        end: self.record.len(),
                        quoted,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a byte or a few at a time, so that every boundary is met.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = self.1.min(self.0.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn all(text: &str, step: usize) -> Result<Vec<Vec<Option<String>>>, Trouble> {
        let mut csv = Csv::new(Drip(text.as_bytes(), step), b',');
        let (mut rows, mut row) = (Vec::new(), TextRow::default());
        while csv.next(&mut row)? {
            rows.push(row.iter().map(|v| v.map(str::to_owned)).collect());
        }
        Ok(rows)
    }

    #[test]
    fn records_are_as_copy_reads_them() {
        let some = |text: &str| Some(text.to_owned());
        for step in [1, 3, 1000] {
            for (text, expected) in [
                ("", vec![]),
                ("a,b\n", vec![vec![some("a"), some("b")]]),
                ("a,b", vec![vec![some("a"), some("b")]]),
                (
                    "a,b\r\nc,d\r\n",
                    vec![vec![some("a"), some("b")], vec![some("c"), some("d")]],
                ),
                (",\n", vec![vec![None, None]]),
                ("\"\",\n", vec![vec![some(""), None]]),
                ("\n\na,\n\n", vec![vec![some("a"), None]]),
                ("\"a,\"\"b\"\"\nc\",d", vec![vec![some("a,\"b\"\nc"), some("d")]]),
                ("a\"b,c\"d,e", vec![vec![some("ab,cd"), some("e")]]),
                ("\u{feff}ä, ö \n", vec![vec![some("ä"), some(" ö ")]]),
            ] {
                assert_eq!(all(text, step).unwrap(), expected, "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn trouble_has_its_place() {
        for (text, line, column) in [("a,b\nc,\"d\ne", 2, 3), ("ä,ö\n\"", 2, 1)] {
            let trouble = all(text, 1000).unwrap_err();
            assert_eq!(trouble.place, Some(Place { line, column }), "{text:?}");
        }
        let mut csv = Csv::new(&b"a,b\nc,\xff\n"[..], b',');
        let mut row = TextRow::default();
        assert!(csv.next(&mut row).unwrap());
        assert_eq!(
            csv.next(&mut row).unwrap_err().place,
            Some(Place { line: 2, column: 3 })
        );
        let mut csv = Csv::new(&b"x\n\"a\nb\",\xc3\xa4,\"c\"\n"[..], b',');
        assert!(csv.next(&mut row).unwrap() && csv.next(&mut row).unwrap());
        assert_eq!(csv.line(), 2);
        assert_eq!(csv.place(0), Place { line: 2, column: 1 });
        assert_eq!(csv.place(1), Place { line: 3, column: 4 });
        assert_eq!(csv.place(2), Place { line: 3, column: 6 });
    }
}
