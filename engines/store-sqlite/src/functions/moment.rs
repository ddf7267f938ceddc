//! Dates, times and intervals. The session's time zone is UTC, so a `timestamptz` and a `timestamp` are the same number.

use super::number::{decimal, wide};
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

/// What a moment shows.
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Days since 1970-01-01; absent of intervals.
    days: Option<i64>,
    zone: bool,
    interval: bool,
}

/// Year, month and day of a day since 1970-01-01 (proleptic Gregorian calendar).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (
        yoe + era * 400 + i64::from(month <= 2),
        month,
        doy - (153 * mp + 2) / 5 + 1,
    )
}

/// The inverse of [`civil`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

impl Fields {
    fn of_timestamp(micros: i64, zone: bool) -> Fields {
        let days = micros.div_euclid(DAY_US);
        let (year, month, day) = civil(days);
        Fields {
            year,
            month,
            day,
            days: Some(days),
            zone,
            ..Fields::of_time(micros.rem_euclid(DAY_US))
        }
    }

    fn of_time(micros: i64) -> Fields {
        let seconds = micros / 1_000_000;
        Fields {
            year: 0,
            month: 0,
            day: 0,
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: micros % 1_000_000,
            days: None,
            zone: false,
            interval: false,
        }
    }

    fn of_interval(months: i32, days: i32, micros: i64) -> Fields {
        Fields {
            year: i64::from(months / 12),
            month: i64::from(months % 12),
            day: i64::from(days),
            interval: true,
            ..Fields::of_time(micros)
        }
    }

    /// 1 is Monday.
    fn iso_weekday(&self) -> i64 {
        (self.days.unwrap_or(0) + 3).rem_euclid(7) + 1
    }

    fn day_of_year(&self) -> i64 {
        self.days.map_or(0, |days| days - days_of(self.year, 1, 1) + 1)
    }

    /// ISO 8601 year and week.
    fn iso_week(&self) -> (i64, i64) {
        let Some(days) = self.days else { return (0, 0) };
        let thursday = days + 4 - self.iso_weekday();
        let (year, ..) = civil(thursday);
        (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// The patterns of `to_char`, longer ones before those that they begin with.
const PATTERNS: [&str; 48] = [
    "YYYY", "Y,YYY", "YYY", "YY", "Y", "IYYY", "IYY", "IY", "IDDD", "ID", "IW", "I", "MONTH", "Month", "month", "MON",
    "Mon", "mon", "MM", "MI", "MS", "DDD", "DD", "DAY", "Day", "day", "DY", "Dy", "dy", "D", "HH24", "HH12", "HH",
    "SSSS", "SS", "US", "AM", "PM", "am", "pm", "A.M.", "P.M.", "WW", "W", "Q", "CC", "J", "OF",
];

fn to_char(fields: &Fields, format: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = format;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            out.push_str(&quoted[..end]);
            rest = quoted.get(end + 1..).unwrap_or("");
            continue;
        }
        if let Some(escaped) = rest.strip_prefix('\\') {
            let mut chars = escaped.chars();
            out.extend(chars.next());
            rest = chars.as_str();
            continue;
        }
        let (fill, after) = match rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            Some(after) => (false, after),
            None => (true, rest),
        };
        if after.starts_with("TZH") || after.starts_with("TZM") {
            out.push_str(if after.starts_with("TZH") { "+00" } else { "00" });
            rest = &after[3..];
            continue;
        }
        if after.starts_with("TZ") || after.starts_with("tz") {
            if fields.zone {
                out.push_str(if after.starts_with('T') { "UTC" } else { "utc" });
            }
            rest = &after[2..];
            continue;
        }
        let upper = |p: &&&str| {
            after.get(..p.len()).is_some_and(|a| {
                a == **p || (!p.starts_with(char::is_lowercase) && sensitive(p).is_none() && a.eq_ignore_ascii_case(p))
            })
        };
        let Some(pattern) = PATTERNS.iter().find(|p| upper(p)) else {
            if !fill {
                rest = after;
                continue;
            }
            let mut chars = rest.chars();
            out.extend(chars.next());
            rest = chars.as_str();
            continue;
        };
        rest = &after[pattern.len()..];
        let (text, number) = field(fields, pattern, fill)?;
        out.push_str(&text);
        if number && let Some(suffix) = rest.get(..2).filter(|s| *s == "TH" || *s == "th") {
            let ordinal = ordinal(&text);
            out.push_str(&if suffix == "TH" {
                ordinal.to_uppercase()
            } else {
                ordinal.to_owned()
            });
            rest = &rest[2..];
        }
    }
    Ok(out)
}

