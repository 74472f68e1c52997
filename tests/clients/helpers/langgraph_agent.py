"""A LangGraph agent whose model is a script: one task for each run, its tools through Portreeve. See ../README.md."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../clients/python/src"))

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

import portreeve


class Scripted(BaseChatModel):
    """Wants one tool after the other, and sums up at the end."""

    script: list[dict[str, Any]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_: Any) -> Scripted:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        done = [message for message in messages if isinstance(message, ToolMessage)]
        if len(done) < len(self.script):
            step = self.script[len(done)]
            wants = AIMessage("", tool_calls=[{"name": step["name"], "args": step["args"], "id": f"call_{len(done)}"}])
        else:
            wants = AIMessage("done")
        return ChatResult(generations=[ChatGeneration(message=wants)])


async def run(given: dict[str, Any]) -> None:
    task = portreeve.Task(given["purpose"], url=given["url"], source=portreeve.file(given["file"]))
    async with task:
        tools = await MultiServerMCPClient(task.connections()).get_tools()
        model = Scripted(script=given["script"]).bind_tools(tools)
        graph = StateGraph(MessagesState)
        graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
        graph.add_node("tools", ToolNode(tools, handle_tool_errors=True))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        ended = await graph.compile().ainvoke({"messages": [("user", "Do what the script says.")]})
        heard = [message for message in ended["messages"] if isinstance(message, ToolMessage)]
        texts = [{"name": one.name, "status": one.status, "text": str(one.content)} for one in heard]
        last = ended["messages"][-1].content
    outcome = await asyncio.to_thread(task.outcome)
    line = {"task": task.id, "tools": sorted(tool.name for tool in tools), "heard": texts, "last": last, "outcome": outcome}
    print(json.dumps(line), flush=True)


async def main() -> None:
    given = json.loads(sys.argv[1])
    for _ in range(given["runs"]):
        await run(given)


asyncio.run(main())
