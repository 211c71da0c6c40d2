//! Why a server did not start.

use serde::Serialize;

use super::facts::{after, leading_number, number_after};

/// The reason as the log gives it. Sizes in GiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// The longest request has no room in the KV pool.
    TooLong {
        /// Its tokens.
        max_model_len: u64,
        /// KV cache that it needs.
        needed_gib: Option<f64>,
        /// KV cache that there is.
        available_gib: Option<f64>,
        /// Tokens that there is room for.
        kv_cache_tokens: Option<u64>,
        /// Longest request that would have room, by the engine's own estimate.
        longest: Option<u64>,
    },
    /// Nothing was left for the KV pool.
    NoRoom,
    /// An allocation failed.
    OutOfMemory {
        /// What was asked for.
        tried_gib: f64,
        /// Memory of the accelerator.
        total_gib: f64,
        /// What of it was free.
        free_gib: f64,
    },
    /// Something else holds the memory.
    Occupied {
        /// What was free at the start.
        free_gib: f64,
        /// Memory of the accelerator.
        total_gib: f64,
        /// What the share asked for.
        wanted_gib: f64,
    },
}

impl Failure {
    /// Reads a line.
    pub(super) fn read(line: &str) -> Option<Self> {
        if let Some(rest) = after(line, "max seq len (") {
            let max_model_len = whole(leading_number(rest))?;
            let stored = number_after(rest, "stored in KV cache (");
            let needed = after(rest, "), (").and_then(leading_number);
            if stored.is_some() || needed.is_some() {
                return Some(Self::TooLong {
                    max_model_len,
                    needed_gib: needed,
                    available_gib: number_after(rest, "available KV cache memory ("),
                    kv_cache_tokens: whole(stored),
                    longest: whole(number_after(rest, "estimated maximum model length is ")),
                });
            }
        }
        if let Some(rest) =
            after(line, "Free memory on device").filter(|r| r.contains("is less than desired"))
        {
            let sizes = after(rest, "(")?;
            return Some(Self::Occupied {
                free_gib: leading_number(sizes)?,
                total_gib: number_after(sizes, "/")?,
                wanted_gib: number_after(after(sizes, "utilization (")?, ", ")?,
            });
        }
        if let Some(rest) = after(line, "CUDA out of memory. Tried to allocate ") {
            return Some(Self::OutOfMemory {
                tried_gib: size(rest)?,
                total_gib: size(after(rest, "total capacity of ")?)?,
                free_gib: size(after(rest, "of which ")?)?,
            });
        }
        line.contains("No available memory for the cache blocks").then_some(Self::NoRoom)
    }

    /// Of two the one that says more: figures before none, the first where both have some.
    pub(super) fn more_telling(known: Option<Self>, found: Self) -> Self {
        match known {
            None | Some(Self::NoRoom) => found,
            Some(known) => known,
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded
fn whole(value: Option<f64>) -> Option<u64> {
    value.filter(|v| (0.0..1e12).contains(v)).map(|v| v as u64)
}

/// A size with its unit, in GiB.
fn size(text: &str) -> Option<f64> {
    let value = leading_number(text)?;
    let unit = text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').trim_start();
    match unit.get(..3)? {
        "GiB" => Some(value),
        "MiB" => Some(value / 1024.0),
        "KiB" => Some(value / 1_048_576.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_of_all_versions() {
        let old = "ValueError: The model's max seq len (131072) is larger than the maximum number of tokens that can be \
                   stored in KV cache (39024). Try increasing `gpu_memory_utilization`";
        let Some(Failure::TooLong {
            max_model_len: 131_072,
            kv_cache_tokens: Some(39_024),
            needed_gib: None,
            ..
        }) = Failure::read(old)
        else {
            panic!("{old}")
        };
        let new = "ValueError: To serve at least one request with the models's max seq len (262144), (24.0 GiB KV cache is \
                   needed, which is larger than the available KV cache memory (3.18 GiB). Based on the available memory, \
                   the estimated maximum model length is 34736. Try increasing";
        assert_eq!(
            Failure::read(new),
            Some(Failure::TooLong {
                max_model_len: 262_144,
                needed_gib: Some(24.0),
                available_gib: Some(3.18),
                kv_cache_tokens: None,
                longest: Some(34_736)
            })
        );
        let device = "ValueError: Free memory on device cuda:1 (19.77/22.05 GiB) on startup is less than desired GPU memory \
                      utilization (0.9, 19.84 GiB). Decrease";
        assert_eq!(
            Failure::read(device),
            Some(Failure::Occupied { free_gib: 19.77, total_gib: 22.05, wanted_gib: 19.84 })
        );
        let cuda = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB. GPU 0 has a total capacity of \
                    93.09 GiB of which 739.81 MiB is free. Including non-PyTorch memory";
        let Some(Failure::OutOfMemory { tried_gib, total_gib, free_gib }) = Failure::read(cuda) else {
            panic!()
        };
        assert!((tried_gib, total_gib) == (0.875, 93.09) && (free_gib - 0.7225).abs() < 1e-3);
        assert_eq!(
            Failure::read("ValueError: No available memory for the cache blocks. Try"),
            Some(Failure::NoRoom)
        );
        assert_eq!(Failure::read("f\"max seq len ({max_model_len}) is larger\""), None);
    }
}
