//! Rows to JSON: an array of objects, one object, or a function's bare values.
//!
//! Rows are separated by `,` alone, where Postgres' `json_agg` puts a space and a line break as well: to a JSON parser the same.

use crate::csv::Csv;
use crate::media::Media;
use crate::raw::Raw;
use crate::zone::Zone;
use bytes::Bytes;
use mainstay_model::{Encoder, Representation, Type, Value, ValueRef, write_json_string};
use smallvec::SmallVec;
use std::sync::{Arc, LazyLock};

/// How much room the next part of an answer is given at once.
pub(crate) const TAKEN_BYTES: usize = 72 << 10;

/// What an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Objects.
    Rows,
    /// A function's values, without names.
    Bare,
}

/// The representation for a form of answer. `one`: exactly one row or value is given, not an array.
pub(crate) fn representation(media: Media, form: Form, one: bool, zone: Option<&Zone>) -> Arc<dyn Representation> {
    static PLAIN: LazyLock<[Arc<dyn Representation>; 8]> = LazyLock::new(|| {
        std::array::from_fn(|i| -> Arc<dyn Representation> {
            Arc::new(Json::new(
                if i & 1 == 0 { Form::Rows } else { Form::Bare },
                i & 2 != 0,
                i & 4 != 0,
                None,
            ))
        })
    });
    let strip_nulls = match media {
        Media::Csv => return Arc::new(Csv::new(zone.cloned())),
        Media::Raw(kind) => return Arc::new(Raw(kind)),
        Media::Json { strip_nulls } | Media::Object { strip_nulls } => strip_nulls,
    };
    let one = one || media.is_singular();
    match zone {
        Some(zone) => Arc::new(Json::new(form, one, strip_nulls, Some(zone.clone()))),
        None => PLAIN[(form == Form::Bare) as usize + 2 * one as usize + 4 * strip_nulls as usize].clone(),
    }
}

/// JSON in one of its forms.
pub(crate) struct Json {
    id: String,
    form: Form,
    one: bool,
    strip_nulls: bool,
    zone: Option<Zone>,
}

impl Json {
    fn new(form: Form, one: bool, strip_nulls: bool, zone: Option<Zone>) -> Json {
        let id = format!(
            "json{}{}{}{}",
            if form == Form::Bare { ";bare" } else { "" },
            if one { ";one" } else { "" },
            if strip_nulls { ";nulls=stripped" } else { "" },
            zone.as_ref()
                .map(|z| format!(";timezone={}", z.name()))
                .unwrap_or_default(),
        );
        Json {
            id,
            form,
            one,
            strip_nulls,
            zone,
        }
    }
}

impl Representation for Json {
    fn id(&self) -> &str {
        &self.id
    }

    fn time_zone(&self) -> Option<&str> {
        self.zone.as_ref().map(Zone::name)
    }

    fn strips_nulls(&self) -> bool {
        self.strip_nulls
    }

    fn streams(&self) -> bool {
        !self.one
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        let mut out = Vec::with_capacity(1024);
        if !self.one {
            out.push(b'[');
        }
        Box::new(JsonEncoder {
            out,
            rows: 0,
            first_ends: None,
            open: SmallVec::new(),
            bare: self.form == Form::Bare,
            one: self.one,
            strip_nulls: self.strip_nulls,
            zone: self.zone.clone(),
        })
    }
}

/// What is open, from the outermost inward; a list is always inside a row, a row always inside the answer or a list.
enum Open {
    /// A row's object; whether a member has been written.
    Row { members: bool },
    /// Embedded rows: how many so far, where the text before their name ended, and whether they are many.
    List {
        rows: u64,
        before: usize,
        members_before: bool,
        many: bool,
    },
}

struct JsonEncoder {
    out: Vec<u8>,
    /// Rows of the answer itself.
    rows: u64,
    /// Where the first row of an answer of one ends: what comes after it is not given.
    first_ends: Option<usize>,
    open: SmallVec<[Open; 4]>,
    bare: bool,
    one: bool,
    strip_nulls: bool,
    zone: Option<Zone>,
}

impl JsonEncoder {
    /// Whether the row at hand is one of the answer's own, and bare.
    fn in_bare_row(&self) -> bool {
        self.bare && self.open.len() == 1
    }

