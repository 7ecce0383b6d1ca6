"""A toy study's parts: a model, requests and answers that one can check by eye."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from poise.params import SamplingParams
from poise.records import Completion, Fingerprint, Prompt, Request
from poise.study import Study

MODEL = Fingerprint("toy", "w" * 64, "t" * 64, "c" * 64, "float32", "stock", {"device": "cpu", "torch": "2.13"})
LOW, HIGH = SamplingParams(temperature=0.3), SamplingParams(temperature=0.9)
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL too


def ask(prompt: str | Prompt = "hi", params: SamplingParams = LOW, draw: int = 0, **more: Any) -> Request:
    prompt = Prompt(prompt) if isinstance(prompt, str) else prompt
    ids = tuple(map(ord, prompt.shown))
    request = Request(prompt, ids, params.normalised(), seed=0, draw=draw, max_tokens=4)
    return dataclasses.replace(request, **more)


def answer(request: Request, text: str = "and on") -> Completion:
    return Completion(request, text, (5, 6, 0), (-0.1, -1 / 3, -2.5), "eos")


def fill(study: Study, draws: range, added: list[int] | None = None) -> None:
    """Add long texts; `added` learns of each that `add` returned for."""
    for draw in draws:
        study.add(answer(ask(draw=draw), "word " * 200))
        if added is not None:
            added.append(draw)
