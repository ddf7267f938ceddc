//! `Prefer: timezone=…`: instants written as clocks in that zone show them.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use mainstay_model::Error;
use std::io::Write;

/// A time zone of the IANA database, or a fixed offset.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// By name (`Europe/Berlin`) or offset, as Postgres reads it: hours are east of Greenwich (`-4`), hours and minutes are written as
    /// POSIX has them, west of it (`+05:30`). Errors: 22023.
    pub fn named(name: &str) -> Result<Zone, Error> {
        let zone = match offset(name) {
            Some((_, seconds)) if seconds != 0 => {
                let error = Error::new("22023", format!("time zone \"{name}\" appears to use leap seconds"));
                return Err(error.detail("PostgreSQL does not support leap seconds."));
            }
            Some((offset, _)) => Ok(TimeZone::fixed(offset)),
            None => TimeZone::get(name),
        };
        match zone {
            Ok(zone) => Ok(Zone {
                name: name.to_owned(),
                zone,
            }),
            Err(_) => Err(Error::new(
                "22023",
                format!("invalid value for parameter \"TimeZone\": \"{name}\""),
            )),
        }
    }

    /// As the client wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An instant in microseconds as JSON; `false`, and nothing written, for infinity.
    pub fn write_json(&self, us: i64, out: &mut Vec<u8>) -> bool {
        let begin = out.len();
        out.push(b'"');
        let written = self.write(us, b'T', true, out);
        out.push(b'"');
        if !written {
            out.truncate(begin);
        }
        written
    }

    /// An instant in microseconds as text; `false`, and nothing written, for infinity.
    pub fn write_text(&self, us: i64, out: &mut Vec<u8>) -> bool {
        self.write(us, b' ', false, out)
    }

    fn write(&self, us: i64, between: u8, minutes_always: bool, out: &mut Vec<u8>) -> bool {
        let Ok(instant) = Timestamp::from_microsecond(us) else {
            return false;
        };
        let offset = self.zone.to_offset(instant);
        let local = offset.to_datetime(instant);
        // Years before Christ are left to the plain form.
        if local.year() <= 0 {
            return false;
        }
        let between = between as char;
        let (date, time) = (local.date(), local.time());
        let _ = write!(
            out,
            "{:04}-{:02}-{:02}{between}{:02}:{:02}:{:02}",
            date.year(),
            date.month(),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        );
        let fraction = time.subsec_nanosecond() / 1000;
        if fraction > 0 {
            let _ = write!(out, "{}", format!(".{fraction:06}").trim_end_matches('0'));
        }
        let seconds = offset.seconds();
        let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
        let _ = write!(out, "{sign}{:02}", seconds / 3600);
        if minutes_always || !seconds.is_multiple_of(3600) {
            let _ = write!(out, ":{:02}", seconds / 60 % 60);
        }
        true
    }
}

/// `[+|-]hh[:mm[:ss]]`, and the seconds.
fn offset(text: &str) -> Option<(Offset, i32)> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (hours, more) = digits.split_once(':').unwrap_or((digits, "0"));
    let (minutes, seconds) = more.split_once(':').unwrap_or((more, "0"));
    let sign = if digits.contains(':') { -sign } else { sign };
    let number = |text: &str, most: i32| -> Option<i32> {
        let all_digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|n| all_digits && *n <= most)
    };
    let offset = Offset::from_seconds(sign * (number(hours, 15)? * 3600 + number(minutes, 59)? * 60)).ok()?;
    Some((offset, number(seconds, 59)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_shown_as_local_time() {
        // 2023-10-18T12:37:59.611Z
        let us = 1_697_632_679_611_000;
        for (zone, want) in [
            ("America/Los_Angeles", "\"2023-10-18T05:37:59.611-07:00\""),
            ("+05:30", "\"2023-10-18T07:07:59.611-05:30\""),
            ("-05:30:00", "\"2023-10-18T18:07:59.611+05:30\""),
            ("-4", "\"2023-10-18T08:37:59.611-04:00\""),
            ("UTC", "\"2023-10-18T12:37:59.611+00:00\""),
        ] {
            let mut out = Vec::new();
            assert!(Zone::named(zone).unwrap().write_json(us, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), want, "{zone}");
        }
        assert_eq!(Zone::named("Jupiter/Red_Spot").unwrap_err().code, "22023");
        assert!(Zone::named("05:30:15").unwrap_err().message.contains("leap seconds"));
        assert!(!Zone::named("UTC").unwrap().write_json(i64::MAX, &mut Vec::new()));
    }
}
