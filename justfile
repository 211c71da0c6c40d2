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
    cargo run --release -- accuracy --measured {{measured}}/static.csv {{measured}}/llamacpp.csv \
        --document docs/ACCURACY.md --book calibration/defaults/accuracy.csv

# Estimates per second on one core.
bench:
    cargo bench --bench estimate

# Fuzz every reader for a minute each (needs cargo-fuzz).
fuzz seconds="60":
    cd fuzz && for target in $(cargo fuzz list); do RUSTC_BOOTSTRAP=1 cargo fuzz run "$target" -- -max_total_time={{seconds}}; done

# Licences and advisories of dependencies (needs cargo-deny).
deny:
    cargo deny check
