//! Date, time and timestamp input: the fields of a literal in any order Postgres takes them in (`DateStyle` ISO, MDY).

use super::fields::{Fields, clock, fraction_micros};
use super::zone::{self, Zone};
use super::{MICROS_PER_DAY, date_in_range, days_from_civil, days_in_month, now, timestamp_in_range};
use crate::{Error, Result, Type};

/// What a literal means before it is made a date or a timestamp.
enum Moment {
    Infinity,
    NegativeInfinity,
    Fields(Fields),
}

/// Why a literal is refused.
pub(super) enum Refusal {
    Syntax,
    OutOfRange,
    /// Month or day out of range: the order of fields may be to blame.
    MonthOrDay,
    Zone(String),
    Displacement,
}

use Refusal::{OutOfRange, Syntax};

fn refuse(refusal: Refusal, text: &str, name: &str) -> Error {
    let out_of_range = || Error::new("22008", format!("date/time field value out of range: \"{text}\""));
    match refusal {
        Refusal::Syntax => Error::new("22007", format!("invalid input syntax for type {name}: \"{text}\"")),
        Refusal::OutOfRange => out_of_range(),
        Refusal::MonthOrDay => out_of_range().hint("Perhaps you need a different \"datestyle\" setting."),
        Refusal::Zone(zone) => Error::new("22023", format!("time zone \"{zone}\" not recognized")),
        Refusal::Displacement => Error::new("22009", format!("time zone displacement out of range: \"{text}\"")),
    }
}

/// Days since 1970-01-01. Errors: 22007 (not a date), 22008 (out of range).
pub fn parse_date(text: &str) -> Result<i32> {
    if let Some(days) = plain_date(text.as_bytes()) {
        return Ok(days as i32);
    }
    let fail = |refusal| refuse(refusal, text, "date");
    match read(text, false).map_err(fail)? {
        Moment::Infinity => Ok(i32::MAX),
        Moment::NegativeInfinity => Ok(i32::MIN),
        Moment::Fields(fields) => {
            let days = fields.day_number().map_err(fail)?;
            fields.time_of_day().map_err(fail)?;
            date_in_range(days).map_err(|_| Error::new("22008", format!("date out of range: \"{text}\"")))
        }
    }
}

/// Microseconds since midnight; a date and a zone are read and dropped. Errors: 22007, 22008.
pub fn parse_time(text: &str) -> Result<i64> {
    let fail = |refusal| refuse(refusal, text, "time");
    match read(text, true).map_err(fail)? {
        // A zone by name means something only on a known day.
        Moment::Fields(Fields {
            zone: Some(Zone::Named(_)),
            days: None,
            year: None,
            ..
        }) => Err(fail(Syntax)),
        Moment::Fields(fields) => fields.time_of_day().and_then(|time| time.ok_or(Syntax)).map_err(fail),
        _ => Err(fail(Syntax)),
    }
}

/// Microseconds since midnight, and those that its zone is east of Greenwich; a text without a zone is in UTC. Errors: 22007, 22008,
/// 22009, 22023.
pub fn parse_timetz(text: &str) -> Result<(i64, i64)> {
    let fail = |refusal| refuse(refusal, text, "time with time zone");
    let Moment::Fields(fields) = read(text, true).map_err(fail)? else {
        return Err(fail(Syntax));
    };
    let time = fields.time_of_day().and_then(|time| time.ok_or(Syntax)).map_err(fail)?;
    let offset = match &fields.zone {
        None => 0,
        Some(Zone::Fixed(offset)) => *offset,
        // A zone by name means something only on a known day.
        Some(Zone::Named(_)) if fields.days.is_none() && fields.year.is_none() => return Err(fail(Syntax)),
        Some(zone) => zone.offset(
            fields
                .day_number()
                .map_err(fail)?
                .saturating_mul(MICROS_PER_DAY)
                .saturating_add(time),
        ),
    };
    Ok((time, offset))
}

/// Microseconds since 1970 as if UTC; a zone in the text is read and ignored, as Postgres does. Errors: 22007, 22008.
pub fn parse_timestamp(text: &str) -> Result<i64> {
    moment(text, "timestamp", false)
}

