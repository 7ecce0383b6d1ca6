"""What a verdict on one use case looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from poise.errors import StudyError, UsageError, UseCaseError
from poise.families import LEVEL
from poise.goals import Aim, Goal
from poise.looks import planned_sizes
from poise.measurements import bounds_of, choose_metrics
from poise.metrics import METRICS, find_metrics
from poise.metrics.checked import strangers
from poise.metrics.readings import Readings, read_values
from poise.races import Race, Rules, Standing, race
from poise.records import Trial
from poise.samples import Sample, by_prompt, hold_out, take, usable
from poise.stats import MIN_UNITS, Interval, mean_interval
from poise.study import Study
from poise.trials import find_baseline
from poise.usecases import built_in_names, load_use_case
from poise.verdicts.verdict import Kept, KeptStatus

LOOKS = 8  # at most, when settings are raced
FIRST = 10  # prompts of the first look: with fewer, a sign-flip test has too few patterns for its share of the error


class Case(NamedTuple):
    """A use case, read for a verdict.

    Args:
        study, use_case, goal: what is judged, by what.
        readings: values of every metric that the goal names.
        baseline: position of the setting to beat.
        choosing: numbers of the prompts that choose, in the order of the looks.
        checking: numbers of the prompts that do not choose; empty where the choice is cross-fitted.
        sizes: the looks, in units.
        seen: units drawn; None where all is.
        raced: positions of the settings that were raced; all where nothing was raced.
        level: error of all claims together.
        notes: what to know of how it was drawn.
    """

    study: Study
    use_case: str
    goal: Goal
    readings: Readings
    baseline: int
    choosing: tuple[int, ...]
    checking: tuple[int, ...]
    sizes: tuple[int, ...]
    seen: int | None
    raced: tuple[int, ...]
    level: float = LEVEL
    notes: tuple[str, ...] = ()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The settings."""
        return self.readings.trials

    @property
    def hold(self) -> bool:
        """Whether the primary metric is held near a target."""
        return self.goal.aim.sense == "hold"

    @property
    def better(self) -> int:
        """+1 where a larger difference is better; distances from a target had better be small."""
        return 1 if self.goal.aim.sense == "raise" else -1

    def sample(self, aim: Aim, prompts: Sequence[int]) -> Sample:
        """A metric's values of some prompts."""
        return take(self.study, self.readings, aim, prompts)

    def kept(self, setting: int, prompts: Sequence[int] | None = None, level: float = 0.95) -> tuple[Kept, ...]:
        """How a setting stands to every constraint."""
        chosen = self.choosing if prompts is None else prompts
        return tuple(_kept(self, c.metric, i, setting, chosen, level) for i, c in enumerate(self.goal.constraints))

    def race(self, sample: Sample, settings: Sequence[int]) -> Race:
        """Look at the sample as planned."""
        sizes = self.sizes if len(sample.strata) == 1 and self.seen is not None else (max(sample.units, 2),)
        rules = Rules(sizes, tuple(settings), self.better, self.hold, sample.bounds, self.goal.matters, self.level)
        return race(sample.strata, rules, self.seen, self._standing if self.goal.constraints else None)

    def _standing(self, size: int, error: float) -> Standing:
        prompts = self.choosing[:size] if self.seen is not None else self.choosing
        kept = {k: self.kept(k, prompts, 1 - error) for k in range(len(self.trials))}
        keeps = frozenset(k for k, found in kept.items() if all(c.in_the_mean for c in found))
        return Standing(keeps, frozenset(k for k, found in kept.items() if any(c.status == "broken" for c in found)))


def goal_of(study: Study, use_case: str, given: Goal | None) -> Goal | None:
    """The goal that counts: the one given, else the study's, else that of the built-in use case of this name."""
    if given is not None:
        return given
    kept = study.goal(use_case)
    if kept is None and use_case in built_in_names():
        return load_use_case(use_case).goal
    return kept


def open_case(study: Study, use_case: str, goal: Goal, holdout: bool) -> Case:
    """Read a use case for a verdict.

    Args:
        study: with completions.
        use_case: its name.
        goal: with metrics that exist.
        holdout: whether some prompts are kept from choosing.

    Returns:
        The case.

    Raises:
        MetricError: a metric that is unknown or lacks what it needs.
        StudyError: the baseline was not drawn, or nothing else was.
    """
    said = study.noted("rounds", use_case)
    if said and not holdout:
        raise UsageError(
            f"The rounds of {use_case} hold out the prompts that were planned", "no holdout", "Leave --no-holdout out"
        )
    unread = strangers(study.prompts(use_case))
    validity = "invalid" if not unread and any(p.checks for p in study.prompts(use_case)) else "empty_output"
    named = dict.fromkeys([*(m.name for m in find_metrics(goal.metrics)), validity])
    readings = read_values(study, use_case, choose_metrics(study, use_case, list(named)))
    baseline, stands_in = _baseline(readings.trials, goal, use_case)
    everyone = tuple(range(len(readings.trials)))
    unmade = [f"checks by {name} were not made: --allow-callable {name} makes them" for name in unread]
    notes = (*filter(None, [stands_in]), *unmade)
    if said:
        return _raced(Case(study, use_case, goal, readings, baseline, (), (), (), None, everyone, notes=notes), said)
    chooses, checks = hold_out(readings.inputs) if holdout else (list(range(readings.prompts)), [])
    sides = (tuple(chooses), tuple(checks))
    return Case(study, use_case, goal, readings, baseline, *sides, (len(chooses),), None, everyone, notes=notes)


