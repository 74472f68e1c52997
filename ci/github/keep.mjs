// Proves the job again and again while its task is open. Ends when the folder of the task is gone, or the task is over.

import { existsSync } from "node:fs";
import { Task } from "../../clients/typescript/index.js";

const folder = process.env.PORTREEVE_KEEP;
const task = await Task.join();
setInterval(() => {
  try {
    task.headers();
  } catch {
    process.exit(0);
  }
  if (!existsSync(folder)) process.exit(0);
}, 500);
