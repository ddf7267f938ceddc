//! A URL that may carry a password, and therefore prints without it.

use std::fmt;
use std::path::Path;

/// A URL as configured, `scheme:rest`. It is kept as written: each engine parses its own dialect of it. `Debug` and `Display`
/// hide the password (`postgres://app:…@db/shop`) and whatever query parameter is called like one.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// Accepts `scheme:…` where the scheme is as RFC 3986, section 3.1 has it. `None` otherwise, and for text with spaces or
    /// control characters.
    pub fn parse(text: &str) -> Option<Url> {
        let (scheme, _) = text.split_once(':')?;
        let mut characters = scheme.chars();
        let sound = characters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        (sound && !text.chars().any(|c| c.is_control() || c == ' ')).then(|| Url(text.to_string()))
    }

    /// `scheme:path`, whatever characters the path has. (An engine takes the rest as a file name, without unescaping.)
    pub fn of_file(scheme: &str, path: &Path) -> Url {
        Url(format!("{scheme}:{}", path.display()))
    }

    /// The scheme in lower case: `sqlite`, `postgres`, `https`.
    pub fn scheme(&self) -> String {
        self.0.split(':').next().unwrap_or_default().to_ascii_lowercase()
    }

    /// What follows the scheme and its colon: `.mainstay/main.db`, `//user:password@host/path`.
    pub fn rest(&self) -> &str {
        self.0.split_once(':').map(|(_, rest)| rest).unwrap_or_default()
    }

    /// `host` or `host:port`, when the URL has one.
    pub fn authority(&self) -> Option<&str> {
        let rest = self.rest().strip_prefix("//")?;
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        (!host.is_empty()).then_some(host)
    }

    /// The path with its leading `/`; empty when there is none.
    pub fn path(&self) -> &str {
        let Some(rest) = self.rest().strip_prefix("//") else {
            return "";
        };
        let path = &rest[rest.find(['/', '?', '#']).unwrap_or(rest.len())..];
        &path[..path.find(['?', '#']).unwrap_or(path.len())]
    }

    /// The whole URL with whatever secret is in it. Whoever calls this answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, tail) = match self.0.split_once('?') {
            Some((head, tail)) => (head, Some(tail)),
            None => (self.0.as_str(), None),
        };
        // The last `@` before the path ends the user information: a password may itself contain one.
        let start = head.find("//").map_or(0, |at| at + 2);
        let end = head[start..].find('/').map_or(head.len(), |at| start + at);
        match head[start..end].rfind('@').map(|at| start + at) {
            Some(at) => match head[start..at].find(':') {
                Some(colon) => write!(f, "{}:…{}", &head[..start + colon], &head[at..])?,
                None => f.write_str(head)?,
            },
            None => f.write_str(head)?,
        }
        let Some(tail) = tail else { return Ok(()) };
        for (index, pair) in tail.split('&').enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some((name, _)) if is_secret_name(name) => write!(f, "{name}=…")?,
                _ => f.write_str(pair)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// Whether a query parameter's name says that its value is secret.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passwd", "secret", "token", "key"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden() {
        for (text, shown) in [
            ("sqlite:.mainstay/main.db", "sqlite:.mainstay/main.db"),
            ("postgres://db/shop", "postgres://db/shop"),
            ("postgres://app@db/shop", "postgres://app@db/shop"),
            ("postgres://app:hunter2@db/shop", "postgres://app:…@db/shop"),
            ("postgres://app:p@ss@db/shop", "postgres://app:…@db/shop"),
            ("postgres://app:hunter2@db", "postgres://app:…@db"),
            ("redis://:hunter2@cache:6379/0", "redis://:…@cache:6379/0"),
            (
                "postgres://db/shop?user=app&password=hunter2",
                "postgres://db/shop?user=app&password=…",
            ),
            (
                "https://hooks.example/a?access_token=hunter2&x=1",
                "https://hooks.example/a?access_token=…&x=1",
            ),
            ("https://hooks.example/who@where", "https://hooks.example/who@where"),
        ] {
            let url = Url::parse(text).unwrap_or_else(|| panic!("{text} is a URL"));
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("Url({shown})"));
            assert_eq!(url.expose(), text);
        }
    }

    #[test]
    fn parts() {
        for (text, scheme, authority, path) in [
            ("sqlite:.mainstay/main.db", "sqlite", None, ""),
            ("embedded:", "embedded", None, ""),
            (
                "HTTP://127.0.0.1:9000/hooks?x=/y",
                "http",
                Some("127.0.0.1:9000"),
                "/hooks",
            ),
            ("https://u:p@example.org", "https", Some("example.org"), ""),
            ("https:///path", "https", None, "/path"),
        ] {
            let url = Url::parse(text).unwrap_or_else(|| panic!("{text} is a URL"));
            assert_eq!(
                (url.scheme().as_str(), url.authority(), url.path()),
                (scheme, authority, path),
                "for {text}"
            );
        }
        for text in ["", "main.db", "1a:b", ":x", "http://a b", "a_b://c", "http://a\n"] {
            assert_eq!(Url::parse(text), None, "for {text:?}");
        }
    }
}
