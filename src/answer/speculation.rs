//! Speculative decoding of a deployment: its draft, what that takes from memory, and up to where it pays.

use serde::Serialize;

use super::{Estimator, Question};
use crate::memory::MemoryError;
use crate::serving::{Pool, RankLoad, Speculation, StepClock};
use crate::spec::model::LayerGroup;
use crate::spec::{Deployment, Formats, Load, ModelSpec, SpecError, check_deployment};
use crate::time::EngineTerms;

/// What makes the drafts.
#[derive(Debug, Clone, PartialEq)]
pub enum Draft {
    /// The model's own multi-token-prediction layer, run once for every drafted token.
    Mtp,
    /// Another model on the same accelerators.
    Model(Box<ModelSpec>),
    /// Look-up in the prompt, which costs nothing.
    Ngram,
}

/// Speculative decoding as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeculationOptions {
    /// Tokens drafted.
    pub tokens: u32,
    /// Probability that a drafted token is accepted.
    pub acceptance: f64,
    /// Rows up to which drafts are made; all without.
    pub most_rows: Option<u32>,
    /// What makes them.
    pub draft: Draft,
}

/// What is said of speculative decoding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeculationUse {
    /// What makes the drafts.
    pub draft: String,
    /// Tokens drafted.
    pub speculative_tokens: u32,
    /// Probability that a drafted token is accepted.
    pub acceptance_rate: f64,
    /// Tokens that a step keeps on average.
    pub tokens_per_step: f64,
    /// Rows up to which drafts are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_rows: Option<u32>,
    /// Rows up to which decoding with drafts is faster than without, at the mean context; none where it never is.
    pub pays_up_to_rows: Option<u32>,
}

impl SpeculationOptions {
    fn check(&self) -> Result<(), SpecError> {
        if !(1..=64).contains(&self.tokens) || !(0.0..=1.0).contains(&self.acceptance) {
            return Err(SpecError::Usage(format!(
                "{} drafted tokens accepted with probability {}: give 1 to 64 tokens and a probability from 0 to 1",
                self.tokens, self.acceptance
            )));
        }
        Ok(())
    }

    /// The name of what makes the drafts.
    #[must_use]
    pub fn draft_name(&self) -> String {
        match &self.draft {
            Draft::Mtp => "mtp".into(),
            Draft::Model(model) => model.id.clone(),
            Draft::Ngram => "ngram".into(),
        }
    }
}

/// One layer like the model's last ones, between its embedding and its output projection. The projection that joins
/// hidden state and embedding (2·D² weights) is not counted.
fn mtp_model(model: &ModelSpec) -> Result<ModelSpec, SpecError> {
    let last = model.layers.last().filter(|_| model.mtp.is_some()).ok_or_else(|| {
        SpecError::Usage(format!(
            "{} has no multi-token-prediction layer; name a smaller model with --draft-model, or ngram",
            model.id
        ))
    })?;
    let layers = vec![LayerGroup { count: 1, ..last.clone() }];
    Ok(ModelSpec { layers, mtp: None, vision: None, checkpoint_bytes: None, ..model.clone() })
}

