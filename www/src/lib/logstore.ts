/**
 * The lines of one log, by number, in a bounded cache of pages.
 *
 * Only what is looked at is fetched, and of a growing log only the lines that are new: the last page is continued
 * where it ended. `total` comes from the log's `num_lines` and its `append` events.
 */

import type { LogType } from "./types";

export type LineKind = "stdout" | "stderr" | "header" | "stdin" | "text";

export interface LogLine {
  kind: LineKind;
  text: string;
}

export type FetchLines = (offset: number, limit: number, signal: AbortSignal) => Promise<string>;

export interface LogStoreOptions {
  fetchLines: FetchLines;
  changed: () => void;
  failed: (error: unknown) => void;
  pageSize?: number;
  maxPages?: number;
}

const KINDS: Record<string, LineKind> = { o: "stdout", e: "stderr", h: "header", i: "stdin" };

/** Splits a log's line into its kind and its text. Only stream logs carry the letter. */
export function parseLine(line: string, type: LogType): LogLine {
  if (type !== "s") return { kind: "text", text: line };
  return { kind: KINDS[line.charAt(0)] ?? "stdout", text: line.slice(1) };
}

/** Whole lines, each ended by a newline → lines. */
export function splitLines(content: string): string[] {
  if (content === "") return [];
  const lines = content.split("\n");
  if (lines[lines.length - 1] === "") lines.pop();
  return lines;
}

export class LogStore {
  readonly #fetchLines: FetchLines;
  readonly #changed: () => void;
  readonly #failed: (error: unknown) => void;
  readonly #pageSize: number;
  readonly #maxPages: number;
  /** Least recently used first. */
  readonly #pages = new Map<number, string[]>();
  readonly #flying = new Map<number, AbortController>();
  /** Pages whose last answer was short: asked again only when the log has grown. */
  readonly #shortAt = new Map<number, number>();
  #total = 0;

  constructor(options: LogStoreOptions) {
    this.#fetchLines = options.fetchLines;
    this.#changed = options.changed;
    this.#failed = options.failed;
    this.#pageSize = options.pageSize ?? 500;
    this.#maxPages = options.maxPages ?? 40;
  }

  get total(): number {
    return this.#total;
  }

  /** The log has this many lines now. Logs never shrink, so a late notice changes nothing. */
  grow(total: number): void {
    if (total <= this.#total) return;
    this.#total = total;
    this.#changed();
  }

  line(index: number): string | undefined {
    return this.#pages.get(Math.floor(index / this.#pageSize))?.[index % this.#pageSize];
  }

  /** Sees to it that lines `first` to `last` (exclusive) are or will be there; drops fetches of what is out of sight. */
  want(first: number, last: number): void {
    const from = Math.max(0, Math.floor(first / this.#pageSize));
    const to = Math.floor(Math.max(0, Math.min(last, this.#total) - 1) / this.#pageSize);
    for (const [page, controller] of this.#flying) {
      if (page < from || page > to) {
        controller.abort();
        this.#flying.delete(page);
      }
    }
    for (let page = from; page <= to; page++) this.#wantPage(page);
  }

  stop(): void {
    for (const controller of this.#flying.values()) controller.abort();
    this.#flying.clear();
  }

  #wantPage(page: number): void {
    const known = this.#pages.get(page);
    if (known !== undefined) {
      // Seen again: it moves to the young end.
      this.#pages.delete(page);
      this.#pages.set(page, known);
    }
    const have = known?.length ?? 0;
    const start = page * this.#pageSize;
    const should = Math.min(this.#pageSize, this.#total - start);
    if (have >= should || this.#flying.has(page) || this.#shortAt.get(page) === this.#total) return;
    const controller = new AbortController();
    this.#flying.set(page, controller);
    const askedAt = this.#total;
    this.#fetchLines(start + have, should - have, controller.signal).then(
      (content) => {
        if (controller.signal.aborted) return;
        this.#flying.delete(page);
        const lines = splitLines(content).slice(0, should - have);
        if (lines.length < should - have) this.#shortAt.set(page, askedAt);
        this.#pages.set(page, [...(this.#pages.get(page) ?? []), ...lines]);
        this.#evict();
        this.#changed();
      },
      (error: unknown) => {
        if (controller.signal.aborted) return;
        this.#flying.delete(page);
        this.#shortAt.set(page, askedAt);
        this.#failed(error);
      },
    );
  }

  /** After a failure: ask again for what is missing. */
  retry(): void {
    this.#shortAt.clear();
    this.#changed();
  }

  #evict(): void {
    for (const page of this.#pages.keys()) {
      if (this.#pages.size <= this.#maxPages) return;
      this.#pages.delete(page);
    }
  }
}
