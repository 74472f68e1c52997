"""One request and its answer. Redirects are not followed: what is shown here is for one server only."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from ._errors import PortreeveError, Unreachable

ANSWER_BYTES_MAX = 1 << 20


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


def ask(
    method: str, url: str, headers: dict[str, str], body: Any = None, timeout: float = 30.0
) -> tuple[int, dict[str, Any]]:
    """Sends JSON, and returns the status and the JSON that is answered."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"accept": "application/json", "user-agent": "portreeve-python", **headers}
    if data is not None:
        sent["content-type"] = "application/json"
    request = urllib.request.Request(url, data=data, headers=sent, method=method)
    try:
        with _opener.open(request, timeout=timeout) as answer:
            return answer.status, _read(answer)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, _read(answer)
    except (OSError, http.client.HTTPException) as error:
        # Nothing of the request is repeated here: it holds what proves the agent.
        reason = getattr(error, "reason", None) or type(error).__name__
        host = urlsplit(url).netloc
        raise Unreachable("unreachable", f"{host} does not answer: {reason}.", "Check the address.") from None


def _read(answer: Any) -> dict[str, Any]:
    try:
        read = json.loads(answer.read(ANSWER_BYTES_MAX) or b"{}")
    except (ValueError, OSError, http.client.HTTPException):
        return {}
    return read if isinstance(read, dict) else {}


def guarded(url: str, plain_http: bool) -> str:
    """The address without a slash at its end, if a token may be sent there."""
    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise PortreeveError("address_form", f"{url!r} is no address of a Portreeve.", "Write https://HOST[:PORT].")
    if parts.scheme == "http" and not local and not plain_http:
        remedy = "Use https, or say plain_http=True where nobody else is on the way."
        raise PortreeveError("plain_http", "A token would be sent without encryption.", remedy)
    return url.rstrip("/")
