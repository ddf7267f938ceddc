//! Security before anything that can fail.
//!
//! SQLite evaluates the conditions of a WHERE in the order that suits it, those of the queries around and within included. What raises an
//! error (a division, a regular expression, a cast) would then raise it for rows that the caller must not see, and so tell of them. Such
//! a condition is therefore asked behind the policies of the rows it is asked of (`CASE WHEN policy THEN condition END`), and rows that
//! come through a view or subquery are fetched before it is (`LIMIT -1`, which SQLite neither merges with the query around nor pushes a
//! condition into). A condition that cannot fail stands by itself, where an index may answer it.

use super::render::Renderer;
use mainstay_model::{Expr, ExprKind, Result};

/// What may be a fence stands between these, until it is known whether anything that can fail is asked of it. No text has a NUL.
const OPEN: &str = "\0<";
const CLOSE: &str = "\0>";

/// Functions of SQLite's and ours that fail for no stored value.
const TOTAL: &[&str] = &[
    "coalesce",
    "count",
    "hex",
    "instr",
    "length",
    "lower",
    "ltrim",
    "mainstay_interval_key",
    "mainstay_num",
    "mainstay_num_key",
    "max",
    "min",
    "nullif",
    "octet_length",
    "rtrim",
    "substr",
    "trim",
    "upper",
];

/// Which rows of a FROM clause are asked for: the conditions of its WHERE, and what comes before those that can fail.
#[derive(Default)]
pub(super) struct Barrier {
    ties: Vec<String>,
    conditions: Vec<String>,
    /// What holds of every row that may be seen.
    guards: Vec<String>,
    /// A source hides rows of its own.
    hides: bool,
    /// Something that can fail is asked.
    fallible: bool,
}

impl Barrier {
    /// What ties the rows to others: it stands first.
    pub fn tie(&mut self, condition: String) {
        self.ties.push(condition);
    }

    /// The security of a source, and what holds of its rows that may be seen, those that an outer join did not find included.
    pub fn secure(&mut self, condition: String, guard: String) {
        self.conditions.push(condition);
        self.guards.push(guard);
    }

    /// Conditions that stand for themselves: security that was told before.
    pub fn require(&mut self, conditions: Vec<String>) {
        self.conditions.extend(conditions);
    }

    /// Rows are hidden within a source.
    pub fn hide(&mut self) {
        self.hides = true;
    }

    /// Something that can fail is asked within the FROM clause itself.
    pub fn expect_failure(&mut self) {
        self.fallible = true;
    }

    /// Takes another source's security in, and gives the conditions that it had.
    pub fn absorb(&mut self, other: Barrier) -> Vec<String> {
        self.guards.extend(other.guards);
        self.hides |= other.hides;
        self.fallible |= other.fallible;
        other.conditions
    }

    /// Adds conditions that are asked together, each with whether it can fail.
    pub fn ask(&mut self, parts: Vec<(String, bool)>) {
        let asked = self.guarded(parts);
        self.conditions.extend(asked);
    }

    /// Conditions behind the security, where they can fail.
    pub fn guarded(&mut self, parts: Vec<(String, bool)>) -> Vec<String> {
        let (fallible, safe): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(_, fallible)| *fallible);
        let mut conditions: Vec<String> = safe.into_iter().map(|(sql, _)| sql).collect();
        if fallible.is_empty() {
            return conditions;
        }
        self.fallible = true;
        let mut fallible: Vec<String> = fallible.into_iter().map(|(sql, _)| sql).collect();
        if self.guards.is_empty() {
            conditions.append(&mut fallible);
        } else {
            conditions.push(format!(
                "CASE WHEN {} THEN {} END",
                self.guards.join(" AND "),
                fallible.join(" AND ")
            ));
        }
        conditions
    }

    /// A condition on groups, which SQLite would ask of rows before they are grouped where it names no aggregate.
    pub fn of_groups(&self, (sql, fallible): (String, bool)) -> String {
        if fallible && (self.hides || !self.guards.is_empty()) {
            format!("CASE WHEN random() IS NOT NULL THEN {sql} END")
        } else {
            sql
        }
    }

    /// The FROM clause's text, with the fences that are needed.
    pub fn close(&self, from: &str) -> String {
        let (open, close) = if self.fallible {
            ("(SELECT * FROM ", " LIMIT -1)")
        } else {
            ("", "")
        };
        from.replace(OPEN, open).replace(CLOSE, close)
    }

    /// ` WHERE …`, or nothing.
    pub fn filter(&self) -> String {
        let all: Vec<&str> = self.ties.iter().chain(&self.conditions).map(String::as_str).collect();
        if all.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", all.join(" AND "))
        }
    }
}

/// A source of rows that hides some, so that it can be fenced.
pub(super) fn fence(source: &str) -> String {
    format!("{OPEN}{source}{CLOSE}")
}

impl Renderer<'_> {
    /// Renders, and tells whether the text can fail.
    pub fn watched<T: AsRef<str>>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<(T, bool)> {
        let kept = std::mem::take(&mut self.fallible);
        let term = inside(self)?;
        let fallible = self.fallible || can_fail(term.as_ref());
        self.fallible |= kept;
        Ok((term, fallible))
    }

    /// A filter's conditions, each with whether it can fail.
    pub fn parts(&mut self, filter: &Expr) -> Result<Vec<(String, bool)>> {
        let parts = match &filter.kind {
            ExprKind::And(list) if list.len() <= 64 => list.as_slice(),
            _ => std::slice::from_ref(filter),
        };
        parts.iter().map(|part| self.watched(|r| r.condition(part))).collect()
    }
}

/// Whether a text calls a function that may raise an error. No operator of SQLite's does.
pub(super) fn can_fail(sql: &str) -> bool {
    sql.match_indices('(').any(|(at, _)| {
        let before = &sql[..at];
        let rest = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let name = &before[rest.len()..];
        !name.is_empty() && !TOTAL.contains(&name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_can_fail_are_found() {
        assert!(can_fail("mainstay_regex(?1, t0.name)"));
        assert!(can_fail("(t0.a = 1 OR abs(t0.b) > 2)"));
        assert!(!can_fail("(t0.a IN (1, 2) AND substr(t0.n, 1, length(t0.n) - 2) = ?1)"));
        assert!(!can_fail("EXISTS (SELECT 1 FROM x AS t1 WHERE t1.a = t0.b)"));
    }
}
