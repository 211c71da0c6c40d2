//! The engine terms in force: the user's file, else the embedded one, by engine and version.

use crate::spec::catalog::{self, Directories, Kind};
use crate::spec::{Accelerator, Engine, EngineKind, SpecError};
use crate::time::engine::{EngineFile, EngineTerms, RangeFit, TERMS};
use statrs::statistics::{Data, OrderStatistics};

/// Terms with what they rest on.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineChoice {
    /// The terms.
    pub terms: EngineTerms,
    /// The fit behind them, with its errors on rows left out.
    pub fit: Option<RangeFit>,
    /// They were found on accelerators of this architecture alone, what its kernels differ by included.
    pub own: bool,
    /// The version lies outside what is known.
    pub warning: Option<String>,
}

impl EngineChoice {
    /// Finds the terms of an engine on an accelerator: of the range that holds its version, else of the nearest.
    ///
    /// # Errors
    /// When a file of the user cannot be read.
    pub fn in_force(
        engine: Engine,
        accelerator: &Accelerator,
        directories: &Directories,
    ) -> Result<Self, SpecError> {
        let file = engine_file(engine.kind, directories)?;
        let found =
            file.range(engine.release(), &accelerator.architecture).ok_or_else(|| SpecError::Missing {
                file: file.engine.clone(),
                key: "range".into(),
                fix: "give at least one [[range]]".into(),
            })?;
        let warning = found.outside.then(|| {
            format!("no engine terms for {engine}; those of versions {} are used", found.range.versions)
        });
        let own = found.range.fit.is_some() && found.range.is_own(&accelerator.architecture);
        Ok(Self { terms: found.range.terms.clone(), fit: found.range.fit.clone(), own, warning })
    }
}

/// All terms of an engine.
///
/// # Errors
/// As [`EngineChoice::in_force`].
pub fn engine_file(engine: EngineKind, directories: &Directories) -> Result<EngineFile, SpecError> {
    let all = catalog::files(Kind::Engines, directories)?;
    let Some(found) = all.iter().find(|f| f.header.id == engine.name()) else {
        if UNMEASURED.contains(&engine) {
            return generic(engine, directories);
        }
        return Err(SpecError::Missing {
            file: format!("calibration/engines/{}.toml", engine.name()),
            key: "the file".into(),
            fix: "restore it".into(),
        });
    };
    let parsed = EngineFile::from_toml(&found.text, &found.file)?;
    if parsed.engine != engine.name() {
        return Err(SpecError::Value {
            file: found.file.clone(),
            key: "engine".into(),
            value: parsed.engine,
            problem: format!("the file is that of {}", engine.name()),
            fix: "name the file after its engine".into(),
        });
    }
    Ok(parsed)
}

/// Engines of which no run is known: until a file of theirs lies in the user's directory, their terms are the medians of the
/// newest terms of [`MEASURED`], each by itself.
const UNMEASURED: [EngineKind; 2] = [EngineKind::Lmdeploy, EngineKind::Fastllm];
const MEASURED: [EngineKind; 3] = [EngineKind::Vllm, EngineKind::Sglang, EngineKind::Trtllm];

fn generic(engine: EngineKind, directories: &Directories) -> Result<EngineFile, SpecError> {
    let mut newest = vec![];
    for kind in MEASURED {
        let file = engine_file(kind, directories)?;
        newest.extend(file.range(Engine::newest(kind).release(), "").map(|found| found.range.terms.clone()));
    }
    let mut file = engine_file(EngineKind::Ideal, directories)?;
    engine.name().clone_into(&mut file.engine);
    for range in &mut file.ranges {
        for term in TERMS {
            let values: Vec<f64> = newest.iter().map(term.get).collect();
            (term.set)(&mut range.terms, Data::new(values).median());
        }
        let names = MEASURED.map(EngineKind::name).join(", ");
        range.source =
            format!("no run of {} is known: medians of the newest terms of {names}", engine.name());
        range.terms.source.clone_from(&range.source);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_has_terms_for_its_newest_version() {
        for (kind, _) in EngineKind::ALL {
            let gpu = catalog::accelerator("mi300x", &Directories::default()).unwrap();
            let choice = EngineChoice::in_force(Engine::newest(kind), &gpu, &Directories::default()).unwrap();
            assert!(choice.terms.prefill_scale >= 0.7 && choice.terms.request_ms >= 0.0);
            assert_eq!(choice.warning, None);
            let file = engine_file(kind, &Directories::default()).unwrap();
            assert!(
                file.ranges_on("").last().is_some_and(|r| r.versions.to.is_none()),
                "{kind:?}: no open end"
            );
        }
    }

    #[test]
    fn an_engine_that_nobody_measured_has_the_medians_of_the_others() {
        let none = Directories::default();
        let gpu = catalog::accelerator("h100-sxm", &none).unwrap();
        let terms = |kind| EngineChoice::in_force(Engine::newest(kind), &gpu, &none).unwrap().terms;
        let step = |kind: EngineKind| terms(kind).step_us;
        let mut known = MEASURED.map(step);
        known.sort_by(f64::total_cmp);
        assert_eq!(step(EngineKind::Lmdeploy), known[1]);
        assert!(terms(EngineKind::Fastllm).source.contains("no run of fastllm"));
    }
}
