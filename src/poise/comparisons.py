"""Compare two trials of a study: paired differences, tested together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, overload

import numpy as np

from poise import served
from poise.errors import StudyError, UsageError
from poise.measurements import (
    BY_DEFINITION,
    SPEAKS_OF,
    absent_of,
    basis_of,
    bounds_of,
    by_definition,
    choose_metrics,
    left_out,
)
from poise.metrics.limits import check_matters
from poise.metrics.metric import CompletionMetric, Metric
from poise.metrics.pairing import Pairs, pair, weighted
from poise.metrics.readings import Readings, read_values
from poise.metrics.units import Scope, Units, units_of_draws, units_of_groups
from poise.params import SamplingParams
from poise.records import ParamsRecord, Trial, params_record
from poise.resampling import sign_flip
from poise.stats import (
    POWER,
    Bounds,
    Interval,
    Strata,
    difference_interval,
    effective_units,
    mean_interval,
    power,
    smallest_detectable,
    variance_ratio,
)
from poise.study import Study
from poise.tables import Footnotes, Table, figure, interval, whole_html, whole_text
from poise.trials import find_trial

LEVEL = 0.05


class ComparisonRow(TypedDict):
    """One comparison as plain data."""

    use_case: str
    metric: str
    unit: str
    a: ParamsRecord
    b: ParamsRecord
    difference: float | None
    low: float | None
    high: float | None
    n_prompts: int
    n_pairs: int
    scope: Scope
    p_value: float | None
    p_adjusted: float | None
    comparisons: int
    detected: bool
    smallest_detectable: float | None
    matters: float | None
    power: float | None
    variance_ratio: float | None
    basis: str
    note: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of two trials, paired by prompt and draw.

    Args:
        use_case: its name.
        metric, unit: what is compared, and in which unit.
        a, b: the trials.
        difference: mean of b minus mean of a over the pairs; None without pairs.
        low, high: 95 % interval of the difference; None where there can be none.
        n_prompts: prompts with pairs.
        n_pairs: pairs of texts; of prompts for metrics with one value per prompt.
        scope: ``use_case``: it speaks of prompts like these; ``prompt``: of these only.
        p_value: two-sided sign-flip test of this metric alone; None where there can be none.
        detected: whether `p_adjusted` is at most 0.05 and the interval excludes 0.
        smallest_detectable: the true difference one test would find 4 times in 5, at the spread seen.
        variance_ratio: what shared noise did to the difference's variance within prompts; below 1 it helped.
        note: why there is no interval or test; empty where there is.
        p_adjusted: p_value, adjusted for all metrics compared in this call.
        comparisons: how many metrics of this use case were tested in this call.
        basis: what texts were cut to, where the metric depends on their length.
        matters: the smallest difference that matters, of the call or of the use case's goal; None where none was said.
        power: the probability that one test of this size finds a true difference of `matters`, at the spread seen.
    """

    use_case: str
    metric: str
    unit: str
    a: Trial
    b: Trial
    difference: float | None
    low: float | None
    high: float | None
    n_prompts: int
    n_pairs: int
    scope: Scope
    p_value: float | None
    detected: bool
    smallest_detectable: float | None
    variance_ratio: float | None
    note: str
    p_adjusted: float | None = None
    comparisons: int = 0
    basis: str = ""
    matters: float | None = None
    power: float | None = None

    def row(self) -> ComparisonRow:
        """It as plain data."""
        return ComparisonRow(
            use_case=self.use_case, metric=self.metric, unit=self.unit, a=params_record(self.a.params),
            b=params_record(self.b.params), difference=self.difference, low=self.low, high=self.high,
            n_prompts=self.n_prompts, n_pairs=self.n_pairs, scope=self.scope, p_value=self.p_value,
            p_adjusted=self.p_adjusted, comparisons=self.comparisons, detected=self.detected,
            smallest_detectable=self.smallest_detectable, matters=self.matters, power=self.power,
            variance_ratio=self.variance_ratio, basis=self.basis, note=self.note,
        )  # fmt: skip


