//! What a mixer keeps of the past: a cache that grows, or a state that does not.

use super::{Indexer, Mixer};

impl Mixer {
    /// Channels of the causal convolution; 0 without one.
    #[must_use]
    pub fn conv_channels(&self) -> u64 {
        let u = u64::from;
        match *self {
            Self::GatedDeltaNet { key_heads, value_heads, key_head_dim, value_head_dim, .. } => {
                2 * u(key_heads) * u(key_head_dim) + u(value_heads) * u(value_head_dim)
            }
            Self::Mamba2 { heads, head_dim, state_size, groups, .. } => {
                u(heads) * u(head_dim) + 2 * u(groups) * u(state_size)
            }
            Self::Mamba1 { inner_size, .. } => u(inner_size),
            Self::KimiDelta { heads, head_dim, .. } => 3 * u(heads) * u(head_dim),
            Self::ShortConv { width, .. } => u(width),
            _ => 0,
        }
    }

    /// Elements that one token adds to the cache of one layer (up to the window, where there is one;
    /// on average, where `ratio` tokens make one entry). A latent, and the shared head of compressed
    /// attention, are cached whole on every tensor-parallel rank.
    #[must_use]
    pub fn kv_elements_per_token(&self) -> u64 {
        let u = u64::from;
        match *self {
            Self::GroupedQuery { reuses_kv: true, .. } => 0,
            Self::GroupedQuery { kv_heads, head_dim, value_head_dim, indexer, .. } => {
                u(kv_heads) * (u(head_dim) + u(value_head_dim.unwrap_or(head_dim)))
                    + indexer.map_or(0, Indexer::cached_width)
            }
            Self::Latent { kv_lora_rank, qk_rope_head_dim, indexer, .. } => {
                u(kv_lora_rank + qk_rope_head_dim) + indexer.map_or(0, Indexer::cached_width)
            }
            Self::Compressed { head_dim, ratio: 0, .. } => u(head_dim),
            Self::Compressed { head_dim, ratio, indexer, .. } => {
                (u(head_dim) + indexer.map_or(0, |i| u(i.head_dim))) / u(ratio)
            }
            _ => 0,
        }
    }

    /// Elements in the cache of one layer for one sequence of `tokens` tokens: the window and the
    /// compression accounted for, the fixed state of [`Self::state_bytes`] not included.
    ///
    /// Grouped-query attention: `e · min(t, W)`; latent attention: `e · t`; compressed attention:
    /// `c · min(t, W) + ⌊t/m⌋ · (c + c_I)`, with e elements per token, window W, head width c, indexer
    /// width c_I and ratio m. Image tokens of cross-attention are not included.
    #[must_use]
    pub fn cache_elements(&self, tokens: f64) -> f64 {
        let windowed = self.window().map_or(tokens, |w| tokens.min(f64::from(w)));
        match *self {
            Self::Compressed { head_dim, window, ratio, indexer, .. } if ratio > 0 => {
                let entries = (tokens / f64::from(ratio)).floor();
                let width = head_dim + indexer.map_or(0, |i| i.head_dim);
                f64::from(head_dim) * tokens.min(f64::from(window)) + entries * f64::from(width)
            }
            _ => self.kv_elements_per_token() as f64 * windowed,
        }
    }

    /// The sliding window in tokens, when nothing before it is kept.
    #[must_use]
    pub fn window(&self) -> Option<u32> {
        match *self {
            Self::GroupedQuery { window, .. } => window,
            Self::Compressed { window, ratio: 0, .. } => Some(window),
            _ => None,
        }
    }

    /// Bytes of the fixed state of one sequence in one layer: the recurrent state in fp32, the
    /// convolution's last inputs in 16 bit, the inputs of the entry that a compressor is still
    /// pooling in fp32. 0 for other attention.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        let u = u64::from;
        let (state, kernel) = match *self {
            Self::GatedDeltaNet { value_heads, key_head_dim, value_head_dim, conv_kernel, .. } => {
                (u(value_heads) * u(key_head_dim) * u(value_head_dim), conv_kernel)
            }
            Self::Mamba2 { heads, head_dim, state_size, conv_kernel, .. } => {
                (u(heads) * u(head_dim) * u(state_size), conv_kernel)
            }
            Self::Mamba1 { inner_size, state_size, conv_kernel, .. } => {
                (u(inner_size) * u(state_size), conv_kernel)
            }
            Self::KimiDelta { heads, head_dim, conv_kernel, .. } => {
                (u(heads) * u(head_dim) * u(head_dim), conv_kernel)
            }
            Self::Lightning { heads, head_dim } => (u(heads) * u(head_dim) * u(head_dim), 1),
            Self::ShortConv { conv_kernel, .. } => (0, conv_kernel),
            Self::Compressed { head_dim, ratio, indexer, .. } => {
                // Values and pooling weights of `ratio` tokens; overlapping windows hold two of twice the width.
                let width = u(head_dim) + indexer.map_or(0, |i| u(i.head_dim));
                (2 * u(ratio) * width * if indexer.is_some() { 4 } else { 1 }, 1)
            }
            _ => return 0,
        };
        4 * state + 2 * self.conv_channels() * u(kernel.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(ratio: u32, indexer: Option<Indexer>) -> Mixer {
        Mixer::Compressed {
            heads: 64,
            head_dim: 512,
            q_lora_rank: 1024,
            output_groups: 8,
            output_lora_rank: 1024,
            window: 128,
            ratio,
            indexer,
        }
    }

    #[test]
    fn a_compressed_cache_holds_window_and_entries() {
        // DeepSeek-V4-Flash at 1,000 tokens: window 128 · 512 = 65,536.
        let window = 65_536.0;
        assert!((compressed(0, None).cache_elements(1000.0) - window).abs() < 0.5);
        // Heavily compressed: ⌊1000/128⌋ = 7 entries of 512.
        assert!((compressed(128, None).cache_elements(1000.0) - (window + 3584.0)).abs() < 0.5);
        // Compressed sparse: 250 entries of 512 + 128 for the indexer.
        let indexer = Indexer { heads: 64, head_dim: 128, top_k: 512, parameters: 0, reused: false };
        assert!((compressed(4, Some(indexer)).cache_elements(1000.0) - (window + 160_000.0)).abs() < 0.5);
        // Shorter than the window and than one entry.
        assert!((compressed(128, None).cache_elements(100.0) - 51_200.0).abs() < 0.5);
    }

    #[test]
    fn a_recurrent_state_does_not_grow() {
        // Kimi-K3: 96 heads · 128 · 128 in fp32 = 6,291,456 B; 3 · 96 · 128 channels · 3 taps · 2 B = 221,184 B.
        let mixer = Mixer::KimiDelta {
            heads: 96,
            head_dim: 128,
            conv_kernel: 4,
            full_rank_gate: true,
            full_rank_decay: false,
        };
        assert_eq!(mixer.state_bytes(), 6_291_456 + 221_184);
        assert!(mixer.cache_elements(1e6).abs() < 0.5);
        // LFM2-1.2B: 2048 channels · 2 taps · 2 B.
        let mixer = Mixer::ShortConv { width: 2048, conv_kernel: 3, bias: false };
        assert_eq!(mixer.state_bytes(), 8192);
    }
}
