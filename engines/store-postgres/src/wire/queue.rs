//! Who waits on a connection, in the order of the answers; and who travels together.
//!
//! What is asked in one turn of the event loop leaves in one write. Until it has left, a batch can be joined by others like it:
//!
//! - **Reads of the same caller** become one batch with one Sync: the settings are made once, and the server begins, ends and answers one
//!   transaction instead of many. When one of them fails, those behind it were not run; they are told so ([`Lost::Behind`]) and ask again by
//!   themselves.
//! - **Insertions of one statement** stay transactions of their own, but all except the last commit without waiting for the log
//!   (`synchronous_commit = off`). The last waits for it, and so for all that was written before. Nobody is told before that. Those that
//!   join therefore go in front of the one that began.

use super::response::{Message, Response, ServerError, command_rows};
use bytes::{BufMut, Bytes, BytesMut};
use mainstay_model::Identity;
use smallvec::{SmallVec, smallvec};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use tokio::sync::oneshot;

/// So many travel together at most: the first of them waits for the last.
const TOGETHER_MAX: usize = 16;
/// No more is joined once so many bytes are on their way together.
const TOGETHER_BYTES: usize = 16 << 10;
/// The end of a batch.
pub(super) const SYNC: &[u8] = b"S\0\0\0\x04";

pub(super) type Reply = oneshot::Sender<Result<Response, Lost>>;

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum Lost {
    /// The connection went; what the server said before, if it said anything.
    Connection(String, Option<Box<ServerError>>),
    /// The answer was larger than allowed.
    TooLarge,
    /// One that it travelled with failed before it was run: it changed nothing, and can be asked by itself.
    Behind,
}

/// What a batch may share its journey with.
#[derive(Clone, Debug)]
pub(crate) enum Together {
    /// Reads that begin with the same settings; nothing in them may change what the next one sees.
    Reads {
        /// Who asks; `None` where nothing is set.
        caller: Option<Identity>,
        /// `search_path`
        path: Option<Arc<str>>,
    },
    /// Insertions by the statement with this number.
    Insertions(u64),
}

impl Together {
    fn is_with(&self, other: &Together) -> bool {
        match (self, other) {
            (
                Together::Reads { caller, path },
                Together::Reads {
                    caller: other,
                    path: elsewhere,
                },
            ) => {
                path == elsewhere
                    && match (caller, other) {
                        (None, None) => true,
                        (Some(one), Some(other)) => {
                            one.request.is_none()
                                && other.request.is_none()
                                && one.role == other.role
                                && (Arc::ptr_eq(&one.claims, &other.claims) || one.claims == other.claims)
                        }
                        _ => false,
                    }
            }
            (Together::Insertions(one), Together::Insertions(other)) => one == other,
            _ => false,
        }
    }
}

/// Who waits.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// What the last batch, which has not left, may be joined by.
    open: Option<Open>,
    /// Answers of insertions that are committed and perhaps not in the log yet.
    early: Vec<(Option<Reply>, Result<Response, Lost>)>,
}

struct Open {
    together: Together,
    /// Where in the bytes to be sent it begins.
    start: usize,
    members: usize,
}

/// One batch, up to its Sync.
struct Waiting {
    members: SmallVec<[Member; 1]>,
    fate: Fate,
}

struct Member {
    /// `None` once it has been told.
    reply: Option<Reply>,
    /// It wants no larger answer: beyond so many bytes it is told so at once, and its query cancelled.
    bytes_max: usize,
    /// How many statements are its own.
    statements: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Alone,
    /// Its answer waits for the one that closes.
    Early,
    /// Its commit waits for the log, on behalf of those before it.
    Closes,
}

/// Those who are told something, once the lock is gone.
pub(super) type Told = SmallVec<[(Option<Reply>, Result<Response, Lost>); 1]>;

