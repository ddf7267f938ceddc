//! Dates, times and intervals. The session's time zone is UTC, so a `timestamptz` and a `timestamp` are the same number.

use super::number::{decimal, wide};
use super::number_to_char::number_to_char;
use super::to_char::{Fields, parse_by_format, to_char};
use super::{Args, strict};
use mainstay_model::{Decimal, Error, Result, Type, Value, time};
use mainstay_sql::sqlite::{Form, decode};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;

const DAY_US: i64 = 86_400_000_000;

fn interval(args: &Args<'_, '_>, at: usize) -> Result<time::Interval> {
    time::parse_interval(args.text(at)?)
}

fn interval_text(interval: time::Interval) -> Sql {
    let mut out = Vec::with_capacity(24);
    time::write_interval(interval, &mut out);
    Sql::Text(String::from_utf8(out).unwrap_or_default())
}

/// Bytes whose order is the intervals': a month counts 30 days.
pub(super) fn interval_key((months, days, micros): time::Interval) -> [u8; 16] {
    let span = (i128::from(months) * 30 + i128::from(days)) * i128::from(DAY_US) + i128::from(micros);
    ((span as u128) ^ (1 << 127)).to_be_bytes()
}

fn days(args: &Args<'_, '_>, at: usize) -> Result<i32> {
    i32::try_from(args.int(at)?).map_err(|_| Error::new("22008", "date out of range"))
}

