/**
 * Geometry of a windowed list of equally high rows.
 *
 * Browsers limit an element's height (Firefox to about 17.8 million px), so a very long list gets a shorter
 * scrollbar: positions are then proportional.
 */

export interface Viewport {
  total: number;
  rowHeight: number;
  /** Height of what is visible. */
  height: number;
  scrollTop: number;
}

export interface Window {
  /** First row to render, and the one after the last. */
  first: number;
  last: number;
  /** Height of the whole list. */
  fullHeight: number;
  /** Where the first rendered row stands. */
  top: number;
}

export const MAX_HEIGHT_PX = 8_000_000;
const OVERSCAN_ROWS = 12;

export function computeWindow(view: Viewport): Window {
  const { total, rowHeight, height } = view;
  const natural = total * rowHeight;
  const fullHeight = Math.min(natural, MAX_HEIGHT_PX);
  const maxScroll = Math.max(0, fullHeight - height);
  const scrollTop = Math.min(Math.max(0, view.scrollTop), maxScroll);
  const scaled = natural > MAX_HEIGHT_PX;
  // The row at the upper edge, as a fraction.
  const edge = scaled && maxScroll > 0 ? (scrollTop / maxScroll) * (total - height / rowHeight) : scrollTop / rowHeight;
  const first = Math.max(0, Math.floor(edge) - OVERSCAN_ROWS);
  const last = Math.min(total, Math.ceil(edge + height / rowHeight) + OVERSCAN_ROWS);
  const top = scaled ? scrollTop - (edge - first) * rowHeight : first * rowHeight;
  return { first, last, fullHeight, top };
}

/** Where to scroll to so that row `index` stands a third below the upper edge. */
export function scrollTopOf(view: Omit<Viewport, "scrollTop">, index: number): number {
  const { total, rowHeight, height } = view;
  const natural = total * rowHeight;
  const maxScroll = Math.max(0, Math.min(natural, MAX_HEIGHT_PX) - height);
  const edge = Math.max(0, index - height / rowHeight / 3);
  const rows = total - height / rowHeight;
  const wanted = natural > MAX_HEIGHT_PX && rows > 0 ? (edge / rows) * maxScroll : edge * rowHeight;
  return Math.min(wanted, maxScroll);
}

/** Whether the end is in view, with some tolerance for fractions of pixels. */
export function isAtEnd(scrollTop: number, height: number, fullHeight: number): boolean {
  return scrollTop + height >= fullHeight - 4;
}
