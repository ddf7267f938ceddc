//! The gateway as its clients and upstreams see it: real sockets, bytes written and read by hand.

mod ejection;
mod express;
mod files;
mod harness;
mod lifecycle;
mod policies;
mod protocol;
mod streams;
mod upstreams;
