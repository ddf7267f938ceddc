//! What is wrong, where, and what to do about it: the one shape in which the configuration complains.

use std::fmt;
use std::sync::Arc;

/// A place in a file (or in an override given as `--set`), for messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file's name as the user knows it, or `--set KEY`.
    pub file: Arc<str>,
    /// Line, counted from 1; 0 when the place has no line (an override, a default, a missing file).
    pub line: u32,
    /// Column in characters, counted from 1; 0 when the place has no line.
    pub column: u32,
}

impl Location {
    /// A place without line and column: the file (or override) as a whole.
    pub fn whole(file: impl Into<Arc<str>>) -> Location {
        Location {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }

    /// A problem at this place.
    pub fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            message: message.into(),
            help: None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file),
            line => write!(f, "{}:{}:{}", self.file, line, self.column),
        }
    }
}

/// One thing that is wrong (or, as a warning, suspicious), fit to be printed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as the user knows it, or `--set KEY`.
    pub file: String,
    /// Line, counted from 1; 0 when there is none.
    pub line: u32,
    /// Column in characters, counted from 1; 0 when there is none.
    pub column: u32,
    /// What is wrong, naming the culprit.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// The same problem with advice.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    /// The order in which problems are printed: file by file, top to bottom, overrides after the file.
    pub(crate) fn order(&self) -> (bool, &str, u32, u32) {
        (self.file.starts_with("--set"), &self.file, self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            line => write!(f, "{}:{}:{}: {}", self.file, line, self.column, self.message)?,
        }
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// The candidate that `wrong` was most likely meant to be, if any is close enough to be worth suggesting.
///
/// Close means: one edit for every three characters (a swap of neighbours is one edit), or equal but for case and the
/// choice between `-` and `_`.
pub fn suggest<'c>(wrong: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let wrong = plain(wrong);
    let allowed = (wrong.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wrong, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["memory", "bound", "shared", "table", "strip_prefix", "to"];
        for (wrong, expected) in [
            ("memroy", Some("memory")),
            ("Memory", Some("memory")),
            ("strip-prefix", Some("strip_prefix")),
            ("tables", Some("table")),
            ("bond", Some("bound")),
            ("ot", Some("to")),
            ("xy", None),
            ("timeout", None),
            ("", None),
        ] {
            assert_eq!(suggest(wrong, known), expected, "for {wrong:?}");
        }
    }

    #[test]
    fn a_problem_prints_as_one_line() {
        let place = Location {
            file: "mainstay.toml".into(),
            line: 12,
            column: 5,
        };
        let problem = place
            .problem("unknown key `memroy` in [cache]")
            .help("did you mean `memory`?");
        assert_eq!(
            problem.to_string(),
            "mainstay.toml:12:5: unknown key `memroy` in [cache]; did you mean `memory`?"
        );
        assert_eq!(Location::whole("--set a.b").problem("no").to_string(), "--set a.b: no");
    }
}
