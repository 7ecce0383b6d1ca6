"""A judge that can be foreseen: a small server that speaks the OpenAI chat-completions protocol.

How it judges, by name:

- ``longer``: prefers the longer text, TIE where both are equally long.
- ``first``: always says A, whatever it is shown.
- ``garbage``: rambles; ``mumbles``: rambles the first time that it is asked something, and is ``longer`` then.
- ``refuses``: declines.
- ``thinks``: is ``longer``, and thinks aloud first.
- ``echoes``: repeats the headers that it got, key included, also where it fails.

What else it can do, by HTTP status: ``status=401`` and so on, for every call or, with ``fails_at=n``, from the n-th on.
``holds_at=n`` holds back every answer from the n-th on until `release` is set.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_TEXTS = re.compile(r"<<<TEXT (A|B) ([0-9a-f]{16})\n(.*?)\nTEXT \1 \2>>>", re.DOTALL)


class FakeJudge:
    """What the server was asked, and how it answers.

    Args:
        way: see above.
        status: of the answers; 200 is an answer.
        fails_at: number of the first call that gets `status`, from 0.
        holds_at: number of the first call that is held back; None for none.
        says: what it says to everything, in place of an answer; None for answers.
        key: what the Authorization header must hold; None for anything.
        drips: seconds between the bytes of an answer; None for all at once.
    """

    def __init__(
        self, way: str = "longer", *, status: int = 200, fails_at: int = 0, holds_at: int | None = None,
        says: dict[str, Any] | str | None = None, key: str | None = None,
        drips: float | None = None,
    ) -> None:  # fmt: skip
        self.way, self.status, self.fails_at, self.holds_at, self.says = way, status, fails_at, holds_at, says
        self.key, self.drips = key, drips
        self.asked: list[str] = []  # the messages
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.release = threading.Event()
        self.url = ""
        self._lock = threading.Lock()

    def answer(self, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(headers)
            [message] = body["messages"]
            before = self.asked.count(message["content"])
            self.asked.append(message["content"])
        if self.holds_at is not None and number >= self.holds_at:
            self.release.wait(30)
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": {"message": f"Incorrect: {headers}"}}
        if self.status != 200 and number >= self.fails_at:
            told = str(headers) if self.way == "echoes" else f"the server says {self.status}"
            return self.status, {"error": {"message": told}}
        if self.says is not None:
            return 200, self.says
        refusal = "I would rather not." if self.way == "refuses" else None
        said = {
            "role": "assistant",
            "content": None if refusal else self.said(message["content"], headers, before),
            "refusal": refusal,
        }
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return 200, {
            "id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice],
        }  # fmt: skip

    def said(self, question: str, headers: dict[str, str], before: int) -> str:
        texts = {name: text for name, _, text in _TEXTS.findall(question)}
        a, b = len(texts["A"]), len(texts["B"])
        longer = "TIE" if a == b else "A" if a > b else "B"
        return {
            "first": "A",
            "garbage": "Both texts have their merits.",
            "mumbles": longer if before else "Well …",
            "thinks": f"<think>A has {a} letters, B has {b}.</think>\n\n**{longer}**.",
            "echoes": f"You sent {headers}",
        }.get(self.way, longer)


@contextlib.contextmanager
def serving(judge: FakeJudge) -> Iterator[FakeJudge]:
    """The judge behind a port of this machine; its address is `judge.url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = (404, {"error": {"message": "no such path"}})
            if self.path == "/v1/chat/completions":
                status, answer = judge.answer({k.lower(): v for k, v in self.headers.items()}, body)
            kind = "text/html" if isinstance(answer, str) else "application/json"
            sent = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            with contextlib.suppress(OSError):  # whoever asked may have gone
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(sent)))
                self.send_header("Retry-After-Ms", "1")
                self.end_headers()
                for part in [sent] if judge.drips is None else [bytes([byte]) for byte in sent]:
                    self.wfile.write(part)
                    judge.release.wait(judge.drips or 0)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Whoever asked has gone: nothing to tell."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield judge
    finally:
        judge.release.set()
        server.shutdown()
        server.server_close()
