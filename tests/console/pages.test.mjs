// The console in a real browser, over its sample world: what people see, hear and can do.
//
//   PORTREEVE_CONSOLE_SHOTS=DIR   leaves a picture of every page there

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { accessible, browser as launch, fits, open, shot, signedIn, world as start } from "./world.mjs";

let browser;
before(async () => { browser = await launch(); });
after(async () => { await browser?.close(); });

const PAGES = {
  overview: "/",
  approvals: "/approvals",
  refund: "/approvals/7F3K-9QAB",
  hostile: "/approvals/0BAD-C0DE",
  grave: "/approvals/DEAD-BEEF",
  opening: "/approvals/GRAS-SBRK",
  elevation: "/approvals/ELEV-ATE1",
  "not-yours": "/approvals/MINE-MINE",
  "step-up": "/approvals/PASS-KEY1",
  done: "/approvals/PAST-0001",
  tasks: "/tasks",
  task: "/tasks/task_000000000048h",
  "task-hostile": "/tasks/task_00000000008h2",
  "task-review": "/tasks/task_0000000000csk",
  stop: "/tasks/task_000000000048h/stop",
  me: "/me",
};

/** Runs with a world of its own, and with what has to be closed */
async function within(options, run) {
  const world = await start(...options);
  try { await run(world); } finally { await world.end(); }
}

/** How light the middle of a picture is, of 255; on a page that may read it */
async function lightness(page, picture) {
  const reader = await page.context().newPage();
  return reader.evaluate(async (address) => {
    const image = await createImageBitmap(await (await fetch(address)).blob());
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const [red, green, blue] = canvas.getImageData(image.width >> 1, image.height >> 1, 1, 1).data;
    return (red + green + blue) / 3;
  }, `data:image/png;base64,${picture.toString("base64")}`);
}

for (const colorScheme of ["light", "dark"]) {
  test(`every page is accessible and silent, ${colorScheme}`, async () => {
    await within([], async (world) => {
      const outside = await open(browser, { colorScheme });
      for (const [name, address] of [["sign-in", `${world.base}/sign-in`], ["link", await world.link("omar")]]) {
        await outside.goto(address);
        await accessible(outside, name);
        await shot(outside, `${name}-${colorScheme}`);
      }
      const page = await signedIn(browser, world, "dana", { colorScheme });
      for (const [name, path] of Object.entries(PAGES)) {
        await page.goto(world.base + path);
        await page.getByText("News come by themselves.").waitFor();
        await accessible(page, name);
        await shot(page, `${name}-${colorScheme}`);
        await fits(page, name);
        const small = await page.evaluate(() => [...document.querySelectorAll("a.button, button, nav a, input:not([type=hidden])")]
          .filter((one) => one.checkVisibility() && (one.offsetHeight < 24 && !one.matches("[type=checkbox]"))).map((one) => one.outerHTML));
        assert.deepEqual(small, [], name);
      }
      assert.deepEqual(page.wrongs.concat(outside.wrongs), []);
      await page.goto(`${world.base}/approvals/XXXX-XXXX`);
      await accessible(page, "error");
      await shot(page, `error-${colorScheme}`);
    });
  });
}

test("pages fit on a telephone, and with forced colours", async () => {
  await within([], async (world) => {
    const phone = await signedIn(browser, world, "dana", { viewport: { width: 390, height: 844 } });
    for (const [name, path] of Object.entries(PAGES)) {
      await phone.goto(world.base + path);
      await fits(phone, name);
      await shot(phone, `${name}-phone`);
    }
    const forced = await signedIn(browser, world, "dana", { forcedColors: "active" });
    await forced.goto(world.base + PAGES.refund);
    await shot(forced, "refund-forced");
    assert.deepEqual(phone.wrongs.concat(forced.wrongs), []);
  });
});

test("how many have agreed can be told by the bar, in the dark too", async () => {
  await within([], async (world) => {
    for (const [colorScheme, is] of [["light", (light) => light > 160], ["dark", (light) => light < 96]]) {
      const page = await signedIn(browser, world, "dana", { colorScheme });
      await page.goto(world.base + PAGES["step-up"]);
      const bar = page.locator("progress[value='0']").first();
      const light = await lightness(page, await bar.screenshot());
      assert.ok(is(light), `an empty bar looks full, ${colorScheme}: ${light}`);
    }
  });
});

test("an empty house says so", async () => {
  await within(["--empty"], async (world) => {
    const page = await signedIn(browser, world, "dana");
    await page.getByText("Nothing waits for people.").waitFor();
    await accessible(page, "empty");
    await shot(page, "empty-light");
  });
});

