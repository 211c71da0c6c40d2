#!/usr/bin/env python3
"""Measures TTFT and TPOT of a decoder with random weights in plain PyTorch, replayed from CUDA graphs.

No engine: the linear layers are cuBLAS's, attention is PyTorch's (cuDNN or FlashAttention), what lies between is fused by
torch.compile where that works. Batches are static: all prompts are prefilled together and decoded in lockstep. Writes the
rows that `foretoken validate` reads.

    torch_llama.py -o rows.csv                     # Llama-3.1-8B, bf16
    torch_llama.py --model moe -o rows.csv         # a mixture of experts: Qwen3-30B-A3B
    torch_llama.py --tiny --device cpu -o rows.csv # two small layers, to see that it runs

A step is timed at the context in the middle of the output, where the time of a step that grows with its context equals
the mean over the output. Every figure is the median over replays.
"""

import argparse
import csv
import dataclasses
import statistics
import sys
import time

import torch
import torch.nn.functional as F

try:
    from torch.nn.attention import SDPBackend, sdpa_kernel
except ImportError:  # older than 2.3
    sdpa_kernel = None


@dataclasses.dataclass
class Shape:
    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    inter: int
    vocab: int
    experts: int = 0
    top_k: int = 0


LLAMA = Shape("meta-llama/Llama-3.1-8B", 4096, 32, 32, 8, 128, 14336, 128256)
MOE = Shape("Qwen/Qwen3-30B-A3B", 2048, 48, 32, 4, 128, 768, 151936, 128, 8)
TINY = Shape("tiny", 256, 2, 4, 2, 64, 512, 1000)
TINY_MOE = Shape("tiny-moe", 256, 2, 4, 2, 64, 128, 1000, 8, 2)

# batch, prompt; the output is OUTPUT tokens everywhere
GRID = [(1, 128), (1, 1024), (1, 2048), (1, 8192), (4, 1024), (8, 512), (8, 2048), (8, 8192), (16, 1024), (32, 256),
        (32, 1024), (32, 4096), (64, 512), (64, 2048), (128, 128), (128, 1024)]
OUTPUT = 128
# tokens of one prefill pass; more requests than fit are prefilled one pass after another
PASS = 16384
# tokens of a batch up to which its prefill is timed: beyond, it takes seconds a repetition
PREFILL = 65536


def rms_norm(x, weight):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * weight


def add_norm(residual, x, weight):
    residual = residual + x
    return residual, rms_norm(residual, weight)


