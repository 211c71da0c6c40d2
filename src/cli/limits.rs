//! Limits of latencies, and which share of the requests must keep them.

use clap::Args;

use super::args::duration;
use crate::serving::Slo;
use crate::spec::SpecError;
use crate::units::Seconds;

/// Share of the requests that must keep the limits where none is given: P90, as DistServe counts goodput (Zhong et al., OSDI
/// 2024, §2.1).
pub(super) const USUAL_SHARE: f64 = 0.9;

/// A latency's limit as `vllm bench serve --goodput` or as a percentile's name it.
#[derive(Debug, Clone, PartialEq)]
struct Named {
    share: Option<f64>,
    metric: String,
    limit: Seconds,
}

/// Limits of latencies.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    /// Limit of TTFT; a bare number is milliseconds.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Limits")]
    ttft: Option<Seconds>,
    /// Limit of TPOT.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Limits")]
    tpot: Option<Seconds>,
    /// Limit of E2E.
    #[arg(long, value_parser = duration, value_name = "TIME", help_heading = "Limits")]
    e2e: Option<Seconds>,
    /// Share of the requests that must keep all limits, as a percentile [default: p90, or a preset's].
    #[arg(long, value_parser = percentile, value_name = "PERCENTILE", help_heading = "Limits")]
    percentile: Option<f64>,
    /// Limits as vLLM's benchmark takes them: ttft:500 tpot:50 e2el:5000.
    #[arg(long, value_parser = goodput, num_args = 1.., value_name = "METRIC:TIME", help_heading = "Limits")]
    goodput: Vec<Named>,
    /// A limit at a percentile: p90:tpot=40ms; all limits have one percentile.
    #[arg(long, value_parser = slo, value_name = "PERCENTILE:METRIC=TIME", help_heading = "Limits")]
    slo: Vec<Named>,
}

impl LimitArgs {
    /// The limits, and the share that was asked for.
    pub(super) fn resolve(&self) -> Result<(Slo, Option<f64>), SpecError> {
        let of = |value: Option<Seconds>| value.map(|s| s.0);
        let mut limits = Slo { ttft_s: of(self.ttft), tpot_s: of(self.tpot), e2e_s: of(self.e2e) };
        let mut share = self.percentile;
        for named in self.goodput.iter().chain(&self.slo) {
            let slot = match named.metric.as_str() {
                "ttft" => &mut limits.ttft_s,
                "tpot" => &mut limits.tpot_s,
                _ => &mut limits.e2e_s,
            };
            if slot.is_some_and(|before| before != named.limit.0) {
                return Err(SpecError::Usage(format!("{} has two limits; give one", named.metric)));
            }
            *slot = Some(named.limit.0);
            match (share, named.share) {
                (Some(a), Some(b)) if a != b => {
                    return Err(SpecError::Usage(format!(
                        "limits at p{} and at p{}: the requests that keep all of them are counted at one percentile; \
                         give one",
                        100.0 * a,
                        100.0 * b
                    )));
                }
                (before, new) => share = before.or(new),
            }
        }
        Ok((limits, share))
    }
}

/// `p90` as 0.9.
fn percentile(text: &str) -> Result<f64, String> {
    match text.trim_start_matches(['p', 'P']).parse::<f64>() {
        Ok(p) if p > 0.0 && p <= 100.0 => Ok(p / 100.0),
        _ => Err("write a percentile like p90 or p99.5".into()),
    }
}

fn named(metric: &str, time: &str, share: Option<f64>) -> Result<Named, String> {
    let metric = match metric.to_ascii_lowercase().as_str() {
        "e2e" | "e2el" => "e2e".to_owned(),
        known @ ("ttft" | "tpot") => known.to_owned(),
        other => return Err(format!("`{other}` has no limit; metrics are ttft, tpot and e2e")),
    };
    Ok(Named { share, metric, limit: duration(time)? })
}

fn goodput(text: &str) -> Result<Named, String> {
    let (metric, time) = text.split_once(':').ok_or("write a limit like ttft:500")?;
    named(metric, time, None)
}

fn slo(text: &str) -> Result<Named, String> {
    let form = "write a limit like p90:tpot=40ms";
    let (share, rest) = text.split_once(':').ok_or(form)?;
    let (metric, time) = rest.split_once('=').ok_or(form)?;
    named(metric, time, Some(percentile(share)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn limits(words: &[&str]) -> Result<(Slo, Option<f64>), String> {
        let line = Line::try_parse_from(std::iter::once(&"x").chain(words)).map_err(|e| e.to_string())?;
        line.limits.resolve().map_err(|e| e.to_string())
    }

    #[test]
    fn three_ways_to_say_the_same() {
        let right = (Slo { ttft_s: Some(0.5), tpot_s: Some(0.05), e2e_s: None }, Some(0.9));
        assert_eq!(limits(&["--ttft", "500", "--tpot", "50ms", "--percentile", "p90"]).unwrap(), right);
        assert_eq!(limits(&["--goodput", "ttft:500", "tpot:50", "--percentile", "90"]).unwrap(), right);
        assert_eq!(limits(&["--slo", "p90:ttft=500ms", "--slo", "p90:tpot=0.05s"]).unwrap(), right);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (words, says) in [
            (vec!["--ttft", "500", "--goodput", "ttft:400"], "two limits"),
            (vec!["--slo", "p90:ttft=500ms", "--slo", "p99:tpot=50ms"], "one percentile"),
            (vec!["--slo", "tpot=50ms"], "p90:tpot=40ms"),
            (vec!["--goodput", "itl:50"], "metrics are"),
            (vec!["--percentile", "p0"], "p99.5"),
        ] {
            let error = limits(&words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
