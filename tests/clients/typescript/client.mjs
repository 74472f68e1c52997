// The official TypeScript SDK client, unmodified, one line of JSON per step.
// How to call it and what it prints: ../README.md

import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

// The SDK lies where `cargo xtask setup` put it, outside of the source tree.
const interop = process.env.PORTREEVE_INTEROP ?? "target/interop";
const load = createRequire(join(resolve(interop), "node", "package.json"));
const { Client } = load("@modelcontextprotocol/sdk/client/index.js");
const { StdioClientTransport } = load("@modelcontextprotocol/sdk/client/stdio.js");
const { StreamableHTTPClientTransport } = load("@modelcontextprotocol/sdk/client/streamableHttp.js");

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function stdio(command, args, env) {
  // Without `env` the SDK passes on only a handful of variables, PORTREEVE_SOCKET not among them.
  const inherited = process.env.PORTREEVE_CLIENT_ENV === "sdk" ? undefined : { ...process.env };
  const merged = env || inherited ? { ...inherited, ...env } : undefined;
  return new StdioClientTransport({ command, args, env: merged, stderr: "inherit" });
}

function http(url, headers) {
  const token = process.env.PORTREEVE_TOKEN;
  const authorization = token ? { authorization: `Bearer ${token}` } : {};
  return new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { ...authorization, ...headers } } });
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
  return { code: typeof code === "number" ? code : undefined, message: error.message, data };
}

const steps = JSON.parse(process.argv[2] ?? "[]");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const client = new Client({ name: "portreeve-test-typescript", version: "1.0.0" });
const closed = new Promise((done) => {
  client.onclose = done;
});

// The client tells its transport the version that was agreed on: listen in.
function negotiated(way) {
  let version = null;
  const tell = way.setProtocolVersion?.bind(way);
  way.setProtocolVersion = (agreed) => {
    version = agreed;
    tell?.(agreed);
  };
  return () => version;
}

async function listTools() {
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools({ cursor });
    tools.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
  } while (cursor);
  return tools;
}

async function run(step) {
  if (step.pause) {
    say({ pause: step.pause });
    await lines.next();
  } else if (step.list) {
    try {
      say({ tools: await listTools() });
    } catch (error) {
      say({ tools: null, error: failure(error) });
    }
  } else {
    try {
      const abort = new AbortController();
      const answer = client.callTool({ name: step.name, arguments: step.arguments }, undefined, { signal: abort.signal });
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
      });
    } catch (error) {
      say({ call: step.name, error: failure(error) });
    }
  }
}

let stage = "connect";
try {
  const way = await transport(process.argv.slice(3));
  const protocol = negotiated(way);
  await client.connect(way);
  say({ connected: { protocol: protocol(), server: client.getServerVersion() } });
  stage = "list";
  say({ tools: await listTools() });
  stage = "calls";
  for (const step of steps) await run(step);
  stage = "ping";
  await client.ping();
  say({ ping: true });
  stage = "close";
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
