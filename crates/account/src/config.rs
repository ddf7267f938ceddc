//! What a project may decide about its accounts.

use http::Extensions;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// So many in so much time, the whole number at once if nothing came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In how much time.
    pub period: Duration,
}

/// Finds the client's address among what the gateway noted of a request.
pub type PeerAddress = Arc<dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync>;

/// The settings of `[auth]` that accounts depend on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether anyone may register.
    pub signup: bool,
    /// Whether an address must be confirmed before the first login. Without it a sign-up is a login.
    pub confirm: bool,
    /// The life of an access token.
    pub access_ttl: Duration,
    /// How long a session lives without being refreshed.
    pub refresh_ttl: Duration,
    /// The fewest characters of a password.
    pub password_min: u32,
    /// Sign-ups, logins and changes of password by one address, counted before any hashing.
    pub limit: Rate,
    /// The same for one account, whatever addresses ask. Well above what one address may: nobody locks another out alone.
    pub account_limit: Rate,
    /// Refreshes by one address.
    pub refresh_limit: Rate,
    /// Passwords hashed at once, each with 19 MiB of memory.
    pub hashes: usize,
    /// Passwords that may wait to be hashed; beyond it the answer is 503.
    pub hash_queue: usize,
    /// `iss` of the tokens.
    pub issuer: Option<String>,
    /// `aud` of the tokens.
    pub audience: String,
    /// The schema that holds the tables.
    pub namespace: String,
    /// The role that reads and writes them.
    pub role: String,
}

impl Default for Config {
    fn default() -> Config {
        let five_minutes = Duration::from_secs(300);
        Config {
            signup: true,
            confirm: true,
            access_ttl: Duration::from_secs(3_600),
            refresh_ttl: Duration::from_secs(30 * 86_400),
            password_min: 8,
            limit: Rate {
                count: 30,
                period: five_minutes,
            },
            account_limit: Rate {
                count: 300,
                period: five_minutes,
            },
            refresh_limit: Rate {
                count: 150,
                period: five_minutes,
            },
            hashes: 2,
            hash_queue: 64,
            issuer: None,
            audience: "authenticated".to_owned(),
            namespace: "auth".to_owned(),
            role: "service_role".to_owned(),
        }
    }
}
