//! Shapes of routed experts for which engines ship measured launch configurations of their Triton kernel.
//!
//! The kernel runs the same code for every shape; how it is cut into tiles and stages is looked up by accelerator, format,
//! experts of a rank and their width. Where nothing was measured it takes a configuration by default, which reaches half of
//! the arithmetic on Hopper and Ampere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::spec::{DataType, EngineKind};

/// The shapes, with their source in the comment of the file.
const EMBEDDED: &str = include_str!("../../calibration/defaults/expert_configurations.csv");

/// Experts of a rank in a format, and the widths that were measured.
#[derive(Debug, Clone, PartialEq)]
struct Measured {
    engine: EngineKind,
    weights: DataType,
    experts: f64,
    widths: Vec<f64>,
}

static SHAPES: LazyLock<BTreeMap<&'static str, Vec<Measured>>> = LazyLock::new(|| {
    let mut all: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
    for line in EMBEDDED.lines().filter(|l| !l.starts_with('#')).skip(1) {
        // a test holds that every line is read
        if let Some((gpu, measured)) = read(line) {
            all.entry(gpu).or_default().push(measured);
        }
    }
    all
});

fn read(line: &'static str) -> Option<(&'static str, Measured)> {
    let mut cells = line.split(',');
    let [engine, gpu, weights, experts, widths] = std::array::from_fn(|_| cells.next().unwrap_or_default());
    let (engine, _) = *EngineKind::ALL.iter().find(|(_, name)| *name == engine)?;
    let widths: Vec<f64> = widths.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((gpu, Measured { engine, weights: weights.parse().ok()?, experts: experts.parse().ok()?, widths }))
}

/// The shapes of one accelerator; of none for one that no engine lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Configurations(&'static [Measured]);

impl Configurations {
    /// Those of an accelerator of the catalog.
    pub fn of(accelerator: &str) -> Self {
        Self(SHAPES.get(accelerator).map_or(&[], Vec::as_slice))
    }

    /// True when the engine ships one for so many experts of this width on a rank.
    pub fn hold(&self, engine: EngineKind, weights: DataType, experts: f64, width: f64) -> bool {
        // configurations of 16 bit do not tell its two formats apart
        let weights = if weights == DataType::Fp16 { DataType::Bf16 } else { weights };
        self.0.iter().any(|m| {
            m.engine == engine && m.weights == weights && m.experts == experts && m.widths.contains(&width)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    #[test]
    fn every_line_is_read_and_names_an_accelerator() {
        let lines = EMBEDDED.lines().filter(|l| !l.starts_with('#')).skip(1).count();
        assert_eq!(SHAPES.values().map(Vec::len).sum::<usize>(), lines);
        for gpu in SHAPES.keys() {
            assert!(catalog::accelerator(gpu, &Directories::default()).is_ok(), "{gpu}");
        }
    }

    #[test]
    fn mixtral_over_four_ranks_is_measured_and_over_one_is_not() {
        let shapes = Configurations::of("a100-sxm-80");
        assert!(shapes.hold(EngineKind::Vllm, DataType::Fp16, 8.0, 3584.0));
        assert!(!shapes.hold(EngineKind::Vllm, DataType::Bf16, 8.0, 14336.0));
        assert!(!shapes.hold(EngineKind::Trtllm, DataType::Bf16, 8.0, 3584.0));
        assert!(!Configurations::of("arc-pro-b60").hold(EngineKind::Vllm, DataType::Bf16, 8.0, 3584.0));
    }
}
