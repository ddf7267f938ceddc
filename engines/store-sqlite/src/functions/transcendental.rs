//! Roots, exponentials and logarithms of `numeric`, to the digits that Postgres gives. Computed with guard digits by Newton's method and
//! by series, then rounded to Postgres' result scale.

use mainstay_model::{Decimal, Error, Result};

/// Digits that matter at least, in every result.
const SIGNIFICANT_MIN: i64 = 16;
/// The greatest scale of a result.
const SCALE_MAX: i64 = 1000;
/// Digits carried beyond the result's.
const GUARD: i64 = 12;

/// Postgres' base-10000 weight of a number's first digit.
fn weight(number: &Decimal) -> i64 {
    let text = number.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.trim_start_matches('0');
    if !whole.is_empty() {
        return (whole.len() as i64 - 1) / 4;
    }
    match fraction.find(|c| c != '0') {
        Some(zeros) => -(zeros as i64 / 4) - 1,
        None => 0,
    }
}

/// The power of ten of a number's first digit.
fn magnitude(number: &Decimal) -> i64 {
    let text = number.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.trim_start_matches('0');
    if !whole.is_empty() {
        return whole.len() as i64 - 1;
    }
    fraction.find(|c| c != '0').map_or(0, |zeros| -(zeros as i64) - 1)
}

fn clamp_scale(scale: i64, number: &Decimal) -> i64 {
    scale.max(i64::from(number.scale())).clamp(0, SCALE_MAX)
}

/// A number shown with so many digits, so that what is computed from it has as many.
fn at(number: &Decimal, scale: i64) -> Decimal {
    number.round(scale as i32)
}

fn mul(a: &Decimal, b: &Decimal, scale: i64) -> Result<Decimal> {
    Ok(at(&a.mul(b)?, scale))
}

fn div(a: &Decimal, b: &Decimal, scale: i64) -> Result<Decimal> {
    Ok(at(&at(a, scale).div(b)?, scale))
}

fn integer(value: i64) -> Decimal {
    Decimal::from_i64(value)
}

/// `sqrt(numeric)`
pub(super) fn sqrt(number: &Decimal) -> Result<Decimal> {
    if number.is_nan() || (!number.is_finite() && number.cmp_value(&Decimal::ZERO).is_gt()) {
        return Ok(number.clone());
    }
    if number.cmp_value(&Decimal::ZERO).is_lt() {
        return Err(Error::new("2201F", "cannot take square root of a negative number"));
    }
    let root_weight = (weight(number) + 1) * 4 / 2 - 1;
    let scale = clamp_scale(SIGNIFICANT_MIN - root_weight, number);
    if number.is_zero() {
        return Ok(at(&Decimal::ZERO, scale));
    }
    let working = scale + GUARD + (magnitude(number) / 2).abs();
    let mut root = Decimal::parse(&format!(
        "{}e{}",
        1 + (magnitude(number).rem_euclid(2)) * 2,
        magnitude(number).div_euclid(2)
    ))
    .ok_or_else(|| Error::internal("no first guess of a root"))?;
    let half = Decimal::from_scaled(5, 1);
    for _ in 0..200 {
        let next = mul(&at(&root, working).add(&div(number, &root, working)?)?, &half, working)?;
        let done = next
            .sub(&root)?
            .abs()
            .cmp_value(&Decimal::parse(&format!("1e-{}", working - 2)).unwrap_or(Decimal::ZERO))
            .is_le();
        root = next;
        if done {
            break;
        }
    }
    Ok(at(&root, scale))
}

/// e^x by halving the argument, Taylor's series, and squaring again.
fn exp_to(x: &Decimal, working: i64) -> Result<Decimal> {
    let mut halvings = 0;
    let mut reduced = at(x, working);
    let limit = Decimal::from_scaled(1, 2);
    let half = Decimal::from_scaled(5, 1);
    let more = working + 10;
    while reduced.abs().cmp_value(&limit).is_gt() {
        reduced = mul(&reduced, &half, more)?;
        halvings += 1;
    }
    let more = more + halvings;
    let (mut sum, mut term) = (integer(1), integer(1));
    for n in 1..2000 {
        term = div(&mul(&term, &reduced, more)?, &integer(n), more)?;
        if term.is_zero() {
            break;
        }
        sum = sum.add(&term)?;
    }
    for _ in 0..halvings {
        sum = mul(&sum, &sum, more)?;
    }
    Ok(sum)
}

/// `exp(numeric)`
pub(super) fn exp(number: &Decimal) -> Result<Decimal> {
    if !number.is_finite() {
        let negative = !number.is_nan() && number.cmp_value(&Decimal::ZERO).is_lt();
        return Ok(if negative { Decimal::ZERO } else { number.clone() });
    }
    exp_scaled(number, |digits| clamp_scale(SIGNIFICANT_MIN - digits, number))
}

