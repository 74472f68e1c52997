// The console of a running Portreeve while an agent waits for people; started by `crates/portreeve/tests/system/console.rs`.
//
//   PORTREEVE_CONSOLE_LINK=URL    the one-time link that `portreeve serve` printed
//   PORTREEVE_CONSOLE_SHOTS=DIR   leaves a picture of every page there

import assert from "node:assert/strict";
import { accessible, browser as launch, fits, open, shot } from "./world.mjs";

const link = process.env.PORTREEVE_CONSOLE_LINK;
const base = new URL(link).origin;
const CARD = { name: "assistant wants to call shop.act" };
const browser = await launch();

/** The card of the question that waits with this value, once it does; news come by themselves only with a script */
async function waiting(page, value) {
  const card = page.locator("#inbox article.open", { hasText: `value=${value}` });
  for (let round = 0; (await card.count()) === 0; round += 1) {
    assert.ok(round < 200, `nobody asks about ${value}`);
    await page.goto(`${base}/`);
  }
  return card.getByRole("link", CARD);
}

try {
  // Without a script: in by the link, which is good once.
  const plain = await open(browser, { javaScriptEnabled: false });
  await plain.goto(link);
  await plain.getByRole("button", { name: "Sign in" }).click();
  await plain.waitForURL(`${base}/`);
  const again = await open(browser);
  assert.equal((await again.goto(link)).status(), 410);
  again.wrongs.length = 0; // A browser logs every answer that is an error.

  const asked = await waiting(plain, "first");
  const question = new URL(await asked.getAttribute("href"), base).href;

  // The same session, with the script, in light and dark.
  const storageState = await plain.context().storageState();
  const pages = {};
  for (const colorScheme of ["light", "dark"]) {
    const page = (pages[colorScheme] = await open(browser, { storageState, colorScheme }));
    await page.goto(question);
    const task = new URL(await page.getByRole("link", { name: /^task_/ }).getAttribute("href"), base).href;
    pages.task = task;
    const all = { overview: `${base}/`, approvals: `${base}/approvals`, question, tasks: `${base}/tasks`, task, stop: `${task}/stop` };
    for (const [name, address] of Object.entries(all)) {
      await page.goto(address);
      await page.getByText("News come by themselves.").waitFor();
      await accessible(page, `${name}, ${colorScheme}`);
      await fits(page, name);
      await shot(page, `live-${name}-${colorScheme}`);
    }
    await page.goto(`${base}/`);
    await page.locator("#inbox", { hasText: "value=first" }).waitFor();
    await page.getByText("News come by themselves.").waitFor();
  }

  // Approved without a script; the agent goes on by itself, and the open pages hear of its next question.
  await asked.click();
  const approve = plain.getByRole("form", { name: "Approve" });
  await approve.getByLabel("Why it is right").fill("This one is right.");
  const tick = approve.getByLabel("I know that this cannot be undone");
  if (await tick.count()) await tick.check();
  await approve.getByRole("button").click();
  await plain.getByText("Your yes is signed and recorded.").waitFor();
  for (const page of [pages.light, pages.dark]) {
    await page.locator("#inbox", { hasText: "value=second" }).waitFor();
    assert.equal(await page.locator("#inbox", { hasText: "value=first" }).count(), 0);
  }
  await plain.goto(question);
  await plain.getByText("This question is closed.").waitFor();
  await shot(plain, "live-used-without-script");

  // Denied.
  const dark = pages.dark;
  await dark.locator("#inbox").getByRole("link", CARD).click();
  const deny = dark.getByRole("form", { name: "Deny" });
  await deny.getByLabel("Why not").fill("Not this one.");
  await deny.getByRole("button").click();
  await dark.getByText("Your no is signed and recorded").waitFor();
  await accessible(dark, "denied");
  await shot(dark, "live-denied-dark");

  // Stopped, while the third question waits.
  const light = pages.light;
  await light.locator("#inbox", { hasText: "value=third" }).waitFor();
  await light.goto(pages.task);
  await light.getByRole("link", { name: "Stop this task" }).click();
  const dialog = light.getByRole("dialog", { name: "Stop this task?" });
  await accessible(light, "dialog");
  await dialog.getByRole("button", { name: "Stop it now" }).click();
  await light.getByText("The task is stopped.").waitFor();
  await accessible(light, "stopped");
  await shot(light, "live-stopped-light");
  await light.goto(`${base}/`);
  await light.getByText("Nothing waits for people.").waitFor();
  await light.getByText("No agent works on anything.").waitFor();
  await shot(light, "live-quiet-light");

  const wrongs = [plain, again, light, dark].flatMap((page) => page.wrongs);
  assert.deepEqual(wrongs, []);
  console.log("done");
} finally {
  await browser.close();
}