/// Patterns whose letters' case is the result's.
fn sensitive(pattern: &str) -> Option<()> {
    matches!(
        pattern,
        "MONTH"
            | "Month"
            | "month"
            | "MON"
            | "Mon"
            | "mon"
            | "DAY"
            | "Day"
            | "day"
            | "DY"
            | "Dy"
            | "dy"
            | "AM"
            | "PM"
            | "am"
            | "pm"
            | "A.M."
            | "P.M."
    )
    .then_some(())
}

fn ordinal(number: &str) -> &'static str {
    let digits = number.trim().as_bytes();
    let last = digits.last().copied().unwrap_or(b'0');
    let teen = digits.len() > 1 && digits[digits.len() - 2] == b'1';
    match last {
        b'1' if !teen => "st",
        b'2' if !teen => "nd",
        b'3' if !teen => "rd",
        _ => "th",
    }
}

/// One pattern's text, and whether it is a number.
fn field(f: &Fields, pattern: &str, fill: bool) -> Result<(String, bool)> {
    let number = |value: i64, width: usize| {
        let text = if fill {
            if value < 0 {
                format!("-{:0>width$}", -value)
            } else {
                format!("{value:0>width$}")
            }
        } else {
            value.to_string()
        };
        Ok((text, true))
    };
    let name = |name: &str, like: &str, width: usize| {
        let name = if like.chars().all(|c| c.is_ascii_uppercase()) {
            name.to_uppercase()
        } else if like.starts_with(char::is_uppercase) {
            name.to_owned()
        } else {
            name.to_lowercase()
        };
        Ok((if fill { format!("{name:<width$}") } else { name }, false))
    };
    let no_date = || {
        Error::new("22007", "invalid format specification for an interval value")
            .hint("Intervals are not tied to specific calendar dates.")
    };
    if f.interval
        && matches!(
            pattern,
            "MONTH"
                | "Month"
                | "month"
                | "MON"
                | "Mon"
                | "mon"
                | "DAY"
                | "Day"
                | "day"
                | "DY"
                | "Dy"
                | "dy"
                | "D"
                | "ID"
                | "TZ"
        )
    {
        return Err(no_date());
    }
    let shown_year = if f.year <= 0 && !f.interval { 1 - f.year } else { f.year };
    let twelve = if f.hour % 12 == 0 { 12 } else { f.hour % 12 };
    match pattern {
        "YYYY" => number(shown_year, 4),
        "Y,YYY" => Ok((format!("{},{:03}", shown_year / 1000, shown_year % 1000), true)),
        "YYY" => number(shown_year % 1000, 3),
        "YY" => number(shown_year % 100, 2),
        "Y" => number(shown_year % 10, 1),
        "IYYY" => number(f.iso_week().0, 4),
        "IYY" => number(f.iso_week().0 % 1000, 3),
        "IY" => number(f.iso_week().0 % 100, 2),
        "I" => number(f.iso_week().0 % 10, 1),
        "IW" => number(f.iso_week().1, 2),
        "ID" => number(f.iso_weekday(), 1),
        "IDDD" => number((f.iso_week().1 - 1) * 7 + f.iso_weekday(), 3),
        "MONTH" | "Month" | "month" => name(MONTHS[(f.month - 1).clamp(0, 11) as usize], pattern, 9),
        "MON" | "Mon" | "mon" => name(&MONTHS[(f.month - 1).clamp(0, 11) as usize][..3], pattern, 3),
        "MM" => number(f.month, 2),
        "MI" => number(f.minute, 2),
        "MS" => number(f.micros / 1000, 3),
        "US" => number(f.micros, 6),
        "DDD" => number(f.day_of_year(), 3),
        "DD" => number(f.day, 2),
        "D" => number(f.iso_weekday() % 7 + 1, 1),
        "DAY" | "Day" | "day" => name(WEEKDAYS[(f.iso_weekday() - 1) as usize], pattern, 9),
        "DY" | "Dy" | "dy" => name(&WEEKDAYS[(f.iso_weekday() - 1) as usize][..3], pattern, 3),
        "HH24" => number(f.hour, 2),
        "HH12" | "HH" => number(twelve, 2),
        "SS" => number(f.second, 2),
        "SSSS" => number(f.hour * 3600 + f.minute * 60 + f.second, 1),
        "AM" | "PM" => Ok((if f.hour % 24 >= 12 { "PM" } else { "AM" }.to_owned(), false)),
        "am" | "pm" => Ok((if f.hour % 24 >= 12 { "pm" } else { "am" }.to_owned(), false)),
        "A.M." | "P.M." => Ok((if f.hour % 24 >= 12 { "P.M." } else { "A.M." }.to_owned(), false)),
        "WW" => number((f.day_of_year() - 1) / 7 + 1, 2),
        "W" => number((f.day - 1) / 7 + 1, 1),
        "Q" => number((f.month - 1) / 3 + 1, 1),
        "CC" => number((shown_year + 99) / 100, 2),
        "J" => number(f.days.unwrap_or(0) + 2_440_588, 1),
        "OF" => Ok(("+00".to_owned(), false)),
        other => Err(Error::unsupported(format!(
            "the to_char pattern {other} is not supported by this engine"
        ))),
    }
}

