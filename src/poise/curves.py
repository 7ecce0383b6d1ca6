"""Curves: a metric along a dial, with a band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.bands import simultaneous
from poise.errors import MetricError, UsageError
from poise.metrics import find_metrics
from poise.metrics.context import Context
from poise.metrics.metric import CompletionMetric, Metric
from poise.metrics.units import Scope
from poise.pieces import Dial, merged
from poise.records import Completion
from poise.spans import Span
from poise.tables import Table, figure, interval

Floats = NDArray[np.float64]

ENOUGH = 8  # prompts, or draws of each prompt, from which on there is a band
_SHOWN = 12  # stretches that a table shows


class Step(NamedTuple):
    """A stretch on which a curve does not change.

    Args:
        span: the stretch.
        mean: mean of the prompts' means; None where a text is not known or has no value.
        low, high: of the simultaneous band; None without one.
    """

    span: Span
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric for every value of a parameter.

    Args:
        metric: its name.
        unit: of its values.
        parameter: the one that moves.
        low, high: the range.
        steps: they tile the range.
        n_prompts, n_draws: prompts, and dials in all.
        scope: ``use_case``: the band speaks of prompts like these; ``prompt``: of these only.
        note: why there is no band; empty where there is one.
        basis: what texts were cut to, where the metric depends on their length.
    """

    metric: str
    unit: str
    parameter: str
    low: float
    high: float
    steps: tuple[Step, ...]
    n_prompts: int
    n_draws: int
    scope: Scope
    note: str
    basis: str = ""

    def at(self, value: float) -> Step:
        """The step that a value lies in; UsageError outside the range."""
        for step in self.steps:
            if step.span.holds(value):
                return step
        raise UsageError(f"This curve is read in [{self.low:g}, {self.high:g}]", repr(value), "Dial a wider range")

    @property
    def known_share(self) -> float:
        """Share of the range with a value."""
        return sum(s.span.width for s in self.steps if s.mean is not None) / (self.high - self.low)

    def average(self) -> float | None:
        """Mean over the whole known range, each value of the parameter weighing the same.

        Of `loop_rate` it is the share of the range in loops.
        """
        known = [s for s in self.steps if s.mean is not None]
        width = sum(s.span.width for s in known)
        return sum(s.span.width * (s.mean or 0.0) for s in known) / width if width else None

    def stays_below(self, level: float) -> tuple[float | None, float | None, float | None]:
        """From which value on the curve stays at or below a level, up to the end of the range.

        Args:
            level: in the metric's unit.

        Returns:
            That value, and the ends of the values that the band cannot tell from it: from where the band's low end
            stays below, and from where its high end does. None where it never does, or without a band.
        """
        ends = []
        for name in ("mean", "low", "high"):
            start: float | None = None
            for step in self.steps:
                value = getattr(step, name)
                if value is None or value > level:
                    start = None
                elif start is None:
                    start = step.span.low.value
            ends.append(start)
        return ends[0], ends[1], ends[2]

    def outside(self, low: float, high: float) -> list[tuple[Span, str]]:
        """Where the curve leaves a range of values, for example the human one.

        Args:
            low, high: the range of values.

        Returns:
            Stretches, each "inside" or "outside" where the band shows it, else "cannot tell".
        """
        found: list[tuple[Span, str]] = []
        for step in self.steps:
            said = "cannot tell"
            if step.low is not None and step.high is not None:
                if low <= step.low and step.high <= high:
                    said = "inside"
                elif step.high < low or high < step.low:
                    said = "outside"
            if found and found[-1][1] == said:
                found[-1] = (Span(found[-1][0].low, step.span.high), said)
            else:
                found.append((step.span, said))
        return found

    def table(self) -> Table:
        """Its widest steps, in order."""
        widest = sorted(sorted(self.steps, key=lambda s: -s.span.width)[:_SHOWN], key=lambda s: s.span.low)
        rows = [[str(s.span), figure(s.mean), interval(s.low, s.high)] for s in widest]
        left = len(self.steps) - len(widest)
        notes = [n for n in (self.basis, self.note, f"{left:,} narrower steps are left out" if left else "") if n]
        title = (
            f"{self.metric} ({self.unit}) along {self.parameter}: {self.n_prompts:,} prompts, {self.n_draws:,} dials"
        )
        return Table(title, (self.parameter, " mean", " 95 % band"), rows, notes)

    def __str__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        return self.table().html()