test("without JavaScript: sign in, approve, deny, review, stop, sign out", async () => {
  await within([], async (world) => {
    const page = await signedIn(browser, world, "dana", { javaScriptEnabled: false });
    await page.getByRole("link", { name: "support-bot wants to call bank.transfer" }).click();
    const approve = page.getByRole("form", { name: "Approve" });
    await approve.getByLabel("Why it is right").fill("The bill is in the ticket.");
    await approve.getByRole("button").click();
    assert.match(page.url(), /DEAD-BEEF$/, "the browser itself asks for the tick");
    await approve.getByLabel("I know that this cannot be undone").check();
    await approve.getByRole("button").click();
    await page.getByText("Your yes is signed and recorded.").waitFor();
    await page.getByText("approved, not used yet").first().waitFor();

    await page.goto(`${world.base}/approvals/7F3K-9QAB`);
    const deny = page.getByRole("form", { name: "Deny" });
    await deny.getByLabel("Why not").fill("Too much.");
    await deny.getByRole("button").click();
    await page.getByText("Your no is signed and recorded").waitFor();
    assert.equal(await page.getByRole("form", { name: "Approve" }).count(), 0);

    await page.goto(world.base);
    await page.getByRole("link", { name: "Look at it and close the review" }).click();
    await page.getByLabel("What you found").fill("Each call was needed.");
    await page.getByRole("button", { name: "Close the review" }).click();
    await page.getByText("The review is closed.").waitFor();

    await page.goto(`${world.base}/tasks`);
    await page.getByRole("link", { name: "refund-order" }).click();
    await page.getByRole("link", { name: "Stop this task" }).click();
    await page.getByRole("button", { name: "Stop it now" }).click();
    await page.getByText("The task is stopped.").waitFor();
    await shot(page, "stopped-without-script");

    const { said } = await world.ask("said");
    assert.deepEqual(said.map((one) => [one.yes, one.why, one.read_ms]), [[true, "The bill is in the ticket.", null], [false, "Too much.", null]]);
    await page.goto(`${world.base}/me`);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in" }).waitFor();
    assert.deepEqual(page.wrongs, []);
  });
});

test("news come by themselves, and take nothing from who is writing", async () => {
  await within([], async (world) => {
    const page = await signedIn(browser, world, "dana");
    await page.getByText("News come by themselves.").waitFor();
    await world.ask("ask");
    await page.getByText("NEWS-0001").waitFor();
    await page.waitForFunction(() => document.title.startsWith("(7)"));
    assert.match(await page.locator("#news").textContent(), /7 waiting for you/);

    await page.getByRole("link", { name: "omar wants to open an emergency task for support-bot" }).focus();
    await world.ask("decline DEAD-BEEF");
    await page.getByText("DEAD-BEEF").waitFor({ state: "detached" });
    const focused = await page.evaluate(() => document.activeElement.id);
    assert.equal(focused, "a-GRAS-SBRK", "the focus stays where it was");

    await page.goto(`${world.base}/approvals/7F3K-9QAB`);
    await page.getByText("News come by themselves.").waitFor();
    await page.getByLabel("Why it is right").fill("half a sen");
    await world.ask("ask");
    await page.waitForFunction(() => document.querySelector(".count").textContent.startsWith("7"));
    assert.equal(await page.getByLabel("Why it is right").inputValue(), "half a sen");
    assert.equal(await page.evaluate(() => document.activeElement.id), "why-yes");
    await world.ask("decline 7F3K-9QAB");
    await page.getByText("This question is closed.").waitFor();

    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("News are paused.").waitFor();
    assert.deepEqual(page.wrongs, []);
  });
});

test("with the script an answer tells how long the page was read, and stopping asks in place", async () => {
  await within([], async (world) => {
    const page = await signedIn(browser, world, "dana");
    await page.goto(`${world.base}/approvals/ELEV-ATE1`);
    await page.getByLabel("Why it is right").fill("The address is wrong indeed.");
    await page.getByRole("button", { name: "Approve exactly this" }).click();
    await page.getByText("Your yes is signed and recorded.").waitFor();
    const { said } = await world.ask("said");
    assert.ok(said[0].read_ms > 0 && said[0].read_ms < 60_000, JSON.stringify(said));

    await page.goto(`${world.base}/tasks/task_000000000048h`);
    await page.getByRole("link", { name: "Stop this task" }).click();
    const dialog = page.getByRole("dialog", { name: "Stop this task?" });
    await dialog.waitFor();
    await accessible(page, "dialog");
    await shot(page, "stop-dialog");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.textContent.trim()), "Stop this task");
    await page.keyboard.press("Enter");
    await dialog.getByRole("button", { name: "Stop it now" }).click();
    await page.getByText("The task is stopped.").waitFor();
    assert.deepEqual(page.wrongs, []);
  });
});

