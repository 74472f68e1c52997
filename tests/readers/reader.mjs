// How JavaScript reads messages: a line of hexadecimal digits each, answered by a line of JSON each.
import { createInterface } from "node:readline";

// A number that no double can hold is no number here.
const finite = (_, value) => {
  if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError("infinite");
  return value;
};
const told = [];
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(line, "hex"));
    const message = JSON.parse(text, finite);
    const params = message.params ?? {};
    told.push(JSON.stringify({ ok: true, method: message.method, name: params.name, uri: params.uri, arguments: params.arguments }));
  } catch {
    told.push('{"ok":false}');
  }
}
process.stdout.write(told.join("\n") + "\n");
