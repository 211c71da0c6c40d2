//! A prefix cache over the hashes that traces carry: a block's hash covers all blocks before it, so that a
//! set of hashes is a radix tree.

use std::collections::{BTreeMap, HashMap};

/// Blocks kept, the least recently used go first.
#[derive(Debug, Clone, Default)]
pub(super) struct PrefixCache {
    /// Hash → when it was last used.
    used: HashMap<u32, u64>,
    order: BTreeMap<u64, u32>,
    time: u64,
    hits: u64,
    asked: u64,
}

impl PrefixCache {
    /// Blocks at the start of `hashes` that are cached.
    pub fn matched(&self, hashes: &[u32]) -> usize {
        hashes.iter().take_while(|h| self.used.contains_key(h)).count()
    }

    /// Counts a look-up and marks all blocks as used now, keeping at most `capacity` of them. Blocks are
    /// touched from the last to the first, so that the tail of a prefix goes before its head.
    pub fn insert(&mut self, hashes: &[u32], capacity: u64) {
        self.hits += self.matched(hashes) as u64;
        self.asked += hashes.len() as u64;
        for hash in hashes.iter().rev() {
            self.time += 1;
            if let Some(before) = self.used.insert(*hash, self.time) {
                self.order.remove(&before);
            }
            self.order.insert(self.time, *hash);
        }
        while self.used.len() as u64 > capacity {
            let Some((_, hash)) = self.order.pop_first() else { break };
            self.used.remove(&hash);
        }
    }

    /// Blocks found and blocks asked for.
    pub fn counts(&self) -> [u64; 2] {
        [self.hits, self.asked]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_up_to_the_first_unknown_block() {
        let mut cache = PrefixCache::default();
        cache.insert(&[1, 2, 3], 100);
        assert_eq!(cache.matched(&[1, 2, 9, 3]), 2);
        assert_eq!(cache.matched(&[7]), 0);
        cache.insert(&[4, 5], 3);
        // the tail of the older prefix went first
        assert_eq!((cache.matched(&[1, 2, 3]), cache.matched(&[4, 5])), (1, 2));
    }
}
