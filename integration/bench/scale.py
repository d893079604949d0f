"""Builds per second of one or more masters on one PostgreSQL, and the commits that this PostgreSQL can do."""
import asyncio
import re
import subprocess
import time

import scenarios
from fake import RustWorkers
from lib import Api, log

# Backends report their counters when they have been idle for ten seconds.
COUNTERS_LATE_S = 11
INSERT = "INSERT INTO one_row (value) VALUES (1);\n"
SETTINGS = ("fsync", "synchronous_commit", "commit_delay", "wal_sync_method", "shared_buffers", "max_connections")


def sql(t, statement, database):
    done = subprocess.run([t.pg.bin / "psql", "-h", "127.0.0.1", "-p", str(t.pg.port), "-U", "bench", "-d", database,
                           "-At", "-F", " ", "-c", statement], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def counters(t):
    """-> commits of the masters' database, syncs of the WAL, when."""
    time.sleep(COUNTERS_LATE_S)
    database = t.url.rsplit("/", 1)[1]
    row = sql(t, "SELECT d.xact_commit, w.wal_sync FROM pg_stat_database d, pg_stat_wal w "
                 "WHERE d.datname = current_database()", database)
    return [*map(int, row.split()), time.monotonic()]


def per_build(before, rest, after, builds):
    """Commits and syncs per build, without those that the masters do at rest (measured between `before` and `rest`)."""
    idle = [(rest[i] - before[i]) / (rest[2] - before[2]) for i in (0, 1)]
    spent = [after[i] - rest[i] - idle[i] * (after[2] - rest[2]) for i in (0, 1)]
    return {"commits_per_build": round(spent[0] / builds, 2), "wal_syncs_per_build": round(spent[1] / builds, 2),
            "commits_per_s_at_rest": round(idle[0], 1)}


def pgbench(t, o, clients):
    """-> commits per second of that many clients that insert one row each."""
    url = t.pg.newdb().rsplit("/", 1)[1]
    sql(t, "CREATE TABLE one_row (id bigserial PRIMARY KEY, value int)", url)
    script = o.raw / "one_row.sql"
    script.write_text(INSERT)
    done = subprocess.run([t.pg.bin / "pgbench", "-h", "127.0.0.1", "-p", str(t.pg.port), "-U", "bench", "-n", "-M",
                           "prepared", "-c", str(clients), "-j", "1", "-T", "10", "-f", script, url],
                          check=True, capture_output=True, text=True)
    return round(float(re.search(r"tps = ([\d.]+)", done.stdout)[1]), 1)


async def _measure(t, o):
    async with Api(t.http) as api:
        waited, got = await api.wait_workers(o.fake_workers, 180)
        if got < o.fake_workers:
            return {"error": f"only {got} of {o.fake_workers} workers connected"}
        builders = await api.builders()
        await scenarios.burst(t, api, builders, 100, 4, 120)
        latency = await scenarios.latency(t, api, builders, o.latency_samples)
        before, rest = counters(t), counters(t)
        runs = [await scenarios.burst(t, api, builders, o.builds, o.submit_parallel, o.timeout) for _ in range(o.repeat)]
        after = counters(t)
        for r in runs:
            log("burst", {k: r[k] for k in ("builds_per_min", "master_cpu_ms_per_build", "db_cpu_ms_per_build")})
        return {"idle_latency": latency, "runs": runs,
                **per_build(before, rest, after, sum(r["finished_ok_by_rest"] for r in runs))}


def scale(t, o):
    names = [f"w{i}" for i in range(o.fake_workers)]
    scenarios.boot(t, scenarios.spec(o.builders, names))
    w = RustWorkers(t, o.fake_workers, o.raw).start()
    try:
        r = asyncio.run(_measure(t, o))
    finally:
        w.stop()
    t.stop()
    return {**r, "pgbench_commits_per_s": {n: pgbench(t, o, n) for n in (1, 10, 30)},
            "postgresql": {name: sql(t, f"SHOW {name}", "postgres") for name in SETTINGS}}
