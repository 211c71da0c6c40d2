//! Where the best layout changes along the load.

use serde::Serialize;
use std::collections::BTreeMap;

use super::{Layout, Sweep};
use crate::spec::Load;

/// A load at which one layout takes over from another on the same number of accelerators.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crossover {
    /// Model id.
    pub model: String,
    /// Accelerator id.
    pub gpu: String,
    /// Engine with version.
    pub engine: String,
    /// Format of the bulk of the weights.
    pub weight_dtype: String,
    /// Format of the KV cache.
    pub kv_cache_dtype: String,
    /// Prompt tokens.
    pub input_len: u64,
    /// Generated tokens.
    pub output_len: u64,
    /// Prompt tokens already cached.
    pub prefix_len: u64,
    /// Accelerators that every layout fills, smaller ones with replicas.
    pub num_gpus: u32,
    /// What the load is: `batch_size` or `concurrency`, of all replicas together.
    pub load: &'static str,
    /// The load from which `above` has more tokens per second.
    pub at: f64,
    /// Best below that.
    pub below: Fleet,
    /// Best above that.
    pub above: Fleet,
}

/// Replicas of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// How many replicas.
    pub replicas: u32,
    /// Accelerators of one.
    pub num_gpus_per_replica: u32,
    /// Degrees of one: `tp2`.
    pub layout: String,
}

/// What layouts must share to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    model: &'a str,
    gpu: &'a str,
    engine: &'a str,
    formats: [&'a str; 2],
    lengths: [u64; 3],
    load: &'static str,
}

/// Output tokens/s of one layout over its load; loads rise.
type Curve = Vec<(f64, f64)>;

/// All crossovers of a sweep.
///
/// Layouts of g accelerators fill the G of the largest one with r = G/g replicas, where g divides G. At a load of U
/// requests in flight a fleet makes T(U) = r·t(U/r) tokens a second, t the layout's own curve, a power law between the loads of
/// the grid (ln t straight over ln U: throughput saturates, so that a straight line would lie below it). Only loads that both
/// curves reach are compared, so that nothing is extrapolated.
pub(super) fn crossovers(sweep: &Sweep) -> Vec<Crossover> {
    let mut groups: BTreeMap<Key<'_>, BTreeMap<usize, Curve>> = BTreeMap::new();
    for point in &sweep.points {
        let workload = &sweep.workloads[point.workload];
        let layout = &sweep.layouts[point.layout];
        let (load, n) = match workload.load {
            Load::StaticBatch(n) => ("batch_size", n),
            Load::Concurrency(n) => ("concurrency", n),
            // an open loop below capacity makes what is asked of it, whatever the layout
            Load::Rate { .. } => continue,
        };
        let key = Key {
            model: &layout.model,
            gpu: &layout.gpu,
            engine: &layout.engine,
            formats: [&layout.weight_dtype, &layout.kv_cache_dtype],
            lengths: [workload.input_len, workload.output_len, workload.prefix_len],
            load,
        };
        let rate = point.throughput.output_tokens_per_s;
        if n == 0 || rate.is_nan() || rate <= 0.0 {
            continue;
        }
        let curve = groups.entry(key).or_default().entry(point.layout).or_default();
        curve.push((f64::from(n), rate));
    }
    groups.into_iter().flat_map(|(key, curves)| changes(sweep, &key, curves)).collect()
}

