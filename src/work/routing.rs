//! How tokens fall on experts, and what that leaves to the busiest rank.
//!
//! Reference: the workload generator of AIConfigurator's collector (Apache-2.0), whose operator tables the
//! kernel models are fitted to: power-law shares, rounded, at most one copy of a token per expert.

mod spread;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use spread::Spread;

/// Rows of the tiles that grouped products are cut into.
pub const TILE_ROWS: [f64; 4] = [16.0, 32.0, 64.0, 128.0];

/// Experts of a layer whose popularity was found to be exponential.
const FINE_EXPERTS: f64 = 256.0;

/// Doublings of the token count that a table covers: one to a million tokens.
const DOUBLINGS: u32 = 20;
/// Placements of experts on ranks that are averaged over.
const PLACEMENTS: u64 = 4;
/// Mean copies per expert above which rows of tiles have a closed form.
const MANY_COPIES: f64 = 300.0;

/// SplitMix64: a fixed permutation of 64-bit numbers (Steele, Lea, Flood, OOPSLA 2014).
#[must_use]
pub fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The popularity of experts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Routing {
    /// Every token picks its experts at random.
    #[default]
    Uniform,
    /// The same, but experts are unequally popular: x of expert e is gamma-distributed with mean 1 and this shape,
    /// and a token picks it with probability x·k/E.
    Gamma(f64),
    /// Tokens go round the experts in turn.
    Balanced,
    /// Shares follow a power law with this exponent (above 1); 1.01 and 1.2 are usual in tables.
    PowerLaw(f64),
}

impl Routing {
    /// What trained routers do under load: popularity of shape κ = max(1, √(256/E)).
    ///
    /// Of 256 to 512 experts κ = 1, exponential. Closed loops of such models (InferenceX, 383 rows, 13 groups by engine,
    /// model and GPU) miss TPOT by 5.7, 5.3, 5.8 and 6.1 % in the median of the groups with shapes 0.7, 1, 2 and 4, by 8.3 %
    /// with equal popularity. A model of fewer experts has wider ones, each worth n = 256/E of the finer: the mean of n
    /// independent popularities of shape 1 is gamma-distributed of shape n, that of wholly dependent ones of shape 1. √n lies
    /// between: open loops of a model of 16 experts (vLLM 0.15, 6 runs, nothing fitted to them) miss TPOT by 19, 8 and 6 %
    /// with κ = 1, √n and n, static batches of one of 8 (LLM-Inference-Bench, vLLM, 241 runs) by 5.7, 7.3 and 7.8 %.
    #[must_use]
    pub fn served(experts: u32) -> Self {
        Self::Gamma((FINE_EXPERTS / f64::from(experts.max(1))).sqrt().max(1.0))
    }
}

/// The experts of a layer and the ranks that hold them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Router {
    /// Experts E.
    pub experts: u32,
    /// Experts per token k.
    pub top_k: u32,
    /// Ranks that share the experts.
    pub ranks: u32,
}

/// What the busiest rank has to do.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Experts that at least one token is routed to.
    pub active: f64,
    /// Copies of tokens.
    pub copies: f64,
    /// Tiles of [`TILE_ROWS`] rows: Σ ⌈copies of an expert / rows⌉.
    pub tiles: [f64; 4],
}

impl Load {
    /// The load of experts with these copies.
    #[must_use]
    pub fn of(counts: &[u64]) -> Self {
        let mut load = Self::default();
        for count in counts.iter().filter(|c| **c > 0) {
            load.active += 1.0;
            load.copies += *count as f64;
            for (tiles, rows) in load.tiles.iter_mut().zip(TILE_ROWS) {
                *tiles += (*count as f64 / rows).ceil();
            }
        }
        load
    }

