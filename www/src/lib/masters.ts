/** What the list of masters says: who is there, and whether all do the same. */

import type { Master } from "./types";

export type MasterState = "ready" | "silent" | "starting" | "draining" | "gone";

/** The latest check-in of any active master: times of the database's clock, so that this browser's does not matter. */
export function latestCheckIn(masters: readonly Master[]): number {
  return Math.max(0, ...masters.filter((master) => master.active).map((master) => master.last_active));
}

/**
 * What a person should know of a master first. An active one that others have left behind with their check-ins is worth a
 * look shortly before they take its work over: when three quarters of that time are over.
 */
export function masterState(master: Master, latest: number): MasterState {
  if (!master.active) return "gone";
  if (typeof master.expire_after === "number" && latest - master.last_active >= master.expire_after * 0.75) return "silent";
  if (typeof master.draining_since === "number") return "draining";
  // A master tells the version of its farm config as soon as that is in force, and is ready only then. `undefined` is a
  // server that does not have the field.
  return master.config_hash === null ? "starting" : "ready";
}

/**
 * Active masters by what `value` says of them, the most common first; one entry if all agree. Who says nothing (yet) does
 * not differ from anybody.
 */
export function variants(masters: readonly Master[], value: (master: Master) => string | null | undefined): string[] {
  const counts = new Map<string, number>();
  for (const master of masters) {
    const said = value(master);
    if (master.active && typeof said === "string") counts.set(said, (counts.get(said) ?? 0) + 1);
  }
  return [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).map(([said]) => said);
}

/** A letter for each of the variants, so that a person need not compare hashes: `A` is the most common one. */
export function variantLetter(found: readonly string[], said: string | null | undefined): string {
  const at = typeof said === "string" ? found.indexOf(said) : -1;
  return found.length > 1 && at >= 0 ? String.fromCharCode(65 + Math.min(at, 25)) : "";
}
