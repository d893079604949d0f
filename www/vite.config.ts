import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// The server that `npm run dev` and `npm run preview` pass API calls to: a Buildguild, or any Buildbot 4 master.
const server = process.env["BUILDGUILD_URL"] ?? "http://127.0.0.1:8010";
const paths = ["/api", "/ws", "/config", "/auth", "/avatar"];
const proxy = Object.fromEntries(
  paths.map((path) => [
    path,
    {
      target: server,
      ws: path === "/ws",
      changeOrigin: true,
      headers: {
        // `vite preview` compresses by itself, and would do so twice.
        "Accept-Encoding": "identity",
        // Control calls are refused from foreign origins.
        Origin: new URL(server).origin,
      },
    },
  ]),
);

export default defineConfig({
  plugins: [svelte()],
  // Relative addresses only: the site may be served below a path.
  base: "./",
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { host: "127.0.0.1", proxy },
  preview: { host: "127.0.0.1", proxy },
});
