//! The residual grid: what a closed form misses, fitted so that times still never fall as sizes grow.

use nalgebra::{DMatrix, DVector};

use super::fit::LOSS_SCALE;
use crate::time::forms::{Axes, Grid};

/// Parts of an edge in which the slope of the closed form is looked up.
const PARTS: usize = 12;
/// Least growth over an edge, so that rounding to thousandths turns no growth into a fall.
const MARGIN: f64 = 1e-3;
/// Cycles of the projection; it has settled to a thousandth long before.
const CYCLES: usize = 200;

/// Fits a grid to the logarithm of measured over predicted, with a ridge toward a factor of 1.
///
/// Minimises Σ wᵢ(Σⱼ aᵢⱼ gⱼ − rᵢ)² + λ·Σ gⱼ², aᵢⱼ the multilinear weights, robust by reweighting; then
/// moves g the least (in the weights of the samples around each node) to where the product with the
/// closed form `seconds` falls along no edge: gⱼ₊₁ − gⱼ ≥ −h·min ∂ln t/∂ln x over the edge.
#[must_use]
pub fn fit_grid(axes: Axes, points: &[([f64; 3], f64)], seconds: impl Fn([f64; 3]) -> f64) -> Grid {
    let size = axes.size();
    let ridge = 1e-3 * points.len() as f64 / size as f64 + 1e-6;
    let rows: Vec<([(usize, f64); 8], f64)> = points.iter().map(|(p, r)| (axes.weights(*p), *r)).collect();
    let mut g = DVector::<f64>::zeros(size);
    let mut mass = vec![ridge; size];
    for _ in 0..4 {
        let mut normal = DMatrix::<f64>::identity(size, size) * ridge;
        let mut right = DVector::<f64>::zeros(size);
        for (weights, r) in &rows {
            let at: f64 = weights.iter().map(|(j, a)| a * g[*j]).sum();
            let w = 1.0 / (1.0 + ((at - r) / LOSS_SCALE).powi(2)).sqrt();
            for (j, a) in weights {
                right[*j] += w * a * r;
                for (k, b) in weights {
                    normal[(*j, *k)] += w * a * b;
                }
            }
        }
        mass = normal.diagonal().iter().copied().collect();
        if let Some(solved) = normal.cholesky() {
            g = solved.solve(&right);
        }
    }
    let mut g: Vec<f64> = g.iter().copied().collect();
    never_falling(axes, &mut g, &mass, &growth(axes, seconds));
    Grid::new(axes, g)
}

/// For every axis and node the least growth of ln `seconds` to the next node along that axis, were it
/// everywhere as slow as where it is slowest; 0 at the last node.
fn growth(axes: Axes, seconds: impl Fn([f64; 3]) -> f64) -> [Vec<f64>; 3] {
    let mut all: [Vec<f64>; 3] = std::array::from_fn(|_| vec![0.0; axes.size()]);
    for (axis, growth) in all.iter_mut().enumerate() {
        let part = (axes.step(axis) / PARTS as f64).exp();
        for line in lines(axes, axis) {
            for pair in line.windows(2) {
                let &[(from, start), _] = pair else { continue };
                let mut point = start;
                let mut before = seconds(point).ln();
                let mut least = f64::INFINITY;
                for _ in 0..PARTS {
                    point[axis] *= part;
                    let next = seconds(point).ln();
                    least = least.min(next - before);
                    before = next;
                }
                growth[from] = least.max(0.0) * PARTS as f64;
            }
        }
    }
    all
}

/// The lines of nodes along an axis, each node with its index and its point.
fn lines(axes: Axes, axis: usize) -> Vec<Vec<(usize, [f64; 3])>> {
    let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
    let mut all = vec![];
    for i in 0..axes.nodes[a] {
        for j in 0..axes.nodes[b] {
            let node = |along| {
                let mut node = [0; 3];
                (node[axis], node[a], node[b]) = (along, i, j);
                (axes.index(node), std::array::from_fn(|x| axes.at(x, node[x])))
            };
            all.push((0..axes.nodes[axis]).map(node).collect());
        }
    }
    all
}

