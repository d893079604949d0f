/** What an administrator does on the pages beside builds: workers, schedulers, masters, and looking for a line in a log. */

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, site, someBuild, watch } from "./browser";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
});

async function open(route: string): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = watch(page);
  await page.goto(`${site}${route}`);
  return { page, complaints };
}

test("a worker is paused with a reason, which others see at once, and resumed", async () => {
  const { page, complaints } = await open("#/workers");
  const { page: other } = await open("#/workers");
  const row = other.locator("tbody tr").first();
  await row.waitFor();
  const name = await row.locator("a.name").innerText();

  await page.getByRole("button", { name: `Pause ${name}` }).click();
  const dialog = page.getByRole("dialog", { name: `Pause ${name}?` });
  await dialog.getByLabel("Reason").fill("a new disk");
  await dialog.getByRole("button", { name: "Pause", exact: true }).click();
  await dialog.waitFor({ state: "detached" });
  await row.getByText("a new disk").waitFor();

  await row.locator("a.name").click();
  await other.getByRole("heading", { name, level: 1 }).waitFor();
  await other.getByRole("status").filter({ hasText: "paused" }).waitFor();
  await other.getByRole("button", { name: `Resume ${name}` }).click();
  await other.getByRole("status").filter({ hasText: "online" }).waitFor();
  expect(complaints).toEqual([]);
  await Promise.all([page.close(), other.close()]);
});

test("a dialog closes on Escape and gives the focus back", async () => {
  const { page } = await open("#/workers/1");
  const kill = page.getByRole("button", { name: "Kill…" });
  await kill.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await expect.poll(() => kill.evaluate((button) => button === document.activeElement), { timeout: 60_000 }).toBe(true);
  await page.close();
});

test("a scheduler is switched off and on", async () => {
  const { page, complaints } = await open("#/schedulers");
  const row = page.locator("tbody tr").first();
  await row.getByRole("button", { name: "Disable" }).click();
  await row.getByText("disabled", { exact: true }).waitFor();
  await row.getByRole("button", { name: "Enable" }).click();
  await row.getByText("enabled", { exact: true }).waitFor();
  expect(complaints).toEqual([]);
  await page.close();
});

test("a master shows its state, its farm config and its check-ins", async () => {
  const { page, complaints } = await open("#/masters");
  const row = page.locator("tbody tr").first();
  await row.getByText("ready", { exact: true }).waitFor();
  expect(await row.locator("code").getAttribute("title")).toMatch(/^[0-9a-f]{64}$/);
  // One master cannot differ from itself.
  expect(await page.locator(".mark").count()).toBe(0);
  const seen = await row.locator("time").first().getAttribute("datetime");
  await expect.poll(() => row.locator("time").first().getAttribute("datetime"), { timeout: 60_000 }).not.toBe(seen);
  expect(complaints).toEqual([]);
  await page.close();
});

test("a line of a log is found and has an address; the browser's tab shows the result", async () => {
  const build = await someBuild();
  const { page, complaints } = await open(build);
  await page.getByRole("button", { name: "Rebuild" }).waitFor();
  const icon = () => page.locator("link[rel=icon]").getAttribute("href");
  await expect.poll(icon, { timeout: 60_000 }).toContain("data:image/svg+xml");

  await page.goto(`${site}${build}/steps/1/logs/stdio`);
  await page.getByRole("searchbox", { name: /^Find in/ }).fill("program finished");
  await page.getByRole("search").getByText("1 of 1").waitFor();
  const line = page.locator(".line.marked");
  await line.getByText("program finished", { exact: false }).first().waitFor();
  await expect.poll(icon, { timeout: 60_000 }).toBe("./favicon.svg");

  const address = await line.locator("a.no").getAttribute("href");
  expect(address).toMatch(/\?line=[0-9]+$/);
  await page.getByRole("searchbox", { name: /^Find in/ }).fill("no such text");
  await page.getByRole("search").getByText("not found").waitFor();

  const { page: linked } = await open(address ?? "");
  await linked.locator(".line.marked").getByText("program finished", { exact: false }).first().waitFor();
  expect(complaints).toEqual([]);
  await Promise.all([page.close(), linked.close()]);
});
