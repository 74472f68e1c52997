// A task at Portreeve for each run of an agent. Nothing is decided here: what may be done is judged there, call by call.

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";

// How long is waited between two looks whether people have answered, in milliseconds: at first, and at most
const LOOK = 1_000, LOOK_MAX = 15_000;
// A token is renewed when this part of its time has passed
const RENEW = 0.5;
// How long is waited after a renewal that failed: at first, and at most
const AGAIN = 1_000, AGAIN_MAX = 30_000;
// What an agent signs itself is good for this long, in seconds: each request gets its own
const LIFETIME = 60;
const ANSWER_BYTES_MAX = 1 << 20;
const TIMEOUT = 30_000;

Symbol.asyncDispose ??= Symbol.for("Symbol.asyncDispose");

export class PortreeveError extends Error {
  constructor(word, message, remedy = "", status = 0) {
    super(`${word}: ${message}${remedy ? ` ${remedy}` : ""}`);
    this.name = new.target.name;
    Object.assign(this, { word, remedy, status });
  }
}
export class NotProven extends PortreeveError {}
export class Refused extends PortreeveError {
  reasons = [];
}
export class Held extends PortreeveError {
  constructor(hold) {
    const remedy = `\`portreeve approve ${hold.code}\`, then open it again; \`wait\` says how long to wait for them.`;
    super("held", `People are asked first (${hold.code}).`, remedy, 202);
    Object.assign(this, { code: hold.code, hold: hold.hold, until: hold.until });
  }
}
export class Unreachable extends PortreeveError {}

// The error that an answer of Portreeve tells
function told({ status, answer }) {
  const error = answer?.error;
  if (typeof error !== "object" || error === null) {
    return new Unreachable("unexpected_answer", `Portreeve answered ${status} without saying why.`, "", status);
  }
  const Kind = status === 401 ? NotProven : status >= 500 ? Unreachable : Refused;
  const made = new Kind(error.word ?? "failed", error.message ?? "", error.remedy ?? "", status);
  if (made instanceof Refused) made.reasons = error.reasons ?? [];
  return made;
}

// One request and its answer. Redirects are not followed: what is shown here is for one server only.
async function ask(method, url, headers, body, timeout = TIMEOUT) {
  const sent = { accept: "application/json", "user-agent": "portreeve-typescript", ...headers };
  if (body !== undefined) sent["content-type"] = "application/json";
  let response, text;
  try {
    const signal = AbortSignal.timeout(timeout);
    response = await fetch(url, {
      method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body), redirect: "manual", signal,
    });
    text = await bounded(response);
  } catch (error) {
    // Nothing of the request is repeated here: it holds what proves the agent.
    const why = error.cause?.code ?? error.name;
    throw new Unreachable("unreachable", `${new URL(url).host} does not answer: ${why}.`, "Check the address.");
  }
  let answer;
  try {
    answer = JSON.parse(text || "{}");
  } catch {
    answer = {};
  }
  return { status: response.status, answer };
}

async function bounded(response) {
  const parts = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) throw new RangeError("the answer is too long");
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

export function githubActions() {
  const url = process.env.ACTIONS_ID_TOKEN_REQUEST_URL;
  const token = process.env.ACTIONS_ID_TOKEN_REQUEST_TOKEN;
  if (!url || !token) {
    const remedy = "Give the job `permissions: id-token: write`.";
    throw new PortreeveError("no_token_source", "The runner offers no OpenID Connect tokens here.", remedy);
  }
  return async (audience) => {
    const joined = `${url}${url.includes("?") ? "&" : "?"}audience=${encodeURIComponent(audience)}`;
    const { status, answer } = await ask("GET", joined, { authorization: `bearer ${token}` });
    if (status !== 200 || typeof answer.value !== "string") {
      throw new Unreachable("issuer_unreachable", `The runner gave no token (${status}).`, "", status);
    }
    return answer.value;
  };
}

export function file(path) {
  return async () => {
    try {
      return (await readFile(path, "ascii")).trim();
    } catch (error) {
      const remedy = "Check the path, and that this account may read it.";
      throw new PortreeveError("no_token_source", `${path} holds no token: ${error.code}.`, remedy);
    }
  };
}

