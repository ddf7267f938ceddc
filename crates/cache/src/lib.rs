//! Coherence: which answers are kept, which change drops which answer, and why none is ever served stale.
//!
//! A cached answer carries its [`Footprint`]: for each table read, which rows and which columns it depends on. A committed change
//! probes the [`index`] with its before- and after-image; only a proven "No" keeps an answer.

mod cache;
pub mod failpoint;
mod filing;
mod flight;
mod footprint;
mod index;
mod key;
mod predicate;
mod ranges;
mod ring;
mod stats;

pub use cache::{Cache, Config, Hit, Kept, Lookup, Pending};
pub use flight::{Flight, Follow, Lead};
pub use footprint::{Columns, Footprint, ReadSet, TableReads};
pub use key::{Key, body_tag};
pub use stats::{Stats, Watch};
