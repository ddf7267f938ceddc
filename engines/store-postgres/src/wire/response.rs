//! What comes back for one batch: the messages up to ReadyForQuery, read where they lie.

use bytes::Bytes;

/// The answer to one batch.
pub(crate) struct Response {
    bytes: Bytes,
    /// Whether what it committed is in the server's log.
    pub is_durable: bool,
}

/// A message of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message<'a> {
    /// A statement was prepared.
    Parsed,
    /// A row: its cells are read with [`cells`].
    Row(&'a [u8]),
    /// A statement is done: its tag.
    Done(&'a [u8]),
    /// It failed; nothing of the batch after it was done.
    Failed(&'a [u8]),
}

impl Response {
    pub fn new(bytes: Bytes) -> Response {
        Response {
            bytes,
            is_durable: true,
        }
    }

    /// The messages that matter, in order.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let mut rest = &*self.bytes;
        std::iter::from_fn(move || {
            loop {
                let (head, after) = rest.split_first_chunk::<5>()?;
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                let (body, after) = after.split_at_checked(length.checked_sub(4)?)?;
                rest = after;
                return Some(match head[0] {
                    b'D' => Message::Row(body),
                    b'C' => Message::Done(body.strip_suffix(b"\0").unwrap_or(body)),
                    b'1' => Message::Parsed,
                    b'E' => Message::Failed(body),
                    // An empty statement has no tag.
                    b'I' => Message::Done(b""),
                    _ => continue,
                });
            }
        })
    }

    /// What failed, if something did.
    pub fn error(&self) -> Option<ServerError> {
        self.messages().find_map(|message| match message {
            Message::Failed(body) => Some(ServerError::read(body)),
            _ => None,
        })
    }

    /// The rows of the n-th statement.
    pub fn rows(&self, statement: usize) -> impl Iterator<Item = &[u8]> {
        let mut at = 0;
        self.messages().filter_map(move |message| match message {
            Message::Done(_) => {
                at += 1;
                None
            }
            Message::Row(row) if at == statement => Some(row),
            _ => None,
        })
    }

    /// The tag of the n-th statement.
    pub fn tag(&self, statement: usize) -> Option<&[u8]> {
        let mut tags = self.messages().filter_map(|m| match m {
            Message::Done(tag) => Some(tag),
            _ => None,
        });
        tags.nth(statement)
    }
}

/// The cells of a row; NULL is `None`. Stops at what is cut short.
pub(crate) fn cells(row: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let (mut left, mut rest) = match row.split_first_chunk::<2>() {
        Some((count, rest)) => (u16::from_be_bytes(*count), rest),
        None => (0, row),
    };
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let (length, after) = rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            rest = after;
            return Some(None);
        };
        let (cell, after) = after.split_at_checked(length)?;
        rest = after;
        Some(Some(cell))
    })
}

/// The number of rows in a tag: `INSERT 0 3`, `UPDATE 2`, `SELECT 1`.
pub(crate) fn command_rows(tag: &[u8]) -> u64 {
    let number = tag.rsplit(|b| *b == b' ').next().unwrap_or(b"");
    std::str::from_utf8(number)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// An error as the server says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub constraint: Option<String>,
    /// `FATAL` and `PANIC`: the connection goes, too.
    pub fatal: bool,
}

impl ServerError {
    /// Reads the body of an ErrorResponse.
    pub fn read(body: &[u8]) -> ServerError {
        let mut error = ServerError::default();
        for field in body.split(|b| *b == 0) {
            let Some((kind, text)) = field.split_first() else {
                continue;
            };
            let text = || String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => error.code = text(),
                b'M' => error.message = text(),
                b'D' => error.detail = Some(text()),
                b'H' => error.hint = Some(text()),
                b'n' => error.constraint = Some(text()),
                // The severity that is not translated.
                b'V' => error.fatal = matches!(&field[1..], b"FATAL" | b"PANIC"),
                _ => {}
            }
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn an_answer_is_read_where_it_lies() {
        let row = [0, 2, 0, 0, 0, 1, b'x', 255, 255, 255, 255];
        let bytes = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'D', &row),
            message(b'C', b"SELECT 1\0"),
            message(b'N', b"notice"),
            message(b'D', &row),
            message(b'C', b"INSERT 0 12\0"),
            message(b'E', b"SERROR\0VERROR\0C23505\0Mtwice\0Dthis\0nkey\0\0"),
            message(b'Z', b"I"),
        ]
        .concat();
        let response = Response::new(bytes.clone().into());
        assert_eq!(response.rows(1).count(), 1);
        assert_eq!(response.tag(1).map(command_rows), Some(12));
        let first: Vec<_> = cells(response.rows(0).next().unwrap()).collect();
        assert_eq!(first, [Some(&b"x"[..]), None]);
        let error = response.error().unwrap();
        assert_eq!((&*error.code, &*error.message, error.fatal), ("23505", "twice", false));
        assert_eq!(error.constraint.as_deref(), Some("key"));
        for end in 0..bytes.len() {
            Response::new(bytes[..end].to_vec().into()).messages().for_each(drop);
        }
        for end in 0..row.len() {
            cells(&row[..end]).for_each(drop);
        }
    }
}
