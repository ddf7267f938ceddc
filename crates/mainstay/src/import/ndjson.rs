//! NDJSON: an object per line, values as a POST of them would give them. The keys of the first line are the columns; a key that a
//! later line lacks is NULL, and one that it has beyond them an error.

use super::source::{Place, Records, Trouble};
use mainstay_model::{JsonKind, Type, Value, json_members};
use mainstay_store::TextRow;
use std::io::{BufRead, BufReader, Read};

/// The longest line.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Rows of an NDJSON file.
pub struct Ndjson<R> {
    input: BufReader<R>,
    text: String,
    bytes: Vec<u8>,
    line: u64,
    /// Names and types, once they are known.
    columns: Vec<(String, Type)>,
    /// Of the last row, where each column's value begins in the line; none for a key that is not there.
    starts: Vec<Option<usize>>,
    /// The line that the columns were taken from is still to be read.
    kept: bool,
}

impl<R: Read> Ndjson<R> {
    /// Over an input.
    pub fn new(input: R) -> Ndjson<R> {
        Ndjson {
            input: BufReader::with_capacity(1 << 18, input),
            text: String::new(),
            bytes: Vec::new(),
            line: 0,
            columns: Vec::new(),
            starts: Vec::new(),
            kept: false,
        }
    }

    /// The keys of the first object; none when there is no object.
    pub fn keys(&mut self) -> Result<Vec<String>, Trouble> {
        if !self.advance()? {
            return Ok(Vec::new());
        }
        self.kept = true;
        Ok(self.members()?.into_iter().map(|(key, _)| key).collect())
    }

    /// Says what the keys are.
    pub fn set_columns(&mut self, columns: Vec<(String, Type)>) {
        self.columns = columns;
    }

    /// The next line that is not empty, into `text`.
    fn advance(&mut self) -> Result<bool, Trouble> {
        if std::mem::take(&mut self.kept) {
            return Ok(true);
        }
        loop {
            self.bytes.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.bytes);
            let length = read.map_err(|e| Trouble::of(format!("cannot be read: {e}")))?;
            if length == 0 {
                return Ok(false);
            }
            self.line += 1;
            if length > LINE_BYTES_MAX {
                return Err(self.trouble(0, format!("a line of more than {} MiB", LINE_BYTES_MAX >> 20)));
            }
            if self.line == 1 && self.bytes.starts_with(b"\xef\xbb\xbf") {
                self.bytes.drain(..3);
            }
            self.text.clear();
            match std::str::from_utf8(&self.bytes) {
                Ok(text) => self.text.push_str(text),
                Err(error) => {
                    let good = error.valid_up_to();
                    self.text.push_str(&String::from_utf8_lossy(&self.bytes[..good]));
                    return Err(self.trouble(good, "is not UTF-8 here; save the file as UTF-8"));
                }
            }
            if !self.text.trim().is_empty() {
                return Ok(true);
            }
        }
    }

    fn members(&self) -> Result<Vec<(String, &str)>, Trouble> {
        let text = self.text.trim_end();
        if text.trim_start().starts_with('[') {
            return Err(self.trouble(
                0,
                "expected an object, found an array; write one object per line, without brackets around all",
            ));
        }
        json_members(text).map_err(|error| {
            // The message of a parser that knows the place.
            let found = serde_json::from_str::<serde_json::Value>(text).err();
            let column = found.as_ref().map_or(0, |e| e.column().saturating_sub(1));
            let what = match found {
                Some(e) => e.to_string().split(" at line").next().unwrap_or_default().to_owned(),
                None => error.message.clone(),
            };
            self.trouble(column, format!("is not a JSON object: {what}"))
        })
    }

    fn trouble(&self, offset: usize, what: impl Into<String>) -> Trouble {
        Trouble::at(self.place_at(offset), what)
    }

    fn place_at(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        Place {
            line: self.line,
            column: before.chars().count() as u64 + 1,
        }
    }
}

