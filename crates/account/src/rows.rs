//! Rows as values: a representation that keeps what the store streams into it, so that nothing is printed and parsed again.

use bytes::Bytes;
use mainstay_model::{Encoder, Representation, Type, Value, ValueRef};
use std::sync::{Arc, Mutex, PoisonError};

/// One row, in the order of the query's fields.
pub(crate) type Fields = Vec<Value>;

/// Collects one answer's rows. For one read each, and never for one that a cache may answer.
#[derive(Default)]
pub(crate) struct Rows {
    done: Arc<Mutex<Vec<Fields>>>,
}

impl Rows {
    /// The rows of the answer.
    pub fn take(&self) -> Vec<Fields> {
        std::mem::take(&mut self.done.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Representation for Rows {
    fn id(&self) -> &str {
        "account/rows"
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Collector {
            rows: Vec::new(),
            done: self.done.clone(),
        })
    }
}

struct Collector {
    rows: Vec<Fields>,
    done: Arc<Mutex<Vec<Fields>>>,
}

/// No query of this room embeds anything, and none calls a function.
impl Encoder for Collector {
    fn begin_row(&mut self) {
        self.rows.push(Fields::new());
    }

    fn field(&mut self, _name: &str, _ty: &Type, value: ValueRef<'_>) {
        if let Some(row) = self.rows.last_mut() {
            row.push(value.to_owned());
        }
    }

    fn begin_one(&mut self, _name: &str) {}
    fn end_one(&mut self) {}
    fn begin_many(&mut self, _name: &str) {}
    fn end_many(&mut self) {}
    fn end_row(&mut self) {}
    fn scalar(&mut self, _ty: &Type, _value: ValueRef<'_>) {}

    fn len(&self) -> usize {
        self.rows.len() * 256
    }

    fn finish(self: Box<Self>) -> Bytes {
        // An engine that began the answer twice finishes it once: the last one counts.
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = self.rows;
        Bytes::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_answer_that_was_finished_are_kept() {
        let rows = Rows::default();
        let mut broken_off = rows.encoder();
        broken_off.begin_row();
        broken_off.field("id", &Type::Int8, ValueRef::Int(1));
        drop(broken_off);
        let mut encoder = rows.encoder();
        for (id, name) in [(1, ValueRef::Null), (2, ValueRef::Text("b"))] {
            encoder.begin_row();
            encoder.field("id", &Type::Int8, ValueRef::Int(id));
            encoder.field("name", &Type::Text, name);
            encoder.end_row();
        }
        encoder.finish();
        assert_eq!(
            rows.take(),
            [
                vec![Value::Int(1), Value::Null],
                vec![Value::Int(2), Value::Text("b".into())]
            ]
        );
        assert!(rows.take().is_empty());
    }
}