impl Queue {
    /// Whether what is written next could travel with the last batch.
    pub fn can_join(&self, together: &Together, out: &BytesMut) -> bool {
        self.open.as_ref().is_some_and(|open| {
            open.members < TOGETHER_MAX && out.len() - open.start < TOGETHER_BYTES && open.together.is_with(together)
        })
    }

    /// Whether the last batch has not left, and may be joined by something.
    pub fn is_joinable(&self) -> bool {
        self.open.is_some()
    }

    /// Begins to write what joins: the bytes that it stands behind.
    pub fn begin_join(&mut self, together: &Together, out: &mut BytesMut) {
        if matches!(together, Together::Reads { .. }) {
            out.truncate(out.len() - SYNC.len());
        }
    }

    /// What was to join could not be written, and is gone from `out` again.
    pub fn abandon_join(&mut self, together: &Together, out: &mut BytesMut) {
        if matches!(together, Together::Reads { .. }) {
            out.put_slice(SYNC);
        }
    }

    /// What joins has been written behind `mark`, with its Sync.
    pub fn join(&mut self, mark: usize, out: &mut BytesMut, reply: Reply, bytes_max: usize, statements: usize) {
        let Some(open) = &mut self.open else { return };
        let member = Member {
            reply: Some(reply),
            bytes_max,
            statements,
        };
        match &open.together {
            Together::Reads { .. } => {
                if let Some(last) = self.waiting.back_mut() {
                    last.members.push(member);
                }
            }
            Together::Insertions(_) => {
                let joined = out.len() - mark;
                out[open.start..].rotate_right(joined);
                if let Some(last) = self.waiting.back_mut() {
                    last.fate = Fate::Closes;
                }
                let at = self.waiting.len() - open.members;
                self.waiting.insert(
                    at,
                    Waiting {
                        members: smallvec![member],
                        fate: Fate::Early,
                    },
                );
            }
        }
        open.members += 1;
    }

    /// A batch of its own has been written from `start` on, which may be joined.
    pub fn push(
        &mut self,
        start: usize,
        reply: Reply,
        bytes_max: usize,
        statements: usize,
        together: Option<Together>,
    ) {
        self.waiting.push_back(Waiting {
            members: smallvec![Member {
                reply: Some(reply),
                bytes_max,
                statements,
            }],
            fate: Fate::Alone,
        });
        self.open = together.map(|together| Open {
            together,
            start,
            members: 1,
        });
    }

