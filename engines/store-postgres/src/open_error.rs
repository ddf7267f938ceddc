//! Why a store could not be opened, for the person who started it.

use std::fmt;

/// Why a store could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// What kind of reason.
    pub kind: OpenErrorKind,
    /// Which server, without its password.
    pub server: String,
    /// The reason in a sentence.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// The URL cannot be read.
    Url,
    /// No host answers; waiting may help.
    Unreachable,
    /// The certificate, or what TLS needs.
    Tls,
    /// The user, the password or the database is refused.
    Refused,
    /// The server is too old, or lacks what cannot be done without.
    Unsupported,
    /// What Mainstay keeps in the database cannot be made or read.
    Install,
}

impl OpenError {
    pub(crate) fn new(
        kind: OpenErrorKind,
        server: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> OpenError {
        OpenError {
            kind,
            server: server.to_owned(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.server.is_empty() {
            write!(f, "cannot open the store: {}", self.message)?;
        } else {
            write!(f, "cannot open the store at {}: {}", self.server, self.message)?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for OpenError {}
