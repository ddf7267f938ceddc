//! `to_char` and `to_timestamp` by format: what each pattern of a date or time shows.

use mainstay_model::{Error, Result};

const DAY_US: i64 = 86_400_000_000;

/// What a moment shows.
pub(super) struct Fields {
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
    pub(super) fn of_timestamp(micros: i64, zone: bool) -> Fields {
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

    pub(super) fn of_time(micros: i64) -> Fields {
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

    pub(super) fn of_interval(months: i32, days: i32, micros: i64) -> Fields {
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

pub(super) fn to_char(fields: &Fields, format: &str) -> Result<String> {
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

pub(super) fn ordinal(number: &str) -> &'static str {
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

/// `to_timestamp(text, format)`
pub(super) fn parse_by_format(text: &str, format: &str) -> Result<i64> {
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
    use mainstay_model::time;

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
}
