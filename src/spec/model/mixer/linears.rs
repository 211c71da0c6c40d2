//! The linear layers and small tensors of a mixer.

use super::Mixer;
use crate::spec::model::{Linear, Split, TensorClass};

impl Mixer {
    /// Linear layers in the order they run, whole.
    #[must_use]
    pub fn linears(&self, hidden_size: u64) -> Vec<Linear> {
        use TensorClass::{Attention, LinearAttention};
        let d = hidden_size;
        let u = u64::from;
        match *self {
            Self::None => vec![],
            Self::GroupedQuery {
                heads,
                kv_heads,
                head_dim,
                value_head_dim,
                qkv_bias,
                output_bias,
                output_gate_size,
                key_is_value,
                reuses_kv,
                ..
            } => {
                let dv = u(value_head_dim.unwrap_or(head_dim));
                let q = u(heads) * u(head_dim) + output_gate_size;
                let values = if key_is_value { 0 } else { dv };
                let kv = if reuses_kv { 0 } else { u(kv_heads) * (u(head_dim) + values) };
                let mut all =
                    vec![Linear::new("qkv_proj", Attention, d, q, Split::Columns).with_bias(qkv_bias)];
                if kv > 0 {
                    all.push(
                        Linear::new("qkv_proj", Attention, d, kv, Split::KvHeads(kv_heads))
                            .with_bias(qkv_bias),
                    );
                }
                all.push(
                    Linear::new("o_proj", Attention, u(heads) * dv, d, Split::Rows).with_bias(output_bias),
                );
                all
            }
            Self::Cross { heads, kv_heads, head_dim, .. } => {
                let (q, kv) = (u(heads) * u(head_dim), 2 * u(kv_heads) * u(head_dim));
                vec![
                    Linear::new("cross_q_proj", Attention, d, q, Split::Columns),
                    Linear::new("cross_kv_proj", Attention, d, kv, Split::KvHeads(kv_heads)),
                    Linear::new("o_proj", Attention, q, d, Split::Rows),
                ]
            }
            Self::Latent {
                heads,
                q_lora_rank,
                kv_lora_rank,
                qk_nope_head_dim,
                qk_rope_head_dim,
                v_head_dim,
                bias,
                output_gate_size,
                ..
            } => {
                let (h, r) = (u(heads), u(kv_lora_rank));
                let q_out = h * u(qk_nope_head_dim + qk_rope_head_dim);
                let down =
                    |label, width| Linear::new(label, Attention, d, width, Split::Replicated).with_bias(bias);
                let latent = r + u(qk_rope_head_dim);
                // engines run both down-projections as one product
                let mut all = match q_lora_rank {
                    Some(rank) => vec![
                        down("qkv_a_proj", u(rank)),
                        down("qkv_a_proj", latent),
                        Linear::new("q_b_proj", Attention, u(rank), q_out, Split::Columns),
                    ],
                    None => vec![
                        Linear::new("q_proj", Attention, d, q_out, Split::Columns),
                        down("kv_a_proj", latent),
                    ],
                };
                let up = h * u(qk_nope_head_dim + v_head_dim);
                all.push(Linear::new("kv_b_proj", Attention, r, up, Split::Columns));
                if output_gate_size > 0 {
                    all.push(Linear::new("gate_proj", Attention, d, output_gate_size, Split::Columns));
                }
                all.push(Linear::new("o_proj", Attention, h * u(v_head_dim), d, Split::Rows).with_bias(bias));
                all
            }
            Self::Compressed {
                heads,
                head_dim,
                q_lora_rank,
                output_groups,
                output_lora_rank,
                ratio,
                indexer,
                ..
            } => {
                let (c, rank, groups) = (u(head_dim), u(q_lora_rank), u(output_groups));
                let inner = u(heads) * c;
                let outputs = groups * u(output_lora_rank);
                let mut all = vec![
                    Linear::new("q_a_proj", Attention, d, rank, Split::Replicated),
                    Linear::new("kv_proj", Attention, d, c, Split::Replicated),
                    Linear::new("q_b_proj", Attention, rank, inner, Split::Columns),
                ];
                if ratio > 0 {
                    // Values and their pooling weights; twice, for the overlap, where an indexer picks.
                    let width = 2 * c * if indexer.is_some() { 2 } else { 1 };
                    all.push(Linear::new("compressor_proj", Attention, d, width, Split::Replicated));
                }
                all.extend([
                    // Block-diagonal: each group reads its own inner / groups inputs.
                    Linear::new("o_a_proj", Attention, inner / groups.max(1), outputs, Split::Columns),
                    Linear::new("o_b_proj", Attention, outputs, d, Split::Rows),
                ]);
                all
            }
            Self::GatedDeltaNet { key_heads, value_heads, key_head_dim, value_head_dim, .. } => {
                let (k, v) = (u(key_heads) * u(key_head_dim), u(value_heads) * u(value_head_dim));
                vec![
                    // q, k, v and the output gate z; then the two gates b and a, one value a head.
                    Linear::new("in_proj_qkvz", LinearAttention, d, 2 * k + 2 * v, Split::Columns),
                    Linear::new("in_proj_ba", LinearAttention, d, 2 * u(value_heads), Split::Columns),
                    Linear::new("out_proj", LinearAttention, v, d, Split::Rows),
                ]
            }
            Self::Mamba2 { heads, head_dim, state_size, groups, bias, .. } => {
                let inner = u(heads) * u(head_dim);
                let outputs = 2 * inner + 2 * u(groups) * u(state_size) + u(heads);
                vec![
                    Linear::new("in_proj", LinearAttention, d, outputs, Split::Columns).with_bias(bias),
                    Linear::new("out_proj", LinearAttention, inner, d, Split::Rows).with_bias(bias),
                ]
            }
            Self::Mamba1 { inner_size, state_size, time_step_rank, bias, .. } => {
                let (inner, rank) = (u(inner_size), u(time_step_rank));
                let x = rank + 2 * u(state_size);
                vec![
                    Linear::new("in_proj", LinearAttention, d, 2 * inner, Split::Columns).with_bias(bias),
                    Linear::new("x_proj", LinearAttention, inner, x, Split::Rows),
                    Linear::new("dt_proj", LinearAttention, rank, inner, Split::Columns).with_bias(true),
                    Linear::new("out_proj", LinearAttention, inner, d, Split::Rows).with_bias(bias),
                ]
            }
            Self::KimiDelta { heads, head_dim, full_rank_gate, full_rank_decay, .. } => {
                let (inner, c) = (u(heads) * u(head_dim), u(head_dim));
                let mut all = vec![Linear::new("in_proj_qkv", LinearAttention, d, 3 * inner, Split::Columns)];
                if full_rank_gate {
                    all.push(Linear::new("g_proj", LinearAttention, d, inner, Split::Columns));
                } else {
                    all.push(Linear::new("g_a_proj", LinearAttention, d, c, Split::Replicated));
                    all.push(Linear::new("g_b_proj", LinearAttention, c, inner, Split::Columns));
                }
                // The decay of each channel, and how much each head writes.
                if full_rank_decay {
                    all.push(Linear::new("f_proj", LinearAttention, d, inner, Split::Columns));
                } else {
                    all.push(Linear::new("f_a_proj", LinearAttention, d, c, Split::Replicated));
                    all.push(Linear::new("f_b_proj", LinearAttention, c, inner, Split::Columns));
                }
                all.extend([
                    Linear::new("b_proj", LinearAttention, d, u(heads), Split::Columns),
                    Linear::new("o_proj", LinearAttention, inner, d, Split::Rows),
                ]);
                all
            }
            Self::Lightning { heads, head_dim } => {
                let inner = u(heads) * u(head_dim);
                vec![
                    Linear::new("qkv_proj", LinearAttention, d, 3 * inner, Split::Columns),
                    Linear::new("output_gate", LinearAttention, d, inner, Split::Columns),
                    Linear::new("out_proj", LinearAttention, inner, d, Split::Rows),
                ]
            }
            Self::ShortConv { width, bias, .. } => {
                let w = u(width);
                vec![
                    Linear::new("in_proj", LinearAttention, d, 3 * w, Split::Columns).with_bias(bias),
                    Linear::new("out_proj", LinearAttention, w, d, Split::Rows).with_bias(bias),
                ]
            }
        }
    }

