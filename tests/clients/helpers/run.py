"""One run of an agent through the Python helper in clients/python, one line of JSON per step. See ../README.md."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.request
from typing import Any

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../clients/python/src"))

import portreeve
import portreeve._task


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def call(task: portreeve.Task, connector: str, tool: str, arguments: dict[str, Any]) -> str:
    url = task.endpoints[connector]
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    request = urllib.request.Request(url, json.dumps(message).encode(), {**headers, **task.headers("POST", url)})
    with urllib.request.urlopen(request, timeout=30) as answer:
        result = json.load(answer).get("result", {})
    refusal = result.get("_meta", {}).get("dev.portreeve/refusal")
    return refusal["word"] if refusal else "ok"


def options(run: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"url": run["url"], "wait": run.get("wait", 0)}
    key = portreeve.Key.load(run["key"]) if run.get("key") else None
    if run.get("file"):
        found["source"] = portreeve.file(run["file"])
    elif key is not None:
        found["source"] = key.source(run["agent"])
    if run.get("dpop"):
        found["dpop"] = key
    return found


def work(run: dict[str, Any], task: portreeve.Task) -> None:
    say({"opened": task.id, "agent": task.agent})
    if run.get("renews"):
        first = task.headers()
        deadline = time.monotonic() + 30
        while task.headers() == first and time.monotonic() < deadline:
            time.sleep(0.01)
        say({"renewed": task.headers() != first})
    for connector, tool, arguments in run.get("calls", []):
        say({"call": tool, "word": call(task, connector, tool, arguments)})
    outcome = task.outcome()
    say({"outcome": outcome["calls"], "over": outcome["over"], "refusals": [one["words"] for one in outcome["refusals"]]})


async def aside(run: dict[str, Any], task: portreeve.Task) -> None:
    async with task:
        await asyncio.to_thread(work, run, task)


def main() -> None:
    run = json.loads(sys.argv[1])
    if run.get("renews"):
        portreeve._task.RENEW = 0.001
    try:
        task = portreeve.Task(run["purpose"], run.get("parameters"), **options(run))
        if run.get("aside"):
            asyncio.run(aside(run, task))
        else:
            with task:
                work(run, task)
        say({"ended": task.outcome()["over"]})
        try:
            task.headers()
        except portreeve.PortreeveError as error:
            say({"afterwards": error.word})
    except portreeve.PortreeveError as error:
        say({"error": type(error).__name__, "word": error.word, "status": error.status, "code": getattr(error, "code", None)})


main()
