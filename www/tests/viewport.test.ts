import { expect, test } from "vitest";
import { computeWindow, isAtEnd, MAX_HEIGHT_PX, scrollTopOf } from "../src/lib/viewport";

test("only what is in view is rendered, with a margin", () => {
  const window = computeWindow({ total: 10_000, rowHeight: 20, height: 400, scrollTop: 2_000 });
  expect(window.first).toBeLessThanOrEqual(100);
  expect(window.last).toBeGreaterThanOrEqual(120);
  expect(window.last - window.first).toBeLessThan(60);
  expect(window.top).toBe(window.first * 20);
  expect(window.fullHeight).toBe(200_000);
});

test("short and empty lists", () => {
  expect(computeWindow({ total: 3, rowHeight: 20, height: 400, scrollTop: 0 })).toEqual({ first: 0, last: 3, fullHeight: 60, top: 0 });
  expect(computeWindow({ total: 0, rowHeight: 20, height: 400, scrollTop: 50 }).last).toBe(0);
});

test("ten million rows fit into what a browser can show, first and last row included", () => {
  const view = { total: 10_000_000, rowHeight: 18, height: 450 };
  const start = computeWindow({ ...view, scrollTop: 0 });
  const end = computeWindow({ ...view, scrollTop: MAX_HEIGHT_PX });
  expect(start.fullHeight).toBe(MAX_HEIGHT_PX);
  expect(start.first).toBe(0);
  expect(end.last).toBe(10_000_000);
  // The last row's lower edge is the list's end.
  expect(end.top + (end.last - end.first) * 18).toBeCloseTo(MAX_HEIGHT_PX, 0);
});

test("the end is the end, within a few pixels", () => {
  expect(isAtEnd(598, 400, 1000)).toBe(true);
  expect(isAtEnd(500, 400, 1000)).toBe(false);
});

test.each([100, 30_000, 10_000_000])("a row of %d can be scrolled to", (total) => {
  const view = { total, rowHeight: 18, height: 450 };
  for (const index of [0, 50, Math.floor(total / 2), total - 1]) {
    const { first, last } = computeWindow({ ...view, scrollTop: scrollTopOf(view, index) });
    expect(first).toBeLessThanOrEqual(index);
    expect(last).toBeGreaterThan(index);
  }
});
