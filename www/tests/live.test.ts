import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LiveQuery } from "../src/lib/livequery";
import { LiveSocket, type SocketLike } from "../src/lib/socket";
import type { LiveEvent } from "../src/lib/topic";
import { matches } from "../src/lib/topic";

/** The server's end of a connection. */
class Wire implements SocketLike {
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  sent: { _id: number; cmd: string; path?: string }[] = [];
  closed = false;
  send(data: string): void {
    this.sent.push(JSON.parse(data) as { _id: number; cmd: string; path?: string });
  }
  close(): void {
    this.closed = true;
    this.onclose?.();
  }
  say(frame: unknown): void {
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  /** Says yes to everything asked so far. */
  acknowledge(): void {
    for (const { _id } of this.sent.splice(0)) this.say({ msg: "OK", code: 200, _id });
  }
}

let wires: Wire[];
let socket: LiveSocket;
const wire = (): Wire => wires[wires.length - 1] as Wire;

beforeEach(() => {
  vi.useFakeTimers();
  wires = [];
  socket = new LiveSocket({
    open: () => {
      wires.push(new Wire());
      return wire();
    },
    idleMs: 1_000,
    random: () => 1,
  });
});
afterEach(() => {
  socket.stop();
  vi.useRealTimers();
});

function listen(...paths: string[]): { events: LiveEvent[]; ready: () => number; end: () => void } {
  const events: LiveEvent[] = [];
  let ready = 0;
  const end = socket.subscribe({ paths, onReady: () => ready++, onEvent: (event) => events.push(event) });
  return { events, ready: () => ready, end };
}

test("a star stands for exactly one part", () => {
  expect(matches("builds/*/*", ["builds", "3", "new"])).toBe(true);
  expect(matches("builds/*", ["builds", "3", "new"])).toBe(false);
  expect(matches("builds/3/new", ["builds", "4", "new"])).toBe(false);
});

test("a path is asked for once, and given up by its last subscriber", () => {
  socket.start();
  wire().onopen?.();
  const a = listen("builds/*/*");
  const b = listen("builds/*/*", "steps/1/*");
  expect(wire().sent.map(({ cmd, path }) => [cmd, path])).toEqual([["startConsuming", "builds/*/*"], ["startConsuming", "steps/1/*"]]);
  wire().acknowledge();
  expect([a.ready(), b.ready()]).toEqual([1, 1]);
  wire().say({ k: "builds/7/new", m: { buildid: 7 } });
  expect(a.events).toEqual([{ key: ["builds", "7", "new"], body: { buildid: 7 } }]);
  expect(b.events.length).toBe(1);
  a.end();
  expect(wire().sent).toEqual([]);
  b.end();
  expect(wire().sent.map(({ cmd }) => cmd)).toEqual(["stopConsuming", "stopConsuming"]);
});

test("after a reconnect everything is asked for again, and only then is it ready", () => {
  socket.start();
  const a = listen("builds/*/*");
  wire().onopen?.();
  wire().acknowledge();
  wire().onclose?.();
  expect(socket.state).toBe("lost");
  vi.advanceTimersByTime(500);
  expect(wires.length).toBe(2);
  wire().onopen?.();
  expect(a.ready()).toBe(1);
  wire().acknowledge();
  expect(a.ready()).toBe(2);
});

test("retries slow down, and a person's wish is heard at once", () => {
  socket.start();
  wire().onclose?.();
  vi.advanceTimersByTime(500);
  wire().onclose?.();
  vi.advanceTimersByTime(500);
  expect(wires.length).toBe(2);
  socket.retryNow();
  expect(wires.length).toBe(3);
});

test("a silent connection is probed and then given up", () => {
  socket.start();
  wire().onopen?.();
  vi.advanceTimersByTime(1_000);
  expect(wire().sent.map(({ cmd }) => cmd)).toEqual(["ping"]);
  wire().say({ msg: "pong", code: 200, _id: 1 });
  vi.advanceTimersByTime(1_000);
  vi.advanceTimersByTime(1_000);
  expect(wires[0]?.closed).toBe(true);
  expect(socket.state).toBe("lost");
});

test("frames that are no JSON are ignored", () => {
  socket.start();
  wire().onopen?.();
  expect(() => wire().onmessage?.({ data: "{" })).not.toThrow();
});

/** A query over a list of numbers; each fetch is answered by hand. */
function query() {
  const state: { shown: number[]; errors: unknown[]; answers: ((items: number[]) => void)[]; refusals: ((error: Error) => void)[] } =
    { shown: [], errors: [], answers: [], refusals: [] };
  let items: number[] = [];
  const live = new LiveQuery<number[]>(socket, {
    paths: ["numbers/*"],
    load: () =>
      new Promise((resolve, reject) => {
        state.answers.push(resolve);
        state.refusals.push(reject);
      }),
    reset: (next) => (items = [...next]),
    apply: (event) => items.push(event.body as number),
    changed: () => (state.shown = [...items]),
    failed: (error) => state.errors.push(error),
    pollMs: 10_000,
  });
  return { live, state };
}

const turn = async (): Promise<void> => {
  await vi.advanceTimersByTimeAsync(0);
};

test("subscribe, then fetch, then apply", async () => {
  const { live, state } = query();
  socket.start();
  live.start();
  wire().onopen?.();
  expect(state.answers.length).toBe(0);
  wire().acknowledge();
  expect(state.answers.length).toBe(1);
  wire().say({ k: "numbers/new", m: 3 });
  expect(state.shown).toEqual([]);
  state.answers[0]?.([1, 2]);
  await turn();
  expect(state.shown).toEqual([1, 2, 3]);
  wire().say({ k: "numbers/new", m: 4 });
  await turn();
  expect(state.shown).toEqual([1, 2, 3, 4]);
  live.stop();
});

test("a reconnect fetches again, and the first answer no longer counts", async () => {
  const { live, state } = query();
  socket.start();
  live.start();
  wire().onopen?.();
  wire().acknowledge();
  wire().onclose?.();
  vi.advanceTimersByTime(500);
  wire().onopen?.();
  wire().acknowledge();
  expect(state.answers.length).toBe(2);
  state.answers[0]?.([1]);
  await turn();
  expect(state.shown).toEqual([]);
  state.answers[1]?.([9]);
  await turn();
  expect(state.shown).toEqual([9]);
  live.stop();
});

test("without a connection the query goes ahead and polls", async () => {
  const { live, state } = query();
  live.start();
  await vi.advanceTimersByTimeAsync(1_500);
  state.answers[0]?.([1]);
  await turn();
  expect(state.shown).toEqual([1]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(state.answers.length).toBe(2);
  live.stop();
});

test("with a connection everything is fetched again now and then, since a hint may be lost", async () => {
  const { live, state } = query();
  socket.start();
  live.start();
  wire().onopen?.();
  wire().acknowledge();
  state.answers[0]?.([1]);
  await turn();
  for (let second = 0; second < 31; second++) {
    wire().say({ k: "other", m: null });
    await vi.advanceTimersByTimeAsync(1_000);
  }
  expect(state.answers.length).toBe(2);
  expect(state.shown).toEqual([1]);
  state.answers[1]?.([1, 2]);
  await turn();
  expect(state.shown).toEqual([1, 2]);
  live.stop();
});

test("a failed fetch is reported and tried again", async () => {
  const { live, state } = query();
  live.start();
  await vi.advanceTimersByTimeAsync(1_500);
  state.refusals[0]?.(new Error("down"));
  await turn();
  expect(state.errors.length).toBe(1);
  await vi.advanceTimersByTimeAsync(10_000);
  state.answers[1]?.([5]);
  await turn();
  expect(state.shown).toEqual([5]);
  live.stop();
});
