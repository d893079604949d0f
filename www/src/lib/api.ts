/**
 * The REST client: reads (`GET`, always a list under the plural name) and control calls (JSON-RPC `POST`).
 *
 * Every failure becomes an `ApiError` whose `kind` says what a person can do about it; pages never look at statuses.
 */

import type { Resource } from "./api.gen";

export type ApiErrorKind = "unreachable" | "not-found" | "forbidden" | "invalid" | "unsupported" | "server";

export class ApiError extends Error {
  readonly kind: ApiErrorKind;
  readonly status: number;
  /** For refused force values: full field name → what is wrong with it. */
  readonly fields: Record<string, string>;

  constructor(kind: ApiErrorKind, status: number, message: string, fields: Record<string, string> = {}) {
    super(message);
    this.name = "ApiError";
    this.kind = kind;
    this.status = status;
    this.fields = fields;
  }
}

const UNREACHABLE = "The server cannot be reached.";
const UNKNOWN = "The server could not be reached; it may not have heard of this.";

export type QueryValue = string | number | boolean | readonly (string | number)[] | undefined;
export type Query = Record<string, QueryValue>;

export interface Page<T> {
  items: T[];
  /** The number of items that match, or null where the server does not say. */
  total: number | null;
}

export type FetchLike = (input: string, init?: RequestInit) => Promise<Response>;

/** `said` is whether the API itself answered: it says what is wrong, in JSON. */
function kindOf(status: number, said: boolean): ApiErrorKind {
  // A proxy whose server is away may answer so too, and then nothing was looked for.
  if (status === 404) return said ? "not-found" : "unreachable";
  if (status === 401 || status === 403) return "forbidden";
  if (status === 501) return "unsupported";
  if (status >= 400 && status < 500) return "invalid";
  return "server";
}

/** Encodes a query; repeated parameters come from lists, and undefined ones are left out. */
export function encodeQuery(query: Query): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) params.append(key, String(one));
  }
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export class Api {
  readonly #root: string;
  readonly #fetch: FetchLike;
  #nextId = 1;
  /** Server time minus browser time in seconds, from the last answer's `Date`: running times must not trust the browser's clock. */
  clockOffset = 0;
  /** Called when the server refused something to this user, who may not be logged in any more. */
  refused: () => void = () => {};

  /** `root` is the address of `/api/v2`, without a slash at its end. */
  constructor(root: string, fetchLike: FetchLike = (input, init) => fetch(input, init)) {
    this.#root = root;
    this.#fetch = fetchLike;
  }

  /** The address of an API path, for links (downloads). */
  href(path: string): string {
    return `${this.#root}/${path}`;
  }

  #error(response: Response, text: unknown): ApiError {
    const kind = kindOf(response.status, typeof text === "string");
    if (kind === "forbidden") this.refused();
    if (kind === "unreachable") return new ApiError(kind, response.status, UNREACHABLE);
    const message = typeof text === "string" ? text : response.statusText || `status ${response.status}`;
    return new ApiError(kind, response.status, message);
  }

  async #request(path: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      response = await this.#fetch(this.href(path), { credentials: "same-origin", ...init });
    } catch (cause) {
      if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
      // A refused connection and a lost answer look the same, and what was asked for may still be read when all is well again.
      throw new ApiError("unreachable", 0, init.method === "POST" ? UNKNOWN : UNREACHABLE);
    }
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (!Number.isNaN(date)) {
      const offset = Math.round((date - Date.now()) / 1000);
      // `Date` has whole seconds: differences of one are noise.
      this.clockOffset = Math.abs(offset) <= 1 ? 0 : offset;
    }
    return response;
  }

  /** Reads a collection, or a single resource as a list of one. What it holds is known by the path. */
  async list<P extends string>(path: P, query: Query = {}, signal?: AbortSignal): Promise<Page<Resource<P>>> {
    const response = await this.#request(path + encodeQuery(query), {
      headers: { Accept: "application/json" },
      ...(signal ? { signal } : {}),
    });
    const body: unknown = await response.json().catch(() => null);
    if (!response.ok) throw this.#error(response, isRecord(body) ? body["error"] : undefined);
    const meta = isRecord(body) && isRecord(body["meta"]) ? body["meta"] : {};
    const total = typeof meta["total"] === "number" ? meta["total"] : null;
    const items = isRecord(body) ? Object.entries(body).find(([key]) => key !== "meta")?.[1] : undefined;
    if (!Array.isArray(items)) throw new ApiError("server", response.status, "The server's answer has no list.");
    return { items: items as Resource<P>[], total };
  }

  /** Reads a single resource. */
  async one<P extends string>(path: P, query: Query = {}, signal?: AbortSignal): Promise<Resource<P>> {
    const page = await this.list(path, query, signal);
    const item = page.items[0];
    if (item === undefined) throw new ApiError("not-found", 404, `nothing at ${path}`);
    return item;
  }

  /** A control call. Resolves to its result. */
  async control(path: string, method: string, params: Record<string, unknown> = {}): Promise<unknown> {
    const response = await this.#request(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: this.#nextId++, method, params }),
    });
    const body: unknown = await response.json().catch(() => null);
    if (response.ok && isRecord(body) && "result" in body) return body["result"];
    const error = isRecord(body) ? body["error"] : undefined;
    const message = isRecord(error) ? error["message"] : error;
    if (isRecord(message)) {
      const fields = Object.fromEntries(Object.entries(message).map(([name, text]) => [name, String(text)]));
      throw new ApiError("invalid", response.status, "Some values were refused.", fields);
    }
    throw this.#error(response, message);
  }
}

/** A sentence for a person: what failed and what can be done. */
export function explain(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  switch (error.kind) {
    case "unreachable":
      return error.message;
    case "forbidden":
      // Where no role is missing, the server names the setting itself.
      return `Not allowed: ${error.message}.${error.message.includes("role") ? " Who has it is said by c['www']['authz'] in master.cfg." : ""}`;
    case "not-found":
      return `Not found: ${error.message}`;
    case "unsupported":
    case "invalid":
      return `The server refused this: ${error.message}`;
    case "server":
      return `The server failed (${error.status}): ${error.message}`;
  }
}
