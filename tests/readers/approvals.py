#!/usr/bin/env python3
"""Who agreed to what, counted again from the record alone.

    python3 approvals.py DATA_FOLDER [N:HASH]

A second reading of `log.db` that shares nothing with Portreeve: no code of it, no secret, no server. It checks the chain
of the groups (and that it passes through the checkpoint N:HASH, if one is given), every opening that is still there, and
every version of the policy that is kept;
then it takes the events in order and holds what happened against what people had said until then:

* a question is used at most once, again only after an outcome `not_sent`; never after a no, after its time, after its
  end or that of its task;
* enough different people had said yes before, each with the passkey that was asked for, to exactly what was asked,
  members of the group that was asked, by the policy of that moment; none of them the user or opener of the task (or
  of one above it), nor anybody else for whom it was their own;
* every answer is signed, word for word, by the answer key of its time, and where it says so with a passkey of that person,
  for this answer; each answer key was vouched for by the one before it;
* nobody counts twice: neither by a link that they had made for somebody else, or a passkey that was registered with one,
  nor by a receiver that vouches for several, unless the policy lets it;
* what was done is what was asked about, to the argument, and the digest over everything that was shown is its digest;
* every grant that an admission names existed, still counted, and covers it; every effect has one outcome or none yet.

Prints JSON: {"checkpoint", "groups", "records", "holds", "findings", "notes"}. Ends with 1 if there are findings, with 2
if there is nothing that could be read. Where an opening was erased, what depends on it is not checked and is noted.
"""

import base64
import hashlib
import json
import pathlib
import sqlite3
import sys

try:
    import tomllib
except ImportError:  # before Python 3.11
    tomllib = None


# ---- The record: chain, commitments, events ------------------------------------------------------------------------


class Broken(Exception):
    """The record does not agree with itself from here on."""


def once(pairs):
    """An object whose keys are all different, as a strict reader has it."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def strict(text):
    """JSON in which nothing can be read in two ways; fractions stay as they are written."""
    return json.loads(text, object_pairs_hook=once, parse_float=Exact, parse_constant=no_number)


class Exact(str):
    """A number that is not an integer."""


def no_number(text):
    raise ValueError(f"{text} is no number")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def commitments(event):
    """Every `sha256:` text in an event."""
    if isinstance(event, dict):
        for value in event.values():
            yield from commitments(value)
    elif isinstance(event, list):
        for value in event:
            yield from commitments(value)
    elif isinstance(event, str) and event.startswith("sha256:"):
        yield event


class Log:
    def __init__(self, folder, checkpoint):
        self.db = sqlite3.connect(f"{(folder / 'log.db').resolve().as_uri()}?mode=ro", uri=True)
        self.checkpoint = checkpoint
        self.head, self.hash = 0, "0" * 64
        self.origin = None

    def records(self):
        """(group, index, record, what its commitments stand for), each checked before it is told."""
        rows = self.db.execute("SELECT g.n, g.hash, g.body, o.body FROM groups g LEFT JOIN openings o USING (n) ORDER BY g.n")
        for n, digest, body, openings in rows:
            if n != self.head + 1:
                raise Broken(f"group {self.head + 1} is missing")
            if hashlib.sha256(body).digest() != digest:
                raise Broken(f"group {n} does not have the hash beside it")
            try:
                lines = [strict(line) for line in body.decode("utf-8").removesuffix("\n").split("\n")]
            except ValueError as error:
                raise Broken(f"group {n} cannot be read: {error}") from error
            header, events = lines[0], lines[1:]
            if (header.get("v"), header.get("n"), header.get("prev")) != (1, n, self.hash):
                raise Broken(f"group {n} does not follow group {self.head}")
            opened = self.opened(n, events, openings or b"")
            self.head, self.hash = n, digest.hex()
            self.origin = self.origin or self.hash
            if self.checkpoint and self.checkpoint[0] == n and self.checkpoint[1] != self.hash:
                raise Broken(f"group {n} is not the one that the checkpoint names")
            for index, record in enumerate(events):
                yield n, index, record, opened.get(index, {})
        if self.checkpoint and self.checkpoint[0] > self.head:
            raise Broken(f"the checkpoint names group {self.checkpoint[0]}, the record ends at {self.head}")
        if self.db.execute("SELECT count(*) FROM openings WHERE n NOT IN (SELECT n FROM groups)").fetchone()[0]:
            raise Broken("there are openings of groups that are not there")
        for digest, body in self.db.execute("SELECT digest, body FROM blobs"):
            if hashlib.sha256(body).digest() != digest:
                raise Broken(f"what is kept under the digest {digest.hex()[:12]} was changed")

    @staticmethod
    def opened(n, events, openings):
        """By event, the canonical text behind each commitment whose opening is there."""
        opened = {}
        for line in openings.decode("utf-8").splitlines():
            if not line:
                continue
            opening = strict(line)
            salt = bytes.fromhex(opening["salt"])
            digest = "sha256:" + sha256(salt + opening["value"].encode("utf-8"))
            index = opening["i"]
            if len(salt) != 16 or index >= len(events) or digest not in commitments(events[index]["event"]):
                raise Broken(f"an opening of event {n}.{index} ({opening['field']}) is not what the event commits to")
            opened.setdefault(index, {})[digest] = opening["value"]
        return opened

    def blob(self, digest):
        row = self.db.execute("SELECT body FROM blobs WHERE digest = ?", (bytes.fromhex(digest),)).fetchone()
        if row and sha256(row[0]) == digest:
            return row[0]
        return None


# ---- Ed25519 (RFC 8032, 5.1.7), as slow as it is plain ----------------------------------------------------------------

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, PRIME - 2, PRIME) % PRIME
ROOT = pow(2, (PRIME - 1) // 4, PRIME)


def added(one, other):
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a, b = (y1 - x1) * (y2 - x2) % PRIME, (y1 + x1) * (y2 + x2) % PRIME
    c, d = 2 * t1 * t2 * CURVE % PRIME, 2 * z1 * z2 % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def times(count, point):
    result = (0, 1, 1, 0)
    while count:
        if count & 1:
            result = added(result, point)
        point = added(point, point)
        count >>= 1
    return result


def point(data):
    """The point that 32 bytes stand for, or nothing."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    square = (y * y - 1) * pow(CURVE * y * y + 1, PRIME - 2, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * ROOT % PRIME
    if len(data) != 32 or y >= PRIME or (x * x - square) % PRIME or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = PRIME - x
    return x, y, 1, x * y % PRIME


