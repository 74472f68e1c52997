"""MCP tasks of 2026-07-28, for the second line of the SDK: it leaves them to extensions, and this is a plain one."""

from typing import Any, Literal

import anyio
import mcp.types as types
from mcp.client.extension import ClientExtension, ResultClaim


class Begun(types.Result):
    """A call that became a task."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    status_message: str | None = None
    poll_interval_ms: int = 1000


class Look(types.Result):
    """What a task looks like now."""

    status: str
    status_message: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class TaskParams(types.RequestParams):
    task_id: str


class GetTask(types.Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams

    name_param = "taskId"


class Tasks(ClientExtension):
    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, say):
        self.say = say

    def claims(self):
        return [ResultClaim(result_type="task", model=Begun, resolve=self.follow)]

    async def follow(self, begun, context):
        """Looks now and then until it is over."""
        self.say(task=begun.status, message=begun.status_message)
        while True:
            look = await context.session.send_request(GetTask(params=TaskParams(task_id=begun.task_id)), Look)
            if look.status != "working":
                break
            await anyio.sleep(begun.poll_interval_ms / 1000)
        self.say(task=look.status, message=look.status_message)
        if look.result is None:
            raise RuntimeError(f"the task is {look.status}: {look.error}")
        return types.CallToolResult.model_validate(look.result)
