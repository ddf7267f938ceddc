//! What a sequence counts.

/// A sequence: its first value, what is added each time, the bounds, and whether it begins anew beyond them (`CYCLE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the option of CREATE SEQUENCE of its name")]
pub struct Sequence {
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    pub cycle: bool,
}

impl Default for Sequence {
    /// 1 by 1.
    fn default() -> Sequence {
        let (start, increment, min, max, cycle) = (1, 1, 1, i64::MAX, false);
        Sequence {
            start,
            increment,
            min,
            max,
            cycle,
        }
    }
}
