"""The official Python SDK client, unmodified, one line of JSON per step.

Runs on both lines of the SDK (1.x and 2.x). How to call it and what it prints: ../README.md
"""

import contextlib
import json
import logging
import os
import sys
import warnings
from importlib.metadata import version

import anyio
import mcp.types as types
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

USAGE = "usage: client.py STEPS (stdio COMMAND [ARG…] | http URL | config FILE SERVER)"
SECOND_LINE = int(version("mcp").split(".")[0]) >= 2

# `ping` is gone from the newest protocol version, and the SDK says so each time.
warnings.simplefilter("ignore")
logging.disable()


def say(**line):
    print(json.dumps(line, ensure_ascii=False), flush=True)


def stdio(command, args, env):
    # Without `env` the SDK passes on only a handful of variables, PORTREEVE_SOCKET not among them.
    inherited = None if os.environ.get("PORTREEVE_CLIENT_ENV") == "sdk" else dict(os.environ)
    merged = {**(inherited or {}), **(env or {})} if env or inherited else None
    return stdio_client(StdioServerParameters(command=command, args=args, env=merged))


@contextlib.asynccontextmanager
async def http(url, headers):
    token = os.environ.get("PORTREEVE_TOKEN")
    authorization = {"authorization": f"Bearer {token}"} if token else {}
    async with create_mcp_http_client(headers={**authorization, **(headers or {})}) as client:
        client.event_hooks = {"request": [], "response": [listening]}
        async with streamable_http_client(url, http_client=client) as streams:
            yield streams


def transport(mode, *rest):
    if mode == "stdio" and rest:
        return stdio(rest[0], list(rest[1:]), None)
    if mode == "http" and len(rest) == 1:
        return http(rest[0], None)
    if mode == "config" and len(rest) == 2:
        with open(rest[0], encoding="utf-8") as file:
            server = json.load(file)["mcpServers"][rest[1]]
        if "command" in server:
            return stdio(server["command"], server.get("args", []), server.get("env"))
        return http(server["url"], server.get("headers"))
    raise ValueError(USAGE)


class News:
    """What comes by the stream of a session, once there is one."""

    listens = anyio.Event()
    answered = {}


async def listening(response):
    if response.request.method == "GET" and response.is_success:
        News.listens.set()


async def heard(message):
    notification = getattr(message, "root", message)
    if isinstance(notification, types.ElicitCompleteNotification):
        params = plain(notification.params)
        News.answered.setdefault(params["elicitationId"], anyio.Event()).set()


async def next_line():
    await anyio.to_thread.run_sync(sys.stdin.readline)


# What a server asks is answered like this, always.


async def elicitation(_context, params):
    if params.mode == "url":
        say(opens=params.url)
        if Step.waits:
            await next_line()
        return types.ElicitResult(action="accept")

    def filled(name, schema):
        return schema["enum"][0] if "enum" in schema else True if schema["type"] == "boolean" else f"some {name}"

    schema = params.requested_schema if SECOND_LINE else params.requestedSchema
    content = {name: filled(name, about) for name, about in schema["properties"].items()}
    return types.ElicitResult(action="accept", content=content)


async def sampling(_context, _params):
    text = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=text, model="test")


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///work")])


logs = []


async def logged(params):
    logs.append(params.data)


CAN = os.environ.get("PORTREEVE_CLIENT_CAN")
CALLBACKS = {
    # With it, either line of the SDK says that it can open pages, too.
    **({} if CAN == "words" else {"elicitation_callback": elicitation}),
    "message_handler": heard,
    "sampling_callback": sampling,
    "list_roots_callback": roots,
    "logging_callback": logged,
}


@contextlib.asynccontextmanager
async def connect(way):
    """Yields the session, the agreed version and the server's name."""
    if SECOND_LINE:
        from mcp import Client

        mode = os.environ.get("PORTREEVE_CLIENT_MODE", "auto")
        extensions = None
        if CAN == "tasks":
            from tasks import Tasks

            extensions = [Tasks(say)]
        async with Client(way, mode=mode, extensions=extensions, **CALLBACKS) as client:
            yield client, client.protocol_version, client.server_info
    else:
        async with way as streams:
            async with ClientSession(streams[0], streams[1], **CALLBACKS) as session:
                agreed = await session.initialize()
                yield session, agreed.protocolVersion, agreed.serverInfo


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True) if model is not None else None


def failure(error):
    """What went wrong, out of however many groups it is wrapped in."""
    if isinstance(error, BaseExceptionGroup if sys.version_info >= (3, 11) else ()):
        return failure(error.exceptions[0])
    response = getattr(error, "response", None)
    if response is not None:
        return {"status": response.status_code, "message": str(error)}
    answer = getattr(error, "error", None)
    if answer is not None:
        return {"code": answer.code, "message": answer.message, "data": answer.data}
    return {"message": f"{type(error).__name__}: {error}"}


