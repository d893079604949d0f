import { expect, test } from "vitest";
import { latestCheckIn, masterState, variantLetter, variants } from "../src/lib/masters";
import type { Master } from "../src/lib/types";

function master(extra: Partial<Master> = {}): Master {
  return {
    masterid: 1,
    name: "one",
    active: true,
    last_active: 1000,
    epoch: 1,
    version: "1.0",
    config_hash: "aa",
    draining_since: null,
    draining_reason: null,
    expire_after: 20,
    outbox_depth: 0,
    outbox_since: null,
    ...extra,
  };
}

test("a master's state is the first thing that a person should know of it", () => {
  expect(masterState(master(), 1003)).toBe("ready");
  expect(masterState(master({ config_hash: null }), 1003)).toBe("starting");
  expect(masterState(master({ draining_since: 990 }), 1003)).toBe("draining");
  expect(masterState(master({ draining_since: 990 }), 1016)).toBe("silent");
  expect(masterState(master({ active: false, draining_since: 990 }), 1003)).toBe("gone");
});

test("a server without the additional fields is taken for ready", () => {
  const { config_hash: _hash, draining_since: _since, ...plain } = master();
  expect(masterState(plain as Master, 1003)).toBe("ready");
});

test("masters are silent beside those that check in", () => {
  const all = [master(), master({ last_active: 1020 }), master({ active: false, last_active: 9000 })];
  expect(all.map((one) => masterState(one, latestCheckIn(all)))).toEqual(["silent", "ready", "gone"]);
  expect(latestCheckIn([])).toBe(0);
});

test("differences are those between active masters that say something", () => {
  const hash = (one: Master) => one.config_hash;
  expect(variants([master(), master(), master({ active: false, config_hash: "bb" })], hash)).toEqual(["aa"]);
  expect(variants([master(), master({ config_hash: null })], hash)).toEqual(["aa"]);
  const found = variants([master({ config_hash: "bb" }), master(), master({ config_hash: "bb" })], hash);
  expect(found).toEqual(["bb", "aa"]);
  expect(variantLetter(found, "aa")).toBe("B");
  expect(variantLetter(found, null)).toBe("");
  expect(variantLetter(["aa"], "aa")).toBe("");
});
