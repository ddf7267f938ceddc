//! Intervals: months, days and microseconds are kept apart, because a month has no fixed length.

use std::cmp::Ordering;

use super::{Interval, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, format::write_fraction};
use crate::{Error, Result};

const SECONDS_PER_DAY: f64 = 86_400.0;

fn range() -> Error {
    Error::new("22008", "interval out of range")
}

/// Appends an interval as `IntervalStyle` postgres has it: `1 year 2 mons 3 days 04:05:06`.
pub fn write_interval(interval: Interval, out: &mut Vec<u8>) {
    let (months, days, time) = interval;
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        if after_negative && value > 0 {
            out.push(b'+');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        after_negative = value < 0;
    }
    let empty = out.len() == start;
    if !empty && time == 0 {
        return;
    }
    if !empty {
        out.push(b' ');
    }
    if time < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    let micros = time.unsigned_abs();
    let seconds = micros / MICROS_PER_SECOND as u64;
    for (value, separator) in [(seconds / 3600, b':'), (seconds / 60 % 60, b':'), (seconds % 60, 0)] {
        if value < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        if separator != 0 {
            out.push(separator);
        }
    }
    write_fraction((micros % MICROS_PER_SECOND as u64) as u32, out);
}

enum Refusal {
    Syntax,
    OutOfRange,
    /// More months than the format holds.
    TooLong,
}

use Refusal::{OutOfRange, Syntax, TooLong};

/// Reads `1 day 02:03:04`, `1 year 2 mons`, `-3 days`, `3 days ago`, `1-2`, `P1DT2H`. Errors: 22007 (not an interval),
/// 22015 (a field out of range).
pub fn parse_interval(text: &str) -> Result<Interval> {
    let trimmed = crate::value::decimal::trim(text);
    let read = if let Some(designated) = trimmed.strip_prefix('P') {
        read_iso(designated)
    } else {
        read_verbose(trimmed)
    };
    read.map_err(|refusal| match refusal {
        TooLong => range(),
        Syntax => Error::new("22007", format!("invalid input syntax for type interval: \"{text}\"")),
        OutOfRange => Error::new("22015", format!("interval field value out of range: \"{text}\"")),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    fn named(word: &str) -> Option<Unit> {
        Some(match word {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" | "microsecon" => {
                Unit::Microsecond
            }
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => {
                Unit::Millisecond
            }
            "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
            "d" | "day" | "days" => Unit::Day,
            "w" | "week" | "weeks" => Unit::Week,
            "mon" | "mons" | "month" | "months" => Unit::Month,
            "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
            "dec" | "decs" | "decade" | "decades" => Unit::Decade,
            "c" | "cent" | "century" | "centuries" => Unit::Century,
            "mil" | "mils" | "millennium" | "millennia" => Unit::Millennium,
            _ => return None,
        })
    }
}

/// Fields summed up in width enough that only the end needs a check.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds `whole + fraction` units; fractions of months spill into days, fractions of days into time.
    fn add(&mut self, unit: Unit, whole: i64, fraction: f64) {
        let months = |n: i128| n * i128::from(whole);
        let micros = |n: i64| i128::from(n) * i128::from(whole);
        match unit {
            Unit::Microsecond => self.micros += i128::from(whole) + fraction.round_ties_even() as i128,
            Unit::Millisecond => self.micros += ((whole as f64 + fraction) * 1000.0).round_ties_even() as i128,
            Unit::Second => self.add_seconds(micros(MICROS_PER_SECOND), fraction, 1.0),
            Unit::Minute => self.add_seconds(micros(MICROS_PER_MINUTE), fraction, 60.0),
            Unit::Hour => self.add_seconds(micros(MICROS_PER_HOUR), fraction, 3600.0),
            Unit::Day => {
                self.days += i128::from(whole);
                self.add_seconds(0, fraction, SECONDS_PER_DAY);
            }
            Unit::Week => {
                self.days += i128::from(whole) * 7;
                self.add_days(fraction * 7.0);
            }
            Unit::Month => {
                self.months += i128::from(whole);
                self.add_days(fraction * 30.0);
            }
            Unit::Year => self.months += months(12) + (fraction * 12.0).round_ties_even() as i128,
            Unit::Decade => self.months += months(120) + (fraction * 120.0).round_ties_even() as i128,
            Unit::Century => self.months += months(1200) + (fraction * 1200.0).round_ties_even() as i128,
            Unit::Millennium => self.months += months(12_000) + (fraction * 12_000.0).round_ties_even() as i128,
        }
    }

    fn add_days(&mut self, days: f64) {
        self.days += days as i128;
        self.add_seconds(0, days.fract(), SECONDS_PER_DAY);
    }

    fn add_seconds(&mut self, micros: i128, fraction: f64, seconds: f64) {
        let seconds = fraction * seconds;
        self.micros += micros
            + seconds as i128 * i128::from(MICROS_PER_SECOND)
            + (seconds.fract() * 1e6).round_ties_even() as i128;
    }

    fn finish(self) -> Result<Interval, Refusal> {
        match (
            i32::try_from(self.months),
            i32::try_from(self.days),
            i64::try_from(self.micros),
        ) {
            (Ok(months), Ok(days), Ok(micros)) => Ok((months, days, micros)),
            (Err(_), ..) => Err(TooLong),
            _ => Err(OutOfRange),
        }
    }
}

