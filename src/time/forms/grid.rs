//! A residual on a small grid: what a closed form misses systematically over the shapes.

use serde::{Deserialize, Serialize};

use super::power::{ln, power};

/// Factors on a grid over the logarithms of three sizes, multilinear between nodes and constant
/// beyond the edges. Source: KERNELS section 3 (soft roofline × grid).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Where its nodes lie.
    #[serde(flatten)]
    pub axes: Axes,
    /// Natural logarithms of the factors in thousandths, last axis fastest.
    pub log_per_mille: Vec<i16>,
}

/// Nodes of a grid, evenly spaced in the logarithm of each size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Axes {
    /// Nodes along each axis, at least two.
    pub nodes: [usize; 3],
    /// Size at the first node of each axis.
    pub low: [f64; 3],
    /// Size at the last node of each axis.
    pub high: [f64; 3],
}

impl Axes {
    /// Number of nodes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.nodes.iter().product()
    }

    /// True when every axis has two nodes or more, a range above zero, and the whole is of bearable size.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        (0..3).all(|axis| {
            (2..=64).contains(&self.nodes[axis])
                && self.low[axis] > 0.0
                && self.high[axis] > self.low[axis]
                && self.high[axis].is_finite()
        })
    }

    /// The size at a node of an axis.
    #[must_use]
    pub fn at(&self, axis: usize, node: usize) -> f64 {
        let share = node as f64 / (self.nodes[axis] - 1) as f64;
        self.low[axis] * (self.high[axis] / self.low[axis]).powf(share)
    }

    /// Distance of two neighbours of an axis in the natural logarithm.
    #[must_use]
    pub fn step(&self, axis: usize) -> f64 {
        ln(self.high[axis] / self.low[axis]) / (self.nodes[axis] - 1) as f64
    }

    /// Index of a node.
    #[must_use]
    pub fn index(&self, node: [usize; 3]) -> usize {
        (node[0] * self.nodes[1] + node[1]) * self.nodes[2] + node[2]
    }

    /// The eight nodes around a point with their weights, which sum to 1.
    #[must_use]
    pub fn weights(&self, point: [f64; 3]) -> [(usize, f64); 8] {
        let mut cell = [0; 3];
        let mut part = [0.0; 3];
        for axis in 0..3 {
            let last = self.nodes[axis] - 1;
            let at = (ln(point[axis] / self.low[axis]) / self.step(axis)).clamp(0.0, last as f64);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped just above
            let node = (at.floor() as usize).min(last - 1);
            cell[axis] = node;
            part[axis] = at - node as f64;
        }
        std::array::from_fn(|corner| {
            let upper: [usize; 3] = std::array::from_fn(|axis| corner >> axis & 1);
            let weight =
                (0..3).map(|axis| if upper[axis] == 1 { part[axis] } else { 1.0 - part[axis] }).product();
            (self.index(std::array::from_fn(|axis| cell[axis] + upper[axis])), weight)
        })
    }
}

impl Grid {
    /// A grid from the logarithms of its factors, rounded to a thousandth.
    #[must_use]
    pub fn new(axes: Axes, logarithms: impl IntoIterator<Item = f64>) -> Self {
        #[allow(clippy::cast_possible_truncation)] // clamped to what an i16 holds
        let round = |log: f64| (log * 1000.0).round().clamp(-30_000.0, 30_000.0) as i16;
        Self { axes, log_per_mille: logarithms.into_iter().map(round).collect() }
    }

    /// The factor at a point: geometric interpolation between the nodes.
    #[must_use]
    pub fn factor(&self, point: [f64; 3]) -> f64 {
        let log: f64 = self
            .axes
            .weights(point)
            .iter()
            .map(|(index, weight)| weight * f64::from(self.log_per_mille.get(*index).copied().unwrap_or(0)))
            .sum();
        power(std::f64::consts::E, log * 1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_give_their_own_factor() {
        let axes = Axes { nodes: [4; 3], low: [1.0; 3], high: [1000.0; 3] };
        let mut logs = vec![0.0; axes.size()];
        // node (1, 2, 3) lies at (10, 100, 1000)
        logs[4 * 4 + 2 * 4 + 3] = 0.7;
        let grid = Grid::new(axes, logs);
        assert!((grid.factor([10.0, 100.0, 1000.0]) - 0.7f64.exp()).abs() < 1e-12);
        // half way in the logarithm to a node of factor 1
        assert!((grid.factor([10.0, 100.0, 10f64.powf(2.5)]) - 0.35f64.exp()).abs() < 1e-12);
        assert!((grid.factor([1.0, 1.0, 1e9]) - 1.0).abs() < 1e-12);
        assert!((axes.at(0, 2) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn axes_may_differ_in_length() {
        let axes = Axes { nodes: [3, 2, 5], low: [1.0; 3], high: [100.0, 10.0, 10_000.0] };
        let weights = axes.weights([10.0, 10.0, 1000.0]);
        let (index, weight) = weights.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(index, axes.index([1, 1, 3]));
        assert!((weight - 1.0).abs() < 1e-12);
    }
}
