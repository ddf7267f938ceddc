//! Arithmetic: integers and floats with Postgres' errors, `numeric` on ordered bytes with Postgres' scales.

use super::{Args, IMPURE, PURE, lenient, sql, strict, transcendental};
use mainstay_model::{Decimal, Error, Result};
use mainstay_model::{Type, Value};
use mainstay_sql::sqlite::{Form, Stored, encode};
use rusqlite::Connection;
use rusqlite::types::{Value as Sql, ValueRef};
use std::cmp::Ordering;

/// The number in an argument: ordered bytes, or an integer.
pub(super) fn decimal(args: &Args<'_, '_>, at: usize) -> Result<Decimal> {
    match args.raw(at) {
        ValueRef::Integer(v) => Ok(Decimal::from_i64(v)),
        _ => Decimal::from_ordered_bytes(args.blob(at)?).ok_or_else(|| {
            Error::new("XX001", "a stored value is not a valid numeric").hint("Another program wrote it.")
        }),
    }
}

pub(super) fn wide(number: &Decimal) -> Sql {
    Sql::Blob(number.to_ordered_bytes())
}

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    integers(c)?;
    floats(c)?;
    numerics(c)?;
    extremes(c)
}

fn division_by_zero() -> Error {
    Error::new("22012", "division by zero")
}

fn integers(c: &Connection) -> rusqlite::Result<()> {
    // The caller checks the result's range; the one quotient beyond 64 bits leaves as a REAL, which no range holds.
    strict(c, "mainstay_int_div", 2, |args| match (args.int(0)?, args.int(1)?) {
        (_, 0) => Err(division_by_zero()),
        (a, b) => Ok(a.checked_div(b).map_or(Sql::Real(-(i64::MIN as f64)), Sql::Integer)),
    })?;
    strict(c, "mainstay_int_mod", 2, |args| match (args.int(0)?, args.int(1)?) {
        (_, 0) => Err(division_by_zero()),
        (a, b) => Ok(Sql::Integer(a.wrapping_rem(b))),
    })
}

