//! Which experts the samples of an operator table were routed to, on the rank that was timed.
//!
//! Reference: the workload generator of AIConfigurator's collector (`helper.py`, Apache-2.0): power-law counts
//! by expert, corrected rank by rank in turn; the busiest rank is timed; tokens take the experts column by
//! column, the most wanted first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::work::{Load, Router, Routing, mix};

/// Placements of experts on ranks that are averaged over.
const PLACEMENTS: u64 = 4;

/// Routing in which a token's experts come from a few groups of experts only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Groups {
    /// Groups of equal size.
    pub groups: usize,
    /// Groups that a token may use.
    pub used: usize,
}

impl Groups {
    /// DeepSeek-V3's. Source: `n_group` and `topk_group` of its `config.json`.
    pub const DEEPSEEK_V3: Self = Self { groups: 8, used: 4 };
}

/// Load of the rank that was timed; through `groups` where the kernel's own router limits them.
pub(super) fn load(router: &Router, routing: Routing, tokens: u64, groups: Option<Groups>) -> Load {
    let Routing::PowerLaw(alpha) = routing else {
        return match (routing, groups) {
            (Routing::Balanced, Some(groups)) => {
                let choices = Choices::in_turn(router, tokens);
                Load::of(first_rank(&choices.through(groups, router), router))
            }
            _ => router.load(routing, tokens),
        };
    };
    let counts = router.power_law_shares(alpha, tokens);
    let mut state = 0;
    let loads: Vec<Load> = (0..PLACEMENTS)
        .map(|_| {
            let mut placed = counts.clone();
            for i in (1..placed.len()).rev() {
                state += 1;
                placed.swap(i, (mix(state) % (i as u64 + 1)) as usize);
            }
            let mut placed = corrected(placed, router, tokens);
            if let Some(groups) = groups {
                placed = Choices::of(&placed, router, tokens).through(groups, router);
            }
            Load::of(first_rank(&placed, router))
        })
        .collect();
    Load::mean(&loads)
}

fn local(router: &Router) -> usize {
    (router.experts.max(1) as usize).div_ceil(router.ranks.max(1) as usize)
}

fn first_rank<'a>(counts: &'a [u64], router: &Router) -> &'a [u64] {
    counts.get(..local(router)).unwrap_or(counts)
}

/// At most `tokens` copies an expert and `tokens`·k in all: what is over or missing is taken from the most wanted
/// or given to the least wanted expert of each rank in turn. The busiest rank comes first.
fn corrected(mut counts: Vec<u64>, router: &Router, tokens: u64) -> Vec<u64> {
    let target = tokens * u64::from(router.top_k.min(router.experts));
    counts.iter_mut().for_each(|c| *c = (*c).min(tokens));
    let sum: u64 = counts.iter().sum();
    let mut ranks: Vec<Vec<u64>> = counts.chunks(local(router)).map(<[u64]>::to_vec).collect();
    if sum < target {
        let mut heaps: Vec<BinaryHeap<Reverse<(u64, usize)>>> =
            ranks.iter().map(|r| r.iter().enumerate().map(|(e, c)| Reverse((*c, e))).collect()).collect();
        in_turn(&mut heaps, target - sum, |heap| match heap.pop() {
            Some(Reverse((count, e))) if count < tokens => {
                heap.push(Reverse((count + 1, e)));
                true
            }
            _ => false,
        });
        for (rank, heap) in ranks.iter_mut().zip(heaps) {
            heap.into_iter().for_each(|Reverse((count, e))| rank[e] = count);
        }
    } else {
        let mut heaps: Vec<BinaryHeap<(u64, Reverse<usize>)>> =
            ranks.iter().map(|r| r.iter().enumerate().map(|(e, c)| (*c, Reverse(e))).collect()).collect();
        in_turn(&mut heaps, sum - target, |heap| match heap.pop() {
            Some((count, e)) if count > 0 => {
                heap.push((count - 1, e));
                true
            }
            _ => false,
        });
        for (rank, heap) in ranks.iter_mut().zip(heaps) {
            heap.into_iter().for_each(|(count, Reverse(e))| rank[e] = count);
        }
    }
    let busiest = ranks.iter().enumerate().max_by_key(|(i, r)| (r.iter().sum::<u64>(), Reverse(*i)));
    if let Some((busiest, _)) = busiest {
        ranks.swap(0, busiest);
    }
    ranks.concat()
}

/// Moves `copies` one by one, a rank after the other, as long as some rank can.
fn in_turn<H>(ranks: &mut [H], mut copies: u64, mut step: impl FnMut(&mut H) -> bool) {
    while copies > 0 {
        let mut moved = false;
        for rank in ranks.iter_mut() {
            if copies > 0 && step(rank) {
                copies -= 1;
                moved = true;
            }
        }
        if !moved {
            return;
        }
    }
}

