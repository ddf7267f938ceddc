//! `Prefer` (RFC 7240): what the dialect knows of it, and `Preference-Applied`.

use http::HeaderMap;
use mainstay_model::{Count, Error};
use mainstay_query::Consistency;

/// What a write gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Return {
    Representation,
    Minimal,
    HeadersOnly,
}

/// What an insert does with rows that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    Merge,
    Ignore,
}

/// The preferences of a request. Of several for one thing the first counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Preferences<'a> {
    pub resolution: Option<Resolution>,
    /// A column that a row lacks takes its default (`true`) or NULL.
    pub missing_default: Option<bool>,
    pub returning: Option<Return>,
    pub count: Option<Count>,
    /// The transaction is undone (`true`) or kept.
    pub rollback: Option<bool>,
    pub strict: Option<bool>,
    pub timezone: Option<&'a str>,
    pub max_affected: Option<u64>,
    pub respond_async: bool,
    pub consistency: Option<Consistency>,
    /// Those nobody knows.
    pub unknown: Vec<&'a str>,
}

impl<'a> Preferences<'a> {
    /// Reads every `Prefer` header.
    pub fn read(headers: &'a HeaderMap) -> Preferences<'a> {
        let mut all = Preferences::default();
        for header in headers.get_all("prefer") {
            let Ok(text) = header.to_str() else { continue };
            for preference in text.split(',') {
                all.take(preference.trim());
            }
        }
        all
    }

    fn take(&mut self, preference: &'a str) {
        fn first<T>(slot: &mut Option<T>, value: T) {
            slot.get_or_insert(value);
        }
        match preference {
            "" => {}
            "resolution=merge-duplicates" => first(&mut self.resolution, Resolution::Merge),
            "resolution=ignore-duplicates" => first(&mut self.resolution, Resolution::Ignore),
            "missing=default" => first(&mut self.missing_default, true),
            "missing=null" => first(&mut self.missing_default, false),
            "return=representation" => first(&mut self.returning, Return::Representation),
            "return=minimal" => first(&mut self.returning, Return::Minimal),
            "return=headers-only" => first(&mut self.returning, Return::HeadersOnly),
            "count=exact" => first(&mut self.count, Count::Exact),
            "count=planned" => first(&mut self.count, Count::Planned),
            "count=estimated" => first(&mut self.count, Count::Estimated(Count::ESTIMATE_FROM)),
            "tx=commit" => first(&mut self.rollback, false),
            "tx=rollback" => first(&mut self.rollback, true),
            "handling=strict" => first(&mut self.strict, true),
            "handling=lenient" => first(&mut self.strict, false),
            "respond-async" => self.respond_async = true,
            "consistency=strong" => first(&mut self.consistency, Consistency::Strong),
            "consistency=session" => first(&mut self.consistency, Consistency::Session),
            "consistency=bounded" => first(&mut self.consistency, Consistency::Bounded),
            other => {
                if let Some(zone) = other.strip_prefix("timezone=") {
                    first(&mut self.timezone, zone);
                } else if let Some(number) = other.strip_prefix("max-affected=").and_then(|n| n.parse().ok()) {
                    first(&mut self.max_affected, number);
                } else {
                    self.unknown.push(other);
                }
            }
        }
    }

    /// Refuses what nobody knows, if the caller wants that: PGRST122. `params=single-object`, which older clients send, would
    /// change what is called, so it is refused always.
    pub fn check(&self) -> Result<(), Error> {
        if self.unknown.contains(&"params=single-object") {
            let error = Error::new("PGRST122", "The preference params=single-object is no longer supported");
            return Err(error.hint(
                "declare the function with one unnamed json or jsonb parameter, and send the object as the body",
            ));
        }
        if self.strict == Some(true) && !self.unknown.is_empty() {
            return Err(crate::error::invalid_preferences(&self.unknown));
        }
        Ok(())
    }

    /// How rows are counted of which a page has at most so many: an estimate is exact up to there.
    pub fn counted(&self, page_limit: Option<u64>) -> Count {
        match (self.count, page_limit) {
            (Some(Count::Estimated(_)), Some(limit)) => Count::Estimated(limit),
            (count, _) => count.unwrap_or_default(),
        }
    }

    /// `max-affected`, which counts only when the caller is strict.
    pub fn enforced_max_affected(&self) -> Option<u64> {
        self.max_affected.filter(|_| self.strict == Some(true))
    }
}

/// Which preferences a kind of request honours.
#[derive(Clone, Copy, Default)]
pub(crate) struct Honoured {
    pub resolution: bool,
    pub missing: bool,
    pub returning: bool,
    pub rollback: bool,
    pub max_affected: bool,
}

impl Honoured {
    /// Of any write of a table; `rollback`: where trying out is allowed.
    pub fn by_writes(rollback: bool) -> Honoured {
        Honoured {
            returning: true,
            rollback,
            ..Honoured::default()
        }
    }
}

impl Preferences<'_> {
    /// The value of `Preference-Applied`; `None` when there is nothing to say.
    pub fn applied(&self, honoured: Honoured) -> Option<String> {
        let mut out = String::new();
        let mut add = |word: &str| {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(word);
        };
        match self.resolution.filter(|_| honoured.resolution) {
            Some(Resolution::Merge) => add("resolution=merge-duplicates"),
            Some(Resolution::Ignore) => add("resolution=ignore-duplicates"),
            None => {}
        }
        match self.missing_default.filter(|_| honoured.missing) {
            Some(true) => add("missing=default"),
            Some(false) => add("missing=null"),
            None => {}
        }
        match self.returning.filter(|_| honoured.returning) {
            Some(Return::Representation) => add("return=representation"),
            Some(Return::Minimal) => add("return=minimal"),
            Some(Return::HeadersOnly) => add("return=headers-only"),
            None => {}
        }
        match self.count {
            Some(Count::Exact) => add("count=exact"),
            Some(Count::Planned) => add("count=planned"),
            Some(Count::Estimated(_)) => add("count=estimated"),
            Some(Count::None) | None => {}
        }
        match self.rollback.filter(|_| honoured.rollback) {
            Some(true) => add("tx=rollback"),
            Some(false) => add("tx=commit"),
            None => {}
        }
        match self.strict {
            Some(true) => add("handling=strict"),
            Some(false) => add("handling=lenient"),
            None => {}
        }
        if let Some(zone) = self.timezone {
            add(&format!("timezone={zone}"));
        }
        if let Some(most) = self.enforced_max_affected().filter(|_| honoured.max_affected) {
            add(&format!("max-affected={most}"));
        }
        match self.consistency {
            Some(Consistency::Strong) => add("consistency=strong"),
            Some(Consistency::Session) => add("consistency=session"),
            Some(Consistency::Bounded) => add("consistency=bounded"),
            None => {}
        }
        (!out.is_empty()).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Honoured = Honoured {
        resolution: true,
        missing: true,
        returning: true,
        rollback: true,
        max_affected: true,
    };

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("prefer", line.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_applied_comes_in_the_dialects_order() {
        for (lines, want) in [
            (
                &[
                    "max-affected=5, timezone=UTC, handling=strict, tx=rollback, count=exact, return=minimal, missing=default, resolution=merge-duplicates",
                ][..],
                "resolution=merge-duplicates, missing=default, return=minimal, count=exact, tx=rollback, handling=strict, timezone=UTC, max-affected=5",
            ),
            (&["return=representation", "return=minimal"], "return=representation"),
            (&["count=exact,count=planned"], "count=exact"),
            (&["max-affected=5"], ""),
            (&["consistency=strong"], "consistency=strong"),
            (&["nonsense"], ""),
        ] {
            assert_eq!(
                Preferences::read(&headers(lines)).applied(ALL).unwrap_or_default(),
                want,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn the_strict_are_told_what_nobody_knows() {
        let lenient = headers(&["anything, return=minimal"]);
        assert!(Preferences::read(&lenient).check().is_ok());
        let strict = headers(&["anything", "handling=strict, other=1"]);
        let error = Preferences::read(&strict).check().unwrap_err();
        assert_eq!(
            (&*error.code, error.details.as_deref()),
            ("PGRST122", Some("Invalid preferences: anything, other=1"))
        );
        assert!(Preferences::read(&headers(&["params=single-object"])).check().is_err());
    }
}
