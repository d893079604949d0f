import { expect, test } from "vitest";
import { Collection, logIsNewer, stepIsNewer } from "../src/lib/collection";

interface Row {
  id: number;
  complete: boolean;
  claimed?: boolean;
  properties?: Record<string, unknown> | null;
}

const event = (body: unknown) => ({ key: ["rows", "1", "update"], body });

function rows(extra: { accepts?: (row: Row) => boolean; limit?: number } = {}): Collection<Row> {
  return new Collection<Row>({ id: (row) => row.id, compare: (a, b) => b.id - a.id, ...extra });
}

test("events add and update, and the order is kept", () => {
  const list = rows();
  list.reset([{ id: 1, complete: true }]);
  list.apply(event({ id: 3, complete: false }));
  list.apply(event({ id: 2, complete: false }));
  list.apply(event({ id: 3, complete: true }));
  expect(list.items()).toEqual([{ id: 3, complete: true }, { id: 2, complete: false }, { id: 1, complete: true }]);
});

test("an event from before the fetch does not bring back the past", () => {
  const list = rows();
  list.reset([{ id: 1, complete: true }]);
  expect(list.apply(event({ id: 1, complete: false }))).toBe(false);
  expect(list.get(1)?.complete).toBe(true);
});

test("what stops to belong leaves", () => {
  const list = rows({ accepts: (row) => row.claimed !== true });
  list.reset([{ id: 1, complete: false }]);
  list.apply(event({ id: 1, complete: false, claimed: true }));
  list.apply(event({ id: 2, complete: false, claimed: true }));
  expect(list.size).toBe(0);
});

test("bodies without a resource (a cancelled request) are ignored", () => {
  const list = rows();
  expect(list.apply(event(null))).toBe(false);
  expect(list.apply(event({ reason: "x" }))).toBe(false);
});

test("properties that a fetch asked for survive events without them", () => {
  const list = rows();
  list.reset([{ id: 1, complete: false, properties: { branch: ["main", "Build"] } }]);
  list.apply(event({ id: 1, complete: true, properties: {} }));
  expect(list.get(1)).toEqual({ id: 1, complete: true, properties: { branch: ["main", "Build"] } });
});

test("the list is bounded", () => {
  const list = rows({ limit: 2 });
  list.reset([1, 2, 3].map((id) => ({ id, complete: true })));
  expect(list.items().map((row) => row.id)).toEqual([3, 2]);
  expect(list.size).toBe(2);
});

test("steps and logs only go on", () => {
  const started = { complete: false, started_at: 5, urls: [1] };
  expect(stepIsNewer(started, { complete: false, started_at: null, urls: [] })).toBe(false);
  expect(stepIsNewer(started, { complete: false, started_at: 5, urls: [] })).toBe(false);
  expect(stepIsNewer(started, { complete: true, started_at: 5, urls: [1] })).toBe(true);
  expect(logIsNewer({ complete: false, num_lines: 9 }, { complete: false, num_lines: 7 })).toBe(false);
  expect(logIsNewer({ complete: false, num_lines: 9 }, { complete: true, num_lines: 9 })).toBe(true);
});
