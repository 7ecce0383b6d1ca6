"""Curves: a metric along a dial, with a band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.bands import simultaneous
from poise.errors import MetricError, UsageError
from poise.metrics import find_metrics
from poise.metrics.context import Context
from poise.metrics.metric import CompletionMetric, Metric
from poise.metrics.units import Scope
from poise.params import PARAMETERS
from poise.pieces import Dial, check_place, merged
from poise.records import Completion, Prompt
from poise.scores import continuation, score
from poise.sessions import Engine
from poise.spans import Span, closed
from poise.stats import Bounds, mean_interval
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


class Average(NamedTuple):
    """A curve's mean over the range, each value of the parameter weighing the same.

    Args:
        mean: over the known range; None where nothing is known.
        low, high: its 95 % interval; None where there can be none.
        note: why there is none; empty where there is one.
    """

    mean: float | None
    low: float | None
    high: float | None
    note: str = ""


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
        overall: the mean over the whole known range; of `loop_rate` it is the share of the range in loops.
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
    overall: Average
    basis: str = ""

    def at(self, value: float) -> Step:
        """The step that a value lies in; UsageError outside the range."""
        place = check_place(value, self.parameter, self.low, self.high)
        return next(step for step in self.steps if step.span.holds(place))

    @property
    def known_share(self) -> float:
        """Share of the range with a value."""
        whole = PARAMETERS[self.parameter].kind == "int"
        known = sum(s.span.extent(whole) for s in self.steps if s.mean is not None)
        return known / closed(self.low, self.high).extent(whole)

    def stays_below(self, level: float) -> tuple[float | None, float | None, float | None]:
        """From which value on the curve stays at or below a level, up to the end of the range.

        Args:
            level: in the metric's unit.

        Returns:
            That value, and the ends of the values that the band cannot tell from it: from where the band's low end
            stays below, and from where its high end does. None where it never does, or without a band.
        """
        _check_levels(level, level)
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
        """Where the curve leaves a range of values; with differences to a human text, above 0 is less likely than that.

        Args:
            low, high: the range of values.

        Returns:
            Stretches, each "inside" or "outside" where the band shows it, else "cannot tell".
        """
        _check_levels(low, high)
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
        whole = f"mean over the range: {figure(self.overall.mean)} {interval(*self.overall[1:3])}".rstrip()
        notes = [
            n for n in (whole, self.basis, self.note, f"{left:,} narrower steps are left out" if left else "") if n
        ]
        title = (
            f"{self.metric} ({self.unit}) along {self.parameter}: {self.n_prompts:,} prompts, {self.n_draws:,} dials"
        )
        return Table(title, (self.parameter, " mean", " 95 % band"), rows, notes)

    def __str__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        return self.table().html()


def curve(dials: Sequence[Dial], metric: str | Metric, *, reference: Mapping[Prompt, float] | None = None) -> Curve:
    """A metric along dials: at each value the mean over prompts of the mean over draws, with a 95 % band.

    The band holds the whole curve at once. With at least 8 prompts the prompt is the unit and it speaks of the use
    case; else the draw is, at least 8 of each prompt, and it speaks of these prompts only.

    Args:
        dials: of one parameter over one range, for example from `dial`.
        metric: a metric of single texts, or its name.
        reference: the metric's value of each prompt's human text, for example from `human_nll`; the curve is then
            of the differences to it, prompt by prompt, and prompts without one are left out.

    Returns:
        The curve.

    Raises:
        MetricError: an unknown metric, or one of whole groups of texts.
        UsageError: dials of several parameters or ranges, or none; no prompt has a reference.

    Source: `poise.bands`; docs/method.md.
    """
    _check(dials)
    [chosen] = find_metrics([metric])
    if not isinstance(chosen, CompletionMetric):
        raise MetricError(
            "A curve needs a metric of single texts", f"{chosen.name}, of all draws of a prompt",
            "distinct_texts(dials) counts how many differ; for others, sweep single values",
        )  # fmt: skip
    compared = dials if reference is None else [d for d in dials if d.prompt in reference]
    if not compared:
        raise UsageError(
            "A curve of differences needs a human text to differ from", "prompts without a reference",
            "Give the prompts of the use case a reference",
        )  # fmt: skip
    shown, spans, values = _read(compared, chosen)
    if reference is None:
        most = float(dials[0].request.max_tokens) if chosen.unit == "tokens" and chosen.high is None else chosen.high
        return _averaged(compared, shown, spans, values, Bounds(chosen.low, most))
    values -= np.array([[reference[d.prompt]] for d in compared])
    return _averaged(compared, shown._replace(name=f"{chosen.name} - reference"), spans, values, Bounds())


def human_nll(engine: Engine, dials: Sequence[Dial]) -> dict[Prompt, float]:
    """How surprising the model finds the human texts of the dials' prompts: what `curve` takes off.

    Args:
        engine: that drew the dials.
        dials: some of whose prompts have a reference text.

    Returns:
        Mean of -ln p per token of each reference, nats/token, over as many tokens as the dials' texts may have;
        prompts without one are left out.

    Raises:
        ModelError, PromptError: see `score`.
    """
    limits = {d.prompt: d.request.max_tokens for d in dials if d.prompt.reference}
    scored = {p: score(engine, p, continuation(p)).logprobs[:n] for p, n in limits.items()}
    return {p: -float(np.mean(chances)) for p, chances in scored.items()}


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
    widths = _extents(dials, [s.span for s in steps])
    there = np.array([s.mean is not None for s in steps])
    mean = _mean_over(np.array([[s.mean or 0.0 for s in steps]]), widths, there)
    overall = Average(None if mean is None else float(mean[0]), None, None, note)
    return _curve(dials, _Shown("distinct_texts", "texts"), steps, "prompt", overall)


class _Shown(NamedTuple):
    """What a curve says of its values."""

    name: str
    unit: str
    basis: str = ""


def _read(dials: Sequence[Dial], metric: CompletionMetric) -> tuple[_Shown, list[Span], Floats]:
    """The metric of every dial, (dials, m), on the stretches where none changes; NaN where there is no value."""
    stretches = merged(dials)
    context = Context.of([[p.completion for p in d.pieces if p.completion is not None] for d in dials])
    values = np.full((len(dials), len(stretches)), np.nan)
    known: dict[int, float] = {}
    for j, (_, pieces) in enumerate(stretches):
        for i, piece in enumerate(pieces):
            if piece.completion is not None:
                if id(piece) not in known:
                    known[id(piece)] = _value(metric, piece.completion, context)
                values[i, j] = known[id(piece)]
    return _Shown(metric.name, metric.unit, _basis(metric, context)), [span for span, _ in stretches], values


def _averaged(dials: Sequence[Dial], shown: _Shown, spans: list[Span], values: Floats, bounds: Bounds) -> Curve:
    """The curve of values (dials, m), its band and its mean over the range."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, d in enumerate(dials):
        groups.setdefault(d.request.prompt_ids, []).append(i)
    whole: NDArray[np.bool_] = np.logical_not(np.isnan(values).any(axis=0))
    means = np.array([values[rows].mean(axis=0) for rows in groups.values()])  # (prompts, m)
    scope: Scope = "use_case" if len(groups) >= ENOUGH else "prompt"
    strata = [means] if scope == "use_case" else [values[rows] for rows in groups.values()]
    low, high = np.full(len(spans), np.nan), np.full(len(spans), np.nan)
    widths = _extents(dials, spans)
    each = [_mean_over(s, widths, whole) for s in strata]
    found = [x for x in each if x is not None]
    mean = float(np.mean([x.mean() for x in found])) if found else None
    if min(map(len, strata)) < ENOUGH:
        overall = Average(
            mean, None, None, f"No band: it takes {ENOUGH} prompts, or {ENOUGH} draws of each; add --draws {ENOUGH}"
        )
    elif not found:
        overall = Average(None, None, None, "No value: at no stretch is every text known")
    else:
        low[whole], high[whole] = simultaneous([s[:, whole] for s in strata], (bounds.low, bounds.high))
        overall = Average(mean, *mean_interval(found, bounds))
    columns = [[None if np.isnan(v) else float(v) for v in x] for x in (means.mean(axis=0), low, high)]
    steps = [Step(span, *row) for span, *row in zip(spans, *columns, strict=True)]
    return _curve(dials, shown, steps, scope, overall)


