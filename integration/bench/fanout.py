"""Many subscribers that each follow one builder."""
import asyncio
import json
import subprocess
import sys
import time

import scenarios
from fake import RustWorkers
from lib import Api, Events, Meter, ms, pct, popen, rss_mb


def subscribers(t, o):
    names = [f"w{i}" for i in range(o.fake_workers)]
    scenarios.boot(t, scenarios.spec(20, names))
    w = RustWorkers(t, o.fake_workers, o.raw).start()
    try:
        return asyncio.run(_subscribers(t, o))
    finally:
        w.stop()


async def _subscribers(t, o):
    """Half of o.subscribers[-1] on SSE and half on WebSocket; 50 builds a second for 20 s."""
    rate, seconds = 50, 20
    async with Api(t.http) as api:
        await api.wait_workers(o.fake_workers, 60)
        await asyncio.sleep(2)
        b = list((await api.builders()).values())
        await scenarios.burst(t, api, await api.builders(), 100, 8, 120)  # warm-up
        await scenarios.quiet(t, 30)
        host, port = t.http.split("//")[1].split(":")
        rss0, each = rss_mb(t.master_pids()), o.subscribers[-1] // len(b)
        procs = []
        for kind in ("sse", "ws"):
            for i in b:
                p = popen([sys.executable, scenarios.HERE / "subscribers.py", "--host", host, "--port", port, "--kind",
                           kind, "--count", each, "--path", f"builders/{i}/builds/*/*"],
                          o.raw / f"subscribers_{kind}_{i}.log", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                procs.append((kind, i, p))
        ready = [json.loads(await asyncio.to_thread(p.stdout.readline)) for _, _, p in procs]
        await asyncio.sleep(2)
        rss1 = rss_mb(t.master_pids())
        subscribed = sum(r["ready"] for r in ready)
        posted, m, t0 = {}, Meter(t).start(), time.monotonic()
        async with Events(api, ["builds/*/finished"]) as ev:
            async def one(n):
                await asyncio.sleep(max(0, t0 + n / rate - time.monotonic()))
                _, br = await api.force(b[n % len(b)])
                posted[br] = n
            tasks = []
            for n in range(rate * seconds):
                tasks.append(asyncio.create_task(one(n)))
            await asyncio.gather(*tasks)
            done = await ev.wait(lambda: len(ev.times("finished")) >= rate * seconds, o.timeout)
            wall = time.monotonic() - t0
            await scenarios.quiet(t, 60)
        figures = m.stop()
        rss2 = rss_mb(t.master_pids())
        spread, lost, messages, dropped = [], 0, 0, 0
        for kind, i, p in procs:
            p.stdin.close()
        for (kind, i, p), r in zip(procs, ready):
            s = json.loads(await asyncio.to_thread(p.stdout.read))
            p.wait(60)
            mine = [e for e in s["events"] if e["brid"] in posted]
            spread += [e["last"] - e["first"] for e in mine]
            lost += sum(r["ready"] - e["got"] for e in mine)
            messages += sum(e["got"] for e in mine)
            dropped += s["disconnected"]
        return {"subscribers": subscribed, "builds": rate * seconds, "all_builds_finished": done,
                "wall_s": round(wall, 2), "messages": messages, "lost_messages": lost, "disconnected": dropped,
                "first_to_last_p50_ms": ms(pct(spread, 50)), "first_to_last_p99_ms": ms(pct(spread, 99)),
                "deliveries_per_s": round(messages / wall), "rss_before_mb": rss0, "rss_subscribed_mb": rss1,
                "rss_after_mb": rss2, "kb_per_subscriber": round((rss1 - rss0) * 1024 / max(1, subscribed), 1),
                "kb_per_subscriber_after": round((rss2 - rss0) * 1024 / max(1, subscribed), 1), **figures}
