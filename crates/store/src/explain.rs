//! How an engine does what it is asked: the statements it makes of it, and the plan it has for them.

/// What is wanted of a plan. The names are those of Postgres' EXPLAIN; an engine that lacks one leaves it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explain {
    /// The statement is run, and the plan says what happened.
    pub analyze: bool,
    /// Output columns of each node.
    pub verbose: bool,
    /// Settings that differ from their defaults.
    pub settings: bool,
    /// Pages read.
    pub buffers: bool,
    /// Log written.
    pub wal: bool,
    /// As a JSON document; else as text.
    pub json: bool,
}

/// An explained read, or an explained step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The statements, in the order in which they are run.
    pub statements: Vec<Explained>,
    /// Their plans, as text or as the engine's JSON.
    pub plan: String,
}

/// A statement as an engine runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Its text, with its parameters' places.
    pub sql: String,
    /// What stands in those places, in their order and as text. For people.
    pub params: Vec<String>,
}

impl Explanation {
    /// The text of all statements.
    pub fn sql(&self) -> String {
        let texts: Vec<&str> = self.statements.iter().map(|statement| &*statement.sql).collect();
        texts.join(";\n")
    }
}
