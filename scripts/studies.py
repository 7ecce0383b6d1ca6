"""Studies made without a model, whose truth is known."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.engines.fake import FakeEngine
from poise.params import SamplingParams
from poise.records import Completion, Fingerprint, Prompt, Request
from poise.sessions import Engine
from poise.study import Study

RIGHT, WRONG = "yes", "no"
_SUBJECTS = ("the ship", "a star", "the captain", "an island", "the old lamp", "a storm", "the river", "that song")
_VERBS = ("found", "sailed", "waited for", "is", "was never", "told us that", "and", "turns", "came home with", "has")


class Supply(NamedTuple):
    """Texts by prompt, all of one law, and the settings among which they are dealt out."""

    fingerprint: Fingerprint
    texts: Mapping[Prompt, Sequence[Completion]]
    settings: tuple[SamplingParams, ...]


def same_law(engine: Engine, prompts: int, draws: int, max_tokens: int, vocabulary: int, settings: int = 16) -> Supply:
    """Texts of plain sampling, each with a seed of its own, so that no two share their noise.

    The settings say top-k at least as large as the vocabulary, which cuts nothing: all draw by the same law.

    Args:
        engine: draws them.
        prompts, draws: how many; prompts are all fed to the model differently.
        max_tokens: of a text.
        vocabulary: its size.
        settings: how many there are to deal to.

    Returns:
        The texts and settings.
    """
    asked: dict[tuple[int, ...], Prompt] = {}
    for first, second in itertools.product(_SUBJECTS, _VERBS):
        prompt = Prompt(f"{first} {second}", use_case="same")
        asked.setdefault(engine.encode(prompt), prompt)
    chosen = list(asked.items())[:prompts]
    assert len(chosen) == prompts, "too few prompts that differ"
    plain = SamplingParams().normalised()
    requests = [Request(p, ids, plain, seed, 0, max_tokens) for ids, p in chosen for seed in range(draws)]
    found: dict[Prompt, list[Completion]] = {p: [] for _, p in chosen}
    for completion in engine.generate(requests):
        found[completion.request.prompt].append(completion)
    named = [SamplingParams(temperature=1.0, top_k=vocabulary + k).normalised() for k in range(settings)]
    return Supply(engine.fingerprint, found, tuple(named))


def deal(path: Path, supply: Supply, settings: int, prompts: int, draws: int, turn: int | None = None) -> Study:
    """Deal texts out at random as if each setting had drawn some: nothing but luck tells the settings apart.

    Args:
        path: of the new study; its name decides who gets which.
        supply: the texts.
        settings, prompts, draws: the size of the study.
        turn: where texts are dealt out once only: whose turn it is, from 0. None where a text may be dealt again and
            again; the law is then that of the supply.

    Returns:
        The study, open.
    """
    rng = np.random.default_rng(list(path.name.encode()))
    need = settings * draws

    def dealt() -> Iterator[Completion]:
        for prompt, texts in list(supply.texts.items())[:prompts]:
            places = rng.integers(0, len(texts), need) if turn is None else np.arange(need) + turn * need
            for i, place in enumerate(places):
                params = supply.settings[i // draws]
                request = dataclasses.replace(
                    texts[place].request, prompt=prompt, params=params, seed=0, draw=i % draws
                )
                yield dataclasses.replace(texts[place], request=request)

    return filled(path, supply.fingerprint, dealt())


def answered(path: Path, right: NDArray[np.bool_], settings: Sequence[SamplingParams]) -> Study:
    """A study of questions with right and wrong answers.

    Args:
        path: of the new study.
        right: (settings, prompts, draws).
        settings: in the same order.

    Returns:
        The study, open.
    """
    prompts = [Prompt(f"Question {p}", answers=(RIGHT,), use_case="quiz") for p in range(right.shape[1])]

    def texts() -> Iterator[Completion]:
        for k, params in enumerate(settings):
            for p, prompt in enumerate(prompts):
                for draw, hit in enumerate(right[k, p]):
                    text = RIGHT if hit else WRONG
                    request = Request(prompt, (1 + p,), params, 0, draw, 4)
                    yield Completion(request, text, tuple(map(ord, text)), (-1.0,) * len(text), "length")

    return filled(path, FakeEngine().fingerprint, texts())


def filled(path: Path, fingerprint: Fingerprint, texts: Iterable[Completion]) -> Study:
    """A new study of these texts, written at once."""
    study = Study.open(path)
    study.bind(fingerprint, latest=False)
    kept = list(texts)
    study.expect([c.request for c in kept])
    with study._db.transaction():  # one by one each would wait for the disk
        for completion in kept:
            study.add(completion)
    return study
