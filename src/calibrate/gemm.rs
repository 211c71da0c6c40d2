//! Samples of dense matrix products → fits.

pub use super::fit::Refusal;
use super::fit::{FitError, Row, mix};
use super::heldout::{GridAxes, fit_class};
use super::samples::{Classes, Table};
use crate::spec::{DataType, SpecError};
use crate::time::Hardware;
use crate::time::calibration::{Calibration, ClassKey, Fitted};
use crate::time::forms::Axes;
use crate::time::forms::Form;
use crate::time::forms::gemm::{Gemm, SoftGemm};

/// A sample of a matrix product.
pub type Sample = Row<Gemm>;

/// From one row and a narrow layer to a long prefill of a wide one.
const fn shapes(nodes: [usize; 3]) -> Axes {
    Axes { nodes, low: [1.0, 64.0, 64.0], high: [32768.0, 65536.0, 65536.0] }
}

const AXES: GridAxes<Gemm> = GridAxes {
    by_samples: &[(4000, shapes([8, 7, 6])), (128, shapes([4, 4, 4]))],
    point: Gemm::point,
    at: |[m, n, k], like| Gemm { m, n, k, ..*like },
};

/// A table whose shortest sample takes longer was timed with the launch from the host: a kernel of one
/// row and a narrow layer takes 2 to 30 µs. Source: KERNELS section 6, 1.
const LAUNCH_FLOOR: f64 = 40e-6;

/// Storage and arithmetic of a data type as operator tables name it; none for one that is not known.
pub fn formats(name: &str, hardware: &Hardware) -> Option<(DataType, DataType)> {
    let math16 = if hardware.peak(DataType::Bf16) > 0.0 { DataType::Bf16 } else { DataType::Fp16 };
    let (weights, math) = match name {
        "bfloat16" | "float16" | "half" => (math16, math16),
        "fp8" | "fp8_static" => (DataType::Fp8, DataType::Fp8),
        "fp8_block" => (DataType::Fp8Block, DataType::Fp8),
        "nvfp4" => (DataType::Nvfp4, DataType::Nvfp4),
        "mxfp4" => (DataType::Mxfp4, DataType::Mxfp4),
        "int8" | "sq" => (DataType::Int8, DataType::Int8),
        "int8_wo" => (DataType::Int8, math16),
        "int4_wo" => (DataType::Int4, math16),
        "fp8_wo" => (DataType::Fp8, math16),
        "float32" => (DataType::Fp32, DataType::Fp32),
        // GGUF types are stored narrow and multiplied in 16 bit, as predictions count them
        other => (other.parse().ok().filter(|d: &DataType| d.is_gguf())?, math16),
    };
    // without units for the format the kernel converts to 16 bit
    Some((weights, if hardware.peak(math) > 0.0 { math } else { math16 }))
}

/// Samples of matrix products by data type, without those that were timed on a warm cache.
///
/// # Errors
/// When a cell holds no number.
pub fn classes(table: &Table, hardware: &Hardware) -> Result<Classes<Gemm>, SpecError> {
    let mut classes = Classes::new();
    for record in table.records() {
        let Some((weights, math)) = formats(record.text("dtype"), hardware) else { continue };
        let (m, n, k) = (record.number("m")?, record.number("n")?, record.number("k")?);
        let group = mix((n as u64) << 32 | k as u64);
        let input = Gemm { m, n, k, weights, math };
        let key = ClassKey {
            engine: table.engine.clone(),
            data_type: record.text("dtype").to_owned(),
            kernel: String::new(),
            variant: String::new(),
        };
        let row = Row { input, seconds: record.seconds()?, group };
        classes.entry(key).or_default().push(row);
    }
    for rows in classes.values_mut() {
        drop_cached(rows, hardware);
    }
    Ok(classes)
}

/// The shortest sample where it is too long for a kernel: the launch from the host was timed.
#[must_use]
pub fn launch_floor(rows: &[Row<Gemm>]) -> Option<f64> {
    let floor = rows.iter().map(|r| r.seconds).fold(f64::INFINITY, f64::min);
    (floor > LAUNCH_FLOOR && floor.is_finite()).then_some(floor)
}

/// Fits every data type of a GEMM table into `out`; returns what could not be fitted.
///
/// # Errors
/// When a row is broken.
pub fn fit(table: &Table, hardware: &Hardware, out: &mut Calibration) -> Result<Vec<Refusal>, SpecError> {
    let mut refused = vec![];
    for (key, rows) in classes(table, hardware)? {
        if let Some(floor) = launch_floor(&rows).filter(|_| !table.probed) {
            refused.push((key, FitError::LaunchBound { floor_us: floor * 1e6 }));
            continue;
        }
        match fit_rows(key.clone(), &rows, hardware) {
            Ok(mut fitted) => {
                if rows.iter().all(|r| r.input.m <= 1.0) {
                    // before it in order: names of 16-bit types begin with b and fl
                    let plain = out.gemm.iter().find(|f| {
                        f.key.engine == key.engine
                            && matches!(f.key.data_type.as_str(), "bfloat16" | "float16")
                    });
                    complete_one_row(&mut fitted, plain);
                }
                out.gemm.push(fitted);
            }
            Err(error) => refused.push((key, error)),
        }
    }
    Ok(refused)
}

