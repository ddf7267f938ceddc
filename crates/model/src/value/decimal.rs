//! Exact decimals of any size, with Postgres' display scale.

use std::cmp::Ordering;

/// A decimal number: `unscaled / 10^scale`, or NaN. Equality is of representation (`1.0` is not `1.00`); order is by value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// Sign, digits and point, as Postgres prints it; canonical (no leading zeros, no `-0`).
    text: String,
}

impl Decimal {
    /// Order by value: NaN above every number.
    pub fn cmp_value(&self, other: &Decimal) -> Ordering {
        self.text.cmp(&other.text)
    }
}
