//! Number formats of weights, activations and KV cache, with their storage cost.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use super::SpecError;

macro_rules! data_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $bytes:expr;)*) => {
        /// A number format. [`DataType::bytes`] is the storage per element, scales included.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum DataType {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl DataType {
            /// Every format, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name used in files, flags and output.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Bytes per element, block scales included (a per-tensor or per-channel scale is not counted).
            #[must_use]
            pub fn bytes(self) -> f64 {
                match self { $(Self::$variant => $bytes),* }
            }
        }
    };
}

data_types! {
    /// IEEE single precision.
    Fp32 = "fp32", 4.0;
    /// bfloat16.
    Bf16 = "bf16", 2.0;
    /// IEEE half precision.
    Fp16 = "fp16", 2.0;
    /// 8-bit float (E4M3 or E5M2), one scale per tensor or channel.
    Fp8 = "fp8", 1.0;
    /// 8-bit float with one fp32 scale per 128 × 128 block (DeepSeek-V3 style).
    Fp8Block = "fp8_block", 1.0 + 4.0 / (128.0 * 128.0);
    /// OCP microscaling 8-bit float: one E8M0 scale per 32.
    Mxfp8 = "mxfp8", 1.0 + 1.0 / 32.0;
    /// 8-bit integer, one scale per channel.
    Int8 = "int8", 1.0;
    /// 4-bit integer in groups of 128: fp16 scale and 4-bit zero point (AWQ, GPTQ).
    Int4 = "int4", (4.0 + (16.0 + 4.0) / 128.0) / 8.0;
    /// NVIDIA 4-bit float: one E4M3 scale per 16.
    Nvfp4 = "nvfp4", 0.5 + 1.0 / 16.0;
    /// OCP microscaling 4-bit float: one E8M0 scale per 32.
    Mxfp4 = "mxfp4", 0.5 + 1.0 / 32.0;
    /// Ternary weights, 1.58 bit, packed four to a byte with one scale per tensor (BitNet).
    Ternary = "ternary", 0.25;
    /// GGUF Q8_0: 32 × int8 and one fp16 scale.
    Q8_0 = "q8_0", 34.0 / 32.0;
    /// GGUF Q6_K: super-blocks of 256 in 210 bytes.
    Q6K = "q6_k", 210.0 / 256.0;
    /// GGUF Q5_K: super-blocks of 256 in 176 bytes.
    Q5K = "q5_k", 176.0 / 256.0;
    /// GGUF Q5_0.
    Q5_0 = "q5_0", 22.0 / 32.0;
    /// GGUF Q5_1.
    Q5_1 = "q5_1", 24.0 / 32.0;
    /// GGUF Q4_K: super-blocks of 256 in 144 bytes.
    Q4K = "q4_k", 144.0 / 256.0;
    /// llama.cpp's Q5_K_M mixture over feed-forward weights: half of the down projections at 6 bit.
    Q5KM = "q5_k_m", (176.0 * 5.0 / 6.0 + 210.0 / 6.0) / 256.0;
    /// llama.cpp's Q4_K_M mixture over feed-forward weights: half of the down projections at 6 bit.
    Q4KM = "q4_k_m", (144.0 * 5.0 / 6.0 + 210.0 / 6.0) / 256.0;
    /// GGUF Q4_0.
    Q4_0 = "q4_0", 18.0 / 32.0;
    /// GGUF Q4_1.
    Q4_1 = "q4_1", 20.0 / 32.0;
    /// GGUF Q3_K: super-blocks of 256 in 110 bytes.
    Q3K = "q3_k", 110.0 / 256.0;
    /// GGUF Q2_K: super-blocks of 256 in 84 bytes.
    Q2K = "q2_k", 84.0 / 256.0;
    /// GGUF IQ4_NL.
    Iq4Nl = "iq4_nl", 18.0 / 32.0;
    /// GGUF IQ4_XS.
    Iq4Xs = "iq4_xs", 136.0 / 256.0;
    /// GGUF IQ3_S.
    Iq3S = "iq3_s", 110.0 / 256.0;
    /// GGUF IQ3_XXS.
    Iq3Xxs = "iq3_xxs", 98.0 / 256.0;
    /// GGUF IQ2_S.
    Iq2S = "iq2_s", 82.0 / 256.0;
    /// GGUF IQ2_XS.
    Iq2Xs = "iq2_xs", 74.0 / 256.0;
    /// GGUF IQ2_XXS.
    Iq2Xxs = "iq2_xxs", 66.0 / 256.0;
    /// GGUF IQ1_S.
    Iq1S = "iq1_s", 50.0 / 256.0;
    /// GGUF IQ1_M.
    Iq1M = "iq1_m", 56.0 / 256.0;
    /// GGUF TQ1_0, ternary.
    Tq1_0 = "tq1_0", 54.0 / 256.0;
    /// GGUF TQ2_0, ternary.
    Tq2_0 = "tq2_0", 66.0 / 256.0;
    /// GGUF Q1_0: blocks of 128 sign bits and one fp16 scale.
    Q1_0 = "q1_0", 18.0 / 128.0;
}

