/**
 * The page's one WebSocket: subscriptions counted by path, answers matched by `_id`, reconnection with backoff.
 *
 * A subscription outlives the connection. After a reconnect every path is asked for again, and `onReady` of each
 * subscription is called once the server has said yes: only then may its owner fetch, since whatever happens after
 * the fetch is certain to arrive as an event.
 */

import { matches, type LiveEvent } from "./topic";

export type ConnectionState = "connecting" | "open" | "lost";

export interface SocketLike {
  send(data: string): void;
  close(): void;
  onopen: (() => void) | null;
  onclose: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
}

export interface Subscriber {
  paths: readonly string[];
  /** All paths are live (again). */
  onReady(): void;
  onEvent(event: LiveEvent): void;
}

export interface SocketOptions {
  open: () => SocketLike;
  /** Silence after which the connection is probed, and then given up, in ms. */
  idleMs?: number;
  random?: () => number;
}

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;

export class LiveSocket {
  readonly #options: SocketOptions;
  readonly #subscribers = new Set<Subscriber>();
  readonly #pathCounts = new Map<string, number>();
  readonly #confirmed = new Set<string>();
  readonly #questions = new Map<number, string>();
  readonly #stateListeners = new Set<(state: ConnectionState) => void>();
  #socket: SocketLike | null = null;
  #state: ConnectionState = "connecting";
  #nextId = 1;
  #failures = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #probed = false;
  #stopped = false;

  constructor(options: SocketOptions) {
    this.#options = options;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  start(): void {
    this.#stopped = false;
    this.#connect();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#idle);
    this.#socket?.close();
    this.#socket = null;
  }

  /** Tries at once instead of waiting for the backoff: the network came back, or the person came back. */
  retryNow(): void {
    if (this.#state === "open" || this.#socket !== null || this.#stopped) return;
    this.#failures = 0;
    this.#connect();
  }

  onState(listener: (state: ConnectionState) => void): () => void {
    this.#stateListeners.add(listener);
    listener(this.#state);
    return () => this.#stateListeners.delete(listener);
  }

  /** Subscribes; the answer ends the subscription. */
  subscribe(subscriber: Subscriber): () => void {
    this.#subscribers.add(subscriber);
    for (const path of subscriber.paths) {
      const count = this.#pathCounts.get(path) ?? 0;
      this.#pathCounts.set(path, count + 1);
      if (count === 0 && this.#state === "open") this.#ask("startConsuming", path);
    }
    if (this.#isReady(subscriber)) queueMicrotask(() => this.#subscribers.has(subscriber) && subscriber.onReady());
    return () => {
      if (!this.#subscribers.delete(subscriber)) return;
      for (const path of subscriber.paths) {
        const count = (this.#pathCounts.get(path) ?? 1) - 1;
        if (count > 0) {
          this.#pathCounts.set(path, count);
          continue;
        }
        this.#pathCounts.delete(path);
        this.#confirmed.delete(path);
        if (this.#state === "open") this.#ask("stopConsuming", path);
      }
    };
  }

  #isReady(subscriber: Subscriber): boolean {
    return this.#state === "open" && subscriber.paths.every((path) => this.#confirmed.has(path));
  }

  #setState(state: ConnectionState): void {
    if (state === this.#state) return;
    this.#state = state;
    for (const listener of this.#stateListeners) listener(state);
  }

  #connect(): void {
    clearTimeout(this.#retry);
    const socket = this.#options.open();
    this.#socket = socket;
    socket.onopen = () => {
      this.#failures = 0;
      this.#confirmed.clear();
      this.#questions.clear();
      this.#setState("open");
      this.#heard();
      for (const path of this.#pathCounts.keys()) this.#ask("startConsuming", path);
      for (const subscriber of this.#subscribers) if (subscriber.paths.length === 0) subscriber.onReady();
    };
    socket.onmessage = (event) => {
      if (this.#socket !== socket) return;
      this.#heard();
      if (typeof event.data === "string") this.#receive(event.data);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#lost();
    };
  }

  #lost(): void {
    clearTimeout(this.#idle);
    this.#confirmed.clear();
    this.#questions.clear();
    this.#setState("lost");
    if (this.#stopped) return;
    const delay = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures++);
    const random = this.#options.random ?? Math.random;
    // Jitter, so that a thousand open pages do not return to a restarted server in one instant.
    this.#retry = setTimeout(() => this.#connect(), delay * (0.5 + random() / 2));
  }

  /** Something arrived: the connection lives. After a while of silence it is probed, and given up if it stays silent. */
  #heard(): void {
    this.#probed = false;
    this.#armIdle();
  }

  #armIdle(): void {
    clearTimeout(this.#idle);
    const idleMs = this.#options.idleMs ?? 20_000;
    this.#idle = setTimeout(() => {
      const socket = this.#socket;
      if (socket === null) return;
      if (this.#probed) {
        this.#socket = null;
        socket.close();
        this.#lost();
        return;
      }
      this.#probed = true;
      this.#send({ _id: this.#nextId++, cmd: "ping" });
      this.#armIdle();
    }, idleMs);
  }

  #ask(cmd: "startConsuming" | "stopConsuming", path: string): void {
    const id = this.#nextId++;
    if (cmd === "startConsuming") this.#questions.set(id, path);
    this.#send({ _id: id, cmd, path });
  }

  #send(frame: Record<string, unknown>): void {
    this.#socket?.send(JSON.stringify(frame));
  }

  #receive(text: string): void {
    let frame: Record<string, unknown>;
    try {
      frame = JSON.parse(text) as Record<string, unknown>;
    } catch {
      return;
    }
    if ("code" in frame) {
      this.#answered(frame);
      return;
    }
    if (typeof frame["k"] !== "string") return;
    const event: LiveEvent = { key: frame["k"].split("/"), body: frame["m"] };
    for (const subscriber of [...this.#subscribers]) {
      if (subscriber.paths.some((path) => matches(path, event.key))) subscriber.onEvent(event);
    }
  }

  #answered(frame: Record<string, unknown>): void {
    const id = frame["_id"];
    if (typeof id !== "number") return;
    const path = this.#questions.get(id);
    if (path === undefined) return;
    this.#questions.delete(id);
    // A refused path (not visible to this user) counts as answered: its owner may fetch, and gets the server's reason.
    if (!this.#pathCounts.has(path)) return;
    this.#confirmed.add(path);
    for (const subscriber of [...this.#subscribers]) {
      if (subscriber.paths.includes(path) && this.#isReady(subscriber)) subscriber.onReady();
    }
  }
}
