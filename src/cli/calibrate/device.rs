//! `calibrate --device`: measures the machine it runs on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::CalibrateArgs;
use super::samples::{Made, fitted};
use crate::calibrate::cuda::{Cuda, CudaError, CudaOptions, visible_devices};
use crate::calibrate::probe::cpu::CpuBackend;
use crate::calibrate::probe::{
    Backend, Benchmark, Measurement, Observer, Origin, Outcome, ProbeError, Runner, SampleFile, Settings,
};
use crate::calibrate::samples::read_csv;
use crate::cli::output::{to_stderr, write_atomically};
use crate::cli::{CliError, Context};
use crate::machine::library::Surroundings;
use crate::spec::SpecError;
use crate::spec::catalog::{Directories, accelerator_of_driver};

/// Set by Ctrl-C; the runner ends after the sample that is running.
static STOP: AtomicBool = AtomicBool::new(false);
/// Seconds between two writings of the samples file while measuring.
const SAVE_EVERY: Duration = Duration::from_secs(2);

impl From<ProbeError> for CliError {
    fn from(error: ProbeError) -> Self {
        if error.no_device() {
            Self::NoAccelerator(error.to_string())
        } else {
            Self::Runtime(error.to_string())
        }
    }
}

pub(super) fn run(device: &str, arguments: &CalibrateArgs, context: &Context) -> Result<(), CliError> {
    let start = Instant::now();
    let mut backend = open(device, arguments, &context.directories)?;
    let place = Place::new(arguments, &backend.facts().gpu)?;
    let mut file = match &arguments.resume {
        Some(path) => resumed(path, backend.as_ref())?,
        None => SampleFile::default(),
    };
    file.origin = Origin {
        tool_version: env!("CARGO_PKG_VERSION").into(),
        date: arguments.date.clone().unwrap_or_else(today),
        engine: backend.engine().into(),
        device: backend.facts().clone(),
    };
    let known = file.known();
    let settings = settings(arguments);
    let watcher = Watcher::new(file, place.samples.clone());
    let outcome = measure(backend.as_mut(), &settings, &known, &watcher);
    let mut file = watcher.finish();
    for measurement in &outcome.measurements {
        file.push(measurement);
    }
    for skipped in &outcome.skipped {
        to_stderr(&format!("warning: skipped {}", skipped.reason));
    }
    if file.rows.is_empty() {
        return Err(outcome.error.map_or_else(
            || {
                CliError::Runtime(
                    "nothing was measured: it was stopped before the first benchmark ended".into(),
                )
            },
            CliError::from,
        ));
    }
    write_atomically(&place.samples, &file.text()?)?;
    warn(&outcome, &file, &place.samples);
    if let Some(error) = outcome.error {
        return Err(error.into());
    }
    let made = Made {
        samples: vec![place.samples.display().to_string()],
        output: place.calibration,
        source: "measured on this machine by `foretoken calibrate`".into(),
        start,
    };
    let samples = place.samples.display().to_string();
    fitted(&file, made, context).map_err(|error| match error {
        CliError::Input(e) if outcome.interrupted => CliError::Runtime(format!(
            "stopped before a calibration could be made ({e}); go on with --resume {samples}"
        )),
        other => other,
    })
}

/// The backend that a device's name means.
fn open(
    device: &str,
    arguments: &CalibrateArgs,
    directories: &Directories,
) -> Result<Box<dyn Backend>, CliError> {
    if device == "cpu" {
        return Ok(Box::new(CpuBackend::open(arguments.threads)?));
    }
    let index = match device.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse::<usize>().ok()),
        None => None,
    };
    let ordinal = index.ok_or_else(|| {
        SpecError::Usage(format!("`{device}` is no device that can be measured; give cpu, cuda or cuda:1"))
    })?;
    let unusable = |e: CudaError| CliError::NoAccelerator(e.to_string());
    let visible = visible_devices().map_err(unusable)?;
    let name = visible.get(ordinal).map_or("", |d| d.name.as_str());
    // a card that no catalog has goes by its name
    let gpu = accelerator_of_driver(name, None, directories).map_or_else(|_| name.to_owned(), |a| a.id);
    let surroundings = Surroundings::of_process(arguments.cuda_libraries.clone());
    let options = CudaOptions { ordinal, force: arguments.busy, surroundings, gpu };
    Ok(Box::new(Cuda::open(&options).map_err(unusable)?))
}

