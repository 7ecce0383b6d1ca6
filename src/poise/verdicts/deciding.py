"""Decide: constraints, all pairs, the best set, promised and delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from poise import served
from poise.comparisons import compare
from poise.errors import UsageError
from poise.goals import REFERENCE, Goal, read_goal
from poise.holdouts import ITSELF, Gain, cross_fit, gain, leave_one_out, worth
from poise.judges.reliability import trust
from poise.metrics import METRICS
from poise.metrics.limits import check_limits
from poise.numerals import count, figure
from poise.races import STOPS
from poise.references import reference_values
from poise.samples import Sample, by_prompt
from poise.stats import MIN_UNITS
from poise.study import Study
from poise.verdicts.case import Case, candidates, check_goal, goal_of, open_case
from poise.verdicts.reach import more, smallest
from poise.verdicts.verdict import Contender, Naive, Side, Status, Verdict
from poise.verdicts.view import Against, View, against_baseline, beats, contenders_of, effects_of, worths
from poise.verdicts.words import Verdicts

NOTED = 0.02  # share of texts that are empty or unreadable from which on a verdict says so


def decide(
    study: Study, *, use_case: str | None = None, goal: Goal | Mapping[str, Any] | None = None, holdout: bool = True
) -> Verdicts:
    """Say which settings suit a use case, how sure that is, and what it delivers on prompts that did not choose.

    Every setting is compared with every other on the primary metric, prompt by prompt; the error of all claims
    together is 5 %. Settings that none was shown to beat, and that keep the constraints, are the best set; the
    simplest of them is recommended, the baseline first. A third of the prompts, at least 8, do not choose: there
    the choice is measured again. With fewer than 16 prompts it is cross-fitted; with fewer than 8, draws are
    the units, and the verdict speaks of these prompts only.

    Args:
        study: with completions under two settings or more.
        use_case: one of the study's; None for all that have a goal.
        goal: what is wanted, or a mapping as a use-case file writes it; None for what the study keeps.
        holdout: whether prompts are held out. Without, all of them choose, and the choice is cross-fitted.

    Returns:
        One verdict per use case; they print as text.

    Raises:
        UsageError: a goal or `holdout` that is none.
        UseCaseError: no goal, or one that cannot be read.
        MetricError, StudyError: an unknown metric, or one that lacks what it needs; a baseline that was not drawn.

    Source: Hsu 1996 and Hansen et al. 2011 (sets of the best); Stone 1974; the statistics: `poise.families`.
    """
    Study.given(study)
    given = _given(goal, holdout)
    known = study.use_cases() if use_case is None else [use_case]
    study.trials(use_case)  # raises where there is no such use case
    goals = {name: goal_of(study, name, given) for name in known}
    wanted = {name: wants for name, wants in goals.items() if wants is not None}
    if not wanted:
        check_goal(None, study, known[0] if known else "this study")
    for wants in wanted.values():
        check_limits(wants)
    notes = [f"{name} has no goal: nothing is decided about it" for name in known if name not in wanted]
    cases = [open_case(study, name, wants, holdout) for name, wants in wanted.items()]
    return Verdicts([conclude(case) for case in cases], [*study.caveats(use_case), *notes])


def _given(goal: Goal | Mapping[str, Any] | None, holdout: object) -> Goal | None:
    """The goal of a call, its arguments checked."""
    if not isinstance(holdout, bool):
        raise UsageError("holdout is True or False", repr(holdout), "A third of the prompts is held out, or none")
    given = read_goal(dict(goal)) if isinstance(goal, Mapping) else goal
    if given is not None and not isinstance(given, Goal):
        raise UsageError("A goal is a Goal or a mapping", repr(goal), 'For example {"raise": "exact_match"}')
    return given


def conclude(case: Case) -> Verdict:
    """The verdict on one use case.

    Args:
        case: read for it.

    Returns:
        The verdict.
    """
    sample = case.sample(case.goal.aim, case.choosing)
    able, aside = candidates(case, sample)
    if case.baseline not in able or len(able) < 2 or sample.lacking:
        return _too_little(case, sample, aside)
    state = case.race(sample, able)
    if state.pairs is None:
        return _too_little(case, sample, aside)
    kept = {k: case.kept(k) for k in range(len(case.trials))}
    view = View(case, sample, state, tuple(able), aside, kept)
    against = {k: against_baseline(view, k) for k in able}
    status, recommended = _recommend(view, against)
    naive = _naive(view, against)
    promised, delivered = _promise(view, recommended, against)
    winner = naive.place if naive is not None else None
    least = None if winner is None else smallest(view, winner)
    return Verdict(
        use_case=case.use_case, goal=case.goal, unit=METRICS[case.goal.aim.metric].unit, status=status,
        scope=sample.scope, units=state.pairs.units, held_out=len(case.checking),
        baseline=case.trials[case.baseline], recommended=None if recommended is None else case.trials[recommended],
        contenders=contenders_of(view, against), promised=promised, delivered=delivered,
        naive=None if naive is None else naive.said, smallest_detectable=least,
        more=None if winner is None else more(view, winner), effects=tuple(effects_of(view)),
        sides=tuple(_sides(view, recommended)),
        stable=_stability(view), looks=state.seen, stopped=STOPS.get(state.stopped, "") if case.seen else "",
        notes=tuple(_notes(view)), target=_target(case, sample),
    )  # fmt: skip


def _too_little(case: Case, sample: Sample, aside: Mapping[int, str]) -> Verdict:
    """No interval can be had: say what to add."""
    lacking = sample.lacking or aside.get(case.baseline) or f"fewer than {MIN_UNITS} units have values of all settings"
    means = np.array([np.nanmean(c) if np.isfinite(c).any() else np.nan for c in np.concatenate(sample.strata).T])
    contenders = tuple(
        Contender(
            trial, None if np.isnan(means[k]) else float(means[k]), 0, None, None, None, False, False,
            aside.get(k, lacking), case.kept(k),
        )
        for k, trial in enumerate(case.trials)
    )  # fmt: skip
    nothing = Gain(None, None, None, 0, "not measured", lacking)
    return Verdict(
        use_case=case.use_case, goal=case.goal, unit=METRICS[case.goal.aim.metric].unit, status="not enough",
        scope=sample.scope, units=sample.units, held_out=0, baseline=case.trials[case.baseline], recommended=None,
        contenders=contenders, promised=nothing, delivered=nothing, naive=None, smallest_detectable=None, more=None,
        notes=(lacking, *case.notes, *_of_judge(case)), target=_target(case, sample),
    )  # fmt: skip


def _target(case: Case, sample: Sample) -> float | None:
    """What the primary metric is held near, over the prompts that have values."""
    aim = case.goal.aim
    if aim.target != REFERENCE:
        return None if aim.target is None else float(aim.target)
    values = reference_values(case.study, case.use_case, METRICS[aim.metric], case.readings.context)
    return float(values[list(sample.prompts)].mean()) if sample.prompts else None


def _recommend(view: View, against: Mapping[int, Against]) -> tuple[Status, int | None]:
    """The simplest of the best set: the baseline first, then what was shown to beat it."""
    base, best = view.case.baseline, view.set
    if not best:
        return "constraints", None
    if base in best:
        return "no difference", base
    shown = [k for k in best if beats(view, against[k])]
    return ("better" if shown else "undecided"), _simplest(view, shown or best)


def _simplest(view: View, settings: Sequence[int]) -> int:
    """Fewest parameters on; of equals the one with the best mean."""
    order = worths(view, settings)

    def key(k: int) -> tuple[int, float]:
        return len(view.case.trials[k].params.active()), -order[k]

    return min(settings, key=key)


class _Named(NamedTuple):
    place: int
    said: Naive


def _naive(view: View, against: Mapping[int, Against]) -> _Named | None:
    """The best mean among those that keep the constraints in the mean and are still in the race."""
    settings = [k for k in view.state.entrants if view.keeps(k)]
    if not settings:
        return None
    values = worths(view, settings)
    place = max(settings, key=lambda k: values[k])
    promised = gain(view.sample, view.case.baseline, place, view.case.hold, "chose it")
    return _Named(place, Naive(view.case.trials[place], promised, _deliver(view, place, settings)))


def _deliver(view: View, setting: int, settings: Sequence[int]) -> Gain:
    """On held-out prompts where there are any with both; else cross-fitted."""
    case = view.case
    if setting == case.baseline:
        return ITSELF
    if case.checking:
        held = case.sample(case.goal.aim, case.checking)
        found = gain(held, case.baseline, setting, case.hold)
        if found.units >= MIN_UNITS:
            return found
    return cross_fit(view.sample, case.baseline, settings, case.better, case.hold)


def _promise(view: View, recommended: int | None, against: Mapping[int, Against]) -> tuple[Gain, Gain]:
    """What is said of the recommended setting, and what it delivers where it was not chosen."""
    if recommended is None:
        nothing = Gain(None, None, None, 0, "not measured", "nothing is recommended")
        return nothing, nothing
    if recommended == view.case.baseline:
        return ITSELF, ITSELF
    said = against[recommended]
    promised = Gain(
        said.difference,
        said.low,
        said.high,
        view.sample.units if view.state.pairs is None else view.state.pairs.units,
        "chose it",
    )
    return promised, _deliver(view, recommended, view.set)


def _invalid(case: Case) -> list[str]:
    """Texts that are empty or cannot be read, apart from what the others are worth."""
    name = "invalid" if "invalid" in case.readings.columns else "empty_output"
    values = by_prompt(case.readings, name)[list(case.choosing)]
    shares = np.nansum(values, axis=0) / np.maximum(np.isfinite(values).sum(axis=0), 1)
    most, least = int(np.argmax(shares)), int(np.argmin(shares))
    if shares[most] < NOTED:
        return []
    what = "cannot be read by a check" if name == "invalid" else "are empty"
    low, high = (figure(float(shares[k]), "share") for k in (least, most))
    if low == high:
        said = f"{high} of the texts of every setting {what}"
    else:
        said = f"between {low} ({case.trials[least].label}) and {high} ({case.trials[most].label}) of the texts {what}"
    held = any(c.metric == name and c.most for c in case.goal.constraints)
    return [said if held else f"{said}; constraints: [{name} <= 0.05] holds that against a setting"]


def _sides(view: View, recommended: int | None) -> list[Side]:
    """What else was shown to change, of all metrics that the prompts allow, tested together."""
    case = view.case
    if recommended is None or recommended == case.baseline:
        return []
    arms = (case.trials[case.baseline], case.trials[recommended])
    greedy = any(t.params.greedy for t in arms)
    found = compare(case.study, *arms, use_case=case.use_case)
    return [
        Side(c.metric, c.unit, c.difference, c.low, c.high)
        for c in found
        if c.detected and c.metric != case.goal.aim.metric
        if not (greedy and "several draws" in METRICS[c.metric].needs)  # equal draws decide that
        if c.difference is not None and c.low is not None and c.high is not None
    ]


def _stability(view: View) -> tuple[int, int]:
    settings = [k for k in view.state.entrants if view.keeps(k)]
    if len(settings) < 2:
        return 0, 0
    better, hold = view.case.better, view.case.hold
    return leave_one_out(view.sample, settings, lambda means: int(np.argmax(worth(means, better, hold))))


def _notes(view: View) -> list[str]:
    """What a careful reader asks next."""
    case = view.case
    notes = list(case.notes)
    counts = {
        trial.label: int(((case.readings.trial == k) & np.isin(case.readings.prompt, case.choosing)).sum())
        for k, trial in enumerate(case.trials)
        if k in view.state.entrants and not trial.params.greedy
    }
    if len(set(counts.values())) > 1:
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        notes.append(f"unequal budgets: {counts[most]} texts of {most}, {counts[least]} of {least}")
    notes += _invalid(case)
    if view.aside:
        notes.append(f"set aside: {'; '.join(f'{case.trials[k].label} ({why})' for k, why in view.aside.items())}")
    if case.study.fingerprint.provenance.get("replay") == "unverified":
        notes.append("on this device a text's last bits may depend on the batch it was drawn in")
    return [*notes, *_of_judge(case), *served.notes(case.study, [t.params for t in case.trials])]


def _of_judge(case: Case) -> list[str]:
    """How far to trust the judge whose preferences the goal goes by."""
    found = trust(case.study, case.use_case) if "judge" in case.goal.metrics else None
    if found is None:
        return []
    judge, said = found
    return [f"judge {judge}, {count(said.pairs, 'pair')}: {said.figures}", *said.doubts]
