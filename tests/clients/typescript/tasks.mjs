// MCP tasks of 2026-07-28, which the second SDK follows with its own package `ext-tasks`.

import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const PACKAGE = "node/node_modules/@modelcontextprotocol/ext-tasks/dist/client/index.js";

/** Calls tools, and follows what becomes a task until it is over. */
export async function follower({ interop, client, way, protocol, clientInfo, capabilities, say }) {
  const { createTaskSessionFromClient, resultFromTaskOutcome } = await import(pathToFileURL(join(resolve(interop), PACKAGE)));
  const session = createTaskSessionFromClient(client, {
    endpointId: "portreeve",
    rawDispatch: raw(way),
    v2RequestFraming: { protocolVersion: protocol, clientInfo, clientCapabilities: capabilities },
  });
  const call = async ({ name, arguments: given }) => {
    const execution = await session.callTool(name, given);
    let told;
    const { outcome } = await execution.settle({
      onEvent({ task }) {
        if (!task || task.status === told) return;
        told = task.status;
        say({ task: told, message: task.statusMessage ?? null });
      },
    });
    return resultFromTaskOutcome(outcome);
  };
  return { call, close: () => session.close() };
}

/** The SDK refuses results that are tasks, so its package has its host send requests: on the same transport, as they are. */
function raw(way) {
  const waiting = new Map();
  const pass = way.onmessage;
  way.onmessage = (message, extra) => {
    const done = "method" in message ? undefined : waiting.get(message.id);
    if (!done) return pass(message, extra);
    waiting.delete(message.id);
    done(message.error ? { kind: "error", error: message.error } : { kind: "result", result: message.result });
  };
  let count = 0;
  return async (request, { signal } = {}) => {
    const id = `raw-${(count += 1)}`;
    const answer = new Promise((done) => waiting.set(id, done));
    await way.send({ jsonrpc: "2.0", id, ...request }, { requestSignal: signal });
    return answer;
  };
}