test("a passkey is registered, signs in, and signs exactly one answer", async () => {
  await within([], async (world) => {
    const page = await signedIn(browser, world, "dana");
    const devices = await page.context().newCDPSession(page);
    await devices.send("WebAuthn.enable");
    const { authenticatorId } = await devices.send("WebAuthn.addVirtualAuthenticator", {
      options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
    });
    await page.goto(`${world.base}/me`);
    await page.getByLabel("Name").fill("Laptop");
    await page.getByRole("button", { name: "Register a passkey" }).click();
    await page.getByText("The passkey is registered.").waitFor();
    // A further one, or removing one, needs the first.
    assert.equal(await page.getByRole("button", { name: "Remove Laptop" }).count(), 0);
    await page.getByRole("button", { name: "Use your passkey" }).click();
    await page.getByRole("button", { name: "Remove Laptop" }).waitFor();
    await accessible(page, "me with a passkey");
    await shot(page, "me-passkey");
    await page.getByLabel("Name").fill("Again");
    await page.getByRole("button", { name: "Register a passkey" }).click();
    await page.getByRole("alert").waitFor();

    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("button", { name: "Sign in with a passkey" }).click();
    await page.waitForURL(`${world.base}/`);
    await page.goto(`${world.base}/me`);
    await page.locator("dd", { hasText: "passkey" }).waitFor();
    assert.deepEqual((await world.ask("entered")).entered, ["dana by link", "dana by passkey"]);

    await page.goto(`${world.base}/approvals/PASS-KEY1`);
    await page.getByLabel("Why it is right").fill("Seen and signed.");
    await devices.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: false });
    await page.getByRole("button", { name: "Approve exactly this" }).click();
    await page.getByRole("alert").waitFor();
    await accessible(page, "no passkey was used");
    await shot(page, "step-up-refused");
    await devices.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified: true });
    await page.getByRole("button", { name: "Approve exactly this" }).click();
    await page.getByText("Your yes is signed and recorded.").waitFor();
    const { said } = await world.ask("said");
    assert.deepEqual(said.map((one) => [one.yes, one.why, one.passkey]), [[true, "Seen and signed.", true]]);

    await page.goto(`${world.base}/me`);
    await page.getByRole("button", { name: "Remove Laptop" }).click();
    await page.getByText("The passkey is removed.").waitFor();
    assert.deepEqual((await world.ask("passkeys")).passkeys, ["dana gets Laptop", "dana loses Laptop"]);
    assert.deepEqual(page.wrongs, []);
  });
});

test("everything is reached with the keyboard, and the way is seen", async () => {
  await within([], async (world) => {
    const page = await signedIn(browser, world, "dana");
    await page.goto(`${world.base}/approvals/7F3K-9QAB`);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the page");
    assert.ok(await page.evaluate(() => document.activeElement.getBoundingClientRect().top >= 0), "the link shows");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    const seen = [];
    for (let at = 0; at < 40; at += 1) {
      await page.keyboard.press("Tab");
      const one = await page.evaluate(() => {
        const active = document.activeElement;
        const style = getComputedStyle(active);
        return { what: active.id || active.textContent.trim() || active.name, outline: style.outlineStyle !== "none", tag: active.tagName };
      });
      if (one.tag === "BODY") break;
      assert.ok(one.outline, `the focus on ${one.what} is not seen`);
      seen.push(one.what);
    }
    for (const wanted of ["why-yes", "Approve exactly this, once", "why-no", "Deny", "live-toggle"]) {
      assert.ok(seen.includes(wanted), `${wanted} in ${seen}`);
    }
  });
});

test("a session that is over leads to the sign-in, a form of it does nothing", async () => {
  await within([], async (world) => {
    const page = await signedIn(browser, world, "dana");
    const other = await page.context().newPage();
    await page.goto(`${world.base}/approvals/7F3K-9QAB`);
    await page.getByLabel("Why it is right").fill("late");
    await other.goto(`${world.base}/me`);
    await other.getByRole("button", { name: "Sign out" }).click();
    await other.getByRole("heading", { name: "Sign in" }).waitFor();
    await page.getByRole("button", { name: "Approve exactly this" }).click();
    await page.getByText("You are not signed in any more").waitFor();
    assert.deepEqual((await world.ask("said")).said, []);
  });
});
