/** The last builds of builders that built nothing lately, fetched one builder at a time, a few at once. */

import { SvelteMap } from "svelte/reactivity";
import { api } from "./app.svelte";
import type { Build } from "./types";

const AT_ONCE = 4;
const NONE: Build[] = [];

export class RecentBuilds {
  readonly #known = new SvelteMap<number, Build[]>();
  readonly #asked = new Set<number>();
  readonly #queue: number[] = [];
  #busy = 0;

  of(builderid: number): Build[] {
    return this.#known.get(builderid) ?? NONE;
  }

  want(builderid: number): void {
    if (this.#asked.has(builderid)) return;
    this.#asked.add(builderid);
    this.#queue.push(builderid);
    this.#next();
  }

  #next(): void {
    while (this.#busy < AT_ONCE) {
      const id = this.#queue.shift();
      if (id === undefined) return;
      this.#busy++;
      api
        .list(`builders/${id}/builds`, { order: "-number", limit: 8 })
        .then(
          (page) => this.#known.set(id, page.items),
          () => this.#asked.delete(id),
        )
        .finally(() => {
          this.#busy--;
          this.#next();
        });
    }
  }
}
