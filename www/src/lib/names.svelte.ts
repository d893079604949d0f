/** Names for the ids that other resources carry, kept for a page. */

import { api } from "./app.svelte";
import { LiveList } from "./live.svelte";
import type { Builder, Master } from "./types";

/** The names of all builders, by id. */
export function builderNames(): (id: number) => string {
  const builders = new LiveList<Builder>(() => ({
    paths: [],
    load: async (signal) => (await api.list("builders", { field: ["builderid", "name"] }, signal)).items,
    id: (builder) => builder.builderid,
    compare: (a, b) => a.builderid - b.builderid,
  }));
  const names = $derived(new Map(builders.items.map((builder) => [builder.builderid, builder.name])));
  return (id) => names.get(id) ?? `builder ${id}`;
}

/** The names of all masters, by id. */
export function masterNames(): (id: number) => string {
  const masters = new LiveList<Master>(() => ({
    paths: [],
    load: async (signal) => (await api.list("masters", { field: ["masterid", "name"] }, signal)).items,
    id: (master) => master.masterid,
    compare: (a, b) => a.masterid - b.masterid,
  }));
  const names = $derived(new Map(masters.items.map((master) => [master.masterid, master.name])));
  return (id) => names.get(id) ?? `master ${id}`;
}