export function environment(name) {
  return () => {
    const value = process.env[name];
    if (value) return value;
    throw new PortreeveError("no_token_source", `The variable ${name} is not set.`, "Set it, or name another one.");
  };
}

export function found() {
  const path = process.env.PORTREEVE_PROOF_FILE;
  return path ? file(path) : githubActions();
}

export class Key {
  #private;
  #algorithm;
  #jwk;

  constructor(key) {
    const { kty, crv, x, y } = createPublicKey(key).export({ format: "jwk" });
    this.#private = key;
    this.#algorithm = { Ed25519: "EdDSA", "P-256": "ES256" }[crv];
    this.#jwk = kty === "OKP" ? { crv, kty, x } : { crv, kty, x, y };
    if (!this.#algorithm) {
      const remedy = "Make one with Key.generate().";
      throw new PortreeveError("key_unsupported", "This is no Ed25519 or P-256 key.", remedy);
    }
  }

  static load(path, passphrase) {
    let key;
    try {
      key = createPrivateKey({ key: readFileSync(path), format: "pem", passphrase });
    } catch (error) {
      throw new PortreeveError("key_unusable", `${path} holds no private key: ${error.code}.`, "Write it as PEM.");
    }
    return new Key(key);
  }

  static generate() {
    return new Key(generateKeyPairSync("ed25519").privateKey);
  }

