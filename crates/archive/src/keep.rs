//! Which archives are kept: the last few, and of the days, weeks and months before the newest of each.

use crate::name::{Name, Time};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How many are kept of each kind; an archive stays when any kind wants it. All zero keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The newest.
    pub last: u32,
    /// The newest of a day (UTC), for so many days that have one.
    pub daily: u32,
    /// The newest of a week, which begins on Monday.
    pub weekly: u32,
    /// The newest of a month.
    pub monthly: u32,
}

/// The names that nothing wants any more, the newest first. The newest of all always stays.
pub fn expired(keep: Keep, mut names: Vec<Name>) -> Vec<Name> {
    if keep == Keep::default() {
        return Vec::new();
    }
    names.sort_by_key(|name| std::cmp::Reverse(name.time));
    let mut daily = Slots::new(keep.daily);
    let mut weekly = Slots::new(keep.weekly);
    let mut monthly = Slots::new(keep.monthly);
    let mut index = 0;
    names.retain(|name| {
        let (day, week, month) = calendar(name.time);
        let last = index < keep.last.max(1);
        index += 1;
        // Each has to be asked: an archive fills its day, week and month whoever else wants it.
        let wanted = [daily.wants(day), weekly.wants(week), monthly.wants(month)];
        !(last || wanted.contains(&true))
    });
    names
}

/// Days, weeks or months, each of which takes one archive.
struct Slots {
    left: u32,
    current: Option<i64>,
}

impl Slots {
    fn new(left: u32) -> Slots {
        Slots { left, current: None }
    }

    fn wants(&mut self, period: i64) -> bool {
        if self.left == 0 || self.current == Some(period) {
            return false;
        }
        self.current = Some(period);
        self.left -= 1;
        true
    }
}

/// The day, the week and the month, each counted from some beginning.
fn calendar(time: Time) -> (i64, i64, i64) {
    let day = time.ms().div_euclid(86_400_000);
    let date = Timestamp::from_millisecond(time.ms())
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_zoned(TimeZone::UTC)
        .date();
    // 1 January 1970 was a Thursday.
    let week = (day + 3).div_euclid(7);
    (day, week, i64::from(date.year()) * 12 + i64::from(date.month()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: Keep, times: &[&str]) -> Vec<String> {
        let all: Vec<Name> = times.iter().map(|t| Name::new("p", Time::parse(t).unwrap())).collect();
        let gone = expired(keep, all.clone());
        let mut left: Vec<String> = all
            .iter()
            .filter(|n| !gone.contains(n))
            .map(|n| n.time.rfc3339())
            .collect();
        left.sort();
        left
    }

    #[test]
    fn each_kind_keeps_its_own() {
        let times = [
            "2026-11-22T10:00:00Z", // a Sunday
            "2026-11-22T08:00:00Z",
            "2026-11-21T10:00:00Z",
            "2026-11-16T10:00:00Z", // the Monday of that week
            "2026-11-15T10:00:00Z", // the week before
            "2026-10-31T10:00:00Z",
            "2026-10-01T10:00:00Z",
        ];
        let keep = |last, daily, weekly, monthly| Keep {
            last,
            daily,
            weekly,
            monthly,
        };
        assert_eq!(kept(keep(0, 0, 0, 0), &times).len(), 7);
        assert_eq!(
            kept(keep(2, 0, 0, 0), &times),
            ["2026-11-22T08:00:00Z", "2026-11-22T10:00:00Z"]
        );
        assert_eq!(
            kept(keep(0, 2, 0, 0), &times),
            ["2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z"]
        );
        assert_eq!(
            kept(keep(0, 0, 2, 0), &times),
            ["2026-11-15T10:00:00Z", "2026-11-22T10:00:00Z"]
        );
        assert_eq!(
            kept(keep(0, 0, 0, 9), &times),
            ["2026-10-31T10:00:00Z", "2026-11-22T10:00:00Z"]
        );
        assert_eq!(
            kept(keep(2, 2, 2, 2), &times),
            [
                "2026-10-31T10:00:00Z",
                "2026-11-15T10:00:00Z",
                "2026-11-21T10:00:00Z",
                "2026-11-22T08:00:00Z",
                "2026-11-22T10:00:00Z"
            ]
        );
        assert_eq!(kept(keep(0, 1, 0, 0), &[]), Vec::<String>::new());
    }
}
