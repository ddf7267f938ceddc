//! The wire: connections on which requests are pipelined, each one batch of messages with one Sync at its end, so that settings and
//! statement are one round trip and one transaction without BEGIN and COMMIT.

mod batch;
mod cancel;
mod connect;
mod driver;
mod queue;
mod response;
mod single;
mod tls;

pub(crate) use batch::{Batch, Values, is_worth_keeping};
pub(crate) use connect::{ConnectError, Opened, open, socket};
pub(crate) use driver::{Connection, Exchange, Limits, WeakConnection};
pub(crate) use queue::{Lost, Together};
pub(crate) use response::{Message, Response, ServerError, cells, command_rows};
pub(crate) use single::{Ended, Single, SingleLimits};
pub(crate) use tls::Tls;