    /// The mean of several loads; nothing of none.
    #[must_use]
    pub fn mean(loads: &[Self]) -> Self {
        let sum = loads.iter().fold(Self::default(), |sum, load| sum.zip(*load, |a, b| a + b));
        sum.zip(sum, |a, _| a / loads.len().max(1) as f64)
    }

    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let mut tiles = self.tiles;
        for (a, b) in tiles.iter_mut().zip(other.tiles) {
            *a = f(*a, b);
        }
        Self { active: f(self.active, other.active), copies: f(self.copies, other.copies), tiles }
    }
}

impl Router {
    /// Experts held by a rank: E over the ranks.
    #[must_use]
    pub fn local(&self) -> f64 {
        f64::from(self.experts) / f64::from(self.ranks.max(1))
    }

    /// The busiest rank's load when `tokens` tokens enter the layer. Deterministic.
    #[must_use]
    pub fn load(&self, routing: Routing, tokens: u64) -> Load {
        let tokens = tokens.max(1);
        match routing {
            Routing::Uniform => self.spread(None, tokens),
            Routing::Gamma(shape) => self.spread(Some(shape), tokens),
            Routing::Balanced => Load::of(&self.round_robin(tokens)),
            Routing::PowerLaw(alpha) => self.busiest(&self.power_law(alpha, tokens)),
        }
    }

    /// Expected load of a rank. With equally popular experts copies are binomial, c ~ B(T, k/E); with gamma-distributed
    /// popularity of shape κ negative binomial of mean m = T·k/E: P(0) = (1 + m/κ)^−κ, P(c+1)/P(c) =
    /// (c + κ)/(c + 1)·m/(m + κ). The busiest of R ranks then has z deviations more than their mean, z of
    /// [`Spread`], on which the others wait; with equal popularity that is left out (below 15 %).
    fn spread(&self, shape: Option<f64>, tokens: u64) -> Load {
        let (local, t) = (self.local(), tokens as f64);
        let share = (f64::from(self.top_k) / f64::from(self.experts.max(1))).min(1.0);
        let mean = t * share;
        let mut tiles = TILE_ROWS.map(|rows| mean / rows + 0.5 * (1.0 - 1.0 / rows));
        if share >= 1.0 {
            tiles = TILE_ROWS.map(|rows| (t / rows).ceil());
        } else if mean <= MANY_COPIES {
            tiles = [0.0; 4];
            let (mut probability, variance) = match shape {
                Some(shape) => ((-shape * (mean / shape).ln_1p()).exp(), mean * (1.0 + mean / shape)),
                None => ((t * (-share).ln_1p()).exp(), mean),
            };
            let last = (mean + 12.0 * variance.sqrt() + 12.0).min(t);
            let mut count = 0.0;
            while count < last {
                probability *= match shape {
                    Some(shape) => (count + shape) / (count + 1.0) * mean / (mean + shape),
                    None => (t - count) / (count + 1.0) * share / (1.0 - share),
                };
                count += 1.0;
                for (sum, rows) in tiles.iter_mut().zip(TILE_ROWS) {
                    *sum += probability * (count / rows).ceil();
                }
            }
        }
        let spread = Spread::new(*self, shape);
        let copies = spread.copies(t);
        let busier = copies / (local * mean);
        Load { active: spread.active(t), copies, tiles: tiles.map(|x| local * busier * x) }.consistent()
    }

    /// Copies of the first rank's experts when slot j of token i goes to expert i + j·⌈E/k⌉ (mod E); fewer
    /// tokens than ⌈E/k⌉ spread over it.
    fn round_robin(&self, tokens: u64) -> Vec<u64> {
        let experts = u64::from(self.experts.max(1));
        let stride = experts.div_ceil(u64::from(self.top_k.max(1)));
        let local = experts.div_ceil(u64::from(self.ranks.max(1)));
        let mut counts = vec![0; experts as usize];
        // whole rounds over the experts touch each k times
        let (rounds, rest) =
            if tokens >= stride { (tokens / experts, tokens % experts) } else { (0, tokens) };
        for token in 0..rest {
            let first = if tokens >= stride { token } else { token * stride / tokens };
            for slot in 0..u64::from(self.top_k) {
                if let Some(count) = counts.get_mut(((first + slot * stride) % experts) as usize) {
                    *count += 1;
                }
            }
        }
        counts.truncate(local as usize);
        counts.iter().map(|c| c + rounds * u64::from(self.top_k)).collect()
    }

