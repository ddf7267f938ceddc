//! `mainstay.toml`, read so that a mistake in it cannot survive quietly.
//!
//! Two layers. The generic one ([`Document`], [`Section`], [`units`], [`Secret`], [`Url`]) knows TOML, places, units,
//! secrets by reference and suggestions, and no key at all. The other, [`project`], is the one place that knows every key
//! of the file; it hands out plain data.
//!
//! Two rules hold everywhere. *All* problems of a file are reported at once, each with file, line, column and what to do.
//! And a key that nobody asked for is a problem: there is no way to read a section and forget to check for unknown keys,
//! because [`Section`] does that when it is dropped.

pub mod document;
pub mod places;
pub mod problem;
pub mod project;
pub mod secret;
pub mod section;
pub mod units;
pub mod url;

pub use document::Document;
pub use places::Places;
pub use problem::{Location, Problem, suggest};
pub use project::{Project, load};
pub use secret::Secret;
pub use section::Section;
pub use units::Rate;
pub use url::Url;
