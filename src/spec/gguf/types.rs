//! Tensor types of ggml. Source: `ggml.h` (`enum ggml_type`) and the block structures of
//! `ggml-common.h`, llama.cpp.

use crate::spec::DataType;

/// A storage type: elements come in blocks of `block`, each of `bytes`.
#[derive(Debug, PartialEq)]
pub(super) struct TensorType {
    /// Number in the file.
    pub(super) id: u32,
    /// ggml's name.
    pub(super) name: &'static str,
    /// Elements in a block.
    pub(super) block: u64,
    /// Bytes of a block.
    pub(super) bytes: u64,
    /// What that is as a weight format; none for types that hold no weights.
    pub(super) data_type: Option<DataType>,
}

const fn t(id: u32, name: &'static str, block: u64, bytes: u64, data_type: Option<DataType>) -> TensorType {
    TensorType { id, name, block, bytes, data_type }
}

const TYPES: [TensorType; 34] = {
    use DataType as D;
    [
        t(0, "F32", 1, 4, Some(D::Fp32)),
        t(1, "F16", 1, 2, Some(D::Fp16)),
        t(2, "Q4_0", 32, 18, Some(D::Q4_0)),
        t(3, "Q4_1", 32, 20, Some(D::Q4_1)),
        t(6, "Q5_0", 32, 22, Some(D::Q5_0)),
        t(7, "Q5_1", 32, 24, Some(D::Q5_1)),
        t(8, "Q8_0", 32, 34, Some(D::Q8_0)),
        t(9, "Q8_1", 32, 36, None),
        t(10, "Q2_K", 256, 84, Some(D::Q2K)),
        t(11, "Q3_K", 256, 110, Some(D::Q3K)),
        t(12, "Q4_K", 256, 144, Some(D::Q4K)),
        t(13, "Q5_K", 256, 176, Some(D::Q5K)),
        t(14, "Q6_K", 256, 210, Some(D::Q6K)),
        t(15, "Q8_K", 256, 292, None),
        t(16, "IQ2_XXS", 256, 66, Some(D::Iq2Xxs)),
        t(17, "IQ2_XS", 256, 74, Some(D::Iq2Xs)),
        t(18, "IQ3_XXS", 256, 98, Some(D::Iq3Xxs)),
        t(19, "IQ1_S", 256, 50, Some(D::Iq1S)),
        t(20, "IQ4_NL", 32, 18, Some(D::Iq4Nl)),
        t(21, "IQ3_S", 256, 110, Some(D::Iq3S)),
        t(22, "IQ2_S", 256, 82, Some(D::Iq2S)),
        t(23, "IQ4_XS", 256, 136, Some(D::Iq4Xs)),
        t(24, "I8", 1, 1, None),
        t(25, "I16", 1, 2, None),
        t(26, "I32", 1, 4, None),
        t(27, "I64", 1, 8, None),
        t(28, "F64", 1, 8, None),
        t(29, "IQ1_M", 256, 56, Some(D::Iq1M)),
        t(30, "BF16", 1, 2, Some(D::Bf16)),
        t(34, "TQ1_0", 256, 54, Some(D::Tq1_0)),
        t(35, "TQ2_0", 256, 66, Some(D::Tq2_0)),
        t(39, "MXFP4", 32, 17, Some(D::Mxfp4)),
        t(40, "NVFP4", 64, 36, Some(D::Nvfp4)),
        t(41, "Q1_0", 128, 18, Some(D::Q1_0)),
    ]
};

/// Numbers that had a meaning once.
const REMOVED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

/// The type with this number, or why there is none.
pub(super) fn tensor_type(id: u32) -> Result<&'static TensorType, String> {
    TYPES.iter().find(|t| t.id == id).ok_or_else(|| {
        match REMOVED.iter().find(|(removed, _)| *removed == id) {
            Some((_, name)) => {
                format!("has type {id} ({name}), which llama.cpp no longer reads; requantise the model")
            }
            None => format!("has the unknown type {id}; known are {}", names()),
        }
    })
}

fn names() -> String {
    TYPES.iter().map(|t| t.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_per_element_agree_with_the_data_types() {
        for t in &TYPES {
            if let Some(d) = t.data_type {
                assert_eq!(t.bytes as f64 / t.block as f64, d.bytes(), "{}", t.name);
            }
        }
    }

    #[test]
    fn removed_and_unknown_types_are_told_apart() {
        assert!(tensor_type(31).unwrap_err().contains("Q4_0_4_4"));
        assert!(tensor_type(1000).unwrap_err().contains("unknown type 1000"));
        assert_eq!(tensor_type(39).unwrap().name, "MXFP4");
    }
}
