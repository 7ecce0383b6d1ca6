"""Measure a study: mean and interval per trial, use case, metric."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict, overload

import numpy as np

from poise.metrics import METRICS, find_metrics
from poise.metrics.checked import refuse_strangers, strangers
from poise.metrics.judged import read_panel
from poise.metrics.metric import CompletionMetric, GroupMetric, Metric
from poise.metrics.needs import check_needs, unmet_needs
from poise.metrics.readings import Readings, read_values
from poise.metrics.units import Scope, Units, units_of_draws, units_of_groups
from poise.records import ParamsRecord, Trial, params_record
from poise.stats import Bounds, Interval, effective_units, mean_interval
from poise.study import Study
from poise.tables import Footnotes, Table, figure, interval, whole_html, whole_text

SPEAKS_OF = {
    "use_case": "intervals speak of prompts like these",
    "prompt": "intervals are for these prompts only",
}
_CHOICES = "of more, the mean over all choices: each counts"
BY_DEFINITION = "greedy draws the same text every time: this value is so by definition"


class MeasurementRow(TypedDict):
    """One measurement as plain data."""

    use_case: str
    params: ParamsRecord
    trial: str
    names: list[str]
    metric: str
    unit: str
    n: int
    n_prompts: int
    scope: Scope
    mean: float | None
    low: float | None
    high: float | None
    basis: str
    note: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one trial of one use case.

    Args:
        use_case: its name.
        trial: the settings.
        metric: name of the metric.
        unit: of mean, low and high.
        n: completions with a value; of a metric of whole prompts, those that its value is made of.
        n_prompts: prompts with a value.
        scope: ``use_case``: the interval speaks of prompts like these; ``prompt``: of these only.
        mean: mean of the prompts' means; None without data.
        low, high: 95 % interval; None where there can be none.
        note: why there is no interval or no value; empty where there is.
        basis: what texts were cut to, where the metric depends on their length.
    """

    use_case: str
    trial: Trial
    metric: str
    unit: str
    n: int
    n_prompts: int
    scope: Scope
    mean: float | None
    low: float | None
    high: float | None
    note: str
    basis: str = ""

    def row(self) -> MeasurementRow:
        """It as plain data."""
        return MeasurementRow(
            use_case=self.use_case, params=params_record(self.trial.params), trial=self.trial.label,
            names=list(self.trial.names), metric=self.metric, unit=self.unit, n=self.n, n_prompts=self.n_prompts,
            scope=self.scope, mean=self.mean, low=self.low, high=self.high, basis=self.basis, note=self.note,
        )  # fmt: skip


class Measurements(Sequence[Measurement]):
    """Measurements by use case, metric and trial; print them, or let a notebook show them.

    Args:
        found: the measurements.
        notes: what to know before trusting them: texts that are missing, or left out.
    """

    def __init__(self, found: Iterable[Measurement], notes: Iterable[str] = ()) -> None:
        self._found, self.notes = tuple(found), tuple(notes)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Measurement: ...
    @overload
    def __getitem__(self, index: slice) -> Measurements: ...
    def __getitem__(self, index: int | slice) -> Measurement | Measurements:
        return self._found[index] if isinstance(index, int) else Measurements(self._found[index], self.notes)

    def rows(self) -> list[MeasurementRow]:
        """Every measurement as plain data, for JSON."""
        return [m.row() for m in self]

    def tables(self) -> list[Table]:
        """One table per use case."""
        cases = itertools.groupby(self, lambda m: m.use_case)
        return [_table(name, list(found)) for name, found in cases]

    def __str__(self) -> str:
        return whole_text(self.notes, self.tables()) or "Nothing was measured: the study holds no completions."

    def __repr__(self) -> str:
        return f"<{len(self)} measurements>"

    def _repr_html_(self) -> str:
        return whole_html(self.notes, self.tables()) or f"<p>{self}</p>"


