//! The order-preserving form of a decimal, for engines that only compare bytes.
//!
//! | Part | Bytes |
//! |---|---|
//! | class | 1: -Infinity 1, negative 2, zero 3, positive 4, Infinity 5, NaN 6 |
//! | exponent | 4, big-endian: the power of ten of the first digit, plus 2^31; complemented when negative |
//! | digits | two per byte as 1 to 100, without trailing zeros, then a 0; complemented when negative |
//! | scale | 2, big-endian |
//!
//! Only digits and exponent count before the scale, so that values that are equal but displayed differently are neighbours: a
//! search for equality is a range over the scale, from [`Decimal::ordered_bounds`].

use super::{Decimal, Natural, Repr, SCALE_MAX, WHOLE_DIGITS_MAX};

const NEGATIVE_INFINITY: u8 = 1;
const NEGATIVE: u8 = 2;
const ZERO: u8 = 3;
const POSITIVE: u8 = 4;
const INFINITY: u8 = 5;
const NAN: u8 = 6;

impl Decimal {
    /// Bytes whose order is the numeric order; the display scale is in the last two bytes, where it only breaks ties.
    pub fn to_ordered_bytes(&self) -> Vec<u8> {
        let mut out = self.ordered_prefix();
        out.extend_from_slice(&self.scale().to_be_bytes());
        out
    }

    /// The least and the greatest ordered bytes that a value equal to this one can have, whatever its scale.
    pub fn ordered_bounds(&self) -> (Vec<u8>, Vec<u8>) {
        let mut low = self.ordered_prefix();
        let mut high = low.clone();
        low.extend_from_slice(&[0, 0]);
        high.extend_from_slice(&[0xff, 0xff]);
        (low, high)
    }

    fn ordered_prefix(&self) -> Vec<u8> {
        let class = match &self.0 {
            Repr::NegativeInfinity => NEGATIVE_INFINITY,
            Repr::PositiveInfinity => INFINITY,
            Repr::NaN => NAN,
            Repr::Small(0, _) => ZERO,
            Repr::Small(value, _) if *value < 0 => NEGATIVE,
            Repr::Big(big) if big.negative => NEGATIVE,
            _ => POSITIVE,
        };
        let mut out = vec![class];
        let (NEGATIVE | POSITIVE, Some((negative, magnitude, scale))) = (class, self.parts()) else {
            return out;
        };
        let mut digits = magnitude.digits();
        let exponent = digits.len() as i64 - 1 - i64::from(scale);
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        out.extend_from_slice(&((exponent + (1 << 31)) as u32).to_be_bytes());
        for pair in digits.chunks(2) {
            let low = pair.get(1).map_or(0, |digit| digit - b'0');
            out.push((pair[0] - b'0') * 10 + low + 1);
        }
        out.push(0);
        if negative {
            out[1..].iter_mut().for_each(|byte| *byte = !*byte);
        }
        out
    }

    /// The inverse of [`Decimal::to_ordered_bytes`]; `None` for bytes it does not write.
    pub fn from_ordered_bytes(bytes: &[u8]) -> Option<Decimal> {
        let (prefix, scale) = bytes.split_last_chunk::<2>()?;
        let scale = u16::from_be_bytes(*scale);
        let (class, rest) = prefix.split_first()?;
        match (*class, rest, scale) {
            (NEGATIVE_INFINITY, [], 0) => return Some(Decimal::NEGATIVE_INFINITY),
            (INFINITY, [], 0) => return Some(Decimal::INFINITY),
            (NAN, [], 0) => return Some(Decimal::NAN),
            (ZERO, [], _) => return Some(Decimal(Repr::Small(0, scale))),
            (NEGATIVE | POSITIVE, _, _) => {}
            _ => return None,
        }
        let flip = if *class == NEGATIVE { 0xff } else { 0 };
        let (exponent, digit_bytes) = rest.split_first_chunk::<4>()?;
        let exponent = i64::from(u32::from_be_bytes(exponent.map(|byte| byte ^ flip))) - (1 << 31);
        let (terminator, pairs) = digit_bytes.split_last()?;
        if terminator ^ flip != 0 || pairs.is_empty() {
            return None;
        }
        let mut digits = Vec::with_capacity(pairs.len() * 2);
        for byte in pairs {
            let pair = (byte ^ flip).checked_sub(1).filter(|pair| *pair < 100)?;
            digits.extend_from_slice(&[b'0' + pair / 10, b'0' + pair % 10]);
        }
        if digits[0] == b'0' || exponent >= WHOLE_DIGITS_MAX as i64 || usize::from(scale) > SCALE_MAX {
            return None;
        }
        let places = exponent + 1 + i64::from(scale);
        while digits.len() as i64 > places && digits.last() == Some(&b'0') {
            digits.pop();
        }
        let missing = usize::try_from(places - digits.len() as i64).ok()?;
        let decimal = Decimal::from_natural(
            *class == NEGATIVE,
            Natural::from_digits(&digits).shift_up(missing),
            scale,
        );
        (decimal.to_ordered_bytes() == bytes).then_some(decimal)
    }
}
