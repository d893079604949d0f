/**
 * Looks for a text in all lines of a log, also in those that are not in the page: it reads the log from its beginning in
 * large pieces, one after the other, and goes on when the log grows.
 */

import { plainText, type Run } from "./ansi";
import { parseLine, splitLines, type FetchLines } from "./logstore";
import type { LogType } from "./types";

export interface LogSearchOptions {
  fetchLines: FetchLines;
  type: LogType;
  /** Something was found, or more was read. */
  changed: () => void;
  failed: (error: unknown) => void;
  pieceLines?: number;
  maxHits?: number;
}

export class LogSearch {
  readonly #options: LogSearchOptions;
  #needle = "";
  #total = 0;
  #read = 0;
  #hits: number[] = [];
  #flying: AbortController | null = null;

  constructor(options: LogSearchOptions) {
    this.#options = options;
  }

  /** Numbers of the lines that have the text, in order. */
  get hits(): readonly number[] {
    return this.#hits;
  }

  /** How much of the log was looked at, from 0 to 1. */
  get progress(): number {
    return this.#total === 0 ? 1 : this.#read / this.#total;
  }

  /** Whether it stopped because there are too many hits. */
  get full(): boolean {
    return this.#hits.length >= (this.#options.maxHits ?? 10_000);
  }

  /** Starts over with another text; an empty one ends the search. */
  start(text: string, total: number): void {
    this.stop();
    this.#needle = text.toLowerCase();
    this.#hits = [];
    this.#read = 0;
    this.#total = total;
    this.#options.changed();
    this.#next();
  }

  /** The log has more lines now. */
  grow(total: number): void {
    if (total <= this.#total) return;
    this.#total = total;
    this.#next();
  }

  stop(): void {
    this.#flying?.abort();
    this.#flying = null;
  }

  #next(): void {
    if (this.#needle === "" || this.#flying !== null || this.#read >= this.#total || this.full) return;
    const controller = new AbortController();
    this.#flying = controller;
    const limit = Math.min(this.#options.pieceLines ?? 5_000, this.#total - this.#read);
    this.#options.fetchLines(this.#read, limit, controller.signal).then(
      (content) => {
        if (controller.signal.aborted) return;
        this.#flying = null;
        const lines = splitLines(content);
        lines.forEach((raw, index) => {
          const text = plainText(parseLine(raw, this.#options.type).text);
          if (!this.full && text.toLowerCase().includes(this.#needle)) this.#hits.push(this.#read + index);
        });
        this.#read += lines.length;
        this.#options.changed();
        // Lines that were announced and are not there yet: the next notice of growth goes on.
        if (lines.length > 0) this.#next();
      },
      (error: unknown) => {
        if (controller.signal.aborted) return;
        this.#flying = null;
        this.#options.failed(error);
      },
    );
  }
}

/** Splits runs so that each place where the text stands is a run of its own, of the class `found`. */
export function highlight(runs: readonly Run[], text: string): Run[] {
  const needle = text.toLowerCase();
  const whole = runs.map((one) => one.text).join("");
  const lower = whole.toLowerCase();
  // A few letters change their length with their case: then places are not known.
  if (needle === "" || lower.length !== whole.length) return [...runs];
  const result: Run[] = [];
  let hit = lower.indexOf(needle);
  let at = 0;
  for (const one of runs) {
    const end = at + one.text.length;
    while (at < end) {
      while (hit >= 0 && hit + needle.length <= at) hit = lower.indexOf(needle, hit + needle.length);
      const inside = hit >= 0 && hit <= at;
      const until = Math.min(end, inside ? hit + needle.length : hit >= 0 ? hit : end);
      const part = { ...one, text: whole.slice(at, until) };
      result.push(inside ? { ...part, classes: `${one.classes} found`.trim() } : part);
      at = until;
    }
  }
  return result;
}
