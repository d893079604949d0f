/** A browser for the tests, and the watch over what it complains about. */

import { chromium, type Browser, type Page } from "playwright-core";
import { expect } from "vitest";

export const server = process.env["BUILDGUILD_URL"] ?? "http://127.0.0.1:8010";
/** The page under test; a development server in front of `BUILDGUILD_URL` if given. */
export const site = `${(process.env["BUILDGUILD_PAGE_URL"] ?? server).replace(/\/$/, "")}/`;

export function launch(): Promise<Browser> {
  return chromium.launch({
    timeout: 110_000,
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** Collects everything that a clean page does not have: errors on the console, exceptions, failed requests. */
export function watch(page: Page): string[] {
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`exception: ${error.message}`));
  page.on("response", (response) => {
    if (response.status() >= 500) complaints.push(`${response.status()}: ${response.url()}`);
  });
  return complaints;
}

interface ForceSchedulers {
  forceschedulers: { name: string; builder_names: string[]; button_name: string }[];
}

export interface Target {
  builder: string;
  scheduler: string;
  button: string;
}

/** Reads from the server's REST interface, past the page. */
export async function get<T>(path: string): Promise<T> {
  const response = await fetch(new URL(`api/v2/${path}`, `${server.replace(/\/$/, "")}/`));
  return (await response.json()) as T;
}

/** Forces a build past the page. */
export async function force(builderid: number, scheduler?: string): Promise<void> {
  const response = await fetch(new URL(`api/v2/forceschedulers/${scheduler ?? (await target()).scheduler}`, `${server.replace(/\/$/, "")}/`), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "force", params: { builderid } }),
  });
  expect(response.status, await response.clone().text()).toBe(200);
}

/** The builder to force: `BUILDGUILD_BUILDER`, or the first that some force scheduler names. */
export async function target(): Promise<Target> {
  const { forceschedulers } = await get<ForceSchedulers>("forceschedulers");
  const wanted = process.env["BUILDGUILD_BUILDER"];
  for (const scheduler of forceschedulers) {
    const builder = wanted === undefined ? scheduler.builder_names[0] : scheduler.builder_names.find((name) => name === wanted);
    if (builder !== undefined) return { builder, scheduler: scheduler.name, button: scheduler.button_name };
  }
  throw new Error(`no force scheduler for ${wanted ?? "any builder"} at ${server}`);
}

/** The route of a build that has ended; forces one if there is none. */
export async function someBuild(): Promise<string> {
  const { builder, scheduler } = await target();
  interface Builds {
    builds: { builderid: number; number: number }[];
  }
  const { builders } = await get<{ builders: { builderid: number }[] }>(`builders?name=${encodeURIComponent(builder)}`);
  const builderid = builders[0]?.builderid;
  const find = () => get<Builds>(`builders/${builderid}/builds?complete=true&order=-number&limit=1`);
  let found = await find();
  if (found.builds.length === 0) {
    await force(builderid ?? 0, scheduler);
    await expect.poll(async () => (found = await find()).builds.length, { timeout: 120_000 }).toBeGreaterThan(0);
  }
  return `#/builders/${builderid}/builds/${found.builds[0]?.number}`;
}
