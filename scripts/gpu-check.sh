#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under nine minutes: what doctor says, the whole suite with its wall time, the fit
# with its held-out error, the card beside the operator tables, and the predictions of the fresh calibration beside PyTorch.
#
#   scripts/gpu-check.sh [--dry-run] [--quick] [--gpu h200-sxm] [--device cuda:0]
#
# Needs the release binary (target/release/foretoken, or $FORETOKEN_BIN) and a python3 with PyTorch ($PYTHON). Writes to $OUT,
# or to ./gpu-check: at most eight files, the summary in log.txt. A step that fails is named at the end, and the next goes on.
set -uo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
foretoken=${FORETOKEN_BIN:-$here/target/release/foretoken}
python=${PYTHON:-python3}
out=${OUT:-$PWD/gpu-check}
gpu=h200-sxm
device=cuda:0
dry=
quick=
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=1 ;;
    --quick) quick=--quick ;;
    --gpu) gpu=${2:?--gpu needs a catalog id}; shift ;;
    --device) device=${2:?--device needs a device}; shift ;;
    *) echo "unknown: $1; see the head of $0" >&2; exit 2 ;;
    esac
    shift
done

mkdir -p "$out"
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
mkdir -p "$home/calibration/engines"
exec > >(tee "$out/log.txt") 2>&1
begin=$SECONDS
failed=()

# step NAME LIMIT COMMAND…: runs it with a time limit in seconds, and says how long it took.
step() {
    local name=$1 limit=$2 code=0 start=$SECONDS
    shift 2
    printf '\n== %s (at %d s)\n' "$name" $((SECONDS - begin))
    if [ -n "$dry" ]; then
        printf 'would run, %d s at most: %s\n' "$limit" "$*"
        return 0
    fi
    timeout --signal=INT --kill-after=10 "$limit" "$@" || code=$?
    printf -- '-- %s: exit code %d after %d s\n' "$name" "$code" $((SECONDS - start))
    if [ "$code" -ne 0 ]; then failed+=("$name ($code)"); fi
    return 0
}

# PyTorch with graphs is an engine without an engine: nothing on the host but the launch of a graph, which is timed with it.
cat >"$home/calibration/engines/transformers-compiled.toml" <<'TOML'
schema = 1
engine = "transformers-compiled"

[[range]]
versions = ".."
source = "scripts/torch_llama.py: steps replayed from CUDA graphs, no requests, no sampling beyond an argmax"

[range.terms]
request_ms = 0.0
prefill_floor_ms = 0.0
prefill_scale = 1.0
step_us = 0.0
row_us = 0.0
host_slowdown = 0.0
decode_graphs = true
TOML

date -u
[ -n "$dry" ] || nvidia-smi --query-gpu=name,driver_version,pstate,clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv

step doctor 30 "$foretoken" doctor --export-json "$out/doctor.json"
step "calibrate: the whole suite" 240 "$foretoken" calibrate --device "$device" $quick -o "$out/$gpu.toml"
step "fit again from the samples" 60 "$foretoken" calibrate --gpu "$gpu" --from-samples "$out/$gpu.samples.csv" -o "$home/again.toml"
step "the same fit" 5 cmp "$out/$gpu.toml" "$home/again.toml"
step "held-out errors" 10 "$foretoken" calibrations show "$out/$gpu.toml"
step "the card beside the tables" 20 "$python" "$here/scripts/compare_samples.py" "$out/$gpu.samples.csv" \
    "$here/tests/fixtures/ops/h200_sxm__vllm-0.24.0__suite.csv"
step "shipped kernel times on the card's samples" 20 "$foretoken" validate --samples "$out/$gpu.samples.csv" --gpu "$gpu"
step "PyTorch, Llama-3.1-8B" 170 "$python" "$here/scripts/torch_llama.py" --gpu "$gpu" --seconds 130 -o "$out/llama.csv"
step "predicted with the shipped calibration" 10 env FORETOKEN_HOME="$home" "$foretoken" validate "$out/llama.csv" --worst 20
[ ! -f "$out/$gpu.toml" ] || cp "$out/$gpu.toml" "$home/calibration/$gpu.toml"
step "predicted with the fresh calibration" 10 env FORETOKEN_HOME="$home" "$foretoken" validate "$out/llama.csv" --worst 20 \
    --export-json "$out/validate.json"
left=$((520 - (SECONDS - begin)))
if [ "$left" -gt 60 ] || [ -n "$dry" ]; then
    step "PyTorch, Qwen3-30B-A3B" "$((left - 15))" "$python" "$here/scripts/torch_llama.py" --model moe --gpu "$gpu" \
        --seconds "$((left - 45))" -o "$out/moe.csv"
    step "predicted, mixture of experts" 10 env FORETOKEN_HOME="$home" "$foretoken" validate "$out/moe.csv" --worst 20
else
    printf '\n== the mixture of experts is left out: %d s are left\n' "$left"
fi

printf '\n== %d s in all; ' $((SECONDS - begin))
if [ ${#failed[@]} -eq 0 ]; then
    echo "every step went well"
else
    echo "failed: ${failed[*]}"
    exit 1
fi
