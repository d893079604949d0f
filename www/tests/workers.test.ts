import { expect, test } from "vitest";
import { buildersOf, workerInfo, workerState } from "../src/lib/workers";
import type { Worker } from "../src/lib/types";

function worker(extra: Partial<Worker> = {}): Worker {
  return {
    workerid: 1,
    name: "w",
    connected_to: [{ masterid: 1 }],
    configured_on: [
      { masterid: 1, builderid: 2 },
      { masterid: 2, builderid: 2 },
      { masterid: 1, builderid: 3 },
    ],
    paused: false,
    pause_reason: null,
    graceful: false,
    workerinfo: { host: " a machine \n", admin: "Your Name Here <admin@youraddress.invalid>", version: null },
    ...extra,
  };
}

test("a worker that is not connected is offline, whatever else is wished of it", () => {
  expect(workerState(worker())).toBe("online");
  expect(workerState(worker({ paused: true }))).toBe("paused");
  expect(workerState(worker({ paused: true, graceful: true }))).toBe("leaving");
  expect(workerState(worker({ paused: true, connected_to: [] }))).toBe("offline");
});

test("each builder is named once, however many masters configure it", () => {
  expect(buildersOf(worker())).toEqual([2, 3]);
});

test("what a worker tells of itself is shown unless nobody wrote it", () => {
  expect(workerInfo(worker(), "host")).toBe("a machine");
  expect(workerInfo(worker(), "admin")).toBe("");
  expect(workerInfo(worker(), "version")).toBe("");
});
