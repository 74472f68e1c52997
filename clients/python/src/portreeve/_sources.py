"""Where an agent gets what it shows: a fresh token each time that it is asked for one.

A source is anything that is called with the audience and returns a token.
"""

from __future__ import annotations

import os
from typing import Callable
from urllib.parse import quote

from . import _wire
from ._errors import PortreeveError, Unreachable

Source = Callable[[str], str]


def github_actions() -> Source:
    """The runner of GitHub Actions, or one that works like it; the job needs `permissions: id-token: write`."""
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
    token = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    if not url or not token:
        remedy = "Give the job `permissions: id-token: write`."
        raise PortreeveError("no_token_source", "The runner offers no OpenID Connect tokens here.", remedy)

    def fresh(audience: str) -> str:
        joined = f"{url}{'&' if '?' in url else '?'}audience={quote(audience, safe='')}"
        status, answer = _wire.ask("GET", joined, {"authorization": f"bearer {token}"})
        value = answer.get("value")
        if status != 200 or not isinstance(value, str):
            raise Unreachable("issuer_unreachable", f"The runner gave no token ({status}).", "", status)
        return value

    return fresh


def file(path: str | os.PathLike[str]) -> Source:
    """A file that its platform writes anew, such as a projected service account token of Kubernetes."""

    def fresh(_audience: str) -> str:
        try:
            with open(path, encoding="ascii") as opened:
                return opened.read().strip()
        except (OSError, ValueError) as error:
            remedy = "Check the path, and that this account may read it."
            raise PortreeveError("no_token_source", f"{path} holds no token: {error}.", remedy) from None

    return fresh


def environment(name: str) -> Source:
    """A variable that its platform sets, such as an `id_tokens` entry of GitLab; it is good as long as its token is."""

    def fresh(_audience: str) -> str:
        value = os.environ.get(name, "")
        if not value:
            raise PortreeveError("no_token_source", f"The variable {name} is not set.", "Set it, or name another one.")
        return value

    return fresh


def found() -> Source:
    """What is there: the file that PORTREEVE_PROOF_FILE names, else the runner's tokens."""
    path = os.environ.get("PORTREEVE_PROOF_FILE")
    return file(path) if path else github_actions()
