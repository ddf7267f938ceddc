//! Arithmetic on dates and timestamps. Infinite ones stay what they are.

use super::{
    Interval, MICROS_PER_DAY, civil_from_days, date_in_range, days_from_civil, days_in_month, is_infinite,
    split_timestamp, timestamp_in_range, timestamp_range,
};
use crate::{Error, Result};

/// A date's midnight. Error: 22008.
pub fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        _ => timestamp_in_range(i64::from(days).checked_mul(MICROS_PER_DAY))
            .map_err(|_| Error::new("22008", "date out of range for timestamp")),
    }
}

/// The day a timestamp falls on.
pub fn timestamp_to_date(micros: i64) -> i32 {
    match micros {
        i64::MAX => i32::MAX,
        i64::MIN => i32::MIN,
        // Every timestamp's day is far inside the range of dates.
        _ => split_timestamp(micros).0 as i32,
    }
}

/// Timestamp + interval: months by calendar (the day clamped to the month's last), then days, then time. Error: 22008.
pub fn timestamp_add(micros: i64, interval: Interval) -> Result<i64> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    let (months, days, time) = interval;
    let (mut day, time_of_day) = split_timestamp(micros);
    if months != 0 {
        let (year, month, day_of_month) = civil_from_days(day);
        let count = year * 12 + month - 1 + i64::from(months);
        let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
        day = days_from_civil(year, month, day_of_month.min(days_in_month(year, month)));
    }
    let start = (day + i64::from(days))
        .checked_mul(MICROS_PER_DAY)
        .and_then(|start| start.checked_add(time_of_day));
    timestamp_in_range(start.and_then(|start| start.checked_add(time)))
}

/// Timestamp − interval. Error: 22008.
pub fn timestamp_sub(micros: i64, interval: Interval) -> Result<i64> {
    let (months, days, time) = interval;
    match (months.checked_neg(), days.checked_neg(), time.checked_neg()) {
        (Some(months), Some(days), Some(time)) => timestamp_add(micros, (months, days, time)),
        _ => Err(timestamp_range()),
    }
}

/// Timestamp − timestamp: days and time, no months. Error: 22008.
pub fn timestamp_diff(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(Error::new("22008", "cannot subtract infinite timestamps"));
    }
    let difference = a
        .checked_sub(b)
        .ok_or_else(|| Error::new("22008", "interval out of range"))?;
    Ok((0, (difference / MICROS_PER_DAY) as i32, difference % MICROS_PER_DAY))
}

/// Time + interval, around midnight.
pub fn time_add(micros: i64, interval: Interval) -> i64 {
    (micros + interval.2 % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY)
}

/// Date + days. Error: 22008.
pub fn date_add(days: i32, n: i64) -> Result<i32> {
    if days == i32::MAX || days == i32::MIN {
        return Ok(days);
    }
    date_in_range(i64::from(days).saturating_add(n))
}

/// Date − date, in days. Error: 22008.
pub fn date_diff(a: i32, b: i32) -> Result<i32> {
    if [a, b].iter().any(|days| *days == i32::MAX || *days == i32::MIN) {
        return Err(Error::new("22008", "cannot subtract infinite dates"));
    }
    a.checked_sub(b).ok_or_else(super::date_range)
}

/// `age(a, b)`: years, months, days and time by calendar. Error: 22008.
pub fn age(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(timestamp_range());
    }
    let negative = a < b;
    let ((day, time), (other_day, other_time)) = (split_timestamp(a.max(b)), split_timestamp(a.min(b)));
    let (year, month, day_of_month) = civil_from_days(day);
    let (other_year, other_month, other_day_of_month) = civil_from_days(other_day);
    let mut micros = time - other_time;
    let mut days = day_of_month - other_day_of_month;
    let mut months = (year - other_year) * 12 + month - other_month;
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    if days < 0 {
        // Borrow the length of the month that the earlier moment lies in.
        days += days_in_month(other_year, other_month);
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    Ok(((sign * months) as i32, (sign * days) as i32, sign * micros))
}
