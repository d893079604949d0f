/** What a worker's resource says, in words. */

import type { Worker } from "./types";

export type WorkerState = "online" | "paused" | "leaving" | "offline";

export function workerState(worker: Worker): WorkerState {
  if (worker.connected_to.length === 0) return "offline";
  if (worker.graceful) return "leaving";
  return worker.paused ? "paused" : "online";
}

/** The builders that it may work for, each once: `configured_on` has them for every master. */
export function buildersOf(worker: Worker): number[] {
  return [...new Set(worker.configured_on.map((where) => where.builderid))];
}

/** A text that the worker tells of itself, such as `host`; what `create-worker` puts there for a start says nothing. */
export function workerInfo(worker: Worker, key: string): string {
  const value = worker.workerinfo[key];
  const text = typeof value === "string" ? value.trim() : "";
  return /^(Please put a description|Your Name Here)/.test(text) ? "" : text;
}
