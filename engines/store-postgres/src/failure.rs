//! What the server says of a failure, as the error that a client is told; and what is said when the server says nothing.

use crate::wire::{ConnectError, Lost, ServerError};
use mainstay_model::{Error, Retry};

/// The store has been closed.
pub(crate) fn closed() -> Error {
    Error::new("57P03", "the store is closed")
        .status(503)
        .retry(Retry::After(1))
}

/// A queue is full.
pub(crate) fn queue_full(what: &str, limit: usize) -> Error {
    Error::new("53300", format!("too many {what} are waiting (limit {limit})"))
        .status(503)
        .retry(Retry::After(1))
}

/// No connection became free in time.
pub(crate) fn queue_timeout(ms: u128) -> Error {
    Error::new(
        "53300",
        format!("no connection to the database became free within {ms} ms"),
    )
    .status(503)
    .retry(Retry::After(1))
}

/// No server can be reached. The address is for the log, not for the client.
pub(crate) fn unreachable(error: &ConnectError, retry_s: u32) -> Error {
    let code = match error {
        ConnectError::Server(server) => server.code.clone(),
        ConnectError::Io(_) | ConnectError::Tls(_) | ConnectError::Role(_) => "08001".to_owned(),
    };
    let message = match error {
        ConnectError::Server(server) if server.code == "53300" => "the database has too many connections",
        ConnectError::Server(server) if server.code.starts_with("57P") => "the database is starting or shutting down",
        ConnectError::Server(_) => "the database refuses the connection",
        ConnectError::Role(_) => "no database server that takes writes can be reached",
        ConnectError::Io(_) | ConnectError::Tls(_) => "the database cannot be reached",
    };
    Error::new(code, message)
        .status(503)
        .retry(Retry::After(retry_s.max(1)))
}

/// The answer was larger than allowed.
pub(crate) fn too_large(bytes_max: usize) -> Error {
    Error::new("54000", format!("the answer is larger than {bytes_max} bytes"))
        .hint("Ask for fewer rows with limit, or for fewer columns.")
        .status(413)
}

/// There is no answer, and none is needed: nothing was changed.
pub(crate) fn lost(lost: Lost, bytes_max: usize) -> Error {
    match lost {
        Lost::TooLarge => too_large(bytes_max),
        Lost::Connection(_, Some(server)) if !server.code.starts_with("08") => {
            failed(*server).status(503).retry(Retry::After(1))
        }
        Lost::Connection(..) | Lost::Behind => Error::new("08006", "the connection to the database was lost")
            .status(503)
            .retry(Retry::After(1)),
    }
}

/// There is no answer to what may have been committed.
pub(crate) fn unknown(lost_: Lost, bytes_max: usize) -> Error {
    match lost_ {
        Lost::TooLarge => too_large(bytes_max)
            .detail("The change was made; its answer could not be given.")
            .outcome_unknown(),
        lost_ => {
            let why = lost(lost_, bytes_max);
            Error::new(
                "08007",
                "the connection to the database was lost before it confirmed the commit",
            )
            .detail(why.message.clone())
            .hint("Look whether the change was made before sending it again, or send it with an Idempotency-Key.")
            .status(503)
            .outcome_unknown()
        }
    }
}

/// What the server said.
pub(crate) fn failed(server: ServerError) -> Error {
    let ServerError {
        code,
        message,
        detail,
        hint,
        constraint,
        fatal,
    } = server;
    let retry = match code.as_str() {
        // Serialisation failure, deadlock.
        "40001" | "40P01" => Retry::Safe,
        // A lock that is not to be had.
        "55P03" => Retry::Safe,
        // Too many connections, disk full, out of memory, shutting down, starting up.
        "53300" | "57P01" | "57P02" | "57P03" | "57P05" => Retry::After(1),
        "53100" | "53200" | "53000" => Retry::After(10),
        _ => Retry::Never,
    };
    let status = match code.as_str() {
        "53100" => Some(507),
        "55P03" | "53300" | "53200" | "53000" => Some(503),
        code if code.starts_with("57P") => Some(503),
        // The server's own limits, such as the depth of its stack.
        code if code.starts_with("54") => Some(500),
        _ => None,
    };
    let hint = hint.or_else(|| match code.as_str() {
        "57014" => Some("Ask for less, add an index, or raise the store's statement timeout.".to_owned()),
        _ => None,
    });
    let mut error = Error::new(code, message).retry(retry);
    if let Some(detail) = detail {
        error = error.detail(detail);
    }
    if let Some(hint) = hint {
        error = error.hint(hint);
    }
    if let Some(constraint) = constraint {
        error = error.constraint(constraint);
    }
    if let Some(status) = status {
        error = error.status(status);
    }
    if fatal && error.retry == Retry::Never {
        error = error.status(503).retry(Retry::After(1));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_helps_says_so() {
        let server = |code: &str| ServerError {
            code: code.to_owned(),
            message: "m".to_owned(),
            ..ServerError::default()
        };
        for (code, status, retry) in [
            ("23505", None, Retry::Never),
            ("40001", None, Retry::Safe),
            ("40P01", None, Retry::Safe),
            ("53300", Some(503), Retry::After(1)),
            ("53400", None, Retry::Never),
            ("54001", Some(500), Retry::Never),
            ("53100", Some(507), Retry::After(10)),
            ("57P01", Some(503), Retry::After(1)),
        ] {
            let error = failed(server(code));
            assert_eq!((error.status, error.retry), (status, retry), "{code}");
        }
        let error = unknown(Lost::Connection("cut".to_owned(), None), 1);
        assert_eq!(
            (&*error.code, error.outcome),
            ("08007", mainstay_model::Outcome::Unknown)
        );
    }
}
