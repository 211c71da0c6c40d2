//! The load of a measured run.

use super::MeasuredRow;
use crate::spec::{EngineDefaults, Load, Repeats, SpecError, Workload};

/// What a run asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Asked {
    /// Requests in the batch or in flight; 1 of an open loop.
    pub batch: u32,
    /// Generated tokens as reported; 0 for a run of the prompt alone.
    pub generated: u32,
    pub workload: Workload,
    /// Prompts that a stage before has sent already.
    warm: bool,
}

/// Why an open loop is not fitted to.
pub(super) const OPEN: &str = "open loops are compared, not fitted";

/// Ways to send requests that are compared.
pub(super) fn is_compared(mode: &str) -> bool {
    matches!(mode, "static" | "closed_loop" | "open_loop")
}

impl Asked {
    /// Reads the load. `depth` tokens already in the cache are a prefix where a prompt is timed and the
    /// context where only decoding is.
    pub(super) fn of(row: MeasuredRow<'_>) -> Result<Result<Self, String>, SpecError> {
        let (concurrency, rate) = (row.whole("concurrency", 1)?, row.positive("request_rate")?);
        let (load, batch) = match (row.text("mode"), concurrency, rate) {
            ("open_loop", _, Some(per_s)) => {
                (Load::Rate { per_s, burstiness: row.positive("burstiness")?.unwrap_or(1.0) }, 1)
            }
            ("closed_loop", Some(n), _) => (Load::Concurrency(n), n),
            ("static", Some(n), _) => (Load::StaticBatch(n), n),
            ("open_loop", Some(_), None) => {
                return Ok(Err("an open loop (mode `open_loop`) needs a request_rate in requests/s".into()));
            }
            (_, None, Some(_)) => {
                return Ok(Err(
                    "a static batch or closed loop needs a concurrency; one with a request_rate is \
                               mode `open_loop`"
                        .into(),
                ));
            }
            _ => {
                return Ok(Err(
                    "neither concurrency (of a batch or closed loop) nor request_rate (of an open \
                               loop) is given"
                        .into(),
                ));
            }
        };
        let [Some(input), Some(generated)] = [row.whole("input_len", 0)?, row.whole("output_len", 0)?] else {
            return Ok(Err("input_len or output_len is empty".into()));
        };
        if input == 0 && generated == 0 {
            return Ok(Err("no tokens: input_len and output_len are 0".into()));
        }
        let prefix = if generated == 0 { depth(row.text("note")) } else { 0 };
        let nominal = Workload::new(u64::from(input), u64::from(generated).max(1), load);
        let spread = Workload {
            length_ratio_min: row.positive("length_ratio_min")?.unwrap_or(1.0).min(1.0),
            requests: requests(row, rate)?,
            repeats: repeats(row)?.filter(|_| matches!(load, Load::Rate { .. })),
            ..nominal
        };
        let workload = match load {
            Load::StaticBatch(_) => Workload { requests: None, ..spread.at_mean() },
            Load::Concurrency(_) | Load::Rate { .. } => spread,
        };
        let workload = Workload { prefix_len: prefix, input_len: prefix + workload.input_len, ..workload };
        let warm = row.whole("stage", 0)?.is_some_and(|stage| stage > 0);
        Ok(Ok(Self { batch, generated, workload, warm }))
    }

    /// Requests at a rate, whether or not earlier ones have ended.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.workload.load, Load::Rate { .. })
    }

    /// Puts prompts that repeat into the prefix cache, in whole blocks of the engine's. At least one token is computed.
    /// Those of a later stage are there from its beginning on.
    pub(super) fn cache_repeats(&mut self, settings: &EngineDefaults) {
        if self.workload.repeats.is_none() {
            return;
        }
        let block = u64::from(settings.block_size.max(1));
        let most = self.workload.at_mean().input_len.saturating_sub(1);
        self.workload.prefix_len = most / block * block;
        if self.warm {
            self.workload.repeats = None;
        }
    }
}

/// Requests sent: as many as the row says, else the rate times the duration.
fn requests(row: MeasuredRow<'_>, rate: Option<f64>) -> Result<Option<u64>, SpecError> {
    let duration = row.positive("duration_s")?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and below 1e9
    let sent = rate.zip(duration).map(|(r, d)| (r * d).round().clamp(1.0, 1e9) as u64);
    Ok(row.whole("num_prompts", 1)?.map(u64::from).or(sent))
}

/// Prompts sent in turn, where the row says how many there are.
fn repeats(row: MeasuredRow<'_>) -> Result<Option<Repeats>, SpecError> {
    let shared_len = u64::from(row.whole("shared_prefix_len", 0)?.unwrap_or(0));
    Ok(row.whole("distinct_prompts", 1)?.map(|prompts| Repeats { prompts, shared_len }))
}

/// Tokens in the cache before a run of llama-bench (`-d`), from its note.
fn depth(note: &str) -> u64 {
    let digits = note.split("depth=").nth(1).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.flatten().and_then(|d| d.parse().ok()).filter(|d| *d <= 1_000_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::MeasuredTable;
    use super::*;

    #[test]
    fn depth_is_read_from_the_note() {
        assert_eq!(depth("llama-bench fa=1 depth=4096"), 4096);
        assert_eq!(depth("fa=True; depth=0 tokens already in KV"), 0);
        assert_eq!(depth("no word of it"), 0);
        assert_eq!(depth("depth=99999999999999999999999"), 0);
    }

    fn asked(row: &str) -> Result<Asked, String> {
        let header = "engine,model,gpu,mode,concurrency,request_rate,duration_s,input_len,output_len,ttft_ms,\
                      shared_prefix_len,distinct_prompts,stage\n";
        let table = MeasuredTable::parse(&format!("{header}v,m,g,{row}\n"), "a.csv").unwrap();
        Asked::of(table.rows().next().unwrap()).unwrap()
    }

    #[test]
    fn loads_by_mode() {
        let open = asked("open_loop,,4,30,100,20,1,32,5,0").unwrap();
        assert!(open.is_open() && open.workload.requests() == 120);
        assert_eq!(open.workload.repeats, Some(Repeats { prompts: 5, shared_len: 32 }));
        assert_eq!(asked("closed_loop,8,,,100,20,1,,,").unwrap().workload.load, Load::Concurrency(8));
        assert_eq!(asked("static,2,4,30,100,20,1,,5,0").unwrap().workload.repeats, None);
        for (row, words) in [
            ("open_loop,8,,,100,20,1,,,", "needs a request_rate"),
            ("closed_loop,,4,,100,20,1,,,", "mode `open_loop`"),
            ("static,,,,100,20,1,,,", "neither concurrency"),
            ("open_loop,,,,100,20,1,,,", "nor request_rate"),
        ] {
            assert!(asked(row).unwrap_err().contains(words), "{row}");
        }
    }
}
