//! Civil time to and from counts of days and microseconds, in Postgres' ISO style. The session's time zone is always UTC, so a
//! `timestamptz` differs from a `timestamp` only in what its text says.
//!
//! Timestamps end where microseconds since 1970 leave an `i64`: 294247-01-10, thirty years before Postgres' own limit.

use crate::{Error, Result};

mod arithmetic;
mod field;
mod fields;
mod format;
mod interval;
mod parse;
mod zone;

pub use arithmetic::*;
pub use field::{date_trunc, extract};
pub use format::*;
pub use interval::{
    interval_add, interval_cmp, interval_div, interval_mul, interval_neg, interval_sub, parse_interval, write_interval,
};
pub use parse::{is_volatile_literal, parse_date, parse_time, parse_timestamp, parse_timestamptz, parse_timetz};

/// Months, days, microseconds.
pub type Interval = (i32, i32, i64);

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// The day of 4714-11-24 BC, Julian day 0: nothing is earlier.
const DAY_MIN: i64 = -2_440_588;
/// The day of 5874897-12-31: no date is later.
const DAY_MAX: i64 = 2_145_042_905;
const TIMESTAMP_MIN: i64 = DAY_MIN * MICROS_PER_DAY;

/// The clock, in microseconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX - 1))
}

fn timestamp_range() -> Error {
    Error::new("22008", "timestamp out of range")
}

fn date_range() -> Error {
    Error::new("22008", "date out of range")
}

fn timestamp_in_range(micros: Option<i64>) -> Result<i64> {
    micros
        .filter(|micros| (TIMESTAMP_MIN..i64::MAX).contains(micros))
        .ok_or_else(timestamp_range)
}

fn date_in_range(days: i64) -> Result<i32> {
    if (DAY_MIN..=DAY_MAX).contains(&days) {
        Ok(days as i32)
    } else {
        Err(date_range())
    }
}

fn is_infinite(micros: i64) -> bool {
    micros == i64::MAX || micros == i64::MIN
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date; year 0 is 1 BC.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is the last of its year; an era is 400 years, 146097 days.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year (0 is 1 BC), month and day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day and microseconds of the day.
fn split_timestamp(micros: i64) -> (i64, i64) {
    (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))
}

#[cfg(test)]
mod tests;
