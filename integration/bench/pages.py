"""The queries of the pages on a small and on a large history: their times, and PostgreSQL's plans of them."""
import asyncio
import pathlib
import re
import subprocess
import sys

import scenarios
from lib import Api, log, wrk

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
    """Seeds 5,000 builds and o.page_builds builds, and asks for the same pages in both."""
    out = {}
    for n in (5000, int(o.page_builds)):
        scenarios.boot(t, scenarios.spec(20, ["w0", "w1", "w2", "w3"]))
        t.stop()
        generate = [sys.executable, str(scenarios.HERE / "seedgen.py"), "--builds", str(n), "--lines", "4",
                    "--out", "/dev/stdout"]
        with subprocess.Popen(generate, stdout=subprocess.PIPE) as source:
            t.seed_from(source.stdout)
        scenarios.boot(t)
        out[str(n)] = asyncio.run(_pages(t, o))
        t.stop()
    # Which way an index is read, or whether the few rows that it gives are sorted, may differ.
    used = [{page: {node.split(" using ")[1].split()[0] for node in nodes if " using " in node} | {
        node for node in nodes if node.startswith("Seq Scan")} for page, nodes in size["plans"].items()}
        for size in out.values() if size.get("plans")]
    return {"sizes": out, "same_plans": used[0] == used[1] if len(used) == 2 else None}


async def _pages(t, o):
    async with Api(t.http) as api:
        b = await api.builders()
        await in_force(api, b["b01"])
        for _ in range(PENDING - 1):
            await api.force(b["b01"])
        newest = (await api.get("builds?limit=1&order=-buildid"))["builds"][0]["buildid"]
        first = (await api.get(f"builders/{b['b00']}/builds?number=1"))["builds"][0]["buildid"]
        step = (await api.get(f"builds/{first}/steps?number=0"))["steps"][0]["stepid"]
        big = (await api.get(f"steps/{step}/logs"))["logs"][0]
        paths = {
            "latest_builds": "builds?limit=50&order=-buildid",
            "builds_of_builder": f"builds?builderid={b['b02']}&complete=true&order=-number&limit=25",
            "build_steps": f"builds/{newest}/steps",
            "build": f"builds/{newest}?property=owner",
            "log_lines": f"logs/{big['logid']}/contents?offset=1000&limit=500",
            "pending_requests": "buildrequests?claimed=false&order=-priority&order=-submitted_at&limit=50",
        }
        out = {"pending": PENDING, "log_lines": big["num_lines"]}
        for name, path in paths.items():
            r = await asyncio.to_thread(wrk, f"{t.http}/api/v2/{path}", 1, o.wrk_seconds, o.raw, name)
            out[name] = {k: r.get(k) for k in ("rps", "p50_ms", "p99_ms", "error")}
            log(name, out[name])
        if t.pg:
            out["plans"] = await plans(t, api, paths)
        return out


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
    pg_log = pathlib.Path(t.pg.dir.parent / "postgres.log")
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