class Comparisons(Sequence[Comparison]):
    """Comparisons by use case and metric; print them, or let a notebook show them.

    Args:
        found: the comparisons.
        notes: what to know before trusting them: texts that are missing, use cases that could not be compared.
    """

    def __init__(self, found: Iterable[Comparison], notes: Iterable[str] = ()) -> None:
        self._found, self.notes = tuple(found), tuple(notes)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Comparison: ...
    @overload
    def __getitem__(self, index: slice) -> Comparisons: ...
    def __getitem__(self, index: int | slice) -> Comparison | Comparisons:
        return self._found[index] if isinstance(index, int) else Comparisons(self._found[index], self.notes)

    def rows(self) -> list[ComparisonRow]:
        """Every comparison as plain data, for JSON."""
        return [c.row() for c in self]

    def tables(self) -> list[Table]:
        """One table per use case."""
        cases = itertools.groupby(self, lambda c: c.use_case)
        return [_table(name, list(found)) for name, found in cases]

    def __str__(self) -> str:
        return whole_text(self.notes, self.tables())

    def __repr__(self) -> str:
        return f"<{len(self)} comparisons>"

    def _repr_html_(self) -> str:
        return whole_html(self.notes, self.tables())


def compare(
    study: Study,
    a: str | SamplingParams | Trial,
    b: str | SamplingParams | Trial,
    *,
    metrics: Sequence[str | Metric] | None = None,
    use_case: str | None = None,
    matters: float | None = None,
) -> Comparisons:
    """Compare two trials, prompt by prompt and draw by draw: is the difference really there?

    Texts of the same prompt, seed and draw are a pair. With at least 8 prompts the prompt is the unit and the result
    speaks of the use case; with fewer the pair is, at least 8 of each prompt, and it speaks of these prompts only. All
    metrics of a call are tested together.

    Args:
        study: with completions of both.
        a, b: a trial as its settings are written (``temperature=0.3``), a name (``greedy``), or settings.
        metrics: names, or metrics of your own; None for all that the prompts allow.
        use_case: one of the study's; None for all that hold both.
        matters: the smallest difference that matters, above 0, in the one unit of the metrics; None for the goal's.

    Returns:
        A Sequence that prints as a table.

    Raises:
        StudyError: no such trial or use case, or a and b are the same.
        MetricError: an unknown metric, or one that needs answers where no prompt has any.
        UsageError: `matters` is no difference, or the metrics have several units.
    """
    first, second = _two_trials(Study.given(study).trials(use_case), a, b)
    cases, notes = _held(study, study.use_cases() if use_case is None else [use_case], (first, second))
    found, notes = list[Comparison](), [*notes, *([] if metrics else left_out(study, use_case))]
    for case in cases:
        chosen = choose_metrics(study, case, metrics)
        wanted = _matters(study, case, chosen, matters)
        found += _compare(read_values(study, case, chosen, (first, second)), chosen, wanted, first, second)
    if not found:
        raise StudyError("Two trials are compared within a use case", "; ".join(notes), "`poise sweep` draws both")
    return _noted(study, found, (first, second), [*study.caveats(use_case), *notes])


def _noted(study: Study, found: Sequence[Comparison], trials: Sequence[Trial], notes: Sequence[str]) -> Comparisons:
    """Where a server drew by itself, nothing can be said of shared noise."""
    if not study.fingerprint.served:
        return Comparisons(found, notes)
    said = served.notes(study, [t.params for t in trials])
    return Comparisons([replace(c, variance_ratio=None) for c in found], [*notes, *said])


def _two_trials(
    known: Sequence[Trial], a: str | SamplingParams | Trial, b: str | SamplingParams | Trial
) -> tuple[Trial, Trial]:
    first, second = find_trial(known, a), find_trial(known, b)
    if first.params == second.params:
        raise StudyError("Two different trials are compared", f"{first.label} twice", "Name another one")
    return first, second


def _held(study: Study, use_cases: Sequence[str], trials: Sequence[Trial]) -> tuple[list[str], list[str]]:
    """The use cases that were drawn under all of the trials, and what the others lack."""
    cases, notes = [], []
    for case in use_cases:
        held = {t.params for t in study.trials(case)}
        lacking = [t.label for t in trials if t.params not in held]
        if lacking:
            notes.append(f"{case}: nothing was drawn under {' and '.join(lacking)}")
        else:
            cases.append(case)
    return cases, notes


