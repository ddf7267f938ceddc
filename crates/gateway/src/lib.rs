//! The one entry: listeners, routes, policies and balancing, in front of services in this process and elsewhere.
//!
//! A request meets its phases in one visible order, written down in `request.rs`: validate → route → limit by address →
//! authenticate → limit by identity → then either a service of this process, a static file, or transform → balance →
//! retry → upstream. Refusals are listed in `refusal.rs`, what can be configured in `config.rs`.
//!
//! This room imports no API: services come in as [`Service`], identities through [`Authenticate`].

mod admin;
mod answer;
mod authenticate;
mod balance;
mod body;
mod client;
mod compress;
mod conditional;
mod config;
mod connection;
mod cors;
mod explain;
mod express;
mod files;
mod forwarded;
mod gateway;
mod guard;
mod health;
mod limit;
mod limit_memory;
mod listener;
mod proxy;
mod record;
mod refusal;
mod request;
mod retry;
mod router;
mod service;
mod site;
mod transform;
mod upload;
mod validate;
mod worker;

pub use admin::{AdminConfig, AdminServer, Readiness};
pub use authenticate::Authenticate;
pub use config::{
    Answer, AtHand, Auth, Balance, Config, ConfigError, Content, Ejection, HeaderEdits, Limits, OWN_KEY, Route,
    Service, Standing, Target, Upstream,
};
pub use cors::{Cors, Origins};
pub use explain::{Course, End, Explainer};
pub use forwarded::Network;
pub use gateway::{Gateway, Running, StartError};
pub use limit::{Caller, Decision, Key, Limiter, Per, Quota, Rate, RateLimit, Verdict, gcra};
pub use limit_memory::Memory;
pub use refusal::{Refusal, RefusalBody};
pub use service::Arrival;
