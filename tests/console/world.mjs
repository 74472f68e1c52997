// Starts the console over its sample world, and a browser in front of it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

// The packages lie where `cargo xtask setup` put them, outside of the source tree.
const interop = process.env.PORTREEVE_INTEROP ?? "target/interop";
const load = createRequire(join(resolve(interop), "node", "package.json"));
const { chromium } = load("playwright-core");
const { AxeBuilder } = load("@axe-core/playwright");

const program = process.env.PORTREEVE_CONSOLE_SAMPLE ?? "target/debug/examples/sample";
const shots = process.env.PORTREEVE_CONSOLE_SHOTS;
if (shots) mkdirSync(shots, { recursive: true });

/** The console over its sample world: `base`, `ask(line)`, `link(user)`, `end()` */
export async function world(...options) {
  const child = spawn(program, options, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the sample world ended");
    return JSON.parse(value);
  };
  const { base } = await next();
  const ask = async (line) => { child.stdin.write(`${line}\n`); return next(); };
  const end = () => new Promise((ended) => { child.once("exit", ended); child.stdin.end(); });
  return { base, ask, link: async (user) => (await ask(user)).link, end };
}

export async function browser() {
  const root = process.getuid?.() === 0;
  // A sandbox of its own needs an account that is not root.
  const args = root ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
}

/** A page of a fresh profile that notes everything that goes wrong on it in `page.wrongs` */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.wrongs = [];
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) page.wrongs.push(message.text()); });
  page.on("pageerror", (error) => page.wrongs.push(String(error)));
  page.on("requestfailed", (request) => {
    // A page that is left ends what it had asked for.
    const why = request.failure()?.errorText;
    if (why !== "net::ERR_ABORTED") page.wrongs.push(`${request.url()} ${why}`);
  });
  if (options.javaScriptEnabled !== false) {
    await page.addInitScript(() => addEventListener("securitypolicyviolation", (event) => console.error(`violation: ${event.violatedDirective} ${event.blockedURI}`)));
  }
  return page;
}

/** The same page, signed in by a one-time link */
export async function signedIn(browser, world, user, options) {
  const page = await open(browser, options);
  await page.goto(await world.link(user));
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${world.base}/`);
  return page;
}

/** A picture for people, if somebody wants them */
export async function shot(page, name) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

/** Nothing that axe finds wrong on a page */
export async function accessible(page, name) {
  const found = await new AxeBuilder({ page })
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  const broken = found.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target).join(", ")}`);
  assert.deepEqual(broken, [], name);
}

/** Nothing that is wider than the window */
export async function fits(page, name) {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(wide, false, `${name} is wider than the window`);
}
