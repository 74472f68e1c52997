"""A task at Portreeve for each run of an agent.

The agent shows what its platform gives it, a task is opened, its tools are reached through it, and it ends with the run.
Nothing is decided here: what may be done is judged at Portreeve, call by call.
"""

from ._errors import Held, NotProven, PortreeveError, Refused, Unreachable
from ._key import Key
from ._sources import Source, environment, file, found, github_actions
from ._task import Task

__all__ = [
    "Held",
    "Key",
    "NotProven",
    "PortreeveError",
    "Refused",
    "Source",
    "Task",
    "Unreachable",
    "environment",
    "file",
    "found",
    "github_actions",
]