/// A number such as `-1.5`: whole part and fraction, both signed.
fn read_number(text: &str) -> Result<(i64, f64), Refusal> {
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) || whole.len() + fraction.len() == 0 {
        return Err(Syntax);
    }
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse::<i64>().map_err(|_| OutOfRange)?
    };
    let fraction = if fraction.is_empty() {
        0.0
    } else {
        format!("0.{fraction}").parse::<f64>().map_err(|_| Syntax)?
    };
    Ok(if negative {
        (-whole, -fraction)
    } else {
        (whole, fraction)
    })
}

/// `HH:MM`, `HH:MM:SS.fraction` or `MM:SS.fraction`, with a sign for all of it.
fn read_clock(text: &str) -> Result<i128, Refusal> {
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut parts = Vec::with_capacity(3);
    for part in whole.split(':') {
        if !part.bytes().all(|b| b.is_ascii_digit()) || (part.is_empty() && parts.len() < 2) {
            return Err(Syntax);
        }
        parts.push(if part.is_empty() {
            0
        } else {
            part.parse::<i64>().map_err(|_| OutOfRange)?
        });
    }
    let (_, fraction) = read_number(&format!("0.{fraction}"))?;
    let (hours, minutes, seconds) = match parts[..] {
        [minutes, seconds] if digits.contains('.') => (0, minutes, seconds),
        [hours, minutes] => (hours, minutes, 0),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return Err(Syntax),
    };
    if minutes > 59 || seconds > 60 || hours > i64::MAX / MICROS_PER_HOUR {
        return Err(OutOfRange);
    }
    let micros = (i128::from(hours) * 3600 + i128::from(minutes * 60 + seconds)) * i128::from(MICROS_PER_SECOND)
        + (fraction * 1e6).round_ties_even() as i128;
    Ok(if negative { -micros } else { micros })
}

/// What `HH:MM:SS.fraction` says, so that nothing else may say it again.
const CLOCK: [Unit; 5] = [
    Unit::Hour,
    Unit::Minute,
    Unit::Second,
    Unit::Millisecond,
    Unit::Microsecond,
];

fn read_verbose(text: &str) -> Result<Interval, Refusal> {
    let tokens = tokens(text)?;
    let mut sum = Sum::default();
    let mut seen: Vec<Unit> = Vec::new();
    let mut claim = |units: &[Unit]| {
        let fresh = units.iter().all(|unit| !seen.contains(unit));
        seen.extend_from_slice(units);
        if fresh { Ok(()) } else { Err(Syntax) }
    };
    let mut ago = false;
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let next = tokens.get(index + 1);
        index += 1;
        if ago {
            return Err(Syntax);
        }
        if token.starts_with(|c: char| c.is_ascii_alphabetic()) {
            match (token.eq_ignore_ascii_case("ago"), index > 1) {
                (true, true) => ago = true,
                _ => return Err(Syntax),
            }
        } else if token.contains(':') {
            claim(&CLOCK)?;
            sum.micros += read_clock(token)?;
        } else if let Some((years, months)) = token[1..]
            .split_once('-')
            .map(|(_, months)| (&token[..token.len() - months.len() - 1], months))
        {
            claim(&[Unit::Year, Unit::Month])?;
            let (years_count, _) = read_number(years)?;
            let (months, _) = read_number(months)?;
            if months > 11 {
                return Err(OutOfRange);
            }
            sum.add(Unit::Year, years_count, 0.0);
            sum.add(Unit::Month, if years.starts_with('-') { -months } else { months }, 0.0);
        } else {
            let (whole, fraction) = read_number(token)?;
            let unit = match next {
                Some(word) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    let word = word.to_ascii_lowercase();
                    match Unit::named(&word) {
                        Some(unit) => {
                            index += 1;
                            unit
                        }
                        None if word == "ago" => Unit::Second,
                        None => return Err(Syntax),
                    }
                }
                Some(clock) if clock.contains(':') => Unit::Day,
                Some(_) => return Err(Syntax),
                None => Unit::Second,
            };
            if unit == Unit::Second && fraction != 0.0 {
                claim(&CLOCK[2..])?;
            } else {
                claim(&[unit])?;
            }
            sum.add(unit, whole, fraction);
        }
    }
    if tokens.is_empty() {
        return Err(Syntax);
    }
    if ago {
        sum = Sum {
            months: -sum.months,
            days: -sum.days,
            micros: -sum.micros,
        };
    }
    sum.finish()
}

