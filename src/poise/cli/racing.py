"""sweep --until-decided: rounds of prompts, shown before and after."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

import poise
from poise.cli.progress import Meter
from poise.cli.schemas import RoundsRecord, Swept, TrialRecord
from poise.cli.terminal import counted, quoted, show, show_json, tell
from poise.errors import UsageError
from poise.records import params_record

if TYPE_CHECKING:
    from poise.asks import DrawOptions
    from poise.cli.flags import Drawing
    from poise.ledger import SweepSummary
    from poise.params import SamplingParams
    from poise.sessions import Engine
    from poise.study import Study
    from poise.usecases import UseCase
    from poise.verdicts.rounds import Rounds


class Raced(NamedTuple):
    """What one use case's rounds cost."""

    plan: Rounds
    texts: int
    cost: SweepSummary


def sweep_in_rounds(
    engine: Engine, cases: Sequence[UseCase], settings: Sequence[SamplingParams], asked: Drawing, options: DrawOptions,
    *, baselines: bool, again: str,
) -> None:  # fmt: skip
    """Show the plan of each use case, draw it in rounds, show its verdict.

    Args:
        engine: a loaded model.
        cases: with goals.
        settings: without the baselines.
        asked: the flags.
        options: how to draw.
        baselines: whether greedy, engine-default and vendor join.
        again: the command that draws what `--dry-run` only shows.
    """
    _check_names([case.name for case in cases])
    plans = [
        poise.plan_rounds(engine, case, settings, study=asked.study, baselines=baselines, **options) for case in cases
    ]
    if asked.dry_run:
        if asked.as_json:
            show_json(_record(plans))
        else:
            show("\n\n".join(map(str, plans)) + f"\n\nNext: {again}")
        return
    done = []
    for case, plan in zip(cases, plans, strict=True):
        tell(f"{case.name}\n{plan}")
        with _drawn(engine, case, settings, plan, options, baselines) as study:
            counts = sum(study.count(case.name, t.params) for t in plan.trials)
            assert study.last_sweep is not None, "rounds that end are logged"
            done.append(Raced(plan, counts, study.last_sweep))
            if not asked.as_json:
                show(f"\n{counted(counts, 'text')} of {plan.fixed:,} that all prompts under all settings would take")
                show(str(poise.decide(study, use_case=case.name)))
    if asked.as_json:
        show_json(_swept(done))
        return
    naming = "" if asked.study is None else f" --study {quoted(asked.study)}"
    show(f"\nNext: poise report{naming}")


def _check_names(names: Sequence[str]) -> None:
    if len({*names}) < len(names):
        raise UsageError("The use cases of a sweep have different names", ", ".join(names), "Rename one of them")


def _drawn(
    engine: Engine, case: UseCase, settings: Sequence[SamplingParams], plan: Rounds, options: DrawOptions,
    baselines: bool,
) -> Study:  # fmt: skip
    """Draw one use case, with progress. Ctrl-C ends it with 130: everything that was finished is kept."""
    longest = options.get("max_tokens") or case.max_tokens or 1
    with warnings.catch_warnings(record=True) as caught, Meter(plan.most * longest) as meter:
        warnings.simplefilter("always")
        try:
            study = poise.sweep_until_decided(
                engine, case, settings, study=plan.study, baselines=baselines, progress=meter, **options
            )
        except KeyboardInterrupt:
            kept = (
                "1 more text was drawn and is" if meter.done == 1 else f"{meter.done:,} more texts were drawn and are"
            )
            tell(f"Interrupted: {kept} kept in {plan.study}.\nThe same command goes on.")
            raise typer.Exit(130) from None
    for said in dict.fromkeys(str(warning.message) for warning in caught):
        tell(f"Note: {said}")
    return study


def _record(plans: Sequence[Rounds]) -> RoundsRecord:
    first = plans[0]
    return RoundsRecord(
        study=str(first.study), use_cases=[p.use_case.name for p in plans], looks=[list(p.sizes) for p in plans],
        held_out=[p.held_out for p in plans], settings=[params_record(t.params) for t in first.trials],
        draws=first.draws, seed=first.seed, most=[p.most for p in plans], fixed=[p.fixed for p in plans],
    )  # fmt: skip


def _swept(done: Sequence[Raced]) -> Swept:
    trials = []
    for raced in done:
        with poise.Study.open(Path(raced.plan.study), create=False, read_only=True) as study:
            name = raced.plan.use_case.name
            trials += [
                TrialRecord(
                    use_case=name, params=params_record(t.params), names=list(t.names), n=study.count(name, t.params)
                )
                for t in raced.plan.trials
            ]
    drawn, rows = sum(raced.cost.drawn for raced in done), sum(raced.cost.rows for raced in done)
    reused = sum(raced.texts for raced in done) - drawn
    return Swept(study=str(done[0].plan.study), trials=trials, drawn=drawn, reused=reused, rows=rows)
