//! Weights and KV cache may be stored or multiplied otherwise than thought.

use super::likelihood::Prior::{Common, Occasional, Rare};
use super::scenario::Suspect;
use super::{Estimate, Question};
use crate::spec::{DataType, EngineKind, Formats};

/// Shares of the weights that may lie in host memory. Judged.
const OFFLOADED: [f64; 5] = [0.02, 0.06, 0.2, 0.5, 0.9];

pub(super) fn suspects(question: &Question<'_>, answer: &Estimate) -> Vec<Suspect> {
    let Ok(formats) = Formats::resolve(question.model, question.deployment, question.accelerator) else {
        return vec![];
    };
    let main = formats.main(question.model);
    let mut all = vec![];
    let tell = match question.deployment.engine.kind {
        EngineKind::Vllm => {
            "grep -E 'quantization=|Model loading took' in the server's log, against the weights of foretoken memory …"
        }
        EngineKind::Llamacpp => "the log's `model ftype` and `model size`",
        _ => {
            "the server's log: quantisation and memory after loading, against the weights of foretoken memory …"
        }
    };
    let quantised = main.weights.bytes() < 1.9;
    if quantised {
        let words = format!("the weights run in 16 bit, not {}", main.weights);
        all.push(Suspect::one(Occasional, tell, words, |s| {
            s.deployment.to_mut().quantization = Some(DataType::Bf16)
        }));
    } else if !question.deployment.engine.kind.is_library() {
        let others: Vec<DataType> = [DataType::Fp8, DataType::Int4]
            .into_iter()
            .filter(|d| d.is_weight_only() || question.accelerator.peak(*d).is_some())
            .collect();
        let names: Vec<String> = others.iter().map(|d| format!("the weights are quantised: {d}")).collect();
        let words = move |i: usize| names.get(i).cloned().unwrap_or_default();
        all.push(Suspect::each(Occasional, tell, others.len(), words, move |s, i| {
            s.deployment.to_mut().quantization = others.get(i).copied();
        }));
    }
    if quantised && main.math != formats.activations {
        let narrow = main.math;
        let words =
            format!("{narrow} weights are converted to 16 bit for every product (no native kernel in use)");
        let tell = "grep -iE 'marlin|weight-only|does not have native support' in the server's log";
        all.push(Suspect::one(Occasional, tell, words, move |s| {
            let accelerator = s.accelerator.to_mut();
            accelerator.peak_tflops.retain(|d, _| d.bytes() >= 2.0);
        }));
    }
    all.push(cache(formats.kv_cache));
    all.push(offloaded(question, answer));
    all
}

fn cache(now: DataType) -> Suspect {
    let other = if now.bytes() > 1.5 { DataType::Fp8 } else { DataType::Bf16 };
    let tell =
        "grep kv_cache_dtype in the server's log; foretoken memory … shows `GPU KV cache size` for each";
    let words = format!("the KV cache is stored in {other}, not {now}");
    Suspect::one(Rare, tell, words, move |s| s.deployment.to_mut().kv_cache_data_type = Some(other))
}

fn offloaded(question: &Question<'_>, answer: &Estimate) -> Suspect {
    let weights = answer.memory.weights_bytes_per_gpu.0;
    let llamacpp = question.deployment.engine.kind == EngineKind::Llamacpp;
    let (prior, tell) = if llamacpp {
        (Common, "the log's `offloaded N/M layers to GPU` (-ngl below all)")
    } else {
        (
            Rare,
            "--cpu-offload-gb in the launch line; grep -i offload in the server's log; nvidia-smi dmon -s t shows PCIe reads",
        )
    };
    let words = |share| format!("{:.0} % of the weights lie in host memory", 100.0 * share);
    Suspect::range(prior, tell, OFFLOADED, words, move |s, share| {
        s.deployment.to_mut().cpu_offload_bytes = share * weights;
    })
}