  jwk() {
    return { ...this.#jwk };
  }

  source(agent) {
    return (aud) => {
      const iat = Math.floor(Date.now() / 1000);
      const claims = { iss: agent, sub: agent, aud, iat, exp: iat + LIFETIME, jti: randomUUID() };
      return this.#signed({ typ: "client-authentication+jwt" }, claims);
    };
  }

  dpop(method, url, token) {
    const claims = { jti: randomUUID(), htm: method, htu: url, iat: Math.floor(Date.now() / 1000) };
    if (token !== undefined) claims.ath = createHash("sha256").update(token).digest("base64url");
    return this.#signed({ typ: "dpop+jwt", jwk: this.#jwk }, claims);
  }

  #signed(header, claims) {
    const parts = [{ alg: this.#algorithm, ...header }, claims];
    const message = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    const how = this.#algorithm === "EdDSA" ? null : "sha256";
    const signature = sign(how, Buffer.from(message), { key: this.#private, dsaEncoding: "ieee-p1363" });
    return `${message}.${signature.toString("base64url")}`;
  }
}

// The address without a slash at its end, if a token may be sent there
function guarded(text, plainHttp) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !["http:", "https:"].includes(url.protocol) || url.username || url.search || url.hash) {
    throw new PortreeveError("address_form", `${text} is no address of a Portreeve.`, "Write https://HOST[:PORT].");
  }
  const local = ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
  if (url.protocol === "http:" && !local && !plainHttp) {
    const remedy = "Use https, or say plainHttp: true where nobody else is on the way.";
    throw new PortreeveError("plain_http", "A token would be sent without encryption.", remedy);
  }
  return text.replace(/\/+$/, "");
}

export class Task {
  id;
  agent;
  run;
  endpoints = {};
  #url;
  #audience;
  #source;
  #dpop;
  #timeout;
  #owned = true;
  #token;
  #kind;
  #until = 0;
  #failed;
  #over = false;
  #timer;

  constructor(options) {
    const url = options.url ?? process.env.PORTREEVE_URL;
    if (!url) {
      const remedy = "Say `url`, or set PORTREEVE_URL.";
      throw new PortreeveError("address_missing", "It is not said where Portreeve is.", remedy);
    }
    this.#url = guarded(url, options.plainHttp);
    this.#audience = options.audience ?? (process.env.PORTREEVE_AUDIENCE || this.#url);
    this.#source = options.source ?? found();
    this.#dpop = options.dpop;
    this.#timeout = options.timeout ?? TIMEOUT;
  }

  static async open({ purpose, parameters = {}, objective, wait = 0, ...options }) {
    const task = new Task(options);
    const until = Date.now() + wait;
    for (let look = LOOK; ; look *= 2) {
      const { status, answer } = await task.#shown("POST", "/v1/tasks", { purpose, parameters, objective });
      if (status === 201) {
        Object.assign(task, { id: answer.task, agent: answer.agent, run: answer.run });
        task.#take(answer);
        return task;
      }
      if (status !== 202) throw told({ status, answer });
      const left = until - Date.now();
      if (left <= 0) throw new Held(answer.held ?? {});
      await new Promise((go) => setTimeout(go, Math.min(look, LOOK_MAX, left)));
    }
  }

  static async join(id = process.env.PORTREEVE_TASK, options = {}) {
    if (!id) {
      throw new PortreeveError("task_missing", "It is not said which task.", "Name one, or set PORTREEVE_TASK.");
    }
    const task = new Task(options);
    Object.assign(task, { id });
    task.#owned = false;
    await task.#renew();
    return task;
  }

  static of(id, options = {}) {
    const task = new Task(options);
    Object.assign(task, { id });
    return task;
  }

  fetch = async (input, init = {}) => {
    const request = new Request(input, init);
    const base = request.url.split(/[?#]/)[0];
    if (!Object.values(this.endpoints).some((url) => base === url || base.startsWith(`${url}/`))) {
      throw new PortreeveError("not_an_endpoint", `${base} is no endpoint of this task.`, "Use task.endpoints.");
    }
    for (const [name, value] of Object.entries(this.headers(request.method, base))) request.headers.set(name, value);
    return fetch(request, { redirect: "manual" });
  };

  headers(method = "POST", url) {
    if (this.#over) throw new PortreeveError("task_over", "The task has ended.", "Open another one for another run.");
    if (Date.now() >= this.#until) {
      throw this.#failed ?? new PortreeveError("not_open", "The task's token is over.", "Is this process still renewing it?");
    }
    const headers = { authorization: `${this.#kind} ${this.#token}` };
    if (this.#dpop) {
      if (!url) throw new PortreeveError("url_missing", "A bound token needs a proof for each address.", "Say the url.");
      headers.dpop = this.#dpop.dpop(method, url.split(/[?#]/)[0], this.#token);
    }
    return headers;
  }

  async outcome() {
    const { status, answer } = await this.#shown("GET", `/v1/tasks/${this.id}`);
    if (status !== 200) throw told({ status, answer });
    return answer;
  }

  async end() {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    if (!this.#owned) return;
    const { status, answer } = await this.#shown("DELETE", `/v1/tasks/${this.id}`);
    if (status !== 204) throw told({ status, answer });
  }

  async [Symbol.asyncDispose]() {
    await this.end();
  }

  // A token could be printed with the object otherwise.
  [Symbol.for("nodejs.util.inspect.custom")]() {
    return `Task { ${this.id} }`;
  }

  #take(answer) {
    this.endpoints = answer.endpoints;
    [this.#token, this.#kind, this.#failed] = [answer.access_token, answer.token_type, undefined];
    this.#until = Date.now() + answer.expires_in * 1000;
    this.#later(answer.expires_in * 1000 * RENEW, AGAIN);
  }

  // Renews the token after this time; keeps no process alive that has nothing else to do
  #later(after, again) {
    clearTimeout(this.#timer);
    if (this.#over) return;
    this.#timer = setTimeout(async () => {
      try {
        await this.#renew();
      } catch (error) {
        this.#failed = error;
        if (error instanceof Refused && error.status === 403) this.#until = 0;
        else this.#later(again, Math.min(again * 2, AGAIN_MAX));
      }
    }, after);
    this.#timer.unref();
  }

  async #renew() {
    const { status, answer } = await this.#shown("POST", `/v1/tasks/${encodeURIComponent(this.id)}/token`);
    if (status !== 200) throw told({ status, answer });
    this.#take(answer);
  }

  // One request with a fresh proof
  async #shown(method, path, body) {
    const url = this.#url + path;
    const headers = { authorization: `Bearer ${await this.#source(this.#audience)}` };
    if (this.#dpop) headers.dpop = this.#dpop.dpop(method, url);
    return ask(method, url, headers, body, this.#timeout);
  }
}
