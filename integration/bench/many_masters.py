#!/usr/bin/env python3
"""Many masters on one PostgreSQL: whether their check-ins and housekeeping keep up.

    BUILDGUILD_BIN=target/release/buildguild python3 many_masters.py --database postgresql://user@host/empty_database

The server needs about five connections for each master (`max_connections`). It starts the masters, watches their
counters for --seconds, then kills --kill of them at once and waits until the others have declared these dead. Printed as
JSON: what the masters and the server took, how far apart the check-ins of each master were (5 s are wanted), commits per
second, and how many living masters were declared dead.
"""
import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

FARM = """\
from buildbot.plugins import *
c = BuildmasterConfig = {}
c["workers"] = [worker.Worker("w", "pw")]
c["builders"] = [util.BuilderConfig(name="b%d" % i, workernames=["w"], factory=util.BuildFactory([])) for i in range(20)]
c["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=["b%d" % i for i in range(20)])]
"""


def sql(url, statement):
    run = subprocess.run(["psql", url, "-qAt", "-F", " ", "-c", statement], capture_output=True, text=True, check=True)
    return [line.split() for line in run.stdout.splitlines()]


def cpu_s(pids):
    """User and system time of processes that live, and of their children that have ended."""
    total = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def children(pids):
    """These processes and all below them."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = stat.read_text().rsplit(")", 1)
        except OSError:
            continue
        parents.setdefault(int(rest.split()[1]), []).append(int(pid.split()[0]))
    found, todo = set(), list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += parents.get(pid, [])
    return found


def pss_mb(pids):
    total = 0
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total // 1024


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def quantile(values, q):
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 2)


def watch(url, seconds):
    """The gaps between the advances of each counter, as far as looks every 50 ms or so can tell."""
    last, gaps, began = {}, [], time.monotonic()
    while time.monotonic() - began < seconds:
        now = time.monotonic()
        for master, counter in sql(url, "SELECT id, checkins FROM masters WHERE active"):
            before = last.get(master)
            if before is None or before[0] != counter:
                if before and before[1] is not None:
                    gaps.append(now - before[1])
                # The first value is as old as it may be.
                last[master] = (counter, now if before else None)
        time.sleep(0.05)
    return gaps


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--database", required=True)
    options.add_argument("--masters", type=int, default=100)
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--kill", type=int, default=10)
    options.add_argument("--server-pid", type=int, help="the database server's, for its CPU time")
    o = options.parse_args()
    exe, url, procs = os.environ.get("BUILDGUILD_BIN", "buildguild"), o.database, []
    with tempfile.TemporaryDirectory() as directory:
        try:
            for i in range(o.masters):
                path = pathlib.Path(directory) / f"m{i}"
                path.mkdir()
                (path / "master.cfg").write_text(FARM)
                env = dict(os.environ, BUILDGUILD__DATABASE__URL=url, BUILDGUILD__MASTER__NAME=f"m{i}",
                           BUILDGUILD__WEB__LISTEN=f"127.0.0.1:{free_port()}",
                           BUILDGUILD__WORKER__LISTEN=f"127.0.0.1:{free_port()}",
                           BUILDGUILD__EVALUATOR__PROCESSES="1")
                if i == 0:
                    subprocess.run([exe, "upgrade-master", path], env=env, check=True, stdout=subprocess.DEVNULL)
                log = open(path / "out.log", "w")
                procs.append(subprocess.Popen([exe, "start", "--nodaemon", path], env=env, stdout=log, stderr=log))
                time.sleep(0.1)
            while int(sql(url, "SELECT count(*) FROM masters WHERE active")[0][0]) < o.masters:
                assert all(p.poll() is None for p in procs), "a master ended"
                time.sleep(1)
            time.sleep(10)
            pids = children([p.pid for p in procs])
            server = children([o.server_pid]) if o.server_pid else set()
            commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            before = cpu_s(pids), cpu_s(server), int(sql(url, commits)[0][0]), time.monotonic()
            gaps = watch(url, o.seconds)
            took = time.monotonic() - before[3]
            result = {
                "masters": o.masters, "seconds": round(took, 1), "check_ins": len(gaps),
                "gap_p50_s": quantile(gaps, 0.5), "gap_p99_s": quantile(gaps, 0.99), "gap_max_s": round(max(gaps), 2),
                "masters_cpu_cores": round((cpu_s(pids) - before[0]) / took, 3),
                "server_cpu_cores": round((cpu_s(server) - before[1]) / took, 3) if server else None,
                "commits_per_s": round((int(sql(url, commits)[0][0]) - before[2]) / took),
                "memory_mb_each": pss_mb(pids) // o.masters,
            }
            dead = procs[:o.kill]
            killed = time.monotonic()
            for p in dead:
                p.send_signal(signal.SIGKILL)
            names = ",".join(f"'m{i}'" for i in range(o.kill))
            while int(sql(url, f"SELECT count(*) FROM masters WHERE active AND name IN ({names})")[0][0]):
                time.sleep(0.05)
            result["all_killed_declared_dead_s"] = round(time.monotonic() - killed, 1)
            time.sleep(5)
            # A master that was declared dead joins again under a new epoch.
            others = f"SELECT count(*) FROM masters WHERE name NOT IN ({names}) AND (NOT active OR epoch > 1)"
            result["false_expiries"] = int(sql(url, others)[0][0])
            logs = [(pathlib.Path(directory) / f"m{i}" / "out.log").read_text() for i in range(o.kill, o.masters)]
            result["warnings"] = sum(log.count(" WARN ") - log.count("declared m") for log in logs)
            print(json.dumps(result))
        finally:
            for p in procs:
                p.terminate()
            for p in procs:
                p.wait(60)


if __name__ == "__main__":
    main()