    /// Rounded copies of every expert before they are made to sum to T·k, smallest share first: x from the inverse
    /// distribution function at the middles of E equal parts, x^(1−α) uniform between x₀ and x₁; copies ∝ x.
    #[must_use]
    pub fn power_law_shares(&self, alpha: f64, tokens: u64) -> Vec<u64> {
        let experts = f64::from(self.experts.max(1));
        let target = tokens * u64::from(self.top_k.min(self.experts));
        let (low, high) = if target as f64 > experts { (1.0, 0.8 * tokens as f64) } else { (0.01, 2.0) };
        // α = 1 itself has no power in its inverse
        let g = if (1.0 - alpha).abs() < 1e-6 { -1e-6 } else { 1.0 - alpha };
        let [from, to] = [low, high].map(|x: f64| x.powf(g));
        let shares: Vec<f64> = (0..self.experts)
            .map(|e| (from + (to - from) * (f64::from(e) + 0.5) / experts).powf(1.0 / g))
            .collect();
        let scale = target as f64 / shares.iter().sum::<f64>();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // shares are positive
        shares.iter().map(|x| (x * scale).round() as u64).collect()
    }

    /// Copies of every expert by a power law: [`Self::power_law_shares`], at most T, T·k in all.
    fn power_law(&self, alpha: f64, tokens: u64) -> Vec<u64> {
        let target = tokens * u64::from(self.top_k.min(self.experts));
        let mut counts = self.power_law_shares(alpha, tokens);
        counts.iter_mut().for_each(|c| *c = (*c).min(tokens));
        let mut sum: u64 = counts.iter().sum();
        // what rounding and the cap changed goes to the fewest or comes from the most
        let mut fewest: BinaryHeap<_> = counts.iter().enumerate().map(|(e, c)| Reverse((*c, e))).collect();
        while sum < target {
            let Some(Reverse((count, e))) = fewest.pop() else { break };
            fewest.push(Reverse((count + 1, e)));
            counts[e] = count + 1;
            sum += 1;
        }
        if sum > target {
            let mut most: BinaryHeap<_> = counts.iter().enumerate().map(|(e, c)| (*c, e)).collect();
            while sum > target {
                let Some((count, e)) = most.pop() else { break };
                most.push((count - 1, e));
                counts[e] = count - 1;
                sum -= 1;
            }
        }
        counts
    }

    /// Mean load of the rank with most copies over a few random placements of the experts.
    fn busiest(&self, counts: &[u64]) -> Load {
        if self.ranks <= 1 {
            return Load::of(counts);
        }
        let local = counts.len().div_ceil(self.ranks as usize).max(1);
        let mut sum = Load::default();
        let mut placed = counts.to_vec();
        let mut state = 0;
        for _ in 0..PLACEMENTS {
            for i in (1..placed.len()).rev() {
                state += 1;
                placed.swap(i, (mix(state) % (i as u64 + 1)) as usize);
            }
            let busiest = placed.chunks(local).max_by_key(|rank| rank.iter().sum::<u64>());
            sum = sum.zip(Load::of(busiest.unwrap_or_default()), |a, b| a + b);
        }
        sum.zip(sum, |a, _| a / PLACEMENTS as f64)
    }
}

impl Load {
    /// Tiles hold every copy, and every active expert has one.
    fn consistent(mut self) -> Self {
        for (tiles, rows) in self.tiles.iter_mut().zip(TILE_ROWS) {
            *tiles = tiles.max(self.copies / rows).max(self.active);
        }
        self
    }
}

/// Loads at powers of two of the token count, between which the logarithms are interpolated. Never falls with
/// the token count.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutingTable {
    router: Router,
    spread: Option<Spread>,
    nodes: Vec<Load>,
    /// Requests that are one and the same, token by token.
    same: f64,
}

