//! What was compiled, kept under the structure it was compiled from. Writes come without a plan's number, so their parts are compared.

use ahash::RandomState;
use std::collections::HashMap;
use std::hash::Hash;

/// Compiled things of one sort.
pub(crate) struct Kept<K, V> {
    entries: HashMap<u64, Vec<(K, V)>>,
    hasher: RandomState,
    length: usize,
    max: usize,
}

impl<K, V> Kept<K, V> {
    /// At most `max`; when there are more, all are forgotten at once.
    pub fn new(max: usize) -> Kept<K, V> {
        Kept {
            entries: HashMap::new(),
            hasher: RandomState::new(),
            length: 0,
            max: max.max(1),
        }
    }

    /// The one made from `parts`, made now if it is not there.
    pub fn get_or_make<E>(
        &mut self,
        parts: &impl Hash,
        is_same: impl Fn(&K) -> bool,
        make: impl FnOnce() -> Result<(K, V), E>,
    ) -> Result<&mut V, E> {
        let hash = self.hasher.hash_one(parts);
        if self.length >= self.max
            && !self
                .entries
                .get(&hash)
                .is_some_and(|e| e.iter().any(|(k, _)| is_same(k)))
        {
            self.entries.clear();
            self.length = 0;
        }
        let entries = self.entries.entry(hash).or_default();
        let at = match entries.iter().position(|(k, _)| is_same(k)) {
            Some(at) => at,
            None => {
                entries.push(make()?);
                self.length += 1;
                entries.len() - 1
            }
        };
        Ok(&mut entries[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_are_made_once_and_the_bound_holds() {
        let mut kept: Kept<u32, u32> = Kept::new(2);
        let mut made = 0;
        for part in [1u32, 1, 2, 1, 3, 3, 1] {
            let value = kept.get_or_make(
                &part,
                |k| *k == part,
                || {
                    made += 1;
                    Ok::<_, ()>((part, part * 10))
                },
            );
            assert_eq!(value, Ok(&mut (part * 10)));
        }
        assert_eq!(made, 4);
        assert!(kept.length <= 2);
        assert!(
            kept.get_or_make(&9u32, |k| *k == 9, || Err::<(u32, u32), _>("no"))
                .is_err()
        );
    }
}
