import { expect, test, vi } from "vitest";
import { highlight, LogSearch } from "../src/lib/logsearch";

function searched(lines: string[], pieceLines = 2) {
  const failed = vi.fn();
  const search = new LogSearch({
    fetchLines: async (offset, limit) =>
      lines
        .slice(offset, offset + limit)
        .map((line) => `${line}\n`)
        .join(""),
    type: "s",
    changed: () => undefined,
    failed,
    pieceLines,
    maxHits: 3,
  });
  return { search, failed };
}

test("all lines are looked at, whatever their colours and case", async () => {
  const lines = ["oone", "oa \x1b[31mErr\x1b[0mor", "eerror", "otwo", "oERROR"];
  const { search } = searched(lines);
  search.start("error", lines.length);
  await vi.waitFor(() => expect(search.progress).toBe(1));
  expect(search.hits).toEqual([1, 2, 4]);
  expect(search.full).toBe(true);
});

test("the letter of the stream is not part of a line", async () => {
  const { search } = searched(["oone", "eone"]);
  search.start("eone", 2);
  await vi.waitFor(() => expect(search.progress).toBe(1));
  expect(search.hits).toEqual([]);
});

test("it goes on when the log grows, and starts over with another text", async () => {
  const lines = ["oa", "ob"];
  const { search } = searched(lines);
  search.start("a", 2);
  await vi.waitFor(() => expect(search.hits).toEqual([0]));
  lines.push("oa");
  search.grow(3);
  await vi.waitFor(() => expect(search.hits).toEqual([0, 2]));
  search.start("b", 3);
  await vi.waitFor(() => expect(search.progress).toBe(1));
  expect(search.hits).toEqual([1]);
  search.start("", 3);
  expect(search.hits).toEqual([]);
});

test("a failure is told, and growth tries again", async () => {
  let fails = true;
  const failed = vi.fn();
  const search = new LogSearch({
    fetchLines: async (offset) => (fails ? Promise.reject(new Error("away")) : offset === 0 ? "oa\n" : "ob\n"),
    type: "s",
    changed: () => undefined,
    failed,
  });
  search.start("a", 1);
  await vi.waitFor(() => expect(failed).toHaveBeenCalledOnce());
  fails = false;
  search.grow(2);
  await vi.waitFor(() => expect(search.hits).toEqual([0]));
  search.stop();
});

test("what was found is marked across runs", () => {
  const runs = [
    { text: "an er", classes: "" },
    { text: "ror, Error", classes: "fg-1" },
  ];
  expect(highlight(runs, "error")).toEqual([
    { text: "an ", classes: "" },
    { text: "er", classes: "found" },
    { text: "ror", classes: "fg-1 found" },
    { text: ", ", classes: "fg-1" },
    { text: "Error", classes: "fg-1 found" },
  ]);
  expect(highlight(runs, "")).toEqual(runs);
  expect(highlight(runs, "nothing")).toEqual(runs);
});
