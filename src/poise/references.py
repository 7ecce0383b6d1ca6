"""Reference texts: scored once, kept, measured like drawn ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise import codec
from poise.errors import MetricError, UsageError, UseCaseError
from poise.metrics.context import Context
from poise.metrics.metric import CompletionMetric, Metric
from poise.metrics.readings import read_values
from poise.params import SamplingParams
from poise.records import Completion, Prompt, Request
from poise.scores import continuation, score
from poise.sessions import Engine, LogitsEngine
from poise.study import Study
from poise.usecases import UseCase

_END = -1  # closes a reference as an end-of-text token closes a drawn text; no model has it


def check_references(engine: Engine, use_case: UseCase) -> None:
    """Whether the reference texts of a use case can be scored; nothing is done.

    Args:
        engine: a loaded model.
        use_case: whose goal holds something near the reference.

    Raises:
        UsageError: the engine gives no probabilities of given text.
        UseCaseError: prompts without a reference.
    """
    if not isinstance(engine, LogitsEngine):
        raise UsageError(
            f"The goal of {use_case.name} holds a metric near the reference texts, which an engine that gives logits "
            "scores", repr(engine.name), "Load the model with hf: or gguf:, or hold the metric near a number",
        )  # fmt: skip
    lacking = [p for p in use_case.prompts if not p.reference]
    if lacking:
        shown = lacking[0].shown
        raise UseCaseError(
            f"The goal of {use_case.name} holds a metric near the reference, which every prompt then has",
            f"{len(lacking):,} of {len(use_case.prompts):,} prompts without one, first "
            f"{shown if len(shown) <= 60 else shown[:59] + '…'!r}",
            "Give each prompt its `reference` in the use case's file, or hold the metric near a number",
        )


def score_references(engine: Engine, study: Study, use_case: str) -> int:
    """Score the reference texts of a use case, one forced pass each, and keep what comes out in the study.

    Args:
        engine: that the study belongs to; one that gives logits.
        study: that holds the use case; open for writing.
        use_case: its name; prompts without a reference are passed over.

    Returns:
        How many were scored now; those that the study holds already are not scored again.

    Raises:
        StudyError: a study of another model; no such use case.
        ModelError, PromptError, EngineError: see `score`.
        StoreError: the study cannot be written.
    """
    study.check(engine.fingerprint)
    kept, scored = set(study.all_noted("reference")), 0
    for prompt in study.prompts(use_case):
        if not prompt.reference:
            continue
        text = continuation(prompt)
        key = _key(engine.encode(prompt), text)
        if key not in kept:
            found = score(engine, prompt, text)
            study.note("reference", key, {"token_ids": list(found.token_ids), "logprobs": list(found.logprobs)})
            kept.add(key)
            scored += 1
    return scored


def reference_values(study: Study, use_case: str, metric: Metric, context: Context) -> NDArray[np.float64]:
    """A metric of each prompt's reference text, as if the model had drawn it and ended it by itself.

    A reference that is longer than a drawn text may be counts with its first `max_tokens` tokens, as such a text
    would; its words as a whole.

    Args:
        study: with completions, and references scored by `score_references`.
        use_case: one of its use cases.
        metric: of single texts.
        context: that the drawn texts were measured in; its sizes hold for the references too.

    Returns:
        Values by number of the prompt as `Readings.prompt` counts them, (prompts,); NaN where a prompt has no
        reference, none was scored, or the metric has no value for it.

    Raises:
        MetricError: a metric of whole groups of texts.
        StudyError: no such use case.
    """
    if not isinstance(metric, CompletionMetric):
        raise MetricError(
            "A reference is one text, and has the metrics of single texts", f"{metric.name}, of several draws",
            "Take a metric of single texts, such as nll or seq_rep_4",
        )  # fmt: skip
    readings, kept = read_values(study, use_case, []), study.all_noted("reference")
    prompts = zip(readings.inputs, readings.asked, strict=True)
    found = [_drawn(ids, prompt, kept, readings.max_tokens) for ids, prompt in prompts]
    texts = {i: text for i, text in enumerate(found) if text is not None}
    if "word vectors" in metric.needs:
        context.vectors.prepare(t.text for t in texts.values())
    values = np.full(len(readings.inputs), math.nan)
    for i, text in texts.items():
        value = metric.compute(text, context)
        values[i] = math.nan if value is None else value
    return values


def _drawn(
    prompt_ids: tuple[int, ...], prompt: Prompt, kept: Mapping[str, Mapping[str, Any]], max_tokens: int
) -> Completion | None:
    """A prompt's reference as a completion; None where there is none."""
    if not prompt.reference:
        return None
    text = continuation(prompt)
    record = kept.get(_key(prompt_ids, text))
    if record is None:
        return None
    ids, logprobs = tuple(record["token_ids"]), tuple(record["logprobs"])
    request = Request(prompt, prompt_ids, SamplingParams(), 0, 0, max_tokens)
    if len(ids) >= max_tokens:  # where a drawn text is cut, before it can end
        return Completion(request, text, ids[:max_tokens], logprobs[:max_tokens], "length")
    return Completion(request, text, (*ids, _END), logprobs, "eos")


def _key(prompt_ids: tuple[int, ...], text: str) -> str:
    return hashlib.sha256(codec.canonical([list(prompt_ids), text]).encode()).hexdigest()
