//! `date_trunc` and `extract`: moments and intervals, field by field.

use super::{
    DAY_MIN, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, civil_from_days, date_to_timestamp,
    days_from_civil, is_infinite, split_timestamp, timestamp_in_range,
};
use crate::{Decimal, Error, Result, Type, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Microseconds,
    Milliseconds,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    IsoYear,
    IsoDayOfWeek,
    DayOfWeek,
    DayOfYear,
    Julian,
    Epoch,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

impl Field {
    fn named(name: &str) -> Option<Field> {
        Some(match name {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" => Field::Microseconds,
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" => Field::Milliseconds,
            "s" | "sec" | "secs" | "second" | "seconds" => Field::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Field::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => Field::Hour,
            "d" | "day" | "days" => Field::Day,
            "w" | "week" | "weeks" => Field::Week,
            "mon" | "mons" | "month" | "months" => Field::Month,
            "qtr" | "quarter" => Field::Quarter,
            "y" | "yr" | "yrs" | "year" | "years" => Field::Year,
            "dec" | "decs" | "decade" | "decades" => Field::Decade,
            "c" | "cent" | "century" | "centuries" => Field::Century,
            "mil" | "mils" | "millennium" | "millennia" => Field::Millennium,
            "isoyear" => Field::IsoYear,
            "isodow" => Field::IsoDayOfWeek,
            "dow" => Field::DayOfWeek,
            "doy" => Field::DayOfYear,
            "j" | "jd" | "julian" => Field::Julian,
            "epoch" => Field::Epoch,
            "timezone" => Field::Timezone,
            "timezone_h" | "timezone_hour" => Field::TimezoneHour,
            "timezone_m" | "timezone_minute" => Field::TimezoneMinute,
            _ => return None,
        })
    }
}

fn unknown(field: &str, ty: &Type) -> Error {
    Error::new("22023", format!("unit \"{field}\" not recognized for type {ty}"))
}

fn unsupported(field: &str, ty: &Type) -> Error {
    Error::new("0A000", format!("unit \"{field}\" not supported for type {ty}"))
}

fn find(field: &str, ty: &Type) -> Result<(Field, String)> {
    let name = field.to_ascii_lowercase();
    let found = Field::named(&name).ok_or_else(|| unknown(&name, ty))?;
    Ok((found, name))
}

/// A field that one could cut at, at least in principle.
fn find_unit(field: &str, ty: &Type) -> Result<(Field, String)> {
    let (found, name) = find(field, ty)?;
    match found {
        Field::IsoYear | Field::IsoDayOfWeek | Field::DayOfWeek | Field::DayOfYear | Field::Julian | Field::Epoch => {
            Err(unknown(&name, ty))
        }
        _ => Ok((found, name)),
    }
}

/// Days since 1970-01-01 of the Monday of `day`'s ISO week.
fn monday(day: i64) -> i64 {
    day - (day + 3).rem_euclid(7)
}

/// ISO 8601 year and week.
fn iso_week(day: i64) -> (i64, i64) {
    let monday = monday(day);
    let (year, ..) = civil_from_days(monday + 3);
    (year, (monday + 3 - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// A year as shown: there is no year zero, and those before Christ are negative.
fn shown_year(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// Decade, century and millennium as `extract` counts them.
fn year_group(year: i64, length: i64) -> i64 {
    match length {
        10 => year.div_euclid(10),
        _ if year > 0 => (year + length - 1) / length,
        _ => -((length - 1 - (year - 1)) / length),
    }
}

/// `date_trunc(field, value)` of a timestamp, a timestamptz, a date (gives a timestamptz) or an interval. Errors: 22023 (no such
/// field), 0A000 (not for this type), 22008.
pub fn date_trunc(field: &str, value: &Value, ty: &Type) -> Result<Value> {
    match value {
        Value::Null => Ok(Value::Null),
        Value::Date(days) => date_trunc(field, &Value::Timestamp(date_to_timestamp(*days)?), &Type::TimestampTz),
        Value::Timestamp(micros) if is_infinite(*micros) => Ok(value.clone()),
        Value::Timestamp(micros) => {
            let (found, name) = find_unit(field, ty)?;
            trunc_timestamp(found, *micros)
                .ok_or_else(|| unsupported(&name, ty))?
                .map(Value::Timestamp)
        }
        Value::Interval(months, days, micros) => {
            let (found, name) = find_unit(field, &Type::Interval)?;
            let Some((months, days, micros)) = trunc_interval(found, *months, *days, *micros) else {
                let refused = unsupported(&name, &Type::Interval);
                return Err(if found == Field::Week {
                    refused.detail("Months usually have fractional weeks.")
                } else {
                    refused
                });
            };
            Ok(Value::Interval(months, days, micros))
        }
        _ => Err(Error::new(
            "42883",
            format!("function date_trunc(unknown, {ty}) does not exist"),
        )),
    }
}

fn trunc_timestamp(field: Field, micros: i64) -> Option<Result<i64>> {
    let (day, _) = split_timestamp(micros);
    let (year, month, _) = civil_from_days(day);
    let to_unit = |unit: i64| timestamp_in_range(Some(micros - micros.rem_euclid(unit)));
    let to_day = |day: i64| timestamp_in_range(day.checked_mul(MICROS_PER_DAY));
    let to_month = |year: i64, month: i64| to_day(days_from_civil(year, month, 1));
    let to_group = |length: i64| {
        let start = match length {
            10 => year.div_euclid(10) * 10,
            _ => (year - 1).div_euclid(length) * length + 1,
        };
        to_month(start, 1)
    };
    Some(match field {
        Field::Microseconds => Ok(micros),
        Field::Milliseconds => to_unit(1000),
        Field::Second => to_unit(MICROS_PER_SECOND),
        Field::Minute => to_unit(MICROS_PER_MINUTE),
        Field::Hour => to_unit(MICROS_PER_HOUR),
        Field::Day => to_unit(MICROS_PER_DAY),
        Field::Week => to_day(monday(day)),
        Field::Month => to_month(year, month),
        Field::Quarter => to_month(year, (month - 1) / 3 * 3 + 1),
        Field::Year => to_month(year, 1),
        Field::Decade => to_group(10),
        Field::Century => to_group(100),
        Field::Millennium => to_group(1000),
        _ => return None,
    })
}

fn trunc_interval(field: Field, months: i32, days: i32, micros: i64) -> Option<(i32, i32, i64)> {
    let to_unit = |unit: i64| (months, days, micros - micros % unit);
    let to_months = |count: i32| (months - months % count, 0, 0);
    Some(match field {
        Field::Microseconds => (months, days, micros),
        Field::Milliseconds => to_unit(1000),
        Field::Second => to_unit(MICROS_PER_SECOND),
        Field::Minute => to_unit(MICROS_PER_MINUTE),
        Field::Hour => to_unit(MICROS_PER_HOUR),
        Field::Day => (months, days, 0),
        Field::Month => (months, 0, 0),
        Field::Quarter => to_months(3),
        Field::Year => to_months(12),
        Field::Decade => to_months(120),
        Field::Century => to_months(1200),
        Field::Millennium => to_months(12_000),
        _ => return None,
    })
}

/// `extract(field from value)`; `None` is NULL: a field that an infinite value does not have. Errors: 22023 (no such field),
/// 0A000 (not for this type).
pub fn extract(field: &str, value: &Value, ty: &Type) -> Result<Option<Decimal>> {
    let (found, name) = find(field, ty)?;
    let extracted = match value {
        Value::Null => return Ok(None),
        Value::Date(days) if *days == i32::MAX || *days == i32::MIN => return infinite(found, *days > 0, &name, ty),
        Value::Timestamp(micros) if is_infinite(*micros) => return infinite(found, *micros > 0, &name, ty),
        Value::Date(days) => of_day(found, i64::from(*days)),
        Value::Timestamp(micros) => of_timestamp(found, *micros, *ty == Type::TimestampTz),
        Value::Time(micros) => of_time(found, *micros),
        Value::Interval(months, days, micros) => of_interval(found, *months, *days, *micros),
        _ => {
            return Err(Error::new(
                "42883",
                format!("function pg_catalog.extract(unknown, {ty}) does not exist"),
            ));
        }
    };
    extracted.map(Some).ok_or_else(|| unsupported(&name, ty))
}

fn infinite(field: Field, positive: bool, name: &str, ty: &Type) -> Result<Option<Decimal>> {
    let of_time = matches!(
        field,
        Field::Microseconds | Field::Milliseconds | Field::Second | Field::Minute | Field::Hour
    );
    match field {
        Field::Year
        | Field::Decade
        | Field::Century
        | Field::Millennium
        | Field::Julian
        | Field::IsoYear
        | Field::Epoch => Ok(Some(if positive {
            Decimal::INFINITY
        } else {
            Decimal::NEGATIVE_INFINITY
        })),
        Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute if *ty == Type::Date => {
            Err(unsupported(name, ty))
        }
        _ if of_time && *ty == Type::Date => Err(unsupported(name, ty)),
        _ => Ok(None),
    }
}

fn integer(value: i64) -> Option<Decimal> {
    Some(Decimal::from_i64(value))
}

fn of_day(field: Field, day: i64) -> Option<Decimal> {
    let (year, month, day_of_month) = civil_from_days(day);
    integer(match field {
        Field::Day => day_of_month,
        Field::Week => iso_week(day).1,
        Field::Month => month,
        Field::Quarter => (month - 1) / 3 + 1,
        Field::Year => shown_year(year),
        Field::Decade => year_group(year, 10),
        Field::Century => year_group(year, 100),
        Field::Millennium => year_group(year, 1000),
        Field::IsoYear => shown_year(iso_week(day).0),
        Field::IsoDayOfWeek => (day + 3).rem_euclid(7) + 1,
        Field::DayOfWeek => (day + 4).rem_euclid(7),
        Field::DayOfYear => day - days_from_civil(year, 1, 1) + 1,
        Field::Julian => day - DAY_MIN,
        Field::Epoch => day * 86_400,
        _ => return None,
    })
}

fn of_timestamp(field: Field, micros: i64, with_zone: bool) -> Option<Decimal> {
    let (day, time) = split_timestamp(micros);
    match field {
        Field::Epoch => Some(Decimal::from_scaled(micros, 6)),
        Field::Julian => {
            let fraction = Decimal::from_i64(time).div(&Decimal::from_i64(MICROS_PER_DAY)).ok()?;
            Decimal::from_i64(day - DAY_MIN).add(&fraction).ok()
        }
        Field::Timezone | Field::TimezoneHour | Field::TimezoneMinute => {
            if with_zone {
                integer(0)
            } else {
                None
            }
        }
        _ => of_day(field, day).or_else(|| of_time(field, time)),
    }
}

fn of_time(field: Field, micros: i64) -> Option<Decimal> {
    Some(match field {
        Field::Microseconds => Decimal::from_i64(micros % MICROS_PER_MINUTE),
        Field::Milliseconds => Decimal::from_scaled(micros % MICROS_PER_MINUTE, 3),
        Field::Second => Decimal::from_scaled(micros % MICROS_PER_MINUTE, 6),
        Field::Minute => Decimal::from_i64(micros / MICROS_PER_MINUTE % 60),
        Field::Hour => Decimal::from_i64(micros / MICROS_PER_HOUR),
        Field::Epoch => Decimal::from_scaled(micros, 6),
        _ => return None,
    })
}

fn of_interval(field: Field, months: i32, days: i32, micros: i64) -> Option<Decimal> {
    let (years, months) = (i64::from(months / 12), i64::from(months % 12));
    integer(match field {
        Field::Day => i64::from(days),
        Field::Month => months,
        Field::Quarter => months / 3 + 1,
        Field::Year => years,
        Field::Decade => years / 10,
        Field::Century => years / 100,
        Field::Millennium => years / 1000,
        Field::Epoch => {
            // A year counts 365.25 days here, a month 30.
            let days = years * 1461 + (months * 30 + i64::from(days)) * 4;
            let seconds = Decimal::from_i64(days * 21_600);
            return seconds.add(&Decimal::from_scaled(micros, 6)).ok();
        }
        _ => return of_time(field, micros),
    })
}
