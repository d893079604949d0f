/** Two masters with different farm configs, as `integration/tests/page.rs` starts them, and what the page says of it. */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch, site, watch } from "./browser";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
});

test("masters with different farm configs are marked, and one is drained", async () => {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const complaints = watch(page);
  await page.goto(`${site}#/masters`);
  await page.getByRole("alert").filter({ hasText: "different farm configs" }).waitFor();
  const [first, second] = [page.locator("tbody tr").nth(0), page.locator("tbody tr").nth(1)];
  expect(await first.locator(".mark").innerText()).not.toBe(await second.locator(".mark").innerText());

  const name = await second.locator(".name").innerText();
  await page.getByRole("button", { name: `Drain ${name}` }).click();
  const dialog = page.getByRole("dialog", { name: `Drain ${name}?` });
  await dialog.getByLabel("Reason").fill("a new kernel");
  await dialog.getByRole("button", { name: "Drain", exact: true }).click();
  await dialog.waitFor({ state: "detached" });
  // It has nothing to finish, so it may be gone before anybody saw it drain; then nothing differs any more.
  await second.getByText(/^(draining|gone)$/).waitFor();
  await second.getByText("gone", { exact: true }).waitFor({ timeout: 120_000 });
  await page.getByRole("alert").waitFor({ state: "detached" });
  expect(complaints).toEqual([]);
  await page.close();
});
