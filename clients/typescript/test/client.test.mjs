// The helper against recorded answers: node --test test/client.test.mjs

import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import test from "node:test";
import { Held, NotProven, PortreeveError, Refused, Task, Unreachable, environment, file, found } from "../index.js";

const OPENED = {
  access_token: "first", token_type: "Bearer", expires_in: 300, task: "task_1", run: "run_1", agent: "bot", expires: 1,
  endpoints: { shop: "http://127.0.0.1:1/mcp/shop" },
};
const RENEWED = { access_token: "second", token_type: "Bearer", expires_in: 300, endpoints: OPENED.endpoints };
const HELD = { held: { hold: "hold_1", code: "ABCD-EFGH", until: 2 } };
const refusal = (word) => ({ error: { word, message: "No.", remedy: "Ask.", reasons: [{ word }] } });
const source = (audience) => `proof for ${audience}`;

// A server that gives these answers in turn, the last of each kind again and again
async function recorded(t, answers) {
  const asked = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    asked.push({ method: request.method, path: request.url, headers: request.headers, body: `${Buffer.concat(parts)}` });
    const idp = request.url.includes("/idp");
    const kind = request.url.endsWith("/token") ? "token" : idp ? "idp" : request.method.toLowerCase();
    const given = answers[kind];
    const [status, answer] = given.length > 1 ? given.shift() : given[0];
    response.writeHead(status, status >= 300 && status < 400 ? { location: "/elsewhere" } : {});
    response.end(answer === null ? "" : JSON.stringify(answer));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  t.after(() => server.close());
  return { asked, url: `http://127.0.0.1:${server.address().port}` };
}

async function until(what, holds) {
  const deadline = Date.now() + 30_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `waited too long until ${what}`);
    await new Promise((go) => setTimeout(go, 5));
  }
}

// Timers of more than a minute, which are renewals, go off at once; shorter ones ten times as fast
function hurry(t) {
  const later = globalThis.setTimeout;
  globalThis.setTimeout = (act, after, ...rest) => later(act, after > 60_000 ? 1 : after / 10, ...rest);
  t.after(() => { globalThis.setTimeout = later; });
}

test("a task is opened and ended", async (t) => {
  const served = await recorded(t, { post: [[201, OPENED]], delete: [[204, null]] });
  const parameters = { month: "2026-10" };
  const task = await Task.open({ purpose: "work", parameters, objective: "Count", url: served.url, source });
  assert.deepEqual([task.id, task.agent, task.headers()], ["task_1", "bot", { authorization: "Bearer first" }]);
  assert.ok(!inspect(task).includes("first") && !JSON.stringify(task).includes("first"));
  await task.end();
  await task.end();
  assert.deepEqual(served.asked.map((one) => [one.method, one.path]), [
    ["POST", "/v1/tasks"], ["DELETE", "/v1/tasks/task_1"],
  ]);
  assert.equal(served.asked[0].headers.authorization, `Bearer proof for ${served.url}`);
  assert.deepEqual(JSON.parse(served.asked[0].body), { purpose: "work", parameters, objective: "Count" });
  assert.throws(() => task.headers(), { word: "task_over" });
});

test("errors have words and remedies, and nobody is followed elsewhere", async (t) => {
  const cases = [
    [401, refusal("agent_unknown"), NotProven, "agent_unknown"],
    [403, refusal("purpose_unknown"), Refused, "purpose_unknown"],
    [503, refusal("issuer_unreachable"), Unreachable, "issuer_unreachable"],
    [502, null, Unreachable, "unexpected_answer"],
    [307, null, Unreachable, "unexpected_answer"],
  ];
  for (const [status, answer, kind, word] of cases) {
    const served = await recorded(t, { post: [[status, answer]] });
    const opening = Task.open({ purpose: "work", url: served.url, source });
    await assert.rejects(opening, (error) => error instanceof kind && error.word === word && error.status === status);
    assert.equal(served.asked.length, 1);
  }
});

