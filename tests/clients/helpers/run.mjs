// One run of an agent through the TypeScript helper in clients/typescript and the official SDK. See ../README.md.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { Key, PortreeveError, Task, file } from "../../../clients/typescript/index.js";

const load = createRequire(join(resolve(process.env.PORTREEVE_INTEROP ?? "target/interop"), "node", "package.json"));
const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const run = JSON.parse(process.argv[2]);

function options() {
  const key = run.key && Key.load(run.key);
  const source = run.file ? file(run.file) : key?.source(run.agent);
  return { url: run.url, wait: (run.wait ?? 0) * 1000, source, dpop: run.dpop ? key : undefined };
}

async function work(task) {
  say({ opened: task.id, agent: task.agent });
  if (run.renews) {
    const first = JSON.stringify(task.headers());
    const deadline = Date.now() + 30_000;
    while (JSON.stringify(task.headers()) === first && Date.now() < deadline) await new Promise((go) => setTimeout(go, 10));
    say({ renewed: JSON.stringify(task.headers()) !== first });
  }
  for (const [connector, tool, args] of run.calls ?? []) {
    const client = new Client({ name: "run", version: "1" });
    await client.connect(new StreamableHTTPClientTransport(new URL(task.endpoints[connector]), { fetch: task.fetch }));
    const result = await client.callTool({ name: tool, arguments: args });
    say({ call: tool, word: result._meta?.["dev.portreeve/refusal"]?.word ?? "ok" });
    await client.close();
  }
  const outcome = await task.outcome();
  say({ outcome: outcome.calls, over: outcome.over, refusals: outcome.refusals.map((one) => one.words) });
}

// Renewed much sooner than it has to be.
const later = globalThis.setTimeout;
if (run.renews) globalThis.setTimeout = (act, after, ...rest) => later(act, after > 60_000 ? 300 : after, ...rest);

try {
  const task = await Task.open({ purpose: run.purpose, parameters: run.parameters, ...options() });
  try {
    await work(task);
  } finally {
    await task[Symbol.asyncDispose]();
  }
  say({ ended: (await task.outcome()).over });
  try {
    task.headers();
  } catch (error) {
    say({ afterwards: error.word });
  }
} catch (error) {
  if (!(error instanceof PortreeveError)) throw error;
  say({ error: error.constructor.name, word: error.word, status: error.status, code: error.code ?? null });
}
