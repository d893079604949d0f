/** Names of states, for text and for CSS classes. Colour never stands alone: a badge always has its word. */

const NAMES = ["success", "warnings", "failure", "skipped", "exception", "retry", "cancelled"] as const;

export type StateName = (typeof NAMES)[number] | "running" | "waiting" | "unknown";

export function resultName(results: number | null | undefined): StateName {
  if (results === null || results === undefined) return "unknown";
  return NAMES[results] ?? "unknown";
}

export function buildState(build: { complete: boolean; results: number | null }): StateName {
  return build.complete ? resultName(build.results) : "running";
}

export function stepState(step: { complete: boolean; results: number | null; started_at: number | null }): StateName {
  if (step.complete) return resultName(step.results);
  return step.started_at === null ? "waiting" : "running";
}

/** A bad end, one that a person wants to look at. */
export function isBad(results: number | null): boolean {
  return results === 2 || results === 4;
}
