//! The question with something changed.

use std::borrow::Cow;

use super::likelihood::{Answered, Prior};
use super::{Estimate, Figures, Question, estimate};
use crate::answer::{Kernels, Options};
use crate::spec::{Accelerator, Deployment, ModelSpec, Workload};

/// A question of its own, copied where it differs from the one asked.
#[derive(Debug, Clone)]
pub(super) struct Scenario<'a> {
    pub model: Cow<'a, ModelSpec>,
    pub accelerator: Cow<'a, Accelerator>,
    pub deployment: Cow<'a, Deployment>,
    pub workload: Cow<'a, Workload>,
    pub kernels: Option<Cow<'a, Kernels>>,
    pub options: Cow<'a, Options>,
}

impl<'a> Scenario<'a> {
    /// The question as it is.
    pub(super) fn of(question: &Question<'a>) -> Self {
        let Question { model, accelerator, deployment, workload, kernels, options } = *question;
        Self {
            model: Cow::Borrowed(model),
            accelerator: Cow::Borrowed(accelerator),
            deployment: Cow::Borrowed(deployment),
            workload: Cow::Borrowed(workload),
            kernels: kernels.map(Cow::Borrowed),
            options: Cow::Borrowed(options),
        }
    }

    /// The changed question.
    fn question(&self) -> Question<'_> {
        Question {
            model: &self.model,
            accelerator: &self.accelerator,
            deployment: &self.deployment,
            workload: &self.workload,
            kernels: self.kernels.as_deref(),
            options: &self.options,
        }
    }
}

/// How much of a suspect there may be.
#[derive(Debug, Clone, PartialEq)]
enum Amount {
    /// One of so many, all as likely.
    Each(usize),
    /// Anything between the first and the last, evenly in its logarithm; the model is asked at these and interpolated.
    Range(Vec<f64>),
}

type Words = Box<dyn Fn(f64) -> String + Send + Sync>;
type Change = Box<dyn Fn(&mut Scenario<'_>, f64) + Send + Sync>;
type Reading = Box<dyn Fn(&Estimate, Figures, f64) -> Figures + Send + Sync>;

/// Something that may be otherwise than the question says.
pub(super) struct Suspect {
    pub prior: f64,
    pub how_to_tell: String,
    amount: Amount,
    words: Words,
    change: Change,
    reading: Reading,
}

/// What the model says to an amount of a suspect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub amount: f64,
    pub answered: Answered,
}

/// Steps between two amounts that were asked.
const STEPS: u32 = 12;

impl Suspect {
    /// Either it is so or it is not.
    pub(super) fn one(
        prior: Prior,
        how_to_tell: impl Into<String>,
        words: impl Into<String>,
        change: impl Fn(&mut Scenario<'_>) + Send + Sync + 'static,
    ) -> Self {
        let words = words.into();
        Self::each(prior, how_to_tell, 1, move |_| words.clone(), move |s, _| change(s))
    }

    /// One of `n` possibilities, all as likely.
    pub(super) fn each(
        prior: Prior,
        how_to_tell: impl Into<String>,
        n: usize,
        words: impl Fn(usize) -> String + Send + Sync + 'static,
        change: impl Fn(&mut Scenario<'_>, usize) + Send + Sync + 'static,
    ) -> Self {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index that was a whole number
        let index = |amount: f64| amount as usize;
        Self {
            prior: prior.value(),
            how_to_tell: how_to_tell.into(),
            amount: Amount::Each(n),
            words: Box::new(move |amount| words(index(amount))),
            change: Box::new(move |scenario, amount| change(scenario, index(amount))),
            reading: Box::new(|_, figures, _| figures),
        }
    }

    /// An amount between the ends of `nodes`, at which the model is asked.
    pub(super) fn range(
        prior: Prior,
        how_to_tell: impl Into<String>,
        nodes: impl Into<Vec<f64>>,
        words: impl Fn(f64) -> String + Send + Sync + 'static,
        change: impl Fn(&mut Scenario<'_>, f64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            prior: prior.value(),
            how_to_tell: how_to_tell.into(),
            amount: Amount::Range(nodes.into()),
            words: Box::new(words),
            change: Box::new(change),
            reading: Box::new(|_, figures, _| figures),
        }
    }

    /// The same where something else is read off the run.
    pub(super) fn read(
        self,
        reading: impl Fn(&Estimate, Figures, f64) -> Figures + Send + Sync + 'static,
    ) -> Self {
        Self { reading: Box::new(reading), ..self }
    }

    /// In words.
    pub(super) fn words(&self, amount: f64) -> String {
        (self.words)(amount)
    }

    /// Amounts at which the model is asked.
    pub(super) fn amounts(&self) -> Vec<f64> {
        match &self.amount {
            Amount::Each(n) => (0..*n).map(|i| i as f64).collect(),
            Amount::Range(nodes) => nodes.clone(),
        }
    }

    /// Asks the model; none where the engine would not start. `fits`: it does without the change.
    pub(super) fn ask(&self, question: &Question<'_>, amount: f64, fits: bool) -> Option<Asked> {
        let mut scenario = Scenario::of(question);
        (self.change)(&mut scenario, amount);
        let answer = estimate(&scenario.question()).ok().filter(|a| a.memory.fits || !fits)?;
        let figures = (self.reading)(&answer, Figures::of(&answer), amount);
        Some(Asked { amount, answered: Answered::new(figures, &answer) })
    }

    /// All amounts that count, from those that were asked: of a range also those between, by interpolation of logarithms.
    pub(super) fn filled(&self, asked: &[Asked]) -> Vec<Asked> {
        let Amount::Range(_) = self.amount else { return asked.to_vec() };
        let between = |pair: &[Asked]| -> Vec<Asked> {
            let [a, b] = pair else { return vec![] };
            let at = |i: u32| {
                let share = f64::from(i) / f64::from(STEPS);
                let amount = (a.amount.ln() * (1.0 - share) + b.amount.ln() * share).exp();
                Asked { amount, answered: a.answered.towards(&b.answered, share) }
            };
            (0..STEPS).map(at).collect()
        };
        let mut all: Vec<Asked> = asked.windows(2).flat_map(between).collect();
        all.extend(asked.last());
        all
    }
}
