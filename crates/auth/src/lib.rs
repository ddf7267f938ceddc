//! Token → [`Identity`]: verification bound to a key, and the signing of our own tokens. No other room reads a token.

mod claims;
mod key;
mod token;
mod verify;

pub use key::{DEVELOPMENT_KEY_FILE, Key, KeyError, development_key};
pub use token::{Claims, Signer};
pub use verify::{Config, Verifier};
