#!/usr/bin/env python3
"""Asks for deep pages and log contents, so many a second as the target answers and at most RATE, until stdin ends.

    crawler.py URL RATE

When it runs it prints "running"; in the end what it got, as JSON. At most 64 requests are in flight.
"""
import asyncio
import json
import random
import sys
import time

import aiohttp

IN_FLIGHT = 64


async def main(base, rate):
    rng, counts = random.Random(1), {"answers": 0, "failures": 0}
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        async def ask(path):
            async with session.get(f"{base}/api/v2/{path}", headers={"Accept": "application/json"}) as answer:
                return await answer.read() if answer.status == 200 else None

        newest = json.loads(await ask("builds?limit=1&order=-buildid"))["builds"][0]["buildid"]
        paths = [
            lambda: f"builds?limit=50&order=-buildid&offset={rng.randrange(newest)}",
            lambda: f"builds/{rng.randrange(1, newest)}/steps",
            lambda: f"builds/{rng.randrange(1, newest)}?property=*",
            lambda: f"logs/{rng.randrange(1, 3 * newest)}/contents?limit=500",
            lambda: f"changes?limit=50&order=-changeid&offset={rng.randrange(1000)}",
        ]
        free = asyncio.Semaphore(IN_FLIGHT)

        async def count(path):
            try:
                # What is not there (an id between others) is an answer, too.
                await ask(path)
                counts["answers"] += 1
            except (aiohttp.ClientError, asyncio.TimeoutError):
                counts["failures"] += 1
            finally:
                free.release()

        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print("running", flush=True)
        started, asked, tasks = time.monotonic(), 0, set()
        while not ended.done():
            await asyncio.sleep(max(0, started + asked / rate - time.monotonic()))
            await free.acquire()
            task = asyncio.create_task(count(rng.choice(paths)()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            asked += 1
        seconds = time.monotonic() - started
        for task in tasks:
            task.cancel()
    print(json.dumps({**counts, "asked_per_s": round(asked / seconds, 1), "seconds": round(seconds, 1)}))


asyncio.run(main(sys.argv[1], float(sys.argv[2])))
