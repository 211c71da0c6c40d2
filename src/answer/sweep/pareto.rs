//! The frontier of tokens/s per accelerator against tokens/s per user.

use std::collections::BTreeMap;

use super::Sweep;

/// Marks the points that no other point beats. Only answers to the same work are compared: one model, the same lengths.
pub(super) fn mark(sweep: &mut Sweep) {
    let mut groups: BTreeMap<(&str, u64, u64, u64), Vec<usize>> = BTreeMap::new();
    for (i, point) in sweep.points.iter().enumerate() {
        let w = &sweep.workloads[point.workload];
        let model = sweep.layouts[point.layout].model.as_str();
        groups.entry((model, w.input_len, w.output_len, w.prefix_len)).or_default().push(i);
    }
    let marked: Vec<usize> = groups
        .into_values()
        .flat_map(|members| {
            let rates: Vec<[f64; 2]> = members
                .iter()
                .map(|i| &sweep.points[*i].throughput)
                .map(|t| [t.output_tokens_per_s_per_gpu, t.output_tokens_per_s_per_user])
                .collect();
            frontier(&rates).into_iter().map(move |i| members[i])
        })
        .collect();
    for i in marked {
        sweep.points[i].is_pareto = true;
    }
}

/// Indices of the pairs that no other is at least as large in both and larger in one. Equal pairs stay together.
fn frontier(pairs: &[[f64; 2]]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|a, b| {
        let ([ax, ay], [bx, by]) = (pairs[*a], pairs[*b]);
        bx.total_cmp(&ax).then(by.total_cmp(&ay))
    });
    let mut kept: Vec<usize> = vec![];
    for i in order {
        let best = kept.last().map(|k| pairs[*k]);
        if best.is_none_or(|best| pairs[i][1] > best[1] || pairs[i] == best) {
            kept.push(i);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        let pairs = [[1.0, 9.0], [5.0, 5.0], [4.0, 4.0], [5.0, 3.0], [9.0, 1.0], [5.0, 5.0]];
        let mut found = frontier(&pairs);
        found.sort_unstable();
        assert_eq!(found, [0, 1, 4, 5]);
        assert!(frontier(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn is_what_brute_force_finds(pairs in prop::collection::vec((0u8..12, 0u8..12), 0..40)) {
            let pairs: Vec<[f64; 2]> = pairs.iter().map(|(x, y)| [f64::from(*x), f64::from(*y)]).collect();
            let beaten = |p: &[f64; 2]| pairs.iter().any(|q| q != p && q[0] >= p[0] && q[1] >= p[1]);
            let expected: Vec<usize> = (0..pairs.len()).filter(|i| !beaten(&pairs[*i])).collect();
            let mut found = frontier(&pairs);
            found.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }
}