def measure(
    study: Study, *, metrics: Sequence[str | Metric] | None = None, use_case: str | None = None
) -> Measurements:
    """Put numbers on a study: every metric of every trial, with 95 % intervals.

    With at least 8 prompts the prompt is the unit and intervals speak of the use case; with fewer the draw
    is the unit, at least 8 of each prompt, and intervals are for these prompts only. Metrics that depend on
    length look at equal prefixes of all texts.

    Args:
        study: with completions.
        metrics: names, or metrics of your own; None for all that the prompts allow.
        use_case: one of the study's; None for all.

    Returns:
        Measurements, a Sequence that prints as a table.

    Raises:
        MetricError: an unknown metric, or one that needs answers where no prompt has any.
        StudyError: no such use case.
        UsageError: no study.

    Source: means and intervals: see `poise.stats`.
    """
    Study.given(study)
    found: list[Measurement] = []
    for case in study.use_cases() if use_case is None else [use_case]:
        readings = read_values(study, case, chosen := choose_metrics(study, case, metrics))
        for metric, (index, trial) in itertools.product(chosen, enumerate(readings.trials)):
            found.append(_measure(readings, metric, index, trial))
    return Measurements(found, [*study.caveats(use_case), *(left_out(study, use_case) if metrics is None else [])])


def choose_metrics(study: Study, use_case: str, asked: Sequence[str | Metric] | None) -> list[Metric]:
    """The metrics that are asked for, or all that make sense for a use case.

    Args:
        study: with completions.
        use_case: one of its use cases.
        asked: names or metrics; None for all but those that need answers, checks, a reference or judgements where
            there are none, and those that are measured only when asked, unless the use case's goal names them.

    Returns:
        The metrics.

    Raises:
        MetricError: an unknown metric, or one that needs what no prompt has; a check's callable that was not allowed.
        StudyError: no such use case.
    """
    prompts, judged = study.prompts(use_case), read_panel(study, use_case) is not None
    if asked is None:
        goal, unmet = study.goal(use_case), {*unmet_needs(prompts, judged=judged)}
        named = () if goal is None else goal.metrics
        wanted = [m for m in METRICS.values() if not m.when_asked or m.name in named]
        if not any("checks" in METRICS[n].needs for n in named) and strangers(prompts):
            unmet.add("checks")  # `left_out` says so
        chosen = [m for m in wanted if not unmet & {*m.needs}]
    else:
        chosen = find_metrics(asked)
        check_needs(chosen, use_case, prompts, judged=judged)
    if any("checks" in m.needs for m in chosen):
        refuse_strangers(prompts)
    return chosen


def left_out(study: Study, use_case: str | None = None) -> list[str]:
    """What a measurement of everything leaves out, a note each: checks by callables that were not allowed.

    Args:
        study: with completions.
        use_case: one of its use cases; None for all.

    Returns:
        Notes.
    """
    cases = study.use_cases() if use_case is None else [use_case]
    names = dict.fromkeys(name for case in cases for name in strangers(study.prompts(case)))
    return [f"passes and invalid were left out: {n} is not allowed (--allow-callable {n} runs it)" for n in names]


def bounds_of(metric: Metric, readings: Readings, trials: float) -> Bounds:
    """The range of a metric's values in a use case.

    Args:
        metric: any.
        readings: of the use case.
        trials: how many texts stand behind a mean, which counts for zeros and ones.

    Returns:
        Its bounds; a number of tokens of one text is at most max_tokens.
    """
    high = float(readings.max_tokens) if metric.unit == "tokens" and metric.high is None else metric.high
    return Bounds(metric.low, high, trials if isinstance(metric, CompletionMetric) and metric.binary else None)


def basis_of(metric: Metric, readings: Readings) -> str:
    """What texts were cut to for a metric that depends on their length; empty for the others."""
    cut = _cut(metric, readings)
    return f"{cut}; a size for these two trials alone, as one has few texts" if cut and readings.between else cut


