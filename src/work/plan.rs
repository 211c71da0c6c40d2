//! What a deployment does for every step, on the busiest rank: shapes already divided by the
//! parallelism, formats already decided.

use super::routing::{Router, Routing, RoutingTable};
use crate::spec::formats::Format;
use crate::spec::model::{FeedForward, Linear, Mixer, Split, TensorClass};
use crate::spec::{DataType, Deployment, EngineKind, Formats, ModelSpec, Parallelism};

/// What-if changes to a model.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Overrides {
    /// Replace every attention and dense feed-forward matrix by two of this rank, where that is smaller.
    pub low_rank: Option<u32>,
    /// Share of feed-forward activations that are zero and whose weights are skipped in decode, 0 to 1.
    pub activation_sparsity: f64,
}

/// A linear layer of one rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinearPlan {
    pub label: &'static str,
    pub class: TensorClass,
    /// Output width on this rank.
    pub n: f64,
    /// Input width on this rank.
    pub k: f64,
    /// Matrices one after another (2 with a low-rank override).
    pub factors: f64,
    pub format: Format,
    /// Bytes of its weights on this rank.
    pub weight_bytes: f64,
    /// Its partial sums are all-reduced over the tensor-parallel group.
    pub reduced: bool,
}

/// A group of identical layers of one rank.
#[derive(Debug, Clone)]
pub(super) struct GroupPlan {
    pub count: f64,
    pub mixer: Mixer,
    pub feed_forward: FeedForward,
    pub before: Vec<LinearPlan>,
    pub after: Vec<LinearPlan>,
    pub feed_forward_linears: Vec<LinearPlan>,
    /// How tokens fall on its experts, where it has some.
    pub routing: Option<RoutingTable>,
    /// Elementwise traffic per token (elements) and kernels of one layer.
    pub elementwise_elements: f64,
    pub elementwise_launches: f64,
}

/// A deployment of a model, ready to lower steps.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) groups: Vec<GroupPlan>,
    pub(super) lm_head: LinearPlan,
    pub(super) hidden: f64,
    pub(super) vocab: f64,
    pub(super) parallelism: Parallelism,
    pub(super) activation: DataType,
    pub(super) kv_bytes: f64,
    pub(super) kv_format: DataType,
    pub(super) overrides: Overrides,
    pub(super) offloaded: f64,
    pub(super) experts_format: Format,
    /// Decode runs shared experts on a second stream beside the routed ones.
    pub(super) shared_beside_routed: bool,
}

impl Plan {
    /// Divides the model over the ranks of the deployment. The deployment must have passed
    /// [`crate::spec::check_deployment`].
    #[must_use]
    pub fn new(model: &ModelSpec, deployment: &Deployment, formats: &Formats, overrides: Overrides) -> Self {
        let d = u64::from(model.hidden_size);
        let p = deployment.parallelism;
        let linear = |l: &Linear| linear_plan(l, p.tp, formats, overrides.low_rank);
        let groups = model
            .layers
            .iter()
            .map(|group| {
                let mixer = merge(group.mixer.linears(d).iter().map(linear));
                let feed_forward_linears = merge(group.feed_forward.linears(d).iter().map(linear));
                let split = mixer.iter().position(|l| l.reduced).unwrap_or(mixer.len());
                let (before, after) = mixer.split_at(split);
                let (elements, launches) = elementwise(&mixer, &feed_forward_linears, &group.mixer, d);
                GroupPlan {
                    count: f64::from(group.count),
                    mixer: group.mixer.clone(),
                    feed_forward: group.feed_forward.clone(),
                    before: before.to_vec(),
                    after: after.to_vec(),
                    feed_forward_linears,
                    routing: router(&group.feed_forward, p)
                        .map(|r| RoutingTable::new(r, Routing::served(r.experts))),
                    elementwise_elements: elements,
                    elementwise_launches: launches,
                }
            })
            .collect();
        let head = Linear::new("lm_head", TensorClass::LmHead, d, model.vocab_size.into(), Split::Columns);
        Self {
            groups,
            lm_head: linear_plan(&head, p.tp, formats, None),
            hidden: d as f64,
            vocab: f64::from(model.vocab_size),
            parallelism: p,
            activation: formats.activations,
            kv_bytes: formats.kv_cache.bytes(),
            kv_format: formats.kv_cache,
            overrides,
            offloaded: deployment.cpu_offload_bytes,
            experts_format: formats.of(TensorClass::Experts),
            // vLLM's SharedFusedMoE, SGLang's alternate stream (or shared experts fused into the routed
            // ones), TensorRT-LLM's auxiliary stream: all inside captured decode graphs
            shared_beside_routed: matches!(
                deployment.engine.kind,
                EngineKind::Vllm | EngineKind::Sglang | EngineKind::Trtllm
            ) && !deployment.enforce_eager,
        }
    }