def curve(dials: Sequence[Dial], metric: str | Metric) -> Curve:
    """A metric along dials: at each value the mean over prompts of the mean over draws, with a 95 % band.

    The band holds the whole curve at once. With at least 8 prompts the prompt is the unit and it speaks of the use
    case; else the draw is, at least 8 of each prompt, and it speaks of these prompts only.

    Args:
        dials: of one parameter over one range, for example from `dial`.
        metric: a metric of single texts, or its name.

    Returns:
        The curve.

    Raises:
        MetricError: an unknown metric, or one of whole groups of texts.
        UsageError: dials of several parameters or ranges, or none.

    Source: `poise.bands`; docs/method.md.
    """
    _check(dials)
    [chosen] = find_metrics([metric])
    if not isinstance(chosen, CompletionMetric):
        raise MetricError(
            "A curve needs a metric of single texts", f"{chosen.name}, of all draws of a prompt",
            "distinct_texts(dials) counts how many differ; for others, sweep single values",
        )  # fmt: skip
    stretches = merged(dials)
    context = Context.of([[p.completion for p in d.pieces if p.completion is not None] for d in dials])
    values = np.full((len(dials), len(stretches)), np.nan)
    known: dict[int, float] = {}
    for j, (_, pieces) in enumerate(stretches):
        for i, piece in enumerate(pieces):
            if piece.completion is not None:
                if id(piece) not in known:
                    known[id(piece)] = _value(chosen, piece.completion, context)
                values[i, j] = known[id(piece)]
    return _averaged(dials, chosen, [span for span, _ in stretches], values, _basis(chosen, context))


def distinct_texts(dials: Sequence[Dial]) -> Curve:
    """How many different texts the draws of a prompt give, at every value; the mean over the prompts.

    Args:
        dials: of one parameter over one range.

    Returns:
        A curve without a band: the number depends on how many draws there are.

    Raises:
        UsageError: dials of several parameters or ranges, or none.
    """
    _check(dials)
    steps = []
    names = [d.request.prompt_ids for d in dials]
    for span, pieces in merged(dials):
        texts = {(name, p.prefix) for name, p in zip(names, pieces, strict=True)}
        known = all(p.known for p in pieces)
        steps.append(Step(span, len(texts) / len({*names}) if known else None, None, None))
    note = "It grows with the number of draws, so there is no band"
    return _curve(dials, ("distinct_texts", "texts"), steps, "prompt", note)


def _averaged(dials: Sequence[Dial], metric: CompletionMetric, spans: list[Span], values: Floats, basis: str) -> Curve:
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, d in enumerate(dials):
        groups.setdefault(d.request.prompt_ids, []).append(i)
    whole = ~np.isnan(values).any(axis=0)
    means = np.array([values[rows].mean(axis=0) for rows in groups.values()])  # (prompts, m)
    mean = means.mean(axis=0)
    scope: Scope = "use_case" if len(groups) >= ENOUGH else "prompt"
    fewest = min(map(len, groups.values()))
    note, low, high = "", np.full(len(spans), np.nan), np.full(len(spans), np.nan)
    if scope == "prompt" and fewest < ENOUGH:
        note = f"No band: it takes {ENOUGH} prompts, or {ENOUGH} draws of each; add --draws {ENOUGH}"
    elif whole.any():
        strata = [means[:, whole]] if scope == "use_case" else [values[rows][:, whole] for rows in groups.values()]
        most = float(dials[0].request.max_tokens) if metric.unit == "tokens" and metric.high is None else metric.high
        low[whole], high[whole] = simultaneous(strata, (metric.low, most))
    columns = [[None if np.isnan(v) else float(v) for v in x] for x in (mean, low, high)]
    steps = [Step(span, *row) for span, *row in zip(spans, *columns, strict=True)]
    return _curve(dials, (metric.name, metric.unit), steps, scope, note, basis)


def _curve(
    dials: Sequence[Dial], named: tuple[str, str], steps: list[Step], scope: Scope, note: str, basis: str = ""
) -> Curve:
    joined: list[Step] = []
    for step in steps:
        if joined and joined[-1][1:] == step[1:]:
            joined[-1] = step._replace(span=Span(joined[-1].span.low, step.span.high))
        else:
            joined.append(step)
    first = dials[0]
    return Curve(
        metric=named[0], unit=named[1], parameter=first.parameter, low=first.low, high=first.high, steps=tuple(joined),
        n_prompts=len({d.request.prompt_ids for d in dials}), n_draws=len(dials), scope=scope, note=note, basis=basis,
    )  # fmt: skip


def _value(metric: CompletionMetric, completion: Completion, context: Context) -> float:
    found = metric.compute(completion, context)
    return np.nan if found is None else float(found)


def _basis(metric: Metric, context: Context) -> str:
    sizes = context.sizes
    if metric.equal == "tokens" and sizes.tokens:
        return f"first {sizes.tokens} tokens of each text; no value where a text is shorter"
    if metric.equal == "bytes" and sizes.bytes:
        return f"first {sizes.bytes} bytes of each text; no value where a text is shorter"
    return ""


def _check(dials: Sequence[Dial]) -> None:
    if not dials or not all(isinstance(d, Dial) for d in dials):
        raise UsageError("A curve needs dials", repr(dials), "poise.dial(...) makes them")
    if len({(d.parameter, d.low, d.high) for d in dials}) > 1:
        kinds = {f"{d.parameter} over [{d.low:g}, {d.high:g}]" for d in dials}
        raise UsageError("Dials of one curve move one parameter over one range", "; ".join(sorted(kinds)), "Choose one")
