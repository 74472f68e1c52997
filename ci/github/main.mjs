// Opens the task, and leaves what the next steps need: where its tools are, and how to get tokens for them.

import { spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Task } from "../../clients/typescript/index.js";
import { fail, input, mask, put, say, source } from "./runner.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

function parameters() {
  const text = input("parameters") || "{}";
  let read;
  try {
    read = JSON.parse(text);
  } catch {
    read = undefined;
  }
  if (typeof read !== "object" || read === null || Array.isArray(read)) {
    throw new Error("parameters: expected a JSON object, such as {\"month\": \"2026-10\"}");
  }
  return read;
}

async function main() {
  const url = input("url");
  const audience = input("audience") || url.replace(/\/+$/, "");
  const wait = Number(input("wait") || "0") * 1000;
  if (!Number.isFinite(wait) || wait < 0) throw new Error("wait: expected a number of seconds");
  const task = await Task.open({
    url, audience, wait, purpose: input("purpose"), parameters: parameters(),
    objective: input("objective") || undefined, source: source(),
  });
  // From here on there is something to end, whatever happens.
  put("GITHUB_STATE", { task: task.id, url, audience });
  mask(task.headers().authorization.split(" ")[1]);

  const folder = join(process.env.RUNNER_TEMP ?? process.env.TMPDIR ?? "/tmp", `portreeve-${task.id}`);
  mkdirSync(folder, { mode: 0o700 });
  put("GITHUB_STATE", { folder });
  const headersHelper = `"${process.execPath}" "${here("headers.mjs")}"`;
  const server = ([name, url]) => [name, { type: "http", url, headersHelper }];
  const config = join(folder, "mcp.json");
  const mcpServers = Object.fromEntries(Object.entries(task.endpoints).map(server));
  writeFileSync(config, JSON.stringify({ mcpServers }, null, 2), { mode: 0o600 });

  const endpoints = JSON.stringify(task.endpoints);
  const variables = {
    PORTREEVE_URL: url, PORTREEVE_AUDIENCE: audience, PORTREEVE_TASK: task.id,
    PORTREEVE_ENDPOINTS: endpoints, PORTREEVE_MCP_CONFIG: config, PORTREEVE_HEADERS: headersHelper,
  };
  put("GITHUB_ENV", variables);
  put("GITHUB_OUTPUT", { task: task.id, endpoints, "mcp-config": config });

  // The task lives as long as the job proves itself, also while a step has nothing to do with it.
  const env = { ...process.env, ...variables, PORTREEVE_KEEP: folder };
  spawn(process.execPath, [here("keep.mjs")], { detached: true, stdio: "ignore", env }).unref();
  say([`portreeve: ${task.id} for ${task.agent}`, ...Object.entries(task.endpoints).map(([name, at]) => `  ${name}  ${at}`)]);
}

await main().catch(fail);
