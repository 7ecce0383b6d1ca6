"""The wish to think, or not to, on a server: what can act, and what is said where it does not."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import pytest
from tests.twisted import CHAT, SHIP, Wire, drawn, requests

from poise.engines.remote import RemoteEngine
from poise.engines.remote_logits import RemoteLogitsEngine
from poise.engines.remote_options import ServerOptions
from poise.errors import ModelError, PromptError
from poise.records import Message


class Shows(Wire):
    """A server that shows how it reads messages.

    Args:
        heeds: whether its template has the switch.
    """

    def __init__(self, heeds: bool, **more: Any) -> None:
        super().__init__(**more)
        self.heeds = heeds

    async def render(self, messages: Sequence[Message], thinking: bool | None = None) -> tuple[int, ...] | None:
        return (*self.server.language.chat(messages), *([1] if self.heeds and thinking is False else []))


def test_a_template_without_the_switch_refuses_it() -> None:
    for thinking in (True, False):
        for make in (RemoteEngine, RemoteLogitsEngine):
            options = ServerOptions(thinking=thinking)
            with pytest.raises(ModelError, match=r"enable_thinking, but got fake-64, whose template reads the same"):
                make(Shows(heeds=False), options=options)
            make(Shows(heeds=True), options=options).close()
    RemoteEngine(Shows(heeds=False)).close()
    RemoteEngine(Wire(), options=ServerOptions(thinking=False)).close()  # it shows nothing: who knows


def test_a_prompt_that_is_continued_as_text_cannot_carry_the_switch() -> None:
    for engine in (
        RemoteEngine(Wire(), options=ServerOptions(thinking=True)),
        RemoteLogitsEngine(Shows(heeds=True), ServerOptions(thinking=True)),
    ):
        with pytest.raises(PromptError, match="Ask with --chat, or leave --thinking out"):
            engine.encode(SHIP)
        assert engine.encode(CHAT)
        engine.close()


def test_thoughts_in_spite_of_the_switch_are_said_once() -> None:
    engine = RemoteEngine(Wire("vllm-thinking", ["thinking=ignored"]), options=ServerOptions(thinking=False))
    with pytest.warns(UserWarning, match=r"4 of 4 texts came with thoughts, though thinking is off") as told:
        drawn(engine, requests(engine, 4, CHAT, max_tokens=60))
    assert len(told) == 1
    engine.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thinking in (True, False, None):
            honest = RemoteEngine(Wire("vllm-thinking"), options=ServerOptions(thinking=thinking))
            drawn(honest, requests(honest, 4, CHAT, max_tokens=60))
            honest.close()


def test_no_thoughts_in_spite_of_the_switch_are_said() -> None:
    engine = RemoteEngine(Wire(), options=ServerOptions(thinking=True))
    with pytest.warns(UserWarning, match="no text came with thoughts, though thinking is on: fake-64 may lack"):
        drawn(engine, requests(engine, 2, CHAT))
    engine.close()
