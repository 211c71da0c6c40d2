//! Linear attention and state space: a state per sequence is read and written in every step,
//! whatever the context.

use super::Step;
use super::operator::{Operator, Shape, Traffic};
use super::plan::{GroupPlan, Plan};
use crate::spec::model::Mixer;
use crate::units::{Bytes, Flops};

/// Tokens of a prompt that are scanned at once. Source: `chunk_size` of flash-linear-attention's kernels (MIT),
/// which vLLM and SGLang carry.
const CHUNK: f64 = 64.0;

/// True for a layer with a state per sequence.
/// The pooling state of compressed attention is touched a row at a time, not whole.
pub(super) fn is_recurrent(group: &GroupPlan) -> bool {
    !matches!(group.mixer, Mixer::Compressed { .. }) && group.mixer.state_bytes() > 0
}

/// Appends the scan of one layer: per token about 6 operations per state element (decay, outer
/// product, read-out), convolution 2·taps per channel. The state is read and written once per
/// sequence in decode and once per chunk of 64 tokens in prefill. The chunks of a sequence follow each other.
///
/// Source of the byte counts: state sizes as vLLM allocates them; the operation count is derived
/// here from S ← a·S + k vᵀ, o = S q (2 + 2 + 2 per element).
pub(super) fn lower(plan: &Plan, group: &GroupPlan, step: &Step<'_>, tokens: f64, out: &mut Vec<Operator>) {
    if !is_recurrent(group) {
        return;
    }
    let state = group.mixer.state_bytes() as f64 / f64::from(plan.parallelism.tp);
    let channels = group.mixer.conv_channels() as f64 / f64::from(plan.parallelism.tp);
    let prefill_tokens = tokens - step.decode_rows();
    let sequences: f64 = step.prefill.iter().map(|c| c.requests).sum::<f64>() + step.decode_rows();
    let longest = step.prefill.iter().map(|c| c.new_tokens).fold(0.0, f64::max);
    let passes = step.decode_rows() + (prefill_tokens / CHUNK).max(sequences - step.decode_rows());
    out.push(Operator {
        shape: Shape::Recurrent { tokens, sequences, chunks: (longest / CHUNK).ceil() },
        flops: Flops(tokens * (6.0 * state / 4.0 + 8.0 * channels)),
        traffic: Traffic {
            kv: Bytes(2.0 * passes * state),
            activations: Bytes(4.0 * tokens * channels * plan.activation.bytes()),
            ..Traffic::default()
        },
        ..Operator::elementwise("state_update", plan.activation, 0.0, 3.0)
    });
}
