//! Which replica a request goes to.

use super::replica::Replica;
use super::request::Request;

/// A router's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Routing {
    /// In turn.
    #[default]
    RoundRobin,
    /// The one with the fewest requests.
    LeastLoaded,
    /// The one whose prefix cache holds most of the prompt, unless it has over half as many requests again as
    /// the emptiest and [`SLACK`] more; then the emptiest.
    PrefixAware,
}

/// Requests by which a replica with the prefix may be fuller than the emptiest.
const SLACK: usize = 4;

impl Routing {
    /// Every rule with its name.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::RoundRobin, "round-robin"),
        (Self::LeastLoaded, "least-loaded"),
        (Self::PrefixAware, "prefix-aware"),
    ];

    /// The replica for the `number`th request.
    #[must_use]
    pub fn choose(self, replicas: &[Replica], request: &Request, number: u64) -> usize {
        let count = replicas.len().max(1);
        let emptiest = || (0..replicas.len()).min_by_key(|i| replicas[*i].in_flight()).unwrap_or(0);
        match self {
            Self::RoundRobin => (number % count as u64) as usize,
            Self::LeastLoaded => emptiest(),
            Self::PrefixAware => {
                let empty = emptiest();
                let limit = replicas[empty].in_flight() * 3 / 2 + SLACK;
                let (mut best, mut most) = (empty, replicas[empty].matched(request));
                for (i, replica) in replicas.iter().enumerate() {
                    let matched = replica.matched(request);
                    if matched > most && replica.in_flight() <= limit {
                        (best, most) = (i, matched);
                    }
                }
                best
            }
        }
    }
}
