"""A fake model that remembers what it was asked, and two small use cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from poise.engines.fake import FakeEngine
from poise.params import grid
from poise.records import Completion, Request
from poise.sessions import Tally
from poise.usecases import UseCase

HEATS = grid(temperature=[0.3, 0.9])


def use_case(**said: Any) -> UseCase:
    """As a file would say it."""
    return UseCase(**said)


STORY = use_case(name="story", prompts=["a ship", "one star"], max_tokens=6, min_tokens=2, stop="found")
BRIEF = use_case(name="brief", prompts=["hi"], mode="chat", system="Be brief.")


class Watched(FakeEngine):
    """A fake model that remembers what it was asked."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.asked: list[Request] = []

    def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
        self.asked = list(requests)
        return super().generate(self.asked, tally)
