"""Driver of the load harness for Buildguild.

Variants: sqlite | postgres | cluster1 | cluster2 | cluster3 (that many masters on one PostgreSQL and one Redis).
Environment: BUILDGUILD_BIN   the `buildguild` executable (default: from PATH)
             BUILDGUILD_SEED  the `seed` example of the database crate (default: `examples/seed` beside it)
             BUILDGUILD_BENCH_KEEP  a directory for PostgreSQL that is kept, with the databases that specs name
"""
import os
import pathlib
import shutil
import socket
import subprocess
import time

from drivers.buildbot import Postgres
from kept import Kept
from lib import popen, terminate

CONFIG = """\
from buildbot.plugins import *

c = BuildmasterConfig = {{}}
c["title"] = "bench"
c["buildbotURL"] = "http://127.0.0.1:{http}/"
c["collapseRequests"] = False
c["workers"] = [worker.Worker(name, password, max_builds=limit) for name, password, limit in {workers!r}]
c["builders"] = [
    util.BuilderConfig(
        name=name,
        workernames=names,
        factory=util.BuildFactory([steps.ShellCommand(name=step, command=command) for step, command in plan]),
    )
    for name, names, plan in {builders!r}
]
c["schedulers"] = [
    schedulers.ForceScheduler(name={force!r}, builderNames=[builder.name for builder in c["builders"]]),
]
"""


class Target:
    def __init__(self, variant, workdir, port_base):
        self.masters = int(variant.removeprefix("cluster")) if variant.startswith("cluster") else 1
        assert variant in ("sqlite", "postgres") or 1 <= self.masters <= 9, variant
        self.dir, self.port = pathlib.Path(workdir), port_base
        self.label = f"buildguild/{variant}"
        self.exe = os.environ.get("BUILDGUILD_BIN") or shutil.which("buildguild")
        if not self.exe:
            raise SystemExit("buildguild not found: set BUILDGUILD_BIN or PATH")
        self.dir.mkdir(parents=True, exist_ok=True)
        keep = os.environ.get("BUILDGUILD_BENCH_KEEP")
        self.pg = None
        if variant == "postgres" and keep:
            self.pg = Kept(keep, port_base + 90)
        elif variant != "sqlite":
            self.pg = Postgres(self.dir / "pg", port_base + 90)
        self.redis = self._start_redis(port_base + 91) if variant.startswith("cluster") else None
        self.http = f"http://127.0.0.1:{port_base}"
        self.procs, self.count = [], 0

    def _start_redis(self, port):
        server = popen(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes",
                        "--dir", self.dir.resolve()], self.dir / "redis.log")
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return server
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"redis-server did not start, see {self.dir / 'redis.log'}")

    def _environment(self, i):
        """Settings of the i-th replica: all replicas have the same farm configuration."""
        port = self.port + 10 * i
        env = dict(os.environ, BUILDGUILD__DATABASE__URL=self.url, BUILDGUILD__MASTER__NAME=f"bench{i}",
                   BUILDGUILD__WEB__LISTEN=f"127.0.0.1:{port}", BUILDGUILD__WORKER__LISTEN=f"127.0.0.1:{port + 2}")
        if self.redis:
            env["BUILDGUILD__BROKER__URL"] = f"redis://127.0.0.1:{self.port + 91}"
        return env

    def create(self, spec):
        self.count += 1
        self.dirs = [self.dir / f"master{self.count}.{i}" for i in range(self.masters)]
        if self.pg is None:
            self.url = f"sqlite:///{self.dirs[0].resolve()}/state.sqlite"
        elif "database" in spec and isinstance(self.pg, Kept):
            self.url = self.pg.database(spec["database"])
        else:
            # The harness's URLs name a Python driver, which is Buildbot's business.
            self.url = self.pg.newdb().replace("+psycopg2", "")
        config = CONFIG.format(
            http=self.port, force=spec["force"],
            workers=[(w["name"], w["password"], w.get("max_builds")) for w in spec["workers"]],
            builders=[(b["name"], b["workers"], [(s["name"], s["command"]) for s in b["steps"]])
                      for b in spec["builders"]])
        for i, path in enumerate(self.dirs):
            shutil.rmtree(path, ignore_errors=True)
            self._run(i, "create-master", path)
            (path / "master.cfg").write_text(config)
        self._run(0, "upgrade-master", self.dirs[0])

    def _run(self, i, *args):
        subprocess.run([self.exe, *map(str, args)], check=True, stdout=subprocess.DEVNULL, env=self._environment(i))

    def start(self):
        self.procs = [popen([self.exe, "start", "--nodaemon", path], path / "out.log", cwd=path,
                            env=self._environment(i)) for i, path in enumerate(self.dirs)]
        return self.procs[0].pid

    def stop(self):
        how = [terminate(p, 30) for p in self.procs]
        self.procs = []
        return ", ".join(how) or "was not running"

    def close(self):
        self.stop()
        terminate(self.redis)
        if self.pg:
            self.pg.close()

    def seed(self, path):
        with open(path, "rb") as source:
            self.seed_from(source)

    def seed_from(self, source):
        seed = os.environ.get("BUILDGUILD_SEED") or pathlib.Path(self.exe).parent / "examples/seed"
        subprocess.run([str(seed), self.url, "-"], stdin=source, check=True)

    def master_pids(self):
        return [p.pid for p in self.procs]

    def db_pids(self):
        return [p.pid for p in (self.pg and self.pg.proc, self.redis) if p]

    def worker_endpoints(self, protocol):
        return [("127.0.0.1", self.port + 10 * i + 2) for i in range(self.masters)]

    def info(self):
        version = subprocess.run([self.exe, "--version"], capture_output=True, text=True).stdout.strip()
        return {"target": self.label, "versions": version}


def make(variant, workdir, port_base):
    return Target(variant, workdir, port_base)
