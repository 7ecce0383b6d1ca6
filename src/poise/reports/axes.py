"""Which parameters a study varied, and where each trial stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from poise.params import PARAMETERS, Number, SamplingParams
from poise.records import Trial

Values = tuple[Number | None, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """The parameter along which a chart runs.

    Args:
        parameter: a key of `PARAMETERS`; empty where nothing varies and trials stand side by side.
        others: the other varied parameters, one line per combination of them.
        values: of `parameter`, ascending; None (off, with no neutral number) comes last.
        held: what every trial on the curve has in common, as (name, value) pairs.
        lines: the combinations of `others` that were swept, one line each.
        rest: what else the swept settings say, that is no number.
    """

    parameter: str = ""
    others: tuple[str, ...] = ()
    values: Values = ()
    held: tuple[tuple[str, Number | None], ...] = ()
    lines: frozenset[Values] = frozenset()
    rest: frozenset[str] = frozenset()

    @property
    def varied(self) -> tuple[str, ...]:
        """Every varied parameter, the axis first."""
        return (self.parameter, *self.others) if self.parameter else ()

    @property
    def numeric(self) -> bool:
        """Whether positions are numbers; "off" is no number."""
        return bool(self.parameter) and None not in self.values

    def holds(self, trial: Trial) -> bool:
        """Whether a trial lies on a line: it differs from those swept in nothing but the axis."""
        if not self.parameter:
            return True
        alike = all(value_of(trial.params, n) == v for n, v in self.held)
        return alike and self.line(trial) in self.lines and _rest(trial) in self.rest

    def line(self, trial: Trial) -> Values:
        """A trial's values of the other varied parameters."""
        return tuple(value_of(trial.params, n) for n in self.others)

    def position(self, trial: Trial) -> Number | None:
        """Where on the axis a trial stands; None is off."""
        return value_of(trial.params, self.parameter)

    def series(self, trial: Trial) -> str:
        """The line a trial belongs to: the other varied parameters, as users write them."""
        return ", ".join(written(n, v) for n, v in zip(self.others, self.line(trial), strict=True))


@dataclass(frozen=True, slots=True)
class Contrast:
    """The two ends of one varied parameter, everything else held still.

    Args:
        parameter: what differs.
        low, high: the trials with its lowest and highest value.
        held: the other varied parameters, as users write them; empty where there are none.
    """

    parameter: str
    low: Trial
    high: Trial
    held: str


def value_of(params: SamplingParams, name: str) -> Number | None:
    """A parameter's value, its neutral value where it is off and has one.

    >>> value_of(SamplingParams(), "temperature"), value_of(SamplingParams(), "top_k")
    (1.0, None)
    """
    value: Number | None = getattr(params, name)
    return PARAMETERS[name].neutral if value is None else value


def written(name: str, value: Number | None) -> str:
    """One setting as users write it.

    >>> written("top_p", 0.9), written("top_k", None)
    ('top_p=0.9', 'top_k=off')
    """
    return f"{name}={'off' if value is None else f'{value:g}'}"


def find_axis(trials: Sequence[Trial]) -> Axis:
    """Find what a study varied.

    The trials without a name were swept. A baseline joins the curve where it differs from them
    in nothing but what was varied: greedy is the temperature curve's end at 0. A single swept
    setting is compared with the baselines that differ from it in one parameter.

    Args:
        trials: of one use case.

    Returns:
        The axis; its parameter is the one with the most values.
    """
    swept = [t for t in trials if not t.names] or list(trials)
    if len(swept) == 1:
        swept += [t for t in trials if len(_differences(t, swept[0])) == 1]
    spread = {n: _ordered(value_of(t.params, n) for t in swept) for n in PARAMETERS}
    varied = [n for n in PARAMETERS if len(spread[n]) > 1]
    if not varied:
        return Axis()
    parameter = max(varied, key=lambda n: len(spread[n]))
    held = tuple((n, spread[n][0]) for n in PARAMETERS if n not in varied)
    axis = Axis(parameter, tuple(n for n in varied if n != parameter), held=held)
    axis = replace(axis, lines=frozenset(axis.line(t) for t in swept), rest=frozenset(map(_rest, swept)))
    return replace(axis, values=_ordered(axis.position(t) for t in trials if axis.holds(t)))


def contrasts(trials: Sequence[Trial], axis: Axis) -> list[Contrast]:
    """The two ends of each varied parameter, the others at neutral or else at their lowest value.

    Args:
        trials: of one use case.
        axis: what `find_axis` found.

    Returns:
        One contrast per varied parameter for which both ends were drawn.
    """
    on_curve = [t for t in trials if axis.holds(t)]
    swept = [t for t in on_curve if not t.names]
    found = []
    for name in axis.varied:
        others = [n for n in axis.varied if n != name]
        # Greedy ignores every other parameter, so it is an end of the curve only where nothing else was drawn.
        for pool in (swept, on_curve):
            home = {n: _home(n, pool) for n in others}
            line = [t for t in pool if all(value_of(t.params, n) == home[n] for n in others)]
            ends = _ordered(value_of(t.params, name) for t in line)
            if len(ends) > 1:
                at = {value_of(t.params, name): t for t in line}
                held = ", ".join(written(n, home[n]) for n in others)
                found.append(Contrast(name, at[ends[0]], at[ends[-1]], held))
                break
    return found


def in_order(trials: Sequence[Trial], axis: Axis) -> list[Trial]:
    """Trials as a page lists them: along the curve, line by line, then the baselines beside it."""

    def rank(trial: Trial) -> tuple[bool, list[tuple[bool, Number]], str]:
        places = [value_of(trial.params, n) for n in (*axis.others, axis.parameter) if n]
        return not axis.holds(trial), [(v is None, v or 0) for v in places], trial.label

    return sorted(trials, key=rank)


def _rest(trial: Trial) -> str:
    return repr(trial.params.lists())


def _home(name: str, trials: Sequence[Trial]) -> Number | None:
    values = _ordered(value_of(t.params, name) for t in trials)
    neutral = PARAMETERS[name].neutral
    return neutral if neutral in values or not values else values[0]


def _ordered(values: Iterable[Number | None]) -> Values:
    distinct = set(values)
    return tuple(sorted(distinct, key=lambda v: (v is None, v or 0)))


def _differences(a: Trial, b: Trial) -> list[str]:
    return [n for n in PARAMETERS if value_of(a.params, n) != value_of(b.params, n)]
