# Daily commands. `just` lists them.

default:
    @just --list

# What CI runs.
ci:
    .ci/run

# Format and lint.
lint:
    cargo fmt
    cargo clippy --all-targets -- -D warnings

# All tests.
test:
    cargo test

# Refresh the golden predictions and show what moved.
golden:
    FORETOKEN_BLESS=1 cargo test --test golden
    git diff --stat -- tests/golden

# Refresh the recorded command-line sessions.
trycmd:
    TRYCMD=overwrite cargo test --test cli

# Write docs/ACCURACY.md and the embedded book from measured tables.
accuracy measured="../shared/data/measured":
    cargo run --release -- accuracy --measured {{measured}}/static.csv {{measured}}/llamacpp.csv {{measured}}/serving.csv \
        --document docs/ACCURACY.md --book calibration/defaults/accuracy.csv

# Fit the terms of engine versions (calibration/engines) anew from measured results. Build again and write the book after it.
engine-terms measured="../shared/data/measured":
    cargo build --release
    for engine in vllm trtllm sglang; do target/release/foretoken calibrate --engine "$engine" --date 2026-11-21 \
        --from-results {{measured}}/static.csv {{measured}}/serving.csv -o calibration/engines/"$engine".toml; done

# Write the embedded errors of transferred kernel models from a directory of operator tables; run `just accuracy` afterwards.
transfer tables="../shared/data/ops":
    cargo run --release -- accuracy --leave-one-gpu-out {{tables}} --transfer calibration/defaults/transfer.csv

# Estimates per second on one core, and the time of a step.
bench:
    cargo bench --bench estimate --bench step

# Fuzz every reader for a minute each (needs cargo-fuzz).
fuzz seconds="60":
    cd fuzz && for target in $(cargo fuzz list); do RUSTC_BOOTSTRAP=1 cargo fuzz run "$target" -- -max_total_time={{seconds}}; done

# Licences and advisories of dependencies (needs cargo-deny).
deny:
    cargo deny check

# Fit calibration/*.toml anew from a directory of operator tables named <gpu>__<engine-version>__<operator>.csv.gz.
calibrate-all tables:
    cargo build --release
    just calibrate-one {{tables}} a100-sxm-80 a100_sxm
    just calibrate-one {{tables}} h100-sxm h100_sxm
    just calibrate-one {{tables}} h200-sxm h200_sxm
    just calibrate-one {{tables}} b200-sxm b200_sxm
    just calibrate-one {{tables}} gb200 gb200
    just calibrate-one {{tables}} l40s l40s
    just calibrate-one {{tables}} rtx-pro-6000-server rtx_pro_6000_server
    just calibrate-one {{tables}} arc-pro-b60 b60

# Fit llama.cpp's kernels anew from a CSV of results.
calibrate-llamacpp results="../shared/data/measured/llamacpp.csv":
    cargo run --release -- calibrate --from-results {{results}} --engine llamacpp -o calibration/defaults/llamacpp.toml \
        --source "llama-bench and batched-bench results of ggml-org/llama.cpp, lhl/strix-halo-testing, mlc-ai/llm-perf-bench, XiongjieDai/GPU-Benchmarks-on-LLM-Inference and kyuz0/amd-strix-halo-toolboxes; coefficients only, none of their values"

[private]
calibrate-one tables gpu prefix:
    target/release/foretoken calibrate --gpu {{gpu}} --from-samples {{tables}}/{{prefix}}__*.csv.gz -o calibration/{{gpu}}.toml \
        --date 2026-11-20 --source "operator latency tables of the PyPI package aiconfigurator-core 0.12.0, Copyright NVIDIA Corporation, Apache-2.0"
