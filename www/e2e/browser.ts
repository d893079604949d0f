/** A browser for the tests, and the watch over what it complains about. */

import { chromium, type Browser, type Page } from "playwright-core";

export const server = process.env["BUILDGUILD_URL"] ?? "http://127.0.0.1:8010";
/** The page under test; a development server in front of `BUILDGUILD_URL` if given. */
export const site = `${(process.env["BUILDGUILD_PAGE_URL"] ?? server).replace(/\/$/, "")}/`;

export function launch(): Promise<Browser> {
  return chromium.launch({
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