impl RoutingTable {
    /// Draws the loads.
    #[must_use]
    pub fn new(router: Router, routing: Routing) -> Self {
        let mut nodes: Vec<Load> = Vec::with_capacity(DOUBLINGS as usize + 1);
        for doubling in 0..=DOUBLINGS {
            let load = router.load(routing, 1 << doubling);
            nodes.push(nodes.last().map_or(load, |before| load.zip(*before, f64::max)));
        }
        Self { router, spread: Spread::of(router, routing), nodes, same: 1.0 }
    }

    /// The same where so many requests at a time are one request repeated: a token and its repetitions pick the same
    /// experts.
    #[must_use]
    pub fn repeated(self, same: u32) -> Self {
        Self { same: f64::from(same.max(1)), ..self }
    }

    /// Experts held by a rank.
    #[must_use]
    pub fn local(&self) -> f64 {
        self.router.local()
    }

    /// The busiest rank's load when `tokens` tokens enter the layer.
    #[must_use]
    pub fn load(&self, tokens: f64) -> Load {
        if self.same <= 1.0 {
            return self.load_of_different(tokens);
        }
        // experts of the different tokens, each with all repetitions of them
        let different = (tokens / self.same).max(1.0);
        let once = self.load_of_different(different);
        let copies = once.copies * tokens / different;
        let each = copies / once.active.max(1.0);
        let tiles = TILE_ROWS.map(|rows| once.active * (each / rows).ceil());
        Load { active: once.active, copies, tiles }.consistent()
    }

