//! Quantities as people write them: `"256MiB"`, `"1h30m"`, `"100/min"`, `"20%"`.
//!
//! A bare number is refused wherever a unit matters: `timeout = 30` has meant seconds to one reader and milliseconds to the
//! next often enough.

use std::fmt;
use std::time::Duration;

/// So many events in a period, such as `"100/min"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time; never zero.
    pub period: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, display_duration(self.period))
    }
}

/// Bytes from `"256MiB"`, `"10MB"`, `"1.5GiB"`, `"512B"` or `"0"`. KiB, MiB, GiB and TiB are powers of 1,024; kB, MB, GB and
/// TB of 1,000. `None` when the text is no size or exceeds 64 bits.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let factor: u64 = match unit {
        "" if number.trim_start_matches('0').is_empty() => 1,
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    scaled(number, factor)
}

/// A time from `"250ms"`, `"1s"`, `"30m"`, `"24h"`, `"7d"`, `"1h30m"` or `"0"`. The units are `us`, `ms`, `s`, `m` (or
/// `min`), `h` and `d`. `None` when the text is no duration.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_factor = u64::MAX;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest)?;
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let factor = unit_of_time(&tail[..end])?;
        // "30m1h" is more likely a slip than a wish.
        if factor >= last_factor {
            return None;
        }
        last_factor = factor;
        total = total.checked_add(scaled(number, factor)?)?;
        rest = &tail[end..];
    }
    if text.is_empty() {
        None
    } else {
        Some(Duration::from_micros(total))
    }
}

/// A rate from `"100/min"`, `"5/s"`, `"1000/h"` or `"30/5m"`. `None` when the text is no rate, or its count or period is zero.
pub fn parse_rate(text: &str) -> Option<Rate> {
    let (count, period) = text.split_once('/')?;
    let (count, period) = (count.trim().parse().ok()?, period.trim());
    let period = match period {
        "sec" | "second" => Duration::from_secs(1),
        "minute" => Duration::from_secs(60),
        "hour" => Duration::from_secs(3_600),
        "day" => Duration::from_secs(86_400),
        unit => match unit_of_time(unit) {
            Some(micros) => Duration::from_micros(micros),
            None => parse_duration(unit)?,
        },
    };
    (count > 0 && !period.is_zero()).then_some(Rate { count, period })
}

/// A share between 0 and 1 from `"20%"`. `None` when the text is no percentage or above 100 %.
pub fn parse_percent(text: &str) -> Option<f64> {
    let (number, unit) = split_number(text)?;
    let share: f64 = number.parse::<f64>().ok()? / 100.0;
    (unit == "%" && share <= 1.0).then_some(share)
}

/// A duration as it is written in the file, for messages: the largest units that express it exactly.
pub fn display_duration(duration: Duration) -> String {
    let mut micros = duration.as_micros();
    let mut text = String::new();
    for (unit, factor) in [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
    ] {
        if micros >= factor {
            text.push_str(&format!("{}{unit}", micros / factor));
            micros %= factor;
        }
    }
    for (unit, factor) in [("ms", 1_000), ("us", 1)] {
        if micros >= factor {
            text.push_str(&format!("{}{unit}", micros / factor));
            micros %= factor;
        }
    }
    if text.is_empty() { "0s".to_string() } else { text }
}