def _raced(case: Case, said: Mapping[str, Any]) -> Case:
    """A case that was drawn in rounds, with the prompts that they saw."""
    readings, seen, sizes = case.readings, int(said["seen"]), tuple(said["sizes"])
    number = {ids: i for i, ids in enumerate(readings.inputs)}
    known, checking = (
        tuple(number[tuple(ids)] for ids in said[side] if tuple(ids) in number) for side in ("choosing", "checking")
    )
    case = case._replace(choosing=known[:seen], checking=checking)
    if case.goal.record() == said["goal"]:
        labels = {t.label: i for i, t in enumerate(readings.trials)}
        raced = tuple(labels[name] for name in said["settings"] if name in labels)
        return case._replace(sizes=sizes, seen=seen, raced=raced)
    # The rounds stopped for another goal, when the data said so. Whenever they would have stopped, a single look at
    # the error planned for that look keeps all such looks together at the whole error.
    looks = [0, *(n for n in sizes if n <= seen)] if seen else [0, 0]
    level = LEVEL * (looks[-1] - looks[-2]) / sizes[-1]
    note = (
        f"the rounds were drawn for another goal and stopped when that was settled: this one is looked at once, at an "
        f"error of {level:.1%} for all claims together; settings that the rounds dropped early have fewer prompts"
    )
    return case._replace(sizes=(seen,), level=level, notes=(*case.notes, note))


def sizes_of(prompts: int) -> tuple[int, ...]:
    """When to look while settings are raced over so many prompts."""
    return tuple(planned_sizes(prompts, FIRST, LOOKS))


def candidates(case: Case, sample: Sample) -> tuple[list[int], dict[int, str]]:
    """The settings that can be compared, and why others cannot."""
    able = usable(sample, case.raced, None if case.seen is None else case.sizes[0])  # all were asked the first round
    few = f"too few values of {case.goal.aim.metric}: for fewer than half of the prompts that others have them for"
    return able, {k: few for k in case.raced if k not in able}


def _baseline(trials: Sequence[Trial], goal: Goal, use_case: str) -> tuple[int, str]:
    """Its position, and a note where it stands in for another."""
    if len(trials) < 2:
        raise StudyError(
            "A verdict chooses between settings", f"{use_case} with {trials[0].label} alone",
            "`poise sweep` with several values draws more",
        )  # fmt: skip
    try:
        found, note = find_baseline(trials, goal.baseline)
    except StudyError as error:
        raise StudyError(
            f"The baseline of {use_case} is one of the settings drawn for it: {'; '.join(t.label for t in trials)}",
            repr(goal.baseline), "Name another with --baseline, or sweep without --no-baselines",
        ) from error  # fmt: skip
    return next(i for i, t in enumerate(trials) if t.params == found.params), note


def _kept(case: Case, metric: str, place: int, setting: int, prompts: Sequence[int], level: float) -> Kept:
    """One constraint of one setting, over the prompts that have a value."""
    constraint = case.goal.constraints[place]
    values = by_prompt(case.readings, metric)[list(prompts), setting]
    values = values[np.isfinite(values)]
    if not len(values):
        return Kept(constraint, None, None, None, "no data")
    mean = float(values.mean())
    found = Interval(None, None)
    if len(values) >= MIN_UNITS:
        bounds = bounds_of(METRICS[metric], case.readings, float(_texts(case, metric, setting, prompts)))
        found = mean_interval([values], bounds, level)
    return Kept(constraint, mean, found.low, found.high, _status(constraint.margin, mean, found))


def _status(margin, mean: float, found: Interval) -> KeptStatus:  # type: ignore[no-untyped-def]
    inside = margin(mean) >= 0
    if found.low is None or found.high is None:
        return "kept in the mean" if inside else "broken in the mean"
    ends = (margin(found.low), margin(found.high))
    if min(ends) >= 0:
        return "kept"
    if max(ends) < 0:
        return "broken"
    return "kept in the mean" if inside else "broken in the mean"


def _texts(case: Case, metric: str, setting: int, prompts: Sequence[int]) -> int:
    readings = case.readings
    if metric in readings.groups:
        return len(prompts)
    rows = np.isfinite(readings.columns[metric]) & np.isin(readings.prompt, list(prompts)) & (readings.trial == setting)
    return max(1, int(rows.sum()))


def check_goal(goal: object, study: Study, use_case: str) -> Goal:
    """A goal, or the error that says how to give one."""
    if isinstance(goal, Goal):
        return goal
    raise UseCaseError(
        "A verdict needs a goal: which metric should rise, fall or stay near a target",
        f"none for {use_case} in {study.path}",
        "Add --raise METRIC, --lower METRIC or --hold METRIC --near VALUE; or write goal: in the use-case file",
    )
