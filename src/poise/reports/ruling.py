"""A verdict on the page: sentences, their evidence, texts of both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poise.errors import UsageError
from poise.goals import Goal
from poise.records import Prompt, Trial
from poise.reports.charts import PAGE, Spec
from poise.reports.excerpts import Excerpt, choose_excerpts
from poise.reports.gaps import gap_spec, in_words, shown_in, signs_of
from poise.study import Study
from poise.verdicts import Verdict, decide
from poise.verdicts.case import goal_of
from poise.verdicts.words import headline, sentences, table

NO_GOAL = "No goal was given, so nothing is decided here."
SIDE = 1200  # characters of a text beside a verdict; the whole of it stands below
MAX_CONTENDERS = 60  # in the table


@dataclass(frozen=True, slots=True)
class Gaps:
    """The chart of a verdict, as the page's charts are shown.

    Args:
        noun: what it shows; the heading of that column in the table.
        unit: what its signs mean.
        summary: the chart in words.
        spec: Vega-Lite.
        lines_hidden: settings that are in the table alone.
    """

    noun: str
    unit: str
    summary: str
    spec: Spec
    lines_hidden: int


@dataclass(frozen=True, slots=True)
class Side:
    """A text beside a verdict, and what its setting is to it."""

    role: str
    excerpt: Excerpt


@dataclass(frozen=True, slots=True)
class Sides:
    """The same draw of the same prompt under two settings.

    Args:
        prompt: what was asked.
        draw, seed: of both texts.
        pair: the setting that the verdict speaks of, and what it is compared with.
    """

    prompt: Prompt
    draw: int
    seed: int
    pair: tuple[Side, Side]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a section opens with.

    Args:
        headline: what to do, in one sentence.
        said: what stands behind it.
        goal: what was wanted.
        head: of the table of contenders.
        rows: one per contender, and whether it may be the best.
        hidden: contenders left out of the table.
        chart: of the contenders; None where none has a difference.
        sides: texts of both sides; None where there is nothing to compare.
    """

    headline: str
    said: tuple[str, ...]
    goal: str
    head: tuple[str, ...]
    rows: tuple[tuple[bool, tuple[str, ...]], ...]
    hidden: int
    chart: Gaps | None
    sides: Sides | None


def rule_on(study: Study, use_case: str, goals: Mapping[str, Goal] | None) -> tuple[Ruling | None, str]:
    """The verdict on a use case as the page shows it.

    Args:
        study: with completions.
        use_case: its name.
        goals: by use case; None for those that the study keeps.

    Returns:
        The verdict, or None and why there is none.

    Raises:
        UsageError: a goal that was given and cannot be decided on; one that the study keeps is only said to be so.
    """
    goal = goal_of(study, use_case, None) if goals is None else goals.get(use_case)
    if goal is None:
        return None, NO_GOAL
    try:
        [verdict] = decide(study, use_case=use_case, goal=goal)
    except UsageError as error:
        if goals is not None:
            raise
        return None, f"No verdict: {error}"
    return _ruling(study, verdict), ""


def _ruling(study: Study, v: Verdict) -> Ruling:
    laid = table(v)
    head = (*(h.strip() for h in laid.head[:-1]), "why not")
    rows = [(c.in_set, tuple(row)) for c, row in zip(v.contenders, laid.rows, strict=True)]
    spec = gap_spec(v, PAGE)
    hidden = len([c for c in v.contenders if c.difference is not None]) - len(shown_in(v))
    chart = None if spec is None else Gaps(head[2], signs_of(v), in_words(v), spec, hidden)
    return Ruling(
        headline=headline(v), said=tuple(sentences(v)[1:]), goal=str(v.goal), head=head,
        rows=tuple(rows[:MAX_CONTENDERS]), hidden=max(0, len(rows) - MAX_CONTENDERS), chart=chart,
        sides=_sides(study, v),
    )  # fmt: skip


def _sides(study: Study, v: Verdict) -> Sides | None:
    """The first draw of the first prompt that both settings were asked: the first, never the best or the worst."""
    chosen = _speaks_of(v)
    if chosen is None:
        return None
    role, trial = chosen
    pair = [trial, v.baseline]
    drawn = (c for t in pair for c in study.completions(v.use_case, t.params, with_logprobs=False))
    for found in choose_excerpts(drawn, pair, study.prompts(v.use_case), SIDE):
        for strip in found.strips:
            if len(strip.excerpts) == len(pair):
                first, second = strip.excerpts
                return Sides(found.prompt, strip.draw, strip.seed, (Side(role, first), Side("baseline", second)))
    return None


def _speaks_of(v: Verdict) -> tuple[str, Trial] | None:
    """The setting beside the baseline: the recommended one, else the best mean, else the nearest rival."""
    if v.recommended is None:
        return None
    if v.recommended.params != v.baseline.params:
        return "recommended", v.recommended
    if v.naive is not None and v.naive.trial.params != v.baseline.params:
        return "best mean", v.naive.trial
    rivals: Sequence[Trial] = [c.trial for c in v.contenders if c.trial.params != v.baseline.params]
    return ("next best", rivals[0]) if rivals else None
