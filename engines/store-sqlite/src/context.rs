//! What functions may know of the transaction that they run in: its time, its events, its sequences. One per thread, because a
//! connection works on one thread at a time and SQLite hands its functions nothing else.

use mainstay_model::{Error, Result, Sequence, time};
use std::cell::RefCell;
use std::collections::HashMap;

/// An event that a function emitted, before it has a place in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The topic.
    pub topic: String,
    /// Deliveries with one key keep their order.
    pub key: String,
    /// JSON.
    pub payload: String,
}

/// A sequence as the writer keeps it. Values that were handed out stay handed out when the transaction fails, as in Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequenceState {
    /// The value handed out next; beyond the bounds, none is left.
    pub next: i64,
    /// As the schema declares it.
    pub definition: Sequence,
    /// Differs from what the file says.
    pub changed: bool,
}

#[derive(Default)]
struct Context {
    now_us: i64,
    writing: bool,
    emitted: Vec<Emitted>,
    sequences: HashMap<String, SequenceState>,
}

thread_local! {
    static CONTEXT: RefCell<Context> = RefCell::new(Context::default());
}

/// The transaction's time: microseconds since the Unix epoch, the same for every statement of it.
pub fn now_us() -> i64 {
    CONTEXT.with_borrow(|c| if c.now_us == 0 { time::now() } else { c.now_us })
}

/// Records an event of the transaction. Errors: 25006 in a read, 22004 without a topic, 42939 for one that is not the project's to use.
pub fn emit(topic: &str, key: &str, payload: &str) -> Result<()> {
    if topic.is_empty() {
        return Err(Error::new("22004", "emit() needs a topic"));
    }
    if mainstay_model::is_reserved_topic(topic) {
        return Err(Error::new("42939", format!("the topic \"{topic}\" is reserved"))
            .hint("Topics that begin with mainstay. or change. are Mainstay's own; choose another."));
    }
    CONTEXT.with_borrow_mut(|c| {
        if !c.writing {
            return Err(Error::new("25006", "cannot execute emit() in a read-only transaction")
                .hint("Declare the function VOLATILE and call it by POST."));
        }
        c.emitted.push(Emitted {
            topic: topic.to_owned(),
            key: key.to_owned(),
            payload: payload.to_owned(),
        });
        Ok(())
    })
}

/// `nextval`: a sequence that the schema does not declare starts at 1 and counts by 1. Errors: 25006 in a read, 2200H at the end.
pub fn next_value(sequence: &str) -> Result<i64> {
    CONTEXT.with_borrow_mut(|c| {
        if !c.writing {
            return Err(Error::new(
                "25006",
                "cannot execute nextval() in a read-only transaction",
            ));
        }
        if !c.sequences.contains_key(sequence) {
            let state = SequenceState::new(Sequence::default());
            c.sequences.insert(sequence.to_owned(), state);
        }
        let unknown = || Error::internal("a sequence is not there");
        c.sequences.get_mut(sequence).ok_or_else(unknown)?.take(sequence)
    })
}

impl SequenceState {
    /// One that has handed out nothing.
    pub fn new(definition: Sequence) -> SequenceState {
        SequenceState {
            next: definition.start,
            definition,
            changed: false,
        }
    }

    /// Hands out a value. The very last of 64 bits is not: there is no number for what would follow it.
    fn take(&mut self, name: &str) -> Result<i64> {
        let Sequence {
            increment,
            min,
            max,
            cycle,
            ..
        } = self.definition;
        let (bound, word, anew) = if increment > 0 {
            (max, "maximum", min)
        } else {
            (min, "minimum", max)
        };
        let exhausted = || {
            Error::new(
                "2200H",
                format!("nextval: reached {word} value of sequence \"{name}\" ({bound})"),
            )
        };
        let within = |value: &i64| (min..=max).contains(value);
        let value = Some(self.next)
            .filter(within)
            .or(cycle.then_some(anew))
            .ok_or_else(exhausted)?;
        let following = value.checked_add(increment).or(cycle.then_some(anew));
        self.next = following.ok_or_else(exhausted)?;
        self.changed = true;
        Ok(value)
    }
}

/// Makes a sequence go on at `next` at the earliest: its values below were loaded.
pub(crate) fn raise_sequence(sequence: &str, next: i64) {
    CONTEXT.with_borrow_mut(|c| {
        let new = || SequenceState::new(Sequence::default());
        let state = c.sequences.entry(sequence.to_owned()).or_insert_with(new);
        if state.next < next {
            state.next = next;
            state.changed = true;
        }
    });
}

/// Begins a read on this thread.
pub(crate) fn begin_read() {
    CONTEXT.with_borrow_mut(|c| {
        c.now_us = time::now();
        c.writing = false;
    });
}

/// Begins one member of a group on this thread.
pub(crate) fn begin_write(now_us: i64) {
    CONTEXT.with_borrow_mut(|c| {
        c.now_us = now_us;
        c.writing = true;
        c.emitted.clear();
    });
}

/// Forgets the events after the first `length`.
pub(crate) fn truncate(length: usize) {
    CONTEXT.with_borrow_mut(|c| c.emitted.truncate(length));
}

/// Takes the member's events.
pub(crate) fn take_emitted() -> Vec<Emitted> {
    CONTEXT.with_borrow_mut(|c| {
        c.writing = false;
        std::mem::take(&mut c.emitted)
    })
}

/// Gives this thread its sequences; the writer's does so once.
pub(crate) fn set_sequences(sequences: HashMap<String, SequenceState>) {
    CONTEXT.with_borrow_mut(|c| c.sequences = sequences);
}

/// The sequences whose next value the file does not have yet.
pub(crate) fn changed_sequences() -> Vec<(String, i64)> {
    CONTEXT.with_borrow(|c| {
        c.sequences
            .iter()
            .filter(|(_, s)| s.changed)
            .map(|(name, s)| (name.clone(), s.next))
            .collect()
    })
}

/// The file has them now.
pub(crate) fn sequences_saved() {
    CONTEXT.with_borrow_mut(|c| c.sequences.values_mut().for_each(|s| s.changed = false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_emits_and_counts() {
        begin_read();
        assert_eq!(emit("t", "k", "{}").unwrap_err().code, "25006");
        assert_eq!(next_value("s").unwrap_err().code, "25006");
        begin_write(5);
        assert_eq!(now_us(), 5);
        emit("t", "k", "{}").unwrap();
        emit("u", "k", "{}").unwrap();
        truncate(1);
        assert_eq!((next_value("s").unwrap(), next_value("s").unwrap()), (1, 2));
        assert_eq!(changed_sequences(), [("s".to_owned(), 3)]);
        sequences_saved();
        assert!(changed_sequences().is_empty());
        assert_eq!(take_emitted().iter().map(|e| &*e.topic).collect::<Vec<_>>(), ["t"]);
    }
}
