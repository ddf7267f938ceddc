//! Which of many ranges contain a value: the index's answer to `<`, `between` and the like.
//!
//! Ranges lie in an array sorted by their lower bound, read as a balanced binary tree in which each node knows the highest upper
//! bound below it. New ones wait in a short list and are sorted in when it has grown to a share of the array; removed ones are
//! left out at the next sorting.

use mainstay_model::Value;
use std::cmp::Ordering;

/// A range of one column's values, each end included; an absent end is open. Exclusive ends are taken as included: a range only
/// has to find every candidate.
#[derive(Clone, Debug)]
struct Range<T> {
    low: Option<Value>,
    high: Option<Value>,
    tag: T,
}

/// Ranges of one column.
#[derive(Clone, Debug)]
pub(crate) struct Ranges<T> {
    sorted: Vec<Range<T>>,
    /// For the node at each index of `sorted`: the index of the highest upper bound in its subtree.
    highest: Vec<u32>,
    fresh: Vec<Range<T>>,
    removed: usize,
}

impl<T> Default for Ranges<T> {
    fn default() -> Ranges<T> {
        Ranges {
            sorted: Vec::new(),
            highest: Vec::new(),
            fresh: Vec::new(),
            removed: 0,
        }
    }
}

fn compare(a: &Value, b: &Value) -> Ordering {
    // Within one column all values are of one type; what has no order is not put here.
    a.sql_cmp(b).unwrap_or(Ordering::Equal)
}

impl<T: Copy + PartialEq> Ranges<T> {
    /// `alive` tells which tags have not been removed: each sorting leaves the others out, or they would pile up.
    pub fn insert(&mut self, low: Option<Value>, high: Option<Value>, tag: T, alive: &dyn Fn(T) -> bool) {
        self.fresh.push(Range { low, high, tag });
        if self.fresh.len() > 32 + self.sorted.len() / 4 {
            self.rebuild(alive);
        }
    }

    /// Says that `tag` is gone; `alive` tells which are not. Found tags must be checked by the caller until the next sorting.
    pub fn remove(&mut self, alive: &dyn Fn(T) -> bool) {
        self.removed += 1;
        if self.removed > 32 + (self.sorted.len() + self.fresh.len()) / 4 {
            self.rebuild(alive);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty() && self.fresh.is_empty()
    }

    /// Every range that contains the value.
    pub fn stab(&self, value: &Value, found: &mut dyn FnMut(T)) {
        for range in &self.fresh {
            if contains(range, value) {
                found(range.tag);
            }
        }
        self.descend(0, self.sorted.len(), value, found);
    }

    fn descend(&self, from: usize, to: usize, value: &Value, found: &mut dyn FnMut(T)) {
        if from >= to {
            return;
        }
        let middle = from + (to - from) / 2;
        let highest = &self.sorted[self.highest[middle] as usize].high;
        if highest
            .as_ref()
            .is_some_and(|high| compare(high, value) == Ordering::Less)
        {
            return;
        }
        self.descend(from, middle, value, found);
        let node = &self.sorted[middle];
        if contains(node, value) {
            found(node.tag);
        }
        // To the right every lower bound is at least this one's.
        if node
            .low
            .as_ref()
            .is_none_or(|low| compare(low, value) != Ordering::Greater)
        {
            self.descend(middle + 1, to, value, found);
        }
    }

    /// How many are held, removed ones that have not been left out yet included.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.sorted.len() + self.fresh.len()
    }

    fn rebuild(&mut self, alive: &dyn Fn(T) -> bool) {
        let fresh = std::mem::take(&mut self.fresh);
        self.sorted.extend(fresh);
        self.sorted.retain(|range| alive(range.tag));
        if self.sorted.capacity() > 64 + 4 * self.sorted.len() {
            self.sorted.shrink_to_fit();
        }
        self.sorted.sort_by(|a, b| match (&a.low, &b.low) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => compare(a, b),
        });
        self.removed = 0;
        self.highest = vec![0; self.sorted.len()];
        self.mark(0, self.sorted.len());
    }

    fn mark(&mut self, from: usize, to: usize) -> Option<u32> {
        if from >= to {
            return None;
        }
        let middle = from + (to - from) / 2;
        let mut best = middle as u32;
        for child in [self.mark(from, middle), self.mark(middle + 1, to)]
            .into_iter()
            .flatten()
        {
            let higher = match (&self.sorted[child as usize].high, &self.sorted[best as usize].high) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(a), Some(b)) => compare(a, b) == Ordering::Greater,
            };
            if higher {
                best = child;
            }
        }
        self.highest[middle] = best;
        Some(best)
    }
}

fn contains<T>(range: &Range<T>, value: &Value) -> bool {
    range
        .low
        .as_ref()
        .is_none_or(|low| compare(low, value) != Ordering::Greater)
        && range
            .high
            .as_ref()
            .is_none_or(|high| compare(high, value) != Ordering::Less)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stab_finds_what_a_scan_finds(
            ranges in proptest::collection::vec((proptest::option::of(-50i64..50), proptest::option::of(-50i64..50)), 0..300),
            gone in proptest::collection::vec(any::<bool>(), 300),
            probes in proptest::collection::vec(-60i64..60, 20),
        ) {
            let mut tree = Ranges::default();
            for (tag, (low, high)) in ranges.iter().enumerate() {
                tree.insert(low.map(Value::Int), high.map(Value::Int), tag, &|_| true);
            }
            let alive = |tag: usize| !gone[tag];
            for _ in gone[..ranges.len()].iter().filter(|gone| **gone) {
                tree.remove(&alive);
            }
            for probe in probes {
                let mut found = Vec::new();
                tree.stab(&Value::Int(probe), &mut |tag| found.push(tag));
                found.retain(|tag| alive(*tag));
                found.sort_unstable();
                let expected: Vec<usize> = ranges.iter().enumerate()
                    .filter(|(tag, (low, high))| alive(*tag) && low.is_none_or(|l| l <= probe) && high.is_none_or(|h| h >= probe))
                    .map(|(tag, _)| tag).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn what_was_removed_does_not_pile_up() {
        let mut tree = Ranges::default();
        let live = 100;
        for tag in 0..100_000i64 {
            let alive = |t: i64| t + live > tag;
            tree.insert(Some(Value::Int(tag)), None, tag, &alive);
            if tag >= live {
                tree.remove(&alive);
            }
            assert!(tree.len() < 400, "{} are held for {live}", tree.len());
        }
    }
}
