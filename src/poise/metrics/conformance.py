"""What every metric must keep, as checks for metrics of your own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from poise.checks import read_checks
from poise.metrics.context import Context
from poise.metrics.judged import place
from poise.metrics.metric import CompletionMetric, GroupMetric, Metric, Need
from poise.params import SamplingParams
from poise.records import Completion, FinishReason, Prompt, Request

Group = Sequence[Completion]
_CHECKS = read_checks(["numeric", {"must_not_include": "alert"}])


def example(
    text: str, *, prompt: str = "Tell me about the sea.", draw: int = 0, finish: FinishReason = "length"
) -> Completion:
    """A completion whose tokens are its characters.

    Args:
        text: what was drawn.
        prompt: what was asked; the right answer is ``42``, which is checked for; it has a reference text.
        draw: its number.
        finish: with ``eos``, token 0 ends it.

    Returns:
        The completion; every token has a probability of 1/4.
    """
    ids = tuple(map(ord, text)) + ((0,) if finish == "eos" else ())
    asked = Prompt(text=prompt, answers=("42",), reference="The wide sea is 42 miles across.", checks=_CHECKS)
    request = Request(asked, tuple(map(ord, prompt)), SamplingParams(temperature=0.7), 0, draw, max(len(ids), 1))
    return Completion(request, text, ids, (-math.log(4),) * len(ids), finish)


def example_groups() -> list[Group]:
    """Draws of two prompts: plain, looping, empty, short, hostile, an answer."""
    sea = [
        "The sea is wide and cold, and ships cross it with their lights on at night. Nobody counts the waves.",
        "Storms come from the west in autumn; the harbour fills with boats, ropes, gulls and patient men.",
        "The sea, the sea, " * 8,
        "",
        "Blue.",
        "\x1b[31m\u202e<script>alert(1)</script>\ud800 is what a hostile text would say about the wide and cold sea.",
    ]
    sums = [
        "42",
        "The answer is 42, because six times seven is forty-two, as every schoolbook says on page one.",
        "42.",
    ]
    ends: Sequence[FinishReason] = ("length", "eos", "stop")
    return [
        [example(t, draw=i, finish=ends[i % 3]) for i, t in enumerate(sea)],
        [example(t, prompt="What is 6 times 7?", draw=i, finish="eos") for i, t in enumerate(sums)],
    ]


def values(metric: Metric, groups: Sequence[Group], context: Context | None = None) -> list[float | None]:
    """A metric's values: one per completion, or one per group.

    Args:
        metric: any.
        groups: completions of one prompt under one setting each.
        context: what they share; None to derive it from them.

    Returns:
        The values, in order.
    """
    context = _context(groups) if context is None else context
    if isinstance(metric, CompletionMetric):
        return [metric.compute(c, context) for group in groups for c in group]
    assert isinstance(metric, GroupMetric), f"{metric.name} is neither a CompletionMetric nor a GroupMetric"
    return [metric.compute(group, context) for group in groups]


def check_words(metric: Metric) -> None:
    """Its name is lower case with underscores; unit, meaning, source and the reason for no value are there."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name), f"{metric.name!r} is not lower case with underscores"
    for name in ("unit", "meaning", "absent", "source"):
        assert getattr(metric, name).strip(), f"{metric.name} has no {name}"
    assert metric.direction in ("lower", "higher", "neutral"), f"{metric.name}: direction {metric.direction!r}"
    words = metric.meaning.split()
    assert metric.meaning.endswith("."), f"{metric.name}: its meaning is no sentence: {metric.meaning!r}"
    assert 4 <= len(words) <= 30, f"{metric.name}: its meaning has {len(words)} words"


def check_values(metric: Metric) -> None:
    """Its values are finite floats in its range, or None; some example has one."""
    found = [v for v in values(metric, example_groups()) if v is not None]
    assert found, f"{metric.name} gives no value for any example"
    for value in found:
        assert isinstance(value, float), f"{metric.name} gives {value!r}, which is no float"
        assert math.isfinite(value), f"{metric.name} gives {value}"
        assert metric.low is None or value >= metric.low, f"{metric.name}: {value} is below its range"
        assert metric.high is None or value <= metric.high, f"{metric.name}: {value} is above its range"
        if isinstance(metric, CompletionMetric) and metric.binary:
            assert value in (0.0, 1.0), f"{metric.name} says binary and gives {value}"


def check_repeatable(metric: Metric) -> None:
    """The same texts have the same value again, alone or among others, in any order."""
    groups = example_groups()
    context = _context(groups)
    first, again = values(metric, groups, context), values(metric, groups, _context(groups))
    assert first == again, f"{metric.name} gives {first}, then {again}"
    turned = values(metric, [list(reversed(g)) for g in reversed(groups)], context)
    for a, b in zip(first, reversed(turned), strict=True):
        near = a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9))
        assert near, f"{metric.name} depends on order: {a} and {b}"


def check_no_data(metric: Metric) -> None:
    """Without what it needs it gives None, never a number."""
    for need in metric.needs:
        lacking, context = _without(need)
        found = values(metric, lacking, context)
        assert not any(v is not None for v in found), f"{metric.name} needs {need}, and without gives {found}"
    if isinstance(metric, GroupMetric):
        assert values(metric, [[]]) == [None], f"{metric.name} gives a number for no text at all"


def check_equal_size(metric: Metric) -> None:
    """If it says it looks at a prefix, what comes later changes nothing, and shorter texts have no value."""
    if metric.equal not in ("tokens", "bytes", "tokens of texts"):
        return
    texts = [g[:2] for g in example_groups()[:1]]
    context = Context.of(texts)
    longer = [[example(c.text + " and on and on" * 5, draw=c.request.draw) for c in g] for g in texts]
    assert values(metric, texts, context) == values(metric, longer, context), f"{metric.name} looks beyond its prefix"
    short = [[example(c.text[:15], draw=c.request.draw) for c in g] for g in texts]
    assert not any(v is not None for v in values(metric, short, context)), f"{metric.name} measures shorter texts"


CHECKS: tuple[Callable[[Metric], None], ...] = (
    check_words, check_values, check_repeatable, check_no_data, check_equal_size,
)  # fmt: skip


def check_metric(metric: Metric) -> None:
    """Run every check.

    Args:
        metric: yours.

    Raises:
        AssertionError: what it does not keep.
    """
    for check in CHECKS:
        check(metric)


def _context(groups: Sequence[Group]) -> Context:
    """What examples share, judgements included: of every third text that it is worse, as good, better."""
    said = {place(c): c.request.draw % 3 / 2 for group in groups for c in group}
    return replace(Context.of(groups), judgements=said)


def _without(need: Need) -> tuple[list[Group], Context]:
    """Examples that lack something, and their context."""
    groups = example_groups()
    if need == "token ids":
        groups = [[replace(c, token_ids=(), logprobs=()) for c in g] for g in groups]
    elif need == "log-probabilities":
        groups = [[replace(c, logprobs=()) for c in g] for g in groups]
    elif need in ("answers", "checks", "reference"):
        groups = [[replace(c, request=replace(c.request, prompt=Prompt("Why?"))) for c in g] for g in groups]
    elif need == "word vectors":
        groups = [[replace(c, text="") for c in g] for g in groups]
    elif need == "several draws":
        return [g[:1] for g in groups], Context.of(groups)
    elif need == "judgements":
        return groups, Context.of(groups)
    else:
        assert need == "other prompts", f"{need!r} is no need that a metric can have"
        groups = groups[:1]
    return groups, Context.of(groups)