/// `to_char(number, format)`
fn number_to_char(number: &Decimal, format: &str) -> Result<String> {
    let (mut fill, mut before, mut after) = (true, Vec::new(), Vec::new());
    let (mut point, mut leading_sign, mut trailing_sign, mut brackets) = (false, false, false, false);
    let (mut minus_after, mut prefix, mut suffix) = (false, String::new(), String::new());
    let mut ordinal_case: Option<bool> = None;
    let mut rest = format;
    while let Some(ch) = rest.chars().next() {
        let upper = rest.get(..2).map(str::to_ascii_uppercase);
        let mut taken = ch.len_utf8();
        match (ch.to_ascii_uppercase(), upper.as_deref()) {
            (_, Some("FM")) => {
                fill = false;
                taken = 2;
            }
            (_, Some("MI")) => {
                minus_after = true;
                taken = 2;
            }
            (_, Some("PR")) => {
                brackets = true;
                taken = 2;
            }
            (_, Some("TH")) => {
                ordinal_case = Some(rest.starts_with('T'));
                taken = 2;
            }
            (_, Some("PL" | "SG" | "RN")) | ('V' | 'E', _) => {
                return Err(Error::unsupported(format!(
                    "the to_char pattern {} is not supported by this engine",
                    &rest[..2.min(rest.len())]
                )));
            }
            ('9' | '0' | ',' | 'G', _) if !point => before.push(if ch == 'G' || ch == 'g' { ',' } else { ch }),
            ('9' | '0', _) => after.push(ch),
            ('.' | 'D', _) if !point => point = true,
            ('S', _) => {
                if before.is_empty() && after.is_empty() {
                    leading_sign = true;
                } else {
                    trailing_sign = true;
                }
            }
            ('"', _) => {
                let inner = &rest[1..];
                let end = inner.find('"').unwrap_or(inner.len());
                if before.is_empty() && !point {
                    prefix.push_str(&inner[..end])
                } else {
                    suffix.push_str(&inner[..end])
                }
                taken = (end + 2).min(rest.len());
            }
            _ if before.is_empty() && !point => prefix.push(if ch == 'L' { ' ' } else { ch }),
            _ => suffix.push(ch),
        }
        rest = &rest[taken..];
    }
    if !number.is_finite() {
        return Ok("#".repeat(before.len() + after.len() + 1));
    }
    let rounded = number.round(after.len() as i32);
    let negative = rounded.cmp_value(&Decimal::ZERO).is_lt();
    let text = rounded.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = if whole == "0" && !after.is_empty() { "" } else { whole };
    let places = before.iter().filter(|c| **c != ',').count();
    let mut digits = String::new();
    if whole.len() > places {
        digits = before.iter().map(|c| if *c == ',' { ',' } else { '#' }).collect();
        if point {
            digits.push('.');
            digits.extend(after.iter().map(|_| '#'));
        }
    } else {
        let mut place = 0;
        let mut shown = false;
        let mut padded = false;
        for pattern in &before {
            if *pattern == ',' {
                digits.push_str(match (shown, fill) {
                    (true, _) => ",",
                    (false, true) => " ",
                    (false, false) => "",
                });
                continue;
            }
            padded |= *pattern == '0';
            if place + whole.len() >= places {
                digits.push_str(&whole[place + whole.len() - places..][..1]);
                shown = true;
            } else if padded {
                digits.push('0');
                shown = true;
            } else if fill {
                digits.push(' ');
            }
            place += 1;
        }
        if point {
            digits.push('.');
            let mut kept = fraction.to_owned();
            if !fill {
                let needed = after.iter().rposition(|c| *c == '0').map_or(0, |at| at + 1);
                while kept.len() > needed && kept.ends_with('0') {
                    kept.pop();
                }
            }
            digits.push_str(&kept);
        }
    }
    let blanks = digits.len() - digits.trim_start().len();
    let (space, body) = digits.split_at(blanks);
    let mut body = body.to_owned();
    if let Some(upper) = ordinal_case
        && !negative
        && !point
    {
        body.push_str(&if upper {
            ordinal(whole).to_uppercase()
        } else {
            ordinal(whole).to_owned()
        });
    }
    let sign = match (negative, leading_sign || trailing_sign) {
        (true, _) => "-",
        (false, true) => "+",
        (false, false) => "",
    };
    let signed = if brackets {
        if negative {
            format!("{space}<{body}>")
        } else if fill {
            format!("{space} {body} ")
        } else {
            body
        }
    } else if trailing_sign {
        format!("{space}{body}{sign}")
    } else if minus_after {
        format!(
            "{space}{body}{}",
            if negative {
                "-"
            } else if fill {
                " "
            } else {
                ""
            }
        )
    } else if sign.is_empty() && fill {
        format!("{space} {body}")
    } else {
        format!("{space}{sign}{body}")
    };
    // A literal before the number stands before its blanks.
    Ok(format!("{prefix}{signed}{suffix}"))
}

