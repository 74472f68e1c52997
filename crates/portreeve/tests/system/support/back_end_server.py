"""An MCP server that does at a back end what it is told, with the credential in its environment; it stays connected."""

import asyncio
import json
import os
import socket
import subprocess
import sys


class Redis:
    """One connection, spoken to in the protocol's own inline commands"""

    def __init__(self, store):
        user, password, host, port = store.split(" ")
        self.stream = socket.create_connection((host, int(port))).makefile("rwb")
        self.do(f"AUTH {user} {password}")

    def do(self, text):
        self.stream.write(text.encode() + b"\r\n")
        self.stream.flush()
        line = self.stream.readline().decode().strip()
        if not line:
            raise Exception("the connection is closed")
        if line.startswith("-"):
            raise Exception(line[1:])
        if line.startswith("$") and line != "$-1":
            return self.stream.readline().decode().strip()
        return line


class Nats:
    """One connection of the official client; `pub SUBJECT TEXT`, `sub SUBJECT`, `next`"""

    def __init__(self, address):
        self.loop, self.problems, self.heard = asyncio.new_event_loop(), [], None
        self.loop.run_until_complete(self.connect(address))

    async def connect(self, address):
        import nats

        async def problem(error):
            self.problems.append(str(error))

        self.client = await nats.connect(
            address,
            user_credentials=os.environ["NATS_CREDS"],
            inbox_prefix=os.environ["NATS_INBOX"].encode(),
            error_cb=problem,
            allow_reconnect=False,
        )

    def do(self, text):
        return self.loop.run_until_complete(self.act(*text.split(" ")))

    async def act(self, what, *rest):
        self.problems.clear()
        if what == "pub":
            await self.client.publish(rest[0], rest[1].encode())
        elif what == "sub":
            self.heard = await self.client.subscribe(rest[0])
        elif what == "next":
            return (await self.heard.next_msg(timeout=10)).data.decode()
        elif what == "request":
            return (await self.client.request(rest[0], rest[1].encode(), timeout=10)).data.decode()
        # What the server refuses, it says before it answers to the first; the client tells it in a task of its own,
        # which is done when the second is answered.
        await self.client.flush()
        await self.client.flush()
        if self.problems:
            raise Exception(self.problems[0])
        return "done"


class Sql:
    """One connection of PyMySQL"""

    def __init__(self, store):
        import pymysql

        user, password, host, port, database = store.split(" ")
        self.connection = pymysql.connect(
            host=host, port=int(port), user=user, password=password, database=database, autocommit=True
        )

    def do(self, text):
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return json.dumps(cursor.fetchall())


class Ssh:
    """Runs on a host what it is told, with the key and the certificate from files that have no name"""

    def __init__(self, store):
        # ssh closes what it inherits: it is told the files by this process.
        def file(name):
            return os.environ[name].replace("/self/", f"/{os.getpid()}/")

        _, port, user = store.split(" ")
        options = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=no"]
        options += ["UserKnownHostsFile=/dev/null", "LogLevel=ERROR", f"CertificateFile={file('SSH_CERT')}"]
        self.command = ["ssh", "-F", "none", "-T", "-p", port, "-i", file("SSH_KEY")]
        self.command += [part for option in options for part in ("-o", option)] + [f"{user}@127.0.0.1"]

    def do(self, text):
        ran = subprocess.run(self.command + [text], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ran.returncode != 0:
            raise Exception(ran.stderr.strip())
        return ran.stdout.strip()


KINDS = {"redis": Redis, "nats": Nats, "sql": Sql, "ssh": Ssh}
kind, store = sys.argv[1], None

for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    method, params = asked["method"], asked.get("params", {})
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    if method == "initialize":
        version = params["protocolVersion"]
        server = {"name": "back-end", "version": "1"}
        answer["result"] = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    elif method == "ping":
        answer["result"] = {}
    elif method == "tools/list":
        schema = {"type": "object", "properties": {"value": {"type": "string"}}, "required": ["value"]}
        answer["result"] = {"tools": [{"name": "do", "description": "Does it", "inputSchema": schema}]}
    elif method == "tools/call":
        try:
            store = store or KINDS[kind](os.environ["STORE"])
            said, wrong = str(store.do(params["arguments"]["value"])), False
        except Exception as error:
            said, wrong = f"{type(error).__name__}: {error}", True
        answer["result"] = {"content": [{"type": "text", "text": said}], "isError": wrong}
    else:
        answer["error"] = {"code": -32601, "message": "unknown"}
    print(json.dumps(answer), flush=True)