BASE = point((4 * pow(5, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little"))


def is_signed(key, message, signature):
    """Whether the holder of the key signed the message."""
    public, commitment = point(key), point(signature[:32])
    answer = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or not public or not commitment or answer >= ORDER:
        return False
    digest = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    left, right = times(answer, BASE), added(commitment, times(digest, public))
    same = lambda index: (left[index] * right[2] - right[index] * left[2]) % PRIME == 0
    return same(0) and same(1)


def unbase64(text):
    """Base64 with either alphabet, with or without its padding."""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


# ---- What was said, and what was done ------------------------------------------------------------------------------


def only(tagged):
    """The tag and content of something that is one of several kinds."""
    if isinstance(tagged, str):
        return tagged, None
    [(tag, content)] = tagged.items()
    return tag, content


def canonical(value):
    """RFC 8785 of what has no fractions: keys in the order of their UTF-16 code units, nothing escaped needlessly."""
    if isinstance(value, dict):
        members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(item)}" for key, item in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(canonical(item) for item in value) + "]"
    if isinstance(value, Raw):
        return value.text
    return json.dumps(value, ensure_ascii=False)


class Raw:
    """A value of which the canonical text is known."""

    def __init__(self, text):
        self.text = text


class Erased(Exception):
    """Something cannot be checked because its opening is gone."""


def user_of(actor):
    kind, who = only(actor)
    return who.get("user") if kind in ("owner", "person") else None


class Audit:
    def __init__(self, log):
        self.log = log
        self.holds, self.tasks, self.effects, self.grants = {}, {}, {}, {}
        self.latest = {}
        self.over = set()
        self.keys, self.passkeys, self.lent = set(), {}, {}
        self.answer_key = None
        self.bundle = None
        self.met, self.policies = {}, {}
        self.findings, self.notes = [], []
        self.records, self.time, self.at = 0, 0, ""

    def run(self):
        try:
            for n, index, record, opened in self.log.records():
                self.records += 1
                self.at, self.opened = f"{n}.{index}", opened
                if record["time"] < self.time:
                    self.find("time", "the record goes back in time")
                self.time = max(self.time, record["time"])
                kind, event = only(record["event"])
                take = getattr(self, f"on_{kind}", None)
                if take:
                    take(event, record["actor"])
        except Broken as broken:
            self.find("broken", str(broken))

    def find(self, what, says, **about):
        self.findings.append({"at": self.at, "what": what, "says": says, **about})

    def note(self, says, **about):
        self.notes.append({"at": self.at, "says": says, **about})

    def text(self, commitment, opened=None):
        """The canonical text behind a commitment."""
        opened = self.opened if opened is None else opened
        if commitment not in opened:
            raise Erased
        return opened[commitment]

    # -- What there is

    def on_changed(self, changed, _actor):
        kind, change = only(changed)
        if kind in ("bundle", "back"):
            self.bundle = change["digest"]
        elif kind == "pins":
            self.met[change["connector"]] = change["identity"]
        elif kind == "key" and change["use"] == "answer":
            self.new_key(change)

    def new_key(self, change):
        """Another key signs answers from here on; whoever knew the one before can follow."""
        before, key = change.get("before"), change["key"]
        if before != self.answer_key:
            self.find("key", "it takes over from another key than the one of its time", key=key)
        elif before is None and self.keys - {key}:
            self.find("key", "answers were signed with another key before the first one", key=key)
        elif before is not None:
            parts = {"v": 1, "tenant": self.log.origin, "use": "answer", "before": before, "key": key}
            try:
                public = unbase64(before.removeprefix("ed25519:"))
                vouched = is_signed(public, canonical(parts).encode("utf-8"), unbase64(change.get("vouched", "")))
            except ValueError:
                vouched = False
            if not vouched:
                self.find("key", "the key before did not vouch for it", key=key)
        self.answer_key = key

    def on_began(self, began, actor):
        task = began["task"]
        if task in self.tasks:
            self.find("task", "it begins a second time", task=task)
        self.tasks[task] = {
            "run": began["run"],
            "agent": began["agent"],
            "user": began.get("user"),
            "opener": user_of(actor),
            "purpose": began["purpose"],
            "parent": began.get("parent"),
        }
        if began.get("hold"):
            hold = self.use(began["hold"], task, began["bundle"], self.time, None)
            if hold:
                asked = hold["what"][1] if hold["what"][0] == "opening" else {}
                same = (asked.get("opener"), hold["agent"], hold["user"], hold["purpose"])
                if same != (user_of(actor), began["agent"], began.get("user"), began["purpose"]):
                    self.find("other", "the task that was opened is not the one that was asked about", hold=began["hold"])
                self.same_values(hold, asked.get("parameters", {}), began["parameters"], began["hold"])

    def on_stopped(self, stopped, _actor):
        node = stopped["node"]
        # Names can come back to life with the policy; ids never do.
        if "_" in node and ":" not in node:
            self.over.add(node)
        hold = self.holds.get(node)
        if hold and hold["phase"] == "open":
            hold["phase"] = "over"

    def line(self, task):
        """A task and those above it."""
        while task in self.tasks:
            yield task, self.tasks[task]
            task = self.tasks[task]["parent"]

    def ended(self, task):
        return any(name in self.over or above["run"] in self.over for name, above in self.line(task))

    # -- What was asked

    def on_held(self, held, actor):
        name, task = held["hold"], held.get("task")
        if name in self.holds:
            self.find("held", "it is asked a second time under the same name", hold=name)
        what = only(held["what"])
        own = set(held["own"]) | {held.get("user")} | {what[1].get("opener")} - {None}
        for _, above in self.line(task):
            own |= {above["user"], above["opener"]}
        if what[0] == "opening":
            own.add(user_of(actor))
        own.discard(None)
        hold = {
            "task": task,
            "agent": held["agent"],
            "user": held.get("user"),
            "purpose": held["purpose"],
            "bundle": held["bundle"],
            "what": what,
            "questions": held["questions"],
            "own": own,
            "binding": held["binding"],
            "until": held["until"],
            "phase": "open",
            "yes": {},
            "no": {},
            "uses": [],
            "opened": self.opened,
            "asked": self.at,
        }
        if not held["questions"] or any(question["people"] < 1 for question in held["questions"]):
            self.find("held", "nobody is asked", hold=name)
        if held["until"] <= self.time:
            self.find("held", "its time has passed before it is asked", hold=name)
        if task is not None and (task not in self.tasks or self.ended(task)):
            self.find("held", "its task is not there", hold=name)
        self.holds[name] = hold
        try:
            if self.binding(name, hold, held) != held["binding"]:
                self.find("binding", "its digest is not that of what is recorded about it", hold=name)
        except Erased:
            self.note("what was shown cannot be checked any more", hold=name)
        # Another question about the same call takes the place of the one before.
        key = (task, what[1].get("key"))
        earlier = self.holds.get(self.latest.get(key))
        if what[0] != "elevation":
            if earlier and earlier["phase"] == "open":
                earlier["phase"] = "over"
            self.latest[key] = name

    def binding(self, name, hold, held):
        """The digest of everything that those who answer are shown."""
        kind, what = hold["what"]
        task = self.tasks.get(hold["task"], {})
        shown = {
            "tenant": self.log.origin,
            "hold": name,
            "until": str(held["until"]),
            "questions": [
                {
                    "source": asked["source"],
                    "step": asked.get("step"),
                    "who": asked["who"],
                    "people": str(asked["people"]),
                    "passkey": asked.get("passkey", False),
                    "within_ms": str(asked["within_ms"]),
                }
                for asked in held["questions"]
            ],
            "kind": kind,
            "agent": held["agent"],
            "user": held.get("user"),
            "purpose": held["purpose"],
        }
        if kind == "call":
            connector = what["tool"].split(".")[0]
            arguments = canonical({name: Raw(self.text(given["value"])) for name, given in what["arguments"].items()})
            shown |= {
                "task": hold["task"],
                "chain": held.get("chain", []),
                "connector": self.met.get(connector, ""),
                "tool": what["tool"],
                "variants": what.get("variants", []),
                "pin": what["pin"],
                "class": what["class"],
                "arguments": arguments,
                "target": what.get("target"),
                "label": what["label"],
                "undo": what.get("undo"),
                "before": {name: Raw(self.text(value)) for name, value in what.get("before", {}).items()} or None,
                "earlier": [f"{effect} {outcome}" for effect, outcome in what.get("earlier", [])],
            }
            if task and (task["agent"], task["user"], task["purpose"]) != (held["agent"], held.get("user"), held["purpose"]):
                self.find("held", "it says something else about its task than the task's beginning", hold=name)
            key = [b"call", what["tool"].encode("utf-8"), arguments.encode("utf-8")]
            if sha256(b"".join(len(part).to_bytes(8, "big") + part for part in key)) != what["key"]:
                self.find("held", "its key is not that of its tool and arguments", hold=name)
        elif kind == "elevation":
            shown |= {
                "task": what["task"],
                "class": what["class"],
                "tools": what["uses"],
                "values": {name: Raw(self.text(value)) for name, value in what.get("values", {}).items()},
                "times": str(what["times"]),
                "lasts_ms": str(what["lasts_ms"]),
                "why": strict(self.text(what["why"])),
            }
        else:
            given = what["parameters"].items()
            objective = what.get("objective")
            shown |= {
                "policy": held["bundle"],
                "opener": what.get("opener"),
                "parameters": {name: Raw(self.text(given["value"])) for name, given in given},
                "objective": strict(self.text(objective["value"])) if objective else None,
                "lasts_ms": str(what["lasts_ms"]),
            }
        return sha256(canonical(shown).encode("utf-8"))

    # -- What was answered

    def on_granted(self, granted, actor):
        kind, to = only(granted["to"])
        grant = granted["grant"]
        if grant in self.grants:
            self.find("grant", "it is granted a second time", grant=grant)
        self.grants[grant] = {"kind": kind, "to": to, "until": granted["until"], "used": 0, "opened": self.opened}
        if kind == "approval":
            self.answer(to["hold"], granted, actor, granted["owner"].removeprefix("user:"), True)
        elif kind == "elevation":
            self.elevated(granted, actor, to)

    def on_declined(self, declined, actor):
        self.answer(declined["hold"], declined, actor, declined["by"], False)

    def answer(self, name, answer, actor, user, yes):
        hold = self.holds.get(name)
        if not hold:
            return self.find("answer", "it answers what nobody asked", hold=name)
        about = {"hold": name, "user": user}
        if user_of(actor) != user:
            self.find("answer", "somebody else gave it", **about)
        if hold["phase"] != "open" or self.time >= hold["until"] or self.ended(hold["task"]):
            self.find("answer", "it comes after the end of the question", **about)
        if user in hold["yes"] or user in hold["no"]:
            self.find("answer", "they had answered before", **about)
        if user in hold["own"]:
            self.find("own", "it is their own", **about)
        if yes and answer["to"]["approval"]["binding"] != hold["binding"]:
            self.find("answer", "it agrees to something else than was asked", **about)
        signed = answer.get("signed")
        said = {"at": self.at, "time": self.time, "grant": answer.get("grant"), "how": None, "why": None}
        said |= {"hand": f"user:{user}", "lent": None, "fingerprint": None, "receiver": None}
        if signed:
            said["how"], more = only(signed["how"])
            if said["how"] == "handed_passkey":
                self.find("answer", "it says of its passkey what only the record can say", **about)
            used = signed.get("passkey") or {}
            said["lent"] = self.lent.get((user, used.get("credential")))
            said["fingerprint"] = sha256(used.get("public_key", "").encode("utf-8"))
            said["hand"] = (more or {}).get("by") or said["hand"]
            said["receiver"] = (more or {}).get("receiver")
            hand = self.hand(user, said, self.bundle)
            if yes and self.is_own_hand(hold, hand):
                self.find("own", "it is the own one of whoever had the link made", **about)
            others = (self.hand(who, other, self.bundle) for who, other in hold["yes"].items() if who != user)
            if yes and hand in others:
                self.find("answer", "whoever had the link made had answered before", **about)
            if (said["how"] == "passkey") != bool(signed.get("passkey")):
                self.find("answer", "it says a passkey was used and none stands with it, or the other way round", **about)
            if user_of(actor) == user and only(actor)[0] == "person" and only(actor)[1]["how"] != signed["how"]:
                self.find("answer", "it says of its giver something else than what is signed", **about)
            try:
                said["why"] = strict(self.text(answer["why"]))
                self.statement(name, hold, signed, user, yes, said, about)
            except Erased:
                self.note("what was signed cannot be checked any more", **about)
        else:
            self.find("answer", "it is not signed", **about)
        (hold["yes"] if yes else hold["no"])[user] = said
        if not yes:
            hold["phase"] = "declined"

    def statement(self, name, hold, signed, user, yes, said, about):
        """What is signed is exactly this answer to exactly this question."""
        text = canonical(
            {
                "v": 1,
                "tenant": self.log.origin,
                "hold": name,
                "binding": hold["binding"],
                "user": user,
                "answer": "yes" if yes else "no",
                "how": signed["how"],
                "why": said["why"],
                "at": signed["at"],
            }
        ).encode("utf-8")
        if sha256(text) != signed["statement"]:
            return self.find("answer", "another statement was signed", **about)
        try:
            key = unbase64(signed["key"].removeprefix("ed25519:"))
            if not is_signed(key, text, unbase64(signed["signature"])):
                self.find("answer", "its signature does not fit", **about)
            self.keys.add(signed["key"])
            if self.answer_key and signed["key"] != self.answer_key:
                self.find("answer", "it is signed with another key than the one of its time", **about)
            elif not self.answer_key and len(self.keys) > 1:
                self.note("another key signed than before", **about)
            used = signed.get("passkey")
            if used:
                client = strict(unbase64(used["client_data"]).decode("utf-8"))
                if client.get("type") != "webauthn.get" or unbase64(client["challenge"]).hex() != signed["statement"]:
                    self.find("answer", "the passkey was used for something else", **about)
                if self.passkeys.get((user, used["credential"])) != used["public_key"]:
                    self.find("answer", "the passkey is none of theirs", **about)
        except (ValueError, KeyError) as error:
            self.find("answer", f"what signs it cannot be read: {error}", **about)
        return None

    # -- What was done with it

    def elevated(self, granted, actor, to):
        name = granted.get("hold")
        if name:
            hold = self.use(name, granted["grant"], self.bundle, self.time, None)
            if hold:
                same = lambda of: {key: of.get(key) for key in ("task", "class", "uses", "times", "lasts_ms")}
                asked = hold["what"][1]
                if hold["what"][0] != "elevation" or same(asked) != same(to):
                    self.find("other", "what was opened is not what was asked for", hold=name)
                else:
                    self.same_values(hold, asked.get("values", {}), to.get("values", {}), name)
        elif granted["owner"].startswith("user:"):
            user = granted["owner"].removeprefix("user:")
            if user_of(actor) != user:
                self.find("elevation", "somebody else opened it", grant=granted["grant"], user=user)
            if any(user in (above["user"], above["opener"]) for _, above in self.line(to["task"])):
                self.find("own", "somebody opened a class in their own task", grant=granted["grant"], user=user)
        elif not granted["owner"].startswith("purpose:"):
            self.find("elevation", "nobody of the policy answers for it", grant=granted["grant"])

    def on_admitted(self, admitted, _actor):
        effect, task = admitted["effect"], admitted.get("task")
        kind, what = only(admitted["what"])
        if effect in self.effects:
            self.find("effect", "it is admitted a second time", effect=effect)
        legs = what.get("continues") if kind == "call" else None
        begun = self.effects.get(legs, {}).get("under", set()) if legs is not None else None
        entry = {"hold": admitted.get("hold"), "first": legs is None, "end": None, "elevated": [], "under": set()}
        entry["lease"] = kind == "lease"
        self.effects[effect] = entry
        if task is not None and (task not in self.tasks or self.ended(task)):
            self.find("effect", "its task is not there", effect=effect)
        approvals = set()
        for because in admitted.get("because", []):
            self.covered(effect, entry, because["grant"], admitted, approvals)
        if begun is not None and not entry["under"] <= begun:
            self.find("grant", "the call was not begun under it", effect=effect)
        name = admitted.get("hold")
        if not name:
            if approvals:
                self.find("effect", "it names approvals and no question", effect=effect)
            return
        if legs is not None:
            earlier = self.effects.get(legs)
            if not earlier or earlier["hold"] != name:
                self.find("used", "it goes on with a call that had another question", hold=name, effect=effect)
            elif name in self.holds:
                self.holds[name]["uses"].append(effect)
            return
        hold = self.use(name, effect, admitted["bundle"], admitted["now"], approvals)
        if not hold:
            return
        asked = hold["what"][1]
        keys = ("tool", "variants", "class", "pin")
        if hold["what"][0] != "call" or hold["task"] != task or [asked.get(k) for k in keys] != [what.get(k) for k in keys]:
            self.find("other", "what was done is not what was asked about", hold=name, effect=effect)
        else:
            self.same_values(hold, asked["arguments"], what["arguments"], name)

    def covered(self, effect, entry, grant, admitted, approvals):
        """Whether a grant that an admission names counts for it."""
        known = self.grants.get(grant)
        about = {"effect": effect, "grant": grant}
        if not known:
            return self.find("grant", "nobody granted it", **about)
        if known["kind"] == "approval":
            if known["to"]["hold"] != admitted.get("hold"):
                self.find("grant", "it is a yes to another question", **about)
            return approvals.add(grant)
        if grant in self.over or admitted["now"] >= known["until"]:
            self.find("grant", "it was over", **about)
        if known["kind"] != "elevation":
            return None
        entry["under"].add(grant)
        to, (kind, what) = known["to"], only(admitted["what"])
        tools = {what.get("tool")} | {f"{what.get('tool')}#{variant}" for variant in what.get("variants", [])}
        line = [name for name, _ in self.line(admitted.get("task"))]
        if kind != "call" or to["task"] not in line or to["class"] != what["class"] or not tools & set(to["uses"]):
            self.find("grant", "it opens something else", **about)
            return None
        try:
            for value, commitment in to.get("values", {}).items():
                given = what["arguments"].get(value, {}).get("value")
                if given is None or self.text(commitment, known["opened"]) != self.text(given):
                    self.find("grant", f"it opens another value of {value}", **about)
        except Erased:
            self.note("values of an elevation cannot be checked any more", **about)
        if any(grant in charge.get("elevated", []) for charge in what["charges"]):
            if known["used"] >= to["times"]:
                self.find("grant", "it was used up", **about)
            known["used"] += 1
            entry["elevated"].append(grant)
        return None

    def use(self, name, by, bundle, now, approvals):
        """A question is used: may it be, and had enough people said yes?"""
        hold = self.holds.get(name)
        about = {"hold": name, "by": by}
        if not hold:
            return self.find("used", "nobody asked this question", **about)
        if hold["no"]:
            self.find("used", "somebody had said no", **about)
        if hold["phase"] not in ("open", "declined"):
            says = "it was over" if hold["phase"] == "over" else f"it was used before ({hold['phase']})"
            self.find("used", says, **about)
        if now >= hold["until"]:
            self.find("used", "its time had passed", **about)
        if self.ended(hold["task"]):
            self.find("used", "its task was over", **about)
        for question in hold["questions"]:
            agreed = self.agreed(hold, question, bundle)
            named = {user for user in agreed if approvals is None or hold["yes"][user]["grant"] in approvals}
            need, who = question["people"], question["who"]
            if len(agreed) < need:
                self.find("used", f"{len(agreed)} of {who} had agreed, not {need}", **about)
            elif len(named) < need:
                self.find("used", f"it names the yes of {len(named)} of {who}, not of {need}", **about)
        hold["phase"] = "used"
        hold["uses"].append(by)
        return hold

    def agreed(self, hold, question, bundle):
        """Whose yes counts: each hand once, and each receiver that may not speak for several."""
        hands, receivers, agreed = set(), set(), set()
        several = self.several(bundle)
        for user, said in sorted(hold["yes"].items()):
            if not self.counts(hold, question, user, said, bundle):
                continue
            receiver = said["receiver"] if several is not None and said["receiver"] not in several else None
            hand = self.hand(user, said, bundle)
            if hand in hands or receiver in receivers:
                continue
            hands.add(hand)
            receivers |= {receiver} - {None}
            agreed.add(user)
        return agreed

    def hand(self, user, said, bundle):
        """Whose hand an answer is: whoever had the link made, unless the policy says whose the passkey is."""
        if said["lent"]:
            person = (self.users(bundle) or {}).get(user, {})
            return f"user:{user}" if said["fingerprint"] in person.get("passkeys", []) else said["lent"]
        return said["hand"]

    def is_own_hand(self, hold, hand):
        """Whether whoever had a link made is one of those for whom it is their own."""
        kind, name = hand.split(":", 1)
        if kind == "user":
            return name in hold["own"]
        return any(above["opener"] is None for _, above in self.line(hold["task"]))

    def counts(self, hold, question, user, said, bundle):
        if self.is_own_hand(hold, self.hand(user, said, bundle)):
            return False
        if user in hold["own"] or (question.get("passkey") and said["how"] != "passkey"):
            return False
        users = self.users(bundle)
        if users is None:
            return True
        person = users.get(user)
        return bool(person) and question["who"] in person.get("groups", []) and "approver" in person.get("roles", ["approver"])

    def users(self, bundle):
        """The people of a version of the policy."""
        policy = self.policy(bundle)
        return policy and policy["users"]

    def several(self, bundle):
        """The receivers that may speak for several people."""
        policy = self.policy(bundle)
        return policy and {name for name, receiver in policy["receivers"].items() if receiver.get("several") is True}

    def policy(self, bundle):
        """People and receivers of a version of the policy, by their names; nothing if it cannot be read."""
        if bundle not in self.policies:
            blob = self.log.blob(bundle) if bundle and tomllib else None
            if blob is None:
                self.note("the people of the policy cannot be read", bundle=bundle)
                self.policies[bundle] = None
            else:
                files = strict(blob.decode("utf-8")).items()
                self.policies[bundle] = {
                    kind: {
                        path.removeprefix(f"{kind}/").removesuffix(".toml"): tomllib.loads(text)
                        for path, text in files
                        if path.startswith(f"{kind}/") and path.endswith(".toml")
                    }
                    for kind in ("users", "receivers")
                }
        return self.policies[bundle]

    def same_values(self, hold, asked, done, name):
        """Whether values are those that were asked about."""
        if asked.keys() != done.keys():
            return self.find("other", "other arguments were given than were asked about", hold=name)
        plain = lambda value: value["value"] if isinstance(value, dict) else value
        for key in asked:
            try:
                if self.text(plain(asked[key]), hold["opened"]) != self.text(plain(done[key])):
                    self.find("other", f"{key} has another value than was asked about", hold=name)
            except Erased:
                self.note(f"{key} cannot be compared any more", hold=name)
        return None

    def on_settled(self, settled, _actor):
        effect = settled["effect"]
        entry = self.effects.get(effect)
        if not entry:
            return self.find("settled", "it was never admitted", effect=effect)
        if entry["end"]:
            return self.find("settled", "it had ended before", effect=effect)
        way, end = only(settled["end"])
        if entry["lease"] and (way == "unknown" or way == "lease" and only(end)[0] in ("issued", "left")):
            # A credential goes on until it is known to be of no use.
            return None
        entry["end"] = way
        if entry["end"] == "not_sent":
            for grant in entry["elevated"]:
                self.grants[grant]["used"] -= 1
        hold = self.holds.get(entry["hold"])
        if hold and hold["phase"] == "used" and hold["uses"][-1] == effect:
            if entry["end"] == "done":
                hold["phase"] = "done" if end["ok"] else "failed"
            elif entry["end"] == "unknown":
                hold["phase"] = "unknown"
            elif entry["end"] == "not_sent" and entry["first"]:
                # No byte of it left: the yes is there again, as long as its time has not passed.
                hold["phase"] = "open" if self.time < hold["until"] else "over"
        return None

    def on_noted(self, noted, actor):
        kind, note = only(noted)
        if kind == "reviewed":
            task = self.tasks.get(note["task"], {})
            if note["by"] in (task.get("opener"), task.get("user")):
                self.find("own", "somebody reviewed their own task", task=note["task"], user=note["by"])
        elif kind == "passkey":
            passkey = (note["user"], note["credential"])
            self.passkeys.pop(passkey, None)
            self.lent.pop(passkey, None)
            if note["added"]:
                self.passkeys[passkey] = note["public_key"]
                kind, who = only(actor)
                how, more = only(who["how"]) if kind == "person" else (None, None)
                # It may be theirs who had the link made with which its owner came in.
                if how in ("handed", "handed_passkey"):
                    self.lent[passkey] = more["by"]

    # -- What it comes to

    def told(self):
        holds = {}
        for name, hold in self.holds.items():
            kind, what = hold["what"]
            phase = hold["phase"]
            if phase == "open":
                phase = "open" if self.time < hold["until"] and not self.ended(hold["task"]) else "lapsed"
            elif phase == "over":
                phase = "lapsed"
            said = lambda answers: {user: {key: said[key] for key in ("at", "how", "why")} for user, said in answers.items()}
            holds[name] = {
                "asked": hold["asked"],
                "task": hold["task"],
                "agent": hold["agent"],
                "user": hold["user"],
                "purpose": hold["purpose"],
                "what": f"{kind} {what.get('tool', '')}".strip(),
                "questions": [
                    {key: asked[key] for key in ("source", "who", "people", "passkey") if key in asked}
                    for asked in hold["questions"]
                ],
                "yes": said(hold["yes"]),
                "no": said(hold["no"]),
                "state": phase,
                "uses": hold["uses"],
            }
        return {
            "checkpoint": f"{self.log.head}:{self.log.hash}",
            "groups": self.log.head,
            "records": self.records,
            "holds": holds,
            "findings": self.findings,
            "notes": self.notes,
        }


def main(arguments):
    if not 1 <= len(arguments) <= 2:
        print("usage: approvals.py DATA_FOLDER [N:HASH]", file=sys.stderr)
        return 2
    try:
        checkpoint = None
        if arguments[1:]:
            n, digest = arguments[1].split(":")
            checkpoint = (int(n), digest)
        audit = Audit(Log(pathlib.Path(arguments[0]), checkpoint))
        audit.run()
    except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
        print(f"the record cannot be read: {error!r}", file=sys.stderr)
        return 2
    print(json.dumps(audit.told(), indent=1, ensure_ascii=False))
    return 1 if audit.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
