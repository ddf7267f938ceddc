//! A plan: the statements that take a database to its schema, in order, each with its place and what it costs.

use super::shape::Kind;
use mainstay_model::Span;
use std::fmt;
use std::path::PathBuf;

/// When a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before the transaction, committed by itself: it adds what the transaction uses.
    Before,
    /// In the one transaction.
    Main,
    /// After the transaction, by itself: it takes long and lets others work meanwhile. Started again if it was interrupted.
    After,
}

impl Phase {
    /// The word for machines.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Before => "before",
            Phase::Main => "transaction",
            Phase::After => "after",
        }
    }
}

/// One statement of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// The statement, without semicolon; several are told apart by `;` and a line end.
    pub sql: String,
    /// The search path it needs, if another than `public`.
    pub search_path: Option<String>,
    /// What it is about: `table public.orders`.
    pub object: String,
    /// Where schema.sql says so.
    pub place: Option<Span>,
    /// When it runs.
    pub phase: Phase,
    /// What is lost, if something is.
    pub loses_data: Option<String>,
    /// What others wait for, if they wait long.
    pub locks: Option<String>,
    /// What else there is to know: drift, a way it may fail.
    pub note: Option<String>,
    /// Rows behind a COPY.
    pub(crate) rows: Option<Rows>,
    pub(crate) order: Order,
}

/// Rows that a step loads.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    Text(String),
    File(PathBuf),
}

/// Where a step stands: rank, statement of the file, oid, and what follows what for one object.
pub(crate) type Order = (u8, usize, u32, u8);

/// Ranks of steps.
pub(crate) mod rank {
    pub(crate) const ROLE: u8 = 0;
    pub(crate) const SCHEMA: u8 = 1;
    pub(crate) const DROP_PART: u8 = 2;
    pub(crate) const DROP_DATA: u8 = 3;
    pub(crate) const DECLARE: u8 = 4;
    pub(crate) const DROP_TYPE: u8 = 5;
    pub(crate) const SEED: u8 = 6;
    pub(crate) const PRIVILEGE: u8 = 7;
}

/// What takes a database to its schema.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order in which they run.
    pub steps: Vec<Step>,
    /// What stands in the way: nothing is applied while there is one.
    pub problems: Vec<String>,
    /// What is worth knowing and is left alone.
    pub notes: Vec<String>,
    /// Stands for what is wanted: equal digests want the same.
    pub digest: String,
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.problems.is_empty()
    }

    /// Steps that lose data.
    pub fn losses(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| s.loses_data.is_some())
    }

    pub(crate) fn of(&self, phase: Phase) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(move |s| s.phase == phase)
    }

    /// As JSON, for machines.
    pub fn to_json(&self) -> serde_json::Value {
        let place = |span: &Span| serde_json::json!({"file": &*span.file, "line": span.line, "column": span.column});
        let steps: Vec<serde_json::Value> = self
            .steps
            .iter()
            .map(|s| {
                serde_json::json!({
                    "sql": s.sql,
                    "search_path": s.search_path,
                    "object": s.object,
                    "place": s.place.as_ref().map(place),
                    "phase": s.phase.word(),
                    "loses_data": s.loses_data,
                    "locks": s.locks,
                    "note": s.note,
                })
            })
            .collect();
        serde_json::json!({"digest": self.digest, "steps": steps, "problems": self.problems, "notes": self.notes})
    }
}

/// The plan as SQL that psql would run, with comments that say why.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut phase = None;
        let mut path: Option<&str> = None;
        for step in &self.steps {
            if phase != Some(step.phase) {
                if phase == Some(Phase::Main) {
                    writeln!(f, "COMMIT;\n")?;
                }
                match step.phase {
                    Phase::Before => writeln!(f, "-- before the transaction, each by itself")?,
                    Phase::Main => writeln!(f, "BEGIN;")?,
                    Phase::After => writeln!(f, "-- after the transaction, each by itself, while others work")?,
                }
                phase = Some(step.phase);
            }
            if let Some(place) = &step.place {
                writeln!(f, "-- {}:{}:{}  {}", place.file, place.line, place.column, step.object)?;
            } else {
                writeln!(f, "-- {}", step.object)?;
            }
            for (word, text) in [
                ("LOSES DATA", &step.loses_data),
                ("LOCKS", &step.locks),
                ("NOTE", &step.note),
            ] {
                if let Some(text) = text {
                    writeln!(f, "-- {word}: {text}")?;
                }
            }
            if path != step.search_path.as_deref() {
                path = step.search_path.as_deref();
                match path {
                    Some("") | Some("\"\"") => writeln!(f, "SET search_path = '';")?,
                    other => writeln!(f, "SET search_path = {};", other.unwrap_or(super::wanted::SEARCH_PATH))?,
                }
            }
            writeln!(f, "{};", step.sql)?;
            match &step.rows {
                Some(Rows::Text(text)) => writeln!(f, "-- {} rows follow", text.lines().count())?,
                Some(Rows::File(file)) => writeln!(f, "-- the rows of {}", file.display())?,
                None => {}
            }
        }
        if phase == Some(Phase::Main) {
            writeln!(f, "COMMIT;")?;
        }
        for problem in &self.problems {
            writeln!(f, "-- PROBLEM: {problem}")?;
        }
        for note in &self.notes {
            writeln!(f, "-- note: {note}")?;
        }
        Ok(())
    }
}

impl Step {
    pub(crate) fn new(sql: impl Into<String>, kind: Kind, name: &str, order: Order) -> Step {
        Step {
            sql: sql.into(),
            search_path: None,
            object: format!("{} {name}", kind.word()),
            place: None,
            phase: Phase::Main,
            loses_data: None,
            locks: None,
            note: None,
            rows: None,
            order,
        }
    }
}
