//! Exact decimals of any size, with Postgres' display scale: what `numeric` is made of. Up to 38 digits live in an `i128`; longer
//! ones in a [`natural::Natural`]. Arithmetic gives Postgres' result scales, so that `1.10 + 2.2` prints `3.30` on every engine.

use std::cmp::Ordering;
use std::fmt;

use crate::{Error, Result};
use natural::Natural;

mod arithmetic;
mod natural;
mod ordered;

/// The largest display scale, as in Postgres.
const SCALE_MAX: usize = 16_383;
/// The most digits before the point, as in Postgres.
const WHOLE_DIGITS_MAX: usize = 131_072;
/// What [`Repr::Small`] stays below.
const SMALL_LIMIT: u128 = 10u128.pow(38);

/// A decimal number with its display scale, NaN or an infinity. Equality is of representation (`1.0` is not `1.00`); order is by
/// value (see [`Decimal::cmp_value`]).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Repr);

/// One representation per (value, scale): `Small` whenever it fits, and zero has no sign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    Small(i128, u16),
    Big(Box<Big>),
    NaN,
    PositiveInfinity,
    NegativeInfinity,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Big {
    negative: bool,
    magnitude: Natural,
    scale: u16,
}

/// Why a text is no numeric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParseFailure {
    /// Not the syntax of a number.
    Syntax,
    /// More digits than the format holds.
    Overflow,
}

pub(super) fn overflow() -> Error {
    Error::new("22003", "value overflows numeric format")
}

impl Decimal {
    /// Not a number.
    pub const NAN: Decimal = Decimal(Repr::NaN);
    /// Above every number but NaN.
    pub const INFINITY: Decimal = Decimal(Repr::PositiveInfinity);
    /// Below every number.
    pub const NEGATIVE_INFINITY: Decimal = Decimal(Repr::NegativeInfinity);
    /// Zero with scale 0.
    pub const ZERO: Decimal = Decimal(Repr::Small(0, 0));
    /// One with scale 0.
    pub const ONE: Decimal = Decimal(Repr::Small(1, 0));

    /// Reads Postgres' numeric syntax (blanks around it, exponents, `NaN`, `Infinity`); `None` if it is not that or has more than
    /// 131072 digits before or 16383 after the point.
    pub fn parse(text: &str) -> Option<Decimal> {
        Decimal::parse_strict(text).ok()
    }

