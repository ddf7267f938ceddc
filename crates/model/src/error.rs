//! The one error that crosses rooms: a stable code, what to tell the client, and what the caller may do about it.

use std::borrow::Cow;
use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms a client can be told. One pointer wide.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<ErrorBody>);

/// The fields of an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// A five-character SQLSTATE, or a code of the dialect (`PGRST…`) or of the gateway (`GW…`). Stable.
    pub code: Cow<'static, str>,
    /// One sentence that names the culprit.
    pub message: String,
    /// More about it: the failing row, the offending token.
    pub details: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// The violated constraint's name, when a constraint was violated.
    pub constraint: Option<String>,
    /// The HTTP status, where the code alone does not decide it.
    pub status: Option<u16>,
    /// Whether the same operation may succeed when it is sent again unchanged.
    pub retry: Retry,
    /// Whether the operation is known to have had no effect.
    pub outcome: Outcome,
    /// Of a transaction: the index of the step that failed, where it is one step's fault.
    pub step: Option<u16>,
    /// Of a page that does not exist: how many rows there are.
    pub total: Option<u64>,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// The same operation will fail again.
    #[default]
    Never,
    /// A transient condition: a deadlock, a busy engine. Nothing was changed.
    Safe,
    /// Waiting helps; in so many seconds.
    After(u32),
}

/// What is known of a failed operation's effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It had no effect.
    #[default]
    None,
    /// It may or may not have been committed; the client must look.
    Unknown,
}

impl Error {
    /// An error with a code and the sentence the client sees.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Error {
        Error(Box::new(ErrorBody {
            code: code.into(),
            message: message.into(),
            details: None,
            hint: None,
            constraint: None,
            status: None,
            retry: Retry::Never,
            outcome: Outcome::None,
            step: None,
            total: None,
        }))
    }

    /// SQLSTATE XX000: a fault of ours; the message must not carry the client's data.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new("XX000", message)
    }

    /// SQLSTATE 0A000: something this engine or version does not do, by name.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new("0A000", message)
    }

    /// SQLSTATE 42501: the role may not.
    pub fn denied(message: impl Into<String>) -> Error {
        Error::new("42501", message)
    }

    /// Adds what the client may want to know beyond the message.
    pub fn detail(mut self, details: impl Into<String>) -> Error {
        self.0.details = Some(details.into());
        self
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the violated constraint.
    pub fn constraint(mut self, name: impl Into<String>) -> Error {
        self.0.constraint = Some(name.into());
        self
    }

    /// Fixes the HTTP status.
    pub fn status(mut self, status: u16) -> Error {
        self.0.status = Some(status);
        self
    }

    /// Says how many rows there are.
    pub fn total(mut self, rows: u64) -> Error {
        self.0.total = Some(rows);
        self
    }

    /// Says whether to try again.
    pub fn retry(mut self, retry: Retry) -> Error {
        self.0.retry = retry;
        self
    }

    /// Says which step of a transaction failed, unless that is said already.
    pub fn at_step(mut self, index: usize) -> Error {
        self.0.step.get_or_insert(index.min(usize::from(u16::MAX)) as u16);
        self
    }

    /// Marks the outcome as unknown.
    pub fn outcome_unknown(mut self) -> Error {
        self.0.outcome = Outcome::Unknown;
        self
    }

    /// The error's fields, owned.
    pub fn into_body(self) -> ErrorBody {
        *self.0
    }
}

impl std::ops::Deref for Error {
    type Target = ErrorBody;
    fn deref(&self) -> &ErrorBody {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let Some(details) = &self.details {
            write!(f, " ({details})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Error {}
