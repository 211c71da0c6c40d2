//! What can be measured, and the columns under which samples of it are kept.

use std::str::FromStr;

/// Kernel of decode attention that reads a KV cache and computes nothing with it.
pub const KV_READ: &str = "kv_read";

/// Families of benchmarks, as `--only` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Cost of starting a kernel.
    Launch,
    /// Memory bandwidth.
    Bandwidth,
    /// Matrix products.
    Gemm,
    /// Quantised weights times few rows.
    Gemv,
    /// Decode and prefill attention.
    Attention,
    /// Long load: clocks and power that last.
    Sustained,
    /// Collectives between devices.
    Collective,
}

impl Class {
    /// All classes with their names.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Launch, "launch"),
        (Self::Bandwidth, "bandwidth"),
        (Self::Gemm, "gemm"),
        (Self::Gemv, "gemv"),
        (Self::Attention, "attention"),
        (Self::Sustained, "sustained"),
        (Self::Collective, "collective"),
    ];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(c, _)| *c == self).map_or("", |(_, name)| name)
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(class, _)| *class).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("`{text}` is no class of benchmarks; there are {}", names.join(", "))
        })
    }
}

/// How a bandwidth benchmark goes through memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Reads one array.
    Read,
    /// Reads one, writes one.
    Copy,
    /// a = b + s·c: reads two, writes one.
    Triad,
}

impl Stream {
    /// The name in samples.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Copy => "copy",
            Self::Triad => "triad",
        }
    }
}

/// What one benchmark does. Names of data types are those of operator tables: `bfloat16`, `float16`, `float32`,
/// `tf32`, `fp8`, `int8`, `nvfp4`, weight-only `int4_wo`, `int8_wo`, GGUF `q8_0`, `q4_0`.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// An empty kernel: from the host one by one, or in a captured graph.
    Launch {
        /// Replayed from a graph.
        graph: bool,
    },
    /// Memory touched from end to end.
    Stream {
        /// How.
        kind: Stream,
        /// Bytes read and written in one iteration.
        bytes: u64,
        /// Threads (CPU); 0 where that means nothing.
        threads: usize,
    },
    /// M × K activations times K × N weights.
    Gemm {
        /// Rows M.
        m: u64,
        /// Output width N.
        n: u64,
        /// Input width K.
        k: u64,
        /// Data type.
        dtype: &'static str,
        /// Library or kernel that multiplied.
        kernel: &'static str,
    },
    /// One new token for each of `batch` requests over `context` cached tokens.
    DecodeAttention {
        /// Requests.
        batch: u64,
        /// Cached tokens of each.
        context: u64,
        /// Query heads.
        heads: u64,
        /// KV heads.
        kv_heads: u64,
        /// Width of a head.
        head_dim: u64,
        /// Data type of the cache; attention itself is in 16 bit.
        kv_dtype: &'static str,
        /// Kernel.
        kernel: &'static str,
    },
    /// `tokens` new tokens of each of `batch` requests without a past, causal.
    PrefillAttention {
        /// Requests.
        batch: u64,
        /// New tokens of each.
        tokens: u64,
        /// Query heads.
        heads: u64,
        /// KV heads.
        kv_heads: u64,
        /// Width of a head.
        head_dim: u64,
        /// Data type of attention and cache.
        dtype: &'static str,
        /// Kernel.
        kernel: &'static str,
    },
    /// A matrix product for seconds on end; one iteration is one product.
    Sustained {
        /// M = N = K.
        size: u64,
        /// Data type.
        dtype: &'static str,
        /// Seconds to keep going.
        seconds: u64,
    },
    /// Memory read for seconds on end; one iteration reads the bytes once.
    SustainedRead {
        /// Bytes of one iteration.
        bytes: u64,
        /// Seconds to keep going.
        seconds: u64,
    },
    /// A collective of `elements` elements of 16 bit.
    Collective {
        /// `all_reduce`, `all_gather`, `all_to_all`.
        op: &'static str,
        /// Devices.
        gpus: u64,
        /// Elements per device.
        elements: u64,
    },
}

/// A benchmark: a piece of work, under whose name its samples are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Benchmark {
    /// What it does.
    pub work: Work,
}

