//! What archives are called: `shop-20261122T221500.123Z.mainstay.tar.gz`. The name alone says whose it is and when it was taken,
//! so that retention and the next due time need no more than a listing.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// How every archive's name ends.
const SUFFIX: &str = ".mainstay.tar.gz";
const TIME: &str = "%Y%m%dT%H%M%S%.3fZ";
/// Characters of a time in a name.
const TIME_LENGTH: usize = "20261122T221500.123Z".len();

/// A moment, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// Now.
    pub fn now() -> Time {
        Time(Timestamp::now().as_millisecond())
    }

    /// Of milliseconds since the Unix epoch.
    pub fn from_ms(ms: i64) -> Time {
        Time(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub fn ms(self) -> i64 {
        self.0
    }

    /// RFC 3339, in UTC.
    pub fn rfc3339(self) -> String {
        self.timestamp().to_string()
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Time> {
        Some(Time(text.parse::<Timestamp>().ok()?.as_millisecond()))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// The parts of an archive's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The project's name, reduced to letters, digits, `_`, `-` and `.`.
    pub project: String,
    /// When the backup began.
    pub time: Time,
}

impl Name {
    /// A name for a project's archive.
    pub fn new(project: &str, time: Time) -> Name {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "_-.".contains(c) {
                c
            } else {
                '_'
            }
        };
        let project: String = project.chars().map(plain).collect();
        let project = if project.is_empty() {
            "project".to_owned()
        } else {
            project
        };
        Name { project, time }
    }

    /// Reads a file's name; `None` when it is no archive's.
    pub fn parse(file: &str) -> Option<Name> {
        let rest = file.strip_suffix(SUFFIX)?;
        let (project, time) = rest.split_at_checked(rest.len().checked_sub(TIME_LENGTH)?)?;
        let project = project.strip_suffix('-').filter(|p| !p.is_empty())?;
        let civil = DateTime::strptime(TIME, time).ok()?;
        let time = civil.to_zoned(TimeZone::UTC).ok()?.timestamp();
        Some(Name {
            project: project.to_owned(),
            time: Time(time.as_millisecond()),
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}{SUFFIX}", self.project, self.time.timestamp().strftime(TIME))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back() {
        let time = Time::parse("2026-11-22T22:15:00.123Z").unwrap();
        for (project, file) in [
            ("shop", "shop-20261122T221500.123Z.mainstay.tar.gz"),
            ("my-shop.2", "my-shop.2-20261122T221500.123Z.mainstay.tar.gz"),
            ("a b/ä", "a_b__-20261122T221500.123Z.mainstay.tar.gz"),
            ("", "project-20261122T221500.123Z.mainstay.tar.gz"),
        ] {
            let name = Name::new(project, time);
            assert_eq!(name.to_string(), file);
            assert_eq!(Name::parse(file), Some(name));
        }
        assert_eq!(time.rfc3339(), "2026-11-22T22:15:00.123Z");
        for other in [
            "shop.tar.gz",
            "-20261122T221500.123Z.mainstay.tar.gz",
            "shop-20261122T221500Z.mainstay.tar.gz",
            "shop-20261322T221500.123Z.mainstay.tar.gz",
            "shop-20261122T221500.123Z.mainstay.tar.gz.part",
            "ä.mainstay.tar.gz",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
