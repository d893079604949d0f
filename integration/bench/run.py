#!/usr/bin/env python3
"""The load harness, with the scenarios that it lacks.

    BUILDGUILD_BENCH_HARNESS=DIR python3 run.py TARGET [the harness's options] [--page-builds N] [--pending N]

Added scenarios:

  2c  how long builds take to start while a crawler asks for 500 pages a second, and without it
  2m  the pages' queries on 5,000 and on --page-builds builds (default 1,000,000), and PostgreSQL's plans of them; on
      Buildbot with 5,000 only
  3c  builds of one to three masters (targets cluster1 to cluster3), their commits, and what pgbench commits there
  3r  as the harness's 3b, with fake workers that cost less than the harness's own
  4s  log ingestion from a fake worker that prints as fast as the master takes it
  4k  what a stock worker can feed into a master that throws everything away, and the same worker on this target
  4q  --pending requests (default 50,000) that wait: the start of a master, and of a build whose worker is free
  5b  subscribers that each follow one of 20 builders, half of them on SSE and half on WebSocket, under steady load

Environment: BUILDGUILD_TOOLS, the directory of `fake-workers` and `log-sink`; BUILDGUILD_BENCH_KEEP, a directory for
PostgreSQL that is kept, so that 2m seeds its databases once. `compare.py` prints what 2m found on two targets side by side.
"""
import argparse
import os
import sys

sys.path.insert(0, os.environ["BUILDGUILD_BENCH_HARNESS"])
import bench
import scenarios

import crawl
import fake
import fanout
import logs
import pages
import queue_of_requests
import scale

ADDED = {"2c": crawl.crawl, "2m": pages.pages, "3c": scale.scale, "3r": fake.throughput, "4s": logs.log_streamed,
         "4k": logs.log_feed, "4q": queue_of_requests.long_queue, "5b": fanout.subscribers}

if __name__ == "__main__":
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("--page-builds", type=int, default=1_000_000)
    ours.add_argument("--pending", type=int, default=50_000)
    options, sys.argv[1:] = ours.parse_known_args()
    # Without --scenarios the harness runs its own; ours are asked for by name.
    if not any(a.startswith("--scenarios") for a in sys.argv):
        sys.argv += ["--scenarios", ",".join(scenarios.ALL)]
    for name, scenario in ADDED.items():
        def run(target, o, scenario=scenario):
            o.page_builds, o.pending = options.page_builds, options.pending
            return scenario(target, o)
        scenarios.ALL[name] = run
    bench.main()