    /// Elements of everything in the mixer that is no linear layer: q/k norms, convolutions, decay
    /// rates, sinks, indexer.
    #[must_use]
    pub fn other_parameters(&self, _hidden_size: u64) -> u64 {
        let u = u64::from;
        match *self {
            Self::None => 0,
            Self::GroupedQuery { heads, sinks, qk_norm_parameters, indexer, .. } => {
                qk_norm_parameters + if sinks { u(heads) } else { 0 } + indexer.map_or(0, |i| i.parameters)
            }
            Self::Cross { qk_norm_parameters, .. } => qk_norm_parameters,
            Self::Latent { q_lora_rank, kv_lora_rank, indexer, .. } => {
                u(q_lora_rank.unwrap_or(0)) + u(kv_lora_rank) + indexer.map_or(0, |i| i.parameters)
            }
            Self::Compressed { heads, head_dim, q_lora_rank, ratio, indexer, .. } => {
                // norms of the two compressions; a sink per head; the compressor's position table and norm
                let width = u(head_dim) * if indexer.is_some() { 2 } else { 1 };
                let compressor = if ratio > 0 { u(ratio) * width + u(head_dim) } else { 0 };
                u(q_lora_rank) + u(head_dim) + u(heads) + compressor + indexer.map_or(0, |i| i.parameters)
            }
            Self::GatedDeltaNet { value_heads, value_head_dim, conv_kernel, .. } => {
                // depth-wise convolution over q, k, v; A_log and dt_bias per head; gated norm
                u(conv_kernel) * self.conv_channels() + 2 * u(value_heads) + u(value_head_dim)
            }
            Self::Mamba2 { heads, head_dim, conv_kernel, conv_bias, without_norm, .. } => {
                // convolution over x, B, C; A_log, D and dt_bias per head; gated norm
                self.conv_channels() * (u(conv_kernel) + u(u32::from(conv_bias)))
                    + 3 * u(heads)
                    + if without_norm { 0 } else { u(heads) * u(head_dim) }
            }
            Self::Mamba1 { inner_size, state_size, conv_kernel, conv_bias, norm_parameters, .. } => {
                // convolution; A_log and D; norms
                u(inner_size) * (u(conv_kernel) + u(u32::from(conv_bias)))
                    + u(inner_size) * (u(state_size) + 1)
                    + norm_parameters
            }
            Self::KimiDelta { heads, head_dim, conv_kernel, .. } => {
                // convolutions; decay bias per channel and rate per head; gated norm
                u(conv_kernel) * self.conv_channels() + u(heads) * u(head_dim) + u(heads) + u(head_dim)
            }
            Self::Lightning { heads, head_dim } => u(heads) * u(head_dim), // norm
            Self::ShortConv { width, conv_kernel, bias } => u(width) * (u(conv_kernel) + u(u32::from(bias))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::model::Indexer;

    /// Everything of the mixer in one layer.
    fn parameters(mixer: &Mixer, hidden: u64) -> u64 {
        mixer.linears(hidden).iter().map(Linear::parameters).sum::<u64>() + mixer.other_parameters(hidden)
    }

    #[test]
    fn gated_delta_net_of_qwen3_next() {
        let mixer = Mixer::GatedDeltaNet {
            key_heads: 16,
            value_heads: 32,
            key_head_dim: 128,
            value_head_dim: 128,
            conv_kernel: 4,
        };
        // in 2048 · (2·2048 + 2·4096) = 25,165,824; b and a 2048 · 64 = 131,072; out 4096 · 2048 = 8,388,608;
        // convolution 4 · 8192 = 32,768; A and dt 64; norm 128
        assert_eq!(parameters(&mixer, 2048), 25_165_824 + 131_072 + 8_388_608 + 32_768 + 64 + 128);
    }

    #[test]
    fn mamba2_of_nemotron_h() {
        let mut mixer = Mixer::Mamba2 {
            heads: 256,
            head_dim: 64,
            state_size: 256,
            groups: 8,
            conv_kernel: 4,
            conv_bias: true,
            bias: false,
            without_norm: false,
        };
        // in 8192 · (2·16384 + 2·8·256 + 256) = 304,087,040; out 16384 · 8192 = 134,217,728;
        // convolution (16384 + 4096) · 5 = 102,400; A, D, dt 768; norm 16,384
        assert_eq!(parameters(&mixer, 8192), 304_087_040 + 134_217_728 + 102_400 + 768 + 16_384);
        if let Mixer::Mamba2 { without_norm, .. } = &mut mixer {
            *without_norm = true;
        }
        assert_eq!(parameters(&mixer, 8192), 304_087_040 + 134_217_728 + 102_400 + 768);
    }

    #[test]
    fn mamba1_of_jamba() {
        let mixer = Mixer::Mamba1 {
            inner_size: 8192,
            state_size: 16,
            time_step_rank: 256,
            conv_kernel: 4,
            conv_bias: true,
            bias: false,
            norm_parameters: 256 + 2 * 16,
        };
        // in 4096 · 16384 = 67,108,864; x 8192 · 288 = 2,359,296; dt 256 · 8192 + 8192 = 2,105,344;
        // out 33,554,432; convolution 8192 · 5 = 40,960; A 131,072; D 8192; norms 288
        let expected = 67_108_864 + 2_359_296 + 2_105_344 + 33_554_432 + 40_960 + 131_072 + 8192 + 288;
        assert_eq!(parameters(&mixer, 4096), expected);
    }

    #[test]
    fn kimi_delta_with_both_gates() {
        let mixer = |full_rank_gate| Mixer::KimiDelta {
            heads: 32,
            head_dim: 128,
            conv_kernel: 4,
            full_rank_gate,
            full_rank_decay: false,
        };
        // q, k, v 3 · 2304 · 4096 = 28,311,552; decay 2304 · 128 + 128 · 4096 = 819,200; b 2304 · 32 = 73,728;
        // out 4096 · 2304 = 9,437,184; convolutions 3 · 4096 · 4 = 49,152; dt 4096; A 32; norm 128
        let common = 28_311_552 + 819_200 + 73_728 + 9_437_184 + 49_152 + 4096 + 32 + 128;
        assert_eq!(parameters(&mixer(false), 2304), common + 819_200);
        assert_eq!(parameters(&mixer(true), 2304), common + 9_437_184);
    }

    #[test]
    fn lightning_attention_of_minimax() {
        let mixer = Mixer::Lightning { heads: 64, head_dim: 128 };
        // q, k, v 3 · 6144 · 8192; gate and out 2 · 6144 · 8192; norm 8192
        assert_eq!(parameters(&mixer, 6144), 5 * 50_331_648 + 8192);
    }

    #[test]
    fn short_convolution_of_lfm2() {
        let mixer = Mixer::ShortConv { width: 2048, conv_kernel: 3, bias: false };
        // in 3 · 2048²; out 2048²; convolution 3 · 2048
        assert_eq!(parameters(&mixer, 2048), 4 * 4_194_304 + 6144);
    }

    #[test]
    fn compressed_attention_of_deepseek_v4() {
        let mixer = |ratio, indexer| Mixer::Compressed {
            heads: 64,
            head_dim: 512,
            q_lora_rank: 1024,
            output_groups: 8,
            output_lora_rank: 1024,
            window: 128,
            ratio,
            indexer,
        };
        // q 4096 · 1024 + 1024 · 32768 = 37,748,736; kv 4096 · 512 = 2,097,152;
        // out 4096 · 8192 + 8192 · 4096 = 67,108,864; norms 1024 + 512; sinks 64
        let window = 37_748_736 + 2_097_152 + 67_108_864 + 1024 + 512 + 64;
        assert_eq!(parameters(&mixer(0, None), 4096), window);
        // compressor 2 · 4096 · 512 = 4,194,304; table 128 · 512 = 65,536; norm 512
        assert_eq!(parameters(&mixer(128, None), 4096), window + 4_194_304 + 65_536 + 512);
        // twice as wide: 8,388,608; table 4 · 1024 = 4096; norm 512; indexer as given
        let indexer = Indexer { heads: 64, head_dim: 128, top_k: 512, parameters: 10, reused: false };
        assert_eq!(parameters(&mixer(4, Some(indexer)), 4096), window + 8_388_608 + 4096 + 512 + 10);
    }
}
