//! Accounts on the GoTrue wire: sign-up, login, refresh with rotation, the user, logout. GoTrue's shapes are kept so that
//! `@supabase/auth-js` works as it is; everything lives in ordinary tables of schema `auth` and goes through the one engine.
//!
//! What holds here:
//! - A password is hashed by a bounded pool of threads of its own, and only after the limits have been asked.
//! - An unknown address costs as much as a wrong password.
//! - A refresh token is good for one use; the store keeps only its hash. See [`refresh`] for what happens when one comes again.
//! - A user and the event that tells of it are one transaction.

mod account;
mod config;
mod email;
mod fault;
mod hasher;
mod limit;
mod login;
mod logout;
mod password;
mod records;
mod refresh;
mod request;
mod rows;
mod session;
mod signup;
mod tables;
mod token;
mod user;
mod wire;

pub use account::{Account, SetupError};
pub use config::{Config, PeerAddress, Rate};
pub use signup::REGISTERED;

/// Where the surface begins.
pub const PREFIX: &str = "/auth/v1";
