"""A task for one run: opened, kept alive, ended."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from types import TracebackType
from typing import Any, Mapping, TypeVar
from urllib.parse import quote

from . import _errors, _sources, _wire
from ._errors import Held, PortreeveError, Refused
from ._key import Key
from ._sources import Source

Request = TypeVar("Request")

# How long is waited between two looks whether people have answered, in seconds: at first, and at most
LOOK, LOOK_MAX = 1.0, 15.0
# A token is renewed when this part of its time has passed
RENEW = 0.5
# How long is waited after a renewal that failed, in seconds: at first, and at most
AGAIN, AGAIN_MAX = 1.0, 30.0


class Task:
    """A task at Portreeve, for one run of an agent.

    `with Task(...) as task:` or `async with`: opens it, renews its token in the background, and ends it at the end.
    `wait` says for how many seconds people are waited for where the purpose asks them first.
    """

    id: str
    agent: str
    run: str
    endpoints: dict[str, str]
    """Where the tools are: the address of each connector's endpoint, by its name."""

    def __init__(
        self,
        purpose: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        url: str | None = None,
        source: Source | None = None,
        objective: str | None = None,
        audience: str | None = None,
        dpop: Key | None = None,
        wait: float = 0.0,
        timeout: float = 30.0,
        plain_http: bool = False,
    ) -> None:
        url = url or os.environ.get("PORTREEVE_URL")
        if not url:
            raise PortreeveError("address_missing", "It is not said where Portreeve is.", "Say url=, or set PORTREEVE_URL.")
        self._url = _wire.guarded(url, plain_http)
        self._audience = audience or os.environ.get("PORTREEVE_AUDIENCE") or self._url
        self._source = source or _sources.found()
        self._ask: dict[str, Any] = {"purpose": purpose, "parameters": dict(parameters or {})}
        if objective is not None:
            self._ask["objective"] = objective
        self._dpop = dpop
        self._wait, self._timeout = wait, timeout
        self._owned = True
        self._token, self._kind, self._until, self._due = "", "Bearer", 0.0, 0.0
        self._failed: PortreeveError | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.endpoints = {}

    @classmethod
    def join(cls, task: str | None = None, **options: Any) -> Task:
        """A task that somebody else has opened and will end: by its id, or the one that PORTREEVE_TASK names."""
        joined = cls("", **options)
        joined.id = task or os.environ.get("PORTREEVE_TASK", "")
        if not joined.id:
            raise PortreeveError("task_missing", "It is not said which task.", "Say task=, or set PORTREEVE_TASK.")
        joined._owned = False
        return joined

    def open(self) -> Task:
        """Opens it, and begins to keep it alive."""
        until, look = time.monotonic() + self._wait, LOOK
        while (hold := self._begin()) is not None:
            look = self._patience(hold, until, look)
            time.sleep(look)
            look *= 2
        return self

    async def aopen(self) -> Task:
        """The same, without blocking the event loop."""
        until, look = time.monotonic() + self._wait, LOOK
        while (hold := await asyncio.to_thread(self._begin)) is not None:
            look = self._patience(hold, until, look)
            await asyncio.sleep(look)
            look *= 2
        return self

    def end(self) -> None:
        """Ends it; what it did stays on the record. A task that was joined goes on."""
        self._over.set()
        if self._owned and self._token:
            status, answer = self._shown("DELETE", f"/v1/tasks/{self.id}")
            if status != 204:
                raise _errors.of(status, answer)

    async def aend(self) -> None:
        """The same, without blocking the event loop."""
        await asyncio.shield(asyncio.to_thread(self.end))

    def outcome(self) -> dict[str, Any]:
        """What was let through, refused and asked so far, in numbers and words; also afterwards."""
        status, answer = self._shown("GET", f"/v1/tasks/{self.id}")
        if status != 200:
            raise _errors.of(status, answer)
        return answer

    def headers(self, method: str = "POST", url: str | None = None) -> dict[str, str]:
        """What one request to an endpoint has to carry. Ask anew for each: tokens live for minutes."""
        with self._lock:
            token, kind, until, failed = self._token, self._kind, self._until, self._failed
        if self._over.is_set():
            raise PortreeveError("task_over", "The task has ended.", "Open another one for another run.")
        if not token or time.monotonic() >= until:
            raise failed or PortreeveError("not_open", "The task is not open.", "Use `with Task(...) as task:`.")
        headers = {"authorization": f"{kind} {token}"}
        if self._dpop is not None:
            if url is None:
                raise PortreeveError("url_missing", "A bound token needs a proof for each address.", "Say url=.")
            headers["dpop"] = self._dpop.dpop(method, url.split("?")[0].split("#")[0], token)
        return headers

    def auth(self, request: Request) -> Request:
        """For clients on httpx: `httpx.AsyncClient(auth=task.auth)` shows a fresh token with each request."""
        found: Any = request
        url = str(found.url).split("?")[0]
        if not any(url == endpoint or url.startswith(f"{endpoint}/") for endpoint in self.endpoints.values()):
            raise PortreeveError("not_an_endpoint", f"{url} is no endpoint of this task.", "Use task.endpoints.")
        found.headers.update(self.headers(str(found.method), url))
        return request

    def connections(self) -> dict[str, dict[str, Any]]:
        """The endpoints as `MultiServerMCPClient` of langchain-mcp-adapters takes them."""
        return {
            name: {"transport": "streamable_http", "url": url, "auth": self.auth}
            for name, url in self.endpoints.items()
        }

    def __enter__(self) -> Task:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        except PortreeveError as failed:
            if error is None:
                raise
            # What went wrong inside is what matters; the task ends by itself when nobody proves it any more.
            warnings.warn(f"the task {self.id} could not be ended: {failed}", RuntimeWarning, stacklevel=2)

    async def __aenter__(self) -> Task:
        return await self.aopen()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.to_thread(self.__exit__, kind, error, trace))

    def __repr__(self) -> str:
        return f"<portreeve.Task {getattr(self, 'id', 'not open')}>"

    def _begin(self) -> dict[str, Any] | None:
        """Opens or joins it; what people are asked, if they are."""
        if not self._owned:
            self._renew()
        else:
            status, answer = self._shown("POST", "/v1/tasks", self._ask)
            if status == 202:
                return dict(answer.get("held") or {})
            if status != 201:
                raise _errors.of(status, answer)
            self.id, self.agent, self.run = str(answer["task"]), str(answer["agent"]), str(answer["run"])
            self._take(answer)
        threading.Thread(target=self._keep, name=f"portreeve {self.id}", daemon=True).start()
        return None

    def _patience(self, hold: dict[str, Any], until: float, look: float) -> float:
        left = until - time.monotonic()
        if left <= 0:
            remedy = f"`portreeve approve {hold.get('code')}`, then open it again; wait= says how long to wait for them."
            raise Held(hold, remedy)
        return min(look, LOOK_MAX, left)

    def _keep(self) -> None:
        """Renews the token until the task ends."""
        again = AGAIN
        while not self._over.wait(max(0.0, self._due - time.monotonic())):
            try:
                self._renew()
                again = AGAIN
            except Refused as failed:
                self._fail(failed)
                if failed.status == 403:
                    with self._lock:
                        self._until = 0.0
                    return
                self._due = time.monotonic() + again
            except Exception as failed:  # a source may raise anything, and the next try may work
                known = isinstance(failed, PortreeveError)
                self._fail(failed if known else PortreeveError("no_token_source", str(failed)))  # type: ignore[arg-type]
                self._due = time.monotonic() + again
            again = min(again * 2, AGAIN_MAX)

    def _fail(self, failed: PortreeveError) -> None:
        with self._lock:
            self._failed = failed

    def _renew(self) -> None:
        status, answer = self._shown("POST", f"/v1/tasks/{quote(self.id)}/token")
        if status != 200:
            raise _errors.of(status, answer)
        self._take(answer)

    def _take(self, answer: dict[str, Any]) -> None:
        now, lasts = time.monotonic(), float(answer["expires_in"])
        with self._lock:
            self._token, self._kind = str(answer["access_token"]), str(answer["token_type"])
            self._until, self._due = now + lasts, now + lasts * RENEW
            self._failed = None
        self.endpoints = {str(name): str(url) for name, url in dict(answer["endpoints"]).items()}

    def _shown(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
        """One request with a fresh proof."""
        url = self._url + path
        headers = {"authorization": f"Bearer {self._source(self._audience)}"}
        if self._dpop is not None:
            headers["dpop"] = self._dpop.dpop(method, url)
        return _wire.ask(method, url, headers, body, self._timeout)
