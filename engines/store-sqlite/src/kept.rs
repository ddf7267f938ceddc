//! What was compiled, kept under the structure it was compiled from. Writes come without a plan's number, so their parts are compared.

use ahash::RandomState;
use std::collections::HashMap;
use std::hash::Hash;

/// What it was compiled from weighs at most so many bytes in all; what it was compiled to, a few times as many.
const BYTES_MAX: usize = 4 << 20;

/// What something was compiled from.
pub(crate) trait Weighed {
    /// Bytes it holds, about, as far as a caller decides how many.
    fn weight(&self) -> usize;
}

/// Compiled things of one sort.
pub(crate) struct Kept<K, V> {
    entries: HashMap<u64, Vec<(K, V)>>,
    hasher: RandomState,
    length: usize,
    bytes: usize,
    max: usize,
}

impl<K: Weighed, V> Kept<K, V> {
    /// At most `max`; when there are more, all are forgotten at once.
    pub fn new(max: usize) -> Kept<K, V> {
        Kept {
            entries: HashMap::new(),
            hasher: RandomState::new(),
            length: 0,
            bytes: 0,
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
        let known = self.entries.get(&hash);
        let at = match known.and_then(|known| known.iter().position(|(k, _)| is_same(k))) {
            Some(at) => at,
            None => {
                let (key, value) = make()?;
                let bytes = key.weight();
                if self.length >= self.max || self.bytes + bytes > BYTES_MAX {
                    self.entries.clear();
                    (self.length, self.bytes) = (0, 0);
                }
                self.length += 1;
                self.bytes += bytes;
                let entries = self.entries.entry(hash).or_default();
                entries.push((key, value));
                entries.len() - 1
            }
        };
        Ok(&mut self.entries.entry(hash).or_default()[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for u32 {
        fn weight(&self) -> usize {
            *self as usize
        }
    }

    #[test]
    fn heavy_parts_do_not_add_up() {
        let mut kept: Kept<u32, ()> = Kept::new(1000);
        for part in 0..100 {
            let heavy = (1 << 20) + part;
            kept.get_or_make(&heavy, |k| *k == heavy, || Ok::<_, ()>((heavy, ())))
                .unwrap();
            assert!(kept.length <= 4, "{}", kept.length);
        }
    }

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
