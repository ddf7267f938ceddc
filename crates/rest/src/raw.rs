//! The one value of a function as it is: text as `text/plain`, `xml` as `text/xml`, `bytea` as `application/octet-stream`.

use crate::media::RawKind;
use bytes::Bytes;
use mainstay_model::{Encoder, Representation, Type, Value, ValueRef};

/// The value itself, without quotes around it. NULL is an empty body.
pub(crate) struct Raw(pub RawKind);

impl Representation for Raw {
    fn id(&self) -> &str {
        match self.0 {
            RawKind::Text => "raw;text",
            RawKind::Xml => "raw;xml",
            RawKind::Bytes => "raw;bytes",
        }
    }

    fn shows_text(&self) -> bool {
        true
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(RawEncoder {
            out: Vec::new(),
            values: 0,
        })
    }
}

struct RawEncoder {
    out: Vec<u8>,
    /// There is one value; more are not shown.
    values: u64,
}

impl RawEncoder {
    fn take(&mut self, ty: &Type, value: ValueRef<'_>) {
        self.values += 1;
        if self.values > 1 || value.is_null() {
            return;
        }
        match value {
            ValueRef::Bytes(bytes) => self.out.extend_from_slice(bytes),
            ValueRef::Owned(Value::Bytes(bytes)) => self.out.extend_from_slice(bytes),
            value => value.write_text(ty, &mut self.out),
        }
    }
}

impl Encoder for RawEncoder {
    fn begin_row(&mut self) {}

    fn field(&mut self, _: &str, ty: &Type, value: ValueRef<'_>) {
        self.take(ty, value);
    }

    fn begin_one(&mut self, _: &str) {}

    fn end_one(&mut self) {}

    fn begin_many(&mut self, _: &str) {}

    fn end_many(&mut self) {}

    fn end_row(&mut self) {}

    fn scalar(&mut self, ty: &Type, value: ValueRef<'_>) {
        self.take(ty, value);
    }

    fn len(&self) -> usize {
        self.out.len()
    }

    fn finish(self: Box<Self>) -> Bytes {
        self.out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_itself() {
        let encoded = |ty: &Type, value: ValueRef<'_>| {
            let mut encoder = Raw(RawKind::Text).encoder();
            encoder.scalar(ty, value);
            encoder.finish()
        };
        assert_eq!(encoded(&Type::Text, ValueRef::Text("a \"b\"\n")), "a \"b\"\n");
        assert_eq!(encoded(&Type::Bytea, ValueRef::Bytes(&[0, 255]))[..], [0, 255]);
        assert_eq!(encoded(&Type::Text, ValueRef::Null), "");
    }
}
