"""What can go wrong, with Portreeve's stable word for it and what would help."""

from __future__ import annotations

from typing import Any


class PortreeveError(Exception):
    """Something did not work; `word` is stable, `remedy` says what would help."""

    def __init__(self, word: str, message: str, remedy: str = "", status: int = 0) -> None:
        super().__init__(f"{word}: {message}" + (f" {remedy}" if remedy else ""))
        self.word = word
        self.message = message
        self.remedy = remedy
        self.status = status


class NotProven(PortreeveError):
    """What was shown is no proof of an agent of the policy."""


class Refused(PortreeveError):
    """The policy does not allow it, or the task is over."""

    def __init__(self, *args: Any, reasons: list[Any] | None = None) -> None:
        super().__init__(*args)
        self.reasons = reasons or []


class Held(PortreeveError):
    """People are asked first, and have not answered in the time that was given to them."""

    def __init__(self, hold: dict[str, Any], remedy: str) -> None:
        self.code = str(hold.get("code", ""))
        self.hold = str(hold.get("hold", ""))
        self.until = hold.get("until")
        super().__init__("held", f"People are asked first ({self.code}).", remedy, 202)


class Unreachable(PortreeveError):
    """Portreeve, or whoever vouches for the agent, does not answer as it should."""


def of(status: int, body: Any) -> PortreeveError:
    """The error that an answer of Portreeve tells."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return Unreachable("unexpected_answer", f"Portreeve answered {status} without saying why.", "", status)
    told = (str(error.get("word") or "failed"), str(error.get("message") or ""), str(error.get("remedy") or ""), status)
    if status == 401:
        return NotProven(*told)
    if status >= 500:
        return Unreachable(*told)
    return Refused(*told, reasons=error.get("reasons"))