/// Samples of one row say how fast weights are read and what a launch costs, and nothing of multiplying. Weights narrower
/// than the arithmetic are widened on the way and multiplied as 16-bit ones are, whose coefficients the others become: with
/// TensorRT-LLM's tables of an A100 they are 0.80 (int4) and 0.84 (int8) of the peak for 0.84 in bf16.
fn complete_one_row(fitted: &mut Fitted, plain: Option<&Fitted>) {
    for (i, coefficient) in SoftGemm::COEFFICIENTS.iter().enumerate() {
        if matches!(coefficient.name, "memory" | "latency_us") {
            continue;
        }
        let known = plain.and_then(|p| p.c.get(i)).copied();
        if let Some(c) = fitted.c.get_mut(i) {
            *c = known.unwrap_or(coefficient.start);
        }
        if let Some(interval) = fitted.intervals.get_mut(i) {
            let known = plain.and_then(|p| p.intervals.get(i)).copied();
            *interval = known.unwrap_or([coefficient.low, coefficient.high]);
        }
    }
}

/// Fits the samples of one data type.
///
/// # Errors
/// As [`super::fit::fit`].
pub fn fit_rows(key: ClassKey, rows: &[Row<Gemm>], hardware: &Hardware) -> Result<Fitted, FitError> {
    fit_class::<SoftGemm>(key, rows, hardware, Some(&AXES))
}

/// Drops samples whose weights stayed in the cache between repetitions, which they do not while a model
/// is served. A harness that rotates a few copies of the weights leaves small ones there: where some
/// weights came faster than memory can give them, all memory-bound samples of smaller weights go.
fn drop_cached(rows: &mut Vec<Row<Gemm>>, hardware: &Hardware) {
    let weights = |x: &Gemm| x.n * x.k * x.weights.bytes();
    let too_fast =
        |r: &&Row<Gemm>| r.seconds > 0.0 && weights(&r.input) / r.seconds > 1.05 * hardware.bandwidth;
    let cached =
        rows.iter().filter(too_fast).map(|r| weights(&r.input)).fold(0.0, f64::max).min(hardware.cache);
    let memory_bound =
        |x: &Gemm| 2.0 * x.m * x.n * x.k / hardware.peak(x.math) < weights(x) / hardware.bandwidth;
    let warm = |r: &Row<Gemm>| too_fast(&r) || (weights(&r.input) <= cached && memory_bound(&r.input));
    rows.retain(|r| !warm(r));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::catalog::{self, Directories};

    fn hardware(name: &str) -> Hardware {
        Hardware::of(&catalog::accelerator(name, &Directories::default()).unwrap())
    }

    fn table(rows: &str) -> Table {
        Table::parse(&format!("m,n,k,dtype,kernel,latency_us\n{rows}"), "x.csv", "vllm-1.0").unwrap()
    }

    #[test]
    fn launches_are_told_from_kernels() {
        let rows: String =
            (0..40).map(|i| format!("{},4096,4096,fp8_block,x,{}\n", 1 << (i % 12), 150 + i)).collect();
        let mut out = Calibration::new("h100-sxm", "a test");
        let refused = fit(&table(&rows), &hardware("h100-sxm"), &mut out).unwrap();
        assert!(out.gemm.is_empty());
        assert!(
            matches!(refused[0].1, FitError::LaunchBound { floor_us } if (floor_us - 150.0).abs() < 1e-9)
        );
    }

    #[test]
    fn weights_read_for_one_row_are_multiplied_as_16_bit_ones() {
        let h200 = hardware("h200-sxm");
        let mut rows = String::new();
        for i in 0..48 {
            let (m, n, k) = (1 << (i % 12), 1024 << (i % 4), 2048 << (i % 3));
            for (dtype, c) in [
                ("bfloat16", [0.8, 0.85, 3.0, 3.0, 100.0, 0.01, 0.001]),
                ("int4_wo", [0.3, 0.6, 2.0, 2.0, 1.0, 0.5, 1.0]),
            ] {
                let (weights, math) = formats(dtype, &h200).unwrap();
                let m = if dtype == "int4_wo" { 1 } else { m };
                let (rows_m, n_f, k_f) = (f64::from(m), f64::from(n), f64::from(k));
                let input = Gemm { m: rows_m, n: n_f, k: k_f, weights, math };
                let us = SoftGemm::seconds(&c, &input, &h200) * 1e6;
                rows += &format!("{m},{n},{k},{dtype},x,{us}\n");
            }
        }
        let mut table = table(&rows);
        table.probed = true;
        let mut out = Calibration::new("h200-sxm", "a test");
        assert!(fit(&table, &h200, &mut out).unwrap().is_empty());
        let of = |dtype: &str| out.gemm.iter().find(|f| f.key.data_type == dtype).unwrap();
        let (plain, narrow) = (of("bfloat16"), of("int4_wo"));
        for i in [0, 3, 4, 5, 6] {
            assert_eq!(narrow.c[i], plain.c[i], "{i}");
        }
        assert!(
            (narrow.c[1] / 0.6 - 1.0).abs() < 0.02 && (narrow.c[2] / 2.0 - 1.0).abs() < 0.05,
            "{narrow:?}"
        );
    }

    #[test]
    fn weights_out_of_the_cache_are_dropped() {
        let l40s = hardware("l40s");
        let row = |m, n, k, rate: f64| {
            let input = Gemm { m, n, k, weights: DataType::Bf16, math: DataType::Bf16 };
            Row { input, seconds: n * k * 2.0 / (rate * l40s.bandwidth), group: 0 }
        };
        // 8 MB at one and a half times the bandwidth, 4 MB below it, 128 MB, and 4 MB with many rows
        let mut rows = vec![
            row(1.0, 2048.0, 2048.0, 1.5),
            row(1.0, 2048.0, 1024.0, 0.6),
            row(1.0, 8192.0, 8192.0, 0.8),
            row(4096.0, 2048.0, 1024.0, 0.1),
        ];
        drop_cached(&mut rows, &l40s);
        let kept: Vec<f64> = rows.iter().map(|r| r.input.m * r.input.n).collect();
        assert_eq!(kept, [8192.0, 4096.0 * 2048.0]);
    }
}