    /// What was written leaves.
    pub fn depart(&mut self) {
        self.open = None;
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How large the answer at hand may be.
    pub fn bytes_max(&self) -> Option<usize> {
        self.waiting
            .front()
            .and_then(|front| front.members.iter().map(|m| m.bytes_max).min())
    }

    /// Whether everybody at the front went away, and what runs for them may be cancelled: it is nobody else's.
    pub fn is_deserted(&mut self, cx: &mut Context<'_>) -> bool {
        self.waiting.front_mut().is_some_and(|front| {
            front.fate == Fate::Alone
                && front.members.iter_mut().all(|member| {
                    member
                        .reply
                        .as_mut()
                        .is_some_and(|reply| reply.poll_closed(cx).is_ready())
                })
        })
    }

    /// The answer at hand is larger than those at the front want. Who is told so; `None` when they take any.
    pub fn refuse_front(&mut self) -> Option<Told> {
        let front = self.waiting.front_mut()?;
        if front.members.iter().all(|member| member.bytes_max == usize::MAX) {
            return None;
        }
        let lost = match front.members.len() {
            1 => Lost::TooLarge,
            // Whose it is shows when each asks by itself.
            _ => Lost::Behind,
        };
        let members = front.members.iter_mut();
        Some(members.map(|m| (m.reply.take(), Err(lost.clone()))).collect())
    }

    /// The front is answered. Who is told what, and how many no longer wait.
    pub fn answered(&mut self, answer: Result<Bytes, Lost>) -> (Told, usize) {
        let Some(front) = self.waiting.pop_front() else {
            return (Told::new(), 0);
        };
        let count = front.members.len();
        let fate = front.fate;
        let mut told = front.told(answer);
        match fate {
            Fate::Alone => {}
            Fate::Early => self.early.extend(told.drain(..)),
            Fate::Closes => {
                let is_durable = told
                    .iter()
                    .all(|(_, answer)| matches!(answer, Ok(r) if has_inserted(r)));
                for (reply, mut answer) in self.early.drain(..) {
                    if let Ok(answer) = &mut answer {
                        answer.is_durable = is_durable;
                    }
                    told.push((reply, answer));
                }
            }
        }
        (told, count)
    }

    /// Nobody is answered any more.
    pub fn end(&mut self, lost: &Lost) -> Told {
        self.open = None;
        let waiting = std::mem::take(&mut self.waiting);
        let members = waiting.into_iter().flat_map(|waiting| waiting.members);
        let early = std::mem::take(&mut self.early).into_iter().map(|(reply, _)| reply);
        let replies = members.map(|member| member.reply).chain(early);
        replies.map(|reply| (reply, Err(lost.clone()))).collect()
    }
}

impl Waiting {
    /// Who is told what.
    fn told(self, answer: Result<Bytes, Lost>) -> Told {
        let mut members = self.members;
        match answer {
            Ok(bytes) if members.len() == 1 => {
                smallvec![(members[0].reply.take(), Ok(Response::new(bytes)))]
            }
            Ok(bytes) => {
                let parts = cut(&bytes, members.iter().map(|member| member.statements));
                let replies = members.into_iter().map(|member| member.reply);
                replies.zip(parts).collect()
            }
            Err(lost) => members.into_iter().map(|m| (m.reply, Err(lost.clone()))).collect(),
        }
    }
}

/// Cuts the answer to several who travelled together, each with so many statements.
fn cut(bytes: &Bytes, statements: impl Iterator<Item = usize>) -> Vec<Result<Response, Lost>> {
    let mut parts = Vec::with_capacity(TOGETHER_MAX);
    let mut messages = frames(bytes).peekable();
    let mut failed: Option<ServerError> = None;
    let mut start = 0;
    for count in statements {
        if failed.is_some() || messages.peek().is_none() {
            parts.push(Err(Lost::Behind));
            continue;
        }
        let (mut done, mut end) = (0, start);
        while done < count
            && failed.is_none()
            && let Some((tag, body, after)) = messages.next()
        {
            end = after;
            match tag {
                b'C' | b'I' => done += 1,
                b'E' => failed = Some(ServerError::read(body)),
                _ => {}
            }
        }
        parts.push(Ok(Response::new(bytes.slice(start..end))));
        start = end;
    }
    if let Some(error) = failed
        && error.code.starts_with("40")
    {
        // What a transaction has read counts only if it could be committed.
        let whose = parts.iter().filter(|part| part.is_ok()).count() - 1;
        parts[..whose].iter_mut().for_each(|part| *part = Err(Lost::Behind));
    }
    parts
}

/// Tag, body and end of each whole message.
fn frames(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8], usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (head, rest) = bytes.get(at..)?.split_first_chunk::<5>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let body = rest.get(..length.checked_sub(4)?)?;
        at += 1 + length;
        Some((head[0], body, at))
    })
}

