//! Operation and identity → authorised plan → cache → store → encoder. The one place that every dialect goes through, and the
//! only one that decides who sees what.

mod authorise;
mod engine;
mod explain;
mod footprint;
mod narrow;
mod native;
mod plan;
mod slow;
mod statements;

pub use authorise::{body_of, rows_of, rows_of_policy};
pub use engine::{CacheVerdict, Consistency, Engine, Phases, ReadOptions, Reply, Standing};
pub use explain::Outlook;
/// What a dialect asks of a plan, and what it gets.
pub use mainstay_store::{Explain, Explained, Explanation, Rest as Following};
pub use slow::{Asked, Named, SLOW_EVERY, Slow, SlowOperation};
pub use statements::{MissingIndex, Statement, missing_indexes};
