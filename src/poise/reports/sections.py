"""One use case as a section: what was found, charts, tables, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from poise.comparisons import Comparison, compare
from poise.goals import Goal
from poise.measurements import Measurement, measure
from poise.metrics import METRICS
from poise.numerals import figure
from poise.records import Trial
from poise.reports import summary
from poise.reports.axes import Axis, Contrast, in_order
from poise.reports.charts import PAGE, Spec, kept_lines, metric_spec
from poise.reports.claims import ClaimResult, Compare, judge
from poise.reports.evidence import weigh
from poise.reports.findings import HEADLINES, Opening, noun, open_with
from poise.reports.ruling import Ruling, rule_on
from poise.reports.survey import Survey, survey
from poise.reports.tables import Grid, make_grid
from poise.study import Study


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart, and what stands around it.

    Args:
        metric: a key of `METRICS`.
        noun: what it is called.
        unit: of its values.
        meaning: what it measures, one sentence.
        summary: the chart in words, for those who do not see it.
        spec: Vega-Lite.
        lines_hidden: how many lines the chart leaves out.
    """

    metric: str
    noun: str
    unit: str
    meaning: str
    summary: str
    spec: Spec
    lines_hidden: int


@dataclass(frozen=True, slots=True)
class Section:
    """A use case on the page.

    Args:
        anchor: its place in the page, for links.
        survey: what was drawn, and the texts shown.
        title: what it is called.
        ruling: the verdict; None where there is none.
        undecided: why there is none; empty where there is one.
        nothing: said where there is no opening.
        legend: what the signs in its charts mean.
        shown: how many texts are shown, and how they were chosen.
        drawn: seeds, draws and limits.
        openings: one per varied parameter.
        headlines, others: charts of the metrics that the openings speak of, and of the rest.
        glance, rest: their tables.
        claims: the article's claims held against it; empty where its temperatures were not drawn.
    """

    anchor: str
    survey: Survey
    title: str
    ruling: Ruling | None
    undecided: str
    nothing: str
    legend: str
    shown: str
    drawn: str
    openings: tuple[Opening, ...]
    headlines: tuple[Figure, ...]
    others: tuple[Figure, ...]
    glance: Grid
    rest: Grid
    claims: tuple[ClaimResult, ...]


def make_section(study: Study, use_case: str, anchor: str, goals: Mapping[str, Goal] | None = None) -> Section:
    """Measure one use case and lay it out.

    Args:
        study: with completions.
        use_case: its name.
        anchor: its place in the page.
        goals: by use case; None for those that the study keeps.

    Returns:
        The section.

    Raises:
        UsageError: a goal that was given and cannot be decided on.
    """
    ruling, undecided = rule_on(study, use_case, goals)
    seen = survey(study, use_case)
    rows = measure(study, use_case=use_case)
    ordered = in_order(seen.trials, seen.axis)
    measured = {r.metric for r in rows if r.mean is not None}
    first = [m for m in HEADLINES if m in measured]
    later = [m for m in METRICS if m in measured and m not in first]

    def look(a: Trial, b: Trial, metrics: Sequence[str]) -> Sequence[Comparison]:
        return compare(study, a, b, metrics=metrics, use_case=use_case)

    openings = _openings(seen.contrasts if first else (), first, rows, look)
    anchors = {t.label: f"{anchor}-text-{i}" for i, t in enumerate(seen.columns)}
    drawn = first + later if len(seen.trials) > 1 else []  # one point is no chart
    figures = {m: _figure(m, rows, seen.axis, anchors) for m in drawn}
    return Section(
        anchor=anchor, survey=seen, title=summary.heading(seen), ruling=ruling, undecided=undecided,
        nothing=summary.nothing_compared(seen), legend=summary.legend(seen),
        shown=summary.shown(seen, study.fingerprint), drawn=summary.drawn(seen), openings=openings,
        headlines=tuple(figures[m] for m in first if m in figures),
        others=tuple(figures[m] for m in later if m in figures), glance=make_grid(ordered, first, rows),
        rest=make_grid(ordered, later, rows), claims=tuple(judge(use_case, seen.trials, rows, look)),
    )  # fmt: skip


def _openings(
    contrasts: Sequence[Contrast], metrics: Sequence[str], rows: Sequence[Measurement], look: Compare
) -> tuple[Opening, ...]:
    """Both ends of every varied parameter; each look corrects its metrics together, here for the number of looks."""
    looks = [look(c.low, c.high, metrics) for c in contrasts]
    made = []
    for contrast, found in zip(contrasts, looks, strict=True):
        corrected = [None if c.p_adjusted is None else min(1.0, c.p_adjusted * len(looks)) for c in found]
        made.append(open_with(contrast, weigh(found, corrected, rows)))
    return tuple(made)


def _figure(metric: str, rows: Sequence[Measurement], axis: Axis, anchors: Mapping[str, str]) -> Figure:
    mine = [r for r in rows if r.metric == metric and r.mean is not None]
    spec = metric_spec(mine, axis, PAGE, anchors)
    series = list(dict.fromkeys(axis.series(r.trial) for r in mine if axis.holds(r.trial)))
    return Figure(
        metric, noun(metric), mine[0].unit, METRICS[metric].meaning, _summary(mine, axis), spec,
        len(series) - len(kept_lines(series)),
    )  # fmt: skip


def _summary(rows: Sequence[Measurement], axis: Axis) -> str:
    ordered = sorted((r for r in rows if r.mean is not None), key=lambda r: r.mean or 0)
    low, high = ordered[0], ordered[-1]
    kind = f"Line chart along {axis.parameter}" if axis.parameter else "Dot chart by setting"
    lowest, highest = (f"{figure(r.mean, r.unit)} at {r.trial.label}" for r in (low, high))
    return f"{kind}: lowest {lowest}, highest {highest}. Every number is in the table below."
