/**
 * The server goes away under open pages and comes back: what is shown stays, is said to be old, and is caught up with,
 * without a click or a reload.
 */

import { rmSync, writeFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, launch, force, server } from "./browser";
import { Relay } from "./relay";

let browser: Browser;
let relay: Relay;
beforeAll(async () => {
  browser = await launch();
  relay = await Relay.to(server);
});
afterAll(async () => {
  await browser?.close();
  await relay?.cut();
});

/** The file that builds of `gated` wait for, between its lines `one` and `two`; without it there is no such builder. */
const gate = process.env["BUILDGUILD_GATE"];

interface Build {
  number: number;
  complete: boolean;
}

/** A page whose memory would be lost by a reload, and what it fetched in vain. */
async function open(route: string): Promise<{ page: Page; refused: Promise<unknown> }> {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${relay.site}${route}`);
  await page.locator("header .live").filter({ hasText: "live" }).waitFor();
  await page.evaluate("window.isTheSame = true");
  const refused = page.waitForEvent("requestfailed", {
    predicate: (request) => request.url().includes("/api/v2/") && request.failure()?.errorText !== "net::ERR_ABORTED",
    // It counts from now, and not from when the server goes away.
    timeout: 240_000,
  });
  return { page, refused };
}

test.skipIf(gate === undefined)("what is shown stays while the server is away, and is caught up with when it is back", async () => {
  const { builders } = await get<{ builders: { builderid: number }[] }>("builders?name=gated");
  const builderid = builders[0]?.builderid ?? 0;
  const builds = async () => (await get<{ builds: Build[] }>(`builders/${builderid}/builds?order=-number`)).builds;
  rmSync(gate ?? "", { force: true });
  const known = (await builds()).length;
  await force(builderid);
  await expect.poll(async () => (await builds()).length, { timeout: 60_000 }).toBe(known + 1);
  const number = (await builds())[0]?.number ?? 0;

  const { page: watched, refused } = await open(`#/builders/${builderid}/builds/${number}`);
  const { page: list, refused: alsoRefused } = await open(`#/builders/${builderid}`);
  const line = (text: string) => watched.locator(".log .line .text").getByText(text, { exact: true });
  const row = (which: number) => list.locator("tbody tr").filter({ has: list.getByRole("link", { name: `#${which}`, exact: true }) });
  // Whoever reads a log wants it to stay open when the step ends.
  await line("one").click();
  await row(number).getByText("running", { exact: true }).waitFor();

  await relay.cut();
  // Meanwhile the build ends, and there is another one.
  writeFileSync(gate ?? "", "");
  await force(builderid);
  await expect
    .poll(async () => (await builds()).filter((build) => build.complete && build.number >= number).length, { timeout: 60_000 })
    .toBe(2);
  // Both have tried to fetch, and have nothing but what they had.
  await Promise.all([refused, alsoRefused]);
  for (const page of [watched, list]) {
    await page.getByRole("alert").filter({ hasText: "connection to the server is lost" }).waitFor();
    expect(await page.getByRole("alert").count()).toBe(1);
  }
  expect(await watched.getByRole("button", { name: "Stop" }).count()).toBe(1);
  expect(await line("one").count()).toBe(1);
  expect(await line("two").count()).toBe(0);
  expect(await row(number).getByText("running", { exact: true }).count()).toBe(1);
  expect(await row(number + 1).count()).toBe(0);

  await relay.restore();
  await line("two").waitFor();
  await watched.getByRole("button", { name: "Rebuild" }).waitFor();
  await watched.getByRole("status").filter({ hasText: "success" }).waitFor();
  // The steps are fetched on their own.
  await expect.poll(() => watched.locator(".step.running, .step.waiting").count(), { timeout: 60_000 }).toBe(0);
  expect(await line("one").count()).toBe(1);
  await row(number).getByText("success", { exact: true }).waitFor();
  await row(number + 1).getByText("success", { exact: true }).waitFor();
  for (const page of [watched, list]) {
    await page.locator("header .live").filter({ hasText: "live" }).waitFor();
    await page.getByRole("alert").waitFor({ state: "detached" });
    expect(await page.evaluate("window.isTheSame")).toBe(true);
    await page.close();
  }
});

test("a page that is opened while the server is away fills when it is back", async () => {
  const { page, refused } = await open("#/masters");
  await page.locator("tbody tr").first().waitFor();
  await relay.cut();
  await refused;
  await page.getByRole("alert").filter({ hasText: "connection to the server is lost" }).waitFor();
  await page.getByRole("link", { name: "Workers" }).click();
  await page.getByRole("heading", { name: "Workers", level: 1 }).waitFor();
  await page.getByRole("alert").filter({ hasText: "cannot be reached" }).waitFor();
  await relay.restore();
  await page.locator("tbody tr").first().waitFor();
  await expect.poll(() => page.getByRole("alert").count(), { timeout: 60_000 }).toBe(0);
  await page.close();
});
