#!/usr/bin/env python3
"""Lays a card's samples beside an operator table, shape by shape.

    compare_samples.py samples.csv tests/fixtures/ops/h200_sxm__vllm-0.24.0__suite.csv

Prints, by operator, data type and rows (or bytes read), how the card's time compares with the table's: 0.95 means that the
card took 5 % less. Attention is compared by bytes a second, because the card only reads the cache.
"""

import collections
import csv
import math
import statistics
import sys


def rows(path):
    with open(path, newline="") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))


def key(row):
    if row["operator"] == "gemm":
        return ("gemm", row["dtype"], int(row["m"]), int(row["n"]), int(row["k"]))
    if row["operator"] == "decode_attention":
        return ("decode_attention", row["kv_dtype"], int(row["batch"]), int(row["step"]), int(row["n_kv_heads"]))
    return None


def group(k):
    if k[0] == "gemm":
        return (k[0], k[1], "1–16 rows" if k[2] <= 16 else "32–256 rows" if k[2] <= 256 else "512–8192 rows")
    size = 2 * k[2] * (k[3] + 1) * k[4] * 128 * (1 if k[1] == "fp8" else 2)
    return (k[0], k[1], "below 256 MiB" if size < 1 << 28 else "from 256 MiB")


def main():
    table = {key(r): float(r["latency_us"]) for r in rows(sys.argv[2]) if key(r)}
    ratios = collections.defaultdict(list)
    worst = []
    for row in rows(sys.argv[1]):
        k = key(row)
        if k in table:
            ratio = float(row["latency_us"]) / table[k]
            ratios[group(k)].append(ratio)
            worst.append((abs(math.log(ratio)), k, float(row["latency_us"]), table[k]))
    print(f"{'operator':18} {'dtype':9} {'where':16} {'shapes':>6} {'median':>7} {'10 %':>6} {'90 %':>6} {'within 10 %':>11}")
    for g in sorted(ratios):
        r = sorted(ratios[g])
        at = lambda share: r[min(len(r) - 1, int(share * len(r)))]
        near = sum(abs(x - 1) <= 0.1 for x in r) / len(r)
        print(f"{g[0]:18} {g[1]:9} {g[2]:16} {len(r):6} {statistics.median(r):7.3f} {at(0.1):6.3f} {at(0.9):6.3f} {near:11.0%}")
    print("\nfarthest apart:")
    for _, k, ours, theirs in sorted(worst, reverse=True)[:12]:
        print(f"  {' '.join(map(str, k)):50} card {ours:10.2f} us, table {theirs:10.2f} us")
    if not ratios:
        sys.exit("no shape is in both")


main()
