/** What every component shares: the REST client, the WebSocket, the site's configuration, the clock and the route. */

import { Api } from "./api";
import { parseQuery, parseRoute, type Route } from "./route";
import type { StateName } from "./results";
import { LiveSocket, type ConnectionState, type SocketLike } from "./socket";
import type { SiteConfig } from "./types";

const base = new URL("./", document.baseURI);

export const api = new Api(new URL("api/v2", base).href);

function openSocket(): SocketLike {
  const url = new URL("ws", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(url);
  const like: SocketLike = {
    send: (data) => socket.send(data),
    close: () => socket.close(),
    onopen: null,
    onclose: null,
    onmessage: null,
  };
  socket.onopen = () => like.onopen?.();
  socket.onclose = () => like.onclose?.();
  socket.onmessage = (event: MessageEvent) => like.onmessage?.(event);
  return like;
}

export const socket = new LiveSocket({ open: openSocket });

const NO_CONFIG: SiteConfig = {
  title: "Buildguild",
  titleURL: "",
  buildbotURL: base.href,
  multiMaster: false,
  versions: [],
  auth: { name: "NoAuth" },
  user: { anonymous: true },
};

class App {
  connection = $state<ConnectionState>("connecting");
  config = $state.raw<SiteConfig>(NO_CONFIG);
  route = $state.raw<Route>(parseRoute(location.hash));
  query = $state.raw<URLSearchParams>(parseQuery(location.hash));
  /** Seconds since the epoch by the server's clock, once a second. */
  now = $state(Math.floor(Date.now() / 1000));
  /** The state that the browser's tab shows; null for none. Set by the page that is shown. */
  mood = $state<StateName | null>(null);
}

export const app = new App();

function loadConfig(): void {
  const given = (window as { buildbotFrontendConfig?: SiteConfig }).buildbotFrontendConfig;
  if (given) app.config = { ...NO_CONFIG, ...given };
  else void fetchConfig();
}

/** Asks anew who is logged in, and where: sessions end, and servers come back with another configuration. */
async function fetchConfig(): Promise<void> {
  try {
    const response = await fetch(new URL("config", base), { headers: { Accept: "application/json" }, cache: "no-store" });
    if (response.ok) app.config = { ...NO_CONFIG, ...((await response.json()) as SiteConfig) };
  } catch {
    // The page works without; the banner already says that the server cannot be reached.
  }
}

/** Starts everything that lives as long as the page. */
export function startApp(): void {
  socket.onState((state) => {
    if (state === "open" && app.connection === "lost") void fetchConfig();
    app.connection = state;
  });
  api.refused = () => void fetchConfig();
  socket.start();
  addEventListener("hashchange", () => {
    app.route = parseRoute(location.hash);
    app.query = parseQuery(location.hash);
  });
  addEventListener("online", () => socket.retryNow());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") socket.retryNow();
  });
  setInterval(() => (app.now = Math.floor(Date.now() / 1000) + api.clockOffset), 1000);
  loadConfig();
}

/** The login address that leads back to this page, whichever it is now. */
export function loginHref(): string {
  void app.query;
  const target = location.hash.replace(/^#/, "") || "/";
  return new URL(`auth/login?redirect=${encodeURIComponent(target)}`, base).href;
}

/** Who is logged in; null for nobody. */
export function userName(): string | null {
  const { anonymous, full_name, username, email } = app.config.user;
  return anonymous ? null : (full_name ?? username ?? email ?? null);
}

export const logoutHref = new URL("auth/logout", base).href;
