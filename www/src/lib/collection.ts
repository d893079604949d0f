/**
 * A live collection: resources by id, kept up to date by events whose body is the resource.
 *
 * Between "subscribed" and "fetched" an event may be older than the fetched row, so a row never goes back: `newer`
 * decides, and by default a complete row stays complete.
 */

import type { LiveEvent } from "./topic";

export interface CollectionOptions<T> {
  id: (item: T) => number;
  /** Order of `items()`. */
  compare: (a: T, b: T) => number;
  /** What belongs here; an item that stops to belong is removed (a request that got claimed). */
  accepts?: (item: T) => boolean;
  /** False if `next` is older than `known`. */
  newer?: (known: T, next: T) => boolean;
  /** At most this many items are kept, in order. */
  limit?: number;
}

function completesOnce(known: unknown, next: unknown): boolean {
  const a = known as { complete?: unknown };
  const b = next as { complete?: unknown };
  return !(a.complete === true && b.complete === false);
}

export class Collection<T extends object> {
  readonly #options: CollectionOptions<T>;
  readonly #byId = new Map<number, T>();
  #sorted: T[] | null = null;

  constructor(options: CollectionOptions<T>) {
    this.#options = options;
  }

  /** Takes a fetched list as the whole truth. */
  reset(items: readonly T[]): void {
    this.#byId.clear();
    this.#sorted = null;
    for (const item of items) this.put(item);
  }

  /** Adds or updates one item; true if something changed. */
  put(item: T): boolean {
    const id = this.#options.id(item);
    const known = this.#byId.get(id);
    if (known !== undefined && !(this.#options.newer ?? completesOnce)(known, item)) return false;
    const accepted = this.#options.accepts?.(item) ?? true;
    if (!accepted) {
      if (known === undefined) return false;
      this.#byId.delete(id);
      this.#sorted = null;
      return true;
    }
    // Events may lack what a fetch had (properties asked for by name), so the row is laid over the known one.
    this.#byId.set(id, known === undefined ? item : merge(known, item));
    this.#sorted = null;
    return true;
  }

  apply(event: LiveEvent): boolean {
    const body = event.body;
    if (typeof body !== "object" || body === null || typeof this.#options.id(body as T) !== "number") return false;
    return this.put(body as T);
  }

  get(id: number): T | undefined {
    return this.#byId.get(id);
  }

  get size(): number {
    return this.#byId.size;
  }

  items(): T[] {
    if (this.#sorted === null) {
      this.#sorted = [...this.#byId.values()].sort(this.#options.compare);
      const limit = this.#options.limit;
      if (limit !== undefined && this.#sorted.length > limit) {
        for (const dropped of this.#sorted.splice(limit)) this.#byId.delete(this.#options.id(dropped));
      }
    }
    return this.#sorted;
  }
}

function merge<T extends object>(known: T, next: T): T {
  const merged = { ...known, ...next } as T & { properties?: unknown };
  const before = (known as { properties?: unknown }).properties;
  const after = (next as { properties?: unknown }).properties;
  if (typeof before === "object" && before !== null && (after === null || isEmpty(after))) merged.properties = before;
  return merged;
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** A step does not go back from started to not started, nor from complete to running. */
export function stepIsNewer(
  known: { complete: boolean; started_at: number | null; urls: unknown[] },
  next: { complete: boolean; started_at: number | null; urls: unknown[] },
): boolean {
  if (known.complete && !next.complete) return false;
  if (known.started_at !== null && next.started_at === null) return false;
  return next.complete || next.urls.length >= known.urls.length;
}

/** A log only grows. */
export function logIsNewer(
  known: { complete: boolean; num_lines: number },
  next: { complete: boolean; num_lines: number },
): boolean {
  return !(known.complete && !next.complete) && next.num_lines >= known.num_lines;
}
