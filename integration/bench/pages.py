"""The queries of the pages on a small and on a large history: their times, and PostgreSQL's plans of them."""
import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import scenarios
from lib import HERE, Api, log, wrk

# Scan and join nodes; anything else in a plan follows from them.
NODE = re.compile(r"((?:Index Only |Index |Bitmap Heap |Bitmap Index |Seq )Scan[^(]*?|Nested Loop[^(]*?|Hash[^(]*?|"
                  r"Merge[^(]*?|Sort|Incremental Sort|Aggregate|Limit)  \(cost")
PENDING = 1000
# What each page reads.
TABLES = {
    "latest_builds": "builds",
    "builds_of_builder": "builds",
    "build_steps": "steps",
    "build": "builds|build_properties",
    "log_lines": "logs|logchunks",
    "pending_requests": "buildrequests",
}


def pages(t, o):
    """Asks for the same pages with 5,000 builds and, where a driver can seed them in time, with o.page_builds builds."""
    sizes = (5000, int(o.page_builds)) if hasattr(t, "seed_from") else (5000,)
    out = {}
    for n in sizes:
        scenarios.boot(t, dict(scenarios.spec(20, ["w0", "w1", "w2", "w3"]), database=f"pages_{n}"))
        took = 0 if asyncio.run(newest_number(t)) else seed(t, o, n)
        out[str(n)] = {"seed_s": took, **asyncio.run(_pages(t, o, n))}
        t.stop()
    # Which way an index is read, or whether the few rows that it gives are sorted, may differ.
    used = [{page: {node.split(" using ")[1].split()[0] for node in nodes if " using " in node} | {
        node for node in nodes if node.startswith("Seq Scan")} for page, nodes in size["plans"].items()}
        for size in out.values() if size.get("plans")]
    return {"sizes": out, "same_plans": used[0] == used[1] if len(used) == 2 else None}


def seed(t, o, n):
    """-> seconds"""
    t.stop()
    t0 = time.monotonic()
    generate = [sys.executable, str(scenarios.HERE / "seedgen.py"), "--builds", str(n), "--lines", "4", "--out"]
    if hasattr(t, "seed_from"):
        with subprocess.Popen([*generate, "/dev/stdout"], stdout=subprocess.PIPE) as source:
            t.seed_from(source.stdout)
    else:
        path = o.out / "seed.jsonl"
        subprocess.run([*generate, str(path)], check=True)
        t.seed(path)
    took = round(time.monotonic() - t0)
    log("seeded", n, "builds in", took, "s")
    scenarios.boot(t)
    return took


async def newest_number(t):
    """The number of the newest build; nothing without one."""
    async with Api(t.http) as api:
        builds = (await api.get("builds?limit=1&order=-buildid&field=number&field=buildid"))["builds"]
        return builds[0]["number"] if builds else None


async def _pages(t, o, n):
    newest = await newest_number(t)
    if newest != (n - 1) // 20 + 1:
        raise RuntimeError(f"the database has not the {n} builds that it should have, its last has number {newest}")
    async with Api(t.http) as api:
        b = await api.builders()
        waiting = "buildrequests?claimed=false&complete=false"
        missing = PENDING - len((await api.get(waiting))["buildrequests"])
        if missing > 0:
            await in_force(api, b["b01"])
        for _ in range(missing - 1):
            await api.force(b["b01"])
        if missing > 0 and hasattr(t, "seed_from") and t.pg:
            await analyzed(t)
        middle = (await api.get(f"builders/{b['b05']}/builds?number={max(1, newest // 2)}"))["builds"][0]["buildid"]
        first = (await api.get(f"builders/{b['b00']}/builds?number=1"))["builds"][0]["buildid"]
        step = (await api.get(f"builds/{first}/steps?number=0"))["steps"][0]["stepid"]
        big = (await api.get(f"steps/{step}/logs"))["logs"][0]
        paths = {
            "latest_builds": "builds?limit=50&order=-buildid",
            "builds_of_builder": f"builds?builderid={b['b02']}&complete=true&order=-number&limit=25",
            "build_steps": f"builds/{middle}/steps",
            "build": f"builds/{middle}?property=owner",
            "log_lines": f"logs/{big['logid']}/contents?offset=1000&limit=500",
            "pending_requests": "buildrequests?claimed=false&order=-priority&order=-submitted_at&limit=50",
        }
        out = {"pending": PENDING, "lines_of_log": big["num_lines"]}
        for name, path in paths.items():
            out[name] = {}
            for connections in o.conns:
                r = await asyncio.to_thread(wrk, f"{t.http}/api/v2/{path}", connections, o.wrk_seconds, o.raw, name)
                out[name][f"c{connections}"] = {k: r.get(k) for k in ("rps", "p50_ms", "p99_ms", "errors", "error")}
                log(name, connections, out[name][f"c{connections}"])
        # Each time of another build: nobody asks what another one asks.
        for name, path in (("any_build_steps", "builds/*/steps"), ("any_build", "builds/*?property=owner")):
            out[name] = {}
            for connections in o.conns:
                r = await asyncio.to_thread(wrk_any, f"{t.http}/api/v2/", path, n, connections, o.wrk_seconds)
                out[name][f"c{connections}"] = {k: r.get(k) for k in ("rps", "p50_ms", "p99_ms", "errors")}
                log(name, connections, out[name][f"c{connections}"])
        if hasattr(t, "seed_from") and t.pg:
            out["plans"] = await plans(t, api, paths)
        return out


