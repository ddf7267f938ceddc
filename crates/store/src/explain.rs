//! How an engine answers a read: the statement it makes of it, and the plan it has for that.

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

/// An explained read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The statement, with its parameters' places.
    pub sql: String,
    /// The plan, as text or as the engine's JSON.
    pub plan: String,
}
