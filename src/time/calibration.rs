//! The calibration of one accelerator: fitted coefficients by operator class, data type and engine.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

use super::CoefficientError;
use super::forms::collective::ThreeRegimes;
use super::forms::decode_attention::DecodeAttentionForm;
use super::forms::experts::GroupedGemm;
use super::forms::gemm::SoftGemm;
use super::forms::latent::LatentDecodeForm;
use super::forms::latent_module::{LatentDecodeModuleForm, LatentPrefillModuleForm};
use super::forms::prefill_attention::PrefillAttentionForm;
use super::forms::quantise::CachedPass;
use super::forms::{Axes, Form, Grid};
use super::measured::Measured;
use super::points::PointScale;
use crate::spec::{Accelerator, EngineKind};

/// Version of the file format.
const SCHEMA: u32 = 1;

/// Variant of kernels that another one for the same data type outruns.
pub const SLOWER: &str = "slower";

/// What a fit is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassKey {
    /// Engine and version whose kernels were timed: `vllm-0.24.0`, `nccl-2.29.2`.
    pub engine: String,
    /// Data types: of the product, or of attention and cache (`bf16/fp8`).
    pub data_type: String,
    /// Kernel, where an engine has several for one class; empty for one.
    pub kernel: String,
    /// What else splits the class: `hd128`, `hd64,window`, `all_reduce,8`; empty for nothing.
    pub variant: String,
}

/// One fitted class. In a file it is one line, [`COLUMNS`] in their order.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Line")]
pub struct Fitted {
    /// What it is for.
    pub key: ClassKey,
    /// Coefficients, in the order of the form.
    pub c: Vec<f64>,
    /// Residual grid.
    pub grid: Option<Grid>,
    /// Samples fitted on.
    pub samples: usize,
    /// Mean, median and 90 % quantile of the absolute percentage error on shapes left out.
    pub heldout_ape: [f64; 3],
    /// Shortest and longest time sampled, in microseconds.
    pub range_us: [f64; 2],
    /// 95 % intervals of the coefficients, all at once; none where samples are not of this machine.
    pub intervals: Vec<[f64; 2]>,
}

/// What stands in a line of a class.
const COLUMNS: &str = "engine, data type, kernel, variant, coefficients, samples, held-out absolute percentage error \
                       (mean, median, p90), shortest and longest time sampled in us, residual grid";

/// A class as it stands in a file.
#[derive(Deserialize)]
struct Line(
    String,
    String,
    String,
    String,
    Vec<f64>,
    usize,
    [f64; 3],
    [f64; 2],
    #[serde(default)] Option<More>,
);

/// What a line may hold beyond: a residual grid, the intervals of the coefficients.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    nodes: Option<[usize; 3]>,
    #[serde(default)]
    low: [f64; 3],
    #[serde(default)]
    high: [f64; 3],
    #[serde(default)]
    log_per_mille: Vec<i16>,
    #[serde(default)]
    intervals: Vec<[f64; 2]>,
}

impl From<Line> for Fitted {
    fn from(line: Line) -> Self {
        let Line(engine, data_type, kernel, variant, c, samples, heldout_ape, range_us, more) = line;
        let key = ClassKey { engine, data_type, kernel, variant };
        let (grid, intervals) = more.map_or((None, vec![]), |m| {
            let More { nodes, low, high, log_per_mille, intervals } = m;
            (nodes.map(|nodes| Grid { axes: Axes { nodes, low, high }, log_per_mille }), intervals)
        });
        Self { key, c, grid, samples, heldout_ape, range_us, intervals }
    }
}

