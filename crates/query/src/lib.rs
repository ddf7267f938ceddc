//! Operation and identity → authorised plan → cache → store → encoder. The one place that every dialect goes through, and the
//! only one that decides who sees what.

mod authorise;
mod engine;
mod footprint;
mod narrow;
mod native;
mod plan;

pub use authorise::body_of;
pub use engine::{CacheVerdict, Consistency, Engine, Phases, ReadOptions, Reply};