/// Microseconds since 1970 in UTC; a text without a zone is in UTC. Errors: 22007, 22008, 22009 and 22023 (no such zone).
pub fn parse_timestamptz(text: &str) -> Result<i64> {
    moment(text, "timestamp with time zone", true)
}

fn moment(text: &str, name: &str, with_zone: bool) -> Result<i64> {
    let fail = |refusal| refuse(refusal, text, name);
    match read(text, false).map_err(fail)? {
        Moment::Infinity => Ok(i64::MAX),
        Moment::NegativeInfinity => Ok(i64::MIN),
        Moment::Fields(fields) => {
            let days = fields.day_number().map_err(fail)?;
            let time = fields.time_of_day().map_err(fail)?.unwrap_or(0);
            let local = days
                .checked_mul(MICROS_PER_DAY)
                .and_then(|start| start.checked_add(time));
            let micros = match (&fields.zone, local) {
                (Some(zone), Some(local)) if with_zone => local.checked_sub(zone.offset(local)),
                _ => local,
            };
            timestamp_in_range(micros).map_err(|_| Error::new("22008", format!("timestamp out of range: \"{text}\"")))
        }
    }
}

/// Whether `text`, as a literal of `ty`, means another moment each time it is read: `now`, `today`, `tomorrow`, `yesterday`,
/// alone or among other fields.
pub fn is_volatile_literal(text: &str, ty: &Type) -> bool {
    let dated = match ty {
        Type::Date | Type::Time | Type::Timestamp | Type::TimestampTz => true,
        Type::Other(name) => matches!(&**name, "daterange" | "tsrange" | "tstzrange" | "time with time zone"),
        Type::Array(element) => return is_volatile_literal(text, element),
        _ => false,
    };
    dated
        && text.split(|c: char| !c.is_ascii_alphabetic()).any(|word| {
            ["now", "today", "tomorrow", "yesterday"]
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known))
        })
}

/// `YYYY-MM-DD` and nothing else, the common case.
fn plain_date(text: &[u8]) -> Option<i64> {
    let [a, b, c, d, b'-', e, f, b'-', g, h] = text else {
        return None;
    };
    let number = |digits: &[&u8]| {
        digits
            .iter()
            .try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(**d - b'0')))
    };
    let (year, month, day) = (number(&[a, b, c, d])?, number(&[e, f])?, number(&[g, h])?);
    (year > 0 && (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day))
        .then(|| days_from_civil(year, month, day))
}

/// `HH:MM`, `HH:MM:SS` and `HH:MM:SS.fraction`.
fn read_clock(text: &str) -> Result<i64, Refusal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Syntax);
    }
    let mut parts = [0i64; 3];
    let mut count = 0;
    for part in whole.split(':') {
        if count == 3 || part.is_empty() && count == 0 {
            return Err(Syntax);
        }
        parts[count] = if part.is_empty() {
            0
        } else {
            part.parse().map_err(|_| OutOfRange)?
        };
        count += 1;
    }
    if text.contains('.') && count == 2 {
        // Without hours: minutes and seconds.
        return clock(0, parts[0], parts[1], fraction_micros(fraction));
    }
    if parts[0] > 10_000 {
        return Err(OutOfRange);
    }
    clock(parts[0], parts[1], parts[2], fraction_micros(fraction))
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

fn month_number(word: &str) -> Option<i64> {
    if word.len() < 3 {
        return None;
    }
    let index = MONTHS
        .iter()
        .position(|month| *month == word || (word.len() == 3 && month.starts_with(word)));
    index.map(|index| index as i64 + 1).or((word == "sept").then_some(9))
}

fn is_weekday(word: &str) -> bool {
    WEEKDAYS
        .iter()
        .any(|day| *day == word || (word.len() == 3 && day.starts_with(word)))
        || matches!(word, "tues" | "wednes" | "weds" | "thur" | "thurs")
}

