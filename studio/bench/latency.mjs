// Slider to screen: how long after each of 200 moves of a slider the edited photo of it is drawn.
//
//   faceloom studio --no-browser --port 8765 &
//   node studio/bench/latency.mjs http://127.0.0.1:8765 [moves] [sample]
//
// Needs Chromium at /usr/bin/chromium (or CHROMIUM). Moves come
// every 100 ms, as from a hand; a move whose picture is overtaken by a newer one has no time of its own and is counted
// apart. "Input" is how long the page's own thread kept an input event waiting.
import { chromium } from "playwright-core";

const [url = "http://127.0.0.1:8765", moves = "200", sample = "0"] = process.argv.slice(2);
const EVERY_MS = 100;
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
await page.goto(url);
await page.locator(".sample").nth(Number(sample)).click();
const slider = page.locator(".panel:not([inert]) input[type=range]").first();
await slider.waitFor({ timeout: 300_000 });
await slider.focus();
await page.waitForTimeout(3000);

const result = await page.evaluate(
  async ({ moves, every }) => {
    const input = document.querySelector(".panel input[type=range]");
    const [low, high] = [Number(input.min), Number(input.max)];
    const waits = [];
    const server = [];
    const observer = new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        if (entry.name !== "faceloom:preview") continue;
        waits.push(entry.duration);
        server.push(entry.detail);
      }
    });
    observer.observe({ entryTypes: ["measure"] });
    const blocked = [];
    const beats = setInterval(() => {
      const due = performance.now();
      const channel = new MessageChannel();
      channel.port1.onmessage = () => blocked.push(performance.now() - due);
      channel.port2.postMessage(0);
    }, 25);
    for (let move = 0; move < moves; move++) {
      // Up and down the range, never twice the same place, never the neutral one.
      const wave = 0.5 - 0.5 * Math.cos((2 * Math.PI * move) / 67);
      input.value = String(low + (high - low) * (0.03 + 0.94 * wave));
      input.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise((resolve) => setTimeout(resolve, every));
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
    clearInterval(beats);
    const canvas = document.querySelector(".sheet canvas");
    return { waits, server, blocked, side: Math.max(canvas.width, canvas.height) };
  },
  { moves: Number(moves), every: EVERY_MS },
);
await browser.close();

const quantile = (values, share) => values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))];
const line = (name, values) =>
  console.log(`${name}: median ${quantile(values, 0.5).toFixed(0)} ms, p95 ${quantile(values, 0.95).toFixed(0)} ms, n ${values.length}`);
line("slider to screen", result.waits);
line("of it, the server", result.server);
line("input", result.blocked);
console.log(`moves: ${moves}, overtaken: ${Number(moves) - result.waits.length}, previews of ${result.side} px`);
