//! Fits of the attention forms against SciPy's (`tests/fixtures/attention`), and what must hold of the forms
//! whatever the coefficients.

use foretoken::calibrate::fit::FitError;
use foretoken::calibrate::samples::Table;
use foretoken::calibrate::{decode_attention, prefill_attention};
use foretoken::spec::DataType;
use foretoken::spec::catalog::{self, Directories};
use foretoken::time::Hardware;
use foretoken::time::calibration::Calibration;
use foretoken::time::forms::Form;
use foretoken::time::forms::decode_attention::{DecodeAttention, DecodeAttentionForm};
use foretoken::time::forms::latent::{LatentDecode, LatentDecodeForm, LatentDims};
use foretoken::time::forms::latent_module::{
    LatentDecodeModule, LatentDecodeModuleForm, LatentPrefillModule, LatentPrefillModuleForm, Projections,
};
use foretoken::time::forms::prefill_attention::{PrefillAttention, PrefillAttentionForm};
use proptest::prelude::*;

fn h100() -> Hardware {
    Hardware::of(&catalog::accelerator("h100-sxm", &Directories::default()).expect("catalogued"))
}

fn fixture(name: &str) -> Table {
    let file = format!("{}/tests/fixtures/attention/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    Table::read(file.as_ref()).expect("a fixture")
}

fn decode(rows: f64, context: f64, heads: f64, kv_heads: f64) -> DecodeAttention {
    DecodeAttention {
        rows,
        context,
        heads,
        kv_heads,
        head_dim: 128.0,
        window: None,
        kv_bytes: 2.0,
        math: DataType::Bf16,
        warm: true,
    }
}

fn prefill(requests: f64, new_tokens: f64, heads: f64, kv_heads: f64) -> PrefillAttention {
    PrefillAttention {
        requests,
        new_tokens,
        past_tokens: 0.0,
        heads,
        kv_heads,
        head_dim: 128.0,
        window: None,
        kv_bytes: 2.0,
        math: DataType::Bf16,
        averaged: false,
    }
}

/// Σ 2s²(√(1 + (r/s)²) − 1) over the log residuals, s = 0.1.
fn loss(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    pairs.map(|(p, m)| 0.02 * ((1.0 + ((p / m).ln() / 0.1).powi(2)).sqrt() - 1.0)).sum()
}

fn near(found: f64, wanted: f64, share: f64) {
    assert!((found / wanted - 1.0).abs() < share, "{found} against {wanted}");
}

#[test]
fn decode_fits_as_scipy_does() {
    let (table, hardware) = (fixture("decode"), h100());
    let mut out = Calibration::new("h100-sxm", "synthetic");
    assert!(decode_attention::fit(&table, &hardware, &mut out).unwrap().is_empty());
    let [fitted] = out.decode_attention.as_slice() else { panic!("one class expected") };
    let us = |b, s, h, k| DecodeAttentionForm::seconds(&fitted.c, &decode(b, s, h, k), &hardware) * 1e6;
    let pairs = table.records().map(|r| {
        let n = |c: &str| r.number(c).unwrap();
        (us(n("batch"), n("step") + 1.0, n("n_heads"), n("n_kv_heads")), n("latency_us"))
    });
    assert!(loss(pairs) < 0.238_740_814 * 1.005);
    // memory, latency, per KV head, per query head, split
    for (i, wanted) in [(0, 0.910383), (1, 9.08666), (2, 3.16092), (7, 0.0828025), (8, 0.858841)] {
        near(fitted.c[i], wanted, 0.03);
    }
    near(us(1.0, 2048.0, 32.0, 8.0), 13.5953386617174, 0.01);
    near(us(64.0, 8192.0, 32.0, 8.0), 731.6746135216182, 0.01);
    near(us(256.0, 512.0, 8.0, 1.0), 35.4917678782928, 0.01);
    near(us(8.0, 100.0, 64.0, 8.0), 11.63911481733846, 0.01);
}

#[test]
fn a_table_faster_than_the_memory_is_refused() {
    let head = "batch,isl,step,n_heads,n_kv_heads,head_dim,window,attn_dtype,kv_dtype,kernel,latency_us";
    // 1 GiB in 150 us: 7.2 TB/s on an H100 of 3.35
    let rows: String =
        (1..40).map(|i| format!("\n64,1,4095,32,8,128,0,bfloat16,bfloat16,k,{}", 150 + i)).collect();
    let table = Table::parse(&format!("{head}{rows}"), "test", "trtllm-1.0.0").unwrap();
    let mut out = Calibration::new("h100-sxm", "test");
    let refused = decode_attention::fit(&table, &h100(), &mut out).unwrap();
    assert!(matches!(refused.as_slice(), [(_, FitError::Impossible { share })] if *share == 1.0));
    assert!(out.decode_attention.is_empty());
}

#[test]
fn prefill_fits_as_scipy_does() {
    let (table, hardware) = (fixture("prefill"), h100());
    let mut out = Calibration::new("h100-sxm", "synthetic");
    assert!(prefill_attention::fit(&table, &hardware, &mut out).unwrap().is_empty());
    let [fitted] = out.prefill_attention.as_slice() else { panic!("one class expected") };
    let us = |b, t, h, k| PrefillAttentionForm::seconds(&fitted.c, &prefill(b, t, h, k), &hardware) * 1e6;
    let pairs = table.records().map(|r| {
        let n = |c: &str| r.number(c).unwrap();
        (us(n("batch"), n("isl"), n("n_heads"), n("n_kv_heads")), n("latency_us"))
    });
    assert!(loss(pairs) < 0.438_299_354 * 1.005);
    for (i, wanted) in [(0, 0.65179), (1, 10.7993), (4, 0.522092), (7, 0.55058)] {
        near(fitted.c[i], wanted, 0.03);
    }
    near(us(1.0, 2048.0, 32.0, 8.0), 83.16323704693113, 0.01);
    near(us(64.0, 8192.0, 32.0, 8.0), 57722.897413265055, 0.01);
    near(us(256.0, 512.0, 8.0, 1.0), 547.19913036143, 0.01);
    near(us(8.0, 100.0, 64.0, 8.0), 25.120933481930805, 0.01);
}

/// Coefficients anywhere within the bounds of a form, uniform in the logarithm.
fn coefficients<F: Form>() -> impl Strategy<Value = Vec<f64>> {
    F::COEFFICIENTS.iter().map(|c| (c.low.ln()..=c.high.ln()).prop_map(f64::exp)).collect::<Vec<_>>()
}

/// Whole numbers up to 2^most, uniform in the logarithm.
fn size(most: u32) -> impl Strategy<Value = f64> {
    (0.0..=f64::from(most)).prop_map(|x: f64| x.exp2().round())
}

/// No time falls from one input to a larger one; the smallest change counts as none.
fn grows<F: Form>(c: &[f64], small: &F::Input, large: &F::Input) -> Result<(), TestCaseError> {
    let (a, b) = (F::seconds(c, small, &h100()), F::seconds(c, large, &h100()));
    prop_assert!(a.is_finite() && a > 0.0 && b >= a * (1.0 - 1e-12), "{a} to {b}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn decode_grows(
        c in coefficients::<DecodeAttentionForm>(),
        (b, s, k, g, more) in (size(10), size(18), size(6), size(6), size(4)),
        (warm, window) in (any::<bool>(), prop::option::of(size(12))),
    ) {
        let x = DecodeAttention { warm, window, ..decode(b, s, k * g, k) };
        let larger = [
            DecodeAttention { rows: b * more + 1.0, ..x },
            DecodeAttention { context: s * more + 1.0, ..x },
            DecodeAttention { heads: x.heads * more, ..x },
            DecodeAttention { kv_heads: (k * more).min(x.heads), ..x },
            DecodeAttention { warm: false, ..x },
        ];
        for y in larger {
            grows::<DecodeAttentionForm>(&c, &x, &y)?;
        }
        // never under the roofline
        let cold = DecodeAttention { warm: false, ..x };
        let floor = cold.cache_bytes() / h100().bandwidth;
        prop_assert!(DecodeAttentionForm::seconds(&c, &cold, &h100()) >= floor);
    }

    #[test]
    fn prefill_grows(
        c in coefficients::<PrefillAttentionForm>(),
        (b, t, k, g, more) in (size(7), size(15), size(5), size(5), size(3)),
        (past, window) in (size(15), prop::option::of(size(12))),
    ) {
        let x = PrefillAttention { window, past_tokens: past, ..prefill(b, t, k * g, k) };
        let larger = [
            PrefillAttention { requests: b * more + 1.0, ..x },
            PrefillAttention { new_tokens: t * more + 1.0, ..x },
            PrefillAttention { past_tokens: past * more + 1.0, ..x },
            PrefillAttention { heads: x.heads * more, ..x },
            PrefillAttention { kv_heads: (k * more).min(x.heads), ..x },
        ];
        for y in larger {
            grows::<PrefillAttentionForm>(&c, &x, &y)?;
        }
        let pairs = foretoken::work::pairs(t, past, window);
        let floor = 4.0 * b * k * g * 128.0 * pairs / h100().peak(DataType::Bf16);
        prop_assert!(PrefillAttentionForm::seconds(&c, &x, &h100()) >= floor);
    }

    #[test]
    fn latent_kernels_and_modules_grow(
        kernel in coefficients::<LatentDecodeForm>(),
        module in coefficients::<LatentDecodeModuleForm>(),
        chunk in coefficients::<LatentPrefillModuleForm>(),
        (b, s, h, more) in (size(9), size(16), size(7), size(3)),
        (warm, eager) in (any::<bool>(), any::<bool>()),
    ) {
        let dims = LatentDims::DEEPSEEK_V3;
        let projections =
            Projections { dims, weights: DataType::Fp8Block, math: DataType::Fp8, eager };
        let core = |rows, context, heads| LatentDecode {
            rows,
            context,
            heads,
            rank: dims.rank,
            rope: dims.rope,
            kv_bytes: 1.0,
            math: DataType::Fp8,
            warm,
        };
        let x = core(b, s, h);
        for y in [core(b * more + 1.0, s, h), core(b, s * more + 1.0, h), core(b, s, h * more)] {
            grows::<LatentDecodeForm>(&kernel, &x, &y)?;
            let of = |core| LatentDecodeModule { core, projections };
            grows::<LatentDecodeModuleForm>(&module, &of(x), &of(y))?;
        }
        let of = |requests, new_tokens, past_tokens, heads| LatentPrefillModule {
            requests,
            new_tokens,
            past_tokens,
            heads,
            math: DataType::Bf16,
            projections,
        };
        let x = of(b, s, 100.0, h);
        for y in [of(b * more, s, 100.0, h), of(b, s * more, 100.0, h), of(b, s, 100.0 * more, h), of(b, s, 100.0, h * more)] {
            grows::<LatentPrefillModuleForm>(&chunk, &x, &y)?;
        }
    }
}
