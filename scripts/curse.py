"""docs/winners-curse.md: what the best of several means promises."""

# ruff: noqa: E501  what it writes is prose

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cache

import altair as alt
import numpy as np
from scripts.simulations import ANSWERS, QUESTIONS, TEMPERATURES, TRUTHS, TUNED, Tuned, tuned

from poise.holdouts import Gain
from poise.verdicts.words import sentences

STUDIES = 100
TOLD = list(TRUTHS)[1]  # the truth of the study that is told at length: the one with the median promise
INTRO = f"""# The winner's curse

Try {TUNED} settings, print the one with the best mean, quote its gain over the default: that is what tuning usually is.
The best of {TUNED} means is chosen because it came out high, so its gain is promised too high, and the more settings are
tried, the higher. Here the truth is known, because the studies are simulated (`python -m scripts.honesty`, fixed seeds):
{QUESTIONS} questions of very different difficulty, {ANSWERS} answers each under {TUNED} temperatures, right or wrong; the
default is temperature 1. Each study goes through `poise decide`.
"""
TOLD_SAID = """
## One study

Truth: {truth}. Of the {studies} studies below it is the one whose best mean promises the median.

![Gain over the default by temperature: on the prompts that chose, on those that did not, and the truth](winners-curse.svg)

| temperature | true gain | on the {chose} prompts that chose | on the {checked} that did not |
|---|---|---|---|
{rows}

A tool that prints the best mean says: **{best}, {promised} over the default**. On the prompts that did not choose it that
gain is {delivered}; the truth is {real}. What `poise decide` says of the same study:

> {sentences}
"""
MANY_SAID = f"""
## {STUDIES} studies of each kind

Points of right answers, on average over the studies; in how many of them the 95 % intervals held the truth.
"""
NAIVE = (
    "best mean: promised", "delivered on other prompts", "its true gain", "intervals of the promise held",
    "intervals of the delivery held",
)  # fmt: skip
OURS = (
    "poise recommends another setting than the default", "there: promised", "delivered on other prompts",
    "its true gain", "simultaneous intervals of the promise held", "intervals of the delivery held",
)  # fmt: skip
END = """
The best mean's promise is luck for the most part, and other prompts take the luck back; its interval, that of one
comparison, knows nothing of the others that were tried. poise keeps the default where it cannot tell a difference from
luck. What it does recommend was found at an error shared among all pairs, its interval holds for all settings at once,
and it is measured again where it was not chosen. A difference that is only just found is still promised too high on
average, by anyone: that is why the second measurement stands beside the first.

On public data the same happens: in the answers of nine models to multiple-choice questions at 11 temperatures (Renze and
Guven 2024), tuning on 50 questions promises 4.5 points and delivers 0.85."""


def curse() -> Iterator[str]:
    """docs/winners-curse.md."""
    yield INTRO
    yield told()
    yield MANY_SAID
    columns = [many(studies_of(truth)) for truth in TRUTHS]
    yield f"| | {' | '.join(TRUTHS)} |\n|{'---|' * (1 + len(TRUTHS))}"
    for name, cells in zip([*NAIVE, *OURS], zip(*columns, strict=True), strict=True):
        yield f"| {name} | {' | '.join(cells)} |"
    yield END


@cache
def studies_of(truth: str) -> list[Tuned]:
    """The studies of one kind."""
    return [tuned(TRUTHS[truth], seed) for seed in range(STUDIES)]


def _told() -> Tuned:
    ordered = sorted(studies_of(TOLD), key=lambda s: (s.verdict.naive and s.verdict.naive.promised.difference) or 0.0)
    return ordered[STUDIES // 2]


def told() -> str:
    """One study at length."""
    found, gains = _told(), TRUTHS[TOLD]
    verdict, naive = found.verdict, found.verdict.naive
    assert naive is not None
    rows = [
        f"| {params.temperature or 1:g} | {points(gains[k])} | {points(found.chose[k])} | {points(found.checked[k])} |"
        for k, params in enumerate(TEMPERATURES)
    ]
    return TOLD_SAID.format(
        truth=TOLD, studies=STUDIES, chose=verdict.units, checked=verdict.held_out, rows="\n".join(rows), best=naive.trial.label,
        promised=points(naive.promised.difference), delivered=points(naive.delivered.difference),
        real=points(found.naive), sentences="\n> ".join(sentences(verdict)[:4]),
    )  # fmt: skip


def many(studies: Sequence[Tuned]) -> list[str]:
    """A column of the table: what was promised, delivered and true, on average."""
    naive = [(s.verdict.naive.promised, s.verdict.naive.delivered, s.naive) for s in studies if s.verdict.naive]
    ours = [(s.verdict.promised, s.verdict.delivered, s.recommended) for s in studies if s.verdict.detected]
    return [*_average(naive), f"{len(ours) / len(studies):.0%}", *_average(ours)]


def _average(said: Sequence[tuple[Gain, Gain, float]]) -> list[str]:
    if not said:
        return ["–"] * 5
    promised, delivered, truths = zip(*said, strict=True)
    means = [points(float(np.mean([g.difference for g in side]))) for side in (promised, delivered)]
    held = [
        f"{np.mean([holds(g, t) for g, t in zip(side, truths, strict=True)]):.0%}" for side in (promised, delivered)
    ]
    return [*means, points(float(np.mean(truths))), *held]


def holds(found: Gain, truth: float) -> bool:
    """Whether an interval holds the truth; one that was withheld says nothing wrong."""
    if found.low is None or found.high is None:
        return True
    return found.low - 1e-9 <= truth <= found.high + 1e-9


def points(share: float | None) -> str:
    """A difference of shares in points.

    >>> points(-0.0345)
    '−3.5'
    """
    return "–" if share is None else f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", "−")


def draw() -> str:
    """The chart of the study that is told, as SVG."""
    found, gains = _told(), TRUTHS[TOLD]
    sides = {"on the prompts that chose": found.chose, "on the others": found.checked, "truth": gains}
    data = [
        {"temperature": params.temperature or 1.0, "gain": 100 * float(side[k]), "measured": name}
        for name, side in sides.items()
        for k, params in enumerate(TEMPERATURES)
    ]
    colours = alt.Scale(domain=list(sides), range=["#b4552d", "#0b6b75", "#5f5c56"])
    dashes = alt.Scale(domain=list(sides), range=[[1, 0], [1, 0], [4, 3]])
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("temperature:Q"),
        y=alt.Y("gain:Q", title="gain over temperature 1, points"),
        color=alt.Color("measured:N", scale=colours, title=None),
        strokeDash=alt.StrokeDash("measured:N", scale=dashes, title=None),
    )
    out = io.StringIO()
    alt.layer(base.mark_line(strokeWidth=1.5), base.mark_point(filled=True, size=36)).properties(
        width=520, height=240, background="white"
    ).save(out, format="svg")
    return out.getvalue() + "\n"
