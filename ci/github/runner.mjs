// What a runner of GitHub Actions gives and takes: inputs, files of variables, commands in the log.

import { randomUUID } from "node:crypto";
import { appendFileSync } from "node:fs";
import { githubActions } from "../../clients/typescript/index.js";

export const input = (name) => (process.env[`INPUT_${name.toUpperCase()}`] ?? "").trim();

// Commands end with their line; what stands in them must not begin another one
const escaped = (text) => String(text).replaceAll("%", "%25").replaceAll("\r", "%0D").replaceAll("\n", "%0A");

export const mask = (secret) => process.stdout.write(`::add-mask::${escaped(secret)}\n`);
export const warn = (text) => process.stdout.write(`::warning title=Portreeve::${escaped(text)}\n`);

export function fail(error) {
  process.stdout.write(`::error title=Portreeve::${escaped(error.message)}\n`);
  process.exitCode = 1;
}

// Puts variables into one of the runner's files: GITHUB_ENV, GITHUB_OUTPUT, GITHUB_STATE
export function put(file, values) {
  for (const [name, value] of Object.entries(values)) {
    const end = `end_${randomUUID()}`;
    appendFileSync(process.env[file], `${name}<<${end}\n${value}\n${end}\n`);
  }
}

// Says something that others wrote: the runner takes nothing of it for a command
export function say(lines) {
  const token = randomUUID();
  process.stdout.write([`::stop-commands::${token}`, ...lines, `::${token}::`, ""].join("\n"));
}

// What others wrote, as plain text: in the log it is no command, on the page no markup
export const plain = (text) => String(text).replace(/[^\p{L}\p{N} .,;:/_=?'()-]/gu, "?").replaceAll("::", ": :").replaceAll("://", ":/ /");

// The job's tokens, none of which is ever shown
export function source() {
  const fresh = githubActions();
  return async (audience) => {
    const token = await fresh(audience);
    mask(token);
    return token;
  };
}
