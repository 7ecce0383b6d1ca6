"""Studies of a few texts that one can count, without a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from poise.params import SamplingParams
from poise.records import Completion, FinishReason, Prompt, Request
from poise.study import Study
from toy_study import MODEL

COLD, WARM, HOT = (SamplingParams(temperature=t) for t in (0.3, 0.7, 0.9))
GREEDY = SamplingParams(temperature=0)


def drawn(
    text: str,
    prompt: str | Prompt = "why",
    params: SamplingParams = WARM,
    draw: int = 0,
    finish: FinishReason = "length",
    limit: int = 512,
) -> Completion:
    """A completion whose tokens are its characters, each with probability 1/2."""
    asked = Prompt(prompt) if isinstance(prompt, str) else prompt
    ids = tuple(map(ord, text)) + ((0,) if finish == "eos" else ())
    request = Request(asked, tuple(map(ord, asked.shown)), params.normalised(), 0, draw, limit)
    return Completion(request, text, ids, (-math.log(2),) * len(ids), finish)


def study_of(path: Path, texts: Mapping[SamplingParams, Mapping[str, Sequence[str]]], **how: object) -> Study:
    """A study of these texts: setting, prompt, draws. An empty string is no draw."""
    study = Study.open(path / "small.db")
    study.bind(MODEL)
    for params, prompts in texts.items():
        for prompt, draws in prompts.items():
            for number, text in enumerate(draws):
                if text:
                    study.add(drawn(text, prompt, params, number, **how))  # type: ignore[arg-type]
    return study


def long(number: int) -> Mapping[str, Sequence[str]]:
    """Prompts p0, p1, ... with one draw of `number` + their own number of tokens."""
    return {f"p{i}": ["x" * (number + i)] for i in range(8)}
