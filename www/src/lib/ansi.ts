/** ANSI escape sequences of one line → runs of text with a style. Sequences that are not about colour are dropped. */

export interface Run {
  text: string;
  /** CSS classes: `fg-0` to `fg-15`, `bg-0` to `bg-15`, `bold`, `dim`, `italic`, `underline`, `inverse`. */
  classes: string;
  /** Colours beyond the sixteen, as CSS. */
  color?: string;
  background?: string;
}

interface Style {
  fg: string;
  bg: string;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  inverse: boolean;
}

const PLAIN: Style = { fg: "", bg: "", bold: false, dim: false, italic: false, underline: false, inverse: false };

// CSI sequences, OSC sequences (ended by BEL or ST), and two-character escapes, complete or cut off by the line's end.
// eslint-disable-next-line no-control-regex
const ESCAPE = /\x1b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)/g;
// eslint-disable-next-line no-control-regex
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]/g;

function xterm(index: number): string {
  if (index < 16) return `${index}`;
  if (index >= 232) {
    const level = 8 + (index - 232) * 10;
    return `rgb(${level} ${level} ${level})`;
  }
  const cube = index - 16;
  const channel = (value: number): number => (value === 0 ? 0 : 55 + value * 40);
  return `rgb(${channel(Math.floor(cube / 36))} ${channel(Math.floor(cube / 6) % 6)} ${channel(cube % 6)})`;
}

/** Reads the colour after 38 or 48; answers it and how many codes it took. */
function extended(codes: number[], at: number): [string, number] {
  const byte = (offset: number): number => Math.min(255, Math.max(0, codes[at + offset] ?? 0));
  if (codes[at + 1] === 5) return [xterm(byte(2)), 2];
  if (codes[at + 1] === 2) return [`rgb(${byte(2)} ${byte(3)} ${byte(4)})`, 4];
  return ["", 1];
}

function sgr(style: Style, parameters: string): Style {
  const codes = parameters === "" ? [0] : parameters.split(/[;:]/).map((code) => (code === "" ? 0 : Number(code)));
  let next = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i] ?? 0;
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code >= 30 && code <= 37) next.fg = `${code - 30}`;
    else if (code >= 40 && code <= 47) next.bg = `${code - 40}`;
    else if (code >= 90 && code <= 97) next.fg = `${code - 82}`;
    else if (code >= 100 && code <= 107) next.bg = `${code - 92}`;
    else if (code === 39) next.fg = "";
    else if (code === 49) next.bg = "";
    else if (code === 38 || code === 48) {
      const [color, used] = extended(codes, i);
      if (code === 38) next.fg = color;
      else next.bg = color;
      i += used;
    }
  }
  return next;
}

function run(text: string, style: Style): Run {
  const classes: string[] = [];
  const result: Run = { text, classes: "" };
  if (style.fg.startsWith("rgb")) result.color = style.fg;
  else if (style.fg !== "") classes.push(`fg-${style.fg}`);
  if (style.bg.startsWith("rgb")) result.background = style.bg;
  else if (style.bg !== "") classes.push(`bg-${style.bg}`);
  for (const name of ["bold", "dim", "italic", "underline", "inverse"] as const) if (style[name]) classes.push(name);
  result.classes = classes.join(" ");
  return result;
}

/** What a terminal would show after carriage returns: the last thing that was written over the line. */
function afterCarriageReturns(line: string): string {
  const trimmed = line.replace(/\r+$/, "");
  return trimmed.includes("\r") ? trimmed.slice(trimmed.lastIndexOf("\r") + 1) : trimmed;
}

export function parseAnsi(raw: string): Run[] {
  const line = afterCarriageReturns(raw);
  if (!line.includes("\x1b")) {
    const text = line.replace(CONTROL, "");
    return text === "" ? [] : [{ text, classes: "" }];
  }
  const runs: Run[] = [];
  let style = PLAIN;
  let from = 0;
  const push = (to: number): void => {
    const text = line.slice(from, to).replace(CONTROL, "");
    if (text !== "") runs.push(run(text, style));
  };
  for (const match of line.matchAll(ESCAPE)) {
    push(match.index);
    if (match[2] === "m" && match[1] !== undefined) style = sgr(style, match[1]);
    from = match.index + match[0].length;
  }
  push(line.length);
  return runs;
}

/** What is read of a line: its text without any styling. */
export function plainText(raw: string): string {
  return parseAnsi(raw)
    .map((one) => one.text)
    .join("");
}
