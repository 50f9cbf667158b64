import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, loadEnv } from "vite";

// The page is served under a policy that forbids inline scripts and styles: nothing may be inlined.
// `npm run dev` proxies the API to a studio that runs at STUDIO (its cookie is set when the proxied page is asked for).
const server = loadEnv("", ".", "STUDIO")["STUDIO"] ?? "http://127.0.0.1:8765";

export default defineConfig({
  plugins: [svelte()],
  base: "/",
  server: { proxy: { "/api": { target: server, ws: true } } },
  build: {
    outDir: "../src/faceloom/server/web",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: ["chrome123", "firefox121", "safari17.5"],
    reportCompressedSize: false,
  },
});
