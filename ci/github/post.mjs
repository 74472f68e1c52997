// Ends the task, and says what was done: in the log, and on the page of the job.

import { appendFileSync, rmSync } from "node:fs";
import { Task } from "../../clients/typescript/index.js";
import { plain, say, source, warn } from "./runner.mjs";

const { STATE_task: id, STATE_url: url, STATE_audience: audience, STATE_folder: folder } = process.env;

const words = (refusal) => refusal.words.map(plain).join(", ");
const ends = (counts) => Object.entries(counts).map(([end, count]) => `${plain(end)} ${count}`).join(", ");

function log({ task, purpose, over, calls, tools, refusals, holds, cut }) {
  return [
    `portreeve: ${task} (${purpose}) ${over ? `is over: ${over}` : "goes on"}`,
    `  calls: ${calls.allowed} allowed, ${calls.refused} refused, ${calls.asked} put to people`,
    ...tools.map((used) => `  allowed  ${plain(used.tool)} [${plain(used.class)}]: ${ends(used.ends)}`),
    ...refusals.map((one) => `  refused  ${plain(one.what)}: ${words(one)} (${one.times}x). ${plain(one.remedy)}`),
    ...holds.map((one) => `  asked    ${plain(one.what)} (${plain(one.code)}): ${plain(one.state)}`),
    ...(cut ? ["  and more; `portreeve audit show` has all of it"] : []),
  ];
}

function page({ task, agent, purpose, over, calls, tools, refusals, holds, cut }) {
  const table = (head, rows) => [`| ${head.join(" | ")} |`, `|${" --- |".repeat(head.length)}`, ...rows.map((row) => `| ${row.join(" | ")} |`), ""];
  const lines = [
    `### Portreeve: ${plain(purpose)}`, "",
    `${plain(agent)}, \`${task}\`: ${calls.allowed} calls allowed, ${calls.refused} refused, ${calls.asked} put to people; ${plain(over ?? "goes on")}.`, "",
  ];
  if (tools.length > 0) {
    lines.push(...table(["allowed", "class", "how they ended"], tools.map((one) => [plain(one.tool), plain(one.class), ends(one.ends)])));
  }
  if (refusals.length > 0) {
    lines.push(...table(["refused", "why", "times", "what would help"], refusals.map((one) => [plain(one.what), words(one), one.times, plain(one.remedy)])));
  }
  if (holds.length > 0) {
    lines.push(...table(["asked", "question", "what came of it"], holds.map((one) => [plain(one.what), plain(one.code), plain(one.state)])));
  }
  if (cut) lines.push("There was more; `portreeve audit show` has all of it.", "");
  return lines.join("\n");
}

async function post() {
  const task = Task.of(id, { url, audience, source: source() });
  // What was done is told also where the end does not work.
  const left = await task.end().then(() => undefined, (error) => error);
  // Nobody proves it any more from here on.
  if (folder) rmSync(folder, { recursive: true, force: true });
  const outcome = await task.outcome();
  say(log(outcome));
  if (process.env.GITHUB_STEP_SUMMARY) appendFileSync(process.env.GITHUB_STEP_SUMMARY, page(outcome));
  if (left) throw left;
}

// Where nothing was opened there is nothing to end.
if (id) await post().catch((error) => warn(`${error.message} The task ends by itself when nobody proves it any more.`));
