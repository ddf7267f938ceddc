//! Timestamps of log lines: RFC 3339 in UTC with milliseconds, formatted without a calendar library.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// `2026-01-31T12:00:00.123Z` for milliseconds since 1970 (RFC 3339).
pub fn rfc3339_millis(millis: u64) -> String {
    let mut out = Vec::with_capacity(24);
    out.extend_from_slice(&second_text(millis / 1000));
    push_millis(&mut out, (millis % 1000) as u32);
    String::from_utf8(out).unwrap_or_default()
}

/// Now, as [`rfc3339_millis`] writes it.
pub fn rfc3339_now() -> String {
    rfc3339_millis(now_millis())
}

pub(crate) fn now_millis() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

thread_local! {
    // Formatting a date costs more than the rest of a line; within one second it is the same text.
    static LAST: RefCell<(u64, [u8; 19])> = const { RefCell::new((u64::MAX, [0; 19])) };
}

/// Appends the time now to a log line.
pub(crate) fn push_now(out: &mut Vec<u8>) {
    let millis = now_millis();
    let second = millis / 1000;
    LAST.with_borrow_mut(|last| {
        if last.0 != second {
            *last = (second, second_text(second));
        }
        out.extend_from_slice(&last.1);
    });
    push_millis(out, (millis % 1000) as u32);
}

fn push_millis(out: &mut Vec<u8>, ms: u32) {
    out.extend_from_slice(&[
        b'.',
        b'0' + (ms / 100) as u8,
        b'0' + (ms / 10 % 10) as u8,
        b'0' + (ms % 10) as u8,
        b'Z',
    ]);
}

/// `YYYY-MM-DDTHH:MM:SS`. Days to civil date by counting in 400-year eras that begin on 1 March.
fn second_text(second: u64) -> [u8; 19] {
    let days = (second / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let clock = second % 86_400;
    let mut out = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, width: usize, mut n: u64| {
        for i in (at..at + width).rev() {
            out[i] = b'0' + (n % 10) as u8;
            n /= 10;
        }
    };
    put(0, 4, year as u64);
    put(5, 2, month as u64);
    put(8, 2, day as u64);
    put(11, 2, clock / 3600);
    put(14, 2, clock / 60 % 60);
    put(17, 2, clock % 60);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_001, "2000-03-01T00:00:00.001Z"),
            (1_704_067_199_050, "2023-12-31T23:59:59.050Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339_millis(millis), text);
        }
    }

    #[test]
    fn a_line_carries_the_same_text() {
        let mut line = Vec::new();
        push_now(&mut line);
        assert_eq!(line.len(), 24);
        assert!(rfc3339_now().as_bytes()[..16] == line[..16]);
    }
}