def _extents(dials: Sequence[Dial], spans: Sequence[Span]) -> Floats:
    """How much of the range each stretch is, (m,): its length, or how many whole numbers."""
    whole = PARAMETERS[dials[0].parameter].kind == "int"
    return np.array([span.extent(whole) for span in spans])


def _mean_over(values: Floats, widths: Floats, whole: NDArray[np.bool_]) -> Floats | None:
    """Means over the known part of the range, (n,) of (n, m); None where nothing is known."""
    width = float(widths[whole].sum())
    return values[:, whole] @ widths[whole] / width if width else None


def _curve(dials: Sequence[Dial], shown: _Shown, steps: list[Step], scope: Scope, overall: Average) -> Curve:
    joined: list[Step] = []
    for step in steps:
        if joined and joined[-1][1:] == step[1:]:
            joined[-1] = step._replace(span=Span(joined[-1].span.low, step.span.high))
        else:
            joined.append(step)
    first = dials[0]
    without = overall.note if all(s.low is None for s in steps) else ""
    return Curve(
        metric=shown.name, unit=shown.unit, parameter=first.parameter, low=first.low, high=first.high,
        steps=tuple(joined), n_prompts=len({d.request.prompt_ids for d in dials}), n_draws=len(dials), scope=scope,
        note=without, overall=overall, basis=shown.basis,
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
    if isinstance(dials, Dial):
        raise UsageError(
            "A curve averages dials", repr(dials), "Give a list of them: [dial], or what poise.dial returns"
        )
    if not dials or not all(isinstance(d, Dial) for d in dials):
        raise UsageError("A curve needs dials", repr(dials), "poise.dial(...) makes them")
    if len({(d.parameter, d.low, d.high) for d in dials}) > 1:
        kinds = {f"{d.parameter} over [{d.low:g}, {d.high:g}]" for d in dials}
        raise UsageError("Dials of one curve move one parameter over one range", "; ".join(sorted(kinds)), "Choose one")
    requests = [d.request for d in dials]
    laws = {(r.params, r.max_tokens, r.min_tokens, r.stop) for r in requests}
    if len(laws) > 1:
        kinds = {f"{r.params.label} with max_tokens={r.max_tokens}, min_tokens={r.min_tokens}" for r in requests}
        raise UsageError(
            "Dials of one curve have the same other settings and limits", "; ".join(sorted(kinds)), "Choose"
        )
    if len({(r.prompt_ids, r.seed, r.draw) for r in requests}) < len(requests):
        raise UsageError("Each draw of a prompt counts once in a curve", "some of them twice", "Leave the copies out")


def _check_levels(low: object, high: object) -> None:
    for level in (low, high):
        if isinstance(level, bool) or not isinstance(level, Real) or math.isnan(level):
            raise UsageError("A level is a number in the metric's unit", repr(level), "For example 0.05")
    if low > high:  # type: ignore[operator]
        raise UsageError("A range of values goes from low to high", f"{low!r} to {high!r}", "Swap them")