async def everything(list_page, member):
    """All pages of a list; the second SDK would answer from its cache."""
    found, cursor = [], None
    while True:
        page = plain(await (list_page(cursor=cursor, cache_mode="refresh") if SECOND_LINE else list_page(cursor)))
        found += page[member]
        cursor = page.get("nextCursor")
        if not cursor:
            return found


async def list_tools(session):
    return [tool["name"] for tool in await everything(session.list_tools, "tools")]


def first_text(blocks):
    return next((block["text"] for block in blocks if block["type"] == "text"), None)


class Level:
    """What is asked for in each request, in the newest version."""

    wanted = None


class Step:
    """Whether whoever opens a page waits for a line before saying that they are done with it."""

    waits = False


async def pause(_session, step):
    say(pause=step["pause"])
    await next_line()


async def tools(session, _step):
    say(tools=await list_tools(session))


async def resources(session, _step):
    uris = [one["uri"] for one in await everything(session.list_resources, "resources")]
    templates = await everything(session.list_resource_templates, "resourceTemplates")
    say(resources=uris, templates=[one["uriTemplate"] for one in templates])


async def read(session, step):
    content = plain(await session.read_resource(step["read"]))["contents"][0]
    say(read=step["read"], text=content.get("text"), blob=content.get("blob"))


async def prompts(session, _step):
    say(prompts=[one["name"] for one in await everything(session.list_prompts, "prompts")])


async def prompt(session, step):
    result = plain(await session.get_prompt(step["prompt"], step.get("arguments")))
    say(prompt=step["prompt"], text=result["messages"][0]["content"].get("text"))


async def complete(session, step):
    ref = types.PromptReference(type="ref/prompt", name=step["of"])
    result = plain(await session.complete(ref, {"name": step["argument"], "value": step["complete"]}))
    say(complete=step["complete"], values=result["completion"]["values"])


async def level(session, step):
    Level.wanted = step["level"]
    if not SECOND_LINE or session.protocol_version < "2026":
        await session.set_logging_level(step["level"])
    say(level=step["level"])


async def call(session, step):
    progress = []
    logs.clear()

    async def told(done, _total, _message):
        progress.append(int(done))

    more = {"progress_callback": told} if step.get("progress") or step.get("cancel") else {}
    if SECOND_LINE and Level.wanted and session.protocol_version >= "2026":
        more["meta"] = {"io.modelcontextprotocol/logLevel": Level.wanted}
    if step.get("cancel"):
        return await cancelled(session, step, more)
    Step.waits = step.get("waits", False)

    async def made():
        return plain(await session.call_tool(step["name"], step.get("arguments"), **more))

    result = await (again(made) if Step.waits else made())
    say(
        call=step["name"],
        isError=result.get("isError", False),
        text=first_text(result["content"]),
        structured=result.get("structuredContent"),
        meta=result.get("_meta"),
        **({"progress": progress} if progress else {}),
        **({"logs": list(logs)} if logs else {}),
    )


async def again(made):
    """A call that is made again once somebody has answered on the page that an error of 2025-11-25 sent its client to."""
    try:
        return await made()
    except Exception as error:
        answer = getattr(error, "error", None)
        if answer is None or answer.code != -32042:
            raise
        page = answer.data["elicitations"][0]
    await News.listens.wait()
    answered = News.answered.setdefault(page["elicitationId"], anyio.Event())
    say(opens=page["url"])
    await answered.wait()
    say(answered=page["elicitationId"])
    return await made()


async def cancelled(session, step, more):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: session.call_tool(step["name"], step.get("arguments"), **more))
        say(started=step["name"])
        await next_line()
        tasks.cancel_scope.cancel()
    say(call=step["name"], error={"message": "cancelled by the test"})


KINDS = {
    "pause": pause,
    "list": tools,
    "resources": resources,
    "read": read,
    "prompts": prompts,
    "prompt": prompt,
    "complete": complete,
    "level": level,
    "name": call,
}


async def run(session, step):
    kind = next(kind for kind in KINDS if kind in step)
    try:
        await KINDS[kind](session, step)
    except Exception as error:
        about = {"name": {"call": step.get("name")}, "list": {"tools": None}}.get(kind, {kind: step[kind]})
        say(**about, error=failure(error))


async def main(steps, *way):
    stage = "connect"
    try:
        async with connect(transport(*way)) as (session, protocol, server):
            say(connected={"protocol": protocol, "server": plain(server)})
            stage = "list"
            say(tools=await list_tools(session))
            stage = "calls"
            for step in json.loads(steps):
                await run(session, step)
            stage = "ping"
            if protocol < "2026":
                await session.send_ping()
                say(ping=True)
            stage = "close"
        say(closed=True)
        return 0
    except Exception as error:
        say(failed=stage, error=failure(error))
        return 1


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(USAGE)
    sys.exit(anyio.run(main, *sys.argv[1:]))
