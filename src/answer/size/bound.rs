//! What no fleet of a deployment can be better than, without a simulation.
//!
//! A request alone is the fastest there is: where its TTFT or TPOT is beyond the limit, replicas do not help. And every request
//! takes a replica's time: each step lasts at least as long as its prompts alone and as its decode rows alone would, so that a
//! request costs c ≥ max(t_p, (N − 1)·t_d) of it, with t_p the share of one prompt in the best full batch and t_d that of one
//! token in the best batch that the KV pool holds. Beyond 1/c requests a second the backlog grows. Both are times of
//! [`Estimator::latency`], which the simulator's steps agree with.

use crate::answer::{Estimator, Latency};
use crate::spec::{Load, Workload};

/// Slack of a limit against the closed form of a request alone, which is within it of the simulator's.
pub(super) const ALONE: f64 = 1.03;
/// A load so much above capacity is found out in any run: a backlog counts as growing beyond 5 % of what is sent.
const SATURATED: f64 = 1.10;

/// A request alone.
pub(super) fn alone(estimator: &Estimator, workload: &Workload) -> Latency {
    estimator.latency(&Workload { load: Load::StaticBatch(1), ..*workload }, &mut vec![])
}

/// Fewest replicas that `rate` requests a second need, each with room for `seats` requests.
pub(super) fn replicas(estimator: &Estimator, workload: &Workload, seats: u32, rate: f64) -> u32 {
    let mut scratch = vec![];
    let (mut prompt, mut token) = (f64::INFINITY, f64::INFINITY);
    let mut batch = seats.max(1);
    loop {
        let workload = Workload { load: Load::StaticBatch(batch), ..*workload };
        let latency = estimator.latency(&workload, &mut scratch);
        prompt = prompt.min(latency.prefill_s / f64::from(batch));
        token = token.min(latency.itl_s / f64::from(batch));
        if batch == 1 {
            break;
        }
        batch /= 2;
    }
    let seconds = prompt.max(token * workload.output_len.saturating_sub(1) as f64);
    let needed = (rate * seconds / SATURATED).ceil();
    if needed.is_finite() { (needed as u32).max(1) } else { 1 }
}
