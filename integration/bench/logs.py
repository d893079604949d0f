"""Log ingestion: how fast a master takes output, and how much of what a worker can feed it."""
import asyncio
import json
import os
import socket
import subprocess

import scenarios
from fake import TOOLS, RustWorkers
from lib import StockWorkers, log, popen, terminate


def log_streamed(t, o):
    lines = int(o.log_mb * 1e6 / 99)
    scenarios.boot(t, scenarios.spec(1, ["w0"], [{"name": "print", "command": ["print"]}]))
    w = RustWorkers(t, 1, o.raw)
    w.log_lines = lines
    w.start()
    try:
        return {**asyncio.run(scenarios._log(t, o, lines, w)), "worker": "streaming fake"}
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
    o.worker_protocol, before = "msgpack", o.worker_protocol
    sink, target = [], []
    for _ in range(o.repeat):
        sink.append(feed_limit(o, command))
        target.append(scenarios.s4_log(t, o))
        t.stop()
        log("feed", round(sink[-1], 1), "MB/s into the sink,", target[-1].get("mb_per_s"), "into the target")
    o.worker_protocol = before
    best = max(target, key=lambda r: r.get("mb_per_s", 0))
    return {"sink_mb_per_s": [round(x, 2) for x in sink], "target_mb_per_s": [r.get("mb_per_s") for r in target],
            "of_the_feed": round(best["mb_per_s"] / max(sink), 3), "best": best}