fn exp_scaled(number: &Decimal, scale: impl Fn(i64) -> i64) -> Result<Decimal> {
    let digits = number.to_f64() * std::f64::consts::LOG10_E;
    if digits > 131_072.0 {
        return Err(Error::new("22003", "value overflows numeric format"));
    }
    let scale = scale(digits.clamp(-2000.0, 200_000.0) as i64);
    if digits < -(scale as f64) - 1.0 {
        return Ok(at(&Decimal::ZERO, scale));
    }
    if digits > 4000.0 {
        return Err(Error::unsupported(
            "a numeric power of more than 4000 digits is not supported by this engine",
        ));
    }
    let working = scale + GUARD + 2 * digits.max(0.0) as i64;
    Ok(at(&exp_to(number, working)?, scale))
}

/// The natural logarithm by taking roots until the argument is near one, then the series of artanh.
fn ln_to(number: &Decimal, working: i64) -> Result<Decimal> {
    let more = working + 10;
    let mut x = at(number, more + magnitude(number).min(0).abs());
    let one = integer(1);
    // Powers of ten first: ln(x) = ln(m) + e·ln(10).
    let exponent = magnitude(number);
    let mut total = Decimal::ZERO;
    if exponent != 0 {
        let ten = Decimal::parse(&format!("1e{exponent}")).ok_or_else(|| Error::internal("no power of ten"))?;
        x = div(&x, &ten, more)?;
        total = mul(
            &integer(exponent),
            &ln_to(&integer(9), more)?.add(&artanh(&div(&one, &integer(19), more)?, more)?.mul(&integer(2))?)?,
            more,
        )?;
    }
    let mut roots = 0;
    let near = Decimal::from_scaled(11, 1);
    while x.cmp_value(&near).is_gt() {
        x = root_to(&x, more)?;
        roots += 1;
    }
    let ratio = div(&x.sub(&one)?, &x.add(&one)?, more)?;
    let series = artanh(&ratio, more)?.mul(&integer(2 << roots))?;
    total.add(&series)
}

fn artanh(x: &Decimal, scale: i64) -> Result<Decimal> {
    let square = mul(x, x, scale)?;
    let (mut sum, mut power) = (x.clone(), x.clone());
    for n in 1..5000 {
        power = mul(&power, &square, scale)?;
        if power.is_zero() {
            break;
        }
        sum = sum.add(&div(&power, &integer(2 * n + 1), scale)?)?;
    }
    Ok(sum)
}

fn root_to(x: &Decimal, scale: i64) -> Result<Decimal> {
    let half = Decimal::from_scaled(5, 1);
    let mut root = at(&Decimal::from_f64_shortest(x.to_f64().sqrt()), scale);
    for _ in 0..64 {
        let next = mul(&root.add(&div(x, &root, scale)?)?, &half, scale)?;
        let same = next
            .sub(&root)?
            .abs()
            .cmp_value(&Decimal::parse(&format!("1e-{}", scale - 1)).unwrap_or(Decimal::ZERO))
            .is_le();
        root = next;
        if same {
            break;
        }
    }
    Ok(root)
}

fn logarithm_domain(number: &Decimal) -> Result<()> {
    match number.cmp_value(&Decimal::ZERO) {
        std::cmp::Ordering::Less => Err(Error::new("2201E", "cannot take logarithm of a negative number")),
        std::cmp::Ordering::Equal => Err(Error::new("2201E", "cannot take logarithm of zero")),
        std::cmp::Ordering::Greater => Ok(()),
    }
}

/// The power of ten of |ln(x)|, as Postgres estimates it.
fn ln_weight(number: &Decimal) -> i64 {
    let value = number.to_f64();
    if (0.9..=1.1).contains(&value) {
        let distance = number.sub(&Decimal::ONE).map(|d| d.abs()).unwrap_or(Decimal::ZERO);
        return if distance.is_zero() { 0 } else { magnitude(&distance) };
    }
    let estimate = if value.is_finite() && value > 0.0 {
        value.ln()
    } else {
        magnitude(number) as f64 * std::f64::consts::LN_10
    };
    estimate.abs().log10() as i64
}

/// `ln(numeric)`
pub(super) fn ln(number: &Decimal) -> Result<Decimal> {
    if number.is_nan() || (!number.is_finite() && number.cmp_value(&Decimal::ZERO).is_gt()) {
        return Ok(number.clone());
    }
    logarithm_domain(number)?;
    let scale = clamp_scale(SIGNIFICANT_MIN - ln_weight(number), number);
    Ok(at(&ln_to(number, scale + GUARD)?, scale))
}

