//! Exact decimals of any size, with Postgres' display scale.

use std::cmp::Ordering;
use std::fmt;

use crate::Result;

/// A decimal number with its display scale, NaN or an infinity. Equality is of representation (`1.0` is not `1.00`); order is by
/// value (see [`Decimal::cmp_value`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// Not a number.
    pub const NAN: Decimal = Decimal(String::new());
    /// Zero with scale 0.
    pub const ZERO: Decimal = Decimal(String::new());
    /// Reads Postgres' numeric syntax (blanks around it, exponents, `NaN`, `Infinity`); `None` if it is not that or too large.
    pub fn parse(text: &str) -> Option<Decimal> {
        Some(Decimal(text.into()))
    }
    /// `unscaled / 10^scale`.
    pub fn from_scaled(unscaled: i64, scale: u16) -> Decimal {
        unimplemented!("{unscaled}{scale}")
    }
    /// An integer, scale 0.
    pub fn from_i64(value: i64) -> Decimal {
        unimplemented!("{value}")
    }
    /// The shortest decimal that reads back as `value`.
    pub fn from_f64_shortest(value: f64) -> Decimal {
        unimplemented!("{value}")
    }
    /// The value times `10^scale`, rounded half away from zero; `None` when it is not finite or does not fit.
    pub fn to_scaled(&self, scale: u16) -> Option<i64> {
        unimplemented!("{scale}")
    }
    /// As a column `numeric(precision, scale)` keeps it. Error: 22003.
    pub fn fit(&self, precision: u16, scale: u16) -> Result<Decimal> {
        unimplemented!("{precision}{scale}")
    }
    /// Order by value: NaN above every number and equal to itself.
    pub fn cmp_value(&self, other: &Decimal) -> Ordering {
        self.0.cmp(&other.0)
    }
    /// Sum. Error: 22003.
    pub fn add(&self, other: &Decimal) -> Result<Decimal> {
        unimplemented!("{other}")
    }
    /// Difference. Error: 22003.
    pub fn sub(&self, other: &Decimal) -> Result<Decimal> {
        unimplemented!("{other}")
    }
    /// Product. Error: 22003.
    pub fn mul(&self, other: &Decimal) -> Result<Decimal> {
        unimplemented!("{other}")
    }
    /// Quotient, to Postgres' number of digits. Errors: 22012, 22003.
    pub fn div(&self, other: &Decimal) -> Result<Decimal> {
        unimplemented!("{other}")
    }
    /// Remainder with the dividend's sign. Error: 22012.
    pub fn rem(&self, other: &Decimal) -> Result<Decimal> {
        unimplemented!("{other}")
    }
    /// Integer power. Errors: 22012, 22003.
    pub fn power(&self, exponent: i32) -> Result<Decimal> {
        unimplemented!("{exponent}")
    }
    /// The negative.
    pub fn neg(&self) -> Decimal {
        unimplemented!()
    }
    /// The absolute value.
    pub fn abs(&self) -> Decimal {
        unimplemented!()
    }
    /// Rounded half away from zero to `digits` after the point (before it when negative).
    pub fn round(&self, digits: i32) -> Decimal {
        unimplemented!("{digits}")
    }
    /// Cut to `digits` after the point (before it when negative).
    pub fn trunc(&self, digits: i32) -> Decimal {
        unimplemented!("{digits}")
    }
    /// The greatest integer not above it.
    pub fn floor(&self) -> Decimal {
        unimplemented!()
    }
    /// The least integer not below it.
    pub fn ceil(&self) -> Decimal {
        unimplemented!()
    }
    /// -1, 0, 1 or NaN.
    pub fn sign(&self) -> Decimal {
        unimplemented!()
    }
    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        unimplemented!()
    }
    /// Rounded half away from zero; `None` when not finite or out of range.
    pub fn to_i64(&self) -> Option<i64> {
        unimplemented!()
    }
    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        unimplemented!()
    }
    /// Whether it is NaN.
    pub fn is_nan(&self) -> bool {
        unimplemented!()
    }
    /// Digits after the point that are displayed.
    pub fn scale(&self) -> u16 {
        unimplemented!()
    }
    /// Bytes whose order is the numeric order; the display scale is in the last two bytes, where it only breaks ties.
    pub fn to_ordered_bytes(&self) -> Vec<u8> {
        unimplemented!()
    }
    /// The inverse of [`Decimal::to_ordered_bytes`]; `None` for bytes it does not write.
    pub fn from_ordered_bytes(bytes: &[u8]) -> Option<Decimal> {
        unimplemented!("{bytes:?}")
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