fn floats(c: &Connection) -> rusqlite::Result<()> {
    let overflow = || Error::new("22003", "value out of range: overflow");
    let underflow = || Error::new("22003", "value out of range: underflow");
    // SQLite keeps no NaN: what would be one is refused rather than lost as NULL.
    let checked = move |result: f64, finite: bool, zero: bool| {
        if result.is_nan() {
            return Err(Error::unsupported(
                "NaN as double precision or real is not supported by this engine",
            ));
        }
        if result.is_infinite() && finite {
            return Err(overflow());
        }
        if result == 0.0 && !zero {
            return Err(underflow());
        }
        Ok(Sql::Real(result))
    };
    strict(c, "mainstay_float_add", 2, move |args| {
        let (a, b) = (args.real(0)?, args.real(1)?);
        checked(a + b, a.is_finite() && b.is_finite(), true)
    })?;
    strict(c, "mainstay_float_sub", 2, move |args| {
        let (a, b) = (args.real(0)?, args.real(1)?);
        checked(a - b, a.is_finite() && b.is_finite(), true)
    })?;
    strict(c, "mainstay_float_mul", 2, move |args| {
        let (a, b) = (args.real(0)?, args.real(1)?);
        checked(a * b, a.is_finite() && b.is_finite(), a == 0.0 || b == 0.0)
    })?;
    strict(c, "mainstay_float_div", 2, move |args| {
        let (a, b) = (args.real(0)?, args.real(1)?);
        if b == 0.0 {
            return Err(division_by_zero());
        }
        checked(a / b, a.is_finite(), a == 0.0 || b.is_infinite())
    })?;
    strict(c, "mainstay_float_power", 2, move |args| {
        let (a, b) = (args.real(0)?, args.real(1)?);
        if a == 0.0 && b < 0.0 {
            return Err(Error::new("2201F", "zero raised to a negative power is undefined"));
        }
        if a < 0.0 && b.fract() != 0.0 {
            return Err(Error::new(
                "2201F",
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        checked(
            a.powf(b),
            a.is_finite() && b.is_finite(),
            a == 0.0 || !b.is_finite() || !a.is_finite(),
        )
    })?;
    strict(c, "mainstay_float_sqrt", 1, |args| match args.real(0)? {
        a if a < 0.0 => Err(Error::new("2201F", "cannot take square root of a negative number")),
        a => Ok(Sql::Real(a.sqrt())),
    })?;
    strict(c, "mainstay_float_exp", 1, move |args| {
        let a = args.real(0)?;
        checked(a.exp(), a.is_finite(), a == f64::NEG_INFINITY)
    })?;
    let logarithm = |a: f64, result: f64| match a {
        0.0 => Err(Error::new("2201E", "cannot take logarithm of zero")),
        a if a < 0.0 => Err(Error::new("2201E", "cannot take logarithm of a negative number")),
        _ => Ok(Sql::Real(result)),
    };
    strict(c, "mainstay_float_ln", 1, move |args| {
        args.real(0).and_then(|a| logarithm(a, a.ln()))
    })?;
    strict(c, "mainstay_float_log", 1, move |args| {
        args.real(0).and_then(|a| logarithm(a, a.log10()))
    })?;
    #[allow(clippy::type_complexity, reason = "a table of names and functions")]
    let simple: [(&str, fn(f64) -> f64); 5] = [
        ("mainstay_float_ceil", f64::ceil),
        ("mainstay_float_floor", f64::floor),
        ("mainstay_float_round", f64::round_ties_even),
        ("mainstay_float_trunc", f64::trunc),
        ("mainstay_float_sign", |a| if a == 0.0 { 0.0 } else { a.signum() }),
    ];
    for (name, function) in simple {
        strict(c, name, 1, move |args| args.real(0).map(|a| Sql::Real(function(a))))?;
    }
    lenient(c, "mainstay_random", 0, IMPURE, |_| {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).map_err(|e| Error::internal(format!("no random numbers: {e}")))?;
        Ok(Sql::Real(
            (u64::from_le_bytes(bytes) >> 11) as f64 / (1u64 << 53) as f64,
        ))
    })
}

fn numerics(c: &Connection) -> rusqlite::Result<()> {
    strict(c, "mainstay_num", 2, |args| {
        let scale = u16::try_from(args.int(1)?).map_err(|_| Error::internal("a scale out of range"))?;
        Ok(wide(&Decimal::from_scaled(args.int(0)?, scale)))
    })?;
    strict(c, "mainstay_num_key", 1, |args| {
        let bytes = args.blob(0)?;
        Ok(Sql::Blob(bytes[..bytes.len().saturating_sub(2)].to_vec()))
    })?;
    strict(c, "mainstay_num_exact", 2, |args| {
        let scale = u16::try_from(args.int(1)?).map_err(|_| Error::internal("a scale out of range"))?;
        Ok(sql(encode(
            &Value::Numeric(decimal(args, 0)?),
            &Type::Numeric(None),
            Form::Exact(scale),
        )?))
    })?;
    strict(c, "mainstay_num_float", 1, |args| {
        match Value::Numeric(decimal(args, 0)?).cast(&Type::Numeric(None), &Type::Float8)? {
            Value::Float(v) if v.is_nan() => Err(Error::unsupported(
                "NaN as double precision is not supported by this engine",
            )),
            Value::Float(v) => Ok(Sql::Real(v)),
            _ => Err(Error::internal("a float is no float")),
        }
    })?;
    strict(c, "mainstay_num_int", 1, |args| {
        match Value::Numeric(decimal(args, 0)?).cast(&Type::Numeric(None), &Type::Int8)? {
            Value::Int(v) => Ok(Sql::Integer(v)),
            _ => Err(Error::internal("an integer is no integer")),
        }
    })?;
    for (name, scaled) in [("mainstay_num_scaled", true), ("mainstay_num_fit", false)] {
        strict(c, name, 3, move |args| {
            let size =
                |at: usize| u16::try_from(args.int(at)?).map_err(|_| Error::internal("a precision out of range"));
            let (precision, scale) = (size(1)?, size(2)?);
            let fitted = decimal(args, 0)?.fit(precision, scale)?;
            if !scaled {
                return Ok(wide(&fitted));
            }
            if fitted.is_nan() {
                return Err(Error::unsupported(
                    "NaN in a numeric column of at most 18 digits is not supported by this engine",
                )
                .hint("Declare the column numeric, without a precision."));
            }
            fitted
                .to_scaled(scale)
                .map(Sql::Integer)
                .ok_or_else(|| Error::new("22003", "numeric field overflow"))
        })?;
    }
    // Scaled integers rounded half away from zero by so many digits.
    strict(c, "mainstay_scaled_round", 2, |args| {
        let (value, digits) = (args.int(0)?, args.int(1)?);
        let unit = u32::try_from(digits)
            .ok()
            .and_then(|d| 10i64.checked_pow(d))
            .ok_or_else(|| Error::internal("too many digits"))?;
        let (quotient, rest) = (value / unit, value % unit);
        Ok(Sql::Integer(if rest.unsigned_abs() * 2 >= unit.unsigned_abs() {
            quotient + value.signum()
        } else {
            quotient
        }))
    })?;
    type Binary = fn(&Decimal, &Decimal) -> Result<Decimal>;
    let binary: [(&str, Binary); 6] = [
        ("mainstay_num_add", Decimal::add),
        ("mainstay_num_sub", Decimal::sub),
        ("mainstay_num_mul", Decimal::mul),
        ("mainstay_num_div", Decimal::div),
        ("mainstay_num_mod", Decimal::rem),
        ("mainstay_num_power", transcendental::power),
    ];
    for (name, function) in binary {
        strict(c, name, 2, move |args| {
            Ok(wide(&function(&decimal(args, 0)?, &decimal(args, 1)?)?))
        })?;
    }
    type Unary = fn(&Decimal) -> Result<Decimal>;
    let unary: [(&str, Unary); 9] = [
        ("mainstay_num_neg", |a| Ok(a.neg())),
        ("mainstay_num_abs", |a| Ok(a.abs())),
        ("mainstay_num_ceil", |a| Ok(a.ceil())),
        ("mainstay_num_floor", |a| Ok(a.floor())),
        ("mainstay_num_sign", |a| Ok(a.sign())),
        ("mainstay_num_sqrt", transcendental::sqrt),
        ("mainstay_num_exp", transcendental::exp),
        ("mainstay_num_ln", transcendental::ln),
        ("mainstay_num_log", transcendental::log10),
    ];
    for (name, function) in unary {
        strict(c, name, 1, move |args| Ok(wide(&function(&decimal(args, 0)?)?)))?;
    }
    strict(c, "mainstay_num_log", 2, |args| {
        Ok(wide(&transcendental::log(&decimal(args, 0)?, &decimal(args, 1)?)?))
    })?;
    for (name, function) in [
        ("mainstay_num_round", Decimal::round as fn(&Decimal, i32) -> Decimal),
        ("mainstay_num_trunc", Decimal::trunc),
    ] {
        strict(c, name, 2, move |args| {
            let digits = args.int(1)?.clamp(-2000, 2000) as i32;
            Ok(wide(&function(&decimal(args, 0)?, digits)))
        })?;
    }
    Ok(())
}

/// GREATEST and LEAST over stored values of one form; NULLs are passed over.
fn extremes(c: &Connection) -> rusqlite::Result<()> {
    for (name, wanted) in [
        ("mainstay_greatest", Ordering::Greater),
        ("mainstay_least", Ordering::Less),
    ] {
        lenient(c, name, -1, PURE, move |args| {
            let mut best: Option<Stored<'_>> = None;
            for at in 0..args.len() {
                let candidate = args.stored(at)?;
                if candidate == Stored::Null {
                    continue;
                }
                if best.as_ref().is_none_or(|b| compare(&candidate, b) == wanted) {
                    best = Some(candidate);
                }
            }
            Ok(best.map_or(Sql::Null, sql))
        })?;
    }
    Ok(())
}

/// SQLite's own order within a storage class; numbers among themselves.
fn compare(a: &Stored<'_>, b: &Stored<'_>) -> Ordering {
    match (a, b) {
        (Stored::Integer(a), Stored::Integer(b)) => a.cmp(b),
        (Stored::Real(a), Stored::Real(b)) => a.total_cmp(b),
        (Stored::Integer(a), Stored::Real(b)) => (*a as f64).total_cmp(b),
        (Stored::Real(a), Stored::Integer(b)) => a.total_cmp(&(*b as f64)),
        (Stored::Text(a), Stored::Text(b)) => a.cmp(b),
        (Stored::Blob(a), Stored::Blob(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}
