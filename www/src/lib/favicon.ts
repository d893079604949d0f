/** The sign in the browser's tab: a colour and a shape for each state, so that a failure is seen among twenty tabs. */

import type { StateName } from "./results";

const CHECK = "M8 17l5.5 5.5L24 11";
const CROSS = "M10 10l12 12M22 10L10 22";
const MARK = "M16 8v10M16 23.5v.5";
const DOTS = "M9 16h.1M16 16h.1M23 16h.1";
const BAR = "M9 16h14";

const SIGNS: Record<StateName, [colour: string, path: string]> = {
  success: ["#1a7030", CHECK],
  warnings: ["#9a6500", MARK],
  failure: ["#b3202a", CROSS],
  exception: ["#7a3fb8", CROSS],
  cancelled: ["#9a2f6b", BAR],
  retry: ["#7d4a1e", BAR],
  skipped: ["#59636e", BAR],
  running: ["#1f5f99", DOTS],
  waiting: ["#59636e", DOTS],
  unknown: ["#24527a", CHECK],
};

/** The address of the icon for a state. */
export function favicon(state: StateName | null): string {
  if (state === null || state === "unknown") return "./favicon.svg";
  const [colour, path] = SIGNS[state];
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="${colour}"/>` +
    `<path d="${path}" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