    fn name(&mut self, name: &str) {
        if let Some(Open::Row { members }) = self.open.last_mut() {
            if *members {
                self.out.push(b',');
            }
            *members = true;
        }
        if self.in_bare_row() {
            return;
        }
        // Most names need no escapes.
        if name.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\' && b != 0x7f) {
            self.out.push(b'"');
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"\":");
        } else {
            write_json_string(name, &mut self.out);
            self.out.push(b':');
        }
    }

    fn value(&mut self, ty: &Type, value: ValueRef<'_>) {
        if let Some(zone) = &self.zone
            && *ty == Type::TimestampTz
            && let ValueRef::Timestamp(us) | ValueRef::Owned(&Value::Timestamp(us)) = value
            && zone.write_json(us, &mut self.out)
        {
            return;
        }
        if self.strip_nulls && ty.is_json() {
            let mut text = Vec::new();
            value.write_json(ty, &mut text);
            strip(&text, &mut self.out);
            return;
        }
        value.write_json(ty, &mut self.out);
    }

    fn begin_list(&mut self, name: &str, many: bool) {
        let before = self.out.len();
        let members_before = matches!(self.open.last(), Some(Open::Row { members: true }));
        self.name(name);
        if many {
            self.out.push(b'[');
        }
        self.open.push(Open::List {
            rows: 0,
            before,
            members_before,
            many,
        });
    }

    fn end_list(&mut self) {
        let Some(Open::List {
            rows,
            before,
            members_before,
            many,
        }) = self.open.pop()
        else {
            return;
        };
        if many {
            self.out.push(b']');
        } else if rows == 0 && self.strip_nulls {
            self.out.truncate(before);
            if let Some(Open::Row { members }) = self.open.last_mut() {
                *members = members_before;
            }
        } else if rows == 0 {
            self.out.extend_from_slice(b"null");
        }
    }
}

impl Encoder for JsonEncoder {
    fn begin_row(&mut self) {
        let rows = match self.open.last_mut() {
            Some(Open::List { rows, .. }) => rows,
            _ => &mut self.rows,
        };
        if *rows > 0 {
            self.out.push(b',');
        }
        *rows += 1;
        if !(self.bare && self.open.is_empty()) {
            self.out.push(b'{');
        }
        self.open.push(Open::Row { members: false });
    }

    fn field(&mut self, name: &str, ty: &Type, value: ValueRef<'_>) {
        if self.strip_nulls && value.is_null() && !self.in_bare_row() {
            return;
        }
        self.name(name);
        self.value(ty, value);
    }

    fn begin_one(&mut self, name: &str) {
        self.begin_list(name, false);
    }

    fn end_one(&mut self) {
        self.end_list();
    }

    fn begin_many(&mut self, name: &str) {
        self.begin_list(name, true);
    }

    fn end_many(&mut self) {
        self.end_list();
    }

    fn end_row(&mut self) {
        let bare = self.in_bare_row();
        self.open.pop();
        if !bare {
            self.out.push(b'}');
        }
        if self.one && self.open.is_empty() && self.first_ends.is_none() {
            self.first_ends = Some(self.out.len());
        }
    }

    fn scalar(&mut self, ty: &Type, value: ValueRef<'_>) {
        if self.rows > 0 {
            self.out.push(b',');
        }
        self.rows += 1;
        self.value(ty, value);
        if self.one && self.first_ends.is_none() {
            self.first_ends = Some(self.out.len());
        }
    }

    fn len(&self) -> usize {
        self.out.len()
    }

    fn take(&mut self) -> Bytes {
        // As large again, so that the next part is not copied while it grows.
        let room = Vec::with_capacity(self.out.len().min(TAKEN_BYTES));
        std::mem::replace(&mut self.out, room).into()
    }

    fn finish(mut self: Box<Self>) -> Bytes {
        if !self.one {
            self.out.push(b']');
        } else {
            match self.first_ends {
                Some(end) => self.out.truncate(end),
                None => self.out.extend_from_slice(b"null"),
            }
        }
        Bytes::from(self.out)
    }
}

/// Copies JSON without the members of objects that are null, at any depth, as `json_strip_nulls` does.
fn strip(json: &[u8], out: &mut Vec<u8>) {
    let mut i = 0;
    // For each open object or array: whether it is an object, and where the text before its last member ended.
    let mut open: Vec<(bool, usize)> = Vec::new();
    while let Some(&byte) = json.get(i) {
        match byte {
            b'"' => {
                let end = string_end(json, i);
                out.extend_from_slice(&json[i..end]);
                i = end;
                continue;
            }
            b'{' | b'[' => {
                out.push(byte);
                open.push((byte == b'{', out.len()));
            }
            b'}' | b']' => {
                open.pop();
                out.push(byte);
            }
            b',' => {
                if let Some((_, before)) = open.last_mut() {
                    *before = out.len();
                }
                out.push(byte);
            }
            b' ' | b'\n' | b'\t' | b'\r' => {}
            b'n' if json[i..].starts_with(b"null") && matches!(open.last(), Some((true, _))) => {
                let before = open.last().map_or(0, |(_, before)| *before);
                out.truncate(before);
                i += 4;
                // A first member that went leaves no comma in front of the next.
                if out.last() == Some(&b'{') {
                    while matches!(json.get(i), Some(b' ' | b'\n' | b'\t' | b'\r')) {
                        i += 1;
                    }
                    if json.get(i) == Some(&b',') {
                        i += 1;
                    }
                }
                continue;
            }
            other => out.push(other),
        }
        i += 1;
    }
}