def absent_of(metric: Metric, readings: Readings, index: int) -> str:
    """Why a trial has no value; `index` is its position."""
    if "token ids" in metric.needs and index in readings.unnamed:
        return "the texts have no token ids"
    if _cut(metric, readings) and index in readings.unheard:
        return "with fewer than half the texts of the largest trial, it had no say in the size, and does not reach it"
    return metric.absent


def _cut(metric: Metric, readings: Readings) -> str:
    sizes = readings.context.sizes
    tokens = f"first {sizes.tokens} tokens of each text; shorter texts are left out" if sizes.tokens else ""
    if metric.equal == "tokens":
        return tokens
    if metric.equal == "bytes":
        return f"first {sizes.bytes} bytes of each text; shorter texts are left out" if sizes.bytes else ""
    if metric.equal == "texts":
        return f"{sizes.texts} texts per prompt; {_CHOICES}" if sizes.texts else ""
    if metric.equal == "tokens of texts":
        return f"{sizes.long_texts} texts per prompt, {tokens}; {_CHOICES}" if sizes.long_texts else ""
    return ""


def _measure(readings: Readings, metric: Metric, index: int, trial: Trial) -> Measurement:
    rows = readings.trial == index
    if isinstance(metric, CompletionMetric):
        rows_with = np.flatnonzero(rows & ~np.isnan(readings.columns[metric.name]))
        values, prompts = readings.columns[metric.name][rows_with], readings.prompt[rows_with]
        n = len(values)
    else:
        prompts = np.flatnonzero(~np.isnan(readings.groups[metric.name][index]))
        values = readings.groups[metric.name][index][prompts]
        n = int((rows & np.isin(readings.prompt, prompts) & (readings.columns[metric.name] == 1)).sum())
    mean, units, found = None, Units("prompt", (), ""), Interval(None, None, absent_of(metric, readings, index))
    if len(values):
        alike = trial.params.greedy and not metric.relative
        units = (
            units_of_draws(prompts, alike=alike) if isinstance(metric, CompletionMetric) else units_of_groups(prompts)
        )
        strata = units.strata(values)
        mean = float(np.mean([s.mean() for s in strata]))
        trials = units.prompts if alike else n if units.scope == "use_case" else effective_units(strata)
        lacking = BY_DEFINITION if alike and by_definition(metric) else units.lacking
        found = Interval(None, None, lacking) if lacking else mean_interval(strata, bounds_of(metric, readings, trials))
    return Measurement(
        use_case=readings.use_case, trial=trial, metric=metric.name, unit=metric.unit, n=n, n_prompts=units.prompts,
        scope=units.scope, mean=mean, low=found.low, high=found.high, note=found.note,
        basis=basis_of(metric, readings),
    )  # fmt: skip


def by_definition(metric: Metric) -> bool:
    """Whether a metric compares whole draws with each other, so that equal draws decide its value."""
    return isinstance(metric, GroupMetric) and metric.equal != "tokens of texts"


def _table(name: str, found: Sequence[Measurement]) -> Table:
    head = ("metric", "settings", " mean", " 95 % interval", "unit", " n", " prompts", "")
    marks, shown = Footnotes(), ""
    rows = []
    for m in found:
        also = f" ({', '.join(m.trial.names)})" if m.trial.names else ""
        note = "".join(marks.mark(text) for text in (m.basis, m.note))
        rows.append([
            "" if m.metric == shown else m.metric, m.trial.label + also, figure(m.mean), interval(m.low, m.high),
            m.unit, f"{m.n:,}", f"{m.n_prompts:,}", note,
        ])  # fmt: skip
        shown = m.metric
    scopes = list(dict.fromkeys(m.scope for m in found if m.low is not None))
    speaks = "; ".join(SPEAKS_OF[s] for s in scopes)
    title = f"use case {name}" + (f": {speaks}" if speaks else "")
    return Table(title, head, rows, marks.lines())