/// Puts drafts before the clock of a deployment, and takes from its KV pool what they occupy.
///
/// A pool of t tokens with c bytes each becomes (t·c − W)/(c + c_d) tokens, W the draft's weights and c_d its cache a token,
/// over all ranks that share a request.
pub(super) fn speculate(
    question: &Question<'_>,
    options: &SpeculationOptions,
    clock: StepClock,
    pool: &mut Pool,
) -> Result<StepClock, MemoryError> {
    options.check()?;
    let (model, deployment) = (question.model, question.deployment);
    let most_rows = options.most_rows.unwrap_or(u32::MAX);
    let (draft_model, deployment) = match &options.draft {
        Draft::Ngram => (None, deployment.clone()),
        Draft::Mtp => (Some(mtp_model(model)?), deployment.clone()),
        Draft::Model(draft) => {
            // what quantises the model on loading leaves the draft as it is
            let own = Deployment { quantization: None, cpu_offload_bytes: 0.0, ..deployment.clone() };
            check_deployment(draft, &own)?;
            if u64::from(draft.vocab_size.abs_diff(model.vocab_size)) > crate::spec::VOCABULARY_PADDING {
                return Err(SpecError::Usage(format!(
                    "the draft {} has {} tokens in its vocabulary and {} has {}: their tokens cannot be compared",
                    draft.id, draft.vocab_size, model.id, model.vocab_size
                ))
                .into());
            }
            (Some((**draft).clone()), own)
        }
    };
    let mut draft = None;
    if let Some(other) = &draft_model {
        let asked = Question { model: other, deployment: &deployment, ..*question };
        let formats = Formats::resolve(other, &deployment, question.accelerator)?;
        let timer = Estimator::new(&asked, &formats)?.timer().clone();
        let terms = EngineTerms {
            request_ms: 0.0,
            prefill_floor_ms: 0.0,
            step_us: 0.0,
            row_us: 0.0,
            rank_us: 0.0,
            rank_row_us: 0.0,
            context_ns: 0.0,
            ..timer.terms().clone()
        };
        draft = Some(Box::new(StepClock::new(timer.with_terms(terms), deployment.parallelism.pp)));
        if let Some(tokens) = pool.tokens {
            let main = Formats::resolve(model, question.deployment, question.accelerator)?;
            let each = model.kv_bytes_per_token(main.kv_cache.bytes()).max(1.0);
            let more = other.kv_bytes_per_token(formats.kv_cache.bytes());
            let weights = draft_bytes(other, &formats, &options.draft);
            let left = ((tokens as f64 * each - weights) / (each + more)).max(0.0) as u64;
            if left < u64::from(pool.block) {
                return Err(SpecError::Usage(format!(
                    "the draft {} leaves no room for a KV cache; more accelerators or a smaller draft make some",
                    options.draft_name()
                ))
                .into());
            }
            pool.tokens = Some(left);
        }
    }
    Ok(clock.speculating(Speculation {
        tokens: options.tokens,
        acceptance: options.acceptance,
        most_rows,
        draft,
    }))
}

/// Bytes of a draft's weights. Of multi-token prediction the layer alone: embedding and projection are the model's.
fn draft_bytes(draft: &ModelSpec, formats: &Formats, kind: &Draft) -> f64 {
    use crate::spec::model::TensorClass::{Embedding, LmHead};
    let shared = |class| *kind == Draft::Mtp && matches!(class, Embedding | LmHead);
    let parameters = draft.parameters();
    let own = parameters.by_class.iter().filter(|(class, _)| !shared(**class));
    own.map(|(class, n)| *n as f64 * formats.of(*class).bytes_per_weight).sum()
}

/// What to say of the drafts of a clock at a mean context, for up to so many rows.
pub(super) fn described(
    options: &SpeculationOptions,
    clock: &mut StepClock,
    context: f64,
    seats: u32,
) -> Option<SpeculationUse> {
    let speculation = clock.speculation()?.clone();
    let tokens_per_step = speculation.tokens_per_step();
    let mut always = clock.clone().speculating(Speculation { most_rows: u32::MAX, ..speculation.clone() });
    let mut never = clock.clone().speculating(Speculation { most_rows: 0, ..speculation });
    let mut pays = |rows: u32| {
        let load = RankLoad { rows, context: (f64::from(rows) * context) as u64, ..RankLoad::default() };
        always.decode(&[load], 0.0) < never.decode(&[load], 0.0)
    };
    // the largest number of rows up to which it pays all the way, by doubling and bisecting
    let (mut low, mut high) = (0, 1);
    while high < seats && pays(high) {
        (low, high) = (high, (high * 2).min(seats));
    }
    if high == seats && pays(high) {
        low = seats;
    }
    while high - low > 1 && low < seats {
        let middle = u32::midpoint(low, high);
        if pays(middle) { low = middle } else { high = middle }
    }
    Some(SpeculationUse {
        draft: options.draft_name(),
        speculative_tokens: options.tokens,
        acceptance_rate: options.acceptance,
        tokens_per_step,
        most_rows: options.most_rows,
        pays_up_to_rows: (low > 0).then_some(low),
    })
}

/// Refuses drafts where nothing simulates them.
pub(super) fn refuse_static(load: Load) -> Result<(), SpecError> {
    match load {
        Load::StaticBatch(_) => Err(SpecError::Usage(
            "speculative decoding is answered for loops; give --concurrency or --request-rate instead of --batch-size".into(),
        )),
        _ => Ok(()),
    }
}
