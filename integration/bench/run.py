#!/usr/bin/env python3
"""The load harness, with the scenarios that it lacks.

    BUILDGUILD_BENCH_HARNESS=DIR python3 run.py TARGET [the harness's options]

Added scenarios (`cargo xtask bench` says how they are chosen):

  3r  as the harness's 3b, with fake workers that cost less than the harness's own
  4s  log ingestion from a fake worker that prints as fast as the master takes it
  4k  what a stock worker can feed into a master that throws everything away, and the same worker on this target
  5b  subscribers that each follow one of 20 builders, half of them on SSE and half on WebSocket, under steady load

Environment: BUILDGUILD_TOOLS  the directory of `fake-workers` and `log-sink`.
"""
import asyncio
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.environ["BUILDGUILD_BENCH_HARNESS"])
import bench
import scenarios
from lib import Api, Events, FakeWorkers, StockWorkers, log, ms, pct, popen, rss_mb, terminate

TOOLS = pathlib.Path(os.environ.get("BUILDGUILD_TOOLS", "."))


class RustWorkers(FakeWorkers):
    """This project's fake workers, in one process."""

    log_lines = 0

    def start(self):
        ends = ",".join(f"{h}:{p}" for h, p in self.t.worker_endpoints("msgpack"))
        self.p = popen([TOOLS / "fake-workers", "--endpoints", ends, "--prefix", self.prefix, "--first", self.first,
                        "--count", self.n, "--log-lines", self.log_lines],
                       self.log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.procs = [self.p]
        return self


def throughput(t, o):
    names = [f"w{i}" for i in range(o.fake_workers)]
    scenarios.boot(t, scenarios.spec(o.builders, names))
    w = RustWorkers(t, o.fake_workers, o.raw).start()
    try:
        r = asyncio.run(scenarios._throughput(t, o, o.fake_workers, o.builds))
    finally:
        stats = w.stop()
    return {"worker": "fake, Rust, msgpack", **r, "fake_worker_stats": stats}


def log_streamed(t, o):
    lines = int(o.log_mb * 1e6 / 99)
    scenarios.boot(t, scenarios.spec(1, ["w0"], [{"name": "print", "command": ["print"]}]))
    w = RustWorkers(t, 1, o.raw)
    w.log_lines = lines
    w.start()
    o.worker_protocol = "streaming fake"
    try:
        return asyncio.run(scenarios._log(t, o, lines, w))
    finally:
        w.stop()


class Port:
    """A target of which only the worker port matters."""

    def __init__(self, port):
        self.port = port

    def worker_endpoints(self, protocol):
        return [("127.0.0.1", self.port)]


def feed_limit(o, command):
    """-> MB/s of a stock worker into the sink."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    sink = popen([TOOLS / "log-sink", "--port", port, "--", *command], o.raw / "sink.log",
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sink.stdout.readline()
    w = StockWorkers(Port(port), 1, o.work / "sink-workers", "msgpack").start()
    try:
        r = json.loads(sink.stdout.readline())
    finally:
        w.stop()
        terminate(sink, 5)
    return r["bytes"] / 1e6 / r["seconds"]


def log_feed(t, o):
    """The sink and the target in turn, so that both see the same machine."""
    lines = int(o.log_mb * 1e6 / 99)
    command = [os.environ.get("BENCH_WORKER_PYTHON", "python3"), "-c", scenarios.LOGGEN % lines]
    o.worker_protocol = "msgpack"
    sink, target = [], []
    for _ in range(o.repeat):
        sink.append(feed_limit(o, command))
        target.append(scenarios.s4_log(t, o))
        t.stop()
        log("feed", round(sink[-1], 1), "MB/s into the sink,", target[-1].get("mb_per_s"), "into the target")
    best = max(target, key=lambda r: r.get("mb_per_s", 0))
    return {"sink_mb_per_s": [round(x, 2) for x in sink], "target_mb_per_s": [r.get("mb_per_s") for r in target],
            "of_the_feed": round(best["mb_per_s"] / max(sink), 3), "best": best}


def subscribers(t, o):
    names = [f"w{i}" for i in range(o.fake_workers)]
    scenarios.boot(t, scenarios.spec(20, names))
    w = RustWorkers(t, o.fake_workers, o.raw).start()
    try:
        return asyncio.run(_subscribers(t, o))
    finally:
        w.stop()


async def _subscribers(t, o):
    """Half of o.subscribers[-1] on SSE and half on WebSocket; 50 builds a second for 20 s."""
    rate, seconds = 50, 20
    async with Api(t.http) as api:
        await api.wait_workers(o.fake_workers, 60)
        await asyncio.sleep(2)
        b = list((await api.builders()).values())
        await scenarios.burst(t, api, await api.builders(), 100, 8, 120)  # warm-up
        await scenarios.quiet(t, 30)
        host, port = t.http.split("//")[1].split(":")
        rss0, each = rss_mb(t.master_pids()), o.subscribers[-1] // len(b)
        procs = []
        for kind in ("sse", "ws"):
            for i in b:
                p = popen([sys.executable, scenarios.HERE / "subscribers.py", "--host", host, "--port", port, "--kind",
                           kind, "--count", each, "--path", f"builders/{i}/builds/*/*"],
                          o.raw / f"subscribers_{kind}_{i}.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                procs.append((kind, i, p))
        ready = [json.loads(await asyncio.to_thread(p.stdout.readline)) for _, _, p in procs]
        await asyncio.sleep(2)
        rss1 = rss_mb(t.master_pids())
        subscribed = sum(r["ready"] for r in ready)
        posted, m, t0 = {}, scenarios.Meter(t).start(), time.monotonic()
        async with Events(api, ["builds/*/finished"]) as ev:
            async def one(n):
                await asyncio.sleep(max(0, t0 + n / rate - time.monotonic()))
                _, br = await api.force(b[n % len(b)])
                posted[br] = n
            tasks = []
            for n in range(rate * seconds):
                tasks.append(asyncio.create_task(one(n)))
            await asyncio.gather(*tasks)
            done = await ev.wait(lambda: len(ev.times("finished")) >= rate * seconds, o.timeout)
            wall = time.monotonic() - t0
            await scenarios.quiet(t, 60)
        figures = m.stop()
        rss2 = rss_mb(t.master_pids())
        spread, lost, messages, dropped = [], 0, 0, 0
        for kind, i, p in procs:
            p.stdin.close()
        for (kind, i, p), r in zip(procs, ready):
            s = json.loads(await asyncio.to_thread(p.stdout.read))
            p.wait(60)
            mine = [e for e in s["events"] if e["brid"] in posted]
            spread += [e["last"] - e["first"] for e in mine]
            lost += sum(r["ready"] - e["got"] for e in mine)
            messages += sum(e["got"] for e in mine)
            dropped += s["disconnected"]
        return {"subscribers": subscribed, "builds": rate * seconds, "all_builds_finished": done,
                "wall_s": round(wall, 2), "messages": messages, "lost_messages": lost, "disconnected": dropped,
                "first_to_last_p50_ms": ms(pct(spread, 50)), "first_to_last_p99_ms": ms(pct(spread, 99)),
                "deliveries_per_s": round(messages / wall), "rss_before_mb": rss0, "rss_subscribed_mb": rss1,
                "rss_after_mb": rss2, "kb_per_subscriber": round((rss1 - rss0) * 1024 / max(1, subscribed), 1),
                "kb_per_subscriber_after": round((rss2 - rss0) * 1024 / max(1, subscribed), 1), **figures}


scenarios.ALL.update({"3r": throughput, "4s": log_streamed, "4k": log_feed, "5b": subscribers})

if __name__ == "__main__":
    bench.main()
