"""A PostgreSQL whose directory outlives the run, so that large databases are seeded once."""
import os
import pathlib
import shutil
import subprocess
import time

from drivers.buildbot import Postgres
from lib import popen


class Kept(Postgres):
    def __init__(self, directory, port):
        self.dir, self.port = pathlib.Path(directory).resolve(), port
        self.user, self.bin, kw = account()
        data, self.log = self.dir / "data", self.dir / "postgres.log"
        self.dir.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(self.dir, self.user, self.user)
        self.dir.chmod(0o700)
        self.kw = dict(kw, cwd="/")
        if not data.exists():
            subprocess.run([self.bin / "initdb", "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8",
                            "--locale=C.UTF-8"], check=True, stdout=subprocess.DEVNULL, **self.kw)
        self.proc = popen([self.bin / "postgres", "-D", data, "-p", port, "-k", self.dir, "-c",
                           "listen_addresses=127.0.0.1", "-c", "max_connections=100"], self.log, **self.kw)
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        # It may have to recover first.
        for _ in range(600):
            if subprocess.run(ready, **self.kw).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"PostgreSQL does not start; see {self.log}")

    def database(self, name):
        """The URL of the database of this name, which is made if need be."""
        url = f"postgresql://bench@127.0.0.1:{self.port}/{name}"
        exists = subprocess.run([self.bin / "psql", url, "-c", ""], capture_output=True).returncode == 0
        if not exists:
            subprocess.run([self.bin / "createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", name],
                           check=True, **self.kw)
        return url


def account():
    """Who runs PostgreSQL, where its programs are, and what subprocess has to know of it, as in the harness."""
    user = os.environ.get("BENCH_PG_USER", "postgres") if os.geteuid() == 0 else None
    programs = pathlib.Path(os.environ.get("BENCH_PG_BIN", "/usr/lib/postgresql/15/bin"))
    return user, programs, {"user": user, "group": user, "extra_groups": []} if user else {}
