//! A residual on a small grid: what a closed form misses systematically over the shapes.

use serde::{Deserialize, Serialize};

/// Nodes along an axis.
const NODES: usize = 4;

/// Factors on a 4 × 4 × 4 grid over the logarithms of three sizes, multilinear between nodes and
/// constant beyond the edges. Source: KERNELS section 3 (soft roofline × grid).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Size at the first node of each axis.
    pub low: [f64; 3],
    /// Size at the last node of each axis.
    pub high: [f64; 3],
    /// Factors, last axis fastest.
    pub factors: Vec<f64>,
}

impl Grid {
    /// Number of factors.
    pub const SIZE: usize = NODES * NODES * NODES;

    /// The eight nodes around a point with their weights, which sum to 1.
    #[must_use]
    pub fn weights(low: [f64; 3], high: [f64; 3], point: [f64; 3]) -> [(usize, f64); 8] {
        let mut cell = [0; 3];
        let mut part = [0.0; 3];
        for axis in 0..3 {
            let along = (point[axis] / low[axis]).ln() / (high[axis] / low[axis]).ln();
            let at = (along * (NODES - 1) as f64).clamp(0.0, (NODES - 1) as f64);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped just above
            let node = (at.floor() as usize).min(NODES - 2);
            cell[axis] = node;
            part[axis] = at - node as f64;
        }
        std::array::from_fn(|corner| {
            let mut index = 0;
            let mut weight = 1.0;
            for axis in 0..3 {
                let upper = corner >> axis & 1;
                index = index * NODES + cell[axis] + upper;
                weight *= if upper == 1 { part[axis] } else { 1.0 - part[axis] };
            }
            (index, weight)
        })
    }

    /// The factor at a point: geometric interpolation between the nodes.
    #[must_use]
    pub fn factor(&self, point: [f64; 3]) -> f64 {
        let log: f64 = Self::weights(self.low, self.high, point)
            .iter()
            .map(|(index, weight)| weight * self.factors.get(*index).map_or(0.0, |f| f.ln()))
            .sum();
        log.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_give_their_own_factor() {
        let mut grid = Grid { low: [1.0; 3], high: [1000.0; 3], factors: vec![1.0; Grid::SIZE] };
        // node (1, 2, 3) lies at (10, 100, 1000)
        grid.factors[4 * 4 + 2 * 4 + 3] = 2.0;
        assert!((grid.factor([10.0, 100.0, 1000.0]) - 2.0).abs() < 1e-12);
        // half way in the logarithm to a node of factor 1: √2
        assert!((grid.factor([10.0, 100.0, 10f64.powf(2.5)]) - 2f64.sqrt()).abs() < 1e-12);
        assert!((grid.factor([1.0, 1.0, 1e9]) - 1.0).abs() < 1e-12);
    }
}