impl DataType {
    /// True for formats that only store: the arithmetic runs in 16 bit after dequantisation.
    #[must_use]
    pub fn is_weight_only(self) -> bool {
        self.is_gguf() || matches!(self, Self::Int4 | Self::Ternary)
    }

    /// True for the block formats of GGUF files.
    #[must_use]
    pub fn is_gguf(self) -> bool {
        self >= Self::Q8_0
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DataType {
    type Err = SpecError;

    /// Reads our names, Hugging Face's (`bfloat16`), vLLM's (`awq`, `gptq`, `fp8_e4m3`) and
    /// llama.cpp's file types (`q4_k_m`, whose mixture counts as its main type).
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let lower = text.trim().to_ascii_lowercase();
        let lower = lower.strip_prefix("torch.").unwrap_or(&lower);
        if let Some(found) = Self::ALL.iter().find(|d| d.name() == lower) {
            return Ok(*found);
        }
        Ok(match lower {
            "float32" | "float" | "f32" => Self::Fp32,
            "bfloat16" => Self::Bf16,
            "float16" | "half" | "f16" => Self::Fp16,
            "float8" | "fp8_e4m3" | "fp8_e5m2" | "float8_e4m3fn" | "float8_e5m2" | "e4m3" | "fbgemm_fp8" => {
                Self::Fp8
            }
            "fp8-block" | "deepseek_fp8" => Self::Fp8Block,
            "w8a8" | "w8a16" | "smoothquant" | "i8" => Self::Int8,
            "awq" | "gptq" | "awq_marlin" | "gptq_marlin" | "int4_wo" | "w4a16" => Self::Int4,
            "modelopt_fp4" | "fp4" => Self::Nvfp4,
            "bitnet" | "b1.58" | "1.58bit" => Self::Ternary,
            "q6_k_l" => Self::Q6K,
            "q5_k_s" => Self::Q5K,
            "q4_k_s" => Self::Q4K,
            "q4_k_l" => Self::Q4KM,
            "q3_k_m" | "q3_k_s" | "q3_k_l" => Self::Q3K,
            "q2_k_s" | "q2_k_m" => Self::Q2K,
            "iq3_m" => Self::Iq3S,
            "iq2_m" => Self::Iq2S,
            _ => {
                return Err(SpecError::Unknown {
                    kind: "data type",
                    name: text.into(),
                    similar: super::similar(lower, Self::ALL.iter().map(|d| d.name())),
                    fix: "known are bf16, fp16, fp32, fp8, fp8_block, int8, int4 (awq, gptq), nvfp4, mxfp4 and the GGUF types".into(),
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for &d in DataType::ALL {
            assert_eq!(d.name().parse::<DataType>().unwrap(), d);
        }
    }

    #[test]
    fn block_scales_count() {
        assert_eq!(DataType::Nvfp4.bytes(), 0.5625);
        assert_eq!(DataType::Mxfp4.bytes(), 0.53125);
        // 4 bit + (16-bit scale + 4-bit zero) / 128 = 4.15625 bit
        assert_eq!(DataType::Int4.bytes() * 8.0, 4.15625);
    }

    #[test]
    fn gguf_types_store_only() {
        assert!(DataType::Q4K.is_weight_only() && DataType::Tq2_0.is_gguf());
        assert!(!DataType::Fp8.is_gguf() && !DataType::Mxfp4.is_weight_only());
    }
}
