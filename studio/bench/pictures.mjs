// Makes the pictures of docs/studio.md anew, against a studio that runs with an empty data folder:
//
//   faceloom studio --no-browser --port 8765 --data "$(mktemp -d)" &
//   npm run pictures --prefix studio -- http://127.0.0.1:8765
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [url = "http://127.0.0.1:8765"] = process.argv.slice(2);
const PATIENCE = 300_000;
const folder = new URL("../../docs/pictures/", import.meta.url).pathname;
const examples = new URL("../../examples/", import.meta.url).pathname;
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });

const open = async (options, address = url) => {
  const page = await (await browser.newContext(options)).newPage();
  await page.goto(address);
  await page.locator(".sample, .editor").first().waitFor();
  await page.waitForLoadState("networkidle");
  return page;
};
const shoot = async (page, name) => {
  await page.waitForTimeout(400);
  await page.screenshot({ path: `${folder}studio-${name}.png` });
};
const ready = (page) => page.locator("header .primary:enabled").waitFor({ timeout: PATIENCE });
const settled = async (page) => {
  await page.waitForTimeout(600);
  await page.locator(".working:not(.on)").waitFor({ state: "attached", timeout: PATIENCE });
  await page.locator(".strip[aria-busy=false]").waitFor({ timeout: PATIENCE });
  // On a phone the twins are in a tab of their own, and not there until it is opened.
  await page.waitForFunction(() => !document.querySelector(".twins .waiting"), undefined, { timeout: PATIENCE });
  await page.waitForTimeout(1500);
};
const move = async (page, label, key, presses) => {
  await page.getByRole("slider", { name: label, exact: true }).focus();
  for (let press = 0; press < presses; press++) await page.keyboard.press(key);
  await settled(page);
};

const light = { viewport: { width: 1280, height: 800 }, locale: "en-GB", colorScheme: "light" };
const page = await open(light);
await shoot(page, "start");
await page.locator(".sample").first().click();
await page.locator(".card canvas:not([hidden])").waitFor({ timeout: PATIENCE });
await page.waitForTimeout(2500);
await shoot(page, "inversion");
await ready(page);
await move(page, "Smile", "ArrowRight", 15);
await page.keyboard.press("Control+z");
await move(page, "Hair colour", "ArrowLeft", 10);
await move(page, "Age", "ArrowRight", 16);
await page.keyboard.press("s");
await page.keyboard.press("h");
await shoot(page, "edit");
await page.keyboard.press("d");
await shoot(page, "difference");
await page.keyboard.press("d");
await page.keyboard.press("Control+s");
await shoot(page, "save");
await page.keyboard.press("Escape");
await page.keyboard.press("?");
await shoot(page, "keys");

const address = page.url();
const phone = await open(
  { viewport: { width: 390, height: 844 }, locale: "de-DE", colorScheme: "dark", hasTouch: true, isMobile: true },
  address,
);
await ready(phone);
await move(phone, "Lächeln", "ArrowRight", 8);
await shoot(phone, "phone");
const wide = await open({ viewport: { width: 2560, height: 1200 }, deviceScaleFactor: 0.5, locale: "es-ES", colorScheme: "dark" }, address);
await ready(wide);
await settled(wide);
await shoot(wide, "wide");

// What else there is to see: two faces, a photo that is refused, a long name, a cartoon, and what a person can add.
const upload = async (to, name, content) =>
  to.locator(".well input[type=file]").setInputFiles({ name, mimeType: "image/png", buffer: Buffer.from(content, "base64") });
const people = ["portrait", "beard"].map((name) => readFileSync(`${examples}${name}.jpg`).toString("base64"));
const both = await browser.newPage();
const couple = await both.evaluate(async (sources) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 500, height: 250 });
  for (const [place, source] of sources.entries()) {
    const picture = Object.assign(new Image(), { src: `data:image/jpeg;base64,${source}` });
    await picture.decode();
    canvas.getContext("2d").drawImage(picture, 250 * place, 0, 250, 250);
  }
  return canvas.toDataURL("image/png").split(",")[1];
}, people);
const meadow = await both.evaluate(() => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 400, height: 300 });
  const brush = canvas.getContext("2d");
  [["#8fb7d9", 0], ["#5d8a4a", 150]].forEach(([colour, top]) => ((brush.fillStyle = colour), brush.fillRect(0, top, 400, 150)));
  return canvas.toDataURL("image/png").split(",")[1];
});
const other = await open({ ...light, colorScheme: "dark" });
await upload(other, "A meadow behind the house, without anybody in it, on the first day of the summer holidays.png", meadow);
await other.locator("main [role=alert]").waitFor({ timeout: PATIENCE });
await shoot(other, "refused");
const long = "The two of us at the station, just before the train to Bologna left without us, 2026-07-14 (2).png";
await upload(other, long, couple);
await other.locator(".face").nth(1).waitFor({ timeout: PATIENCE });
await shoot(other, "faces");
await other.locator(".face").nth(1).click();
await ready(other);
await settled(other);
await other.locator(".twins button, .strip button").filter({ hasText: /Animated/ }).first().click();
await settled(other);
await shoot(other, "cartoon");
await other.goto(url);
await other.locator(".sample").first().waitFor();
await other.waitForLoadState("networkidle");
await other.waitForTimeout(400);
await other.screenshot({ path: `${folder}studio-home.png`, fullPage: true });
await browser.close();
