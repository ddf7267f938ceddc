//! How answers become bytes: a dialect hands a [`Representation`] down, the store streams typed rows into its [`Encoder`], and the
//! cache keeps the bytes without looking inside.

use crate::{Type, ValueRef};
use bytes::Bytes;

/// A form of answer. Its id is part of the cache's key: two representations with one id must yield the same bytes.
pub trait Representation: Send + Sync {
    /// Stable and complete: media type, singular, nulls stripped, time zone …
    fn id(&self) -> &str;
    /// The time zone that `timestamptz` is shown in, by its name; the engine's own (UTC) when absent.
    fn time_zone(&self) -> Option<&str> {
        None
    }
    /// Whether members that are null are left out of objects, also of those that the engine makes.
    fn strips_nulls(&self) -> bool {
        false
    }
    /// Whether values that only the engine can write are wanted as their text rather than as JSON (CSV).
    fn shows_text(&self) -> bool {
        false
    }
    /// Whether encoders hand out rows before the last one is there ([`Encoder::take`]).
    fn streams(&self) -> bool {
        false
    }
    /// A fresh encoder for one answer.
    fn encoder(&self) -> Box<dyn Encoder>;
}

/// Receives one answer's rows in order. For each row: `begin_row`, its items, `end_row`. An embed is `begin_one`/`begin_many`,
/// rows, `end_one`/`end_many` in the place of a value.
#[allow(clippy::len_without_is_empty, reason = "nobody asks an encoder whether it is empty")]
pub trait Encoder: Send {
    /// A row begins.
    fn begin_row(&mut self);
    /// A named value of the current row.
    fn field(&mut self, name: &str, ty: &Type, value: ValueRef<'_>);
    /// A to-one embed begins; between here and `end_one` comes one row, or none for NULL.
    fn begin_one(&mut self, name: &str);
    /// The to-one embed ends.
    fn end_one(&mut self);
    /// A to-many embed begins; rows follow.
    fn begin_many(&mut self, name: &str);
    /// The to-many embed ends.
    fn end_many(&mut self);
    /// The row ends.
    fn end_row(&mut self);
    /// The answer as the function's one scalar, instead of rows.
    fn scalar(&mut self, ty: &Type, value: ValueRef<'_>);
    /// The bytes so far, to bound an answer's size.
    fn len(&self) -> usize;
    /// Hands over the bytes so far, between two rows of the answer itself; the others follow, here or from `finish`. Only called where
    /// [`Representation::streams`].
    fn take(&mut self) -> Bytes {
        Bytes::new()
    }
    /// The answer, without what was taken; nothing is called after it.
    fn finish(self: Box<Self>) -> Bytes;
}
