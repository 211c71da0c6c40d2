//! The way of a KV cache from one pool to another.

/// Bytes that the cache of one sequence takes, over all accelerators of a replica.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CacheBytes {
    /// Of any length: recurrent states.
    pub fixed: f64,
    /// Bytes a token, and the tokens up to which they grow (a window; infinite without).
    pub growing: Vec<(f64, f64)>,
}

impl CacheBytes {
    /// Of a sequence of `tokens` tokens: s + Σ b·min(t, W).
    #[must_use]
    pub fn of(&self, tokens: f64) -> f64 {
        self.fixed + self.growing.iter().map(|(bytes, window)| bytes * tokens.min(*window)).sum::<f64>()
    }
}

/// A link between two replicas. Transfers wait for each other at its ends: a replica sends one cache after another, and
/// receives one after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Bytes a second between two replicas, all their accelerators together.
    pub bytes_per_s: f64,
    /// Time before the first byte arrives.
    pub latency_s: f64,
    /// Layers whose cache is sent while later ones are computed; 0 sends after the prompt.
    pub overlapped_layers: u32,
    /// What a sequence's cache takes.
    pub cache: CacheBytes,
}

impl Link {
    /// Time on the link of a prompt of `tokens` tokens, and how much of it can pass while the prompt, which takes
    /// `computing` seconds, is computed: the first L − 1 of L layers, h = min(t·(L − 1)/L, T·(L − 1)/L).
    #[must_use]
    pub fn times(&self, tokens: u32, computing: f64) -> [f64; 2] {
        let time = self.cache.of(f64::from(tokens)) / self.bytes_per_s;
        let layers = f64::from(self.overlapped_layers);
        let share = if layers > 0.0 { (layers - 1.0) / layers } else { 0.0 };
        [time, share * time.min(computing.max(0.0))]
    }
}

/// When the ends of the link of every replica are free again.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    sending: Vec<f64>,
    receiving: Vec<f64>,
    /// Seconds in which they sent.
    pub busy: f64,
}

impl Lanes {
    pub fn new(senders: usize, receivers: usize) -> Self {
        Self { sending: vec![0.0; senders], receiving: vec![0.0; receivers], busy: 0.0 }
    }

    /// Sends a cache whose prompt ended at `end`; returns when all of it is there.
    pub fn send(&mut self, [from, to]: [usize; 2], end: f64, [time, hidden]: [f64; 2], latency: f64) -> f64 {
        let start = (end - hidden).max(self.sending[from]).max(self.receiving[to]);
        let done = (start + time).max(end);
        self.sending[from] = done;
        self.receiving[to] = done;
        self.busy += time;
        done + latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_by_hand() {
        let cache = CacheBytes { fixed: 1e6, growing: vec![(1000.0, f64::INFINITY), (500.0, 1024.0)] };
        assert!((cache.of(2000.0) - (1e6 + 2e6 + 512e3)).abs() < 1e-6);
        let link = Link { bytes_per_s: 1e6, latency_s: 0.01, overlapped_layers: 0, cache };
        assert_eq!(link.times(2000, 1.0), [3.512, 0.0]);
        let overlapped = Link { overlapped_layers: 4, ..link };
        // three of four layers pass within the 1 s of the prompt
        assert_eq!(overlapped.times(2000, 1.0), [3.512, 0.75]);
        assert_eq!(overlapped.times(2000, 100.0), [3.512, 0.75 * 3.512]);
        let mut lanes = Lanes::new(1, 2);
        let first = lanes.send([0, 0], 5.0, [2.0, 0.5], 0.01);
        assert!((first - 6.51).abs() < 1e-12, "{first}");
        // the sender is busy until 6.5, whoever receives
        let second = lanes.send([0, 1], 5.5, [1.0, 0.0], 0.01);
        assert!((second - 7.51).abs() < 1e-12, "{second}");
    }
}
