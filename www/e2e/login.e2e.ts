/**
 * Who may do what, as a person meets it: `integration/tests/page.rs` starts a master with two users, of whom `ann` may
 * control everything and `bob` nothing.
 */

import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, launch, site } from "./browser";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
});

const ANN = { username: "ann@example.org", password: "secret" };
const BOB = { username: "bob@example.org", password: "secret" };

/** A browser of its own, that answers the question for a name and password so; without it, with "cancel". */
async function open(route: string, httpCredentials?: BrowserContextOptions["httpCredentials"]): Promise<Page> {
  const context = await browser.newContext(httpCredentials ? { httpCredentials } : {});
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(`${site}${route}`);
  await page.locator("header .live").filter({ hasText: "live" }).waitFor();
  return page;
}

const user = (page: Page) => page.locator("header .user");
const refusal = (page: Page) => page.getByRole("alert").filter({ hasText: "Not allowed: you need to have role 'admins'" });

async function disable(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Disable force" }).click();
}

const enabled = async () => (await get<{ schedulers: { enabled: boolean }[] }>("schedulers?name=force")).schedulers[0]?.enabled;

test("a reader who is not logged in sees everything, is refused, and is shown where to log in", async () => {
  const page = await open("#/workers", ANN);
  await page.locator("tbody tr").first().waitFor();
  await page.getByRole("link", { name: "Schedulers" }).click();
  await disable(page);
  await refusal(page).filter({ hasText: "You are not logged in." }).waitFor();
  expect(await enabled()).toBe(true);

  // It leads back to where the person was, and not to where the page was opened.
  const login = user(page).getByRole("link", { name: "Log in" });
  expect(await refusal(page).getByRole("link", { name: "Log in" }).getAttribute("href")).toBe(await login.getAttribute("href"));
  await login.click();
  await user(page).getByText(ANN.username).waitFor();
  await page.getByRole("heading", { name: "Schedulers", level: 1 }).waitFor();
  await disable(page);
  await page.getByText("disabled", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Enable force" }).click();
  await page.getByText("enabled", { exact: true }).waitFor();

  await user(page).getByRole("link", { name: "Log out" }).click();
  await user(page).getByRole("link", { name: "Log in" }).waitFor();
  await page.goto(`${site}#/schedulers`);
  await disable(page);
  await refusal(page).waitFor();
  await page.context().close();
});

test("a wrong password is said to be one, and the way back is shown", async () => {
  const page = await open("#/workers", { ...ANN, password: "wrong" });
  await user(page).getByRole("link", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Not logged in" }).waitFor();
  expect(await page.getByRole("link", { name: "Try again" }).evaluate((link) => (link as HTMLAnchorElement).href)).toBe(page.url());
  await page.getByRole("link", { name: "go back" }).click();
  await page.getByRole("heading", { name: "Builders", level: 1 }).waitFor();
  await user(page).getByRole("link", { name: "Log in" }).waitFor();
  await page.context().close();
});

test("a user without the role is told which one and who he is, also in a dialog", async () => {
  const page = await open("#/builders", BOB);
  await user(page).getByRole("link", { name: "Log in" }).click();
  await user(page).getByText(BOB.username).waitFor();

  await page.getByRole("link", { name: "hello", exact: true }).click();
  await page.getByRole("button", { name: "force", exact: true }).click();
  const dialog = page.getByRole("dialog");
  // The server knows who it is.
  expect(await dialog.getByLabel("Your name").count()).toBe(0);
  await dialog.getByRole("button", { name: "Start build" }).click();
  await refusal(page).filter({ hasText: `You are logged in as ${BOB.username}.` }).waitFor();
  expect((await get<{ buildrequests: unknown[] }>("buildrequests")).buildrequests).toEqual([]);
  await page.context().close();
});

test("a session that has ended is noticed when it is needed", async () => {
  const page = await open("#/schedulers", ANN);
  await user(page).getByRole("link", { name: "Log in" }).click();
  await user(page).getByText(ANN.username).waitFor();
  await page.context().clearCookies();
  await disable(page);
  await refusal(page).filter({ hasText: "You are not logged in." }).waitFor();
  await user(page).getByRole("link", { name: "Log in" }).waitFor();
  expect(await enabled()).toBe(true);
  await page.context().close();
});