/// Whether a transaction has inserted a row, so that its commit has waited for the log.
fn has_inserted(response: &Response) -> bool {
    let mut has = false;
    for message in response.messages() {
        match message {
            Message::Failed(_) => return false,
            Message::Done(tag) => has |= tag.starts_with(b"INSERT") && command_rows(tag) > 0,
            _ => {}
        }
    }
    has
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

    fn outcomes(answer: &[Vec<u8>], statements: &[usize]) -> Vec<String> {
        let bytes = Bytes::from(answer.concat());
        let parts = cut(&bytes, statements.iter().copied());
        let tell = |part: &Result<Response, Lost>| match part {
            Ok(response) => match response.error() {
                Some(error) => error.code,
                None => {
                    let tags = response.messages().filter_map(|m| match m {
                        Message::Done(tag) => Some(String::from_utf8_lossy(tag).into_owned()),
                        _ => None,
                    });
                    tags.collect::<Vec<_>>().join(",")
                }
            },
            Err(_) => "behind".to_owned(),
        };
        parts.iter().map(tell).collect()
    }

    #[test]
    fn an_answer_to_several_is_cut() {
        let done = |n: u8| message(b'C', &[b'S', b'0' + n, 0]);
        let error = |code: &str| message(b'E', format!("VERROR\0C{code}\0Mno\0\0").as_bytes());
        let end = message(b'Z', b"I");
        let two = [done(0), message(b'1', b""), done(1), done(2), end.clone()];
        assert_eq!(outcomes(&two, &[2, 1]), ["S0,S1", "S2"]);
        let second = [done(0), done(1), error("22012"), end.clone()];
        assert_eq!(outcomes(&second, &[2, 1, 1]), ["S0,S1", "22012", "behind"]);
        let first = [error("22012"), end.clone()];
        assert_eq!(outcomes(&first, &[2, 1, 1]), ["22012", "behind", "behind"]);
        let serialised = [done(0), error("40001"), end];
        assert_eq!(outcomes(&serialised, &[1, 1, 1]), ["behind", "40001", "behind"]);
    }

    #[test]
    fn only_the_same_caller_reads_together() {
        let identity = |role: &str, sub: &str| {
            let claims = serde_json::json!({ "sub": sub });
            Identity::new(role, Arc::new(claims.as_object().cloned().unwrap_or_default()))
        };
        let reads = |caller: Option<Identity>, path: Option<&str>| Together::Reads {
            caller,
            path: path.map(Arc::from),
        };
        let one = reads(Some(identity("user", "1")), None);
        assert!(one.is_with(&reads(Some(identity("user", "1")), None)));
        assert!(!one.is_with(&reads(Some(identity("user", "2")), None)));
        assert!(!one.is_with(&reads(Some(identity("admin", "1")), None)));
        assert!(!one.is_with(&reads(Some(identity("user", "1")), Some("other"))));
        assert!(!one.is_with(&reads(None, None)));
        assert!(!one.is_with(&Together::Insertions(1)));
        assert!(reads(None, None).is_with(&reads(None, None)));
        assert!(!Together::Insertions(1).is_with(&Together::Insertions(2)));
    }

    #[test]
    fn insertions_are_told_when_the_last_is_durable() {
        let mut queue = Queue::default();
        let mut out = BytesMut::new();
        let (first, mut told_first) = oneshot::channel();
        let (second, mut told_second) = oneshot::channel();
        let together = Together::Insertions(7);
        out.put_slice(b"<first>");
        queue.push(0, first, usize::MAX, 1, Some(together.clone()));
        assert!(queue.can_join(&together, &out));
        let mark = out.len();
        out.put_slice(b"<second>");
        queue.join(mark, &mut out, second, usize::MAX, 1);
        assert_eq!(&out[..], b"<second><first>");
        queue.depart();
        assert!(!queue.can_join(&together, &out));
        let answer = |tag: &[u8]| Bytes::from([message(b'C', tag), message(b'Z', b"I")].concat());
        let tell = |(told, _): (Told, usize)| {
            for (reply, answer) in told {
                let _ = reply.map(|reply| reply.send(answer));
            }
        };
        tell(queue.answered(Ok(answer(b"INSERT 0 1\0"))));
        assert!(told_second.try_recv().is_err(), "its commit is not in the log yet");
        // The one that waits for the log has inserted nothing, so it has not waited.
        tell(queue.answered(Ok(answer(b"INSERT 0 0\0"))));
        assert!(
            told_first
                .try_recv()
                .is_ok_and(|answer| answer.is_ok_and(|a| a.is_durable))
        );
        assert!(
            told_second
                .try_recv()
                .is_ok_and(|answer| answer.is_ok_and(|a| !a.is_durable))
        );
        assert!(queue.is_empty());
    }
}
