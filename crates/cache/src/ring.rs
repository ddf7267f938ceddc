//! The commits of late, so that a fill under way can be told whether it missed one.

use crate::footprint::{Footprint, heap_bytes};
use crate::index::touches;
use mainstay_model::{Change, ChangeKind, Changes, Fence, Position, RelationId, Row, Value};
use std::collections::{HashMap, VecDeque};

/// A transaction that changes more rows of one table than this counts as one that changes all of them: the writer waits for the
/// index, row by row.
const ROWS_MAX: usize = 512;

/// Recent commits of one store, oldest first.
#[derive(Default)]
pub(crate) struct Ring {
    commits: VecDeque<(Changes, usize)>,
    rows: usize,
    bytes: usize,
    /// The highest position of those that have left.
    left: Option<Position>,
}

impl Ring {
    /// Takes in a commit; the oldest leave while there are more than so many rows or bytes.
    pub fn push(&mut self, changes: Changes, rows_max: usize, bytes_max: usize) {
        let bytes = changes.rows.iter().map(change_bytes).sum();
        self.rows += changes.rows.len();
        self.bytes += bytes;
        self.commits.push_back((changes, bytes));
        while self.rows > rows_max || self.bytes > bytes_max {
            let Some((oldest, bytes)) = self.commits.pop_front() else {
                break;
            };
            self.rows -= oldest.rows.len();
            self.bytes -= bytes;
            let later = |left: Position| {
                if left.token < oldest.position.token {
                    oldest.position
                } else {
                    left
                }
            };
            self.left = Some(self.left.map_or(oldest.position, later));
        }
    }

    /// Why a read with this fence may have missed a change of what it depends on, if it may.
    pub fn missed(&self, fence: &Fence, footprint: &Footprint) -> Option<&'static str> {
        if self.left.is_some_and(|left| !sees_all_to(fence, left)) {
            return Some("older than the ring");
        }
        let unseen = |changes: &&Changes| !fence.sees(changes.position);
        let touching = |changes: &Changes| changes.rows.iter().any(|change| touches(footprint, change));
        let commits = self.commits.iter().rev().map(|(changes, _)| changes);
        let missed = match fence {
            // What stands before one that is seen is seen as well.
            Fence::UpTo(_) => commits.take_while(unseen).any(touching),
            // Snapshots have holes.
            Fence::Snapshot { .. } => commits.filter(unseen).any(touching),
        };
        missed.then_some("changed meanwhile")
    }
}

/// Whether a read has seen a transaction and every one before it.
fn sees_all_to(fence: &Fence, position: Position) -> bool {
    match fence {
        Fence::UpTo(seen) => position <= *seen,
        Fence::Snapshot { store, min, .. } => *store == position.store && position.token < *min,
    }
}

/// A transaction's changes, with one TRUNCATE in the place of very many rows of one table.
pub(crate) fn condensed(changes: &Changes) -> Changes {
    if changes.rows.len() <= ROWS_MAX {
        return changes.clone();
    }
    let mut rows_of: HashMap<RelationId, usize> = HashMap::new();
    for change in &changes.rows {
        *rows_of.entry(change.relation).or_default() += 1;
    }
    let is_whole = |relation: &RelationId| rows_of.get(relation).is_some_and(|rows| *rows > ROWS_MAX);
    let whole = rows_of.keys().copied().filter(|r| is_whole(r)).map(|relation| Change {
        relation,
        kind: ChangeKind::Truncate,
        before: None,
        after: None,
    });
    let single = changes
        .rows
        .iter()
        .filter(|change| !is_whole(&change.relation))
        .cloned();
    Changes {
        position: changes.position,
        rows: whole.chain(single).collect(),
    }
}

fn change_bytes(change: &Change) -> usize {
    let row = |row: &Option<Row>| {
        row.as_ref().map_or(0, |row| {
            32 + row.iter().map(|v| size_of::<Value>() + heap_bytes(v)).sum::<usize>()
        })
    };
    size_of::<Change>() + row(&change.before) + row(&change.after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::footprint::{Columns, ReadSet, TableReads};
    use std::sync::Arc;

    fn changes(token: u64, relation: u32, rows: usize) -> Changes {
        let change = Change {
            relation: RelationId(relation),
            kind: ChangeKind::Insert,
            before: None,
            after: Some([Value::Int(1)].into()),
        };
        Changes {
            position: Position { store: 0, token },
            rows: vec![change; rows],
        }
    }

    fn reads(relation: u32) -> Footprint {
        let reads = TableReads {
            relation: RelationId(relation),
            columns: Columns::All,
            filter: None,
            certain: true,
        };
        Footprint::new(Arc::new(ReadSet::new(vec![reads])), Vec::new())
    }

    fn up_to(token: u64) -> Fence {
        Fence::UpTo(Position { store: 0, token })
    }

    fn snapshot(min: u64, max: u64, in_progress: &[u64]) -> Fence {
        Fence::Snapshot {
            store: 0,
            min,
            max,
            in_progress: in_progress.to_vec(),
        }
    }

    #[test]
    fn a_fill_is_told_what_it_missed() {
        let mut ring = Ring::default();
        // Commit order is not the order of tokens where transactions overlap.
        for (token, relation) in [(10, 1), (12, 2), (11, 1)] {
            ring.push(changes(token, relation, 1), 100, 1 << 20);
        }
        for (fence, relation, expected) in [
            (up_to(12), 1, None),
            (up_to(10), 3, None),
            (up_to(9), 1, Some("changed meanwhile")),
            (snapshot(13, 13, &[]), 1, None),
            (snapshot(11, 13, &[11]), 1, Some("changed meanwhile")),
            (snapshot(11, 13, &[11]), 2, None),
            (snapshot(12, 13, &[12]), 2, Some("changed meanwhile")),
            (snapshot(12, 13, &[12]), 1, None),
            (snapshot(10, 10, &[]), 2, Some("changed meanwhile")),
        ] {
            assert_eq!(ring.missed(&fence, &reads(relation)), expected, "{fence:?} {relation}");
        }
    }

    #[test]
    fn what_has_left_must_have_been_seen() {
        let mut ring = Ring::default();
        for token in [10, 12, 11, 13] {
            ring.push(changes(token, 1, 1), 2, 1 << 20);
        }
        let left = Some("older than the ring");
        for (fence, expected) in [
            (up_to(13), None),
            (up_to(12), None),
            (up_to(11), left),
            (snapshot(13, 13, &[]), None),
            (snapshot(12, 14, &[12]), left),
            (snapshot(11, 14, &[11]), left),
        ] {
            assert_eq!(ring.missed(&fence, &reads(9)), expected, "{fence:?}");
        }
        // One that is larger than the whole ring leaves at once.
        ring.push(changes(20, 9, 3), 2, 1 << 20);
        assert_eq!(ring.missed(&up_to(19), &reads(1)), left);
        assert_eq!(ring.missed(&up_to(20), &reads(9)), None);
        ring.push(changes(21, 9, 1), 2, 10);
        assert_eq!(ring.missed(&up_to(20), &reads(1)), left);
        assert_eq!((ring.rows, ring.bytes), (0, 0));
    }

    #[test]
    fn very_many_rows_are_the_whole_table() {
        let mut many = changes(1, 1, ROWS_MAX + 1);
        many.rows.extend(changes(1, 2, 3).rows);
        let condensed = condensed(&many);
        assert_eq!(condensed.rows.len(), 4);
        assert_eq!(
            (condensed.rows[0].relation, condensed.rows[0].kind),
            (RelationId(1), ChangeKind::Truncate)
        );
    }
}
