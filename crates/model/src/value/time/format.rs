//! Dates and times to text, digit by digit: they are on the path of every row.

use super::{MICROS_PER_SECOND, civil_from_days, is_infinite, split_timestamp};

fn two_digits(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

fn write_year(year: i64, out: &mut Vec<u8>) {
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        two_digits((shown / 100) as u32, out);
        two_digits((shown % 100) as u32, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
}

/// Appends year, month and day; returns whether the year is before Christ.
fn write_day(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil_from_days(days);
    write_year(year, out);
    out.push(b'-');
    two_digits(month as u32, out);
    out.push(b'-');
    two_digits(day as u32, out);
    year <= 0
}

/// Appends seconds' fraction with its point, without trailing zeros; nothing for 0.
pub(super) fn write_fraction(micros: u32, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    out.push(b'.');
    let (mut rest, mut unit) = (micros, 100_000);
    while rest > 0 {
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
        unit /= 10;
    }
}

/// Appends a date: `2024-01-31`, `0044-03-15 BC`, `infinity`.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            if write_day(i64::from(days), out) {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// Appends a time of day: `12:34:56.789`.
pub fn write_time(micros: i64, out: &mut Vec<u8>) {
    let seconds = (micros / MICROS_PER_SECOND) as u32;
    two_digits(seconds / 3600, out);
    out.push(b':');
    two_digits(seconds / 60 % 60, out);
    out.push(b':');
    two_digits(seconds % 60, out);
    write_fraction((micros % MICROS_PER_SECOND) as u32, out);
}

/// Appends a time of day with its zone, microseconds east of Greenwich: `12:34:56.789+02`, `12:00:00-03:30`.
pub fn write_timetz(micros: i64, offset: i64, out: &mut Vec<u8>) {
    write_time(micros, out);
    out.push(if offset < 0 { b'-' } else { b'+' });
    let seconds = (offset.abs() / MICROS_PER_SECOND) as u32;
    two_digits(seconds / 3600, out);
    for part in [seconds / 60 % 60, seconds % 60] {
        if part > 0 || !seconds.is_multiple_of(60) {
            out.push(b':');
            two_digits(part, out);
        }
    }
}

fn write_moment(micros: i64, separator: u8, zone: &[u8], out: &mut Vec<u8>) {
    if is_infinite(micros) {
        return out.extend_from_slice(if micros > 0 { b"infinity" } else { b"-infinity" });
    }
    let (day, time) = split_timestamp(micros);
    let before_christ = write_day(day, out);
    out.push(separator);
    write_time(time, out);
    out.extend_from_slice(zone);
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// Appends a timestamp: `2024-01-31 12:34:56.789`.
pub fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    write_moment(micros, b' ', b"", out);
}

/// Appends a timestamptz in UTC: `2024-01-31 12:34:56.789+00`.
pub fn write_timestamptz(micros: i64, out: &mut Vec<u8>) {
    write_moment(micros, b' ', b"+00", out);
}

/// Appends a timestamp as JSON has it: `2024-01-31T12:34:56.789`, without quotes.
pub fn write_timestamp_json(micros: i64, out: &mut Vec<u8>) {
    write_moment(micros, b'T', b"", out);
}

/// Appends a timestamptz in UTC as JSON has it: `2024-01-31T12:34:56.789+00:00`, without quotes.
pub fn write_timestamptz_json(micros: i64, out: &mut Vec<u8>) {
    write_moment(micros, b'T', b"+00:00", out);
}