impl<R: Read + Send> Records for Ndjson<R> {
    fn next(&mut self, row: &mut TextRow) -> Result<bool, Trouble> {
        row.clear();
        if !self.advance()? {
            return Ok(false);
        }
        let mut found: Vec<Option<&str>> = vec![None; self.columns.len()];
        let members = self.members()?;
        let offset = |raw: &str| raw.as_ptr() as usize - self.text.as_ptr() as usize;
        for (at, (key, raw)) in members.iter().enumerate() {
            // Almost always they come in the same order.
            let same = self.columns.get(at).is_some_and(|(name, _)| name == key);
            let column = if same {
                Some(at)
            } else {
                self.columns.iter().position(|(name, _)| name == key)
            };
            let Some(column) = column else {
                let known: Vec<&str> = self.columns.iter().map(|(name, _)| name.as_str()).collect();
                return Err(self.trouble(
                    offset(raw),
                    format!("key \"{key}\" is not one of the first line's ({})", known.join(", ")),
                ));
            };
            found[column] = Some(raw);
        }
        let starts = found.iter().map(|raw| raw.map(offset)).collect();
        for ((name, ty), raw) in self.columns.iter().zip(&found) {
            match raw {
                None => row.push_null(),
                Some(raw) => text_of(raw, ty, row)
                    .map_err(|message| self.trouble(offset(raw), format!("column \"{name}\": {message}")))?,
            }
        }
        self.starts = starts;
        Ok(true)
    }

    fn line(&self) -> u64 {
        self.line
    }

    fn place(&self, field: usize) -> Place {
        self.place_at(self.starts.get(field).copied().flatten().unwrap_or(0))
    }
}

/// A JSON value as the text that the type's input function reads.
fn text_of(raw: &str, ty: &Type, row: &mut TextRow) -> Result<(), String> {
    match (JsonKind::of(raw), ty) {
        (JsonKind::Null, _) => row.push_null(),
        (_, ty) if ty.is_json() => row.push(raw),
        (JsonKind::String, _) => {
            let plain = raw
                .strip_prefix('"')
                .and_then(|r| r.strip_suffix('"'))
                .filter(|r| !r.contains('\\'));
            match plain {
                Some(text) => row.push(text),
                None => row.push(&serde_json::from_str::<String>(raw).map_err(|e| e.to_string())?),
            }
        }
        (_, Type::Array(_)) => {
            let value = Value::from_json_text(raw, ty).map_err(|e| e.message.clone())?;
            row.push(&value.to_text(ty));
        }
        _ => row.push(raw),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(text: &str, types: &[Type]) -> Ndjson<std::io::Cursor<Vec<u8>>> {
        let mut ndjson = Ndjson::new(std::io::Cursor::new(text.as_bytes().to_vec()));
        let keys = ndjson.keys().unwrap();
        ndjson.set_columns(keys.into_iter().zip(types.iter().cloned()).collect());
        ndjson
    }

    #[test]
    fn values_become_texts() {
        let text =
            "{\"a\": 1.50, \"b\": \"x\\ty\", \"c\": {\"k\": 1}, \"d\": [1, null]}\n\n{\"d\": null, \"a\": true}\n";
        let mut ndjson = reader(
            text,
            &[Type::Text, Type::Text, Type::Jsonb, Type::Array(Type::Int4.into())],
        );
        let mut row = TextRow::default();
        assert!(ndjson.next(&mut row).unwrap());
        assert_eq!(
            row.iter().collect::<Vec<_>>(),
            [Some("1.50"), Some("x\ty"), Some("{\"k\": 1}"), Some("{1,NULL}")]
        );
        assert_eq!((ndjson.line(), ndjson.place(1)), (1, Place { line: 1, column: 18 }));
        assert!(ndjson.next(&mut row).unwrap());
        assert_eq!(row.iter().collect::<Vec<_>>(), [Some("true"), None, None, None]);
        assert_eq!(ndjson.line(), 3);
        assert!(!ndjson.next(&mut row).unwrap());
    }

    #[test]
    fn trouble_has_its_place() {
        let mut row = TextRow::default();
        for (second, column, what) in [
            ("{\"a\": 1, \"b\": 2}", 15, "not one of the first line's (a)"),
            ("[1]", 1, "found an array"),
            ("{\"a\": }", 7, "not a JSON object"),
            ("7", 1, "not a JSON object"),
        ] {
            let mut ndjson = reader(&format!("{{\"a\": 0}}\n{second}\n"), &[Type::Int4]);
            assert!(ndjson.next(&mut row).unwrap());
            let trouble = ndjson.next(&mut row).unwrap_err();
            assert_eq!(
                trouble.place,
                Some(Place { line: 2, column }),
                "{second}: {}",
                trouble.what
            );
            assert!(trouble.what.contains(what), "{second}: {}", trouble.what);
        }
    }
}