/// A column of a sample and its text.
pub type Cell = (&'static str, String);

impl From<Work> for Benchmark {
    fn from(work: Work) -> Self {
        Self { work }
    }
}

impl Benchmark {
    /// Its family.
    #[must_use]
    pub fn class(&self) -> Class {
        match &self.work {
            Work::Launch { .. } => Class::Launch,
            Work::Stream { .. } => Class::Bandwidth,
            Work::Gemm { dtype, .. } if is_weight_only(dtype) => Class::Gemv,
            Work::Gemm { .. } => Class::Gemm,
            Work::DecodeAttention { .. } | Work::PrefillAttention { .. } => Class::Attention,
            Work::Sustained { .. } | Work::SustainedRead { .. } => Class::Sustained,
            Work::Collective { .. } => Class::Collective,
        }
    }

    /// Operator in the samples file; those that fits know have the fits' names.
    #[must_use]
    pub fn operator(&self) -> &'static str {
        match &self.work {
            Work::Launch { .. } => "launch",
            Work::Stream { .. } => "stream",
            Work::Gemm { .. } => "gemm",
            Work::DecodeAttention { .. } => "decode_attention",
            Work::PrefillAttention { .. } => "prefill_attention",
            Work::Sustained { .. } | Work::SustainedRead { .. } => "sustained",
            Work::Collective { .. } => "collective",
        }
    }

    /// Its columns, named as operator tables name them.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let number = |n: &u64| n.to_string();
        match &self.work {
            Work::Launch { graph } => vec![("mode", if *graph { "graph" } else { "stream" }.into())],
            Work::Stream { kind, bytes, threads } => {
                vec![("kind", kind.name().into()), ("bytes", number(bytes)), ("threads", threads.to_string())]
            }
            Work::Gemm { m, n, k, dtype, kernel } => vec![
                ("m", number(m)),
                ("n", number(n)),
                ("k", number(k)),
                ("dtype", (*dtype).into()),
                ("kernel", (*kernel).into()),
            ],
            Work::DecodeAttention { batch, context, heads, kv_heads, head_dim, kv_dtype, kernel } => vec![
                ("batch", number(batch)),
                // tables name the tokens before the one that is computed
                ("step", context.saturating_sub(1).to_string()),
                ("n_heads", number(heads)),
                ("n_kv_heads", number(kv_heads)),
                ("head_dim", number(head_dim)),
                ("attn_dtype", sixteen_bit(kv_dtype).into()),
                ("kv_dtype", (*kv_dtype).into()),
                ("kernel", (*kernel).into()),
            ],
            Work::PrefillAttention { batch, tokens, heads, kv_heads, head_dim, dtype, kernel } => vec![
                ("batch", number(batch)),
                ("isl", number(tokens)),
                ("n_heads", number(heads)),
                ("n_kv_heads", number(kv_heads)),
                ("head_dim", number(head_dim)),
                ("attn_dtype", (*dtype).into()),
                ("kv_dtype", (*dtype).into()),
                ("kernel", (*kernel).into()),
            ],
            Work::Sustained { size, dtype, seconds } => {
                vec![("m", number(size)), ("dtype", (*dtype).into()), ("duration_s", number(seconds))]
            }
            Work::SustainedRead { bytes, seconds } => {
                vec![
                    ("kind", Stream::Read.name().into()),
                    ("bytes", number(bytes)),
                    ("duration_s", number(seconds)),
                ]
            }
            Work::Collective { op, gpus, elements } => vec![
                ("op", (*op).into()),
                ("dtype", "half".into()),
                ("gpus", number(gpus)),
                ("elements", number(elements)),
            ],
        }
    }

    /// Floating-point (or integer) operations of one iteration; 0 where they do not count.
    #[must_use]
    pub fn operations(&self) -> f64 {
        match &self.work {
            Work::Gemm { m, n, k, .. } => 2.0 * *m as f64 * *n as f64 * *k as f64,
            Work::Sustained { size, .. } => 2.0 * (*size as f64).powi(3),
            _ => 0.0,
        }
    }

    /// Seconds that a long load keeps going; none for what is measured until it is known.
    #[must_use]
    pub fn lasts(&self) -> Option<f64> {
        match self.work {
            Work::Sustained { seconds, .. } | Work::SustainedRead { seconds, .. } => Some(seconds as f64),
            _ => None,
        }
    }

    /// Its name in messages and progress, columns by name: `gemm dtype=bfloat16 k=4096 kernel=x m=1 n=4096`.
    #[must_use]
    pub fn label(&self) -> String {
        let cells = self.cells().into_iter().filter(|(_, text)| !text.is_empty());
        let mut words: Vec<String> = cells.map(|(name, text)| format!("{name}={text}")).collect();
        words.sort_unstable();
        format!("{} {}", self.operator(), words.join(" "))
    }
}

/// Weights that are stored narrower than they are multiplied.
fn is_weight_only(dtype: &str) -> bool {
    dtype.ends_with("_wo") || dtype.starts_with('q')
}

/// The format of attention beside a cache format: tables name both.
fn sixteen_bit(cache: &str) -> &str {
    if matches!(cache, "float16" | "bfloat16") { cache } else { "bfloat16" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_columns() {
        let gemm = Benchmark::from(Work::Gemm { m: 8, n: 4096, k: 1024, dtype: "q8_0", kernel: "dot" });
        assert_eq!(gemm.label(), "gemm dtype=q8_0 k=1024 kernel=dot m=8 n=4096");
        assert_eq!(gemm.class(), Class::Gemv);
        assert_eq!(gemm.operations(), 2.0 * 8.0 * 4096.0 * 1024.0);
        assert_eq!("gemm".parse(), Ok(Class::Gemm));
        assert!("gems".parse::<Class>().unwrap_err().contains("launch, bandwidth"));
    }
}
