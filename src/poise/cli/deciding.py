"""decide: which setting suits a use case, and what that delivers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import poise
from poise.cli.aims import Wanted, with_goal_flags
from poise.cli.evidence import JsonFlag, StudyFlag, UseCaseFlag, naming, reading
from poise.cli.flags import AllowFlag, allow_named, allowed
from poise.cli.schemas import Decided, VerdictRecord
from poise.cli.terminal import quoted, show, show_json
from poise.errors import UsageError

if TYPE_CHECKING:
    from poise.study import Study
    from poise.verdicts import Verdicts


@with_goal_flags
def decide(
    path: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="The same as --study.", show_default=False)
    ] = None,
    use_case: UseCaseFlag = None,
    holdout: Annotated[
        bool,
        typer.Option(
            "--holdout/--no-holdout",
            help="Measure the choice again on a third of the prompts, which did not choose; or let all of them choose.",
        ),
    ] = True,
    study: StudyFlag = None,
    allow: AllowFlag = [],  # noqa: B006
    as_json: JsonFlag = False,
    *,
    wanted: Wanted,
) -> None:
    """Say which setting suits a use case, how sure that is, and what it delivers.

    Settings that none was shown to beat are the best set; the simplest of them is recommended, the baseline first.
    Exit code 1: no setting keeps the constraints.
    """
    if path is not None and study is not None:
        raise UsageError("A study is named once", f"{path} and --study {study}", "Keep one")
    named = study if path is None else path
    allow_named(allow)
    with reading(named, judging=as_json, command="decide") as opened:
        found = _decided(opened, use_case, wanted, holdout)
        if as_json:
            verdicts = [VerdictRecord.model_validate(row) for row in found.rows()]
            show_json(Decided(study=str(opened.path), verdicts=verdicts, notes=list(found.notes)))
        else:
            goal = "".join(f" {quoted(w)}" for w in wanted.words)
            show(f"{found}\n\nNext: poise report{naming(named)}{goal}{allowed(allow)}")
    if any(v.status == "constraints" for v in found):
        raise typer.Exit(1)


def _decided(study: Study, use_case: str | None, wanted: Wanted, holdout: bool) -> Verdicts:
    """A verdict per use case: on the goal that the flags say, or on each use case's own as they change it."""
    if not wanted.said:
        return poise.decide(study, use_case=use_case, holdout=holdout)
    study.trials(use_case)  # raises where there is no such use case
    names = study.use_cases() if use_case is None else [use_case]
    goals = wanted.goals(study, names)
    found = [poise.decide(study, use_case=n, goal=g, holdout=holdout) for n, g in goals.items()]
    if not found:
        return poise.decide(study, use_case=use_case)  # raises: there is no goal that flags could change
    without = [f"{name} has no goal: nothing is decided about it" for name in names if name not in goals]
    notes = dict.fromkeys([*(note for each in found for note in each.notes), *without])
    return poise.Verdicts([v for each in found for v in each], notes)