test("people are waited for within a limit", async (t) => {
  hurry(t);
  const served = await recorded(t, { post: [[202, HELD], [202, HELD], [201, OPENED]], delete: [[204, null]] });
  const task = await Task.open({ purpose: "work", url: served.url, source, wait: 30_000 });
  await task.end();
  const never = await recorded(t, { post: [[202, HELD]] });
  const opening = Task.open({ purpose: "work", url: never.url, source, wait: 20 });
  await assert.rejects(opening, (error) => error instanceof Held && error.code === "ABCD-EFGH");
});

test("tokens are not sent in the open", () => {
  for (const url of ["http://portreeve.example.com", "ftp://127.0.0.1", "http://a:b@127.0.0.1", "portreeve"]) {
    assert.throws(() => new Task({ url, source }), PortreeveError, url);
  }
  new Task({ url: "http://portreeve.example.com", source, plainHttp: true });
});

test("the token is renewed before it ends, and tried again when that fails", async (t) => {
  hurry(t);
  const down = [503, refusal("issuer_unreachable")];
  const token = [down, down, [200, RENEWED]];
  const served = await recorded(t, { post: [[201, OPENED]], token, delete: [[204, null]] });
  const task = await Task.open({ purpose: "work", url: served.url, source });
  await until("it is renewed", () => task.headers().authorization === "Bearer second");
  await task.end();
});

test("a task that is over says so", async (t) => {
  hurry(t);
  const served = await recorded(t, { post: [[201, OPENED]], token: [[403, refusal("task_over")]] });
  const task = await Task.open({ purpose: "work", url: served.url, source });
  const over = () => {
    try {
      task.headers();
    } catch (error) {
      return error instanceof Refused && error.word === "task_over";
    }
  };
  await until("it is over", over);
});

test("a joined task goes on", async (t) => {
  const served = await recorded(t, { token: [[200, RENEWED]] });
  const task = await Task.join("task_1", { url: served.url, source, audience: "us" });
  assert.deepEqual(task.headers(), { authorization: "Bearer second" });
  await task.end();
  assert.deepEqual(served.asked.map((one) => one.path), ["/v1/tasks/task_1/token"]);
  assert.equal(served.asked[0].headers.authorization, "Bearer proof for us");
});

test("a token is shown at endpoints only", async (t) => {
  const served = await recorded(t, { post: [[201, OPENED], [200, {}]], delete: [[204, null]] });
  OPENED.endpoints.shop = `${served.url}/mcp/shop`;
  const task = await Task.open({ purpose: "work", url: served.url, source });
  await task.fetch(task.endpoints.shop, { method: "POST", body: "{}" });
  assert.equal(served.asked[1].headers.authorization, "Bearer first");
  for (const url of [`${served.url}/mcp/shopper`, "http://127.0.0.1:9/mcp/shop"]) {
    await assert.rejects(task.fetch(url, { method: "POST" }), { word: "not_an_endpoint" });
  }
  await task.end();
});

test("the runner is asked for each token", async (t) => {
  const served = await recorded(t, { idp: [[200, { value: "one" }], [200, { value: "two" }], [500, null]] });
  process.env.ACTIONS_ID_TOKEN_REQUEST_URL = `${served.url}/idp?version=2`;
  process.env.ACTIONS_ID_TOKEN_REQUEST_TOKEN = "secret";
  const runner = found();
  delete process.env.ACTIONS_ID_TOKEN_REQUEST_URL;
  delete process.env.ACTIONS_ID_TOKEN_REQUEST_TOKEN;
  assert.deepEqual([await runner("https://us/"), await runner("https://us/")], ["one", "two"]);
  assert.equal(served.asked[0].path, "/idp?version=2&audience=https%3A%2F%2Fus%2F");
  assert.equal(served.asked[0].headers.authorization, "bearer secret");
  await assert.rejects(runner("us"), Unreachable);
  assert.throws(found, { word: "no_token_source" });
});

test("a file is read each time", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "portreeve-"));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, "token");
  for (const text of ["one\n", "two"]) {
    await writeFile(path, text);
    assert.equal(await file(path)("us"), text.trim());
  }
  await rm(path);
  await assert.rejects(file(path)("us"), { word: "no_token_source" });
  assert.throws(() => environment("NO_SUCH_VARIABLE")("us"), { word: "no_token_source" });
});