def rotate(x, cos, sin):
    """x: [batch, tokens, heads, dim]; the halves are turned, as Llama does it."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def rotate_both(q, k, cos, sin):
    return rotate(q, cos, sin), rotate(k, cos, sin)


def silu_mul(x):
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


class Model:
    def __init__(self, shape: Shape, device: str, dtype: torch.dtype, fuse: bool):
        self.s, self.device, self.dtype = shape, device, dtype
        s = shape
        width = (s.heads + 2 * s.kv_heads) * s.head_dim

        def weight(*size):
            return torch.empty(*size, device=device, dtype=dtype).normal_(std=0.02)

        def ones():
            return torch.ones(s.hidden, device=device, dtype=dtype)

        self.embedding = weight(s.vocab, s.hidden)
        self.head = weight(s.vocab, s.hidden)
        self.norm = ones()
        self.layers = []
        for _ in range(s.layers):
            layer = {"norm1": ones(), "norm2": ones(), "qkv": weight(width, s.hidden), "out": weight(s.hidden, s.heads * s.head_dim)}
            if s.experts:
                layer["router"] = weight(s.experts, s.hidden)
                layer["w13"] = weight(s.experts, s.hidden, 2 * s.inter)
                layer["w2"] = weight(s.experts, s.inter, s.hidden)
            else:
                layer["w13"] = weight(2 * s.inter, s.hidden)
                layer["w2"] = weight(s.hidden, s.inter)
            self.layers.append(layer)
        longest = max(prompt for _, prompt in GRID) + OUTPUT
        angle = torch.arange(longest, device=device)[:, None] * (
            500000.0 ** (-torch.arange(0, s.head_dim, 2, device=device) / s.head_dim))
        self.cos, self.sin = angle.cos().to(dtype), angle.sin().to(dtype)
        self.rms_norm, self.add_norm, self.rotate, self.silu_mul = rms_norm, add_norm, rotate_both, silu_mul
        self.fused = False
        if fuse:
            self.try_to_fuse()

    def try_to_fuse(self):
        """Compiles what lies between the products; without a compiler the parts stay as they are, and say so."""
        kept = self.rms_norm, self.add_norm, self.rotate, self.silu_mul
        try:
            self.rms_norm, self.add_norm, self.rotate, self.silu_mul = (torch.compile(f, dynamic=True) for f in kept)
            x = torch.randn(2, 3, self.s.hidden, device=self.device, dtype=self.dtype)
            self.rms_norm(x, self.norm)
            self.add_norm(x, x, self.norm)
            self.silu_mul(torch.randn(2, 3, 2 * self.s.inter, device=self.device, dtype=self.dtype))
            self.fused = True
        except Exception as error:  # noqa: BLE001 - any failure of the compiler means: without it
            print(f"torch.compile does not work here, parts stay unfused: {error}", file=sys.stderr)
            self.rms_norm, self.add_norm, self.rotate, self.silu_mul = kept

    def attention(self, q, k, v, causal):
        """q: [batch, heads, tokens, dim]; k and v have fewer heads."""
        if self.device != "cpu" and sdpa_kernel is not None:
            order = [SDPBackend.FLASH_ATTENTION] if not causal else [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]
            for backend in order:
                try:
                    with sdpa_kernel(backend):
                        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
                except RuntimeError:
                    continue
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

    def experts(self, layer, x):
        """Tokens sorted by expert, two grouped products, sums weighted by the router."""
        s = self.s
        flat = x.reshape(-1, s.hidden)
        share, chosen = torch.topk(F.linear(flat, layer["router"]).float().softmax(-1), s.top_k)
        share = (share / share.sum(-1, keepdim=True)).to(self.dtype)
        order = chosen.flatten().argsort()
        rows = flat[order // s.top_k]
        ends = torch.searchsorted(chosen.flatten()[order], torch.arange(s.experts, device=self.device), right=True).to(torch.int32)
        if self.device == "cpu":
            out, first = torch.empty(len(rows), s.hidden, dtype=self.dtype), 0
            for e, last in enumerate(ends.tolist()):
                out[first:last] = self.silu_mul(rows[first:last] @ layer["w13"][e]) @ layer["w2"][e]
                first = last
        else:
            up = torch._grouped_mm(rows, layer["w13"], offs=ends)
            out = torch._grouped_mm(self.silu_mul(up), layer["w2"], offs=ends)
        weighted = out * share.flatten()[order][:, None]
        return torch.zeros_like(flat).index_add_(0, order // s.top_k, weighted).reshape(x.shape)

    def forward(self, tokens, cache, start, causal, requests=slice(None)):
        """tokens: [batch, n], behind `start` cached tokens; the next token of each. `requests` are the rows of the cache."""
        s, n = self.s, tokens.shape[1]
        residual = self.embedding[tokens]
        cos, sin = self.cos[start:start + n, None], self.sin[start:start + n, None]
        x = self.rms_norm(residual, self.layers[0]["norm1"])
        for i, layer in enumerate(self.layers):
            qkv = F.linear(x, layer["qkv"]).view(len(tokens), n, -1, s.head_dim)
            q, k, v = qkv.split([s.heads, s.kv_heads, s.kv_heads], 2)
            q, k = self.rotate(q, k, cos, sin)
            keys, values = cache[i][0][requests], cache[i][1][requests]
            keys[:, :, start:start + n] = k.transpose(1, 2)
            values[:, :, start:start + n] = v.transpose(1, 2)
            y = self.attention(q.transpose(1, 2), keys[:, :, :start + n], values[:, :, :start + n], causal)
            y = F.linear(y.transpose(1, 2).reshape(len(tokens), n, -1), layer["out"])
            residual, x = self.add_norm(residual, y, layer["norm2"])
            if s.experts:
                y = self.experts(layer, x)
            else:
                y = F.linear(self.silu_mul(F.linear(x, layer["w13"])), layer["w2"])
            following = self.layers[i + 1]["norm1"] if i + 1 < len(self.layers) else self.norm
            residual, x = self.add_norm(residual, y, following)
        return F.linear(x[:, -1], self.head).argmax(-1)


def timed(run, repetitions, device):
    """Median wall seconds of `run` with everything it starts done, after warm-up."""
    times = []
    for i in range(repetitions + 2):
        begin = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        if i >= 2:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def graphed(run, device):
    """The same as one graph launch; run three times first, which chooses kernels and compiles."""
    if device == "cpu":
        return run
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


@torch.inference_mode()
def measure(model, batch, prompt, device):
    """TTFT (none where the batch is too large to prefill often) and TPOT in milliseconds."""
    s = model.s
    room = prompt + OUTPUT
    size = (batch, s.kv_heads, room, s.head_dim)
    cache = [tuple(torch.randn(size, device=device, dtype=model.dtype) for _ in "kv") for _ in range(s.layers)]
    token = torch.randint(s.vocab, (batch, 1), device=device)
    middle = prompt + OUTPUT // 2
    step = graphed(lambda: model.forward(token, cache, middle, False), device)
    tpot = timed(step, 20, device)
    ttft = None
    if batch * prompt <= PREFILL:
        prompts = torch.randint(s.vocab, (batch, prompt), device=device)
        each = max(1, PASS // prompt)

        def prefill():
            for first in range(0, batch, each):
                rows = slice(first, min(first + each, batch))
                model.forward(prompts[rows], cache, 0, True, rows)

        run = graphed(prefill, device) if batch * prompt <= PASS else prefill
        ttft = timed(run, 3 if batch * prompt > PASS else 7, device)
    return ttft and ttft * 1e3, tpot * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--model", choices=["llama", "moe"], default="llama")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--gpu", default="h200-sxm", help="catalog id for the rows")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--no-fuse", action="store_true")
    parser.add_argument("--seconds", type=float, default=240.0, help="stop before a shape when so many are over")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    shape = {"llama": TINY if arguments.tiny else LLAMA, "moe": TINY_MOE if arguments.tiny else MOE}[arguments.model]
    dtype = torch.float32 if arguments.device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    model = Model(shape, arguments.device, dtype, not arguments.no_fuse and arguments.device != "cpu")
    name = torch.cuda.get_device_name() if arguments.device != "cpu" else "cpu"
    how = f"PyTorch {torch.__version__}, {name}, CUDA graphs, {'fused' if model.fused else 'not fused'}"
    print(f"{how}; {shape.name} made in {time.perf_counter() - begin:.1f} s", file=sys.stderr)
    columns = ("id source engine engine_version model gpu num_gpus tp pp dp ep weight_dtype kv_cache_dtype mode concurrency "
               "input_len output_len length_ratio_min ttft_ms tpot_ms e2e_ms note").split()
    grid = [(1, 16), (2, 32)] if arguments.tiny else GRID
    with open(arguments.output, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
        writer.writeheader()
        for i, (batch, prompt) in enumerate(grid):
            if time.perf_counter() - begin > arguments.seconds:
                print(f"out of time: {len(grid) - i} shapes are left out", file=sys.stderr)
                break
            try:
                ttft, tpot = measure(model, batch, prompt, arguments.device)
            except torch.cuda.OutOfMemoryError as error:
                print(f"batch {batch}, prompt {prompt}: {error}", file=sys.stderr)
                torch.cuda.empty_cache()
                continue
            writer.writerow({
                "id": f"{arguments.model}-{batch}-{prompt}", "source": "scripts/torch_llama.py", "engine": "transformers-compiled",
                "model": shape.name, "gpu": arguments.gpu, "num_gpus": 1, "tp": 1, "pp": 1, "dp": 1, "ep": 1,
                "weight_dtype": "bf16", "kv_cache_dtype": "bf16", "mode": "static", "concurrency": batch, "input_len": prompt,
                "output_len": OUTPUT, "length_ratio_min": 1.0, "ttft_ms": "" if ttft is None else f"{ttft:.4f}",
                "tpot_ms": f"{tpot:.4f}", "note": how})
            file.flush()
            shown = "–" if ttft is None else f"{ttft:.2f} ms"
            print(f"batch {batch:3} prompt {prompt:5}: TTFT {shown}, TPOT {tpot:.3f} ms "
                  f"({time.perf_counter() - begin:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
