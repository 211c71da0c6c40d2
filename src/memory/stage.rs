//! Pipeline stages: which share of the layers one holds, and what comes with it.

use crate::spec::ModelSpec;

/// One kind of pipeline stage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stage {
    /// Layers on it.
    pub layers: u32,
    /// Holds the embedding (and the vision tower).
    pub first: bool,
    /// Holds the output projection and samples.
    pub last: bool,
    /// Part of all layers that it holds. Which layers those are is not modelled: every stage gets the
    /// model's mixture of them.
    pub share: f64,
}

/// The kinds of stages that differ. Layers that do not divide go to the stages before the last, from
/// the back (vLLM `get_pp_indices`).
pub(super) fn stages(model: &ModelSpec, pp: u32) -> Vec<Stage> {
    let all = model.layer_count();
    let (each, rest) = (all / pp, all % pp);
    let stage = |layers: u32, first, last| Stage {
        layers,
        first,
        last,
        share: f64::from(layers) / f64::from(all.max(1)),
    };
    match pp {
        1 => vec![stage(all, true, true)],
        2 => vec![stage(each + rest, true, false), stage(each, false, true)],
        _ => vec![
            stage(each + u32::from(rest == pp - 1), true, false),
            stage(each + u32::from(rest > 0), false, false),
            stage(each, false, true),
        ],
    }
}
