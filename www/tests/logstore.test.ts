import { expect, test } from "vitest";
import { LogStore, parseLine, splitLines } from "../src/lib/logstore";

interface Ask {
  offset: number;
  limit: number;
  signal: AbortSignal;
}

/** A store over a log whose line n is `on`, which answers at once. */
function storeOver(lines: () => number, options: { pageSize?: number; maxPages?: number } = {}) {
  const asks: Ask[] = [];
  const errors: unknown[] = [];
  let broken = false;
  const store = new LogStore({
    fetchLines: (offset, limit, signal) => {
      asks.push({ offset, limit, signal });
      if (broken) return Promise.reject(new Error("down"));
      const end = Math.min(lines(), offset + limit);
      let content = "";
      for (let n = offset; n < end; n++) content += `o${n}\n`;
      return Promise.resolve(content);
    },
    changed: () => undefined,
    failed: (error) => errors.push(error),
    pageSize: 10,
    ...options,
  });
  return { store, asks, errors, breakIt: (value: boolean) => (broken = value) };
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

test("lines of stream logs carry their kind, those of others are text", () => {
  expect(parseLine("eboom", "s")).toEqual({ kind: "stderr", text: "boom" });
  expect(parseLine("hmake", "s")).toEqual({ kind: "header", text: "make" });
  expect(parseLine("o", "s")).toEqual({ kind: "stdout", text: "" });
  expect(parseLine("eboom", "t")).toEqual({ kind: "text", text: "eboom" });
  expect(splitLines("oa\n\nob\n")).toEqual(["oa", "", "ob"]);
  expect(splitLines("")).toEqual([]);
});

test("only the pages in view are fetched, each once", async () => {
  const { store, asks } = storeOver(() => 100);
  store.grow(100);
  store.want(35, 52);
  store.want(35, 52);
  await settle();
  store.want(35, 52);
  expect(asks.map(({ offset, limit }) => [offset, limit])).toEqual([[30, 10], [40, 10], [50, 10]]);
  expect(store.line(51)).toBe("o51");
  expect(store.line(0)).toBeUndefined();
});

test("a growing log is continued where it ended", async () => {
  let total = 13;
  const { store, asks } = storeOver(() => total);
  store.grow(13);
  store.want(0, 13);
  await settle();
  total = 17;
  store.grow(17);
  store.want(5, 17);
  await settle();
  expect(asks.map(({ offset, limit }) => [offset, limit])).toEqual([[0, 10], [10, 3], [13, 4]]);
  expect(store.line(16)).toBe("o16");
  store.grow(2);
  expect(store.total).toBe(17);
});

test("scrolling away drops what is no longer wanted", () => {
  const { store, asks } = storeOver(() => 1000);
  store.grow(1000);
  store.want(0, 10);
  store.want(500, 510);
  expect(asks.map((ask) => ask.signal.aborted)).toEqual([true, false]);
});

test("memory is bounded: the pages seen longest ago go first", async () => {
  const { store } = storeOver(() => 1000, { maxPages: 3 });
  store.grow(1000);
  for (const first of [0, 10, 20, 0, 30]) {
    store.want(first, first + 10);
    await settle();
  }
  expect(store.line(5)).toBe("o5");
  expect(store.line(15)).toBeUndefined();
  expect(store.line(35)).toBe("o35");
});

test("a short answer is not asked for again until the log grows", async () => {
  let total = 3;
  const { store, asks } = storeOver(() => total);
  store.grow(5);
  store.want(0, 5);
  await settle();
  store.want(0, 5);
  expect(asks.length).toBe(1);
  total = 6;
  store.grow(6);
  store.want(0, 6);
  await settle();
  expect(asks.map(({ offset, limit }) => [offset, limit])).toEqual([[0, 5], [3, 3]]);
  expect(store.line(5)).toBe("o5");
});

test("a failure is reported once and mended by a retry", async () => {
  const { store, errors, asks, breakIt } = storeOver(() => 5);
  breakIt(true);
  store.grow(5);
  store.want(0, 5);
  await settle();
  store.want(0, 5);
  expect([errors.length, asks.length]).toEqual([1, 1]);
  breakIt(false);
  store.retry();
  store.want(0, 5);
  await settle();
  expect(store.line(4)).toBe("o4");
});