    pub(super) fn parse_strict(text: &str) -> Result<Decimal, ParseFailure> {
        let text = trim(text);
        let (negative, rest) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if !rest.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
            return match () {
                () if text.eq_ignore_ascii_case("nan") => Ok(Decimal::NAN),
                () if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") => Ok(if negative {
                    Decimal::NEGATIVE_INFINITY
                } else {
                    Decimal::INFINITY
                }),
                () => Err(ParseFailure::Syntax),
            };
        }
        let whole = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let mut end = whole;
        let mut fraction = 0;
        if rest.get(end) == Some(&b'.') {
            fraction = rest[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            end += 1 + fraction;
        }
        if whole + fraction == 0 {
            return Err(ParseFailure::Syntax);
        }
        let exponent = match rest[end..] {
            [] => 0,
            [b'e' | b'E', ..] => parse_exponent(&rest[end + 1..])?,
            _ => return Err(ParseFailure::Syntax),
        };
        if exponent == 0 && whole + fraction <= 38 && fraction <= SCALE_MAX {
            let digits = rest[..end].iter().filter(|b| **b != b'.');
            let magnitude = digits.fold(0i128, |n, d| n * 10 + i128::from(d - b'0'));
            return Ok(Decimal(Repr::Small(
                if negative { -magnitude } else { magnitude },
                fraction as u16,
            )));
        }
        let digits: Vec<u8> = rest[..end].iter().copied().filter(|b| *b != b'.').collect();
        let magnitude = Natural::from_digits(&digits);
        let scale = fraction as i64 - exponent;
        if scale > SCALE_MAX as i64
            || (!magnitude.is_zero() && magnitude.digit_count() as i64 - scale > WHOLE_DIGITS_MAX as i64)
        {
            return Err(ParseFailure::Overflow);
        }
        if scale >= 0 {
            return Ok(Decimal::from_natural(negative, magnitude, scale as u16));
        }
        Ok(Decimal::from_natural(negative, magnitude.shift_up(-scale as usize), 0))
    }

    /// `unscaled / 10^scale`.
    pub fn from_scaled(unscaled: i64, scale: u16) -> Decimal {
        Decimal(Repr::Small(i128::from(unscaled), scale))
    }

    /// An integer, scale 0.
    pub fn from_i64(value: i64) -> Decimal {
        Decimal::from_scaled(value, 0)
    }

    /// The shortest decimal that reads back as `value`.
    pub fn from_f64_shortest(value: f64) -> Decimal {
        if !value.is_finite() {
            return Decimal::from_non_finite(value);
        }
        let mut buffer = zmij::Buffer::new();
        let text = buffer.format_finite(value);
        Decimal::parse(text.strip_suffix(".0").unwrap_or(text)).unwrap_or(Decimal::NAN)
    }

    /// As Postgres casts a float to `numeric`: rounded to 15 significant digits (`double precision`) or 6 (`real`).
    pub fn from_float_cast(value: f64, significant_digits: usize) -> Decimal {
        if !value.is_finite() {
            return Decimal::from_non_finite(value);
        }
        let text = format!("{:.*e}", significant_digits - 1, value);
        Decimal::parse(&text).unwrap_or(Decimal::NAN).trim_scale()
    }

    fn from_non_finite(value: f64) -> Decimal {
        match value {
            f64::INFINITY => Decimal::INFINITY,
            f64::NEG_INFINITY => Decimal::NEGATIVE_INFINITY,
            _ => Decimal::NAN,
        }
    }

    fn from_small(value: i128, scale: u16) -> Option<Decimal> {
        (value.unsigned_abs() < SMALL_LIMIT).then_some(Decimal(Repr::Small(value, scale)))
    }

    fn from_natural(negative: bool, magnitude: Natural, scale: u16) -> Decimal {
        match magnitude.to_u128() {
            Some(small) => Decimal(Repr::Small(
                if negative { -(small as i128) } else { small as i128 },
                scale,
            )),
            None => Decimal(Repr::Big(Box::new(Big {
                negative,
                magnitude,
                scale,
            }))),
        }
    }

    /// Sign, magnitude and scale of a finite number.
    fn parts(&self) -> Option<(bool, Natural, u16)> {
        match &self.0 {
            Repr::Small(value, scale) => Some((*value < 0, Natural::from_u128(value.unsigned_abs()), *scale)),
            Repr::Big(big) => Some((big.negative, big.magnitude.clone(), big.scale)),
            _ => None,
        }
    }

    /// The value times `10^scale`, rounded half away from zero; `None` when it is not finite or does not fit.
    pub fn to_scaled(&self, scale: u16) -> Option<i64> {
        match (self.round(i32::from(scale))).0 {
            Repr::Small(value, _) => i64::try_from(value).ok(),
            _ => None,
        }
    }

    /// As [`Decimal::to_scaled`], but `None` also when digits would be lost.
    pub fn to_scaled_exact(&self, scale: u16) -> Option<i64> {
        let rounded = self.round(i32::from(scale));
        if rounded.cmp_value(self) != Ordering::Equal {
            return None;
        }
        rounded.to_scaled(scale)
    }

    /// As a column `numeric(precision, scale)` keeps it: rounded to the scale. Error: 22003 when too large for the precision.
    pub fn fit(&self, precision: u16, scale: u16) -> Result<Decimal> {
        let field = || Error::new("22003", "numeric field overflow");
        let of = format_args!("A field with precision {precision}, scale {scale}").to_string();
        match self.0 {
            Repr::NaN => return Ok(Decimal::NAN),
            Repr::PositiveInfinity | Repr::NegativeInfinity => {
                return Err(field().detail(format!("{of} cannot hold an infinite value.")));
            }
            _ => {}
        }
        let rounded = self.round(i32::from(scale));
        let whole_max = i64::from(precision) - i64::from(scale);
        if !rounded.is_zero() && rounded.digit_count() as i64 - i64::from(scale) > whole_max {
            let limit = if whole_max == 0 {
                "1".to_owned()
            } else {
                format!("10^{whole_max}")
            };
            return Err(field().detail(format!("{of} must round to an absolute value less than {limit}.")));
        }
        Ok(rounded)
    }

    fn digit_count(&self) -> usize {
        match &self.0 {
            Repr::Small(0, _) => 0,
            Repr::Small(value, _) => value.unsigned_abs().ilog10() as usize + 1,
            Repr::Big(big) => big.magnitude.digit_count(),
            _ => 0,
        }
    }

    /// Order by value: -Infinity below, then Infinity and NaN above every number; NaN is equal to itself.
    pub fn cmp_value(&self, other: &Decimal) -> Ordering {
        if let (Repr::Small(a, s), Repr::Small(b, t)) = (&self.0, &other.0) {
            if s == t {
                return a.cmp(b);
            }
            let up = |places: u16| {
                if places <= 38 {
                    10i128.checked_pow(u32::from(places))
                } else {
                    None
                }
            };
            if let (Some(up_a), Some(up_b)) = (up(t.saturating_sub(*s)), up(s.saturating_sub(*t)))
                && let (Some(a), Some(b)) = (a.checked_mul(up_a), b.checked_mul(up_b))
            {
                return a.cmp(&b);
            }
        }
        match (self.rank(), other.rank()) {
            (2, 2) => {}
            (a, b) => return a.cmp(&b),
        }
        let (Some((negative, a, s)), Some((other_negative, b, t))) = (self.parts(), other.parts()) else {
            return Ordering::Equal;
        };
        match (a.is_zero(), b.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => {
                return if other_negative {
                    Ordering::Greater
                } else {
                    Ordering::Less
                };
            }
            (false, true) => return if negative { Ordering::Less } else { Ordering::Greater },
            (false, false) if negative != other_negative => {
                return if negative { Ordering::Less } else { Ordering::Greater };
            }
            _ => {}
        }
        let exponent = a.digit_count() as i64 - i64::from(s);
        let other_exponent = b.digit_count() as i64 - i64::from(t);
        let magnitudes = exponent.cmp(&other_exponent).then_with(|| {
            let scale = s.max(t);
            a.shift_up(usize::from(scale - s))
                .compare(&b.shift_up(usize::from(scale - t)))
        });
        if negative { magnitudes.reverse() } else { magnitudes }
    }

    fn rank(&self) -> u8 {
        match self.0 {
            Repr::NegativeInfinity => 1,
            Repr::Small(..) | Repr::Big(_) => 2,
            Repr::PositiveInfinity => 3,
            Repr::NaN => 4,
        }
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            Repr::NaN => f64::NAN,
            Repr::PositiveInfinity => f64::INFINITY,
            Repr::NegativeInfinity => f64::NEG_INFINITY,
            // Both operands are exact, so the one division rounds correctly.
            Repr::Small(value, scale) if value.unsigned_abs() < 1 << 53 && *scale <= 19 => {
                *value as f64 / 10u64.pow(u32::from(*scale)) as f64
            }
            _ => self.to_string().parse().unwrap_or(f64::NAN),
        }
    }

    /// Rounded half away from zero; `None` when not finite or out of range.
    pub fn to_i64(&self) -> Option<i64> {
        self.to_scaled(0)
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small(0, _))
    }

    /// Whether it is NaN.
    pub fn is_nan(&self) -> bool {
        matches!(self.0, Repr::NaN)
    }

    /// Whether it is neither NaN nor infinite.
    pub fn is_finite(&self) -> bool {
        matches!(self.0, Repr::Small(..) | Repr::Big(_))
    }

    /// Digits after the point that are displayed; 0 for NaN and the infinities.
    pub fn scale(&self) -> u16 {
        match &self.0 {
            Repr::Small(_, scale) => *scale,
            Repr::Big(big) => big.scale,
            _ => 0,
        }
    }

    /// Appends what [`fmt::Display`] prints, without its machinery.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Small(value, scale) => {
                let mut buffer = itoa::Buffer::new();
                write_digits(
                    *value < 0,
                    buffer.format(value.unsigned_abs()).as_bytes(),
                    usize::from(*scale),
                    out,
                );
            }
            Repr::Big(big) => write_digits(big.negative, &big.magnitude.digits(), usize::from(big.scale), out),
            Repr::NaN => out.extend_from_slice(b"NaN"),
            Repr::PositiveInfinity => out.extend_from_slice(b"Infinity"),
            Repr::NegativeInfinity => out.extend_from_slice(b"-Infinity"),
        }
    }
}

/// Appends `digits` with the point put `scale` places from the right.
pub(super) fn write_digits(negative: bool, digits: &[u8], scale: usize, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
    if scale == 0 {
        return out.extend_from_slice(digits);
    }
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

/// Cuts what C's `isspace` calls blank, as every input function of Postgres does.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c'])
}

fn parse_exponent(text: &[u8]) -> Result<i64, ParseFailure> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ParseFailure::Syntax);
    }
    let limit = i64::from(i32::MAX / 2);
    let mut value = 0i64;
    for digit in digits {
        value = value * 10 + i64::from(digit - b'0');
        if value >= limit {
            return Err(ParseFailure::Overflow);
        }
    }
    Ok(if negative { -value } else { value })
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(40);
        self.write(&mut out);
        f.pad(std::str::from_utf8(&out).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({self})")
    }
}

#[cfg(test)]
mod tests;
