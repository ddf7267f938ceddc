//! Time zones in literals: displacements, abbreviations, and names from the zone database.

use super::parse::Refusal;
use super::{MICROS_PER_MINUTE, MICROS_PER_SECOND, civil_from_days, split_timestamp};

/// A zone as a literal gives it.
pub(super) enum Zone {
    /// Microseconds east of Greenwich.
    Fixed(i64),
    Named(jiff::tz::TimeZone),
}

impl Zone {
    /// From an abbreviation in lower case.
    pub(super) fn abbreviated(word: &str) -> Option<Zone> {
        let found = ABBREVIATIONS.iter().find(|(name, _)| *name == word);
        found.map(|(_, minutes)| Zone::Fixed(minutes * MICROS_PER_MINUTE))
    }

    /// Microseconds east of Greenwich at a local time.
    pub(super) fn offset(&self, local: i64) -> i64 {
        let zone = match self {
            Zone::Fixed(offset) => return *offset,
            Zone::Named(zone) => zone,
        };
        let (day, time) = split_timestamp(local);
        let (year, month, day) = civil_from_days(day);
        // Zone rules repeat after 400 years, and none are known before the first year that jiff can hold.
        let year = if year > 9000 {
            8600 + year % 400
        } else {
            year.max(-9000)
        };
        let seconds = time / MICROS_PER_SECOND;
        let civil = jiff::civil::DateTime::new(
            year as i16,
            month as i8,
            day as i8,
            (seconds / 3600) as i8,
            (seconds / 60 % 60) as i8,
            (seconds % 60) as i8,
            0,
        );
        let offset = civil.map(|civil| match zone.to_ambiguous_timestamp(civil).offset() {
            jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset,
            // As Postgres: a time that never was is read as before the change, one that was twice as after it.
            jiff::tz::AmbiguousOffset::Gap { before, .. } => before,
            jiff::tz::AmbiguousOffset::Fold { after, .. } => after,
        });
        offset.map_or(0, |offset| i64::from(offset.seconds()) * MICROS_PER_SECOND)
    }
}

/// `+02`, `-0330`, `+05:30`, `+05:30:15`; in microseconds.
pub(super) fn read_displacement(text: &str) -> Result<i64, Refusal> {
    let negative = text.starts_with('-');
    let digits = &text[1..];
    let parts: Vec<&str> = digits.split(':').collect();
    let number = |text: &str| text.parse::<i64>().map_err(|_| Refusal::Syntax);
    let (hours, minutes, seconds) = match parts[..] {
        [only] if only.len() > 4 => (
            number(&only[..only.len() - 4])?,
            number(&only[only.len() - 4..only.len() - 2])?,
            { number(&only[only.len() - 2..])? },
        ),
        [only] if only.len() > 2 => (number(&only[..only.len() - 2])?, number(&only[only.len() - 2..])?, 0),
        [only] => (number(only)?, 0, 0),
        [hours, minutes] => (number(hours)?, number(minutes)?, 0),
        [hours, minutes, seconds] => (number(hours)?, number(minutes)?, number(seconds)?),
        _ => return Err(Refusal::Syntax),
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return Err(Refusal::Displacement);
    }
    let micros = ((hours * 60 + minutes) * 60 + seconds) * MICROS_PER_SECOND;
    Ok(if negative { -micros } else { micros })
}

/// The zone abbreviations that Postgres' default set has and people write, in minutes east.
#[rustfmt::skip]
const ABBREVIATIONS: [(&str, i64); 40] = [
    ("z", 0), ("zulu", 0), ("utc", 0), ("ut", 0), ("uct", 0), ("gmt", 0), ("wet", 0), ("west", 60), ("bst", 60), ("ist", 120),
    ("cet", 60), ("cest", 120), ("met", 60), ("mest", 120), ("eet", 120), ("eest", 180), ("msk", 180), ("sast", 120),
    ("eat", 180), ("pkt", 300), ("jst", 540), ("kst", 540), ("hkt", 480), ("awst", 480), ("acst", 570), ("acdt", 630),
    ("aest", 600), ("aedt", 660), ("nzst", 720), ("nzdt", 780), ("ast", -240), ("adt", -180), ("est", -300), ("edt", -240),
    ("cst", -360), ("cdt", -300), ("mst", -420), ("mdt", -360), ("pst", -480), ("pdt", -420),
];
