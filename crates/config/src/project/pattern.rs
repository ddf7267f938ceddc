//! The `match` of a route: which methods and paths it takes.

/// The `match` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// The methods; empty for all of them.
    pub methods: Vec<String>,
    /// The path.
    pub path: PathPattern,
    /// The text as written.
    pub text: String,
}

impl RouteMatch {
    /// Reads `"PATH"`, `"METHOD PATH"` or `"METHOD,METHOD PATH"`. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<RouteMatch, String> {
        let mut words = text.split_ascii_whitespace();
        let (first, second) = (words.next().unwrap_or_default(), words.next());
        if words.next().is_some() {
            return Err("has more than a method and a path".to_string());
        }
        let (methods, path) = match second {
            Some(path) => (first, path),
            None => ("", first),
        };
        let mut read = Vec::new();
        for method in methods.split(',').filter(|_| !methods.is_empty()) {
            if method.is_empty() || !method.chars().all(|c| c.is_ascii_uppercase() || c == '-') {
                return Err(format!(
                    "{method:?} is not a method: methods are in capitals and separated by commas"
                ));
            }
            if !read.iter().any(|known| known == method) {
                read.push(method.to_string());
            }
        }
        Ok(RouteMatch {
            methods: read,
            path: PathPattern::parse(path)?,
            text: text.to_string(),
        })
    }

    /// Whether a request's method is meant. A route for GET takes HEAD as well.
    pub fn takes_method(&self, method: &str) -> bool {
        self.methods.is_empty()
            || self
                .methods
                .iter()
                .any(|known| known == method || (known == "GET" && method == "HEAD"))
    }
}

/// A path with wildcards: `*` is one segment, a final `**` is any number of them, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// The segments between the slashes.
    pub segments: Vec<Segment>,
}

/// A part of a [`PathPattern`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text, after percent decoding.
    Literal(String),
    /// `*`: one segment, not empty.
    One,
    /// `**`: all that follows; only at the end.
    Rest,
}

impl PathPattern {
    /// Reads `/pay/**`. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<PathPattern, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("the path {text:?} does not begin with a slash"));
        };
        let mut segments = Vec::new();
        let parts: Vec<&str> = path.split('/').collect();
        for (index, part) in parts.iter().enumerate() {
            segments.push(match *part {
                "**" if index + 1 == parts.len() => Segment::Rest,
                "**" => return Err("`**` is allowed only at the end of the path".to_string()),
                "*" => Segment::One,
                "." | ".." => {
                    return Err("`.` and `..` cannot match: paths are resolved before they are routed".to_string());
                }
                literal if literal.contains('*') => {
                    return Err(format!(
                        "{literal:?}: a `*` stands for a whole segment, between two slashes"
                    ));
                }
                literal if literal.contains(['?', '#', '{', '}']) => {
                    return Err(format!("{literal:?}: a path is literal text, `*` and a final `**`"));
                }
                "" if index + 1 < parts.len() => return Err("two slashes follow each other".to_string()),
                literal => Segment::Literal(literal.to_string()),
            });
        }
        Ok(PathPattern { segments })
    }

    /// Whether `path` (percent-decoded, with its leading slash) is meant.
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else {
            return false;
        };
        let mut parts = path.split('/');
        for segment in &self.segments {
            match (segment, parts.next()) {
                // `/pay/**` takes `/pay` and `/pay/` too.
                (Segment::Rest, _) => return true,
                (Segment::Literal(literal), Some(part)) if literal == part => {}
                (Segment::One, Some(part)) if !part.is_empty() => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// The literal beginning of the pattern, `/pay` of `/pay/*/x`.
    pub fn literal_prefix(&self) -> String {
        let literals = self.segments.iter().map_while(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            _ => None,
        });
        literals.fold(String::new(), |prefix, part| format!("{prefix}/{part}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match() {
        for (pattern, path, expected) in [
            ("/pay/**", "/pay/x/y", true),
            ("/pay/**", "/pay/", true),
            ("/pay/**", "/pay", true),
            ("/pay/**", "/payments", false),
            ("/pay/**", "/", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/d", false),
            ("/*/**", "/a", true),
            ("/*/**", "/", false),
            ("/a", "a", false),
        ] {
            let parsed = PathPattern::parse(pattern).expect("a pattern");
            assert_eq!(parsed.matches(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn matches_are_read() {
        for (text, methods, takes, refuses) in [
            ("POST /pay/**", vec!["POST"], vec!["POST"], vec!["GET", "HEAD"]),
            ("GET /rates", vec!["GET"], vec!["GET", "HEAD"], vec!["POST"]),
            (
                "GET,POST,GET /x",
                vec!["GET", "POST"],
                vec!["GET", "POST", "HEAD"],
                vec!["DELETE"],
            ),
            ("/x", vec![], vec!["GET", "PURGE"], vec![]),
        ] {
            let parsed = RouteMatch::parse(text).expect("a match");
            assert_eq!(parsed.methods, methods, "for {text}");
            assert!(takes.iter().all(|method| parsed.takes_method(method)), "for {text}");
            assert!(!refuses.iter().any(|method| parsed.takes_method(method)), "for {text}");
        }
        for (text, reason) in [
            ("", "the path \"\" does not begin with a slash"),
            ("GET", "the path \"GET\" does not begin with a slash"),
            (
                "get /x",
                "\"get\" is not a method: methods are in capitals and separated by commas",
            ),
            (
                "GET, /x",
                "\"\" is not a method: methods are in capitals and separated by commas",
            ),
            ("GET /x HTTP/1.1", "has more than a method and a path"),
            ("/a/**/b", "`**` is allowed only at the end of the path"),
            ("/a/b*", "\"b*\": a `*` stands for a whole segment, between two slashes"),
            ("/a/{id}", "\"{id}\": a path is literal text, `*` and a final `**`"),
            ("/a//b", "two slashes follow each other"),
            (
                "/a/../b",
                "`.` and `..` cannot match: paths are resolved before they are routed",
            ),
        ] {
            assert_eq!(RouteMatch::parse(text), Err(reason.to_string()), "for {text:?}");
        }
    }
}
