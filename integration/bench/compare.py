#!/usr/bin/env python3
"""compare.py OURS PEER: a table of what scenarios 2m and 2c found in two result directories, and the ratios."""
import json
import pathlib
import sys


def result(directory, scenario):
    path = pathlib.Path(directory) / f"scenario-{scenario}.json"
    return json.loads(path.read_text()).get("result", {}) if path.exists() else {}


def main(ours, peer):
    sizes, other = result(ours, "2m").get("sizes", {}), result(peer, "2m").get("sizes", {})
    base = next(iter(other.values()), {})
    if sizes:
        heads = [f"{int(n):,} builds: req/s at 8 / 64 (ratio), p50 / p99 ms at 1" for n in sizes]
        print("| page |", " | ".join(heads), "| peer: req/s at 8 / 64, p99 ms at 1 |")
        print("|---" * (len(heads) + 2) + "|")
    for page in [name for name, found in next(iter(sizes.values()), {}).items() if isinstance(found, dict) and "c1" in found]:
        cells = []
        for found in sizes.values():
            of = found[page]
            shares = [f"{of[c]['rps']:,.0f} ({of[c]['rps'] / base[page][c]['rps']:.0f}x)"
                      if base.get(page, {}).get(c, {}).get("rps") else f"{of[c]['rps']:,.0f}"
                      for c in ("c8", "c64") if of.get(c, {}).get("rps")]
            cells.append(" / ".join(shares) + f", {of['c1']['p50_ms']} / {of['c1']['p99_ms']}")
        rates = base.get(page, {})
        cells.append(" / ".join(str(rates[c].get("rps")) for c in ("c8", "c64") if c in rates)
                     + f", {rates.get('c1', {}).get('p99_ms')}")
        print("|", page, "|", " | ".join(cells), "|")
    if sizes:
        print("same plans:", result(ours, "2m").get("same_plans"))
    for name, directory in (("ours", ours), ("peer", peer)):
        crawled = result(directory, "2c")
        if crawled:
            best = crawled["best"]
            print(f"{name}, submit to start, p50 / p99 ms: quiet", best["quiet"]["submit_to_start_p50_ms"], "/",
                  best["quiet"]["submit_to_start_p99_ms"], "crawled", best["crawled"]["submit_to_start_p50_ms"], "/",
                  best["crawled"]["submit_to_start_p99_ms"], "ratio", crawled["ratio"], "crawler", best["crawler"])


main(*sys.argv[1:3])
