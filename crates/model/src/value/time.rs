//! Civil time to and from counts of days and microseconds, in Postgres' ISO style. The session's time zone is always UTC.

use crate::{Decimal, Result, Type, Value};

/// Months, days, microseconds.
pub type Interval = (i32, i32, i64);

/// Days since 1970-01-01. Errors: 22007, 22008.
pub fn parse_date(text: &str) -> Result<i32> {
    unimplemented!("{text}")
}
/// Microseconds since midnight.
pub fn parse_time(text: &str) -> Result<i64> {
    unimplemented!("{text}")
}
/// Microseconds since 1970 as if UTC; a zone in the text is ignored, as Postgres does.
pub fn parse_timestamp(text: &str) -> Result<i64> {
    unimplemented!("{text}")
}
/// Microseconds since 1970 in UTC.
pub fn parse_timestamptz(text: &str) -> Result<i64> {
    unimplemented!("{text}")
}
/// An interval.
pub fn parse_interval(text: &str) -> Result<Interval> {
    unimplemented!("{text}")
}
/// Whether `text` as a literal of `ty` means another moment each time it is read (`now`, `today` …).
pub fn is_volatile_literal(text: &str, ty: &Type) -> bool {
    unimplemented!("{text}{ty}")
}
/// `2024-01-31`
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    unimplemented!("{days}{out:?}")
}
/// `12:34:56.789`
pub fn write_time(micros: i64, out: &mut Vec<u8>) {
    unimplemented!("{micros}{out:?}")
}
/// `2024-01-31 12:34:56.789`
pub fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    unimplemented!("{micros}{out:?}")
}
/// `2024-01-31 12:34:56.789+00`
pub fn write_timestamptz(micros: i64, out: &mut Vec<u8>) {
    unimplemented!("{micros}{out:?}")
}
/// `2024-01-31T12:34:56.789`, without quotes.
pub fn write_timestamp_json(micros: i64, out: &mut Vec<u8>) {
    unimplemented!("{micros}{out:?}")
}
/// `2024-01-31T12:34:56.789+00:00`, without quotes.
pub fn write_timestamptz_json(micros: i64, out: &mut Vec<u8>) {
    unimplemented!("{micros}{out:?}")
}
/// `1 year 2 mons 3 days 04:05:06`
pub fn write_interval(interval: Interval, out: &mut Vec<u8>) {
    unimplemented!("{interval:?}{out:?}")
}
/// The clock, in microseconds since 1970.
pub fn now() -> i64 {
    unimplemented!()
}
/// A date's midnight. Error: 22008.
pub fn date_to_timestamp(days: i32) -> Result<i64> {
    unimplemented!("{days}")
}
/// The day a timestamp falls on. Error: 22008.
pub fn timestamp_to_date(micros: i64) -> Result<i32> {
    unimplemented!("{micros}")
}
/// Timestamp + interval: months by calendar (the day clamped), then days, then time. Error: 22008.
pub fn timestamp_add(micros: i64, interval: Interval) -> Result<i64> {
    unimplemented!("{micros}{interval:?}")
}
/// Timestamp − interval. Error: 22008.
pub fn timestamp_sub(micros: i64, interval: Interval) -> Result<i64> {
    unimplemented!("{micros}{interval:?}")
}
/// Timestamp − timestamp: days and time, no months. Error: 22008.
pub fn timestamp_diff(a: i64, b: i64) -> Result<Interval> {
    unimplemented!("{a}{b}")
}
/// Time ± interval wraps at midnight.
pub fn time_add(micros: i64, interval: Interval) -> i64 {
    unimplemented!("{micros}{interval:?}")
}
/// Date + days. Error: 22008.
pub fn date_add(days: i32, n: i64) -> Result<i32> {
    unimplemented!("{days}{n}")
}
/// `age(a, b)`: years, months and days by calendar. Error: 22008.
pub fn age(a: i64, b: i64) -> Result<Interval> {
    unimplemented!("{a}{b}")
}
/// Order of two intervals as SQL has it (a month is 30 days, a day 24 hours).
pub fn interval_cmp(a: Interval, b: Interval) -> std::cmp::Ordering {
    a.cmp(&b)
}
/// Interval + interval. Error: 22008.
pub fn interval_add(a: Interval, b: Interval) -> Result<Interval> {
    unimplemented!("{a:?}{b:?}")
}
/// −interval. Error: 22008.
pub fn interval_neg(a: Interval) -> Result<Interval> {
    unimplemented!("{a:?}")
}
/// Interval × number. Error: 22008.
pub fn interval_mul(a: Interval, factor: f64) -> Result<Interval> {
    unimplemented!("{a:?}{factor}")
}
/// `date_trunc(field, value)` of a timestamp, timestamptz, date (gives timestamptz) or interval. Errors: 22023, 0A000.
pub fn date_trunc(field: &str, value: &Value, ty: &Type) -> Result<Value> {
    unimplemented!("{field}{value:?}{ty}")
}
/// `extract(field from value)`; `None` is NULL (a field that an infinite value does not have). Errors: 22023, 0A000.
pub fn extract(field: &str, value: &Value, ty: &Type) -> Result<Option<Decimal>> {
    unimplemented!("{field}{value:?}{ty}")
}
