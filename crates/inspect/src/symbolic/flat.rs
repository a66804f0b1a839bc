//! A small map in one allocation: every fork of a path clones it.

use std::ops::Range;

/// Sorted by key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlatMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for FlatMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> FlatMap<K, V> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value, which is made if there is none.
    pub(super) fn entry(&mut self, key: K, new: V) -> &mut V {
        let at = match self.0.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key, new));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Those from the first key up to, without, the last.
    pub(super) fn range_mut(&mut self, keys: Range<K>) -> &mut [(K, V)] {
        let range = self.places(keys);
        &mut self.0[range]
    }

    pub(super) fn range(&self, keys: Range<K>) -> &[(K, V)] {
        &self.0[self.places(keys)]
    }

    fn places(&self, keys: Range<K>) -> Range<usize> {
        let start = self.0.partition_point(|(key, _)| *key < keys.start);
        let len = self.0[start..].partition_point(|(key, _)| *key < keys.end);
        start..start + len
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.0.retain(|(key, _)| keep(key));
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}