/// Reads a literal field by field.
fn read(text: &str, time_only: bool) -> Result<Moment, Refusal> {
    let mut fields = Fields {
        time_only,
        ..Fields::default()
    };
    let mut rest = text;
    let mut after_t = false;
    let mut infinity = None;
    let mut seen = false;
    while let Some(first) = rest.bytes().next() {
        if first.is_ascii_whitespace() || first == 0x0b {
            rest = &rest[1..];
            continue;
        }
        let take = |wanted: fn(u8) -> bool| rest.bytes().take_while(|b| wanted(*b)).count();
        if infinity.is_some() {
            return Err(Syntax);
        }
        seen = true;
        let end = match first {
            b'0'..=b'9' => {
                let digits = take(|b| b.is_ascii_digit());
                match rest.as_bytes().get(digits) {
                    Some(b':') => {
                        let end = take(|b| b.is_ascii_digit() || b == b':' || b == b'.');
                        fields.set_time(read_clock(&rest[..end])?)?;
                        after_t = false;
                        end
                    }
                    Some(separator @ (b'-' | b'/' | b'.')) if !fields.date_is_complete() && !after_t => {
                        read_date_token(rest, *separator, &mut fields)?
                    }
                    Some(b'.') => {
                        let end = take(|b| b.is_ascii_digit() || b == b'.');
                        fields.set_run(&rest[..digits], &rest[digits + 1..end], after_t)?;
                        after_t = false;
                        end
                    }
                    _ => {
                        fields.set_run(&rest[..digits], "", after_t)?;
                        after_t = false;
                        digits
                    }
                }
            }
            b'+' | b'-' => {
                let end = 1 + rest[1..]
                    .bytes()
                    .take_while(|b| b.is_ascii_digit() || *b == b':')
                    .count();
                if end > 1 {
                    if fields.time.is_none() && !fields.date_is_complete() {
                        return Err(Syntax);
                    }
                    fields.set_zone(Zone::Fixed(zone::read_displacement(&rest[..end])?))?;
                    end
                } else {
                    let word = rest[1..].trim_start();
                    let length = word.bytes().take_while(u8::is_ascii_alphabetic).count();
                    if !word[..length].eq_ignore_ascii_case("infinity") || fields.any() {
                        return Err(Syntax);
                    }
                    infinity = Some(if first == b'-' {
                        Moment::NegativeInfinity
                    } else {
                        Moment::Infinity
                    });
                    rest.len() - word.len() + length
                }
            }
            b'a'..=b'z' | b'A'..=b'Z' => {
                let letters = take(|b| b.is_ascii_alphabetic());
                let word = rest[..letters].to_ascii_lowercase();
                let next = rest.as_bytes().get(letters).copied();
                if word == "t" && next.is_none_or(|b| b.is_ascii_digit()) && (fields.date_is_complete() || time_only) {
                    if next.is_none() {
                        return Err(Syntax);
                    }
                    after_t = true;
                    letters
                } else if word == "infinity" {
                    if fields.any() {
                        return Err(Syntax);
                    }
                    infinity = Some(Moment::Infinity);
                    letters
                } else if word == "j" && next.is_some_and(|b| b.is_ascii_digit()) {
                    let digits = rest[letters..].bytes().take_while(u8::is_ascii_digit).count();
                    let julian: i64 = rest[letters..letters + digits].parse().map_err(|_| OutOfRange)?;
                    fields.set_day_number(julian + super::DAY_MIN)?;
                    letters + digits
                } else {
                    read_word(rest, &word, next, &mut fields)?
                }
            }
            // Any other mark, such as the comma in `January 8, 1999`, only separates.
            _ if first.is_ascii_punctuation() => 1,
            _ => return Err(Syntax),
        };
        rest = &rest[end..];
    }
    match infinity {
        _ if !seen || after_t => Err(Syntax),
        Some(moment) => Ok(moment),
        None => Ok(Moment::Fields(fields)),
    }
}

