//! Arithmetic on decimals with Postgres' result scales.

use std::cmp::Ordering;

use super::{Decimal, Natural, Repr, SCALE_MAX, WHOLE_DIGITS_MAX, overflow};
use crate::{Error, Result};

/// Quotients have at least this many significant digits, unless their scale is capped.
const SIGNIFICANT_DIGITS_MIN: i64 = 16;
/// The largest scale that division and powers choose by themselves.
const RESULT_SCALE_MAX: i64 = 1000;

fn division_by_zero() -> Error {
    Error::new("22012", "division by zero")
}

fn small_power_of_ten(exponent: u16) -> Option<i128> {
    (exponent <= 38).then(|| 10i128.pow(u32::from(exponent)))
}

fn infinity(negative: bool) -> Decimal {
    if negative {
        Decimal::NEGATIVE_INFINITY
    } else {
        Decimal::INFINITY
    }
}

#[allow(clippy::should_implement_trait, reason = "they can fail, and borrow")]
impl Decimal {
    fn checked(self) -> Result<Decimal> {
        match &self.0 {
            Repr::Big(big) if big.magnitude.digit_count() > WHOLE_DIGITS_MAX + usize::from(big.scale) => {
                Err(overflow())
            }
            _ => Ok(self),
        }
    }

    fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Small(value, _) => *value < 0,
            Repr::Big(big) => big.negative,
            Repr::NegativeInfinity => true,
            _ => false,
        }
    }

    /// Sum; its scale is the larger one. Error: 22003.
    pub fn add(&self, other: &Decimal) -> Result<Decimal> {
        if let (Repr::Small(a, s), Repr::Small(b, t)) = (&self.0, &other.0)
            && let (Some(up_a), Some(up_b)) = (
                small_power_of_ten(t.saturating_sub(*s)),
                small_power_of_ten(s.saturating_sub(*t)),
            )
            && let (Some(a), Some(b)) = (a.checked_mul(up_a), b.checked_mul(up_b))
            && let Some(sum) = a.checked_add(b).and_then(|sum| Decimal::from_small(sum, *s.max(t)))
        {
            return Ok(sum);
        }
        let (Some((negative, a, s)), Some((other_negative, b, t))) = (self.parts(), other.parts()) else {
            return Ok(match (&self.0, &other.0) {
                (Repr::NaN, _) | (_, Repr::NaN) => Decimal::NAN,
                (a, b) if !self.is_finite() && !other.is_finite() && a != b => Decimal::NAN,
                _ if self.is_finite() => other.clone(),
                _ => self.clone(),
            });
        };
        let scale = s.max(t);
        let (a, b) = (a.shift_up(usize::from(scale - s)), b.shift_up(usize::from(scale - t)));
        if negative == other_negative {
            return Decimal::from_natural(negative, a.add(&b), scale).checked();
        }
        Ok(match a.compare(&b) {
            Ordering::Less => Decimal::from_natural(other_negative, b.sub(&a), scale),
            _ => Decimal::from_natural(negative, a.sub(&b), scale),
        })
    }

    /// Difference; its scale is the larger one. Error: 22003.
    pub fn sub(&self, other: &Decimal) -> Result<Decimal> {
        self.add(&other.neg())
    }

    /// Product; its scale is the sum of the scales. Error: 22003.
    pub fn mul(&self, other: &Decimal) -> Result<Decimal> {
        if let (Repr::Small(a, s), Repr::Small(b, t)) = (&self.0, &other.0)
            && usize::from(*s) + usize::from(*t) <= SCALE_MAX
            && let Some(product) = a
                .checked_mul(*b)
                .and_then(|product| Decimal::from_small(product, s + t))
        {
            return Ok(product);
        }
        let (Some((negative, a, s)), Some((other_negative, b, t))) = (self.parts(), other.parts()) else {
            return Ok(match () {
                () if self.is_nan() || other.is_nan() || self.is_zero() || other.is_zero() => Decimal::NAN,
                () => infinity(self.is_negative() != other.is_negative()),
            });
        };
        let scale = usize::from(s) + usize::from(t);
        let (mut product, mut scale) = (a.mul(&b), scale);
        if scale > SCALE_MAX {
            let (cut, half, _) = product.shift_down(scale - SCALE_MAX);
            product = if half.is_ge() { cut.increment() } else { cut };
            scale = SCALE_MAX;
        }
        Decimal::from_natural(negative != other_negative, product, scale as u16).checked()
    }

    /// Quotient, rounded half away from zero to the scale Postgres chooses: at least 16 significant digits and both operands'
    /// scales. Errors: 22012, 22003.
    pub fn div(&self, other: &Decimal) -> Result<Decimal> {
        if self.is_nan() || other.is_nan() {
            return Ok(Decimal::NAN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let (Some((negative, a, s)), Some((other_negative, b, t))) = (self.parts(), other.parts()) else {
            return Ok(match (self.is_finite(), other.is_finite()) {
                (false, false) => Decimal::NAN,
                (false, true) => infinity(self.is_negative() != other.is_negative()),
                _ => Decimal::ZERO,
            });
        };
        let (weight, first) = leading_group(&a, s);
        let (other_weight, other_first) = leading_group(&b, t);
        let quotient_weight = weight - other_weight - i64::from(first <= other_first);
        let scale = (SIGNIFICANT_DIGITS_MIN - quotient_weight * 4)
            .max(i64::from(s))
            .max(i64::from(t));
        let scale = scale.clamp(0, RESULT_SCALE_MAX);
        let places = scale + i64::from(t) - i64::from(s);
        let (dividend, divisor) = match usize::try_from(places) {
            Ok(places) => (a.shift_up(places), b),
            Err(_) => (a, b.shift_up(-places as usize)),
        };
        let quotient = divide_rounded(&dividend, &divisor);
        Decimal::from_natural(negative != other_negative, quotient, scale as u16).checked()
    }

    /// Quotient cut to an integer, scale 0 (SQL's `div`). Errors: 22012, 22003.
    pub fn div_trunc(&self, other: &Decimal) -> Result<Decimal> {
        let (Some((negative, a, s)), Some((other_negative, b, t))) = (self.parts(), other.parts()) else {
            return self.div(other);
        };
        if b.is_zero() {
            return Err(division_by_zero());
        }
        let scale = s.max(t);
        let (quotient, _) = a
            .shift_up(usize::from(scale - s))
            .div_rem(&b.shift_up(usize::from(scale - t)));
        Decimal::from_natural(negative != other_negative, quotient, 0).checked()
    }

    /// Remainder with the dividend's sign; its scale is the larger one. Error: 22012.
    pub fn rem(&self, other: &Decimal) -> Result<Decimal> {
        if self.is_nan() || other.is_nan() {
            return Ok(Decimal::NAN);
        }
        if other.is_zero() {
            return Err(division_by_zero());
        }
        let (Some((negative, a, s)), Some((_, b, t))) = (self.parts(), other.parts()) else {
            return Ok(if self.is_finite() { self.clone() } else { Decimal::NAN });
        };
        let scale = s.max(t);
        let (_, rest) = a
            .shift_up(usize::from(scale - s))
            .div_rem(&b.shift_up(usize::from(scale - t)));
        Ok(Decimal::from_natural(negative, rest, scale))
    }

    /// Integer power, with 16 digits after the point or the base's scale, if larger. Errors: 2201F (zero to a
    /// negative power), 22003.
    pub fn power(&self, exponent: i32) -> Result<Decimal> {
        let scale = i64::from(self.scale()).clamp(SIGNIFICANT_DIGITS_MIN, RESULT_SCALE_MAX);
        let Some((negative, base, base_scale)) = self.parts() else {
            return Ok(match exponent {
                0 => Decimal::ONE,
                _ if self.is_nan() => Decimal::NAN,
                ..0 => Decimal::ZERO,
                _ => infinity(self.is_negative() && exponent % 2 != 0),
            });
        };
        if exponent == 0 {
            return Ok(Decimal::ONE.round(scale as i32));
        }
        if base.is_zero() {
            if exponent < 0 {
                return Err(Error::new("2201F", "zero raised to a negative power is undefined"));
            }
            return Ok(Decimal::ZERO.round(scale as i32));
        }
        // The result's power of ten decides how many digits matter on the way; the first 17 digits of the base are enough for it.
        let digits = base.digits();
        let lead = digits.iter().take(17).fold(0f64, |n, d| n * 10.0 + f64::from(d - b'0'));
        let places = digits.len().saturating_sub(17) as f64 - f64::from(base_scale);
        let magnitude = f64::from(exponent) * (lead.log10() + places);
        if magnitude > 3.0 * WHOLE_DIGITS_MAX as f64 {
            return Err(overflow());
        }
        if magnitude + 1.0 < -(scale as f64) {
            return Ok(Decimal::ZERO.round(scale as i32));
        }
        let working = (scale + magnitude as i64).max(0) as usize + 32;
        let (mantissa, ten) = power_floating((base, -i64::from(base_scale)), exponent.unsigned_abs(), working);
        let unscaled = if exponent > 0 {
            let places = ten + scale;
            if places >= 0 {
                mantissa.shift_up(places as usize)
            } else {
                let (cut, half, _) = mantissa.shift_down(-places as usize);
                if half.is_ge() { cut.increment() } else { cut }
            }
        } else {
            match usize::try_from(scale - ten) {
                Ok(places) => divide_rounded(&Natural::power_of_ten(places), &mantissa),
                Err(_) => Natural::default(),
            }
        };
        Decimal::from_natural(negative && exponent % 2 != 0, unscaled, scale as u16).checked()
    }

    /// The negative.
    pub fn neg(&self) -> Decimal {
        match &self.0 {
            Repr::Small(value, scale) => Decimal(Repr::Small(-value, *scale)),
            Repr::Big(big) => Decimal::from_natural(!big.negative, big.magnitude.clone(), big.scale),
            Repr::NaN => Decimal::NAN,
            Repr::PositiveInfinity => Decimal::NEGATIVE_INFINITY,
            Repr::NegativeInfinity => Decimal::INFINITY,
        }
    }

    /// The absolute value.
    pub fn abs(&self) -> Decimal {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// Rounded half away from zero to `digits` after the point (before it when negative); zeros are added as needed.
    pub fn round(&self, digits: i32) -> Decimal {
        self.rescale(digits, |half, _, _| half.is_ge())
    }

    /// Cut to `digits` after the point (before it when negative).
    pub fn trunc(&self, digits: i32) -> Decimal {
        self.rescale(digits, |_, _, _| false)
    }

    /// The greatest integer not above it.
    pub fn floor(&self) -> Decimal {
        self.rescale(0, |_, inexact, negative| inexact && negative)
    }

    /// The least integer not below it.
    pub fn ceil(&self) -> Decimal {
        self.rescale(0, |_, inexact, negative| inexact && !negative)
    }

    /// Moves to another scale; `away` decides from (cut part against one half, whether it was not zero, sign) whether to go one
    /// unit away from zero.
    fn rescale(&self, digits: i32, away: impl Fn(Ordering, bool, bool) -> bool) -> Decimal {
        let digits = digits.clamp(-(WHOLE_DIGITS_MAX as i32), SCALE_MAX as i32);
        let scale = i32::from(self.scale());
        if !self.is_finite() || digits == scale {
            return self.clone();
        }
        if let Repr::Small(value, _) = self.0 {
            let places = (digits - scale).unsigned_abs() as u16;
            if digits > scale {
                if let Some(scaled) = small_power_of_ten(places)
                    .and_then(|up| value.checked_mul(up))
                    .and_then(|scaled| Decimal::from_small(scaled, digits as u16))
                {
                    return scaled;
                }
            } else if let (Some(unit), true) = (small_power_of_ten(places), digits >= 0) {
                let (quotient, rest) = (value / unit, (value % unit).abs());
                let up = away(rest.cmp(&(unit - rest)), rest != 0, value < 0);
                return Decimal(Repr::Small(
                    quotient + if up { if value < 0 { -1 } else { 1 } } else { 0 },
                    digits as u16,
                ));
            }
        }
        let Some((negative, magnitude, _)) = self.parts() else {
            return self.clone();
        };
        if digits > scale {
            return Decimal::from_natural(negative, magnitude.shift_up((digits - scale) as usize), digits as u16);
        }
        let (cut, half, inexact) = magnitude.shift_down((scale - digits) as usize);
        let cut = if away(half, inexact, negative) {
            cut.increment()
        } else {
            cut
        };
        Decimal::from_natural(negative, cut.shift_up((-digits).max(0) as usize), digits.max(0) as u16)
    }

    /// -1, 0, 1 or NaN.
    pub fn sign(&self) -> Decimal {
        match () {
            () if self.is_nan() => Decimal::NAN,
            () if self.is_zero() => Decimal::ZERO,
            () if self.is_negative() => Decimal::from_i64(-1),
            () => Decimal::ONE,
        }
    }

    /// Without trailing zeros after the point (SQL's `trim_scale`).
    pub fn trim_scale(&self) -> Decimal {
        let Some((negative, magnitude, scale)) = self.parts() else {
            return self.clone();
        };
        let digits = magnitude.digits();
        let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        let cut = if magnitude.is_zero() {
            usize::from(scale)
        } else {
            zeros.min(usize::from(scale))
        };
        Decimal::from_natural(negative, magnitude.shift_down(cut).0, scale - cut as u16)
    }
}

/// Where the number starts on Postgres' grid of four decimal digits, which its division scale is counted in: the group's power of
/// 10000 and its value.
fn leading_group(magnitude: &Natural, scale: u16) -> (i64, u32) {
    let digits = magnitude.digits();
    if digits.is_empty() {
        return (0, 0);
    }
    let exponent = digits.len() as i64 - 1 - i64::from(scale);
    let group_len = exponent.rem_euclid(4) as usize + 1;
    let first = (0..group_len).fold(0, |n, i| n * 10 + u32::from(digits.get(i).map_or(0, |d| d - b'0')));
    (exponent.div_euclid(4), first)
}

fn divide_rounded(dividend: &Natural, divisor: &Natural) -> Natural {
    let (quotient, rest) = dividend.div_rem(divisor);
    if rest.add(&rest).compare(divisor).is_ge() {
        quotient.increment()
    } else {
        quotient
    }
}

/// `(mantissa × 10^ten)^exponent`, kept to `digits` significant digits at every step.
fn power_floating(base: (Natural, i64), exponent: u32, digits: usize) -> (Natural, i64) {
    let shorten = |(mantissa, ten): (Natural, i64)| {
        let excess = mantissa.digit_count().saturating_sub(digits);
        (mantissa.shift_down(excess).0, ten + excess as i64)
    };
    let mut square = shorten(base);
    let mut result = (Natural::from_u128(1), 0);
    let mut rest = exponent;
    while rest > 0 {
        if rest % 2 == 1 {
            result = shorten((result.0.mul(&square.0), result.1 + square.1));
        }
        rest /= 2;
        if rest > 0 {
            square = shorten((square.0.mul(&square.0), square.1 + square.1));
        }
    }
    result
}
