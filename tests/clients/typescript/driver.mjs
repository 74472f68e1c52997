// What the conformance suite starts as a client: an official client (SDK 2) that reaches the suite's server through
// Portreeve. Called as `driver.mjs URL`; the test that runs the suite opens the way, see conformance.rs.

import { once } from "node:events";
import { createRequire } from "node:module";
import { connect } from "node:net";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

const load = createRequire(join(resolve(process.env.PORTREEVE_INTEROP), "node", "package.json"));
const { Client, StreamableHTTPClientTransport } = load("@modelcontextprotocol/client");

// The suite ends us after half a minute, but not what it started us in.
setTimeout(() => process.exit(1), 25_000).unref();

/** Tells the test the server's URL, and gets the gateway's and a token. */
async function open(server) {
  const door = connect(Number(process.env.PORTREEVE_DOOR), "127.0.0.1");
  door.write(server + "\n");
  const [line] = await once(createInterface({ input: door }), "line");
  // It stays open as long as we live: the test serves us until then.
  door.unref();
  return JSON.parse(line);
}

const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? "{}");
const modern = process.env.PORTREEVE_CLIENT_MODE === "modern";

const client = new Client(
  { name: "portreeve-conformance", version: "1.0.0" },
  {
    capabilities: { elicitation: { form: {} }, sampling: {}, roots: {} },
    versionNegotiation: { mode: modern ? { pin: "2026-07-28" } : "legacy" },
  },
);
// A person who changes nothing in a form, and agrees.
client.setRequestHandler("elicitation/create", (request) => {
  const properties = Object.entries(request.params.requestedSchema?.properties ?? {});
  const content = properties.map(([name, schema]) => [name, schema.default ?? (schema.type === "boolean" ? true : "")]);
  return { action: "accept", content: Object.fromEntries(content) };
});
client.setRequestHandler("roots/list", () => ({ roots: [] }));

const call = (name, given = {}) => client.callTool({ name, arguments: given });

const scenarios = {
  async tools_call() {
    await call("add_numbers", { a: 5, b: 3 });
  },
  async "elicitation-sep1034-client-defaults"() {
    await call("test_client_elicitation_defaults");
  },
  async "sse-retry"() {
    await call("test_reconnection");
  },
  async "sep-2322-client-request-state"() {
    await Promise.all([call("test_mrtr_echo_state"), call("test_mrtr_unrelated")]);
    await call("test_mrtr_no_state");
    await call("test_mrtr_no_result_type");
  },
  async "http-standard-headers"() {
    await call("test_headers");
    await call("my-hyphenated-tool");
    for (const { uri } of (await client.listResources()).resources) await client.readResource({ uri });
    for (const { name } of (await client.listPrompts()).prompts) await client.getPrompt({ name });
  },
  async "http-custom-headers"() {
    for (const { name, arguments: given } of context.toolCalls) {
      // Where a schema says `boolean`, Portreeve refuses `null`; leaving it out is the other way to say it.
      await call(name, Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null)));
    }
  },
  async "http-invalid-tool-headers"(tools) {
    const value = { string: "some", number: 1.5, object: {}, array: [], null: null };
    for (const { name, inputSchema } of tools) {
      const given = Object.entries(inputSchema.properties).map(([key, { type }]) => [key, value[type]]);
      await call(name, Object.fromEntries(given));
    }
  },
  async "json-schema-2020-12-preservation"(tools) {
    const { inputSchema } = tools.find(({ name }) => name === "json_schema_2020_12_tool");
    await call("json_schema_echo", { schema: inputSchema });
  },
};

const { url, token } = await open(process.argv.at(-1));
const requestInit = { headers: { authorization: `Bearer ${token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const { tools } = await client.listTools();
await scenarios[scenario]?.(tools);
await client.close();