    fn load_of_different(&self, tokens: f64) -> Load {
        let at = tokens.max(1.0).log2();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at least 0; saturates
        let index = (at as usize).min(self.nodes.len().saturating_sub(2));
        let (Some(low), Some(high)) = (self.nodes.get(index), self.nodes.get(index + 1)) else {
            return Load::default();
        };
        let part = at - index as f64;
        let mut load = if part <= 1.0 {
            low.zip(*high, |a, b| if a > 0.0 { a * (b / a).powf(part) } else { b * part })
        } else {
            // beyond the table every expert is hit and the rest grows with the tokens
            let scale = (part - 1.0).exp2();
            Load { active: high.active, ..high.zip(*high, |a, _| a * scale) }
        };
        if let Some(spread) = &self.spread {
            load.active = spread.active(tokens);
            load.copies = spread.copies(tokens);
        }
        load.consistent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Router = Router { experts: 128, top_k: 8, ranks: 1 };
    const SPREAD: Router = Router { ranks: 8, ..ROUTER };
    const SKEWED: Routing = Routing::PowerLaw(1.2);

    #[test]
    fn repeated_requests_share_their_experts() {
        let table =
            RoutingTable::new(Router { experts: 8, top_k: 2, ranks: 1 }, Routing::Uniform).repeated(16);
        // sixteen rows of one token: two experts of sixteen rows each
        let load = table.load(16.0);
        assert!((load.active - 2.0).abs() < 1e-9 && (load.copies - 32.0).abs() < 1e-9, "{load:?}");
        assert_eq!(load.tiles, [2.0; 4]);
        // a prompt of a thousand tokens hits all of them
        let load = table.load(16_000.0);
        assert!((load.active - 8.0).abs() < 1e-9 && (load.copies - 32_000.0).abs() < 1e-6, "{load:?}");
    }

    #[test]
    fn experts_hit_by_hand() {
        let active = |router, shape, tokens| Spread::new(router, shape).active(tokens);
        let all = active(ROUTER, None, 1.0);
        assert!((all - 8.0).abs() < 1e-9 && (active(ROUTER, Some(1.0), 1.0) - 8.0).abs() < 1e-9);
        // two tokens, 8 of 128 each: 128·(1 − (15/16)²) = 15.5
        assert!((active(ROUTER, None, 2.0) - 15.5).abs() < 1e-9);
        assert!((active(SPREAD, None, 1e6) - 16.0).abs() < 1e-9);
        // the busiest of 8 ranks of 16: p = 0.8, 12.8 + 1.4342·√(16·0.8·0.2) experts, 64 + 1.4342·√(16·4·5) copies
        assert!((active(SPREAD, Some(1.0), 64.0) - 15.0947).abs() < 2e-3);
        assert!((Spread::new(SPREAD, Some(1.0)).copies(64.0) - 89.6558).abs() < 2e-2);
        // 64 tokens, four copies an expert: 128·(1 − 1/(1 + 4)) = 102.4
        assert!((active(ROUTER, Some(1.0), 64.0) - 102.4).abs() < 1e-9);
        // many shapes are equal popularity
        assert!((active(ROUTER, Some(1e6), 64.0) / active(ROUTER, None, 64.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn one_token_has_k_copies() {
        for routing in [Routing::Uniform, Routing::Balanced, SKEWED] {
            let load = ROUTER.load(routing, 1);
            assert!(
                (load.copies - 8.0).abs() < 1e-9 && (load.active - 8.0).abs() < 1e-9,
                "{routing:?} {load:?}"
            );
            assert!((load.tiles[0] - 8.0).abs() < 1e-6);
        }
    }

    #[test]
    fn round_robin_by_hand() {
        // 16 tokens, stride 16: slot j of token i is expert i + 16·j: each of 128 once; 1 000 tokens: 62 or 63
        let load = ROUTER.load(Routing::Balanced, 16);
        assert_eq!((load.active, load.copies), (128.0, 128.0));
        let load = SPREAD.load(Routing::Balanced, 1024);
        assert_eq!((load.active, load.copies, load.tiles), (16.0, 1024.0, [64.0, 32.0, 16.0, 16.0]));
    }

    #[test]
    fn uniform_tiles_by_hand() {
        // 2 tokens, one expert of two each: c = 0, 1, 2 with ¼, ½, ¼; an expert has a tile in ¾ of the cases
        let load = Router { experts: 2, top_k: 1, ranks: 1 }.load(Routing::Uniform, 2);
        assert!((load.tiles[0] - 1.5).abs() < 1e-12 && (load.active - 1.5).abs() < 1e-12);
    }

    #[test]
    fn skew_loads_the_busiest_rank() {
        let mean = 16384.0 * 8.0 / 8.0;
        assert!((SPREAD.load(Routing::Uniform, 16384).copies / mean - 1.0).abs() < 1e-9);
        let skewed = SPREAD.load(SKEWED, 16384).copies / mean;
        assert!(skewed > 1.3 && skewed < 3.0, "{skewed}");
        let everyone = ROUTER.load(SKEWED, 16384);
        assert_eq!(everyone.copies, 16384.0 * 8.0);
    }

    #[test]
    fn fewer_and_wider_experts_are_more_equally_popular() {
        let shape = |experts| match Routing::served(experts) {
            Routing::Gamma(shape) => shape,
            _ => f64::NAN,
        };
        assert_eq!([512, 256, 64, 16].map(shape), [1.0, 1.0, 2.0, 4.0]);
    }

    #[test]
    fn tables_never_fall() {
        for routing in [
            Routing::Uniform,
            Routing::served(256),
            Routing::served(8),
            Routing::Balanced,
            SKEWED,
            Routing::PowerLaw(1.01),
        ] {
            for router in [ROUTER, SPREAD, Router { experts: 512, top_k: 10, ranks: 32 }] {
                let table = RoutingTable::new(router, routing);
                let mut before = Load::default();
                for step in 0..300 {
                    let load = table.load((f64::from(step) * 0.1).exp2());
                    assert!(load.active <= router.local() + 1e-9 && load.copies > 0.0);
                    for (now, then) in [(load.active, before.active), (load.copies, before.copies)]
                        .into_iter()
                        .chain(load.tiles.into_iter().zip(before.tiles))
                    {
                        assert!(now >= then * (1.0 - 1e-12), "{routing:?} {router:?} {step}");
                    }
                    before = load;
                }
            }
        }
    }
}
