"""This project's fake workers, in the harness's loop."""
import asyncio
import os
import pathlib
import subprocess

import scenarios
from lib import FakeWorkers, popen

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