/// `to_timestamp(text, format)`
fn parse_by_format(text: &str, format: &str) -> Result<i64> {
    let (mut year, mut month, mut day, mut hour, mut minute, mut second, mut micros) =
        (1i64, 1i64, 1i64, 0i64, 0i64, 0i64, 0i64);
    let (mut afternoon, mut day_of_year) = (None, None);
    let mut input = text.trim_start();
    let mut rest = format;
    while !rest.is_empty() {
        let after = rest.strip_prefix("FM").unwrap_or(rest);
        let Some(pattern) = PATTERNS
            .iter()
            .find(|p| after.get(..p.len()).is_some_and(|a| a.eq_ignore_ascii_case(p)))
        else {
            let mut chars = rest.chars();
            let separator = chars.next().unwrap_or(' ');
            rest = chars.as_str();
            if !separator.is_alphanumeric() {
                input = input.trim_start();
                if input.starts_with(|c: char| !c.is_alphanumeric() && c != '-' && c != '+')
                    || input.starts_with(separator)
                {
                    input = &input[input.chars().next().map_or(0, char::len_utf8)..];
                }
            } else if input.starts_with(separator) {
                input = &input[separator.len_utf8()..];
            }
            continue;
        };
        rest = &after[pattern.len()..];
        input = input.trim_start();
        let upper = pattern.to_ascii_uppercase();
        let bad = |what: &str| {
            Error::new(
                "22007",
                format!(
                    "invalid value \"{}\" for \"{what}\"",
                    input.chars().take(what.len()).collect::<String>()
                ),
            )
            .detail("Value must be an integer.")
        };
        let mut number = |width: usize| {
            let next_is_number = rest.starts_with(|c: char| c.is_ascii_alphabetic());
            let limit = if next_is_number { width } else { width.max(9) };
            let length = input.bytes().take(limit).take_while(u8::is_ascii_digit).count();
            let value: i64 = input[..length].parse().map_err(|_| bad(pattern))?;
            let taken = &input[..length];
            input = &input[length..];
            Ok::<_, Error>((value, taken.len() as u32))
        };
        match upper.as_str() {
            "YYYY" => year = number(4)?.0,
            "YY" => {
                let short = number(2)?.0;
                year = if short < 70 { 2000 + short } else { 1900 + short };
            }
            "MM" => month = number(2)?.0,
            "DD" => day = number(2)?.0,
            "DDD" => day_of_year = Some(number(3)?.0),
            "HH24" => hour = number(2)?.0,
            "HH" | "HH12" => hour = number(2)?.0,
            "MI" => minute = number(2)?.0,
            "SS" => second = number(2)?.0,
            "MS" => {
                let (value, digits) = number(3)?;
                micros += value * 10i64.pow(6u32.saturating_sub(digits));
            }
            "US" => {
                let (value, digits) = number(6)?;
                micros += value * 10i64.pow(6u32.saturating_sub(digits));
            }
            "AM" | "PM" => {
                let marker = input.get(..2).unwrap_or("").to_ascii_uppercase();
                afternoon = match marker.as_str() {
                    "AM" => Some(false),
                    "PM" => Some(true),
                    _ => return Err(Error::new("22007", "invalid value for \"AM\"")),
                };
                input = &input[2..];
            }
            "MON" | "MONTH" => {
                let lower = input.to_ascii_lowercase();
                let found = MONTHS
                    .iter()
                    .position(|m| lower.starts_with(&m.to_ascii_lowercase()[..3]));
                let at = found.ok_or_else(|| Error::new("22007", format!("invalid value for \"{pattern}\"")))?;
                month = at as i64 + 1;
                let full = MONTHS[at].to_ascii_lowercase();
                let length = if upper == "MONTH" && lower.starts_with(&full) {
                    full.len()
                } else {
                    3
                };
                input = &input[length..];
            }
            _ => {
                return Err(Error::unsupported(format!(
                    "the to_timestamp pattern {pattern} is not supported by this engine"
                )));
            }
        }
    }
    if let Some(afternoon) = afternoon {
        hour = hour % 12 + if afternoon { 12 } else { 0 };
    }
    let out_of_range = || Error::new("22008", format!("date/time field value out of range: \"{text}\""));
    if !(1..=12).contains(&month) || day < 1 || hour > 24 || minute > 59 || second > 60 || year > 294_276 {
        return Err(out_of_range());
    }
    let days = match day_of_year {
        Some(day) => days_of(year, 1, 1) + day - 1,
        None => {
            let days = days_of(year, month, day);
            if civil(days) != (year, month, day) {
                return Err(out_of_range());
            }
            days
        }
    };
    days.checked_mul(DAY_US)
        .and_then(|us| us.checked_add((hour * 3600 + minute * 60 + second) * 1_000_000 + micros))
        .ok_or_else(out_of_range)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are PostgreSQL 15's.
    #[test]
    fn moments_are_formatted_as_postgres_does() {
        let moment = Fields::of_timestamp(time::parse_timestamp("2024-03-05 14:07:09.123456").unwrap(), true);
        for (format, expected) in [
            ("YYYY-MM-DD HH24:MI:SS", "2024-03-05 14:07:09"),
            ("FMMonth FMDDth, YYYY", "March 5th, 2024"),
            ("Day|DY|D|ID", "Tuesday  |TUE|3|2"),
            ("HH12:MI AM", "02:07 PM"),
            ("IYYY-IW", "2024-10"),
            ("DDD Q WW CC J", "065 1 10 21 2460375"),
            ("MS US SSSS", "123 123456 50829"),
            ("\"at\" HH24\"h\"", "at 14h"),
            ("MON Mon mon", "MAR Mar mar"),
            ("YY Y TZ", "24 4 UTC"),
        ] {
            assert_eq!(to_char(&moment, format).unwrap(), expected, "{format}");
        }
    }

    /// Expected values are PostgreSQL 15's.
    #[test]
    fn numbers_are_formatted_as_postgres_does() {
        for (number, format, expected) in [
            ("12.5", "999.99", "  12.50"),
            ("-12.5", "999.99", " -12.50"),
            ("1234567.891", "9,999,999.99", " 1,234,567.89"),
            ("12.50", "FM999.99", "12.5"),
            ("12", "FM999.00", "12.00"),
            ("7", "000", " 007"),
            ("-7", "FM000", "-007"),
            ("1234", "99", " ##"),
            ("0", "9", " 0"),
            ("0.5", "9.9", "  .5"),
            ("0.5", "0.9", " 0.5"),
            ("12", "S999", " +12"),
            ("-12", "999S", " 12-"),
            ("12.5", "$999.99", "$ 12.50"),
            ("1", "9th", " 1st"),
        ] {
            assert_eq!(
                number_to_char(&Decimal::parse(number).unwrap(), format).unwrap(),
                expected,
                "{number} as {format}"
            );
        }
    }
}
