"""Verdict: what may be concluded about the settings of a use case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict, overload

from poise.effects import Effect
from poise.goals import Constraint, Goal
from poise.holdouts import Gain
from poise.metrics.units import Scope
from poise.records import ParamsRecord, Trial, params_record

Status = Literal["better", "no difference", "undecided", "constraints", "not enough"]
KeptStatus = Literal["kept", "kept in the mean", "broken in the mean", "broken", "no data"]


class Kept(NamedTuple):
    """How one setting stands to one constraint.

    Args:
        constraint: what has to be kept.
        mean: of the metric; None without data.
        low, high: 95 % interval; None where there can be none.
        status: ``kept`` and ``broken`` where the interval says so, ``… in the mean`` where only the mean does.
    """

    constraint: Constraint
    mean: float | None
    low: float | None
    high: float | None
    status: KeptStatus

    @property
    def in_the_mean(self) -> bool:
        """Whether the mean keeps it; without data nothing is held against the setting."""
        return self.status in ("kept", "kept in the mean", "no data")


@dataclass(frozen=True, slots=True)
class Contender:
    """One setting in a verdict.

    Args:
        trial: the setting.
        mean: of the primary metric on the prompts that choose; None without values.
        units: how many of them have a value.
        difference: its value minus the baseline's; held near a target, the change of the distance from it.
        low, high: simultaneous interval over all settings; None where withheld.
        detected: whether the difference to the baseline is there.
        in_set: whether it may be the best: no setting was shown to be better, and it keeps the constraints.
        out: why it is not in the set; empty where it is.
        kept: the constraints.
        front: probability of being in the Pareto set; None where the goal has one metric.
    """

    trial: Trial
    mean: float | None
    units: int
    difference: float | None
    low: float | None
    high: float | None
    detected: bool
    in_set: bool
    out: str
    kept: tuple[Kept, ...] = ()
    front: float | None = None


class Naive(NamedTuple):
    """What a tool that prints the best mean would have said, and what that delivers.

    Args:
        trial: the setting with the best mean among those that keep the constraints in the mean.
        promised: its gain over the baseline on the prompts that chose it.
        delivered: its gain on units that did not choose it.
    """

    trial: Trial
    promised: Gain
    delivered: Gain


class More(NamedTuple):
    """What would settle the verdict: enough to see a difference that matters 4 times in 5.

    Args:
        difference: the one to see, in the metric's unit.
        prompts: prompts to add at the same number of draws; 0 where there are enough.
        draws: draws now, per prompt and setting.
        prompts_at_double: prompts to add at twice the draws; None where that cannot be told.
    """

    difference: float
    prompts: int
    draws: int
    prompts_at_double: int | None


class GainRecord(TypedDict):
    """A gain as plain data."""

    difference: float | None
    low: float | None
    high: float | None
    units: int
    how: str
    note: str


class Side(NamedTuple):
    """What else the recommended setting changes, against the baseline: detected, among all other metrics.

    Args:
        metric, unit: what changes.
        difference, low, high: with its 95 % interval, over all prompts.
    """

    metric: str
    unit: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a study allows to conclude about one use case.

    Args:
        use_case: its name.
        goal: what was wanted, fixed beforehand.
        unit: of the primary metric.
        status: ``better``: the recommended setting was shown to be better than the baseline; ``no difference``:
            the baseline may be the best; ``undecided``: it may not, and no setting in the set was shown to be
            better by itself; ``constraints``: no setting keeps them; ``not enough``: no interval can be had.
        scope: what it speaks of: prompts like these, or these prompts only.
        units: prompts that chose, or draws with scope ``prompt``.
        held_out: prompts that did not choose.
        baseline: the setting to beat.
        recommended: the simplest of the best set, the baseline first; None where nothing may be recommended.
        contenders: every setting: the best set first, by value.
        promised: the recommended setting's gain on the prompts that chose, with its simultaneous interval.
        delivered: its gain on units that did not choose.
        naive: what printing the best mean would have promised, and what that delivers; None without data.
        smallest_detectable: the difference to the baseline that would have been found 4 times in 5.
        more: what would settle it; None where nothing can be told.
        effects: which of several parameters matter.
        sides: what else the recommended setting changes; empty where it is the baseline.
        stable: how often the best mean stays the best with one prompt left out, and of how many.
        looks: units seen at each look; one for a study that was drawn as a whole.
        stopped: why the looks ended before all was drawn; empty where they did not.
        notes: what to know before trusting it.
        target: what the metric is held near; near the reference, its mean over the prompts that chose. Else None.
    """

    use_case: str
    goal: Goal
    unit: str
    status: Status
    scope: Scope
    units: int
    held_out: int
    baseline: Trial
    recommended: Trial | None
    contenders: tuple[Contender, ...]
    promised: Gain
    delivered: Gain
    naive: Naive | None
    smallest_detectable: float | None
    more: More | None
    effects: tuple[Effect, ...] = ()
    sides: tuple[Side, ...] = ()
    stable: tuple[int, int] = (0, 0)
    looks: tuple[int, ...] = ()
    stopped: str = ""
    notes: tuple[str, ...] = ()
    target: float | None = None

    @property
    def metric(self) -> str:
        """Name of the primary metric."""
        return self.goal.aim.metric

    @property
    def best_set(self) -> tuple[Trial, ...]:
        """The settings that may be the best."""
        return tuple(c.trial for c in self.contenders if c.in_set)

    @property
    def detected(self) -> bool:
        """Whether the recommended setting was shown to be better than the baseline."""
        return self.status == "better"

    def of(self, trial: Trial) -> Contender:
        """A setting's entry."""
        return next(c for c in self.contenders if c.trial.params == trial.params)

    def row(self) -> VerdictRow:
        """It as plain data, for JSON."""
        recommended = None if self.recommended is None else params_record(self.recommended.params)
        naive = self.naive
        return VerdictRow(
            use_case=self.use_case, metric=self.metric, unit=self.unit, goal=str(self.goal), status=self.status,
            scope=self.scope, n_prompts=self.units if self.scope == "use_case" else 0, n_units=self.units,
            held_out=self.held_out, baseline=params_record(self.baseline.params), recommended=recommended,
            best_set=[params_record(t.params) for t in self.best_set], detected=self.detected,
            promised=self.promised.difference, promised_low=self.promised.low, promised_high=self.promised.high,
            delivered=gain_record(self.delivered),
            naive=None if naive is None else NaiveRow(
                params=params_record(naive.trial.params), promised=naive.promised.difference,
                delivered=gain_record(naive.delivered),
            ),
            smallest_detectable=self.smallest_detectable,
            more=None if self.more is None else _more_row(self.more),
            effects=[EffectRow(parameter=e.parameter, share=e.share, low=e.low, high=e.high) for e in self.effects],
            sides=[
                SideRow(metric=s.metric, unit=s.unit, difference=s.difference, low=s.low, high=s.high)
                for s in self.sides
            ],
            contenders=[_contender_row(c) for c in self.contenders], stable=list(self.stable),
            looks=list(self.looks), stopped=self.stopped, notes=list(self.notes),
        )  # fmt: skip


