//! The nouns everything else shares: schema, types, values, expressions, statements, operations, changes, positions,
//! identities and the error. No I/O, no async, no parser of SQL. Wire formats stay at the edges (`rest`, `account`, `graphql`).

mod change;
mod earlier;
mod encode;
mod error;
mod expr;
mod identity;
mod operation;
mod relationship;
mod request;
mod rewrite;
mod schema;
mod sequence;
mod statement;
mod types;
mod value;
mod weight;

pub use change::*;
pub use earlier::*;
pub use encode::*;
pub use error::*;
pub use expr::*;
pub use identity::*;
pub use operation::*;
pub use relationship::*;
pub use request::*;
pub use rewrite::*;
pub use schema::*;
pub use sequence::*;
pub use statement::*;
pub use types::*;
pub use value::*;
