//! `[backup]`: where backups go, how often, and which are kept.

use std::time::Duration;

use crate::problem::Location;
use crate::secret::Secret;
use crate::section::Section;
use crate::url::Url;

/// `[backup]`.
#[derive(Debug, Clone)]
pub struct Backup {
    /// `to`: a folder, relative to the project's directory, or `s3://bucket/prefix`; default none, and then nothing is scheduled.
    pub to: Option<String>,
    /// `every`: how often the worker takes one; default never.
    pub every: Option<Duration>,
    /// `keep`; default everything.
    pub keep: BackupKeep,
    /// `endpoint`: of a service that speaks S3 and is not Amazon's.
    pub endpoint: Option<Url>,
    /// `region`.
    pub region: Option<String>,
    /// `access_key`: its id; default as `AWS_ACCESS_KEY_ID` or the machine's role says.
    pub access_key: Option<Secret>,
    /// `secret_key`.
    pub secret_key: Option<Secret>,
    /// Where the section stands.
    pub at: Location,
}

/// `keep = { last = 7, daily = 7, weekly = 4, monthly = 0 }`: how many of each; all zero keeps everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackupKeep {
    /// The newest.
    pub last: u32,
    /// The newest of a day.
    pub daily: u32,
    /// The newest of a week.
    pub weekly: u32,
    /// The newest of a month.
    pub monthly: u32,
}

pub(super) fn read(section: &Section<'_>) -> Backup {
    let to = section.text("to");
    if let Some(text) = &to {
        let scheme = text.text.split_once("://").map(|(scheme, _)| scheme);
        match scheme {
            None | Some("file") if text.text.is_empty() => {
                section.report_at(&text.at, "to", "the path is empty", None);
            }
            None if text.text.starts_with("s3:") => section.report_at(
                &text.at,
                "to",
                format!("{} is no place for backups", text.quoted()),
                Some("write for example \"s3://bucket/prefix\""),
            ),
            None | Some("file") => {}
            Some("s3") if text.text.len() > "s3://".len() => {}
            Some("s3") => section.report_at(
                &text.at,
                "to",
                "names no bucket",
                Some("write for example \"s3://bucket/prefix\""),
            ),
            Some(_) => section.report_at(
                &text.at,
                "to",
                format!("{} is no place for backups", text.quoted()),
                Some("write a folder, or s3://bucket/prefix for anything that speaks S3"),
            ),
        }
    }
    let every = section.positive_duration("every");
    if every.is_some() && to.is_none() {
        section.report(
            "every",
            "has nowhere to put backups",
            Some("add for example to = \"backups\""),
        );
    }
    let keys = section.section("keep");
    let count = |key| keys.count(key, 0..=100_000).unwrap_or(0);
    let keep = BackupKeep {
        last: count("last"),
        daily: count("daily"),
        weekly: count("weekly"),
        monthly: count("monthly"),
    };
    drop(keys);
    let (access_key, secret_key) = (section.secret("access_key"), section.secret("secret_key"));
    for (key, there, other) in [
        ("access_key", access_key.is_some(), secret_key.is_some()),
        ("secret_key", secret_key.is_some(), access_key.is_some()),
    ] {
        if there && !other {
            section.report(
                key,
                "is half of a pair",
                Some("give access_key and secret_key, or neither"),
            );
        }
    }
    let endpoint = section.url("endpoint");
    if let Some(url) = &endpoint
        && !["http", "https"].contains(&&*url.scheme())
    {
        section.report("endpoint", "is not an http:// or https:// URL", None);
    }
    Backup {
        to: to.map(|text| text.text),
        every,
        keep,
        endpoint,
        region: section.string("region"),
        access_key,
        secret_key,
        at: section.at(),
    }
}