fn string_end(json: &[u8], start: usize) -> usize {
    let mut i = start + 1;
    while let Some(&byte) = json.get(i) {
        match byte {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(media: Media, form: Form, one: bool, rows: u64) -> String {
        let mut encoder = representation(media, form, one, None).encoder();
        for i in 0..rows {
            encoder.begin_row();
            encoder.field("id", &Type::Int4, ValueRef::Int(i as i64));
            if form == Form::Rows {
                encoder.field("na\"me", &Type::Text, ValueRef::Null);
                encoder.begin_one("client");
                if i == 0 {
                    encoder.begin_row();
                    encoder.field("x", &Type::Bool, ValueRef::Bool(true));
                    encoder.end_row();
                }
                encoder.end_one();
                encoder.begin_many("tasks");
                for k in 0..2 * i {
                    encoder.begin_row();
                    encoder.field("k", &Type::Int8, ValueRef::Int(k as i64));
                    encoder.end_row();
                }
                encoder.end_many();
            }
            encoder.end_row();
        }
        String::from_utf8(encoder.finish().to_vec()).unwrap()
    }

    #[test]
    fn rows_in_every_form() {
        let json = Media::Json { strip_nulls: false };
        let stripped = Media::Json { strip_nulls: true };
        let object = Media::Object { strip_nulls: false };
        for (media, form, one, rows, want) in [
            (json, Form::Rows, false, 0, r#"[]"#),
            (
                json,
                Form::Rows,
                false,
                2,
                r#"[{"id":0,"na\"me":null,"client":{"x":true},"tasks":[]},{"id":1,"na\"me":null,"client":null,"tasks":[{"k":0},{"k":1}]}]"#,
            ),
            (
                stripped,
                Form::Rows,
                false,
                2,
                r#"[{"id":0,"client":{"x":true},"tasks":[]},{"id":1,"tasks":[{"k":0},{"k":1}]}]"#,
            ),
            (object, Form::Rows, false, 0, "null"),
            (
                object,
                Form::Rows,
                false,
                2,
                r#"{"id":0,"na\"me":null,"client":{"x":true},"tasks":[]}"#,
            ),
            (json, Form::Bare, false, 3, "[0,1,2]"),
            (json, Form::Bare, true, 1, "0"),
            (json, Form::Bare, true, 0, "null"),
            (
                json,
                Form::Rows,
                true,
                1,
                r#"{"id":0,"na\"me":null,"client":{"x":true},"tasks":[]}"#,
            ),
        ] {
            assert_eq!(encoded(media, form, one, rows), want);
        }
    }

    #[test]
    fn parts_make_the_whole() {
        let media = [
            Media::Json { strip_nulls: false },
            Media::Json { strip_nulls: true },
            Media::Csv,
        ];
        for (media, rows) in media
            .into_iter()
            .flat_map(|media| [0, 1, 2, 5].map(|rows| (media, rows)))
        {
            let representation = representation(media, Form::Rows, false, None);
            assert!(representation.streams());
            let encoded = |every: u64| {
                let (mut encoder, mut all) = (representation.encoder(), Vec::new());
                for row in 0..rows {
                    encoder.begin_row();
                    encoder.field("id", &Type::Int4, ValueRef::Int(row as i64));
                    encoder.begin_many("of");
                    encoder.begin_row();
                    encoder.field("n", &Type::Int4, ValueRef::Null);
                    encoder.end_row();
                    encoder.end_many();
                    encoder.end_row();
                    if row % every == 0 {
                        all.extend_from_slice(&encoder.take());
                    }
                }
                all.extend_from_slice(&encoder.finish());
                String::from_utf8(all).unwrap()
            };
            let whole = encoded(100);
            for every in [1, 2, 3] {
                assert_eq!(encoded(every), whole, "{rows} rows");
            }
        }
        assert!(!representation(Media::Json { strip_nulls: false }, Form::Rows, true, None).streams());
    }

    #[test]
    fn a_scalar_is_itself() {
        let mut encoder = representation(Media::Json { strip_nulls: false }, Form::Bare, true, None).encoder();
        encoder.scalar(&Type::Int4, ValueRef::Int(42));
        assert_eq!(encoder.finish(), "42");
    }

    #[test]
    fn ids_tell_every_form_apart() {
        let mut ids = std::collections::HashSet::new();
        for media in [false, true].map(|strip_nulls| Media::Json { strip_nulls }) {
            for form in [Form::Rows, Form::Bare] {
                for one in [false, true] {
                    for zone in [None, Zone::named("Europe/Berlin").ok()] {
                        assert!(ids.insert(representation(media, form, one, zone.as_ref()).id().to_owned()));
                    }
                }
            }
        }
        assert_eq!(ids.len(), 16);
    }

    #[test]
    fn nulls_inside_json_are_stripped_too() {
        for (json, want) in [
            (r#"{"a":null}"#, "{}"),
            (r#"{"a": null, "b": 1, "c": null}"#, r#"{"b":1}"#),
            (r#"[null,{"a":{"b":null,"c":[null]}}]"#, r#"[null,{"a":{"c":[null]}}]"#),
            (r#""null""#, r#""null""#),
            ("null", "null"),
            (r#"{"x":"a\"null","y":null}"#, r#"{"x":"a\"null"}"#),
        ] {
            let mut out = Vec::new();
            strip(json.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{json}");
        }
    }
}
