"""Every metric's value of every completion of one use case."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from poise.metrics.context import Context, lengths_of
from poise.metrics.examining import EXAMINER
from poise.metrics.judged import read_judgements
from poise.metrics.metric import CompletionMetric, GroupMetric, Metric
from poise.metrics.sizes import common_sizes, heard
from poise.params import SamplingParams
from poise.records import Completion, Prompt, Trial
from poise.study import Study

Values = NDArray[np.float64]
Codes = NDArray[np.int64]
_CHUNK = 256  # completions whose texts are turned into word vectors together


@dataclass(frozen=True, slots=True)
class Readings:
    """The values of one use case as columns; NaN is no data.

    Args:
        use_case: its name.
        trials: the settings; `trial` holds positions in it.
        prompts: how many different inputs there are; `prompt` counts them from 0.
        trial, prompt, draw: per completion, (N,); equal draws share their noise.
        tokens, bytes: length of each text, (N,).
        context: sizes, prompts and vectors.
        max_tokens: the largest limit of the completions.
        columns: values per completion metric, (N,); of a group metric, 1 where the completion takes part, else 0.
        groups: values per group metric, (trials, prompts).
        unheard: positions of the trials with too few texts to have a say in the common sizes.
        between: the sizes are those of two trials alone, because one of them is unheard.
        inputs: the prompts as fed to the model, by number.
        asked: the prompts as the user gave them, by number.
        unnamed: positions of the trials whose texts have no token ids, as servers may keep them to themselves.
    """

    use_case: str
    trials: tuple[Trial, ...]
    prompts: int
    trial: Codes
    prompt: Codes
    draw: Codes
    tokens: Codes
    bytes: Codes
    context: Context
    max_tokens: int
    columns: Mapping[str, Values]
    groups: Mapping[str, Values]
    unheard: frozenset[int] = frozenset()
    between: bool = False
    inputs: tuple[tuple[int, ...], ...] = ()
    asked: tuple[Prompt, ...] = ()
    unnamed: frozenset[int] = frozenset()


class _Part(NamedTuple):
    """The completions of one input under one setting."""

    ids: tuple[int, ...]
    trial: int
    texts: list[Completion]


@dataclass(slots=True)
class _Kept:
    """Readings of one state of a study, to which metrics are added when they are asked for."""

    state: tuple[object, ...]
    readings: Readings
    number: Mapping[tuple[int, ...], int]
    metrics: dict[str, Metric] = field(default_factory=dict)


_Among = frozenset[SamplingParams]  # trials that alone decide the sizes; empty: all that have a say
_kept: WeakKeyDictionary[Study, dict[tuple[str, _Among], _Kept]] = WeakKeyDictionary()


def read_values(study: Study, use_case: str, metrics: Sequence[Metric], among: Sequence[Trial] = ()) -> Readings:
    """Put numbers on every completion of a use case.

    Sizes for metrics that depend on length are chosen over all of the use case's trials that have a say, so
    that a measurement and a comparison of the same trials see the same numbers. Only where one of `among`
    has none do these trials decide alone. What was computed is kept
    with the study object and reused until the study holds something else.

    Args:
        study: with completions.
        use_case: one of its use cases.
        metrics: what to compute.
        among: the trials to be compared; empty for all.

    Returns:
        The values of these metrics, and perhaps of others.

    Raises:
        StudyError: no such use case.
    """
    trials, state = tuple(study.trials(use_case)), (*study.state(use_case), study.last_note("judgement"))
    held = _kept.setdefault(study, {})
    key: tuple[str, _Among] = (use_case, frozenset())
    if key not in held or held[key].state != state:
        held[key] = _outline(study, use_case, trials, state)
    asked = frozenset(t.params for t in among)
    if any(trials[i].params in asked for i in held[key].readings.unheard):
        key = (use_case, asked)
        if key not in held or held[key].state != state:
            held[key] = _outline(study, use_case, trials, state, asked)
    kept = held[key]
    missing = [m for m in metrics if kept.metrics.get(m.name) is not m]
    if missing:
        try:
            _compute(study, kept, missing)
        finally:
            EXAMINER.close()
    return replace(kept.readings, trials=trials)  # a trial may have got another name meanwhile


def _outline(
    study: Study, use_case: str, trials: tuple[Trial, ...], state: tuple[object, ...], among: _Among = frozenset()
) -> _Kept:
    """First reading: who is there, and how long."""
    number: dict[tuple[int, ...], int] = {}
    asked: dict[tuple[int, ...], Prompt] = {}
    draw_number: dict[tuple[int, int], int] = {}
    prompt, draw, lengths = [], [], []
    max_tokens, named = 0, set[int]()
    for part in _parts(study, use_case, trials, with_logprobs=False):
        named.update([part.trial] if any(c.token_ids for c in part.texts) else [])
        lengths.append(lengths_of(part.trial, part.texts))
        prompt.append(number.setdefault(part.ids, len(number)))
        asked.setdefault(part.ids, part.texts[0].request.prompt)
        for request in (c.request for c in part.texts):
            draw.append(draw_number.setdefault((request.seed, request.draw), len(draw_number)))
            max_tokens = max(max_tokens, request.max_tokens)
    counts, say = [len(found.tokens) for found in lengths], heard(lengths)
    sizes = common_sizes(lengths, [i for i, t in enumerate(trials) if t.params in among] if among else say)
    readings = Readings(
        use_case=use_case,
        trials=trials,
        prompts=len(number),
        trial=np.repeat(_codes(found.trial for found in lengths), counts),
        prompt=np.repeat(_codes(prompt), counts),
        draw=_codes(draw),
        tokens=np.concatenate([_codes([]), *(found.tokens for found in lengths)]),
        bytes=np.concatenate([_codes([]), *(found.bytes for found in lengths)]),
        context=Context(sizes, tuple(study.prompts(use_case)), judgements=read_judgements(study, use_case)),
        max_tokens=max_tokens,
        columns={},
        groups={},
        unheard=frozenset(range(len(trials))) - say,
        between=bool(among),
        inputs=tuple(number),
        asked=tuple(asked.values()),
        unnamed=frozenset(found.trial for found in lengths) - named,
    )
    return _Kept(state, readings, number)


def _codes(values: Iterable[int]) -> Codes:
    return np.array(list(values), dtype=np.int64)


def _compute(study: Study, kept: _Kept, metrics: Sequence[Metric]) -> None:
    """Second reading: the values, a few hundred completions at a time."""
    readings, context = kept.readings, kept.readings.context
    columns = {m.name: np.full(len(readings.trial), math.nan) for m in metrics}
    shape = (len(readings.trials), readings.prompts)
    groups = {m.name: np.full(shape, math.nan) for m in metrics if isinstance(m, GroupMetric)}
    vectors = any("word vectors" in m.needs for m in metrics)
    with_logprobs = any("log-probabilities" in m.needs for m in metrics)
    parts = _parts(study, readings.use_case, readings.trials, with_logprobs=with_logprobs)
    place = 0
    for chunk in _chunks(parts):
        if vectors:
            context.vectors.prepare(c.text for p in chunk for c in p.texts)
        for part in chunk:
            for m in metrics:
                if isinstance(m, CompletionMetric):
                    found = [m.compute(c, context) for c in part.texts]
                    columns[m.name][place : place + len(found)] = [math.nan if v is None else v for v in found]
                elif isinstance(m, GroupMetric):
                    value = m.compute(part.texts, context)
                    columns[m.name][place : place + len(part.texts)] = [m.uses(c, context) for c in part.texts]
                    groups[m.name][part.trial, kept.number[part.ids]] = math.nan if value is None else value
            place += len(part.texts)
    assert place == len(readings.trial), "the study changed while it was read"
    kept.metrics.update({m.name: m for m in metrics})
    kept.readings = replace(readings, columns={**readings.columns, **columns}, groups={**readings.groups, **groups})


def _parts(study: Study, use_case: str, trials: Sequence[Trial], *, with_logprobs: bool) -> Iterator[_Part]:
    number = {t.params: i for i, t in enumerate(trials)}
    drawn = study.completions(use_case, with_logprobs=with_logprobs)
    for (ids, params), texts in itertools.groupby(drawn, lambda c: (c.request.prompt_ids, c.request.params)):
        yield _Part(ids, number[params], list(texts))


def _chunks(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    chunk: list[_Part] = []
    for part in parts:
        chunk.append(part)
        if sum(len(p.texts) for p in chunk) >= _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
