#!/usr/bin/env python3
"""Draws the 400 pairs of lengths of a preset (workloads/*.csv) from a published trace.

    sample_lengths.py TRACE.csv.gz PROMPT_COLUMN OUTPUT_COLUMN >workloads/NAME.csv

Requests are sorted by prompt into 400 strata of equal size. The i-th stratum gives the request at the quantile
frac(i·φ⁻¹) of its outputs: a low-discrepancy sequence, so that both distributions and what ties them are kept. Means and
standard deviations of all and of the sample go to stderr.
"""

import csv
import gzip
import statistics
import sys

PAIRS = 400
GOLDEN = (5**0.5 - 1) / 2


def main(path, prompt, output):
    with gzip.open(path, "rt", newline="") as file:
        pairs = sorted((int(float(r[prompt])), int(float(r[output]))) for r in csv.DictReader(file))
    sample = []
    for i in range(PAIRS):
        stratum = sorted(pairs[i * len(pairs) // PAIRS : (i + 1) * len(pairs) // PAIRS], key=lambda p: p[1])
        sample.append(stratum[int(i * GOLDEN % 1 * len(stratum))])
    for name, some in (("all", pairs), ("sample", sample)):
        figures = [f(p[k] for p in some) for k in (0, 1) for f in (statistics.fmean, lambda x: statistics.pstdev(list(x)))]
        print(name, *(f"{x:.1f}" for x in figures), file=sys.stderr)
    print("input_len,output_len")
    for pair in sample:
        print(*pair, sep=",")


if __name__ == "__main__":
    main(*sys.argv[1:])
