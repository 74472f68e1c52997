"""The official Python SDK client, unmodified, one line of JSON per step.

Runs on both lines of the SDK (1.x and 2.x). How to call it and what it prints: ../README.md
"""

import contextlib
import json
import os
import sys
import warnings
from importlib.metadata import version

import anyio
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

USAGE = "usage: client.py STEPS (stdio COMMAND [ARG…] | http URL | config FILE SERVER)"
SECOND_LINE = int(version("mcp").split(".")[0]) >= 2

# `ping` is gone from the newest protocol version, and the SDK says so each time.
warnings.simplefilter("ignore")


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


@contextlib.asynccontextmanager
async def connect(way):
    """Yields the session, the agreed version and the server's name."""
    if SECOND_LINE:
        from mcp import Client

        async with Client(way, mode=os.environ.get("PORTREEVE_CLIENT_MODE", "auto")) as client:
            yield client, client.protocol_version, client.server_info
    else:
        async with way as streams:
            async with ClientSession(streams[0], streams[1]) as session:
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


async def list_tools(session):
    tools, cursor = [], None
    while True:
        if SECOND_LINE:
            page = plain(await session.list_tools(cursor=cursor, cache_mode="refresh"))
        else:
            page = plain(await session.list_tools(cursor))
        tools += [tool["name"] for tool in page["tools"]]
        cursor = page.get("nextCursor")
        if not cursor:
            return tools


async def run(session, step):
    if "pause" in step:
        say(pause=step["pause"])
        await anyio.to_thread.run_sync(sys.stdin.readline)
    elif "list" in step:
        try:
            say(tools=await list_tools(session))
        except Exception as error:
            say(tools=None, error=failure(error))
    else:
        try:
            result = plain(await session.call_tool(step["name"], step.get("arguments")))
        except Exception as error:
            say(call=step["name"], error=failure(error))
            return
        texts = (block["text"] for block in result["content"] if block["type"] == "text")
        say(
            call=step["name"],
            isError=result.get("isError", False),
            text=next(texts, None),
            structured=result.get("structuredContent"),
            meta=result.get("_meta"),
        )


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
