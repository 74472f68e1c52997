// Prints the headers of one request to an endpoint, as JSON: for clients that run a command for them (`headersHelper`).
//
// They hold a token. Let the client run this, never a step: what a step prints is in the log.

import { PortreeveError, Task } from "../../clients/typescript/index.js";

try {
  const task = await Task.join();
  process.stdout.write(`${JSON.stringify({ Authorization: task.headers().authorization })}\n`);
} catch (error) {
  if (!(error instanceof PortreeveError)) throw error;
  process.stderr.write(`portreeve: ${error.message}\n`);
  process.exitCode = 1;
}