/// The experts of every token: slot j of token i at j·tokens + i.
struct Choices {
    tokens: usize,
    experts: Vec<u32>,
}

impl Choices {
    /// Column by column, the most wanted expert first.
    fn of(counts: &[u64], router: &Router, tokens: u64) -> Self {
        let mut order: Vec<(Reverse<u64>, u32)> =
            counts.iter().zip(0..router.experts).map(|(c, e)| (Reverse(*c), e)).collect();
        order.sort_unstable();
        let experts = order.iter().flat_map(|(c, e)| std::iter::repeat_n(*e, c.0 as usize)).collect();
        Self { tokens: tokens as usize, experts }
    }

    /// Slot j of token i is expert i + j·⌈E/k⌉; fewer tokens than ⌈E/k⌉ spread over it.
    fn in_turn(router: &Router, tokens: u64) -> Self {
        let (experts, slots) = (u64::from(router.experts.max(1)), u64::from(router.top_k.max(1)));
        let stride = experts.div_ceil(slots);
        let first = |i: u64| if tokens >= stride { i } else { i * stride / tokens.max(1) };
        let all = (0..slots).flat_map(|j| (0..tokens).map(move |i| (first(i) + j * stride) % experts));
        #[allow(clippy::cast_possible_truncation)] // below the number of experts, a u32
        Self { tokens: tokens as usize, experts: all.map(|e| e as u32).collect() }
    }

    /// Copies of every expert when the chosen ones score alike and all others nothing: the groups with most of
    /// them, counted up to two, are used; chosen experts outside are replaced by the first others inside.
    fn through(&self, limit: Groups, router: &Router) -> Vec<u64> {
        let size = (router.experts as usize / limit.groups).max(1);
        let mut counts = vec![0; router.experts as usize];
        let mut chosen: Vec<u32> = vec![];
        for i in 0..self.tokens {
            chosen.clear();
            chosen.extend(self.experts.iter().skip(i).step_by(self.tokens.max(1)));
            let score = |group: usize| chosen.iter().filter(|e| **e as usize / size == group).count().min(2);
            let mut order: Vec<(Reverse<usize>, usize)> =
                (0..limit.groups).map(|g| (Reverse(score(g)), g)).collect();
            order.sort_unstable();
            order.truncate(limit.used);
            let mut groups: Vec<usize> = order.into_iter().map(|(_, g)| g).collect();
            groups.sort_unstable();
            let mut missing = chosen.len();
            for expert in chosen.iter().filter(|e| groups.contains(&(**e as usize / size))) {
                counts[*expert as usize] += 1;
                missing -= 1;
            }
            let inside = groups.iter().flat_map(|g| g * size..(g + 1) * size);
            let free = inside.filter(|e| !chosen.contains(&(*e as u32)));
            free.take(missing).for_each(|e| counts[e] += 1);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Router = Router { experts: 256, top_k: 8, ranks: 1 };
    const GROUPS: Option<Groups> = Some(Groups::DEEPSEEK_V3);

    #[test]
    fn groups_leave_half_of_the_experts() {
        // every token has one expert in each of eight groups: four stay, four are the first of the others
        let load = load(&ROUTER, Routing::Balanced, 4, GROUPS);
        assert_eq!((load.active, load.copies), (20.0, 32.0));
        let all = super::load(&ROUTER, Routing::Balanced, 1024, GROUPS);
        assert_eq!((all.active, all.copies), (128.0, 8192.0));
        // all of them on the first of two ranks
        let two = super::load(&Router { ranks: 2, ..ROUTER }, Routing::Balanced, 1024, GROUPS);
        assert_eq!((two.active, two.copies), (128.0, 8192.0));
    }

    #[test]
    fn every_copy_is_placed() {
        for ranks in [1, 8, 64] {
            for tokens in [1, 3, 32, 100, 4096] {
                let router = Router { ranks, ..ROUTER };
                let counts = corrected(router.power_law_shares(1.2, tokens), &router, tokens);
                assert_eq!(counts.iter().sum::<u64>(), tokens * 8);
                assert!(counts.iter().all(|c| *c <= tokens));
                let through = Choices::of(&counts, &router, tokens).through(Groups::DEEPSEEK_V3, &router);
                assert_eq!(through.iter().sum::<u64>(), tokens * 8);
                let first: u64 = first_rank(&counts, &router).iter().sum();
                assert!(counts.chunks(local(&router)).all(|r| r.iter().sum::<u64>() <= first));
            }
        }
    }

    #[test]
    fn missing_copies_go_round_the_ranks() {
        // one token over 16 ranks: eight copies on eight ranks
        let router = Router { ranks: 16, ..ROUTER };
        let load = load(&router, Routing::PowerLaw(1.01), 1, None);
        assert_eq!((load.active, load.copies), (1.0, 1.0));
    }
}
