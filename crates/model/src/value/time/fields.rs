//! The fields of a date or time literal, as they are found, and what they amount to.

use super::parse::Refusal::{self, OutOfRange, Syntax};
use super::zone::Zone;
use super::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND, days_from_civil, days_in_month};

/// The fields a literal named.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) year: Option<i64>,
    pub(super) year_digits: usize,
    pub(super) month: Option<i64>,
    pub(super) month_is_text: bool,
    pub(super) day: Option<i64>,
    /// `now`, `today` or a Julian day: a whole date at once.
    pub(super) days: Option<i64>,
    pub(super) time: Option<i64>,
    pub(super) zone: Option<Zone>,
    pub(super) before_christ: bool,
    pub(super) anno_domini: bool,
    pub(super) afternoon: Option<bool>,
    /// A `time` is read: a number alone may be one.
    pub(super) time_only: bool,
}

impl Fields {
    pub(super) fn date_is_complete(&self) -> bool {
        self.days.is_some() || (self.year.is_some() && self.month.is_some() && self.day.is_some())
    }

    pub(super) fn day_number(&self) -> Result<i64, Refusal> {
        if let Some(days) = self.days {
            return Ok(days);
        }
        if self.month.is_some_and(|month| !(1..=12).contains(&month))
            || self.day.is_some_and(|day| !(1..=31).contains(&day))
        {
            return Err(Refusal::MonthOrDay);
        }
        let (Some(year), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            return Err(Syntax);
        };
        let year = match year {
            0 if self.before_christ || self.year_digits > 2 => return Err(OutOfRange),
            _ if self.before_christ => 1 - year,
            0..70 if self.year_digits <= 2 => year + 2000,
            70..100 if self.year_digits <= 2 => year + 1900,
            _ => year,
        };
        if day > days_in_month(year, month) || year > 5_874_897 + 1 {
            return Err(OutOfRange);
        }
        Ok(days_from_civil(year, month, day))
    }

    pub(super) fn time_of_day(&self) -> Result<Option<i64>, Refusal> {
        let Some(time) = self.time else {
            return if self.afternoon.is_some() {
                Err(Syntax)
            } else {
                Ok(None)
            };
        };
        let hours = time / MICROS_PER_HOUR;
        let time = match self.afternoon {
            Some(_) if hours > 12 => return Err(OutOfRange),
            Some(false) if hours == 12 => time - 12 * MICROS_PER_HOUR,
            Some(true) if hours != 12 => time + 12 * MICROS_PER_HOUR,
            _ => time,
        };
        if time > MICROS_PER_DAY {
            return Err(OutOfRange);
        }
        Ok(Some(time))
    }

    pub(super) fn set_day_number(&mut self, days: i64) -> Result<(), Refusal> {
        if self.days.is_some() || self.year.is_some() || self.month.is_some() || self.day.is_some() {
            return Err(Syntax);
        }
        self.days = Some(days);
        Ok(())
    }

    pub(super) fn set_time(&mut self, micros: i64) -> Result<(), Refusal> {
        if self.time.replace(micros).is_some() {
            Err(Syntax)
        } else {
            Ok(())
        }
    }

    pub(super) fn set_zone(&mut self, zone: Zone) -> Result<(), Refusal> {
        if self.zone.replace(zone).is_some() {
            Err(Syntax)
        } else {
            Ok(())
        }
    }

    /// A number on its own or between date separators: which field it is follows from those that are set, month before day.
    pub(super) fn set_number(&mut self, digits: &str) -> Result<(), Refusal> {
        let value: i64 = digits.parse().map_err(|_| OutOfRange)?;
        if self.days.is_some() {
            return Err(Syntax);
        }
        let long = digits.len() >= 3;
        match (self.year, self.month, self.day) {
            (None, None, None) if long => self.set_year(value, digits.len()),
            (None, None, None) | (None, None, Some(_)) | (Some(_), None, _) => self.month = Some(value),
            (None, Some(_), None) if self.month_is_text && long => self.set_year(value, digits.len()),
            (None, Some(_), None) | (Some(_), Some(_), None) => self.day = Some(value),
            (None, Some(_), Some(_)) => self.set_year(value, digits.len()),
            (Some(_), Some(_), Some(_)) => return Err(Syntax),
        }
        Ok(())
    }

    pub(super) fn set_year(&mut self, year: i64, digits: usize) {
        self.year = Some(year);
        self.year_digits = digits;
    }

    pub(super) fn set_month_name(&mut self, month: i64) -> Result<(), Refusal> {
        // `8 January 1999`: the number that was taken for a month is the day.
        if let (Some(number), false, None) = (self.month, self.month_is_text, self.day) {
            self.day = Some(number);
            self.month = None;
        }
        if self.month.replace(month).is_some() {
            return Err(Syntax);
        }
        self.month_is_text = true;
        Ok(())
    }

    /// `20240131` and `240131`, and `123456` and `1234` where a date stands already.
    pub(super) fn set_run(&mut self, digits: &str, fraction: &str, after_t: bool) -> Result<(), Refusal> {
        let number = |range: std::ops::Range<usize>| digits[range].parse::<i64>().map_err(|_| Syntax);
        let nothing_yet = self.days.is_none() && self.year.is_none() && self.month.is_none() && self.day.is_none();
        if after_t || self.date_is_complete() || (self.time_only && nothing_yet && matches!(digits.len(), 4 | 6)) {
            return match digits.len() {
                6 => self.set_time(clock(
                    number(0..2)?,
                    number(2..4)?,
                    number(4..6)?,
                    fraction_micros(fraction),
                )?),
                4 if fraction.is_empty() => self.set_time(clock(number(0..2)?, number(2..4)?, 0, 0)?),
                2 if after_t && fraction.is_empty() => self.set_time(clock(number(0..2)?, 0, 0, 0)?),
                _ => Err(Syntax),
            };
        }
        if !fraction.is_empty() {
            return Err(Syntax);
        }
        match digits.len() {
            8 if nothing_yet => {
                self.set_year(number(0..4)?, 4);
                (self.month, self.day) = (Some(number(4..6)?), Some(number(6..8)?));
                Ok(())
            }
            6 if nothing_yet => {
                self.set_year(number(0..2)?, 2);
                (self.month, self.day) = (Some(number(2..4)?), Some(number(4..6)?));
                Ok(())
            }
            _ => self.set_number(digits),
        }
    }

    pub(super) fn any(&self) -> bool {
        self.days.is_some() || self.year.is_some() || self.month.is_some() || self.day.is_some() || self.time.is_some()
    }
}

pub(super) fn fraction_micros(digits: &str) -> i64 {
    if digits.is_empty() {
        return 0;
    }
    format!("0.{digits}")
        .parse::<f64>()
        .map_or(0, |fraction| (fraction * 1e6).round_ties_even() as i64)
}

pub(super) fn clock(hours: i64, minutes: i64, seconds: i64, micros: i64) -> Result<i64, Refusal> {
    let time = hours * MICROS_PER_HOUR + minutes * MICROS_PER_MINUTE + seconds * MICROS_PER_SECOND + micros;
    if hours > 24 || minutes > 59 || seconds > 60 || time > MICROS_PER_DAY {
        return Err(OutOfRange);
    }
    Ok(time)
}
