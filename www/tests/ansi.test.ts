import { expect, test } from "vitest";
import { parseAnsi } from "../src/lib/ansi";

const E = "\x1b";

test("plain text is one run, and markup stays text", () => {
  expect(parseAnsi("a <b>c</b>")).toEqual([{ text: "a <b>c</b>", classes: "" }]);
  expect(parseAnsi("")).toEqual([]);
});

test("colours and attributes add up until they are reset", () => {
  expect(parseAnsi(`${E}[1;32mok${E}[0m 1 ${E}[31merr${E}[1m!${E}[22;39m.`)).toEqual([
    { text: "ok", classes: "fg-2 bold" },
    { text: " 1 ", classes: "" },
    { text: "err", classes: "fg-1" },
    { text: "!", classes: "fg-1 bold" },
    { text: ".", classes: "" },
  ]);
  expect(parseAnsi(`${E}[97;44mx${E}[my`)).toEqual([
    { text: "x", classes: "fg-15 bg-4" },
    { text: "y", classes: "" },
  ]);
});

test("256 colours and true colours", () => {
  expect(parseAnsi(`${E}[38;5;9ma${E}[38;5;196mb${E}[48;5;244mc`)).toEqual([
    { text: "a", classes: "fg-9" },
    { text: "b", classes: "", color: "rgb(255 0 0)" },
    { text: "c", classes: "", color: "rgb(255 0 0)", background: "rgb(128 128 128)" },
  ]);
  expect(parseAnsi(`${E}[38;2;1;2;300mx`)).toEqual([{ text: "x", classes: "", color: "rgb(1 2 255)" }]);
});

test("what is not about colour leaves no trace", () => {
  expect(parseAnsi(`${E}[2K${E}[1Ga${E}]8;;http://x/\x07b${E}]8;;${E}\\c${E}(Bd\x08e`)).toEqual([
    { text: "a", classes: "" },
    { text: "b", classes: "" },
    { text: "c", classes: "" },
    { text: "de", classes: "" },
  ]);
});

test("cut-off sequences end quietly", () => {
  expect(parseAnsi(`a${E}[3`)).toEqual([{ text: "a", classes: "" }]);
  expect(parseAnsi(`a${E}`)).toEqual([{ text: "a", classes: "" }]);
  expect(parseAnsi(`a${E}]0;title`)).toEqual([{ text: "a", classes: "" }]);
  // A missing number is zero, as in xterm.
  expect(parseAnsi(`${E}[38;5mx`)).toEqual([{ text: "x", classes: "fg-0" }]);
});

test("a progress line shows its last state", () => {
  expect(parseAnsi("10%\r50%\r100%\r")).toEqual([{ text: "100%", classes: "" }]);
  expect(parseAnsi("windows line\r")).toEqual([{ text: "windows line", classes: "" }]);
});

test("a hostile line of escapes takes no time to speak of", () => {
  const begun = performance.now();
  parseAnsi(`${E}[`.repeat(50_000) + ";".repeat(50_000) + `${E}]`.repeat(20_000));
  expect(performance.now() - begun).toBeLessThan(1_000);
});
