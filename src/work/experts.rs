//! Mixture-of-experts layers: routed experts of the busiest rank and the exchange of tokens.

use super::operator::{Collective, Operator, Shape, Traffic};
use super::plan::{GroupPlan, Plan};
use super::routing::Load;
use crate::spec::model::FeedForward;
use crate::units::{Bytes, Flops};

/// Appends the routed experts of one layer and, with data-parallel attention, the exchange of tokens.
pub(super) fn lower(plan: &Plan, group: &GroupPlan, tokens: f64, out: &mut Vec<Operator>) {
    let FeedForward::Moe { top_k, intermediate_size, gated, .. } = group.feed_forward else { return };
    let Some(routing) = &group.routing else { return };
    let p = plan.parallelism;
    let k = f64::from(top_k);
    let ep = f64::from(p.ep.max(1));
    let cut = (f64::from(p.tp * p.dp) / ep).max(1.0);
    let width = group.feed_forward.expert_width(plan.hidden as u64) as f64;
    let inter = (intermediate_size as f64 / cut).ceil();
    let all_tokens = tokens * f64::from(p.dp);
    let Load { active, copies, tiles } = routing.load(all_tokens);
    let up = if gated { 2.0 * inter } else { inter };
    let format = plan.experts_format;
    let activation = plan.activation.bytes();
    if p.dp > 1 {
        // each rank sends its tokens to the ranks of their experts and gets the results back
        let remote = tokens * k.min(ep) * width * (1.0 - 1.0 / ep.max(f64::from(p.dp)));
        let ranks = p.ep.max(p.dp);
        for (label, bytes) in [
            ("expert_dispatch", remote * format.math.bytes().min(activation)),
            ("expert_combine", remote * activation),
        ] {
            out.push(Operator::collective(label, Collective::AllToAll, plan.activation, ranks, bytes));
        }
    }
    out.push(Operator {
        label: "experts",
        shape: Shape::Experts {
            tokens: all_tokens,
            top_k: k,
            copies,
            active,
            local: routing.local(),
            tiles,
            width,
            intermediate: inter,
            gated,
        },
        weights: format.weights,
        math: format.math,
        repeat: 1.0,
        // gate, up and down: 2·(up + F)·D per routed token
        flops: Flops(2.0 * copies * width * (up + inter)),
        traffic: Traffic {
            weights: Bytes(active * width * (up + inter) * format.bytes_per_weight),
            // permute, activation and un-permute pass every copy about four times each way
            activations: Bytes(copies * (4.0 * width + 2.0 * (up + inter)) * activation),
            ..Traffic::default()
        },
        launches: 6.0,
        concurrent: false,
    });
}
