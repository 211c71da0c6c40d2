//! A prefix cache of one rank: what is left of earlier requests in free blocks of the KV pool, and in tiers below it.
//!
//! Blocks of a trace are known by their hash, which covers all blocks before them, so that a set of hashes is a radix tree.
//! The context of a session is one entry. What has no room moves down to the next tier, the least recently used first, and
//! comes back over that tier's link.

use std::collections::{BTreeMap, HashMap};

/// Host memory or a disk that holds KV cache which has no room on the accelerators.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tier {
    /// Tokens that it holds for one rank.
    pub tokens: u64,
    /// Time to bring one back.
    pub seconds_per_token: f64,
}

/// Entries, the least recently used go first.
#[derive(Debug, Clone, Default)]
struct Level {
    /// Key → when it was last used, tokens.
    used: HashMap<u64, (u64, u32)>,
    order: BTreeMap<u64, u64>,
    tokens: u64,
}

impl Level {
    fn remove(&mut self, key: u64) -> Option<u32> {
        let (time, tokens) = self.used.remove(&key)?;
        self.order.remove(&time);
        self.tokens -= u64::from(tokens);
        Some(tokens)
    }

    fn put(&mut self, key: u64, tokens: u32, time: u64) {
        self.remove(key);
        self.used.insert(key, (time, tokens));
        self.order.insert(time, key);
        self.tokens += u64::from(tokens);
    }

    fn pop_oldest(&mut self) -> Option<(u64, u32)> {
        let key = *self.order.first_key_value()?.1;
        self.remove(key).map(|tokens| (key, tokens))
    }
}

/// Entries kept on the accelerators and in tiers.
#[derive(Debug, Clone, Default)]
pub(super) struct PrefixCache {
    levels: Vec<Level>,
    tiers: Vec<Tier>,
    time: u64,
    hits: u64,
    asked: u64,
    /// When the link of each tier is free again.
    busy: Vec<f64>,
    loaded: u64,
}

/// The key of a session; hashes of traces are below.
pub(super) fn session_key(session: u32) -> u64 {
    1 << 63 | u64::from(session)
}

impl PrefixCache {
    pub fn new(tiers: &[Tier]) -> Self {
        Self { tiers: tiers.to_vec(), busy: vec![0.0; tiers.len()], ..Self::default() }
    }

    fn find(&self, key: u64) -> Option<(usize, u32)> {
        self.levels.iter().enumerate().find_map(|(i, l)| l.used.get(&key).map(|(_, tokens)| (i, *tokens)))
    }

    /// Blocks at the start of `hashes` that are cached anywhere.
    pub fn matched(&self, hashes: &[u32]) -> usize {
        hashes.iter().take_while(|h| self.find(u64::from(**h)).is_some()).count()
    }

    /// Tokens of a session that are cached anywhere.
    pub fn session(&self, session: u32) -> u32 {
        self.find(session_key(session)).map_or(0, |(_, tokens)| tokens)
    }

    /// Takes a session out: its tokens belong to a request again. Tokens found.
    pub fn take_session(&mut self, session: u32) -> u32 {
        let key = session_key(session);
        let found = self.levels.iter_mut().find_map(|l| l.remove(key)).unwrap_or(0);
        self.asked += 1;
        self.hits += u64::from(found > 0);
        found
    }

    /// Keeps the context of a session, and at most `capacity` tokens of all.
    pub fn put_session(&mut self, session: u32, tokens: u32, capacity: u64) {
        self.put(session_key(session), tokens);
        self.shrink(capacity);
    }

    fn put(&mut self, key: u64, tokens: u32) {
        self.time += 1;
        for level in self.levels.iter_mut().skip(1) {
            level.remove(key);
        }
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        self.levels[0].put(key, tokens, self.time);
    }

    /// Moves down what exceeds `capacity` tokens on the accelerators, and the tiers' own.
    pub fn shrink(&mut self, capacity: u64) {
        let mut limit = capacity;
        let mut index = 0;
        while index < self.levels.len() {
            while self.levels[index].tokens > limit {
                let Some((key, tokens)) = self.levels[index].pop_oldest() else { break };
                if index < self.tiers.len() && u64::from(tokens) <= self.tiers[index].tokens {
                    if self.levels.len() == index + 1 {
                        self.levels.push(Level::default());
                    }
                    self.time += 1;
                    let time = self.time;
                    self.levels[index + 1].put(key, tokens, time);
                }
            }
            limit = self.tiers.get(index).map_or(0, |t| t.tokens);
            index += 1;
        }
    }

    /// Counts a look-up and marks all blocks as used now, keeping at most `capacity` tokens. Blocks are touched from the
    /// last to the first, so that the tail of a prefix goes before its head.
    pub fn insert(&mut self, hashes: &[u32], tokens: u32, capacity: u64) {
        self.hits += self.matched(hashes) as u64;
        self.asked += hashes.len() as u64;
        for hash in hashes.iter().rev() {
            self.put(u64::from(*hash), tokens);
        }
        self.shrink(capacity);
    }

    /// Brings back what a request can use of the tiers below from `now` on; returns when all of it is there.
    pub fn load(&mut self, session: u32, hashes: &[u32], now: f64) -> f64 {
        let session = (session > 0).then(|| session_key(session));
        let keys: Vec<u64> = match session {
            Some(key) => vec![key],
            None => hashes.iter().map(|h| u64::from(*h)).take_while(|k| self.find(*k).is_some()).collect(),
        };
        let mut ready = now;
        for key in keys {
            let Some((level, tokens)) = self.find(key).filter(|(level, _)| *level > 0) else { continue };
            let link = &mut self.busy[level - 1];
            *link = link.max(now) + f64::from(tokens) * self.tiers[level - 1].seconds_per_token;
            ready = ready.max(*link);
            self.loaded += u64::from(tokens);
            self.put(key, tokens);
        }
        ready
    }

    /// Entries found and asked for.
    pub fn counts(&self) -> [u64; 2] {
        [self.hits, self.asked]
    }

    /// Tokens brought back from tiers.
    pub fn loaded(&self) -> u64 {
        self.loaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_match_up_to_the_first_unknown_block() {
        let mut cache = PrefixCache::default();
        cache.insert(&[1, 2, 3], 1, 100);
        assert_eq!(cache.matched(&[1, 2, 9, 3]), 2);
        assert_eq!(cache.matched(&[7]), 0);
        cache.insert(&[4, 5], 1, 3);
        // the tail of the older prefix went first
        assert_eq!((cache.matched(&[1, 2, 3]), cache.matched(&[4, 5])), (1, 2));
    }

    #[test]
    fn what_has_no_room_comes_back_over_the_link() {
        let tier = |tokens, seconds_per_token| Tier { tokens, seconds_per_token };
        let mut cache = PrefixCache::new(&[tier(150, 1e-3), tier(1000, 1e-2)]);
        for session in 1..=4 {
            cache.put_session(session, 100, 100);
        }
        // 4 on the accelerator, 3 in the first tier, 1 and 2 in the second
        assert_eq!([1, 2, 3, 4, 5].map(|s| cache.session(s)), [100, 100, 100, 100, 0]);
        assert_eq!(cache.load(4, &[], 7.0), 7.0);
        assert!((cache.load(3, &[], 7.0) - 7.1).abs() < 1e-12);
        assert!((cache.load(1, &[], 7.0) - 8.0).abs() < 1e-12);
        // the link is busy with the one before
        assert!((cache.load(2, &[], 7.5) - 9.0).abs() < 1e-12);
        assert_eq!((cache.take_session(2), cache.session(2), cache.loaded()), (100, 0, 300));
    }
}
