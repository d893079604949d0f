import { expect, test } from "vitest";
import { buildState, resultName, stepState } from "../src/lib/results";
import { formatAge, formatDuration } from "../src/lib/time";

test("durations", () => {
  expect([0, 59, 61, 3_661, 180_000, -5].map(formatDuration)).toEqual(["0 s", "59 s", "1 min 1 s", "1 h 1 min", "2 d 2 h", "0 s"]);
});

test("ages", () => {
  expect([3, 45, 600, 7_200, 864_000].map(formatAge)).toEqual(["just now", "45 s ago", "10 min ago", "2 h ago", "10 d ago"]);
});

test("states have names", () => {
  expect([0, 1, 2, 3, 4, 5, 6, null, -1].map(resultName)).toEqual([
    "success", "warnings", "failure", "skipped", "exception", "retry", "cancelled", "unknown", "unknown",
  ]);
  expect(buildState({ complete: false, results: null })).toBe("running");
  expect(stepState({ complete: false, results: null, started_at: null })).toBe("waiting");
  expect(stepState({ complete: true, results: 1, started_at: 1 })).toBe("warnings");
});
