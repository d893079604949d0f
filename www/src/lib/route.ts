/** Hash routes, with Buildbot's addresses, so that links in old mails and chats go on working. */

export type Route =
  | { page: "builders" }
  | { page: "builder"; builder: string }
  | { page: "build"; builder: string; number: number }
  | { page: "log"; builder: string; number: number; step: number; slug: string }
  | { page: "request"; id: number }
  | { page: "pending" }
  | { page: "workers" }
  | { page: "worker"; id: number }
  | { page: "changes" }
  | { page: "change"; id: number }
  | { page: "schedulers" }
  | { page: "masters" }
  | { page: "not-found"; path: string };

const NUMBER = /^[0-9]{1,15}$/;

/** An address as a person would write it. */
export function readable(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Reads `location.hash`. What it does not know is the page `not-found`, never an exception. */
export function parseRoute(hash: string): Route {
  const path = hash.replace(/^#/, "").replace(/\?.*$/, "");
  const parts = path.split("/").filter((part) => part !== "").map(readable);
  const [head, a, b, c, d, e, f, g] = parts;
  const unknown: Route = { page: "not-found", path };
  /** `NAME/ID`, and nothing behind it. */
  const single = (page: "worker" | "change" | "request"): Route =>
    a !== undefined && NUMBER.test(a) && b === undefined ? { page, id: Number(a) } : unknown;
  switch (head) {
    case undefined:
      return { page: "builders" };
    case "builders":
      break;
    case "workers":
      return a === undefined ? { page: "workers" } : single("worker");
    case "changes":
      return a === undefined ? { page: "changes" } : single("change");
    case "schedulers":
      return a === undefined ? { page: "schedulers" } : unknown;
    case "masters":
      // Buildbot has a page for each master; here all that is known of one is in the list.
      return b === undefined && (a === undefined || NUMBER.test(a)) ? { page: "masters" } : unknown;
    case "pendingbuildrequests":
      return a === undefined ? { page: "pending" } : unknown;
    case "buildrequests":
      return single("request");
    default:
      return unknown;
  }
  if (a === undefined) return { page: "builders" };
  if (b === undefined) return { page: "builder", builder: a };
  if (b !== "builds" || c === undefined || !NUMBER.test(c)) return unknown;
  const number = Number(c);
  if (d === undefined) return { page: "build", builder: a, number };
  if (d !== "steps" || e === undefined || !NUMBER.test(e)) return unknown;
  if (f === undefined) return { page: "build", builder: a, number };
  if (f !== "logs" || g === undefined || parts.length > 8) return unknown;
  return { page: "log", builder: a, number, step: Number(e), slug: g };
}

/** Parameters behind `?` in the hash, such as a filter that should survive a reload. */
export function parseQuery(hash: string): URLSearchParams {
  const at = hash.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : hash.slice(at + 1));
}

export const href = {
  builders: (): string => "#/builders",
  builder: (builder: number | string): string => `#/builders/${encodeURIComponent(builder)}`,
  build: (builder: number | string, number: number): string => `${href.builder(builder)}/builds/${number}`,
  log: (builder: number | string, number: number, step: number, slug: string): string =>
    `${href.build(builder, number)}/steps/${step}/logs/${encodeURIComponent(slug)}`,
  request: (id: number): string => `#/buildrequests/${id}`,
  pending: (): string => "#/pendingbuildrequests",
  workers: (): string => "#/workers",
  worker: (id: number): string => `#/workers/${id}`,
  changes: (): string => "#/changes",
  change: (id: number): string => `#/changes/${id}`,
  schedulers: (): string => "#/schedulers",
  masters: (): string => "#/masters",
};

/**
 * A link that a job set. Only web addresses are followed (`javascript:` and the like are not links), and an
 * address of this site becomes a route of this page, however the site is reached.
 */
export function safeLink(url: string, siteUrl: string): string | null {
  if (url.startsWith("#/")) return url;
  if (siteUrl !== "" && url.startsWith(`${siteUrl.replace(/\/$/, "")}/#/`)) return url.slice(url.indexOf("#/"));
  try {
    const parsed = new URL(url);
    return parsed.protocol === "http:" || parsed.protocol === "https:" ? parsed.href : null;
  } catch {
    return null;
  }
}
