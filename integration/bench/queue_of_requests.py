"""Long queues: how long a start takes, and a new request, while very many wait."""
import asyncio
import subprocess
import time

import scenarios
from fake import RustWorkers
from lib import Api, Events, Meter, ms, pct, rss_mb

BUILDERS, WORKERS, PLACES = 50, 10, 4

# One buildset for each request, as schedulers make them; all share a source stamp.
FILL = """
INSERT INTO sourcestamps (ss_hash, repository, codebase, project, created_at) VALUES ('queue', '', '', '', 0)
    ON CONFLICT DO NOTHING;
WITH sets AS (
    INSERT INTO buildsets (reason, submitted_at, open_requests)
    SELECT 'queue', (extract(epoch FROM now()) * 1000000)::bigint, 1 FROM generate_series(1, {pending}) RETURNING id
), stamped AS (
    INSERT INTO buildset_sourcestamps (buildsetid, sourcestampid)
    SELECT sets.id, s.id FROM sets, sourcestamps s WHERE s.ss_hash = 'queue'
), waiting AS (SELECT array_agg(id ORDER BY id) AS ids FROM builders WHERE name <> '{live}')
INSERT INTO buildrequests (buildsetid, builderid, submitted_at)
SELECT sets.id, ids[1 + sets.id % {builders}], (extract(epoch FROM now()) * 1000000)::bigint FROM sets, waiting;
ANALYZE;
"""


def sql(t, statement):
    run = subprocess.run(["psql", t.url, "-qAt", "-v", "ON_ERROR_STOP=1"], input=statement,
                         capture_output=True, text=True, check=True)
    return run.stdout.strip()


def long_queue(t, o):
    """o.pending requests wait for builders whose workers are away, then for busy ones; another builder has a worker."""
    workers = [f"w{i}" for i in range(WORKERS)]
    sp = scenarios.spec(BUILDERS + 1, [*workers, "live0"],
                        assign=lambda i: ["live0"] if i == BUILDERS else workers)
    for worker in sp["workers"]:
        # The other one is always free: what is measured is the way to it, not its own queue.
        worker["max_builds"] = PLACES if worker["name"] in workers else None
    scenarios.boot(t, sp)
    scenarios.wait_http(t.http + "/health/ready")
    t.stop()
    sql(t, FILL.format(pending=o.pending, builders=BUILDERS, live=f"b{BUILDERS:02d}"))
    began = time.monotonic()
    answers = scenarios.boot(t)
    scenarios.wait_http(t.http + "/health/ready")
    ready = time.monotonic() - began
    live = RustWorkers(t, 1, o.raw, prefix="live").start()
    others = None
    try:
        result = {"pending": o.pending, "answers_s": round(answers, 2), "ready_s": round(ready, 2),
                  "rss_mb": rss_mb(t.master_pids())}
        result["waiting"] = asyncio.run(starts(t, o, workers=1))
        others = RustWorkers(t, WORKERS, o.raw).start()
        result["draining"] = asyncio.run(starts(t, o, workers=1 + WORKERS))
        return result
    finally:
        live.stop()
        if others:
            others.stop()


async def starts(t, o, workers, rate=10, seconds=30):
    """Requests for the builder that has a free worker: from the call to the news of the build."""
    async with Api(t.http) as api:
        await api.wait_workers(workers, 60)
        builder = (await api.builders())[f"b{BUILDERS:02d}"]
        asked, left = {}, int(sql(t, "SELECT count(*) FROM buildrequests WHERE NOT complete"))
        async with Events(api, [f"builders/{builder}/builds/*/new"]) as events:
            meter, began = Meter(t).start(), time.monotonic()

            async def one(n):
                await asyncio.sleep(max(0, began + n / rate - time.monotonic()))
                at = time.monotonic()
                _, request = await api.force(builder)
                asked[request] = at
            await asyncio.gather(*(one(n) for n in range(rate * seconds)))
            done = await events.wait(lambda: len(events.times("new")) >= rate * seconds, 60)
            took = time.monotonic() - began
            figures = meter.stop()
            times = events.times("new")
        waits = [times[request] - at for request, at in asked.items() if request in times]
        now = int(sql(t, "SELECT count(*) FROM buildrequests WHERE NOT complete"))
        return {"requests": len(asked), "all_started": done, "start_p50_ms": ms(pct(waits, 50)),
                "start_p99_ms": ms(pct(waits, 99)), "start_max_ms": ms(max(waits)),
                "others_completed_per_s": round((left - now) / took), "still_waiting": now, **figures}