fn settings(arguments: &CalibrateArgs) -> Settings {
    Settings {
        only: arguments.only.clone(),
        budget: arguments.budget.map(|b| b.0),
        seed: arguments.seed,
        ..if arguments.quick { Settings::quick() } else { Settings::full() }
    }
}

fn measure(
    backend: &mut dyn Backend,
    settings: &Settings,
    known: &BTreeSet<String>,
    watcher: &Watcher,
) -> Outcome {
    // the second Ctrl-C ends the process at once; without a handler the first one does, which loses no more
    let _ = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    Runner::new(settings, &STOP, watcher).run(backend, known)
}

/// What the person should know of what was measured.
fn warn(outcome: &Outcome, file: &SampleFile, samples: &Path) {
    if outcome.interrupted {
        to_stderr(&format!(
            "warning: stopped early; what was measured is used, and `--resume {}` measures the rest",
            samples.display()
        ));
    }
    let open: Vec<&Measurement> = outcome.measurements.iter().filter(|m| !m.ending.converged).collect();
    if let Some(worst) = open.iter().max_by(|a, b| a.summary.noise().total_cmp(&b.summary.noise())) {
        to_stderr(&format!(
            "warning: {} of {} figures did not converge; the worst, ±{:.0} %: {}",
            open.len(),
            file.rows.len(),
            100.0 * worst.summary.noise().min(9.99),
            worst.benchmark.label()
        ));
    }
    let count = |of: fn(&Measurement) -> usize| outcome.measurements.iter().map(of).sum::<usize>();
    let (slowed, contended) = (count(|m| m.slowed), count(|m| m.contended));
    if slowed > 0 {
        to_stderr(&format!(
            "warning: {slowed} samples were thrown away: heat or hardware held the clocks down"
        ));
    }
    if contended > 0 {
        to_stderr(&format!(
            "warning: {contended} samples were thrown away: other processes took the cores; measure again when the \
             machine is idle"
        ));
    }
}

/// An earlier run of the same device.
fn resumed(path: &Path, backend: &dyn Backend) -> Result<SampleFile, CliError> {
    let name = path.display().to_string();
    let file = SampleFile::parse(&read_csv(path)?, &name)?;
    let (was, is) = (&file.origin.device, backend.facts());
    if was.gpu != is.gpu || was.uuid_hash != is.uuid_hash || was.threads != is.threads {
        return Err(SpecError::Usage(format!(
            "{name} was measured on another device ({}, {:?} threads); leave --resume out",
            was.name, was.threads
        ))
        .into());
    }
    Ok(file)
}

/// Today in UTC.
pub(super) fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect()
}

/// Where the files of a run go.
pub(super) struct Place {
    pub calibration: PathBuf,
    pub samples: PathBuf,
}

impl Place {
    /// `-o FILE`, else the user's directory; samples lie beside.
    pub fn new(arguments: &CalibrateArgs, gpu: &str) -> Result<Self, CliError> {
        let calibration = match (&arguments.output, Directories::home()) {
            (Some(path), _) => path.clone(),
            (None, Some(home)) => home.join("calibration").join(super::file_name(gpu)),
            (None, None) => PathBuf::from(super::file_name(gpu)),
        };
        if let Some(directory) = calibration.parent().filter(|d| !d.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(|e| {
                CliError::Runtime(format!("{}: cannot be made: {e}; give -o FILE", directory.display()))
            })?;
        }
        Ok(Self { samples: calibration.with_extension("samples.csv"), calibration })
    }
}

/// Draws the bar and keeps what was measured.
struct Watcher {
    bar: ProgressBar,
    path: PathBuf,
    kept: RefCell<(SampleFile, Instant)>,
}

impl Watcher {
    fn new(file: SampleFile, path: PathBuf) -> Self {
        // draws on a terminal only
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self { bar, path, kept: RefCell::new((file, Instant::now())) }
    }

    fn finish(self) -> SampleFile {
        self.bar.finish_and_clear();
        self.kept.into_inner().0
    }
}

impl Observer for Watcher {
    fn visit(&self, done: usize, of: usize, benchmark: &Benchmark, seconds_left: f64) {
        self.bar.set_length(of as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(format!("{seconds_left:.0} s left, {}", benchmark.label()));
    }

    fn measured(&self, measurement: &Measurement) {
        let mut kept = self.kept.borrow_mut();
        kept.0.push(measurement);
        if kept.1.elapsed() >= SAVE_EVERY {
            kept.1 = Instant::now();
            // the whole run is written at its end, where a failure is said
            if let Ok(text) = kept.0.text() {
                let _ = write_atomically(&self.path, &text);
            }
        }
    }
}
