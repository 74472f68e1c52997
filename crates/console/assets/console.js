// What makes pages live. Everything on them works without it, except passkeys.

const byId = (id) => document.getElementById(id);
const here = () => location.pathname + location.search;

// --- News: when something happened, this page is asked for anew and its live parts are put in place.

let position = document.documentElement.dataset.position ?? "0";
// Pages of errors, and for who is not signed in, stand as they are.
const live = position !== "0" && byId("waiting") !== null;
let source, paused = false, busy = false, again = false, retry = 0;

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(here(), { headers: { accept: "text/html" }, cache: "no-store" });
    if (answer.redirected) { location.reload(); return; }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    position = fresh.documentElement.dataset.position ?? position;
    document.title = fresh.title;
    for (const part of document.querySelectorAll("[data-live]")) replace(part, fresh.getElementById(part.id));
    scripted();
  } catch { /* The next news, or the reader, tries again. */ } finally {
    busy = false;
    if (again) { again = false; refresh(); }
  }
}

function replace(part, fresh) {
  if (!fresh || bare(part) === bare(fresh)) return;
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  // Nobody loses what they are writing. That the question has changed meanwhile, the other parts show.
  const written = [...part.querySelectorAll("textarea, input:not([type=hidden])")];
  if (written.some((field) => field === focused || field.value !== field.defaultValue || field.checked)) {
    if (fresh.querySelector("form")) return;
  }
  part.replaceChildren(...document.importNode(fresh, true).childNodes);
  if (focused) (byId(focused.id) ?? part.querySelector("a, button") ?? byId("main")).focus({ preventScroll: true });
  if (part.id !== "waiting") part.classList.add("fresh");
  setTimeout(() => part.classList.remove("fresh"), 1500);
  if (part.id === "waiting") say(part.textContent.trim() ? `${part.textContent.trim()} for you` : "Nothing waits for you");
}

// Ages of things are different each time; they alone are no reason to touch a part.
const bare = (part) => {
  const copy = part.cloneNode(true);
  for (const rel of copy.querySelectorAll(".rel")) rel.remove();
  for (const field of copy.querySelectorAll("[data-reading]")) field.remove();
  for (const form of copy.querySelectorAll("form[data-passkey]")) form.hidden = false;
  return copy.innerHTML;
};

const say = (text) => { byId("news").textContent = text; };

function listen() {
  source?.close();
  source = undefined;
  if (document.hidden || paused || !live) return tell();
  source = new EventSource("/events");
  source.addEventListener("changed", (event) => { if (event.data !== position) refresh(); });
  source.onopen = () => { retry = 0; tell(); };
  source.onerror = () => {
    tell();
    // A browser gives up where the answer is no stream.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, Math.min(60_000, 2_000 * 2 ** retry++));
  };
}

function tell() {
  const open = source?.readyState === EventSource.OPEN;
  byId("live-state").textContent = paused ? "News are paused." : open ? "News come by themselves." : "No news at the moment.";
  byId("live-toggle").textContent = paused ? "Go on" : "Pause";
}

byId("live-toggle").parentElement.hidden = !live;
byId("live-toggle").onclick = () => { paused = !paused; listen(); if (!paused) refresh(); };
// A browser opens few connections to one place: pages that nobody sees give theirs back.
document.addEventListener("visibilitychange", () => { listen(); if (!document.hidden && !paused) refresh(); });
addEventListener("pagehide", () => source?.close());
listen();

// --- Reading time: how long the page was in front of somebody.

let read = 0, since = document.hidden ? null : performance.now();
document.addEventListener("visibilitychange", () => {
  if (document.hidden && since !== null) { read += performance.now() - since; since = null; } else since ??= performance.now();
});

document.addEventListener("submit", (event) => {
  const field = event.target.querySelector("[data-reading]");
  if (field) field.value = Math.round(read + (since === null ? 0 : performance.now() - since));
});

// --- Confirmation: the page that asks, in front of this one.

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-confirm]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  try {
    const page = new DOMParser().parseFromString(await (await fetch(link.href)).text(), "text/html");
    const dialog = document.createElement("dialog");
    dialog.setAttribute("aria-labelledby", "confirm-title");
    dialog.append(document.importNode(page.getElementById("confirm"), true));
    dialog.querySelector("[data-cancel]").onclick = (cancel) => { cancel.preventDefault(); dialog.close(); };
    dialog.onclose = () => { dialog.remove(); link.focus(); };
    document.body.append(dialog);
    dialog.showModal();
  } catch { location.href = link.href; }
});

// --- Passkeys: what the passkey says goes along with the form.

function scripted() {
  if (!globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON) return;
  for (const form of document.querySelectorAll("form[data-passkey]")) form.hidden = false;
}
scripted();

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-passkey]")) return;
  event.preventDefault();
  try {
    const asked = await fetch(`${form.getAttribute("action")}/ask`, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (!asked.headers.get("content-type")?.startsWith("application/json")) return trouble(form, messageOf(await asked.text()));
    const { get, create, at } = await asked.json();
    const made = get
      ? await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(get) })
      : await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(create) });
    form.elements.passkey.value = JSON.stringify(made.toJSON());
    if (form.elements.at) form.elements.at.value = at;
    form.submit();
  } catch (error) {
    trouble(form, error.name === "NotAllowedError" ? "No passkey was used." : String(error.message));
  }
});

const messageOf = (page) => new DOMParser().parseFromString(page, "text/html").querySelector(".message")?.textContent ?? "That did not work.";

function trouble(form, text) {
  form.querySelector("[role=alert]")?.remove();
  const said = Object.assign(document.createElement("p"), { className: "note bad", textContent: text });
  said.setAttribute("role", "alert");
  form.append(said);
}
