#!/usr/bin/env python3
"""Holds a CPU calibration to llama.cpp: predicted against measured prefill and decode of a random-weight Llama.

Needs Python with the packages gguf and numpy, Node.js with the package node-llama-cpp (prebuilt llama.cpp) under --node,
and a release build of foretoken. All on one thread.

A shared machine is not equally fast all the time: what others do takes the core away, which CPU time does not count, and
caches, memory and the other half of a core, which it does. So llama.cpp is measured right before and right after every
calibration, and each calibration is held to its own turn: medians of llama.cpp's CPU time on one side, predictions of a
calibration that drops the samples others disturbed on the other. The error is the median over the turns. The share of the
wall's time that llama.cpp had of its core, and the load, are printed.

Node and its binding take a part of every step that a server of llama.cpp's own does not have. It is measured in every turn with a
model of one layer of width 32 and the same vocabulary, which has next to nothing to compute, and taken off decode steps.

    python3 -m venv v && v/bin/pip install gguf numpy
    mkdir n && (cd n && npm install node-llama-cpp@3)
    v/bin/python scripts/cpu_truth.py --node n --foretoken target/release/foretoken
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

import numpy

LAYERS, WIDTH, FORWARD, HEADS, KV_HEADS, VOCABULARY = 12, 1024, 2816, 16, 8, 32000
PROMPT, NEW, TURNS, REPEAT = 256, 32, 5, 2

# Reads "repetitions" from stdin and answers a line of JSON: [wall, CPU] seconds of every prefill and decode step.
MEASURE = """
import { createInterface } from "node:readline";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
const [path, prompt, fresh] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const llama = await getLlama({ gpu: false, maxThreads: 1, logLevel: LlamaLogLevel.error, build: "never" });
const model = await llama.loadModel({ modelPath: path, useMmap: false });
const context = await model.createContext({ contextSize: 512, batchSize: 512, threads: 1, flashAttention: false });
const sequence = context.getSequence();
const tokens = Array.from({ length: prompt }, (_, i) => 5 + ((i * 7919) % 31000));
const now = () => { const c = process.cpuUsage(); return [Number(process.hrtime.bigint()) / 1e9, (c.user + c.system) / 1e6]; };
for await (const line of createInterface({ input: process.stdin })) {
  const found = { prefill: [], decode: [] };
  for (let repetition = 0; repetition < Number(line); repetition++) {
    await sequence.clearHistory();
    let steps = 0, before = now();
    for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
      const after = now();
      found[steps === 0 ? "prefill" : "decode"].push([after[0] - before[0], after[1] - before[1]]);
      if (++steps > fresh) break;
      before = now();
    }
  }
  console.log(JSON.stringify(found));
}
process.exit(0);
"""


def write_model(path, quantised, layers=LAYERS, width=WIDTH, forward=FORWARD, heads=HEADS, kv_heads=KV_HEADS):
    """A Llama of random weights: the least that llama.cpp loads."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("random")
    writer.add_block_count(layers)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(forward)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(VOCABULARY)
    kind = gguf.GGMLQuantizationType.Q8_0 if quantised else gguf.GGMLQuantizationType.F16
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.MOSTLY_F16)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    tokens += [f"t{i}" for i in range(VOCABULARY - len(tokens))]
    types += [gguf.TokenType.NORMAL] * (VOCABULARY - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    random = numpy.random.default_rng(1)

    def matrix(name, rows, columns):
        weights = random.standard_normal((rows, columns), dtype=numpy.float32) * columns**-0.5
        if quantised:
            writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, weights.astype(numpy.float16))

    def norm(name):
        writer.add_tensor(name, numpy.ones(width, dtype=numpy.float32))

    narrow = width // heads * kv_heads
    matrix("token_embd.weight", VOCABULARY, width)
    norm("output_norm.weight")
    matrix("output.weight", VOCABULARY, width)
    for i in range(layers):
        norm(f"blk.{i}.attn_norm.weight")
        norm(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.attn_q.weight", width, width)
        matrix(f"blk.{i}.attn_k.weight", narrow, width)
        matrix(f"blk.{i}.attn_v.weight", narrow, width)
        matrix(f"blk.{i}.attn_output.weight", width, width)
        matrix(f"blk.{i}.ffn_gate.weight", forward, width)
        matrix(f"blk.{i}.ffn_up.weight", forward, width)
        matrix(f"blk.{i}.ffn_down.weight", width, forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Runner:
    """llama.cpp with one model, ready."""

    def __init__(self, node, script, path):
        self.process = subprocess.Popen(
            ["node", str(script), str(path.resolve()), str(PROMPT), str(NEW)], cwd=node, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )
        self.take(1)

    def take(self, repetitions):
        self.process.stdin.write(f"{repetitions}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("llama.cpp ended; its message is above")
        return json.loads(line)


def run(command, **settings):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, **settings).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--node", required=True, type=pathlib.Path, help="directory with node_modules/node-llama-cpp")
    parser.add_argument("--foretoken", default="target/release/foretoken", type=pathlib.Path)
    parser.add_argument("--turns", default=TURNS, type=int)
    parser.add_argument("--work", type=pathlib.Path, help="keep models and calibrations here")
    options = parser.parse_args()
    work = options.work or pathlib.Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    foretoken = str(options.foretoken.resolve())
    script = options.node.resolve() / "measure.mjs"
    script.write_text(MEASURE)
    runners, turns, models = {}, {}, {}
    empty = work / "random-empty.gguf"
    if not empty.exists():
        write_model(empty, False, layers=1, width=32, forward=32, heads=1, kv_heads=1)
    runners["empty"] = Runner(options.node, script, empty)
    for name in ("f16", "q8_0"):
        models[name] = work / f"random-{name}.gguf"
        if not models[name].exists():
            write_model(models[name], name == "q8_0")
        runners[name] = Runner(options.node, script, models[name])
        turns[name] = {"prefill": [], "decode": []}
    for turn in range(options.turns):
        before = {name: runner.take(REPEAT) for name, runner in runners.items()}
        calibration = work / f"cpu-{turn}.toml"
        subprocess.run(
            [foretoken, "calibrate", "--device", "cpu", "--threads", "1", "--quick", "--seed", str(turn),
             "-o", str(calibration), "--json"],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        after = {name: runner.take(REPEAT) for name, runner in runners.items()}
        beside = statistics.median(cpu for _, cpu in before["empty"]["decode"] + after["empty"]["decode"])
        words = [f"node {1e3 * beside:.2f} ms a step"]
        for name, path in models.items():
            answer = run(
                [foretoken, "estimate", str(path), "--gpu", "local:cpu", "--calibration", str(calibration),
                 "--engine", "llamacpp", "--batch-size", "1", "--input-len", str(PROMPT), "--output-len", str(NEW + 1), "--json"],
                stderr=subprocess.DEVNULL,
            )["latency"]
            for phase, key in [("prefill", "prefill_s"), ("decode", "tpot_s")]:
                times = before[name][phase] + after[name][phase]
                measured = statistics.median(cpu for _, cpu in times) - (beside if phase == "decode" else 0)
                turns[name][phase].append((measured, answer[key], times))
                words.append(f"{name} {phase} {1e3 * answer[key]:.1f} for {1e3 * measured:.1f} ms")
        print(f"turn {turn + 1}, load {os.getloadavg()[0]:.1f}: {', '.join(words)}", flush=True)
    held = True
    print(f"\none thread, prompt {PROMPT}, {NEW} new tokens, {options.turns} turns; medians over the turns")
    print("| format | | steps of llama.cpp | of its core | measured | predicted | error | lowest and highest | bound |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in models:
        for phase, bound in [("prefill", 25), ("decode", 15)]:
            all_times = [t for _, _, times in turns[name][phase] for t in times]
            share = sum(cpu for _, cpu in all_times) / sum(wall for wall, _ in all_times)
            errors = sorted(100 * (predicted / measured - 1) for measured, predicted, _ in turns[name][phase])
            error = statistics.median(errors)
            held &= abs(error) <= bound
            measured, predicted = (statistics.median(t[i] for t in turns[name][phase]) for i in (0, 1))
            print(f"| {name} | {phase} | {len(all_times)} | {100 * share:.0f} % | {1e3 * measured:.2f} ms | {1e3 * predicted:.2f} ms "
                  f"| {error:+.1f} % | {errors[0]:+.0f} % and {errors[-1]:+.0f} % | ±{bound} % |")
    for runner in runners.values():
        runner.process.stdin.close()
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
