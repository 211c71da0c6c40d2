#!/usr/bin/env python3
"""What factors on a calibration cannot take away: the spread of ln(measured / predicted) within runs of one model on one
accelerator and engine, of which `calibrate --from-points` takes the median for its error of a point (SIGMA in
src/calibrate/points.rs).

    foretoken validate static.csv --worst 100000 --json | scripts/point_error.py
"""

import collections
import json
import math
import statistics
import sys

LEAST, METRICS = 5, ("ttft_s", "tpot_s", "e2e_s")

groups = collections.defaultdict(list)
for row in json.load(sys.stdin)["worst"]:
    if row["metric"] in METRICS:
        # "MODEL on N× GPU tp…, ENGINE, FORMAT, batch B, …": all before the batch
        setting = row["question"].split(", batch ")[0]
        groups[setting, row["metric"]].append(math.log(row["measured"] / row["predicted"]))
for metric in METRICS:
    spreads = [statistics.stdev(v) for (_, m), v in groups.items() if m == metric and len(v) >= LEAST]
    if spreads:
        quartiles = statistics.quantiles(spreads, n=4) if len(spreads) > 1 else spreads * 3
        print(f"{metric}: {len(spreads)} settings of {LEAST} runs or more, spread in ln: median {statistics.median(spreads):.3f}, "
              f"quartiles {quartiles[0]:.3f} and {quartiles[2]:.3f}")
