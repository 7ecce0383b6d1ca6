"""Sweep in rounds of prompts until the verdict is settled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from poise import asks
from poise.asks import DrawOptions
from poise.codec import canonical
from poise.database import is_blank
from poise.errors import StudyError, UsageError, UseCaseError
from poise.goals import Goal
from poise.ledger import SweepSummary
from poise.metrics.checked import refuse_strangers
from poise.metrics.limits import check_limits
from poise.params import SamplingParams
from poise.probes.looking import look_first
from poise.records import Trial
from poise.references import score_references
from poise.samples import hold_out
from poise.sessions import Engine, Tally
from poise.stats import MIN_UNITS
from poise.study import Study
from poise.sweeps import Progress, sweep
from poise.trials import find_baseline
from poise.usecases import UseCase
from poise.verdicts.case import candidates, open_case, sizes_of
from poise.verdicts.deciding import conclude

CHECKED = 3  # settings that the held-out prompts see at most: the baseline, the recommended, the best mean


@dataclass(frozen=True, slots=True)
class Rounds:
    """How a use case is drawn until its verdict is settled; str() shows it to people.

    Args:
        use_case: with its goal; its prompts in the order in which they are drawn, those held out last.
        study: where the texts are kept.
        trials: the settings that start.
        sizes: prompts seen at each planned look.
        held_out: prompts that do not choose.
        draws: texts per prompt and setting.
        seed: of the noise.
        inputs: the prompts as fed to the model, in the same order.
    """

    use_case: UseCase
    study: Path
    trials: tuple[Trial, ...]
    sizes: tuple[int, ...]
    held_out: int
    draws: int
    seed: int
    inputs: tuple[tuple[int, ...], ...]

    @property
    def goal(self) -> Goal:
        """What is decided."""
        assert self.use_case.goal is not None, "rounds are planned for a goal"
        return self.use_case.goal

    @property
    def fixed(self) -> int:
        """Texts of the plan that draws every prompt under every setting."""
        return (self.sizes[-1] + self.held_out) * len(self.trials) * self.draws

    @property
    def most(self) -> int:
        """Texts at most: every round runs, nothing is dropped."""
        checked = min(CHECKED, len(self.trials))
        return (self.sizes[-1] * len(self.trials) + self.held_out * checked) * self.draws

    def __str__(self) -> str:
        settings = "; ".join(t.label + (f" ({', '.join(t.names)})" if t.names else "") for t in self.trials)
        looks = ", ".join(map(str, self.sizes))
        checked = f"; {self.held_out} more check the choice" if self.held_out else "; the choice is cross-fitted"
        lines = [
            ("goal", str(self.goal)),
            ("study", str(self.study)),
            ("settings", f"{len(self.trials):,}: {settings}"),
            ("rounds", f"looks after {looks} prompts{checked}; settings shown to be worse are dropped"),
            ("texts", f"at most {self.most:,}, at {self.draws:,} draws; all at once would take {self.fixed:,}"),
            ("stops", "when one setting is left, or all left are within what matters"),
        ]
        return "\n".join(f"{name:<9} {said}" for name, said in lines)

    def record(self, asked: dict[str, int], seen: int, checked: Sequence[str]) -> dict[str, Any]:
        """What the study keeps: the plan, and how far it got.

        Args:
            asked: per setting, how many of the prompts that choose it was asked.
            seen: prompts seen at the last look that is over.
            checked: settings that the held-out prompts were asked under.
        """
        inputs, last = [list(ids) for ids in self.inputs], self.sizes[-1]
        return {
            "choosing": inputs[:last], "checking": inputs[last:],
            "sizes": list(self.sizes), "settings": [t.label for t in self.trials], "draws": self.draws,
            "seed": self.seed, "goal": self.goal.record(), "asked": asked, "seen": seen, "checked": list(checked),
        }  # fmt: skip


def plan_rounds(
    engine: Engine,
    use_case: UseCase,
    settings: SamplingParams | Iterable[SamplingParams],
    *,
    study: Study | str | Path | None = None,
    baselines: bool = True,
    **draw: Unpack[DrawOptions],
) -> Rounds:
    """How `sweep_until_decided` with the same arguments would draw; nothing is drawn or written.

    Args:
        engine: a loaded model.
        use_case: with a goal that names the smallest difference that matters, and at least 8 prompts.
        settings: one or several, for example from `grid`.
        study: where to keep the texts; None for one of its own per model and use case.
        baselines: whether greedy, engine-default and vendor join.
        **draw: see `DrawOptions`.

    Returns:
        The plan, with the most it can cost.

    Raises:
        UsageError: what cannot be decided or drawn so; a study raced under another plan.
    """
    _checked(use_case)
    options = asks.check_options(draw)
    trials = asks.check_settings(engine, settings, baselines)
    _check_trials(use_case, trials)
    asked = {ask.prompt_ids: ask for ask in asks.ask_all(engine, [use_case], options)}
    choosing, checking = hold_out(list(asked))
    order = [list(asked)[i] for i in (*choosing, *checking)]
    path = study.path if isinstance(study, Study) else Path(study or asks.default_study(engine, list(asked.values())))
    made = Rounds(
        use_case.model_copy(update={"prompts": tuple(asked[ids].prompt for ids in order)}), path, tuple(trials),
        sizes_of(len(choosing)), len(checking), options.draws, options.seed, tuple(order),
    )  # fmt: skip
    _same_plan(made, study)
    return made


def sweep_until_decided(
    engine: Engine,
    use_case: UseCase,
    settings: SamplingParams | Iterable[SamplingParams],
    *,
    study: Study | str | Path | None = None,
    baselines: bool = True,
    progress: Progress | None = None,
    **draw: Unpack[DrawOptions],
) -> Study:
    """Draw a use case in rounds of prompts, drop settings shown to be worse, stop when the verdict is settled.

    A round is a block of prompts; the looks between them are planned, and the 5 % error of all claims is spent
    across them. It ends when one setting is left, when all left differ by less than matters, or when the prompts
    are used up. Then the held-out prompts are asked under the baseline, the recommended setting and the best mean.
    The same call resumes an interrupted one.

    Args:
        engine: a loaded model.
        use_case, settings, study, baselines: see `plan_rounds`.
        progress: called after every text, with the most that can still come as total.
        **draw: see `DrawOptions`.

    Returns:
        The study, open; `decide` reads its verdict.

    Raises:
        PoiseError: see `plan_rounds` and `sweep`.
    """
    settings = asks.several(settings)
    look_first(engine, settings)  # what a server honours decides the plan
    plan = plan_rounds(engine, use_case, settings, study=study, baselines=baselines, **draw)
    held = study if isinstance(study, Study) else Study.open(plan.study)
    try:
        _run(engine, plan, held, _Meter(plan.most, progress), draw)
    except BaseException:
        if held is not study:
            held.close()
        raise
    return held


class _Meter:
    """Adds the rounds up for whoever watches: done of the most that can come."""

    def __init__(self, most: int, progress: Progress | None) -> None:
        self.most, self.done, self._now, self._told = most, 0, 0, progress
        self.summary = SweepSummary(0, 0, 0, 0, 0.0)

    def __call__(self, done: int, total: int, tally: Tally) -> None:
        self._now = done
        if self._told is not None:
            self._told(self.done + done, max(self.most, self.done + total), tally)

    def add(self, summary: SweepSummary | None) -> None:
        """Add what one draw cost."""
        if summary is not None:
            a, b = self.summary, summary
            self.summary = SweepSummary(
                a.drawn + b.drawn, a.reused + b.reused, a.rows + b.rows, a.tokens + b.tokens, a.seconds + b.seconds
            )

    def close_round(self, left: int) -> None:
        """A round is over; at most `left` texts can still come."""
        self.done += self._now
        self._now, self.most = 0, self.done + left


def _run(engine: Engine, plan: Rounds, study: Study, meter: _Meter, draw: DrawOptions) -> None:
    study.bind(engine.fingerprint)
    study.keep_goal(plan.use_case.name, plan.use_case.goal)
    alive, asked = list(plan.trials), {}
    for number, size in enumerate(plan.sizes):
        asked.update({t.label: size for t in alive})
        seen = plan.sizes[number - 1] if number else 0
        study.note("rounds", plan.use_case.name, plan.record(asked, seen, []))
        _draw(engine, plan, study, alive, range(size), meter, draw)
        study.note("rounds", plan.use_case.name, plan.record(asked, size, []))
        alive, ended = _look(study, plan)
        rest = 0 if ended else (plan.sizes[-1] - size) * len(alive)
        meter.close_round((rest + plan.held_out * min(CHECKED, len(plan.trials))) * plan.draws)
        if ended:
            break
    if plan.held_out:
        _check(engine, plan, study, asked, meter, draw)
    study.log_sweep(meter.summary)


def _look(study: Study, plan: Rounds) -> tuple[list[Trial], bool]:
    """Who is left, and whether that is the end."""
    case = open_case(study, plan.use_case.name, plan.goal, holdout=True)
    sample = case.sample(plan.goal.aim, case.choosing)
    able, _ = candidates(case, sample)
    if len(able) < 2:
        return list(plan.trials), False
    state = case.race(sample, able)
    out = {case.trials[k].params for k in state.fallen}
    alive = [t for t in plan.trials if t.params not in out]
    return alive, bool(state.stopped)


def _check(engine: Engine, plan: Rounds, study: Study, asked: dict[str, int], meter: _Meter, draw: DrawOptions) -> None:
    """Ask the held-out prompts under the settings that a verdict speaks of."""
    verdict = conclude(open_case(study, plan.use_case.name, plan.goal, holdout=True))
    named = [verdict.baseline, verdict.recommended, verdict.naive.trial if verdict.naive else None]
    chosen = [t for t in plan.trials if t.params in {n.params for n in named if n is not None}]
    if len(chosen) > 1:  # the baseline alone has nothing to be checked against
        study.note("rounds", plan.use_case.name, plan.record(asked, max(asked.values()), [t.label for t in chosen]))
        _draw(engine, plan, study, chosen, range(plan.sizes[-1], len(plan.inputs)), meter, draw)
    meter.close_round(0)


def _draw(
    engine: Engine, plan: Rounds, study: Study, trials: Sequence[Trial], places: range, meter: _Meter,
    draw: DrawOptions,
) -> None:  # fmt: skip
    """Some prompts under some settings; what is there already is not drawn again.

    They are handed over one by one, so that the use case's list grows and nothing leaves it.
    """
    case = plan.use_case
    limits: DrawOptions = {"max_tokens": case.max_tokens, "min_tokens": case.min_tokens, "stop": case.stop or None}
    limits.update({name: value for name, value in draw.items() if value is not None})  # type: ignore[typeddict-item]
    prompts = [case.prompts[i] for i in places]
    settings = [t.params for t in trials]
    sweep(engine, prompts, settings, study=study, baselines=False, progress=meter, **limits)
    meter.add(study.last_sweep)
    for trial in plan.trials:
        for name in trial.names:
            study.name_trial(trial.params, name)
    if plan.goal.needs_reference:
        score_references(engine, study, case.name)


def _checked(use_case: UseCase) -> None:
    """What only rounds ask of a use case."""
    if not isinstance(use_case, UseCase):
        raise UsageError("Rounds are drawn of a use case", repr(use_case), "Name one with -f, or make a UseCase")
    if use_case.goal is None:
        raise UseCaseError(
            "To draw until decided, a use case has a goal", f"{use_case.name} without one",
            "Write goal: in its file, with matters: the smallest difference that matters",
        )  # fmt: skip
    check_limits(use_case.goal)
    refuse_strangers(use_case.prompts)
    if use_case.goal.matters is None:
        raise UseCaseError(
            "To draw until decided, a goal says which difference matters", str(use_case.goal),
            "Add matters: to the goal, in the metric's unit",
        )  # fmt: skip
    if len(use_case.prompts) < MIN_UNITS:
        raise UseCaseError(
            f"Rounds are blocks of prompts, and an interval needs {MIN_UNITS}",
            f"{len(use_case.prompts)} in {use_case.name}", "Add prompts, or sweep without --until-decided",
        )  # fmt: skip
    if use_case.goal.needs_reference and any(not p.reference for p in use_case.prompts):
        lacking = sum(not p.reference for p in use_case.prompts)
        raise UseCaseError(
            f"The goal of {use_case.name} holds a metric near the reference, which every prompt then has",
            f"{lacking} prompts without one", "Give each its `reference`, or hold the metric near a number",
        )  # fmt: skip


def _check_trials(use_case: UseCase, trials: Sequence[Trial]) -> None:
    """There are several, the baseline among them: rounds begin and end with comparisons to it."""
    if len(trials) < 2:
        raise UsageError("A verdict chooses between settings", trials[0].label, "Sweep several values")
    assert use_case.goal is not None, "rounds are planned for a goal"
    try:
        find_baseline(trials, use_case.goal.baseline)
    except StudyError as error:
        raise UsageError(
            f"The baseline of {use_case.name} is one of the settings drawn: {'; '.join(t.label for t in trials)}",
            repr(use_case.goal.baseline), "Draw it too, leave --no-baselines out, or name another in the goal",
        ) from error  # fmt: skip


def _same_plan(plan: Rounds, study: Study | str | Path | None) -> None:
    """A study raced under one plan is not raced under another: its looks have been taken."""
    if isinstance(study, Study):
        before = study.noted("rounds", plan.use_case.name)
    elif is_blank(plan.study):
        return
    else:
        with Study.open(plan.study, read_only=True) as opened:
            before = opened.noted("rounds", plan.use_case.name)
    if not before:
        return
    now = plan.record({}, 0, [])
    told = {"choosing": "prompts", "checking": "prompts"}
    fixed = ("choosing", "checking", "sizes", "settings", "draws", "seed", "goal")
    differ = [told.get(name, name) for name in fixed if json.loads(canonical(now[name])) != before.get(name)]
    if differ:
        raise UsageError(
            f"The rounds of {plan.use_case.name} in {plan.study} go on as they were planned",
            f"other {' and '.join(dict.fromkeys(differ))}", "Name another --study to begin anew",
        )  # fmt: skip