/// Projects g onto { g : gⱼ₊₁ − gⱼ ≥ margin − growthⱼ along every axis } in the norm of `mass`.
///
/// Reference: Dykstra, "An algorithm for restricted least squares regression", JASA 78 (1983) 837;
/// along one line the projection is isotonic regression by pooling adjacent violators.
fn never_falling(axes: Axes, g: &mut [f64], mass: &[f64], growth: &[Vec<f64>; 3]) {
    let all: [_; 3] = std::array::from_fn(|axis| lines(axes, axis));
    let mut corrections: [Vec<f64>; 3] = std::array::from_fn(|_| vec![0.0; g.len()]);
    for cycle in 0..CYCLES {
        let mut moved: f64 = 0.0;
        for ((lines, growth), correction) in all.iter().zip(growth).zip(&mut corrections) {
            for line in lines {
                // shifted by the growth so far, the condition is that values never fall
                let mut shift = 0.0;
                let mut values = vec![];
                for (node, _) in line {
                    values.push((g[*node] + correction[*node] + shift, mass[*node]));
                    shift += growth[*node] - MARGIN;
                }
                shift = 0.0;
                for ((node, _), fitted) in line.iter().zip(isotonic(&values)) {
                    let projected = fitted - shift;
                    correction[*node] += g[*node] - projected;
                    moved = moved.max((g[*node] - projected).abs());
                    g[*node] = projected;
                    shift += growth[*node] - MARGIN;
                }
            }
        }
        if cycle > 0 && moved < 1e-5 {
            break;
        }
    }
}

/// The never falling sequence nearest to (value, weight), by pooling adjacent violators.
fn isotonic(values: &[(f64, f64)]) -> Vec<f64> {
    let mut blocks: Vec<(f64, f64, usize)> = vec![];
    for &(value, weight) in values {
        let mut block = (value, weight, 1);
        while let Some(last) = blocks.pop_if(|last| last.0 > block.0) {
            let weight = last.1 + block.1;
            block = ((last.0 * last.1 + block.0 * block.1) / weight, weight, last.2 + block.2);
        }
        blocks.push(block);
    }
    blocks.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes = Axes { nodes: [4, 3, 3], low: [1.0; 3], high: [4096.0, 64.0, 64.0] };

    /// A soft roofline of its own.
    fn form([m, n, k]: [f64; 3]) -> f64 {
        1e-6 + (m * n * k * 1e-9).hypot(n * k * 1e-8)
    }

    fn points(residual: impl Fn([f64; 3]) -> f64) -> Vec<([f64; 3], f64)> {
        let mut all = vec![];
        for i in 0..25 {
            for j in 0..7 {
                for k in 0..7 {
                    let point = [2f64.powf(f64::from(i) / 2.0), f64::from(1 << j), f64::from(1 << k)];
                    all.push((point, residual(point)));
                }
            }
        }
        all
    }

    #[test]
    fn a_smooth_residual_comes_back() {
        let truth = |[m, n, _]: [f64; 3]| 0.02 * f64::ln(m) + 0.01 * f64::ln(n);
        let grid = fit_grid(AXES, &points(truth), form);
        for (point, wanted) in points(truth) {
            assert!((grid.factor(point).ln() - wanted).abs() < 5e-3, "{point:?}");
        }
    }

    #[test]
    fn a_falling_residual_makes_no_time_fall() {
        let truth = |[m, n, k]: [f64; 3]| -0.2 * f64::ln(m) - 0.1 * (n.ln() - k.ln());
        let grid = fit_grid(AXES, &points(truth), form);
        let time = |p: [f64; 3]| form(p) * grid.factor(p);
        for axis in 0..3 {
            for line in lines(AXES, axis) {
                for pair in line.windows(2) {
                    assert!(time(pair[1].1) >= time(pair[0].1), "axis {axis}: {:?}", pair[0].1);
                }
            }
        }
    }

    #[test]
    fn pooling_by_hand() {
        assert_eq!(isotonic(&[(1.0, 1.0), (3.0, 1.0), (2.0, 1.0), (4.0, 1.0)]), [1.0, 2.5, 2.5, 4.0]);
        assert_eq!(isotonic(&[(3.0, 3.0), (1.0, 1.0)]), [2.5, 2.5]);
    }
}
