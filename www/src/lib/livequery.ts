/**
 * Subscribe, then fetch, then apply: the life of everything live on a page.
 *
 * Events that arrive while the fetch is under way wait and are applied on top of its answer. Each reconnect starts
 * over. Without a connection (a proxy that knows no WebSocket, a server on its way up) the query polls. Events are
 * hints: even with a connection everything is fetched again from time to time, which finds what a lost hint would
 * have missed.
 */

import type { LiveSocket } from "./socket";
import type { LiveEvent } from "./topic";

export interface LiveQuerySpec<T> {
  paths: readonly string[];
  load: (signal: AbortSignal) => Promise<T>;
  /** The fetched state, which replaces everything. */
  reset: (state: T) => void;
  apply: (event: LiveEvent) => void;
  /** Something was reset or applied. Called at most once per turn of the event loop. */
  changed: () => void;
  failed: (error: unknown) => void;
  /** Time between fetches without a connection. */
  pollMs?: number;
  /** Time between fetches with one. */
  rescanMs?: number;
}

/** How long the first fetch waits for the connection before it goes ahead without. */
const PATIENCE_MS = 1_500;

export class LiveQuery<T> {
  readonly #socket: Pick<LiveSocket, "subscribe" | "state">;
  readonly #spec: LiveQuerySpec<T>;
  #waiting: LiveEvent[] | null = [];
  #fetch: AbortController | null = null;
  #unsubscribe: (() => void) | null = null;
  #poll: ReturnType<typeof setTimeout> | undefined;
  #fetchedAt = 0;
  #announced = false;
  #stopped = false;

  constructor(socket: Pick<LiveSocket, "subscribe" | "state">, spec: LiveQuerySpec<T>) {
    this.#socket = socket;
    this.#spec = spec;
  }

  start(): void {
    this.#poll = setTimeout(() => this.refresh(), PATIENCE_MS);
    this.#unsubscribe = this.#socket.subscribe({
      paths: this.#spec.paths,
      onReady: () => this.refresh(),
      onEvent: (event) => {
        if (this.#waiting !== null) {
          this.#waiting.push(event);
          return;
        }
        this.#spec.apply(event);
        this.#announce();
      },
    });
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#poll);
    this.#fetch?.abort();
    this.#unsubscribe?.();
  }

  /** Fetches again; what is on the page stays until the answer is there. */
  refresh(): void {
    if (this.#stopped) return;
    clearTimeout(this.#poll);
    this.#fetch?.abort();
    const controller = new AbortController();
    this.#fetch = controller;
    this.#waiting = [];
    this.#spec.load(controller.signal).then(
      (state) => {
        if (controller.signal.aborted) return;
        const waiting = this.#waiting ?? [];
        this.#waiting = null;
        this.#fetch = null;
        this.#fetchedAt = Date.now();
        this.#spec.reset(state);
        for (const event of waiting) this.#spec.apply(event);
        this.#announce();
        this.#schedulePoll();
      },
      (error: unknown) => {
        if (controller.signal.aborted) return;
        this.#fetch = null;
        this.#spec.failed(error);
        this.#schedulePoll();
      },
    );
  }

  #schedulePoll(): void {
    const pollMs = this.#spec.pollMs ?? 10_000;
    this.#poll = setTimeout(() => {
      const rested = Date.now() - this.#fetchedAt >= (this.#spec.rescanMs ?? 30_000);
      if (this.#socket.state === "open" && this.#waiting === null && !rested) this.#schedulePoll();
      else this.refresh();
    }, pollMs);
  }

  #announce(): void {
    if (this.#announced) return;
    this.#announced = true;
    queueMicrotask(() => {
      this.#announced = false;
      if (!this.#stopped) this.#spec.changed();
    });
  }
}
