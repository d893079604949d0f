/** Runes around live queries: state that components read, kept up to date for as long as they are shown. */

import { ApiError } from "./api";
import { app, socket } from "./app.svelte";
import { Collection, type CollectionOptions } from "./collection";
import { LiveQuery } from "./livequery";
import type { LiveEvent } from "./topic";

/** A failure worth telling: that the server is away is said once, above all that is still shown. */
function told(error: unknown, isShown: boolean): unknown {
  const isAway = error instanceof ApiError && error.kind === "unreachable" && app.connection === "lost";
  return isAway && isShown ? null : error;
}

export interface LiveListSpec<T extends object> extends CollectionOptions<T> {
  paths: readonly string[];
  load: (signal: AbortSignal) => Promise<readonly T[]>;
  /** Time between fetches, for what changes without an event. */
  rescanMs?: number;
}

export class LiveList<T extends object> {
  items = $state.raw<T[]>([]);
  /** False until the first answer. */
  loaded = $state(false);
  #failure = $state.raw<unknown>(null);
  #query: LiveQuery<readonly T[]> | null = null;

  /** `spec` is read again, and the list starts over, when the state it depends on changes; null means nothing to show. */
  constructor(spec: () => LiveListSpec<T> | null) {
    $effect(() => {
      const current = spec();
      // What is shown stays until the first answer to the new question.
      if (current === null) return undefined;
      const collection = new Collection<T>(current);
      const query = new LiveQuery<readonly T[]>(socket, {
        paths: current.paths,
        load: current.load,
        ...(current.rescanMs === undefined ? {} : { rescanMs: current.rescanMs, pollMs: current.rescanMs }),
        reset: (items) => collection.reset(items),
        apply: (event) => collection.apply(event),
        changed: () => {
          this.items = [...collection.items()];
          this.loaded = true;
          this.#failure = null;
        },
        failed: (error) => (this.#failure = error),
      });
      this.#query = query;
      query.start();
      return () => query.stop();
    });
  }

  get error(): unknown {
    return told(this.#failure, this.loaded);
  }

  refresh(): void {
    this.#query?.refresh();
  }
}

export interface LiveValueSpec<T> {
  paths: readonly string[];
  load: (signal: AbortSignal) => Promise<T>;
  apply: (value: T, event: LiveEvent) => T;
}

/** One thing instead of many, with its own way to apply an event. */
export class LiveValue<T> {
  value = $state.raw<T | null>(null);
  #failure = $state.raw<unknown>(null);

  constructor(spec: () => LiveValueSpec<T> | null) {
    $effect(() => {
      const current = spec();
      if (current === null) return undefined;
      let value: T;
      const query = new LiveQuery<T>(socket, {
        paths: current.paths,
        load: current.load,
        reset: (next) => (value = next),
        apply: (event) => (value = current.apply(value, event)),
        changed: () => {
          this.value = value;
          this.#failure = null;
        },
        failed: (error) => (this.#failure = error),
      });
      query.start();
      return () => query.stop();
    });
  }

  get error(): unknown {
    return told(this.#failure, this.value !== null);
  }
}
