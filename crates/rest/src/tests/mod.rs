//! The dialect as a whole: what query strings mean, what is written, and what is answered.

mod fixture;
mod fuzz;
mod performance;
mod reads;
mod recorder;
mod requests;
mod show;
mod writes;

pub(crate) use fixture::schema as fixture_schema;