impl Fitted {
    fn line(&self) -> String {
        let ClassKey { engine, data_type, kernel, variant } = &self.key;
        let mut out = format!(
            "[{engine:?},{data_type:?},{kernel:?},{variant:?},{},{},{},{}",
            digits(&self.c),
            self.samples,
            digits(&self.heldout_ape),
            digits(&self.range_us)
        );
        let mut more = vec![];
        if let Some(Grid { axes, log_per_mille }) = &self.grid {
            let logs: Vec<String> = log_per_mille.iter().map(i16::to_string).collect();
            more.push(format!("nodes={:?},low={:?},high={:?}", axes.nodes, axes.low, axes.high));
            more.push(format!("log_per_mille=[{}]", logs.join(",")));
        }
        if !self.intervals.is_empty() {
            let pairs: Vec<String> = self.intervals.iter().map(|pair| digits(pair)).collect();
            more.push(format!("intervals=[{}]", pairs.join(",")));
        }
        if !more.is_empty() {
            let _ = write!(out, ",{{{}}}", more.join(","));
        }
        out + "]"
    }
}

/// A calibration file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Version of the format.
    pub schema: u32,
    /// Accelerator it is for.
    pub gpu: String,
    /// Version of the tool that wrote it.
    pub tool_version: String,
    /// When (ISO date), or empty where the samples carry none.
    #[serde(default)]
    pub date: String,
    /// Where the samples came from, with licence.
    pub source: String,
    /// Dense matrix products (`SoftGemm`).
    #[serde(default)]
    pub gemm: Vec<Fitted>,
    /// Activation quantisation.
    #[serde(default)]
    pub quantise: Vec<Fitted>,
    /// Routed experts.
    #[serde(default)]
    pub experts: Vec<Fitted>,
    /// Grouped-query decode attention.
    #[serde(default)]
    pub decode_attention: Vec<Fitted>,
    /// Grouped-query prefill attention.
    #[serde(default)]
    pub prefill_attention: Vec<Fitted>,
    /// Latent decode attention, the kernel alone.
    #[serde(default)]
    pub latent_decode: Vec<Fitted>,
    /// Latent prefill attention, the kernel alone.
    #[serde(default)]
    pub latent_prefill: Vec<Fitted>,
    /// Latent attention in decode with its projections.
    #[serde(default)]
    pub latent_decode_module: Vec<Fitted>,
    /// Latent attention in prefill with its projections.
    #[serde(default)]
    pub latent_prefill_module: Vec<Fitted>,
    /// Collectives.
    #[serde(default)]
    pub collective: Vec<Fitted>,
    /// Facts of the device that was measured; none for recorded tables.
    #[serde(default)]
    pub device: Option<toml::Table>,
    /// Figures of that device beside the classes.
    #[serde(default)]
    pub measured: Option<Measured>,
    /// The device as an accelerator, where no catalog has it.
    #[serde(default)]
    pub accelerator: Option<Accelerator>,
    /// Factors fitted to end-to-end times that a person measured, an engine each.
    #[serde(default)]
    pub points: Vec<PointScale>,
}

impl Calibration {
    /// An empty calibration of an accelerator.
    #[must_use]
    pub fn new(gpu: &str, source: &str) -> Self {
        Self {
            schema: SCHEMA,
            gpu: gpu.into(),
            tool_version: env!("CARGO_PKG_VERSION").into(),
            source: source.into(),
            ..Self::default()
        }
    }

