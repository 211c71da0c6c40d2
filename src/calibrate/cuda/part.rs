//! The parts of the suite and what each of them needs.

use serde::Serialize;

/// Number formats of the matrix product that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GemmType {
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    Fp16,
    /// fp32 in memory, tf32 in the multipliers.
    Tf32,
    /// 8-bit float E4M3 with a scale a tensor.
    Fp8,
    /// 8-bit integer.
    Int8,
    /// NVIDIA's 4-bit float, a scale a 16 elements.
    Nvfp4,
}

/// A part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Empty kernels, one by one and as a graph.
    Launch,
    /// Read, copy and triad from 1 MiB to 4 GiB.
    Memory,
    /// Matrix–vector products with int4, int8 and fp8 weights.
    Gemv,
    /// The KV cache read as decode attention does.
    KvRead,
    /// Matrix products over the shapes of language models.
    Gemm(GemmType),
    /// A large matrix product for seconds: clocks and power under load.
    Sustained,
    /// NCCL between the GPUs of this machine.
    Collectives,
}

/// What stands in the way of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle(pub String);

/// What is known of a device and its surroundings before a part is tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Means {
    /// Compute capability as ten times the major number plus the minor.
    pub capability: u32,
    /// GPUs that this process sees.
    pub gpus: usize,
    /// Version of cuBLASLt, when one opens: 130100.
    pub cublaslt: Option<u32>,
    /// NCCL opens.
    pub nccl: bool,
}

impl GemmType {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Bf16, Self::Fp16, Self::Tf32, Self::Fp8, Self::Int8, Self::Nvfp4];

    /// The name in tables of samples. Those of fp16 and tf32 beside bf16 are names that no fit reads: no model is
    /// served in tf32, and fp16 is as fast as bf16, so that a second fit of the same class would only compete.
    #[must_use]
    pub const fn name(self, capability: u32) -> &'static str {
        match self {
            Self::Bf16 => "bfloat16",
            Self::Fp16 if capability < 80 => "float16",
            Self::Fp16 => "fp16",
            Self::Tf32 => "tf32",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// The type of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name(0) == name || t.name(80) == name)
    }

    /// Least compute capability whose tensor cores have the format, and least cuBLASLt that offers it
    /// (cuBLAS library, "cublasLtMatmul()" and release notes: fp8 with 12.0 on 8.9, nvfp4 with 12.8 on 10.0).
    pub(super) const fn needs(self) -> (u32, u32) {
        match self {
            Self::Fp16 | Self::Int8 => (75, 110_000),
            Self::Bf16 | Self::Tf32 => (80, 110_000),
            Self::Fp8 => (89, 120_000),
            Self::Nvfp4 => (100, 120_800),
        }
    }
}

impl Part {
    /// All of them, in the order of running.
    pub const ALL: [Self; 12] = [
        Self::Launch,
        Self::Memory,
        Self::Gemv,
        Self::KvRead,
        Self::Gemm(GemmType::Bf16),
        Self::Gemm(GemmType::Fp16),
        Self::Gemm(GemmType::Tf32),
        Self::Gemm(GemmType::Fp8),
        Self::Gemm(GemmType::Int8),
        Self::Gemm(GemmType::Nvfp4),
        Self::Sustained,
        Self::Collectives,
    ];

    /// Its name; `--only` takes the first word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Memory => "bandwidth",
            Self::Gemv => "gemv",
            Self::KvRead => "attention",
            Self::Gemm(GemmType::Bf16) => "gemm bf16",
            Self::Gemm(GemmType::Fp16) => "gemm fp16",
            Self::Gemm(GemmType::Tf32) => "gemm tf32",
            Self::Gemm(GemmType::Fp8) => "gemm fp8",
            Self::Gemm(GemmType::Int8) => "gemm int8",
            Self::Gemm(GemmType::Nvfp4) => "gemm nvfp4",
            Self::Sustained => "sustained",
            Self::Collectives => "collective",
        }
    }

    /// What it finds out.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Launch => "cost of a kernel launch, one by one and in a graph",
            Self::Memory => "bandwidth of memory and cache, 1 MiB to 4 GiB",
            Self::Gemv => "decode with int4, int8 and fp8 weights",
            Self::KvRead => "reading the KV cache in decode",
            Self::Gemm(_) => "matrix products of linear layers",
            Self::Sustained => "clocks and power under load",
            Self::Collectives => "all-reduce, all-gather and all-to-all between GPUs",
        }
    }

    /// What stands in the way of it with these means.
    #[must_use]
    pub fn obstacle(self, means: &Means) -> Option<Obstacle> {
        let capability = |needed: u32| {
            (means.capability < needed).then(|| {
                let (major, minor) = (needed / 10, needed % 10);
                Obstacle(format!("needs compute capability {major}.{minor} or newer"))
            })
        };
        let cublaslt = |needed: u32| match means.cublaslt {
            None => Some(Obstacle("needs cuBLASLt, which is not found".into())),
            Some(version) if version < needed => {
                let (major, minor) = (needed / 10_000, needed / 100 % 100);
                Some(Obstacle(format!("needs cuBLASLt {major}.{minor} or newer")))
            }
            Some(_) => None,
        };
        match self {
            Self::Launch | Self::Memory | Self::Gemv | Self::KvRead => capability(75),
            Self::Gemm(format) => {
                let (device, library) = format.needs();
                capability(device).or_else(|| cublaslt(library))
            }
            Self::Sustained => Self::Gemm(GemmType::Fp16).obstacle(means),
            Self::Collectives if means.gpus < 2 => Some(Obstacle("needs two GPUs".into())),
            Self::Collectives => (!means.nccl).then(|| Obstacle("needs NCCL, which is not found".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_name_what_is_missing() {
        let h200 = Means { capability: 90, gpus: 1, cublaslt: Some(130_100), nccl: true };
        let stopped: Vec<&str> =
            Part::ALL.into_iter().filter(|b| b.obstacle(&h200).is_some()).map(Part::name).collect();
        assert_eq!(stopped, ["gemm nvfp4", "collective"]);
        let turing = Means { capability: 75, gpus: 2, cublaslt: None, nccl: false };
        let why = |b: Part, means: &Means| b.obstacle(means).map_or_else(String::new, |o| o.0);
        assert!(why(Part::Gemm(GemmType::Bf16), &turing).contains("8.0"));
        assert!(why(Part::Gemm(GemmType::Fp16), &turing).contains("cuBLASLt"));
        assert!(why(Part::Collectives, &turing).contains("NCCL"));
        assert_eq!(Part::Memory.obstacle(&turing), None);
        let old_library = Means { cublaslt: Some(120_000), capability: 100, ..h200 };
        assert!(why(Part::Gemm(GemmType::Nvfp4), &old_library).contains("12.8"));
    }
}
