//! An encoder that also keeps the rows it is given, for steps of a transaction that later ones refer to.

use bytes::Bytes;
use mainstay_model::{Encoder, Row, Type, Value, ValueRef};

/// Hands everything on to another encoder, and keeps the values of the answer's own rows; what is embedded in them is not kept.
pub struct Keeping {
    inner: Box<dyn Encoder>,
    rows: Vec<Row>,
    row: Vec<Value>,
    /// How many embeds are open.
    depth: u32,
}

impl Keeping {
    /// Over the encoder that makes the answer.
    pub fn new(inner: Box<dyn Encoder>) -> Keeping {
        Keeping {
            inner,
            rows: Vec::new(),
            row: Vec::new(),
            depth: 0,
        }
    }

    /// The rows, and the answer.
    pub fn finish(self) -> (Vec<Row>, Bytes) {
        (self.rows, self.inner.finish())
    }
}

impl Encoder for Keeping {
    fn begin_row(&mut self) {
        self.inner.begin_row();
    }

    fn field(&mut self, name: &str, ty: &Type, value: ValueRef<'_>) {
        if self.depth == 0 {
            self.row.push(value.to_owned());
        }
        self.inner.field(name, ty, value);
    }

    fn begin_one(&mut self, name: &str) {
        self.depth += 1;
        self.inner.begin_one(name);
    }

    fn end_one(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.inner.end_one();
    }

    fn begin_many(&mut self, name: &str) {
        self.depth += 1;
        self.inner.begin_many(name);
    }

    fn end_many(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.inner.end_many();
    }

    fn end_row(&mut self) {
        if self.depth == 0 {
            self.rows.push(std::mem::take(&mut self.row).into());
        }
        self.inner.end_row();
    }

    fn scalar(&mut self, ty: &Type, value: ValueRef<'_>) {
        self.rows.push([value.to_owned()].into());
        self.inner.scalar(ty, value);
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn finish(self: Box<Self>) -> Bytes {
        self.inner.finish()
    }
}
