/** A relay in front of the server that can be cut: for a page behind it the server is away, and then back. */

import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export class Relay {
  readonly #target: URL;
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #port = 0;

  private constructor(target: URL) {
    this.#target = target;
  }

  static async to(target: string): Promise<Relay> {
    const relay = new Relay(new URL(target));
    await relay.restore();
    return relay;
  }

  /** The address of the site behind it. */
  get site(): string {
    return `http://127.0.0.1:${this.#port}${this.#target.pathname.replace(/\/?$/, "/")}`;
  }

  /** Ends all connections, and refuses new ones. */
  async cut(): Promise<void> {
    const closed = new Promise((resolve) => this.#server?.close(resolve) ?? resolve(undefined));
    this.#server = null;
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Listens again, at the same address. */
  async restore(): Promise<void> {
    const server = createServer((client) => {
      const upstream = connect(Number(this.#target.port || 80), this.#target.hostname);
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        this.#sockets.add(from);
        from.pipe(to);
        // Whatever ends one side ends the other.
        from.on("error", () => to.destroy());
        from.on("close", () => {
          this.#sockets.delete(from);
          to.destroy();
        });
      }
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", resolve);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }
}
