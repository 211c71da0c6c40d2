//! A residual on a small grid: what a closed form misses systematically over the shapes.

use serde::{Deserialize, Serialize};

use super::power::{exp, ln};

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
            (cell[axis], part[axis]) = place(point[axis], self.low[axis], self.step(axis), self.nodes[axis]);
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
    pub fn factor(&self, [x, y, z]: [f64; 3]) -> f64 {
        self.cell(y, z).factor(self, x)
    }

    /// Where sizes lie on the second and third axis.
    #[must_use]
    pub fn cell(&self, y: f64, z: f64) -> Cell {
        let axes = &self.axes;
        let [(j, second), (k, third)] = [(1, y), (2, z)]
            .map(|(axis, size)| place(size, axes.low[axis], axes.step(axis), axes.nodes[axis]));
        Cell {
            low: axes.low[0],
            step: axes.step(0),
            corners: std::array::from_fn(|corner| axes.index([0, j + (corner & 1), k + (corner >> 1)])),
            parts: [[1.0 - second, second], [1.0 - third, third]],
        }
    }

    #[inline]
    fn log(&self, index: usize) -> f64 {
        f64::from(self.log_per_mille.get(index).copied().unwrap_or(0))
    }
}

/// The node below a size on an axis and the part of the way to the next.
#[inline]
fn place(size: f64, low: f64, step: f64, nodes: usize) -> (usize, f64) {
    let last = nodes - 1;
    let at = (ln(size / low) / step).clamp(0.0, last as f64);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped just above
    let node = (at as usize).min(last - 1);
    (node, at - node as f64)
}

/// A line through a grid along its first axis: what of an interpolation does not depend on the size there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    low: f64,
    step: f64,
    /// Indices of the four nodes around the line where the first axis begins, second axis fastest.
    corners: [usize; 4],
    /// Weights of the lower and upper node of the second and the third axis.
    parts: [[f64; 2]; 2],
}

impl Cell {
    /// The factor of the grid at a size of the first axis.
    #[must_use]
    #[inline]
    pub fn factor(&self, grid: &Grid, x: f64) -> f64 {
        let (node, part) = place(x, self.low, self.step, grid.axes.nodes[0]);
        let plane = grid.axes.nodes[1] * grid.axes.nodes[2];
        let mut log = 0.0;
        for corner in 0..4 {
            let index = self.corners[corner] + node * plane;
            let [second, third] = [self.parts[0][corner & 1], self.parts[1][corner >> 1]];
            log += (1.0 - part) * second * third * grid.log(index);
            log += part * second * third * grid.log(index + plane);
        }
        exp(log * 1e-3)
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
    fn a_line_is_part_of_its_grid() {
        let axes = Axes { nodes: [5, 4, 3], low: [1.0, 2.0, 3.0], high: [1e4, 1e5, 1e3] };
        let grid = Grid::new(axes, (0..axes.size()).map(|i| (i as f64 * 2.3).sin()));
        for point in [[0.5, 1.0, 2.0], [17.0, 300.0, 40.0], [1e4, 1e5, 1e3], [3e4, 99.0, 4e3]] {
            let around = axes.weights(point);
            let log: f64 = around.iter().map(|(i, w)| w * f64::from(grid.log_per_mille[*i])).sum();
            assert!((grid.factor(point).ln() - log * 1e-3).abs() < 1e-12);
        }
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
