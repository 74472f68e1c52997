// The official TypeScript SDK clients, unmodified, one line of JSON per step: SDK 1, or SDK 2 with PORTREEVE_CLIENT_SDK=2.
// How to call it and what it prints: ../README.md

import { EventEmitter, once } from "node:events";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { follower } from "./tasks.mjs";

// The SDKs lie where `cargo xtask setup` put them, outside of the source tree.
const interop = process.env.PORTREEVE_INTEROP ?? "target/interop";
const load = createRequire(join(resolve(interop), "node", "package.json"));
const second = process.env.PORTREEVE_CLIENT_SDK === "2";
const sdk = second
  ? { ...load("@modelcontextprotocol/client"), ...load("@modelcontextprotocol/client/stdio") }
  : {
      ...load("@modelcontextprotocol/sdk/client/index.js"),
      ...load("@modelcontextprotocol/sdk/client/stdio.js"),
      ...load("@modelcontextprotocol/sdk/client/streamableHttp.js"),
      ...load("@modelcontextprotocol/sdk/types.js"),
    };

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function stdio(command, args, env) {
  // Without `env` the SDK passes on only a handful of variables, PORTREEVE_SOCKET not among them.
  const inherited = process.env.PORTREEVE_CLIENT_ENV === "sdk" ? undefined : { ...process.env };
  const merged = env || inherited ? { ...inherited, ...env } : undefined;
  return new sdk.StdioClientTransport({ command, args, env: merged, stderr: "inherit" });
}

function http(url, headers) {
  const token = process.env.PORTREEVE_TOKEN;
  const authorization = token ? { authorization: `Bearer ${token}` } : {};
  const requestInit = { headers: { ...authorization, ...headers } };
  return new sdk.StreamableHTTPClientTransport(new URL(url), { requestInit, fetch: listening });
}

// What comes by the stream of a session, once there is one.
const news = new EventEmitter();
const listens = once(news, "listening");

async function listening(url, init) {
  const response = await fetch(url, init);
  if (init?.method === "GET" && response.ok) news.emit("listening");
  return response;
}

async function transport([mode, ...rest]) {
  if (mode === "stdio" && rest.length > 0) return stdio(rest[0], rest.slice(1));
  if (mode === "http" && rest.length === 1) return http(rest[0]);
  if (mode === "config" && rest.length === 2) {
    const server = JSON.parse(await readFile(rest[0], "utf8")).mcpServers[rest[1]];
    return server.command ? stdio(server.command, server.args ?? [], server.env) : http(server.url, server.headers);
  }
  throw new Error("usage: client.mjs STEPS (stdio COMMAND [ARG…] | http URL | config FILE SERVER)");
}

function failure(error) {
  // A JSON-RPC error has its number in `code`; so has a failed HTTP request, which is no answer of the protocol.
  const { code, data } = error;
  const name = error.constructor.name;
  if (name === "UnauthorizedError") return { status: 401, message: error.message };
  if (name === "StreamableHTTPError") return { status: code, message: error.message };
  if (name === "SdkHttpError") return { status: error.status ?? data?.status, message: error.message };
  return { code: typeof code === "number" ? code : undefined, message: error.message, data };
}

const steps = JSON.parse(process.argv[2] ?? "[]");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const mode = process.env.PORTREEVE_CLIENT_MODE ?? "legacy";
const negotiation = ["legacy", "auto"].includes(mode) ? mode : { pin: mode };
const can = process.env.PORTREEVE_CLIENT_CAN;
const TASKS = { extensions: { "io.modelcontextprotocol/tasks": {} } };
const elicitation = can === "url" ? { form: {}, url: {} } : { form: {} };
const capabilities = { elicitation, sampling: {}, roots: {}, ...(can === "tasks" ? TASKS : {}) };
const options = { capabilities, ...(second ? { versionNegotiation: { mode: negotiation } } : {}) };
const clientInfo = { name: "portreeve-test-typescript", version: "1.0.0" };
const client = new sdk.Client(clientInfo, options);
const closed = new Promise((done) => {
  client.onclose = done;
});

// Whether whoever opens a page waits for a line before saying that they are done with it.
let waits = false;

async function opened({ url }) {
  say({ opens: url });
  if (waits) await lines.next();
  return { action: "accept" };
}

// What a server asks is answered like this, always.
const filled = ([name, { type, enum: values }]) => [name, values?.[0] ?? (type === "boolean" ? true : `some ${name}`)];
const answers = {
  "elicitation/create": ({ params }) =>
    params.mode === "url"
      ? opened(params)
      : { action: "accept", content: Object.fromEntries(Object.entries(params.requestedSchema.properties).map(filled)) },
  "sampling/createMessage": () => ({ role: "assistant", content: { type: "text", text: "Paris" }, model: "test" }),
  "roots/list": () => ({ roots: [{ uri: "file:///work" }] }),
};
// The first SDK wants schemas where the second takes names.
const schemas = {
  "elicitation/create": "ElicitRequestSchema",
  "sampling/createMessage": "CreateMessageRequestSchema",
  "roots/list": "ListRootsRequestSchema",
  "notifications/message": "LoggingMessageNotificationSchema",
  "notifications/elicitation/complete": "ElicitationCompleteNotificationSchema",
};
const named = (method) => (second ? method : sdk[schemas[method]]);
for (const [method, answer] of Object.entries(answers)) client.setRequestHandler(named(method), answer);
let logs = [];
client.setNotificationHandler(named("notifications/message"), ({ params }) => {
  logs.push(params.data);
});
client.setNotificationHandler(named("notifications/elicitation/complete"), ({ params }) => {
  news.emit(params.elicitationId);
});

