//! The benchmarks of a GPU and what each of them needs.

use serde::Serialize;

use crate::spec::DataType;

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

/// A benchmark of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Benchmark {
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

/// What stands in the way of a benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle(pub String);

/// What is known of a device and its surroundings before a benchmark is tried.
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

    /// The name in tables of samples; tf32 is a way to multiply fp32.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Tf32 => "tf32",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// The data type whose class of kernel times it fits; none for tf32, which no model is served in.
    #[must_use]
    pub const fn data_type(self) -> Option<DataType> {
        match self {
            Self::Bf16 => Some(DataType::Bf16),
            Self::Fp16 => Some(DataType::Fp16),
            Self::Tf32 => None,
            Self::Fp8 => Some(DataType::Fp8),
            Self::Int8 => Some(DataType::Int8),
            Self::Nvfp4 => Some(DataType::Nvfp4),
        }
    }

    /// Least compute capability whose tensor cores have the format, and least cuBLASLt that offers it
    /// (cuBLAS library, "cublasLtMatmul()" and release notes: fp8 with 12.0 on 8.9, nvfp4 with 12.8 on 10.0).
    const fn needs(self) -> (u32, u32) {
        match self {
            Self::Fp16 | Self::Int8 => (75, 110_000),
            Self::Bf16 | Self::Tf32 => (80, 110_000),
            Self::Fp8 => (89, 120_000),
            Self::Nvfp4 => (100, 120_800),
        }
    }
}

impl Benchmark {
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

    /// The name for `--only`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            Self::Memory => "memory",
            Self::Gemv => "gemv",
            Self::KvRead => "kv_read",
            Self::Gemm(GemmType::Bf16) => "gemm_bf16",
            Self::Gemm(GemmType::Fp16) => "gemm_fp16",
            Self::Gemm(GemmType::Tf32) => "gemm_tf32",
            Self::Gemm(GemmType::Fp8) => "gemm_fp8",
            Self::Gemm(GemmType::Int8) => "gemm_int8",
            Self::Gemm(GemmType::Nvfp4) => "gemm_nvfp4",
            Self::Sustained => "sustained",
            Self::Collectives => "collectives",
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
            Benchmark::ALL.into_iter().filter(|b| b.obstacle(&h200).is_some()).map(Benchmark::name).collect();
        assert_eq!(stopped, ["gemm_nvfp4", "collectives"]);
        let turing = Means { capability: 75, gpus: 2, cublaslt: None, nccl: false };
        let why = |b: Benchmark, means: &Means| b.obstacle(means).map_or_else(String::new, |o| o.0);
        assert!(why(Benchmark::Gemm(GemmType::Bf16), &turing).contains("8.0"));
        assert!(why(Benchmark::Gemm(GemmType::Fp16), &turing).contains("cuBLASLt"));
        assert!(why(Benchmark::Collectives, &turing).contains("NCCL"));
        assert_eq!(Benchmark::Memory.obstacle(&turing), None);
        let old_library = Means { cublaslt: Some(120_000), capability: 100, ..h200 };
        assert!(why(Benchmark::Gemm(GemmType::Nvfp4), &old_library).contains("12.8"));
    }
}