/// Words, numbers (with sign, fraction, `:` and `-` inside), in order; `@` and commas between them are noise.
fn tokens(text: &str) -> Result<Vec<&str>, Refusal> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | b'@' | b',' => {
                at += 1;
                continue;
            }
            b'a'..=b'z' | b'A'..=b'Z' => {
                while bytes.get(at).is_some_and(u8::is_ascii_alphabetic) {
                    at += 1;
                }
            }
            b'+' | b'-' | b'.' | b'0'..=b'9' => {
                at += 1;
                // A sign may stand apart from its number.
                if matches!(bytes[start], b'+' | b'-') && bytes.get(at) == Some(&b' ') {
                    return Err(Syntax);
                }
                while bytes
                    .get(at)
                    .is_some_and(|b| b.is_ascii_digit() || matches!(b, b'.' | b':' | b'-'))
                {
                    at += 1;
                }
                if at == start + 1 && !bytes[start].is_ascii_digit() {
                    return Err(Syntax);
                }
            }
            _ => return Err(Syntax),
        }
        tokens.push(&text[start..at]);
    }
    Ok(tokens)
}

/// ISO 8601 with designators, after its `P`: `1Y2M3W4DT5H6M7.5S`.
fn read_iso(text: &str) -> Result<Interval, Refusal> {
    let mut sum = Sum::default();
    let mut rest = text;
    let mut in_time = false;
    if rest.is_empty() {
        return Err(Syntax);
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            if in_time {
                return Err(Syntax);
            }
            in_time = true;
            rest = time;
            continue;
        }
        let length = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.'))
            .count();
        let (whole, fraction) = read_number(&rest[..length])?;
        let unit = match (rest.as_bytes().get(length), in_time) {
            (Some(b'Y'), false) => Unit::Year,
            (Some(b'M'), false) => Unit::Month,
            (Some(b'W'), false) => Unit::Week,
            (Some(b'D'), false) => Unit::Day,
            (Some(b'H'), true) => Unit::Hour,
            (Some(b'M'), true) => Unit::Minute,
            (Some(b'S'), true) => Unit::Second,
            _ => return Err(Syntax),
        };
        sum.add(unit, whole, fraction);
        rest = &rest[length + 1..];
    }
    sum.finish()
}

/// Order of two intervals as SQL has it: a month counts 30 days, a day 24 hours.
pub fn interval_cmp(a: Interval, b: Interval) -> Ordering {
    let span = |(months, days, micros): Interval| {
        (i128::from(months) * 30 + i128::from(days)) * i128::from(MICROS_PER_DAY) + i128::from(micros)
    };
    span(a).cmp(&span(b))
}

/// Interval + interval. Error: 22008.
pub fn interval_add(a: Interval, b: Interval) -> Result<Interval> {
    match (a.0.checked_add(b.0), a.1.checked_add(b.1), a.2.checked_add(b.2)) {
        (Some(months), Some(days), Some(micros)) => Ok((months, days, micros)),
        _ => Err(range()),
    }
}

/// Interval − interval. Error: 22008.
pub fn interval_sub(a: Interval, b: Interval) -> Result<Interval> {
    match (a.0.checked_sub(b.0), a.1.checked_sub(b.1), a.2.checked_sub(b.2)) {
        (Some(months), Some(days), Some(micros)) => Ok((months, days, micros)),
        _ => Err(range()),
    }
}

/// −interval. Error: 22008.
pub fn interval_neg(a: Interval) -> Result<Interval> {
    interval_sub((0, 0, 0), a)
}

/// Interval × number; fractions of months spill into days, those of days into time. Error: 22008.
pub fn interval_mul(a: Interval, factor: f64) -> Result<Interval> {
    scaled(a, |part| part * factor)
}

/// Interval ÷ number. Errors: 22012, 22008.
pub fn interval_div(a: Interval, divisor: f64) -> Result<Interval> {
    if divisor == 0.0 {
        return Err(Error::new("22012", "division by zero"));
    }
    scaled(a, |part| part / divisor)
}

fn scaled(a: Interval, apply: impl Fn(f64) -> f64) -> Result<Interval> {
    let to_micros = |seconds: f64| (seconds * 1e6).round_ties_even() / 1e6;
    let whole = |value: f64| {
        let inside = !value.is_nan() && value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX);
        if inside { Ok(value as i32) } else { Err(range()) }
    };
    let (exact_months, exact_days) = (apply(f64::from(a.0)), apply(f64::from(a.1)));
    let (months, days) = (whole(exact_months)?, whole(exact_days)?);
    let spilled_days = to_micros((exact_months - f64::from(months)) * 30.0);
    let mut seconds = to_micros((exact_days - f64::from(days) + spilled_days - spilled_days.trunc()) * SECONDS_PER_DAY);
    let mut days = i64::from(days) + spilled_days as i64;
    if seconds.abs() >= SECONDS_PER_DAY {
        let whole_days = (seconds / SECONDS_PER_DAY).trunc();
        days += whole_days as i64;
        seconds -= whole_days * SECONDS_PER_DAY;
    }
    let micros = (apply(a.2 as f64) + seconds * 1e6).round_ties_even();
    if micros.is_nan() || micros.abs() >= i64::MAX as f64 {
        return Err(range());
    }
    Ok((months, i32::try_from(days).map_err(|_| range())?, micros as i64))
}
