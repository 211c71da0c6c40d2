#!/usr/bin/env python3
"""Holds a CPU calibration to llama.cpp: predicted against measured prefill and decode of a random-weight Llama.

Needs Python with the packages gguf and numpy, Node.js with the package node-llama-cpp (prebuilt llama.cpp) under --node,
and a release build of foretoken. Measures on one thread. Calibration and measurement take turns, because a shared machine
is not equally fast all the time; the figure of each is its median over the turns, and the load is printed.

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
PROMPT, NEW, TURNS = 512, 64, 3

MEASURE = """
import { getLlama, LlamaLogLevel } from "node-llama-cpp";
const [path, prompt, fresh] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const llama = await getLlama({ gpu: false, maxThreads: 1, logLevel: LlamaLogLevel.error, build: "never" });
const model = await llama.loadModel({ modelPath: path, useMmap: false });
const context = await model.createContext({ contextSize: 1024, batchSize: 512, threads: 1, flashAttention: false });
const sequence = context.getSequence();
const median = (xs) => xs.sort((a, b) => a - b)[Math.floor(xs.length / 2)];
const tokens = Array.from({ length: prompt }, (_, i) => 5 + ((i * 7919) % 31000));
const prefill = [], decode = [];
for (let turn = 0; turn < 3; turn++) {
  await sequence.clearHistory();
  let start = process.hrtime.bigint();
  let steps = 0, last = 0n;
  const cpu = process.cpuUsage();
  for await (const token of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) {
    const now = process.hrtime.bigint();
    if (steps === 0) prefill.push(Number(now - start) / 1e9);
    else decode.push(Number(now - last) / 1e9);
    last = now;
    if (++steps > fresh) break;
  }
}
console.log(JSON.stringify({ ttft_s: median(prefill), tpot_s: median(decode), fastest_ttft_s: prefill[0], fastest_tpot_s: decode[0] }));
process.exit(0);
"""


def write_model(path, quantised):
    """A Llama of random weights: the least that llama.cpp loads."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("random")
    writer.add_block_count(LAYERS)
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
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
        writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))

    narrow = WIDTH // HEADS * KV_HEADS
    matrix("token_embd.weight", VOCABULARY, WIDTH)
    norm("output_norm.weight")
    matrix("output.weight", VOCABULARY, WIDTH)
    for i in range(LAYERS):
        norm(f"blk.{i}.attn_norm.weight")
        norm(f"blk.{i}.ffn_norm.weight")
        matrix(f"blk.{i}.attn_q.weight", WIDTH, WIDTH)
        matrix(f"blk.{i}.attn_k.weight", narrow, WIDTH)
        matrix(f"blk.{i}.attn_v.weight", narrow, WIDTH)
        matrix(f"blk.{i}.attn_output.weight", WIDTH, WIDTH)
        matrix(f"blk.{i}.ffn_gate.weight", FORWARD, WIDTH)
        matrix(f"blk.{i}.ffn_up.weight", FORWARD, WIDTH)
        matrix(f"blk.{i}.ffn_down.weight", WIDTH, FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


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
    models = {}
    for name in ("f16", "q8_0"):
        models[name] = work / f"random-{name}.gguf"
        if not models[name].exists():
            write_model(models[name], name == "q8_0")
    figures = {name: {"measured": [], "predicted": []} for name in models}
    for turn in range(options.turns):
        print(f"turn {turn + 1}: load {os.getloadavg()[0]:.1f}", flush=True)
        calibration = work / f"cpu-{turn}.toml"
        subprocess.run(
            [foretoken, "calibrate", "--device", "cpu", "--threads", "1", "--quick", "--seed", str(turn),
             "-o", str(calibration), "--json"],
            check=True, stdout=subprocess.DEVNULL,
        )
        for name, path in models.items():
            measured = run(["node", str(script), str(path), str(PROMPT), str(NEW)], cwd=options.node)
            answer = run(
                [foretoken, "estimate", str(path), "--gpu", "local:cpu", "--calibration", str(calibration),
                 "--engine", "llamacpp", "--batch-size", "1", "--input-len", str(PROMPT), "--output-len", str(NEW + 1), "--json"],
                stderr=subprocess.DEVNULL,
            )["latency"]
            figures[name]["measured"].append((measured["ttft_s"], measured["tpot_s"]))
            figures[name]["predicted"].append((answer["prefill_s"], answer["tpot_s"]))
            print(f"  {name}: prefill {1e3 * measured['ttft_s']:.0f} ms, predicted {1e3 * answer['prefill_s']:.0f}; "
                  f"decode {1e3 * measured['tpot_s']:.2f} ms, predicted {1e3 * answer['tpot_s']:.2f}", flush=True)
    held = True
    print(f"\nmedians over {options.turns} turns, one thread, prompt {PROMPT}, {NEW} new tokens")
    print("| format | | measured | predicted | error | bound |\n|---|---|---|---|---|---|")
    for name, found in figures.items():
        for i, (what, bound) in enumerate([("prefill", 25), ("decode", 15)]):
            measured = statistics.median(f[i] for f in found["measured"])
            predicted = statistics.median(f[i] for f in found["predicted"])
            error = 100 * (predicted / measured - 1)
            held &= abs(error) <= bound
            print(f"| {name} | {what} | {1e3 * measured:.2f} ms | {1e3 * predicted:.2f} ms | {error:+.1f} % | ±{bound} % |")
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