class NaiveRow(TypedDict):
    """`Naive` as plain data."""

    params: ParamsRecord
    promised: float | None
    delivered: GainRecord


class MoreRow(TypedDict):
    """`More` as plain data."""

    difference: float
    prompts: int
    draws: int
    prompts_at_double: int | None


class EffectRow(TypedDict):
    """An effect as plain data."""

    parameter: str
    share: float
    low: float | None
    high: float | None


class SideRow(TypedDict):
    """`Side` as plain data."""

    metric: str
    unit: str
    difference: float
    low: float
    high: float


class KeptRow(TypedDict):
    """`Kept` as plain data."""

    constraint: str
    mean: float | None
    low: float | None
    high: float | None
    status: KeptStatus


class ContenderRow(TypedDict):
    """A contender as plain data."""

    params: ParamsRecord
    names: list[str]
    mean: float | None
    n_units: int
    difference: float | None
    low: float | None
    high: float | None
    detected: bool
    in_set: bool
    out: str
    constraints: list[KeptRow]
    front: float | None


class VerdictRow(TypedDict):
    """A verdict as plain data."""

    use_case: str
    metric: str
    unit: str
    goal: str
    status: Status
    scope: Scope
    n_prompts: int
    n_units: int
    held_out: int
    baseline: ParamsRecord
    recommended: ParamsRecord | None
    best_set: list[ParamsRecord]
    detected: bool
    promised: float | None
    promised_low: float | None
    promised_high: float | None
    delivered: GainRecord
    naive: NaiveRow | None
    smallest_detectable: float | None
    more: MoreRow | None
    effects: list[EffectRow]
    sides: list[SideRow]
    contenders: list[ContenderRow]
    stable: list[int]
    looks: list[int]
    stopped: str
    notes: list[str]


def gain_record(found: Gain) -> GainRecord:
    """A gain as plain data."""
    return GainRecord(
        difference=found.difference, low=found.low, high=found.high, units=found.units, how=found.how, note=found.note
    )


def _more_row(m: More) -> MoreRow:
    return MoreRow(
        difference=m.difference, prompts=m.prompts, draws=m.draws, prompts_at_double=m.prompts_at_double
    )  # fmt: skip


def _contender_row(c: Contender) -> ContenderRow:
    return ContenderRow(
        params=params_record(c.trial.params), names=list(c.trial.names), mean=c.mean, n_units=c.units,
        difference=c.difference, low=c.low, high=c.high, detected=c.detected, in_set=c.in_set, out=c.out, front=c.front,
        constraints=[
            KeptRow(constraint=str(k.constraint), mean=k.mean, low=k.low, high=k.high, status=k.status) for k in c.kept
        ],
    )  # fmt: skip


class VerdictsBase(Sequence[Verdict]):
    """Verdicts by use case.

    Args:
        found: the verdicts.
        notes: what to know before trusting them.
    """

    def __init__(self, found: Iterable[Verdict], notes: Iterable[str] = ()) -> None:
        self._found, self.notes = tuple(found), tuple(notes)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, index: int) -> Verdict: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Verdict]: ...
    def __getitem__(self, index: int | slice) -> Verdict | Sequence[Verdict]:
        return self._found[index]

    def rows(self) -> list[VerdictRow]:
        """Every verdict as plain data, for JSON."""
        return [v.row() for v in self]
