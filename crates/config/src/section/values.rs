//! What a key's value may be, beyond a string: numbers, quantities, choices, addresses, secrets.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use crate::document::Value;
use crate::problem::suggest;
use crate::secret::Secret;
use crate::section::{Origin, Section, Text};
use crate::units::{self, Rate};
use crate::url::Url;

impl Section<'_> {
    /// A text that is never shown again. A literal in the file is allowed, with a warning: files end up in repositories.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        let text = self.text(key)?;
        if text.text.is_empty() {
            self.report_at(&text.at, key, "the secret is empty", None);
            return None;
        }
        if text.origin == Origin::Literal && text.at.line > 0 {
            self.warn(
                key,
                "a secret is written in the file",
                Some("keep it out of it with { env = \"NAME\" } or { file = \"path\" }"),
            );
        }
        Some(Secret::new(text.text))
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match &self.node(key)?.value {
            Value::Boolean(value) => Some(*value),
            other => self.expected(key, "true or false", other),
        }
    }

    /// A whole number within `range`.
    pub fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        match &self.node(key)?.value {
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) if range.contains(&number) => Some(number),
                _ => {
                    let bounds = match (*range.start(), *range.end()) {
                        (low, u64::MAX) => format!("{number} is out of range: at least {low}"),
                        (low, high) => format!("{number} is out of range: {low} to {high}"),
                    };
                    self.report(key, bounds, None);
                    None
                }
            },
            other => self.expected(key, "a whole number", other),
        }
    }

    /// A whole number within `range`, for what counts things that never reach four billion.
    pub fn count(&self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let number = self.integer(key, u64::from(*range.start())..=u64::from(*range.end()))?;
        u32::try_from(number).ok()
    }

    /// Bytes: `"256MiB"`.
    pub fn size(&self, key: &str) -> Option<u64> {
        self.unit(key, "a size", "256MiB", units::parse_size)
    }

    /// A time: `"30s"`.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.unit(key, "a duration", "30s", units::parse_duration)
    }

    /// A time that zero makes no sense for.
    pub fn positive_duration(&self, key: &str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            self.report(key, "must be longer than zero", None);
            return None;
        }
        Some(duration)
    }

    /// So many per time: `"100/min"`.
    pub fn rate(&self, key: &str) -> Option<Rate> {
        self.unit(key, "a rate", "100/min", units::parse_rate)
    }

    /// A share between 0 and 1: `"20%"`.
    pub fn percent(&self, key: &str) -> Option<f64> {
        self.unit(key, "a percentage", "20%", units::parse_percent)
    }

    /// One of a few words.
    pub fn choice<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        self.choice_of(key, &text, choices)
    }

    /// Some of a few words; a single one may stand without brackets.
    pub fn choices<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        Some(
            self.texts(key)?
                .iter()
                .filter_map(|text| self.choice_of(key, text, choices))
                .collect(),
        )
    }

    fn choice_of<T: Clone>(&self, key: &str, text: &Text, choices: &[(&str, T)]) -> Option<T> {
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text.text) {
            return Some(value.clone());
        }
        let words = choices.iter().map(|(word, _)| *word);
        let help = match suggest(&text.text, words.clone()) {
            Some(close) => format!("did you mean {close:?}?"),
            None => format!(
                "one of {}",
                words.map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ")
            ),
        };
        self.report_at(&text.at, key, format!("{} is not a choice", text.quoted()), Some(&help));
        None
    }

    /// A URL with a scheme.
    pub fn url(&self, key: &str) -> Option<Url> {
        let text = self.text(key)?;
        self.url_of(key, &text)
    }

    /// A text as a URL, complaining about `key` when it is none.
    pub fn url_of(&self, key: &str, text: &Text) -> Option<Url> {
        let url = Url::parse(&text.text);
        if url.is_none() {
            let help = "a URL begins with its scheme, such as sqlite:, postgres:// or http://";
            self.report_at(&text.at, key, format!("{} is not a URL", text.quoted()), Some(help));
        }
        url
    }

    /// A path, relative to the project's directory.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.text.is_empty() {
            self.report_at(&text.at, key, "the path is empty", None);
            return None;
        }
        Some(self.document.directory.join(text.text))
    }

    /// An address to listen on: `"127.0.0.1:8080"`, `"[::1]:8080"`, `"localhost:8080"`, or `":8080"` for every interface.
    pub fn listen_address(&self, key: &str) -> Option<SocketAddr> {
        let text = self.text(key)?;
        let parsed = text.text.parse::<SocketAddr>().ok().or_else(|| {
            let (host, port) = text.text.rsplit_once(':')?;
            let address: IpAddr = match host {
                "" => Ipv4Addr::UNSPECIFIED.into(),
                "localhost" => Ipv4Addr::LOCALHOST.into(),
                _ => return None,
            };
            Some(SocketAddr::new(address, port.parse().ok()?))
        });
        if parsed.is_none() {
            let message = format!("{} is not an address to listen on", text.quoted());
            self.report_at(
                &text.at,
                key,
                message,
                Some("write IP:PORT, for example \"127.0.0.1:8080\""),
            );
        }
        parsed
    }

    fn expected<T>(&self, key: &str, what: &str, found: &Value) -> Option<T> {
        self.report(key, format!("expected {what}, found {}", found.describe()), None);
        None
    }

    fn unit<T>(&self, key: &str, what: &str, example: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        let node = self.node(key)?;
        let help = format!("write for example {example:?}");
        if let Value::Integer(_) | Value::Float(_) = &node.value {
            let message = format!("expected {what} with its unit, found {}", node.value.describe());
            self.report(key, message, Some(&help));
            return None;
        }
        let text = self.text_of(key, node)?;
        let parsed = parse(text.text.trim());
        if parsed.is_none() {
            self.report_at(&text.at, key, format!("{} is not {what}", text.quoted()), Some(&help));
        }
        parsed
    }
}