    /// Every class list with its name.
    #[must_use]
    pub fn classes(&self) -> [(&'static str, &Vec<Fitted>); 10] {
        [
            ("gemm", &self.gemm),
            ("quantise", &self.quantise),
            ("experts", &self.experts),
            ("decode_attention", &self.decode_attention),
            ("prefill_attention", &self.prefill_attention),
            ("latent_decode", &self.latent_decode),
            ("latent_prefill", &self.latent_prefill),
            ("latent_decode_module", &self.latent_decode_module),
            ("latent_prefill_module", &self.latent_prefill_module),
            ("collective", &self.collective),
        ]
    }

    /// The same, to change.
    fn classes_mut(&mut self) -> [&mut Vec<Fitted>; 10] {
        [
            &mut self.gemm,
            &mut self.quantise,
            &mut self.experts,
            &mut self.decode_attention,
            &mut self.prefill_attention,
            &mut self.latent_decode,
            &mut self.latent_prefill,
            &mut self.latent_decode_module,
            &mut self.latent_prefill_module,
            &mut self.collective,
        ]
    }

    /// Whether it holds a fit of kernels.
    #[must_use]
    pub fn has_classes(&self) -> bool {
        self.classes().iter().any(|(_, list)| !list.is_empty())
    }

    /// The factors of an engine.
    #[must_use]
    pub fn points_of(&self, engine: EngineKind) -> Option<&PointScale> {
        self.points.iter().find(|p| p.is_of(engine))
    }

    /// Takes out the classes that `which` picks.
    pub fn take(&mut self, which: impl Fn(&Fitted) -> bool) -> Vec<Fitted> {
        self.classes_mut().into_iter().flat_map(|list| list.extract_if(.., |f| which(f))).collect()
    }

    /// Takes over the classes of another calibration, in the order of their keys; returns the keys that
    /// were there already, whose second fit is dropped.
    pub fn merge(&mut self, mut other: Self) -> Vec<(&'static str, ClassKey)> {
        let names = self.classes().map(|(name, _)| name);
        let mut twice = vec![];
        for ((name, own), new) in names.into_iter().zip(self.classes_mut()).zip(other.classes_mut()) {
            for fitted in new.drain(..) {
                match own.binary_search_by(|f| f.key.cmp(&fitted.key)) {
                    Ok(_) => twice.push((name, fitted.key)),
                    Err(at) => own.insert(at, fitted),
                }
            }
        }
        twice
    }

    /// Reads a calibration file.
    ///
    /// # Errors
    /// When the text is no calibration, or of another version, or holds a coefficient that is no number.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, CoefficientError> {
        let parsed: Self = toml::from_str(text)
            .map_err(|e| CoefficientError::Syntax { file: file.into(), message: e.message().to_owned() })?;
        if parsed.schema != SCHEMA {
            return Err(CoefficientError::Schema { file: file.into(), schema: parsed.schema });
        }
        for (class, list) in parsed.classes() {
            for fitted in list {
                let (found, expected) = (fitted.c.len(), coefficients(class));
                if found != expected {
                    return Err(CoefficientError::Syntax {
                        file: file.into(),
                        message: format!(
                            "{class} of {} has {found} coefficients where this version's form has {expected}; \
                             calibrate anew",
                            fitted.key.engine
                        ),
                    });
                }
                let bad = fitted.c.iter().find(|c| !(c.is_finite() && **c >= 0.0));
                if let Some(value) = bad {
                    return Err(CoefficientError::Range {
                        file: file.into(),
                        key: format!("{class} {} {}", fitted.key.engine, fitted.key.data_type),
                        value: *value,
                        range: "[0, ∞)",
                    });
                }
                let grid = fitted.grid.as_ref();
                if let Some(grid) =
                    grid.filter(|g| !g.axes.are_sound() || g.log_per_mille.len() != g.axes.size())
                {
                    return Err(CoefficientError::Syntax {
                        file: file.into(),
                        message: format!(
                            "{class} {} {}: a grid of {:?} nodes has {} factors or no range",
                            fitted.key.engine,
                            fitted.key.data_type,
                            grid.axes.nodes,
                            grid.log_per_mille.len()
                        ),
                    });
                }
            }
        }
        for scale in &parsed.points {
            if let Some((name, value)) = scale.unsound() {
                let key = format!("points.{name} of {}", scale.engine);
                return Err(CoefficientError::Range { file: file.into(), key, value, range: "[0.25, 4]" });
            }
        }
        Ok(parsed)
    }

    /// The file's text: one line a class, three significant digits, keys in a fixed order, so that the same
    /// samples give the same bytes.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "schema = {}", self.schema);
        for (key, value) in [
            ("gpu", &self.gpu),
            ("tool_version", &self.tool_version),
            ("date", &self.date),
            ("source", &self.source),
        ] {
            if !value.is_empty() {
                let _ = writeln!(out, "{key} = {value:?}");
            }
        }
        let _ = writeln!(out, "# Lines hold: {COLUMNS}.");
        for (class, list) in self.classes() {
            if !list.is_empty() {
                let lines: Vec<String> = list.iter().map(Fitted::line).collect();
                let _ = writeln!(out, "{class} = [\n{},\n]", lines.join(",\n"));
            }
        }
        let tables = Tables {
            device: self.device.as_ref(),
            measured: self.measured.as_ref(),
            accelerator: self.accelerator.as_ref(),
            points: &self.points,
        };
        // plain numbers, texts, lists and tables: TOML has them all
        out + &toml::to_string(&tables).unwrap_or_default()
    }
}

