//! Natural numbers of any size in base 10^9: what a decimal needs where 38 digits are not enough. A decimal base makes
//! reading, printing and moving the point cheap, which is most of what happens to such numbers.

use std::cmp::Ordering;

const BASE: u64 = 1_000_000_000;
const BASE_DIGITS: usize = 9;

/// Limbs of nine decimal digits, least significant first, without leading zero limbs; zero has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    pub(super) fn from_u128(mut value: u128) -> Natural {
        let mut limbs = Vec::with_capacity(5);
        while value > 0 {
            limbs.push((value % BASE as u128) as u32);
            value /= BASE as u128;
        }
        Natural(limbs)
    }

    /// From ASCII digits, most significant first; the caller has checked that they are digits.
    pub(super) fn from_digits(digits: &[u8]) -> Natural {
        let limbs = digits
            .rchunks(BASE_DIGITS)
            .map(|chunk| chunk.iter().fold(0u32, |n, d| n * 10 + u32::from(d - b'0')))
            .collect();
        Natural(limbs).trimmed()
    }

    pub(super) fn power_of_ten(exponent: usize) -> Natural {
        let mut limbs = vec![0; exponent / BASE_DIGITS];
        limbs.push(10u32.pow((exponent % BASE_DIGITS) as u32));
        Natural(limbs)
    }

    fn trimmed(mut self) -> Natural {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// As `u128`, if it has at most 38 digits.
    pub(super) fn to_u128(&self) -> Option<u128> {
        if self.0.len() > 5 || self.digit_count() > 38 {
            return None;
        }
        Some(
            self.0
                .iter()
                .rev()
                .fold(0u128, |n, limb| n * BASE as u128 + u128::from(*limb)),
        )
    }

    /// How many decimal digits it has; zero has none.
    pub(super) fn digit_count(&self) -> usize {
        match self.0.last() {
            None => 0,
            Some(top) => (self.0.len() - 1) * BASE_DIGITS + top.ilog10() as usize + 1,
        }
    }

    /// Its digits in ASCII, most significant first; zero gives none.
    pub(super) fn digits(&self) -> Vec<u8> {
        let mut out = vec![b'0'; self.0.len() * BASE_DIGITS];
        for (limb, place) in self.0.iter().rev().zip(out.chunks_mut(BASE_DIGITS)) {
            let mut rest = *limb;
            for digit in place.iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        let leading = out.len() - self.digit_count();
        out.drain(..leading);
        out
    }

    pub(super) fn compare(&self, other: &Natural) -> Ordering {
        self.0
            .len()
            .cmp(&other.0.len())
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    pub(super) fn add(&self, other: &Natural) -> Natural {
        let (long, short) = if self.0.len() >= other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        let mut limbs = Vec::with_capacity(long.0.len() + 1);
        let mut carry = 0;
        for (i, limb) in long.0.iter().enumerate() {
            let sum = limb + short.0.get(i).copied().unwrap_or(0) + carry;
            carry = u32::from(u64::from(sum) >= BASE);
            limbs.push(if carry == 1 { sum - BASE as u32 } else { sum });
        }
        if carry == 1 {
            limbs.push(1);
        }
        Natural(limbs)
    }

    /// `self - other`, which must not be negative.
    pub(super) fn sub(&self, other: &Natural) -> Natural {
        let mut limbs = Vec::with_capacity(self.0.len());
        let mut borrow = 0i64;
        for (i, limb) in self.0.iter().enumerate() {
            let mut difference = i64::from(*limb) - i64::from(other.0.get(i).copied().unwrap_or(0)) - borrow;
            borrow = i64::from(difference < 0);
            if difference < 0 {
                difference += BASE as i64;
            }
            limbs.push(difference as u32);
        }
        debug_assert_eq!(borrow, 0);
        Natural(limbs).trimmed()
    }

    pub(super) fn mul(&self, other: &Natural) -> Natural {
        let mut limbs = vec![0u32; self.0.len() + other.0.len()];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (j, b) in other.0.iter().enumerate() {
                let sum = u64::from(*a) * u64::from(*b) + u64::from(limbs[i + j]) + carry;
                limbs[i + j] = (sum % BASE) as u32;
                carry = sum / BASE;
            }
            limbs[i + other.0.len()] = carry as u32;
        }
        Natural(limbs).trimmed()
    }

    fn mul_small(&self, factor: u32) -> Natural {
        self.mul(&Natural(vec![factor]).trimmed())
    }

    /// Times `10^places`.
    pub(super) fn shift_up(&self, places: usize) -> Natural {
        if self.is_zero() || places == 0 {
            return self.clone();
        }
        let scaled = self.mul_small(10u32.pow((places % BASE_DIGITS) as u32));
        let mut limbs = vec![0; places / BASE_DIGITS];
        limbs.extend_from_slice(&scaled.0);
        Natural(limbs)
    }

    /// Divided by `10^places` and cut; the second result orders the cut part against half a unit, the third says whether anything
    /// but zeros was cut.
    pub(super) fn shift_down(&self, places: usize) -> (Natural, Ordering, bool) {
        if places == 0 || self.is_zero() {
            return (self.clone(), Ordering::Less, false);
        }
        let (whole, part) = (places / BASE_DIGITS, places % BASE_DIGITS);
        if whole > self.0.len() {
            return (Natural::default(), Ordering::Less, true);
        }
        let cut_limbs = &self.0[..whole];
        let kept = Natural(self.0[whole..].to_vec());
        let (quotient, rest) = kept.div_small(10u32.pow(part as u32));
        let lower_is_zero = cut_limbs.iter().all(|limb| *limb == 0);
        let half = if part > 0 {
            (rest * 2).cmp(&10u32.pow(part as u32)).then(if lower_is_zero {
                Ordering::Equal
            } else {
                Ordering::Greater
            })
        } else {
            let top = cut_limbs[whole - 1];
            let below_is_zero = cut_limbs[..whole - 1].iter().all(|limb| *limb == 0);
            (u64::from(top) * 2).cmp(&BASE).then(if below_is_zero {
                Ordering::Equal
            } else {
                Ordering::Greater
            })
        };
        (quotient, half, rest != 0 || !lower_is_zero)
    }

    pub(super) fn increment(&self) -> Natural {
        self.add(&Natural(vec![1]))
    }

    fn div_small(&self, divisor: u32) -> (Natural, u32) {
        let mut limbs = vec![0; self.0.len()];
        let mut rest = 0u64;
        for (limb, out) in self.0.iter().zip(limbs.iter_mut()).rev() {
            let current = rest * BASE + u64::from(*limb);
            *out = (current / u64::from(divisor)) as u32;
            rest = current % u64::from(divisor);
        }
        (Natural(limbs).trimmed(), rest as u32)
    }

    /// Quotient and remainder; the divisor must not be zero. Long division with an estimated digit (Knuth, TAOCP 4.3.1, algorithm D).
    pub(super) fn div_rem(&self, divisor: &Natural) -> (Natural, Natural) {
        if self.compare(divisor) == Ordering::Less {
            return (Natural::default(), self.clone());
        }
        if let [only] = divisor.0[..] {
            let (quotient, rest) = self.div_small(only);
            return (quotient, Natural(vec![rest]).trimmed());
        }
        // Normalise so that the divisor's top limb is at least half the base, which bounds the estimate's error to two.
        let n = divisor.0.len();
        let factor = (BASE / (u64::from(divisor.0[n - 1]) + 1)) as u32;
        let v = divisor.mul_small(factor).0;
        let mut u = self.mul_small(factor).0;
        u.resize(self.0.len() + 1, 0);
        let mut quotient = vec![0u32; u.len() - n];
        let (v1, v2) = (u64::from(v[n - 1]), u64::from(v[n - 2]));
        for j in (0..quotient.len()).rev() {
            let top = u64::from(u[j + n]) * BASE + u64::from(u[j + n - 1]);
            let (mut q, mut r) = (top / v1, top % v1);
            while q >= BASE || q * v2 > r * BASE + u64::from(u[j + n - 2]) {
                q -= 1;
                r += v1;
                if r >= BASE {
                    break;
                }
            }
            let (mut borrow, mut carry) = (0i64, 0u64);
            for i in 0..=n {
                let product = if i < n { q * u64::from(v[i]) } else { 0 } + carry;
                carry = product / BASE;
                let mut difference = i64::from(u[i + j]) - borrow - (product % BASE) as i64;
                borrow = i64::from(difference < 0);
                if difference < 0 {
                    difference += BASE as i64;
                }
                u[i + j] = difference as u32;
            }
            if borrow == 1 {
                q -= 1;
                let mut carry = 0u32;
                for i in 0..=n {
                    let sum = u[i + j] + if i < n { v[i] } else { 0 } + carry;
                    carry = u32::from(u64::from(sum) >= BASE);
                    u[i + j] = if carry == 1 { sum - BASE as u32 } else { sum };
                }
            }
            quotient[j] = q as u32;
        }
        u.truncate(n);
        let (rest, _) = Natural(u).trimmed().div_small(factor);
        (Natural(quotient).trimmed(), rest)
    }
}