def wrk_any(url, path, builds, connections, seconds):
    """As the harness's `wrk`, for `path` with the id of another build in each request."""
    env = dict(os.environ, WRK_REPORT=str(HERE / "wrk_report.lua"), WRK_PATH=f"/api/v2/{path}", WRK_BUILDS=str(builds))
    script = pathlib.Path(__file__).with_name("wrk_any_build.lua")
    command = [os.environ.get("BENCH_WRK", "wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s",
               "--latency", "-H", "Accept: application/json", "-s", script, url]
    run = subprocess.run(command, env=env, check=True, capture_output=True, text=True, timeout=seconds + 90)
    return next(json.loads(line[5:]) for line in run.stdout.splitlines() if line.startswith("JSON "))


async def analyzed(t):
    """Waits until PostgreSQL itself has noticed the new requests, as it would in time on a farm."""
    psql = [t.pg.bin / "psql", "-h", "127.0.0.1", "-p", str(t.pg.port), "-U", "bench", "-Atq", "-d", t.url.rpartition("/")[2], "-c",
            "SELECT n_mod_since_analyze < 500 FROM pg_stat_user_tables WHERE relname = 'buildrequests'"]
    for _ in range(90):
        if subprocess.run(psql, check=True, capture_output=True, text=True).stdout.strip() == "t":
            return
        await asyncio.sleep(1)
    log("PostgreSQL has not looked at the new requests")


async def in_force(api, builder):
    """Forces one build, as soon as the master can."""
    for _ in range(100):
        try:
            return await api.force(builder)
        except RuntimeError:
            await asyncio.sleep(0.1)
    raise RuntimeError("the master takes no builds")


async def plans(t, api, paths):
    """What PostgreSQL did for each page, without figures, from its own log."""
    # A session knows the settings of a library that it has loaded.
    psql = [t.pg.bin / "psql", "-h", "127.0.0.1", "-p", str(t.pg.port), "-U", "bench", "-q", "-d", "postgres",
            "-c", "LOAD 'auto_explain'"]
    for setting in ("session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0"):
        subprocess.run([*psql, "-c", f"ALTER SYSTEM SET {setting}"], check=True)
    subprocess.run([*psql, "-c", "SELECT pg_reload_conf()"], check=True, stdout=subprocess.DEVNULL)
    # Only new connections load the library.
    t.stop()
    await asyncio.to_thread(scenarios.boot, t)
    pg_log = getattr(t.pg, "log", t.pg.dir.parent / "postgres.log")
    found = {}
    for name, path in paths.items():
        await api.get(path)
        before = pg_log.stat().st_size
        # The plan of a prepared statement may change once, at its sixth execution.
        for _ in range(10):
            await api.get(path)
        await asyncio.sleep(0.2)
        text = pg_log.read_bytes()[before:].decode(errors="replace")
        # The master's own work goes on meanwhile: only statements on the tables of this page count.
        tables = TABLES[name]
        ours = [part for part in text.split("plan:")[1:]
                if re.search(rf"FROM\s+({tables})\b", part)
                and not re.search(r"\b(UPDATE|INSERT|DELETE|masters|outbox|wishes)\b", part)]
        found[name] = sorted({node.strip() for part in ours for node in NODE.findall(part)})
    for setting in ("session_preload_libraries", "auto_explain.log_min_duration"):
        subprocess.run([*psql, "-c", f"ALTER SYSTEM RESET {setting}"], check=True)
    subprocess.run([*psql, "-c", "SELECT pg_reload_conf()"], check=True, stdout=subprocess.DEVNULL)
    return found