/// What stands below the classes of a device that was measured.
#[derive(Serialize)]
struct Tables<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a toml::Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<&'a Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accelerator: Option<&'a Accelerator>,
    #[serde(skip_serializing_if = "<[PointScale]>::is_empty")]
    points: &'a [PointScale],
}

/// Coefficients of the form behind a class.
fn coefficients(class: &str) -> usize {
    match class {
        "gemm" => SoftGemm::COEFFICIENTS.len(),
        "quantise" => CachedPass::COEFFICIENTS.len(),
        "experts" => GroupedGemm::COEFFICIENTS.len(),
        "decode_attention" => DecodeAttentionForm::COEFFICIENTS.len(),
        "prefill_attention" | "latent_prefill" => PrefillAttentionForm::COEFFICIENTS.len(),
        "latent_decode" => LatentDecodeForm::COEFFICIENTS.len(),
        "latent_decode_module" => LatentDecodeModuleForm::COEFFICIENTS.len(),
        "latent_prefill_module" => LatentPrefillModuleForm::COEFFICIENTS.len(),
        _ => ThreeRegimes::COEFFICIENTS.len(),
    }
}

/// Numbers with three significant digits.
fn digits(values: &[f64]) -> String {
    let cells: Vec<String> = values.iter().map(|v| three_digits(*v)).collect();
    format!("[{}]", cells.join(","))
}

fn three_digits(value: f64) -> String {
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    format!("{rounded}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::forms::Axes;

    #[test]
    fn what_is_written_reads_back() {
        let mut one = Calibration::new("h100-sxm", "a test");
        one.gemm.push(Fitted {
            key: ClassKey {
                engine: "vllm-0.24.0".into(),
                data_type: "bf16".into(),
                kernel: String::new(),
                variant: String::new(),
            },
            c: vec![0.756, 0.849, 4.18, 3.06, 100.0, 0.52, 0.02],
            grid: Some(Grid::new(
                Axes { nodes: [2, 2, 3], low: [1.0; 3], high: [32768.0; 3] },
                (0..12).map(|i| f64::from(i) * 0.01 - 0.05),
            )),
            samples: 100,
            heldout_ape: [5.61, 4.2, 12.0],
            range_us: [3.0, 60300.0],
            intervals: vec![[0.7, 0.8]; 5],
        });
        one.device = Some(toml::Table::from_iter([("name".to_owned(), "a card".into())]));
        one.measured = Some(Measured { launch_us: Some(4.5), ..Measured::default() });
        let text = one.to_toml();
        let back = Calibration::from_toml(&text, "x.toml").unwrap();
        assert_eq!(back.to_toml(), text);
        assert_eq!(back, one);
    }

    #[test]
    fn a_grid_without_its_factors_is_refused() {
        let head = "schema = 1\ngpu = \"x\"\ntool_version = \"0\"\nsource = \"s\"\n";
        for grid in [
            "{ nodes = [2, 2, 2], low = [1.0, 1.0, 1.0], high = [2.0, 2.0, 2.0], log_per_mille = [1] }",
            "{ nodes = [1, 1, 1], low = [1.0, 1.0, 1.0], high = [2.0, 2.0, 2.0], log_per_mille = [1] }",
            "{ nodes = [1, 1, 1], low = [1.0, 1.0, 1.0], high = [1.0, 2.0, 2.0], log_per_mille = [1] }",
        ] {
            let text = format!(
                "{head}gemm = [[\"e\", \"bf16\", \"\", \"\", [1, 1, 1, 1, 1, 1, 1], 1, [1, 1, 1], [1, 2], {grid}]]\n"
            );
            let message = Calibration::from_toml(&text, "x.toml").unwrap_err().to_string();
            assert!(message.contains("x.toml") && message.contains("gemm e bf16"), "{message}");
        }
    }
}