/// A size as it is written in the file, for messages: in the largest binary unit that expresses it exactly.
pub fn display_size(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
    {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// Microseconds in a unit of time.
fn unit_of_time(unit: &str) -> Option<u64> {
    Some(match unit {
        "us" | "µs" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    })
}

/// The unsigned decimal number that `text` begins with, and what follows it (spaces between them are allowed).
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let digits_around_the_dot = match number.split_once('.') {
        Some((whole, fraction)) => !whole.is_empty() && !fraction.is_empty() && !fraction.contains('.'),
        None => !number.is_empty(),
    };
    digits_around_the_dot.then_some((number, rest.trim_start()))
}

/// `number` times `factor`, exactly for integers, rounded for decimals.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) if number.contains('.') => {
            let value = number.parse::<f64>().ok()? * factor as f64;
            (value < u64::MAX as f64).then_some(value.round() as u64)
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("256MiB", Some(256 << 20)),
            ("256 MiB", Some(256 << 20)),
            ("10MB", Some(10_000_000)),
            ("1.5GiB", Some(3 << 29)),
            ("512B", Some(512)),
            ("2TiB", Some(2 << 40)),
            ("4kB", Some(4_000)),
            ("0", Some(0)),
            ("0B", Some(0)),
            ("16777215TiB", Some(16_777_215 << 40)),
            ("16777216TiB", None),
            ("256", None),
            ("256mib", None),
            ("256M", None),
            ("-1MiB", None),
            ("1..5MiB", None),
            (".5MiB", None),
            ("1.MiB", None),
            ("1.5.2MiB", None),
            ("MiB", None),
            ("", None),
            ("1MiB2", None),
            ("99999999999999999999B", None),
        ] {
            assert_eq!(parse_size(text), expected, "for {text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected) in [
            ("250ms", Some(250_000)),
            ("1s", Some(1_000_000)),
            ("0.5s", Some(500_000)),
            ("30m", Some(1_800_000_000)),
            ("30min", Some(1_800_000_000)),
            ("24h", Some(86_400_000_000)),
            ("7d", Some(604_800_000_000)),
            ("1h30m", Some(5_400_000_000)),
            ("20us", Some(20)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("30m1h", None),
            ("1h1h", None),
            ("1", None),
            ("s", None),
            ("1 fortnight", None),
            ("-1s", None),
            ("", None),
            ("99999999999999d", None),
        ] {
            assert_eq!(
                parse_duration(text),
                expected.map(Duration::from_micros),
                "for {text:?}"
            );
        }
    }

    #[test]
    fn rates() {
        for (text, expected) in [
            ("100/min", Some((100, 60))),
            ("5/s", Some((5, 1))),
            ("5/sec", Some((5, 1))),
            ("10 / second", Some((10, 1))),
            ("7/m", Some((7, 60))),
            ("1000/h", Some((1000, 3_600))),
            ("1/day", Some((1, 86_400))),
            ("30/5m", Some((30, 300))),
            ("0/s", None),
            ("5/0s", None),
            ("5", None),
            ("5/", None),
            ("/s", None),
            ("1.5/s", None),
            ("-1/s", None),
            ("5/week", None),
        ] {
            let expected = expected.map(|(count, secs)| Rate {
                count,
                period: Duration::from_secs(secs),
            });
            assert_eq!(parse_rate(text), expected, "for {text:?}");
        }
    }

    #[test]
    fn percentages() {
        for (text, expected) in [
            ("20%", Some(0.2)),
            ("0%", Some(0.0)),
            ("100%", Some(1.0)),
            ("2.5 %", Some(0.025)),
            ("101%", None),
            ("20", None),
            ("-5%", None),
            ("%", None),
        ] {
            assert_eq!(parse_percent(text), expected, "for {text:?}");
        }
    }

    #[test]
    fn a_displayed_size_reads_back() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1 << 10, "1KiB"),
            (3 << 20, "3MiB"),
            (1 << 40, "1TiB"),
            (1_000_000, "1000000B"),
        ] {
            assert_eq!(display_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
    }

    #[test]
    fn a_displayed_duration_reads_back() {
        for micros in [
            0,
            1,
            1_500,
            250_000,
            1_000_000,
            90_000_000,
            5_400_000_000,
            86_400_000_001,
        ] {
            let duration = Duration::from_micros(micros);
            assert_eq!(parse_duration(&display_duration(duration)), Some(duration));
        }
        assert_eq!(
            Rate {
                count: 30,
                period: Duration::from_secs(300)
            }
            .to_string(),
            "30/5m"
        );
    }
}
