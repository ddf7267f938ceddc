//! The suite's own representation: rows as JSON, as plain as can be.

use bytes::Bytes;
use mainstay_model::{Encoder, Representation, Type, ValueRef, write_json_string};

/// Rows as a JSON array of objects, `to_json`'s values, no blanks; a scalar as itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonRows;

impl Representation for JsonRows {
    fn id(&self) -> &str {
        "conformance-json"
    }

    fn streams(&self) -> bool {
        true
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Rows {
            out: b"[".to_vec(),
            first: vec![true],
            scalar: false,
        })
    }
}

struct Rows {
    out: Vec<u8>,
    /// For each open bracket, whether nothing stands behind it yet.
    first: Vec<bool>,
    scalar: bool,
}

impl Rows {
    fn comma(&mut self) {
        if let Some(first) = self.first.last_mut()
            && !std::mem::replace(first, false)
        {
            self.out.push(b',');
        }
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first.push(true);
    }

    fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.first.pop();
    }

    fn name(&mut self, name: &str) {
        self.comma();
        write_json_string(name, &mut self.out);
        self.out.push(b':');
    }
}

impl Encoder for Rows {
    fn begin_row(&mut self) {
        self.comma();
        self.open(b'{');
    }

    fn field(&mut self, name: &str, ty: &Type, value: ValueRef<'_>) {
        self.name(name);
        value.write_json(ty, &mut self.out);
    }

    fn begin_one(&mut self, name: &str) {
        self.name(name);
        self.first.push(true);
    }

    fn end_one(&mut self) {
        if self.first.pop() == Some(true) {
            self.out.extend_from_slice(b"null");
        }
    }

    fn begin_many(&mut self, name: &str) {
        self.name(name);
        self.open(b'[');
    }

    fn end_many(&mut self) {
        self.close(b']');
    }

    fn end_row(&mut self) {
        self.close(b'}');
    }

    fn scalar(&mut self, ty: &Type, value: ValueRef<'_>) {
        self.out.clear();
        value.write_json(ty, &mut self.out);
        self.scalar = true;
    }

    fn len(&self) -> usize {
        self.out.len()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.out).into()
    }

    fn finish(mut self: Box<Self>) -> Bytes {
        if !self.scalar {
            self.out.push(b']');
        }
        Bytes::from(self.out)
    }
}
