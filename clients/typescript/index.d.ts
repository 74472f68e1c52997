/** Gives a fresh token for this audience each time that it is called: what the agent shows. */
export type Source = (audience: string) => string | Promise<string>;

/** Something did not work; `word` is stable, `remedy` says what would help. */
export class PortreeveError extends Error {
  readonly word: string;
  readonly remedy: string;
  readonly status: number;
  constructor(word: string, message: string, remedy?: string, status?: number);
}
/** What was shown is no proof of an agent of the policy. */
export class NotProven extends PortreeveError {}
/** The policy does not allow it, or the task is over. */
export class Refused extends PortreeveError {
  readonly reasons: unknown[];
}
/** People are asked first, and have not answered in the time that was given to them. */
export class Held extends PortreeveError {
  readonly code: string;
  readonly hold: string;
  readonly until?: number;
}
/** Portreeve, or whoever vouches for the agent, does not answer as it should. */
export class Unreachable extends PortreeveError {}

/** The runner of GitHub Actions, or one that works like it; the job needs `permissions: id-token: write`. */
export function githubActions(): Source;
/** A file that its platform writes anew, such as a projected service account token of Kubernetes. */
export function file(path: string): Source;
/** A variable that its platform sets, such as an `id_tokens` entry of GitLab. */
export function environment(name: string): Source;
/** What is there: the file that PORTREEVE_PROOF_FILE names, else the runner's tokens. */
export function found(): Source;

/** An agent's own Ed25519 or P-256 key. */
export class Key {
  /** The private key in a PEM file. */
  static load(path: string, passphrase?: string): Key;
  /** A new Ed25519 key. */
  static generate(): Key;
  /** The public half, as `portreeve agent add --key FILE` takes it. */
  jwk(): Record<string, string>;
  /** Shows that this is the agent of that name: a new assertion each time (RFC 7523). */
  source(agent: string): Source;
  /** A proof of possession for one request (RFC 9449). */
  dpop(method: string, url: string, token?: string): string;
}

export interface Options {
  /** Where Portreeve is; else PORTREEVE_URL. */
  url?: string;
  /** What the agent shows; else what `found()` finds. */
  source?: Source;
  /** Whom the shown tokens are meant for; else PORTREEVE_AUDIENCE, else the address. */
  audience?: string;
  /** A key to which the task's tokens are bound. */
  dpop?: Key;
  /** How long one request may take, in milliseconds. */
  timeout?: number;
  /** Whether tokens may be sent without encryption to other machines. */
  plainHttp?: boolean;
}

export interface Opening extends Options {
  purpose: string;
  parameters?: Record<string, unknown>;
  objective?: string;
  /** For how many milliseconds people are waited for where the purpose asks them first. */
  wait?: number;
}

/** What came of a task. */
export interface Outcome {
  task: string;
  agent: string;
  purpose: string;
  opened: number;
  expires: number;
  over: string | null;
  calls: { allowed: number; refused: number; asked: number };
  ends: Record<string, number>;
  tools: { tool: string; class: string; ends: Record<string, number> }[];
  refusals: { what: string; words: string[]; remedy: string; times: number }[];
  holds: { hold: string; code: string; what: string; state: string }[];
  cut: boolean;
}

/** A task at Portreeve, for one run of an agent: `await using task = await Task.open({…})`. */
export class Task {
  readonly id: string;
  readonly agent?: string;
  readonly run?: string;
  /** The address of each connector's endpoint, by its name. */
  readonly endpoints: Record<string, string>;
  /** Opens one; it is kept alive until it ends. */
  static open(opening: Opening): Promise<Task>;
  /** A task that somebody else has opened and will end; else the one that PORTREEVE_TASK names. */
  static join(task?: string, options?: Options): Promise<Task>;
  /** A task by its id, for whoever only ends it or asks what came of it: it gives no tokens. */
  static of(task: string, options?: Options): Task;
  /** `fetch` with a fresh token: for the transports of the MCP SDK. Shows it to this task's endpoints only. */
  readonly fetch: typeof globalThis.fetch;
  /** What one request to an endpoint has to carry. Ask anew for each. */
  headers(method?: string, url?: string): Record<string, string>;
  /** What was let through, refused and asked so far; also afterwards. */
  outcome(): Promise<Outcome>;
  /** Ends it; a task that was joined goes on. */
  end(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
