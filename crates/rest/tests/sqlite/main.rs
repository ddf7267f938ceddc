//! The dialect over a real store: what is asked on the wire, and what the rows are afterwards.

mod embeds;
mod forms;
mod pages;
mod plans;
mod transactions;
mod types;
mod world;