/// Changes of the best fleet in one group.
fn changes(sweep: &Sweep, key: &Key<'_>, curves: BTreeMap<usize, Curve>) -> Vec<Crossover> {
    let most = curves.keys().map(|i| sweep.layouts[*i].num_gpus).max().unwrap_or(1);
    let fleets: Vec<(&Layout, f64, Curve)> = curves
        .into_iter()
        .map(|(i, curve)| (&sweep.layouts[i], curve))
        .filter(|(layout, _)| most % layout.num_gpus == 0)
        .map(|(layout, mut curve)| {
            let replicas = f64::from(most / layout.num_gpus);
            curve.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (load, rate) in &mut curve {
                *load *= replicas;
                *rate *= replicas;
            }
            (layout, replicas, curve)
        })
        .collect();
    let mut loads: Vec<f64> =
        fleets.iter().flat_map(|(.., curve)| curve.iter().map(|(load, _)| *load)).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    // a fleet that does not reach a load cannot win it
    let best = |load: f64| {
        let rates = fleets.iter().enumerate().filter_map(|(i, (.., curve))| Some((i, at(curve, load)?)));
        rates.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(i, _)| i)
    };
    let fleet = |i: usize| Fleet {
        replicas: fleets[i].1 as u32,
        num_gpus_per_replica: fleets[i].0.num_gpus,
        layout: fleets[i].0.degrees(),
    };
    let mut found = vec![];
    for (low, high) in loads.iter().zip(loads.iter().skip(1)) {
        let Some(first) = best(*low) else { continue };
        // all curves are straight here, in logarithms: follow the uppermost from one crossing to the next
        let line = |i: usize| Some([at(&fleets[i].2, *low)?.ln(), at(&fleets[i].2, *high)?.ln()]);
        let ends = [low.ln(), high.ln()];
        let (mut current, mut from) = (first, ends[0]);
        while let Some((place, next)) = first_crossing(current, from, ends, fleets.len(), line) {
            found.push(Crossover {
                model: key.model.into(),
                gpu: key.gpu.into(),
                engine: key.engine.into(),
                weight_dtype: key.formats[0].into(),
                kv_cache_dtype: key.formats[1].into(),
                input_len: key.lengths[0],
                output_len: key.lengths[1],
                prefix_len: key.lengths[2],
                num_gpus: most,
                load: key.load,
                at: place.exp(),
                below: fleet(current),
                above: fleet(next),
            });
            (current, from) = (next, place);
        }
    }
    found
}

/// The next load in `(from, high]` at which another of `count` lines overtakes the current one, and which does: at the
/// same load the steepest.
fn first_crossing(
    current: usize,
    from: f64,
    [low, high]: [f64; 2],
    count: usize,
    line: impl Fn(usize) -> Option<[f64; 2]>,
) -> Option<(f64, usize)> {
    let [start, end] = line(current)?;
    let crossings = (0..count).filter_map(|i| {
        let [other_start, other_end] = line(i)?;
        let (behind, ahead) = (start - other_start, other_end - end);
        // one that draws level at `high` only overtakes beyond it, if it does
        let overtakes = i != current && ahead > 0.0 && behind + ahead > 0.0;
        let place = low + (high - low) * (behind / (behind + ahead)).max(0.0);
        (overtakes && place >= from).then_some((place, behind + ahead, i))
    });
    crossings.min_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1))).map(|(place, _, i)| (place, i))
}

/// A curve at a load: t₀·(t₁/t₀)^(ln(U/U₀)/ln(U₁/U₀)) between its points; none outside.
fn at(curve: &Curve, load: f64) -> Option<f64> {
    let next = curve.partition_point(|(l, _)| *l < load);
    let (right, value) = *curve.get(next)?;
    if right <= load {
        return Some(value);
    }
    let (left, before) = *curve.get(next.checked_sub(1)?)?;
    Some(before * (value / before).powf((load / left).ln() / (right / left).ln()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_power_laws_and_end() {
        let curve = vec![(1.0, 10.0), (4.0, 40.0)];
        assert_eq!(at(&curve, 1.0), Some(10.0));
        assert!((at(&curve, 2.0).unwrap() - 20.0).abs() < 1e-9);
        assert_eq!((at(&curve, 0.5), at(&curve, 4.5)), (None, None));
    }

    #[test]
    fn the_uppermost_of_three_lines() {
        // 10 all the way, 0 to 20 and 5 to 14: the third is never uppermost; the second overtakes half-way
        let lines = [[10.0, 10.0], [0.0, 20.0], [5.0, 14.0]];
        let next = |current, from| first_crossing(current, from, [0.0, 8.0], 3, |i| lines.get(i).copied());
        assert_eq!(next(0, 0.0), Some((4.0, 1)));
        assert_eq!(next(1, 4.0), None);
    }

    #[test]
    fn a_tie_at_the_start_goes_to_the_steeper() {
        let lines = [[10.0, 12.0], [10.0, 20.0]];
        let next = |current| first_crossing(current, 0.0, [0.0, 8.0], 2, |i| lines.get(i).copied());
        assert_eq!(next(0), Some((0.0, 1)));
        assert_eq!(next(1), None);
    }
}