    /// The same where so many requests at a time are one request repeated.
    #[must_use]
    pub fn repeated(mut self, same: u32) -> Self {
        for group in &mut self.groups {
            group.routing = group.routing.take().map(|table| table.repeated(same));
        }
        self
    }

    /// The same with another popularity of experts.
    #[must_use]
    pub fn routed(mut self, routing: Routing) -> Self {
        for group in &mut self.groups {
            group.routing =
                router(&group.feed_forward, self.parallelism).map(|r| RoutingTable::new(r, routing));
        }
        self
    }
}

fn router(feed_forward: &FeedForward, p: Parallelism) -> Option<Router> {
    match *feed_forward {
        FeedForward::Moe { experts, top_k, .. } => Some(Router { experts, top_k, ranks: p.ep.max(1) }),
        _ => None,
    }
}

fn linear_plan(linear: &Linear, tp: u32, formats: &Formats, low_rank: Option<u32>) -> LinearPlan {
    let (n, k) = linear.per_rank(tp);
    let (n, k) = (n as f64, k as f64);
    let format = formats.of(linear.class);
    let mut plan = LinearPlan {
        label: linear.label,
        class: linear.class,
        n,
        k,
        factors: 1.0,
        format,
        weight_bytes: n * k * format.bytes_per_weight,
        reduced: linear.split == Split::Rows,
    };
    let factorable = matches!(linear.class, TensorClass::Attention | TensorClass::Mlp);
    if let Some(rank) = low_rank.map(f64::from).filter(|r| factorable && r * (n + k) < n * k) {
        // W (n × k) ≈ U (n × r) · V (r × k): as one product of the same FLOPs and bytes
        plan.k = rank * (n + k) / n;
        plan.factors = 2.0;
        plan.weight_bytes = plan.n * plan.k * format.bytes_per_weight;
    }
    plan
}

/// Consecutive layers of one label run as one GEMM.
fn merge(linears: impl Iterator<Item = LinearPlan>) -> Vec<LinearPlan> {
    let mut merged: Vec<LinearPlan> = vec![];
    for next in linears {
        match merged.last_mut() {
            Some(last) if last.label == next.label && (last.k - next.k).abs() < 0.5 => {
                last.n += next.n;
                last.weight_bytes += next.weight_bytes;
            }
            _ => merged.push(next),
        }
    }
    merged
}

/// Elementwise work of one layer: elements moved per token and kernels started.
///
/// Two fused add-and-norms move 2·4·D, rotary embedding and KV write 2·N(qkv), the gated activation
/// 1.5·N(gate_up) (reads 2F, writes F). Counted in vLLM's and SGLang's model files are further: the norms of
/// query and key, an output gate, the split and the gated norm of a recurrent layer, the sum of shared and
/// routed experts. Source: EQUATIONS, derived from vLLM's fused kernels.
fn elementwise(mixer: &[LinearPlan], feed_forward: &[LinearPlan], kind: &Mixer, hidden: u64) -> (f64, f64) {
    let norm = 4.0 * hidden as f64;
    let mut elements = 0.0;
    let mut launches = 0.0;
    if let Some(first) = mixer.first() {
        elements += norm + 2.0 * first.n;
        launches += 2.0;
    }
    match *kind {
        Mixer::GroupedQuery { qk_norm_parameters, output_gate_size, .. } => {
            launches += f64::from(u8::from(qk_norm_parameters > 0) + u8::from(output_gate_size > 0));
        }
        _ if kind.state_bytes() > 0 && !matches!(kind, Mixer::Compressed { .. }) => launches += 2.0,
        _ => {}
    }
    if feed_forward.iter().any(|l| l.class == TensorClass::SharedExperts) {
        elements += 3.0 * hidden as f64;
        launches += 1.0;
    }
    if !feed_forward.is_empty() {
        elements += norm;
        launches += 1.0;
    }
    for up in feed_forward.iter().filter(|l| l.label.ends_with("up_proj") && l.class != TensorClass::Router) {
        elements += 1.5 * up.n;
        launches += 1.0;
    }
    (elements, launches)
}
