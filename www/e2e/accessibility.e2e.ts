/** Every page, light and dark, against the WCAG rules that a machine can check. No violation is accepted. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { AxeResults } from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, site, someBuild } from "./browser";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
});

async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  const result = (await page.evaluate("axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] })")) as AxeResults;
  return result.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(" ")}`);
}

async function shown(page: Page, route: string): Promise<void> {
  await page.goto(`${site}${route}`);
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.getByText("Loading…").waitFor({ state: "detached" });
}

/** How much wider than the window a page is; tables scroll by themselves. */
function excess(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

const PAGES = [
  "#/builders",
  "#/builders/1",
  "#/workers",
  "#/workers/1",
  "#/pendingbuildrequests",
  "#/changes",
  "#/schedulers",
  "#/masters",
  "#/nowhere",
];

test("no page is wider than a small window", async () => {
  const page = await browser.newPage({ viewport: { width: 400, height: 800 } });
  const build = await someBuild();
  for (const route of [...PAGES, build, `${build}/steps/1/logs/stdio`]) {
    await shown(page, route);
    expect(await excess(page), route).toBe(0);
  }
  await page.close();
});

test.each(["light", "dark"] as const)("pages are accessible (%s)", async (colorScheme) => {
  const page = await browser.newPage({ colorScheme, reducedMotion: "reduce" });
  const build = await someBuild();
  for (const route of [...PAGES, `${build}/steps/1/logs/stdio?line=1`]) {
    await shown(page, route);
    expect(await violations(page), `${colorScheme} ${route}`).toEqual([]);
  }
  await page.goto(`${site}${build}`);
  await page.locator(".step").first().waitFor();
  await page.locator(".step .toggle").last().click();
  expect(await violations(page), `${colorScheme} build`).toEqual([]);
  await page.getByRole("button", { name: "Sources and changes" }).click();
  await page.getByRole("columnheader", { name: "Revision" }).waitFor();
  expect(await violations(page), `${colorScheme} sources`).toEqual([]);
  await page.getByRole("button", { name: "Properties" }).click();
  await page.getByRole("cell", { name: "buildername", exact: true }).waitFor();
  expect(await violations(page), `${colorScheme} properties`).toEqual([]);

  await page.goto(`${site}#/builders`);
  for (const name of await page.locator("a.name").allInnerTexts()) {
    await page.getByRole("link", { name, exact: true }).click();
    await page.getByRole("heading", { name, level: 1 }).waitFor();
    await page.getByRole("heading", { name: "Builds", exact: true }).waitFor();
    const force = page.locator(".actions button.primary").first();
    if ((await force.count()) > 0) {
      await force.click();
      await page.getByRole("dialog").waitFor();
      expect(await violations(page), `${colorScheme} force form of ${name}`).toEqual([]);
      break;
    }
    await page.goto(`${site}#/builders`);
  }
  await page.close();
});