pub(super) fn register(c: &Connection) -> rusqlite::Result<()> {
    strict(c, "mainstay_interval_key", 1, |args| {
        Ok(Sql::Blob(interval_key(interval(args, 0)?).to_vec()))
    })?;
    strict(c, "mainstay_ts_add", 2, |args| {
        time::timestamp_add(args.int(0)?, interval(args, 1)?).map(Sql::Integer)
    })?;
    strict(c, "mainstay_ts_sub", 2, |args| {
        time::timestamp_sub(args.int(0)?, interval(args, 1)?).map(Sql::Integer)
    })?;
    strict(c, "mainstay_ts_diff", 2, |args| {
        time::timestamp_diff(args.int(0)?, args.int(1)?).map(interval_text)
    })?;
    strict(c, "mainstay_ts_add_time", 2, |args| {
        let sum = args.int(0)?.checked_add(args.int(1)?);
        sum.map(Sql::Integer)
            .ok_or_else(|| Error::new("22008", "timestamp out of range"))
    })?;
    strict(c, "mainstay_time_add", 2, |args| {
        Ok(Sql::Integer(time::time_add(args.int(0)?, interval(args, 1)?)))
    })?;
    strict(c, "mainstay_time_sub", 2, |args| {
        Ok(Sql::Integer(time::time_add(
            args.int(0)?,
            time::interval_neg(interval(args, 1)?)?,
        )))
    })?;
    strict(c, "mainstay_time_diff", 2, |args| {
        Ok(interval_text((0, 0, args.int(0)? - args.int(1)?)))
    })?;
    strict(c, "mainstay_date_add", 2, |args| {
        Ok(Sql::Integer(i64::from(time::date_add(days(args, 0)?, args.int(1)?)?)))
    })?;
    strict(c, "mainstay_date_diff", 2, |args| {
        Ok(Sql::Integer(i64::from(time::date_diff(
            days(args, 0)?,
            days(args, 1)?,
        )?)))
    })?;
    strict(c, "mainstay_interval_add", 2, |args| {
        time::interval_add(interval(args, 0)?, interval(args, 1)?).map(interval_text)
    })?;
    strict(c, "mainstay_interval_sub", 2, |args| {
        time::interval_sub(interval(args, 0)?, interval(args, 1)?).map(interval_text)
    })?;
    strict(c, "mainstay_interval_neg", 1, |args| {
        time::interval_neg(interval(args, 0)?).map(interval_text)
    })?;
    strict(c, "mainstay_interval_mul", 2, |args| {
        time::interval_mul(interval(args, 0)?, args.real(1)?).map(interval_text)
    })?;
    strict(c, "mainstay_interval_div", 2, |args| match args.real(1)? {
        0.0 => Err(Error::new("22012", "division by zero")),
        divisor => time::interval_div(interval(args, 0)?, divisor).map(interval_text),
    })?;
    strict(c, "mainstay_age", 2, |args| {
        time::age(args.int(0)?, args.int(1)?).map(interval_text)
    })?;
    strict(c, "mainstay_extract", 3, |args| {
        let code = args.type_code(2)?;
        let value = decode(args.stored(1)?, &code.0, code.1)?;
        Ok(time::extract(args.text(0)?, &value, &code.0)?.map_or(Sql::Null, |n| wide(&n)))
    })?;
    strict(c, "mainstay_date_trunc", 3, |args| {
        let code = args.type_code(2)?;
        let value = decode(args.stored(1)?, &code.0, code.1)?;
        match time::date_trunc(args.text(0)?, &value, &code.0)? {
            Value::Timestamp(micros) => Ok(Sql::Integer(micros)),
            Value::Interval(months, days, micros) => Ok(interval_text((months, days, micros))),
            Value::Date(days) => Ok(Sql::Integer(time::date_to_timestamp(days)?)),
            _ => Err(Error::internal("date_trunc gave no moment")),
        }
    })?;
    strict(c, "mainstay_make_interval", 7, |args| {
        let out_of_range = || Error::new("22008", "interval out of range");
        let months = args
            .int(0)?
            .checked_mul(12)
            .and_then(|y| y.checked_add(args.int(1).ok()?))
            .ok_or_else(out_of_range)?;
        let days = args
            .int(2)?
            .checked_mul(7)
            .and_then(|w| w.checked_add(args.int(3).ok()?))
            .ok_or_else(out_of_range)?;
        let minutes = args
            .int(4)?
            .checked_mul(60)
            .and_then(|h| h.checked_add(args.int(5).ok()?))
            .ok_or_else(out_of_range)?;
        let seconds = (args.real(6)? * 1e6).round_ties_even();
        let micros = minutes.checked_mul(60_000_000).ok_or_else(out_of_range)? as f64 + seconds;
        if !(-9e18..9e18).contains(&micros) {
            return Err(out_of_range());
        }
        let small = |n: i64| i32::try_from(n).map_err(|_| out_of_range());
        Ok(interval_text((small(months)?, small(days)?, micros as i64)))
    })?;
    strict(c, "mainstay_to_timestamp", 1, |args| match args.real(0)? {
        seconds if seconds.is_infinite() => Ok(Sql::Integer(if seconds > 0.0 { i64::MAX } else { i64::MIN })),
        seconds if (-210_866_803_200.0..9_224_318_016_000.0).contains(&seconds) => {
            Ok(Sql::Integer((seconds * 1e6).round_ties_even() as i64))
        }
        seconds => Err(Error::new("22008", format!("timestamp out of range: \"{seconds}\""))),
    })?;
    strict(c, "mainstay_to_char", 3, |args| {
        let code = args.type_code(1)?;
        let format = args.text(2)?;
        Ok(Sql::Text(match &code.0 {
            Type::Numeric(_) => number_to_char(&decimal(args, 0)?, format)?,
            ty if ty.is_integer() => number_to_char(&Decimal::from_i64(args.int(0)?), format)?,
            Type::Float4 | Type::Float8 => number_to_char(&Decimal::from_f64_shortest(args.real(0)?), format)?,
            ty => match decode(args.stored(0)?, ty, Form::Plain)? {
                Value::Timestamp(micros) if micros != i64::MAX && micros != i64::MIN => {
                    to_char(&Fields::of_timestamp(micros, *ty == Type::TimestampTz), format)?
                }
                Value::Date(days) => to_char(&Fields::of_timestamp(time::date_to_timestamp(days)?, false), format)?,
                Value::Time(micros) => to_char(&Fields::of_time(micros), format)?,
                Value::Interval(months, days, micros) => to_char(&Fields::of_interval(months, days, micros), format)?,
                _ => return Ok(Sql::Null),
            },
        }))
    })?;
    strict(c, "mainstay_parse_timestamp", 2, |args| {
        parse_by_format(args.text(0)?, args.text(1)?).map(Sql::Integer)
    })
}
