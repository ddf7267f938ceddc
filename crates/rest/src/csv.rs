//! Rows to CSV (RFC 4180): a line of names, then a line for each row; related rows are a cell of JSON.

use crate::zone::Zone;
use bytes::Bytes;
use mainstay_model::{Encoder, Representation, Type, Value, ValueRef};

use crate::encode::TAKEN_BYTES;
use crate::media::Media;

/// CSV.
pub(crate) struct Csv {
    id: String,
    zone: Option<Zone>,
}

impl Csv {
    pub fn new(zone: Option<Zone>) -> Csv {
        let id = format!(
            "csv{}",
            zone.as_ref()
                .map(|z| format!(";timezone={}", z.name()))
                .unwrap_or_default()
        );
        Csv { id, zone }
    }
}

impl Representation for Csv {
    fn id(&self) -> &str {
        &self.id
    }

    fn time_zone(&self) -> Option<&str> {
        self.zone.as_ref().map(Zone::name)
    }

    fn shows_text(&self) -> bool {
        true
    }

    fn streams(&self) -> bool {
        true
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(CsvEncoder {
            header: Vec::new(),
            out: Vec::new(),
            cell: Vec::new(),
            rows: 0,
            cells: 0,
            zone: self.zone.clone(),
            embed: None,
        })
    }
}

struct CsvEncoder {
    /// The names, gathered with the first row, until they are handed over.
    header: Vec<u8>,
    out: Vec<u8>,
    cell: Vec<u8>,
    rows: u64,
    /// Cells of the row at hand.
    cells: u64,
    zone: Option<Zone>,
    /// Related rows under way: their name, how deep it is inside them, whether they are many, and their JSON.
    embed: Option<(String, u32, Box<dyn Encoder>)>,
}

impl CsvEncoder {
    fn add(&mut self, name: &str, is_null: bool) {
        if self.rows == 1 {
            if self.cells > 0 {
                self.header.push(b',');
            }
            quote(name.as_bytes(), b",\"\n\r", &mut self.header);
        }
        if self.cells > 0 {
            self.out.push(b',');
        }
        self.cells += 1;
        if !is_null {
            if self.cell.is_empty() {
                // An empty text is not NULL.
                self.out.extend_from_slice(b"\"\"");
            } else {
                quote(&self.cell, QUOTED_IN_CELLS, &mut self.out);
            }
        }
        self.cell.clear();
    }

    fn begin_embed(&mut self, name: &str, many: bool) {
        match &mut self.embed {
            Some((_, depth, json)) => {
                *depth += 1;
                if many {
                    json.begin_many(name)
                } else {
                    json.begin_one(name)
                }
            }
            None => {
                let media = if many {
                    Media::Json { strip_nulls: false }
                } else {
                    Media::Object { strip_nulls: false }
                };
                let json = crate::encode::representation(media, crate::encode::Form::Rows, !many, self.zone.as_ref())
                    .encoder();
                self.embed = Some((name.to_owned(), 0, json));
            }
        }
    }

    fn end_embed(&mut self, many: bool) {
        if let Some((_, depth, json)) = &mut self.embed
            && *depth > 0
        {
            *depth -= 1;
            return if many { json.end_many() } else { json.end_one() };
        }
        if let Some((name, _, json)) = self.embed.take() {
            let json = json.finish();
            self.cell.extend_from_slice(&json);
            self.add(&name, &*json == b"null");
        }
    }
}

impl Encoder for CsvEncoder {
    fn begin_row(&mut self) {
        match &mut self.embed {
            Some((.., json)) => json.begin_row(),
            None => {
                self.rows += 1;
                self.cells = 0;
            }
        }
    }

    fn field(&mut self, name: &str, ty: &Type, value: ValueRef<'_>) {
        if let Some((.., json)) = &mut self.embed {
            return json.field(name, ty, value);
        }
        let zoned = match (&self.zone, ty, value) {
            (Some(zone), Type::TimestampTz, ValueRef::Timestamp(us) | ValueRef::Owned(&Value::Timestamp(us))) => {
                zone.write_text(us, &mut self.cell)
            }
            _ => false,
        };
        if !zoned {
            value.write_text(ty, &mut self.cell);
        }
        self.add(name, value.is_null());
    }

    fn begin_one(&mut self, name: &str) {
        self.begin_embed(name, false);
    }

    fn end_one(&mut self) {
        self.end_embed(false);
    }

    fn begin_many(&mut self, name: &str) {
        self.begin_embed(name, true);
    }

    fn end_many(&mut self) {
        self.end_embed(true);
    }

    fn end_row(&mut self) {
        match &mut self.embed {
            Some((.., json)) => json.end_row(),
            None => self.out.push(b'\n'),
        }
    }

    fn scalar(&mut self, ty: &Type, value: ValueRef<'_>) {
        self.begin_row();
        self.field("value", ty, value);
        self.end_row();
    }

    fn len(&self) -> usize {
        self.header.len() + self.out.len()
    }

    fn take(&mut self) -> Bytes {
        let mut all = self.begun();
        // The line break after the last line is not given, and this may be the last line.
        if all.pop_if(|last| *last == b'\n').is_some() {
            self.out.push(b'\n');
        }
        all.into()
    }

    fn finish(mut self: Box<Self>) -> Bytes {
        let mut all = self.begun();
        all.pop_if(|last| *last == b'\n');
        all.into()
    }
}

impl CsvEncoder {
    /// What has not been handed over, with the names in front if they have not been either.
    fn begun(&mut self) -> Vec<u8> {
        let room = Vec::with_capacity(self.out.len().min(TAKEN_BYTES));
        let out = std::mem::replace(&mut self.out, room);
        if self.header.is_empty() {
            return out;
        }
        let mut all = std::mem::take(&mut self.header);
        all.push(b'\n');
        all.extend_from_slice(&out);
        all
    }
}

/// Cells are quoted wherever Postgres quotes a row's values, which the dialect takes its CSV from: more often than CSV itself asks.
const QUOTED_IN_CELLS: &[u8] = b",\"\\() \t\n\r\x0b\x0c";

/// Quotes a text that holds any of these bytes.
fn quote(text: &[u8], which: &[u8], out: &mut Vec<u8>) {
    if !text.iter().any(|b| which.contains(b)) {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut encoder = Csv::new(None).encoder();
        let rows = [
            ("x", Some("a,b")),
            ("", None),
            ("say \"hi\"", Some("line\nbreak")),
            ("two words", Some("(1)")),
        ];
        for (a, b) in rows {
            encoder.begin_row();
            encoder.field("a", &Type::Text, ValueRef::Text(a));
            encoder.field("b", &Type::Text, b.map_or(ValueRef::Null, ValueRef::Text));
            encoder.begin_many("c");
            encoder.begin_row();
            encoder.field("n", &Type::Int4, ValueRef::Int(1));
            encoder.end_row();
            encoder.end_many();
            encoder.end_row();
        }
        let text = String::from_utf8(encoder.finish().to_vec()).unwrap();
        let cell = "\"[{\"\"n\"\":1}]\"";
        assert_eq!(
            text,
            format!(
                "a,b,c\nx,\"a,b\",{cell}\n\"\",,{cell}\n\"say \"\"hi\"\"\",\"line\nbreak\",{cell}\n\"two words\",\"(1)\",{cell}"
            )
        );
    }
}
