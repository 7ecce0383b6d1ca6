"""Settings looked through: what does nothing, contradicts, or changes elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from poise import asks
from poise.asks import Ask, Given
from poise.errors import UsageError
from poise.exports.catalogue import find_target
from poise.lints.conditions import Facts
from poise.lints.influences import Progress, measure_influences
from poise.lints.record import KINDS as KINDS
from poise.lints.record import LEVELS as LEVELS
from poise.lints.record import Influence as Influence
from poise.lints.record import Lint as Lint
from poise.lints.record import Remark as Remark
from poise.lints.record import percent
from poise.lints.rules import RULES as RULES
from poise.lints.targets import of_target
from poise.params import SamplingParams
from poise.sessions import Engine, LogitsEngine
from poise.stats import MIN_UNITS

TEXTS, STEPS = 8, 32  # that are drawn to measure on, and tokens of each
SELDOM = 0.02  # a share of steps below which a setting hardly acts


def lint(
    params: SamplingParams | Mapping[str, Any],
    *,
    to: str | None = None,
    engine: Engine | None = None,
    prompts: Given | Iterable[Given] | None = None,
    draws: int = 1,
    texts: int = TEXTS,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Lint:
    """Look settings through: what changes nothing, what contradicts, what another engine makes of them.

    Args:
        params: the settings.
        to: a target of `poise export`; None where they stay.
        engine: measures what each parameter does, along texts drawn under the settings; one that gives logits.
        prompts: of these texts; needed with an engine.
        draws: texts of each prompt that are meant to be drawn with the settings, at least 1.
        texts, steps: how many texts are drawn to measure on, and tokens of each at most, at least 1.
        progress: told the steps done, and how many there will be at most.

    Returns:
        The remarks, the weightiest first, and with an engine what each parameter does.

    Raises:
        UsageError: no settings, an unknown target, an engine without prompts or logits, numbers below 1.

    >>> [r.rule for r in lint(SamplingParams(temperature=0, top_p=0.9)).remarks]
    ['never-acts']
    """
    settings = SamplingParams.model_validate(params)
    _check_numbers(draws=draws, texts=texts, steps=steps)
    ours = _checked(engine, prompts)
    remarks = _remarks(Facts(settings, draws, None if ours is None else ours.vocab_size), to)
    if ours is None or any(r.rule == "token-beyond-vocabulary" for r in remarks):
        return Lint(settings, to or "", _by_weight(remarks))
    return _measured(
        ours, Lint(settings, to or "", tuple(remarks)), _asked(ours, prompts, texts, steps), texts, progress
    )


def _remarks(facts: Facts, to: str | None) -> list[Remark]:
    """What the settings alone tell, and the target's data."""
    target = None if to is None else find_target(to)
    facts = facts._replace(there="" if target is None else target.dialect)
    remarks = [remark for name, rule in RULES.items() for remark in rule.remarks(name, facts)]
    return [*remarks, *([] if target is None else of_target(facts.params, target))]


def _measured(engine: LogitsEngine, told: Lint, asked: Sequence[Ask], texts: int, progress: Progress | None) -> Lint:
    """A lint with what each parameter does, step by step."""
    asks.check_settings(engine, told.params, baselines=False)
    each = 1 if told.params.greedy else math.ceil(texts / len(asked))
    found = measure_influences(engine, told.params, asked, each, progress)
    remarks = _by_weight([*told.remarks, *_without_effect(found, told.remarks)])
    return Lint(
        told.params, told.target, remarks, tuple(found), _about(engine.name, asked, found), tuple(_notes(found))
    )


def _check_numbers(**numbers: object) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is a whole number of at least 1", repr(value), f"For example {name}=8")


def _by_weight(remarks: Sequence[Remark]) -> tuple[Remark, ...]:
    return tuple(sorted(remarks, key=lambda r: LEVELS.index(r.level)))


def _checked(engine: Engine | None, prompts: Given | Iterable[Given] | None) -> LogitsEngine | None:
    if engine is None:
        return None
    if not isinstance(engine, LogitsEngine) or engine.draws_by != "poise" or getattr(engine, "partial", False):
        raise UsageError(
            "What a setting does is measured on the logits of all tokens", f"{engine.name}, which gives none or a few",
            "Load the weights (hf:, gguf:), or lint without a model",
        )  # fmt: skip
    if prompts is None:
        raise UsageError("Texts are drawn of prompts", "none", "Name a use case, or a prompt")
    return engine


def _asked(engine: LogitsEngine, prompts: Given | Iterable[Given] | None, texts: int, steps: int) -> list[Ask]:
    """The prompts, spread evenly where there are more than texts."""
    given = asks.listed(prompts or [])
    every = asks.ask_all(engine, given, asks.Options(max_tokens=steps, min_tokens=0, stop=()))
    count = min(texts, len(every))
    return [every[round(i * (len(every) - 1) / max(1, count - 1))] for i in range(count)]


def _without_effect(found: Sequence[Influence], remarks: Sequence[Remark]) -> Iterator[Remark]:
    """What a measurement adds to the rules."""
    explained = {name for r in remarks if r.kind in ("inert", "masked") for name in r.parameters}
    for i in found:
        if i.bound is not None and i.parameter not in explained:
            weightless = ", though it cut tokens without weight" if i.kept else ""
            yield Remark(
                "no-effect", "warning", "inert", (i.parameter,),
                f"{i.said} changed nothing at {i.steps:,} steps{weightless}; it does at {percent(i.bound)} at most",
                "Leave it out",
            )  # fmt: skip
        elif i.bound is None and i.law < SELDOM:
            yield Remark(
                "hardly-acts", "note", "inert", (i.parameter,),
                f"{i.said} changed the law at {percent(i.law)} of {i.steps:,} steps",
                "Leave it out unless it is meant so",
            )  # fmt: skip


def _about(model: str, asked: Sequence[Ask], found: Sequence[Influence]) -> str:
    cases = list(dict.fromkeys(ask.prompt.use_case for ask in asked))
    prompts = "prompt" if len(asked) == 1 else "prompts"
    of = "" if cases == ["prompt"] else f" of {', '.join(cases)}"
    size = f"{found[0].texts} texts, {found[0].steps:,} steps" if found else "nothing is on"
    return f"on {model}: {size}, {len(asked)} {prompts}{of}"


def _notes(found: Sequence[Influence]) -> Iterator[str]:
    if any(i.bound is not None for i in found):
        yield "at most: 3 / steps, at 95 %, as if steps were independent; those of one text are not quite"
    if found and found[0].prompts < MIN_UNITS and any(i.bound is None for i in found):
        yield f"no interval: one that speaks of other prompts needs {MIN_UNITS} of them"
