/** The main path through the page, in a browser, against a running server: a person forces a build and reads its log. */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, site, target, watch } from "./browser";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
});

test("force a build from the page, watch it live and read its log", async () => {
  const { builder, button } = await target();
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = watch(page);

  await page.goto(site);
  await page.getByRole("heading", { name: "Builders", level: 1 }).waitFor();
  await page.getByRole("status").filter({ hasText: "live" }).waitFor();

  await page.getByRole("link", { name: builder, exact: true }).click();
  await page.getByRole("heading", { name: builder, level: 1 }).waitFor();
  await page.getByRole("button", { name: button }).click();
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  const reason = dialog.getByLabel("Reason", { exact: true });
  if ((await reason.count()) > 0) await reason.fill("end-to-end test");
  await dialog.getByRole("button", { name: "Start build" }).click();
  await dialog.waitFor({ state: "detached" });

  // The request's page gives way to the build as soon as a worker takes it.
  await page.waitForURL(/#\/builders\/\d+\/builds\/\d+$/);
  await page.getByRole("button", { name: "Rebuild" }).waitFor({ timeout: 90_000 });
  const facts = await page.locator("dl.facts").innerText();
  expect(facts).toContain("State");

  // Every step has come to an end in the page too, by events alone.
  await page.locator(".step").first().waitFor();
  await expect.poll(() => page.locator(".step.running, .step.waiting").count(), { timeout: 60_000 }).toBe(0);

  // Some step has a log with at least one line in view.
  const toggles = page.locator(".step .toggle[aria-expanded=false]");
  while ((await page.locator(".log .line .text").count()) === 0 && (await toggles.count()) > 0) {
    await toggles.last().click();
    await page.locator(".log .line .text, .panel .empty").first().waitFor();
  }
  await page.locator(".log .line .text").first().waitFor();
  expect((await page.locator(".log .line .text").allInnerTexts()).join("").trim()).not.toBe("");

  await page.getByRole("button", { name: "Properties" }).click();
  await page.getByRole("cell", { name: "buildername", exact: true }).waitFor();

  expect(complaints).toEqual([]);
  await page.close();
});

test("an unknown address and an unknown build say so", async () => {
  const page = await browser.newPage();
  await page.goto(`${site}#/no/such/page`);
  await page.getByRole("heading", { name: "Not found" }).waitFor();
  await page.goto(`${site}#/builders/999999/builds/1`);
  await page.getByRole("heading", { name: "Not found" }).waitFor();
  await page.close();
});

test("a lost connection is shown, and the page catches up by itself", async () => {
  const page = await browser.newPage();
  let cut = false;
  const open: { close: () => Promise<void> }[] = [];
  await page.routeWebSocket(/\/ws$/, (route) => {
    if (cut) {
      void route.close();
      return;
    }
    route.connectToServer();
    open.push(route);
  });
  await page.goto(site);
  const live = page.locator("header .live");
  await live.filter({ hasText: "live" }).waitFor();
  cut = true;
  await Promise.all(open.map((route) => route.close()));
  await page.getByRole("alert").filter({ hasText: "connection to the server is lost" }).waitFor();
  cut = false;
  await live.filter({ hasText: "live" }).waitFor({ timeout: 60_000 });
  await page.getByRole("alert").waitFor({ state: "detached" });
  await page.close();
});