def _matters(study: Study, use_case: str, metrics: Sequence[Metric], said: float | None) -> dict[str, float]:
    """The smallest difference that matters, by metric: the one given, else the goal's where it is one of means."""
    if said is None:
        goal = study.goal(use_case)
        if goal is None or goal.matters is None or goal.aim.sense == "hold":
            return {}
        return {goal.aim.metric: goal.matters}
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < float("inf"):
        raise UsageError("matters is a difference in the metrics' unit, above 0", repr(said), "For example 0.02")
    units = list(dict.fromkeys(m.unit for m in metrics))
    if len(units) > 1:
        raise UsageError(
            "A difference that matters is in one unit", f"metrics in {', '.join(units)}", "Name one metric with it"
        )
    for metric in metrics:
        check_matters(metric, float(said))
    return {m.name: float(said) for m in metrics}


def _compare(
    readings: Readings, metrics: Sequence[Metric], matters: Mapping[str, float], a: Trial, b: Trial
) -> list[Comparison]:
    """Every metric of one use case; then all tests of one scope together."""
    drafts: list[Comparison] = []
    tested: dict[Scope, list[tuple[int, dict[tuple[int, int], float]]]] = {}
    for place, metric in enumerate(metrics):
        pairs = pair(readings, metric, a, b)
        draft, units = _draft(readings, metric, pairs, a, b)
        drafts.append(_with_power(draft, pairs, units, matters.get(metric.name)))
        if units is not None:
            tested.setdefault(units.scope, []).append((place, weighted(pairs, units)))
    total = sum(len(columns) for columns in tested.values())
    for columns in tested.values():
        keys = {key: i for i, key in enumerate(dict.fromkeys(k for _, column in columns for k in column))}
        matrix = np.zeros((len(keys), len(columns)))
        for j, (_, column) in enumerate(columns):
            matrix[[keys[k] for k in column], j] = list(column.values())
        alone, adjusted = sign_flip(matrix)
        for (place, _), p, joint in zip(columns, alone, adjusted, strict=True):
            # Metrics of two scopes cannot be flipped together: each family pays for the other's being there.
            drafts[place] = _judged(drafts[place], float(p), min(1.0, float(joint) * len(tested)), total)
    return drafts


def _judged(draft: Comparison, p_value: float, adjusted: float, total: int) -> Comparison:
    clear = draft.low is not None and draft.high is not None and (draft.low > 0 or draft.high < 0)
    return replace(draft, p_value=p_value, p_adjusted=adjusted, comparisons=total, detected=clear and adjusted <= LEVEL)


def _with_power(draft: Comparison, pairs: Pairs, units: Units | None, matters: float | None) -> Comparison:
    """How likely a difference that matters would have been found; nothing where none was said."""
    if matters is None or units is None:
        return replace(draft, matters=matters)
    apart = [y - x for x, y in zip(units.strata(pairs.a), units.strata(pairs.b), strict=True)]
    return replace(draft, matters=matters, power=power(apart, matters, Interval(draft.low, draft.high)))


def _absent(readings: Readings, metric: Metric, trials: Sequence[Trial]) -> str:
    """Why there is no pair."""
    asked = {trial.params for trial in trials}
    nameless = (i for i in readings.unnamed if readings.trials[i].params in asked)
    return next((absent_of(metric, readings, i) for i in nameless), metric.absent)


