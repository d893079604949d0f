"""Driver of the load harness for Buildguild.

Variants: sqlite | postgres.
Environment: BUILDGUILD_BIN   the `buildguild` executable (default: from PATH)
             BUILDGUILD_SEED  the `seed` example of the database crate (default: `examples/seed` beside it)
"""
import os
import pathlib
import shutil
import subprocess

from drivers.buildbot import Postgres
from lib import popen, terminate

CONFIG = """\
from buildbot.plugins import *

c = BuildmasterConfig = {{}}
c["title"] = "bench"
c["buildbotURL"] = "http://127.0.0.1:{http}/"
c["collapseRequests"] = False
c["www"] = dict(port="tcp:{http}:interface=127.0.0.1")
c["protocols"] = {{"msgpack_experimental_v7": {{"port": "tcp:{worker}:interface=127.0.0.1"}}}}
c["workers"] = [worker.Worker(name, password, max_builds=None) for name, password in {workers!r}]
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
        assert variant in ("sqlite", "postgres"), variant
        self.dir, self.port = pathlib.Path(workdir), port_base
        self.label = f"buildguild/{variant}"
        self.exe = os.environ.get("BUILDGUILD_BIN") or shutil.which("buildguild")
        if not self.exe:
            raise SystemExit("buildguild not found: set BUILDGUILD_BIN or PATH")
        self.dir.mkdir(parents=True, exist_ok=True)
        self.pg = Postgres(self.dir / "pg", port_base + 90) if variant == "postgres" else None
        self.http = f"http://127.0.0.1:{port_base}"
        self.proc, self.count = None, 0

    def _run(self, *args):
        subprocess.run([self.exe, *map(str, args)], check=True, stdout=subprocess.DEVNULL, env=self.env)

    def create(self, spec):
        self.count += 1
        self.master = self.dir / f"master{self.count}"
        shutil.rmtree(self.master, ignore_errors=True)
        # The harness's URLs name a Python driver, which is Buildbot's business.
        url = (self.pg.newdb().replace("+psycopg2", "") if self.pg
               else f"sqlite:///{self.master.resolve()}/state.sqlite")
        self.env = dict(os.environ, BUILDGUILD__DATABASE__URL=url, BUILDGUILD__MASTER__NAME="bench")
        self._run("create-master", self.master)
        (self.master / "master.cfg").write_text(CONFIG.format(
            http=self.port, worker=self.port + 2, force=spec["force"],
            workers=[(w["name"], w["password"]) for w in spec["workers"]],
            builders=[(b["name"], b["workers"], [(s["name"], s["command"]) for s in b["steps"]])
                      for b in spec["builders"]]))
        self._run("upgrade-master", self.master)

    def start(self):
        self.proc = popen([self.exe, "start", "--nodaemon", self.master], self.master / "out.log",
                          cwd=self.master, env=self.env)
        return self.proc.pid

    def stop(self):
        how = terminate(self.proc, 30) if self.proc else "was not running"
        self.proc = None
        return how

    def close(self):
        self.stop()
        if self.pg:
            self.pg.close()

    def seed(self, path):
        with open(path, "rb") as source:
            self.seed_from(source)

    def seed_from(self, source):
        seed = os.environ.get("BUILDGUILD_SEED") or pathlib.Path(self.exe).parent / "examples/seed"
        subprocess.run([str(seed), self.env["BUILDGUILD__DATABASE__URL"], "-"], stdin=source, check=True)

    def master_pids(self):
        return [self.proc.pid] if self.proc else []

    def db_pids(self):
        return [self.pg.proc.pid] if self.pg else []

    def worker_endpoints(self, protocol):
        return [("127.0.0.1", self.port + 2)]

    def info(self):
        version = subprocess.run([self.exe, "--version"], capture_output=True, text=True).stdout.strip()
        return {"target": self.label, "versions": version}


def make(variant, workdir, port_base):
    return Target(variant, workdir, port_base)