/// `2024-01-31`, `1/31/2024`, `31-Jan-2024`, `2024.01.31`; returns its length.
fn read_date_token(rest: &str, separator: u8, fields: &mut Fields) -> Result<usize, Refusal> {
    let mut end = 0;
    let mut parts: [&str; 3] = [""; 3];
    for (index, part) in parts.iter_mut().enumerate() {
        let start = end;
        let bytes = &rest.as_bytes()[start..];
        let alphabetic = index == 1 && bytes.first().is_some_and(u8::is_ascii_alphabetic);
        let length = bytes
            .iter()
            .take_while(|b| {
                if alphabetic {
                    b.is_ascii_alphabetic()
                } else {
                    b.is_ascii_digit()
                }
            })
            .count();
        if length == 0 {
            return Err(Syntax);
        }
        end = start + length;
        *part = &rest[start..end];
        if index < 2 {
            if rest.as_bytes().get(end) != Some(&separator) {
                return Err(Syntax);
            }
            end += 1;
        }
    }
    if rest.as_bytes().get(end) == Some(&separator) {
        return Err(Syntax);
    }
    if let Some(month) = month_number(&parts[1].to_ascii_lowercase()) {
        fields.set_month_name(month)?;
        fields.set_number(parts[0])?;
        fields.set_number(parts[2])?;
    } else if parts[1].bytes().all(|b| b.is_ascii_digit()) {
        for part in parts {
            fields.set_number(part)?;
        }
    } else {
        return Err(Syntax);
    }
    Ok(end)
}

/// A month, a day of the week, a keyword or a zone; returns its length.
fn read_word(rest: &str, word: &str, next: Option<u8>, fields: &mut Fields) -> Result<usize, Refusal> {
    let whole_zone_name = || {
        rest.bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'))
            .count()
    };
    let length = word.len();
    if matches!(next, Some(b'/' | b'_')) {
        let end = whole_zone_name();
        let name = &rest[..end];
        let zone = jiff::tz::TimeZone::get(name).map_err(|_| Refusal::Zone(name.to_ascii_lowercase()))?;
        fields.set_zone(Zone::Named(zone))?;
        return Ok(end);
    }
    if let Some(month) = month_number(word) {
        fields.set_month_name(month)?;
        // `Jan-08-1999`
        if next == Some(b'-') || next == Some(b'/') {
            return Ok(length + 1 + dashed_day_and_year(&rest[length + 1..], fields)?);
        }
        return Ok(length);
    }
    let today = || now().div_euclid(MICROS_PER_DAY);
    match word {
        "am" | "pm" => {
            if fields.afternoon.replace(word == "pm").is_some() {
                return Err(Syntax);
            }
        }
        "bc" | "ad" => {
            if fields.before_christ || fields.anno_domini {
                return Err(Syntax);
            }
            (fields.before_christ, fields.anno_domini) = (word == "bc", word == "ad");
        }
        "now" => {
            let moment = now();
            fields.set_day_number(moment.div_euclid(MICROS_PER_DAY))?;
            fields.set_time(moment.rem_euclid(MICROS_PER_DAY))?;
        }
        "today" => fields.set_day_number(today())?,
        "tomorrow" => fields.set_day_number(today() + 1)?,
        "yesterday" => fields.set_day_number(today() - 1)?,
        "epoch" => {
            fields.set_day_number(0)?;
            fields.set_time(0)?;
        }
        "allballs" => fields.set_time(0)?,
        "on" | "at" => {}
        _ if is_weekday(word) => {}
        _ => {
            if let Some(zone) = Zone::abbreviated(word) {
                fields.set_zone(zone)?;
                return Ok(length);
            }
            let end = whole_zone_name();
            let zone = jiff::tz::TimeZone::get(&rest[..end]).map_err(|_| Syntax)?;
            fields.set_zone(Zone::Named(zone))?;
            return Ok(end);
        }
    }
    Ok(length)
}

fn dashed_day_and_year(rest: &str, fields: &mut Fields) -> Result<usize, Refusal> {
    let day = rest.bytes().take_while(u8::is_ascii_digit).count();
    if day == 0 || !matches!(rest.as_bytes().get(day), Some(b'-' | b'/')) {
        return Err(Syntax);
    }
    fields.set_number(&rest[..day])?;
    let year = rest[day + 1..].bytes().take_while(u8::is_ascii_digit).count();
    fields.set_number(&rest[day + 1..day + 1 + year])?;
    Ok(day + 1 + year)
}