/// `log(numeric)`
pub(super) fn log10(number: &Decimal) -> Result<Decimal> {
    log(&integer(10), number)
}

/// `log(base, numeric)`
pub(super) fn log(base: &Decimal, number: &Decimal) -> Result<Decimal> {
    if base.is_nan() || number.is_nan() {
        return Ok(Decimal::NAN);
    }
    logarithm_domain(base)?;
    logarithm_domain(number)?;
    let weight = ln_weight(number) - ln_weight(base);
    let scale = clamp_scale(clamp_scale(SIGNIFICANT_MIN - weight, base), number);
    let working = scale + GUARD + weight.abs();
    let divisor = ln_to(base, working)?;
    if divisor.is_zero() {
        return Err(Error::new("22012", "division by zero"));
    }
    Ok(at(&div(&ln_to(number, working)?, &divisor, working)?, scale))
}

/// `power(numeric, numeric)`
pub(super) fn power(base: &Decimal, exponent: &Decimal) -> Result<Decimal> {
    let whole = exponent.is_finite() && exponent.trunc(0).cmp_value(exponent).is_eq();
    if base.is_finite() && base.is_zero() && exponent.cmp_value(&Decimal::ZERO).is_lt() {
        return Err(Error::new("2201F", "zero raised to a negative power is undefined"));
    }
    if whole && let Some(n) = exponent.to_i64().and_then(|n| i32::try_from(n).ok()) {
        return base.power(n);
    }
    if base.is_nan() || exponent.is_nan() || !base.is_finite() || !exponent.is_finite() {
        return Ok(Decimal::NAN);
    }
    if base.cmp_value(&Decimal::ZERO).is_lt() {
        return Err(Error::new(
            "2201F",
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    if base.is_zero() {
        return Ok(at(&Decimal::ZERO, SIGNIFICANT_MIN));
    }
    let scale = power_scale(base, exponent).unwrap_or(SIGNIFICANT_MIN);
    let digits = (exponent.to_f64() * base.to_f64().log10()).abs().min(4000.0) as i64;
    let logarithm = mul(
        exponent,
        &ln_to(base, scale + digits + 2 * GUARD)?,
        scale + digits + 2 * GUARD,
    )?;
    exp_scaled(&logarithm, |_| scale)
}

/// Postgres' scale of a power: 16 significant digits, and no less than either argument shows.
fn power_scale(base: &Decimal, exponent: &Decimal) -> Option<i64> {
    if !base.is_finite() || base.is_zero() {
        return None;
    }
    let size = exponent.to_f64() * base.abs().to_f64().log10();
    if !size.is_finite() {
        return None;
    }
    let scale = SIGNIFICANT_MIN - size.clamp(-1000.0, 200_000.0) as i64;
    Some(clamp_scale(clamp_scale(scale, base), exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    /// Expected values are PostgreSQL 15's.
    #[test]
    fn results_have_the_digits_of_postgres() {
        for (input, expected) in [
            ("2", "1.414213562373095"),
            ("0", "0.000000000000000"),
            ("144.00", "12.000000000000000"),
            ("0.0001", "0.01000000000000000"),
        ] {
            assert_eq!(sqrt(&number(input)).unwrap().to_string(), expected, "sqrt({input})");
        }
        for (input, expected) in [
            ("1", "2.7182818284590452"),
            ("0", "1.0000000000000000"),
            ("-3.5", "0.03019738342231850"),
            ("10.25", "28282.541920334979"),
        ] {
            assert_eq!(exp(&number(input)).unwrap().to_string(), expected, "exp({input})");
        }
        for (input, expected) in [
            ("2", "0.6931471805599453"),
            ("10", "2.3025850929940457"),
            ("1", "0.0000000000000000"),
            ("12345.678", "9.4210613212918320"),
        ] {
            assert_eq!(ln(&number(input)).unwrap().to_string(), expected, "ln({input})");
        }
        for (base, exponent, expected) in [
            ("2", "0.5", "1.4142135623730950"),
            ("1.5", "3", "3.3750000000000000"),
            ("2", "-3", "0.1250000000000000"),
            ("2", "100", "1267650600228229401496703205376.0000000000000000"),
        ] {
            assert_eq!(
                power(&number(base), &number(exponent)).unwrap().to_string(),
                expected,
                "power({base}, {exponent})"
            );
        }
        assert_eq!(
            log(&number("2"), &number("8")).unwrap().to_string(),
            "3.0000000000000000"
        );
        assert_eq!(log10(&number("100.0")).unwrap().to_string(), "2.0000000000000000");
        assert_eq!(sqrt(&number("-1")).unwrap_err().code, "2201F");
        assert_eq!(ln(&number("0")).unwrap_err().message, "cannot take logarithm of zero");
    }
}