def _draft(readings: Readings, metric: Metric, pairs: Pairs, a: Trial, b: Trial) -> tuple[Comparison, Units | None]:
    """A comparison without its test, and the units of the test; None where there can be none."""
    empty = Comparison(
        use_case=readings.use_case, metric=metric.name, unit=metric.unit, a=a, b=b, difference=None, low=None,
        high=None, n_prompts=0, n_pairs=0, scope="prompt", p_value=None, detected=False, smallest_detectable=None,
        variance_ratio=None, note=f"no pair has values on both sides: {_absent(readings, metric, (a, b))}",
        basis=basis_of(metric, readings),
    )  # fmt: skip
    if not len(pairs.a):
        return empty, None
    per_text, greedy = isinstance(metric, CompletionMetric), [t.params.greedy and not metric.relative for t in (a, b)]
    units = units_of_draws(pairs.prompt, alike=all(greedy)) if per_text else units_of_groups(pairs.prompt)
    of_a, of_b = units.strata(pairs.a), units.strata(pairs.b)
    apart = [y - x for x, y in zip(of_a, of_b, strict=True)]
    by_prompt = [[values[m] for m in units.members] for values in (pairs.a, pairs.b)]
    lacking = BY_DEFINITION if by_definition(metric) and all(greedy) else units.lacking
    measured = replace(
        empty, difference=float(np.mean([s.mean() for s in apart])), n_prompts=units.prompts, n_pairs=len(pairs.a),
        scope=units.scope, note=lacking,
        variance_ratio=variance_ratio(*by_prompt) if per_text and not any(greedy) else None,
    )  # fmt: skip
    if lacking:
        return measured, None
    behind = len(pairs.a) if units.scope == "use_case" else effective_units(of_a)
    sure = [g and (units.scope == "prompt" or by_definition(metric)) for g in greedy]
    found = _interval(of_a, of_b, bounds_of(metric, readings, behind), sure)
    least = smallest_detectable(apart, found)
    return replace(measured, low=found.low, high=found.high, note=found.note, smallest_detectable=least), units


def _interval(a: Strata, b: Strata, bounds: Bounds, sure: Sequence[bool]) -> Interval:
    """Of b - a; an arm that is `sure`, without any randomness, contributes its value and no doubt."""
    if not any(sure):
        return difference_interval(a, b, bounds)
    known, free = (a, b) if sure[0] else (b, a)
    at, found = float(np.mean([s.mean() for s in known])), mean_interval(free, bounds)
    if found.low is None or found.high is None:
        return found
    low, high = found.low - at, found.high - at
    return Interval(low, high) if sure[0] else Interval(-high, -low)


def _table(name: str, found: Sequence[Comparison]) -> Table:
    powers = [c.power for c in found] if any(c.matters is not None for c in found) else []
    head = (
        "metric", " B - A", " 95 % interval", "unit", " p", " p adjusted", "detected", " smallest detectable",
        *([" power"] if powers else []), " pairs", " prompts", "",
    )  # fmt: skip
    marks = Footnotes()
    rows = [
        [
            c.metric, figure(c.difference, sign=True), interval(c.low, c.high, sign=True), c.unit, figure(c.p_value),
            figure(c.p_adjusted), "-" if c.p_value is None else "yes" if c.detected else "no",
            figure(c.smallest_detectable), *(["-" if c.power is None else _percent(c.power)] if powers else []),
            f"{c.n_pairs:,}", f"{c.n_prompts:,}", "".join(marks.mark(text) for text in (c.basis, c.note)),
        ]
        for c in found
    ]  # fmt: skip
    speaks = "; ".join(SPEAKS_OF[s] for s in dict.fromkeys(c.scope for c in found if c.p_value is not None))
    title = f"use case {name}, A: {found[0].a.label}, B: {found[0].b.label}" + (f"; {speaks}" if speaks else "")
    return Table(title, head, rows, [*marks.lines(), *_said(found)])


def _said(found: Sequence[Comparison]) -> list[str]:
    """What holds for a table as a whole."""
    ratios = [c.variance_ratio for c in found if c.variance_ratio is not None]
    tested, said = max(c.comparisons for c in found), []
    if tested:
        adjusted = f"p, adjusted for the {tested} metrics tested here," if tested > 1 else "p"
        said.append(f"Detected: {adjusted} is at most {LEVEL}, and the interval excludes 0.")
    if sizes := {(c.metric, c.matters, c.unit): None for c in found if c.power is not None and c.matters is not None}:
        size = " or ".join(f"{matters:g} {unit} of {metric}" for metric, matters, unit in sizes)
        said.append(
            f"Power: how likely one test of this size, at the spread seen, finds a true difference of {size}. "
            f"Where it is below {POWER:.0%}, to have found nothing says little."
        )
    if ratios:
        around = " to ".join(dict.fromkeys(f"{r:.2f}" for r in (min(ratios), max(ratios))))
        said.append(
            f"Shared noise: the variance of a difference within a prompt was {around} times that of unrelated draws."
        )
    return said


def _percent(share: float) -> str:
    """A probability; one that is not certain is not shown as certain."""
    return "> 99%" if share > 0.99 else f"{share:.0%}"
