"""The helper against recorded answers: python -m unittest discover -s tests, with src on the path."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import portreeve
from portreeve import Held, NotProven, PortreeveError, Refused, Task, Unreachable

OPENED = {
    "access_token": "first",
    "token_type": "Bearer",
    "expires_in": 300,
    "task": "task_1",
    "run": "run_1",
    "agent": "bot",
    "expires": 1,
    "endpoints": {"shop": "http://127.0.0.1:1/mcp/shop"},
}
RENEWED = {key: OPENED[key] for key in ("token_type", "expires_in", "endpoints")} | {"access_token": "second"}
HELD = {"held": {"hold": "hold_1", "code": "ABCD-EFGH", "until": 2}}


def refusal(word: str) -> dict[str, Any]:
    return {"error": {"word": word, "message": "No.", "remedy": "Ask.", "reasons": [{"word": word}]}}


class Recorded:
    """A server that gives these answers in turn, the last of each kind again and again."""

    def __init__(self, **answers: list[tuple[int, Any]]) -> None:
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length).decode()
                outer.asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                kind = "token" if self.path.endswith("/token") else "idp" if "/idp" in self.path else self.command.lower()
                given = answers[kind]
                status, answer = given.pop(0) if len(given) > 1 else given[0]
                text = b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()


def task(served: Recorded, **more: Any) -> Task:
    return Task("work", {"month": "2026-10"}, url=served.url, source=lambda audience: f"proof for {audience}", **more)


class Opening(unittest.TestCase):
    def test_a_task_is_opened_and_ended(self) -> None:
        with Recorded(post=[(201, OPENED)], delete=[(204, None)]) as served:
            with task(served, objective="Count") as opened:
                self.assertEqual((opened.id, opened.agent), ("task_1", "bot"))
                self.assertEqual(opened.headers(), {"authorization": "Bearer first"})
                self.assertNotIn("first", repr(opened))
            method, path, headers, body = served.asked[0]
            self.assertEqual((method, path), ("POST", "/v1/tasks"))
            self.assertEqual(headers["authorization"], f"Bearer proof for {served.url}")
            asked = {"purpose": "work", "parameters": {"month": "2026-10"}, "objective": "Count"}
            self.assertEqual(json.loads(body), asked)
            self.assertEqual(served.asked[-1][:2], ("DELETE", "/v1/tasks/task_1"))
            with self.assertRaises(PortreeveError) as over:
                opened.headers()
            self.assertEqual(over.exception.word, "task_over")

    def test_it_ends_also_when_the_run_fails(self) -> None:
        async def run(served: Recorded) -> None:
            async with task(served):
                raise KeyError("inside")

        with Recorded(post=[(201, OPENED)], delete=[(204, None)]) as served:
            with self.assertRaises(KeyError), task(served):
                raise KeyError("inside")
            with self.assertRaises(KeyError):
                asyncio.run(run(served))
            self.assertEqual([asked[0] for asked in served.asked], ["POST", "DELETE"] * 2)

    def test_what_went_wrong_inside_is_not_hidden_by_the_end(self) -> None:
        with Recorded(post=[(201, OPENED)], delete=[(503, refusal("unavailable"))]) as served:
            with self.assertWarns(RuntimeWarning), self.assertRaises(KeyError), task(served):
                raise KeyError("inside")
            with self.assertRaises(Unreachable), task(served):
                pass

    def test_errors_have_words_and_remedies(self) -> None:
        cases: list[tuple[int, Any, type[PortreeveError], str]] = [
            (401, refusal("agent_unknown"), NotProven, "agent_unknown"),
            (403, refusal("purpose_unknown"), Refused, "purpose_unknown"),
            (503, refusal("issuer_unreachable"), Unreachable, "issuer_unreachable"),
            (502, None, Unreachable, "unexpected_answer"),
            # What is shown here is for one server: nobody is followed elsewhere.
            (307, None, Unreachable, "unexpected_answer"),
        ]
        for status, answer, kind, word in cases:
            with self.subTest(word=word, status=status), Recorded(post=[(status, answer)]) as served:
                with self.assertRaises(kind) as failed:
                    task(served).open()
                self.assertEqual((failed.exception.word, failed.exception.status), (word, status))
                self.assertEqual(len(served.asked), 1)

    def test_people_are_waited_for_within_a_limit(self) -> None:
        with mock.patch("portreeve._task.LOOK", 0.01):
            with Recorded(post=[(202, HELD), (202, HELD), (201, OPENED)], delete=[(204, None)]) as served:
                with task(served, wait=30) as opened:
                    self.assertEqual(opened.id, "task_1")
                self.assertEqual(len(served.asked), 4)
            with Recorded(post=[(202, HELD)]) as served:
                with self.assertRaises(Held) as held:
                    task(served, wait=0.05).open()
                self.assertEqual((held.exception.code, held.exception.hold), ("ABCD-EFGH", "hold_1"))
                with self.assertRaises(Held):
                    asyncio.run(task(served).aopen())

    def test_tokens_are_not_sent_in_the_open(self) -> None:
        for url in ["http://portreeve.example.com", "ftp://127.0.0.1", "http://a:b@127.0.0.1", "portreeve"]:
            with self.subTest(url=url), self.assertRaises(PortreeveError):
                Task("work", url=url, source=lambda _: "proof")
        Task("work", url="http://portreeve.example.com", source=lambda _: "proof", plain_http=True)


class Going(unittest.TestCase):
    def renewed(self, served: Recorded, wanted: int) -> None:
        deadline = threading.Event()
        for _ in range(3_000):
            if sum(asked[1].endswith("/token") for asked in served.asked) >= wanted:
                return
            deadline.wait(0.01)
        self.fail("nothing is renewed")

    def test_the_token_is_renewed_before_it_ends(self) -> None:
        with mock.patch("portreeve._task.RENEW", 0.0001):
            with Recorded(post=[(201, OPENED)], token=[(200, RENEWED)], delete=[(204, None)]) as served:
                with task(served) as opened:
                    self.renewed(served, 2)
                    self.assertEqual(opened.headers(), {"authorization": "Bearer second"})

    def test_a_renewal_that_fails_is_tried_again(self) -> None:
        down = (503, refusal("issuer_unreachable"))
        with mock.patch.multiple("portreeve._task", RENEW=0.0001, AGAIN=0.01):
            with Recorded(post=[(201, OPENED)], token=[down, down, (200, RENEWED)], delete=[(204, None)]) as served:
                with task(served) as opened:
                    self.renewed(served, 4)
                    self.assertEqual(opened.headers(), {"authorization": "Bearer second"})

    def test_a_task_that_is_over_says_so(self) -> None:
        with mock.patch("portreeve._task.RENEW", 0.0001):
            with Recorded(post=[(201, OPENED)], token=[(403, refusal("task_over"))], delete=[(204, None)]) as served:
                with task(served) as opened:
                    self.renewed(served, 1)
                    for _ in range(3_000):
                        try:
                            opened.headers()
                        except Refused as error:
                            self.assertEqual(error.word, "task_over")
                            return
                        threading.Event().wait(0.01)
                    self.fail("it is still used")

    def test_a_joined_task_goes_on(self) -> None:
        with Recorded(token=[(200, RENEWED)]) as served:
            environment = {"PORTREEVE_TASK": "task_1", "PORTREEVE_URL": served.url, "PORTREEVE_AUDIENCE": "us"}
            with mock.patch.dict(os.environ, environment):
                with Task.join(source=lambda audience: f"proof for {audience}") as joined:
                    self.assertEqual(joined.headers(), {"authorization": "Bearer second"})
            self.assertEqual([asked[:2] for asked in served.asked], [("POST", "/v1/tasks/task_1/token")])
            self.assertEqual(served.asked[0][2]["authorization"], "Bearer proof for us")

    def test_a_token_is_shown_at_endpoints_only(self) -> None:
        class Asked:
            method, headers = "POST", {}

        with Recorded(post=[(201, OPENED)], delete=[(204, None)]) as served, task(served) as opened:
            Asked.url = OPENED["endpoints"]["shop"]  # type: ignore[attr-defined,index]
            self.assertEqual(opened.auth(Asked()).headers["authorization"], "Bearer first")
            self.assertEqual(opened.connections()["shop"]["transport"], "streamable_http")
            for url in ["http://127.0.0.1:1/mcp/shopper", "http://evil.example/mcp/shop"]:
                Asked.url = url  # type: ignore[attr-defined]
                with self.assertRaises(PortreeveError):
                    opened.auth(Asked())


class Sources(unittest.TestCase):
    def test_the_runner_is_asked_for_each_token(self) -> None:
        with Recorded(idp=[(200, {"value": "one"}), (200, {"value": "two"}), (500, None)]) as served:
            environment = {
                "ACTIONS_ID_TOKEN_REQUEST_URL": f"{served.url}/idp?version=2",
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret",
            }
            with mock.patch.dict(os.environ, environment):
                source = portreeve.found()
            self.assertEqual([source("https://us/"), source("https://us/")], ["one", "two"])
            self.assertEqual(served.asked[0][1], "/idp?version=2&audience=https%3A%2F%2Fus%2F")
            self.assertEqual(served.asked[0][2]["authorization"], "bearer secret")
            with self.assertRaises(Unreachable):
                source("us")

    def test_a_file_is_read_each_time(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "token"
            source = portreeve.file(path)
            for text in ["one\n", "two"]:
                path.write_text(text)
                self.assertEqual(source("us"), text.strip())
            path.unlink()
            with self.assertRaises(PortreeveError) as failed:
                source("us")
            self.assertEqual(failed.exception.word, "no_token_source")

    def test_without_anything_to_show_it_says_what_is_missing(self) -> None:
        with mock.patch.dict(os.environ, clear=True):
            for failing in (portreeve.found, lambda: portreeve.environment("ID_TOKEN")("us"), lambda: Task("work")):
                with self.assertRaises(PortreeveError) as failed:
                    failing()
                self.assertTrue(failed.exception.remedy)


if __name__ == "__main__":
    unittest.main()