/** A call that is made again once somebody has answered on the page that an error of 2025-11-25 sent its client to. */
async function again(call) {
  try {
    return await call();
  } catch (error) {
    const [page] = error.data?.elicitations ?? [];
    if (error.code !== -32042 || !page) throw error;
    await listens;
    const answered = once(news, page.elicitationId);
    say({ opens: page.url });
    await answered;
    say({ answered: page.elicitationId });
    return call();
  }
}

// The client tells its transport the version that was agreed on: listen in.
function negotiated(way) {
  let version = null;
  const tell = way.setProtocolVersion?.bind(way);
  way.setProtocolVersion = (agreed) => {
    version = agreed;
    tell?.(agreed);
  };
  return () => (second ? client.getNegotiatedProtocolVersion() : version);
}

/** All pages of a list; the second SDK would answer from its cache, and turns pages itself. */
async function all(list, member) {
  const found = [];
  let cursor;
  do {
    const page = await client[list](second ? undefined : { cursor }, second ? { cacheMode: "refresh" } : undefined);
    found.push(...page[member]);
    cursor = second ? undefined : page.nextCursor;
  } while (cursor);
  return found;
}

const toolNames = async () => (await all("listTools", "tools")).map((tool) => tool.name);

let level, tasks;
const kinds = {
  async pause(step) {
    say({ pause: step.pause });
    await lines.next();
  },
  async list() {
    say({ tools: await toolNames() });
  },
  async resources() {
    const resources = (await all("listResources", "resources")).map(({ uri }) => uri);
    const templates = (await all("listResourceTemplates", "resourceTemplates")).map((one) => one.uriTemplate);
    say({ resources, templates });
  },
  async read({ read: uri }) {
    const [{ text = null, blob = null }] = (await client.readResource({ uri })).contents;
    say({ read: uri, text, blob });
  },
  async prompts() {
    say({ prompts: (await all("listPrompts", "prompts")).map((prompt) => prompt.name) });
  },
  async prompt({ prompt: name, arguments: given }) {
    const { messages } = await client.getPrompt({ name, arguments: given });
    say({ prompt: name, text: messages[0].content.text ?? null });
  },
  async complete({ complete: value, of: name, argument }) {
    const ref = { type: "ref/prompt", name };
    const { completion } = await client.complete({ ref, argument: { name: argument, value } });
    say({ complete: value, values: completion.values });
  },
  async level({ level: wanted }) {
    // In the newest version it is part of every request.
    if (client.getProtocolEra?.() === "modern") level = wanted;
    else await client.setLoggingLevel(wanted);
    say({ level: wanted });
  },
  async name(step) {
    const abort = new AbortController();
    const progress = [];
    logs = [];
    const request = { signal: abort.signal, onprogress: (told) => progress.push(told.progress) };
    const meta = level ? { _meta: { "io.modelcontextprotocol/logLevel": level } } : {};
    const params = { name: step.name, arguments: step.arguments, ...meta };
    const given = step.progress || step.cancel ? request : { signal: abort.signal };
    const call = () => {
      if (can === "tasks") return tasks.call(params);
      return second ? client.callTool(params, given) : client.callTool(params, undefined, given);
    };
    waits = step.waits ?? false;
    const answer = waits ? again(call) : call();
    if (step.cancel) {
      say({ started: step.name });
      await lines.next();
      abort.abort("cancelled by the test");
    }
    const result = await answer;
    const text = result.content?.find((block) => block.type === "text")?.text ?? null;
    say({
      call: step.name,
      isError: result.isError ?? false,
      text,
      structured: result.structuredContent ?? null,
      meta: result._meta ?? null,
      ...(progress.length > 0 ? { progress } : {}),
      ...(logs.length > 0 ? { logs } : {}),
    });
  },
};

async function run(step) {
  const kind = Object.keys(kinds).find((kind) => kind in step);
  try {
    await kinds[kind](step);
  } catch (error) {
    const what = kind === "name" ? { call: step.name } : kind === "list" ? { tools: null } : { [kind]: step[kind] };
    say({ ...what, error: failure(error) });
  }
}

let stage = "connect";
try {
  const way = await transport(process.argv.slice(3));
  const protocol = negotiated(way);
  await client.connect(way);
  say({ connected: { protocol: protocol(), server: client.getServerVersion() } });
  if (can === "tasks") tasks = await follower({ interop, client, way, protocol: protocol(), clientInfo, capabilities, say });
  stage = "list";
  say({ tools: await toolNames() });
  stage = "calls";
  for (const step of steps) await run(step);
  stage = "ping";
  if (protocol() < "2026") {
    await client.ping();
    say({ ping: true });
  }
  stage = "close";
  await tasks?.close();
  if (way.terminateSession) await way.terminateSession();
  await client.close();
  await closed;
  say({ closed: true });
  process.exitCode = 0;
} catch (error) {
  say({ failed: stage, error: failure(error) });
  await client.close().catch(() => {});
  process.exitCode = 1;
} finally {
  process.stdin.destroy();
}
