/**
 * Buildbot's own web interface (from PyPI) on top of Buildguild: a person clicks through all of it, forces a build and
 * watches its log, and nothing in the browser complains. It knows nothing of Buildguild, so it shows what any client
 * written for Buildbot finds here.
 *
 * The farm that it needs is that of `integration/tests/page.rs`, which starts this. With
 * `BUILDGUILD_SCREENSHOTS` every page is also kept as a picture.
 */

import { writeFileSync } from "node:fs";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, site, watch } from "./browser";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
});

/** The file that lets the forced build go on. */
const gate = process.env["BUILDGUILD_GATE"] ?? "/tmp/buildguild-stock-page-go-on";
const pictures = process.env["BUILDGUILD_SCREENSHOTS"];

async function picture(page: Page, name: string): Promise<void> {
  if (pictures !== undefined) await page.screenshot({ path: `${pictures}/${name}.png` });
}

/**
 * What the interface throws against Buildbot itself as well: it does not expect the `null` that is the body of a cancelled
 * request's `cancel` event, there and, as clients may count on it, here.
 */
const ownFault = "exception: Cannot read properties of null (reading 'buildrequestid')";

/** A page with the watch on; a request that fails for any reason is a complaint too. */
async function open(): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(60_000);
  const complaints = watch(page);
  page.on("requestfailed", (request) => complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on("response", (response) => {
    if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`);
  });
  await page.goto(site);
  await page.getByText("Welcome to buildbot").waitFor();
  return { page, complaints };
}

/** Goes to a page by the menu, as a person does: once more if its group was just closing. */
async function menu(page: Page, name: string): Promise<void> {
  const link = page.getByRole("link", { name, exact: true });
  const clicked = async () => {
    if (!(await link.isVisible())) await page.getByRole("button", { name: "Builds", exact: true }).click();
    return link.click({ timeout: 3_000 }).then(
      () => true,
      () => false,
    );
  };
  await expect.poll(clicked, { timeout: 30_000 }).toBe(true);
}

async function force(page: Page, builder: string, fill: Record<string, string> = {}): Promise<void> {
  await menu(page, "Builders");
  await page.getByRole("link", { name: builder, exact: true }).click();
  await page.getByRole("button", { name: "force", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await picture(page, `force-${builder}`);
  for (const [label, value] of Object.entries(fill)) await dialog.getByLabel(label, { exact: true }).fill(value);
  await dialog.getByRole("button", { name: "Start build" }).click();
}

test("a build is forced and its log is shown while it is written", async () => {
  const { page, complaints } = await open();
  await picture(page, "home");
  await force(page, "hello", { reason: "from the other interface", Greeting: "servus" });
  await page.waitForURL(/#\/builders\/\d+\/builds\/\d+$/);

  // The running step is opened by itself. The build stops after three lines until the file is there.
  const line = (text: string) => page.locator(".logline").getByText(text, { exact: true });
  await line("servus 3").waitFor();
  expect(await page.getByText("build successful").count()).toBe(0);
  await picture(page, "build-running");
  writeFileSync(gate, "");
  await page.getByText("build successful").waitFor();
  await page.getByRole("button", { name: "Rebuild" }).waitFor();
  await picture(page, "build-finished");

  await page.getByText("greet").first().click();
  await line("servus 6").waitFor();
  await page.getByRole("link", { name: /view all \d+ lines/ }).first().click();
  await page.waitForURL(/\/steps\/\d+\/logs\/stdio$/);
  await page.getByText("servus 6").first().waitFor();
  await picture(page, "log");
  await page.goBack();

  for (const [tab, text] of [
    ["Build Properties", "servus"],
    ["Worker: local", "local"],
    ["Responsible Users", ""],
    ["Changes", ""],
    ["Debug", "from the other interface"],
  ] as const) {
    await page.getByRole("tab", { name: tab }).click();
    if (text !== "") await page.getByRole("tabpanel").getByText(text).first().waitFor();
    await page.getByRole("tabpanel").getByText("Loading").waitFor({ state: "detached" });
    await picture(page, `build-${tab.replace(/\W+/g, "-").toLowerCase()}`);
  }
  expect(complaints).toEqual([]);
  await page.close();
});

test("a request waits, is seen among the pending ones and is cancelled; a build is stopped", async () => {
  const { page, complaints } = await open();
  await force(page, "waits");
  await page.waitForURL(/#\/buildrequests\/\d+/);
  await menu(page, "Pending Buildrequests");
  const row = page.locator("tr", { hasText: "waits" });
  await row.first().waitFor();
  await picture(page, "pending");
  await row.first().locator("a[href*='buildrequests/']").first().click();
  await page.getByRole("button", { name: "Cancel" }).click();
  // What was cancelled is no longer pending.
  await menu(page, "Pending Buildrequests");
  await row.first().waitFor({ state: "detached" });

  await force(page, "slow");
  await page.waitForURL(/#\/builders\/\d+\/builds\/\d+$/);
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("CANCELLED").first().waitFor();
  await picture(page, "stopped");
  expect(complaints.filter((complaint) => complaint !== ownFault)).toEqual([]);
  await page.close();
});

test("every page of the menu shows what the farm has", async () => {
  const { page, complaints } = await open();
  const content = page.locator("#root");
  for (const [name, texts] of [
    ["Builders", ["hello", "slow", "waits", "fails"]],
    ["Workers", ["local", "absent"]],
    ["Last Changes", ["A change to look at"]],
    ["Build Masters", ["m0", "local"]],
    ["Schedulers", ["force", "on-commit", "m0"]],
    ["Projects", ["compat"]],
    ["Console View", ["A change to look at", "hello", "fails"]],
    ["Grid View", ["A change to look at", "hello", "fails"]],
    ["Waterfall View", ["hello", "fails", "quick"]],
    ["About", ["Buildbot", "4.3.0"]],
    ["Settings", []],
    ["Home", ["Welcome to buildbot", "recent builds"]],
  ] as const) {
    await menu(page, name);
    for (const text of texts) await content.getByText(text).first().waitFor();
    await page.waitForLoadState("networkidle");
    await picture(page, name.toLowerCase().replaceAll(" ", "-"));
  }

  await menu(page, "Workers");
  // Whatever a worker says of itself has a column, and the window is only so wide.
  await page.getByRole("columnheader", { name: "version", exact: true }).waitFor();
  expect(await page.getByRole("table").first().evaluate((table) => table.getBoundingClientRect().right)).toBeLessThan(1280);
  await page.getByRole("link", { name: "local", exact: true }).click();
  await page.waitForURL(/#\/workers\/\d+/);
  await picture(page, "worker");
  await menu(page, "Projects");
  await page.getByRole("link", { name: "compat", exact: true }).first().click();
  await page.waitForURL(/#\/projects\/\d+/);
  await content.getByText("hello").first().waitFor();
  await picture(page, "project");
  await menu(page, "Waterfall View");
  await page.locator("svg rect").first().waitFor();
  expect(complaints).toEqual([]);
  await page.close();
});
