"""judge: a judge model compares every text with the baseline's."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

import poise
from poise.cli.declared import with_flags_of
from poise.cli.evidence import JsonFlag, StudyFlag, UseCaseFlag, naming
from poise.cli.flags import any_number, whole_number
from poise.cli.judge_records import JudgedRecord, JudgePlanRecord, ShareRecord
from poise.cli.progress import Line
from poise.cli.terminal import quoted, show, show_json, tell
from poise.errors import UsageError
from poise.judging import PARALLEL, TIMEOUT, JudgeOptions, JudgePlan, Judging
from poise.records import params_record

if TYPE_CHECKING:
    from poise.study import Study


class CallMeter(Line):
    """Progress of a judge: answers, rate, remaining time."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0
        super().__init__("judging")

    def __call__(self, done: int, total: int) -> None:
        """Note that `done` of `total` answers are there."""
        self.done, self.total = done, total

    def done_share(self) -> float:
        """See `Line`."""
        return self.done / self.total if self.total else 0.0

    def said(self) -> str:
        """Answers, rate and remaining time in words."""
        return f"{self.done:,}/{self.total:,} answers{self.rate(self.done, 'answers')}"


def _option(flag: str, meaning: str, **how: Any) -> Any:
    return typer.Option(flag, help=meaning, **how)


def _whole(flag: str, meaning: str) -> Any:
    return typer.Option(flag, parser=whole_number(flag), metavar="N", help=meaning)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for with the flags of `judge`."""

    url: Annotated[str, _option("--url", "The judge's server, for example http://localhost:8000/v1.")]
    model: Annotated[str, _option("--model", "The judge's name, as its server knows it.")]
    baseline: Annotated[
        str | None, _option("--baseline", "The trial to compare with. Default: the goal's, else engine-default.")
    ] = None
    question: Annotated[
        str | None, _option("--question", "By what to judge. Default: a short rubric; see docs/judge.md.")
    ] = None
    repeats: Annotated[int, _whole("--repeats", "How often each order of a pair is asked.")] = 1
    use_case: UseCaseFlag = None
    limit_draws: Annotated[int | None, _whole("--limit-draws", "Only the first N draws. Default: all.")] = None
    key_env: Annotated[
        str | None,
        _option(
            "--key-env", "The environment variable that holds the server's key. Default: OPENAI_API_KEY, which goes "
            "over https or to this machine only.", metavar="VARIABLE",
        ),
    ] = None  # fmt: skip
    parallel: Annotated[int, _whole("--parallel", "Questions under way at once.")] = PARALLEL
    timeout: Annotated[
        float,
        _option(
            "--timeout", "How long an answer may take.", parser=any_number("--timeout", "120"), metavar="SECONDS"
        ),
    ] = TIMEOUT  # fmt: skip
    study: StudyFlag = None
    dry_run: Annotated[bool, _option("--dry-run", "Show the plan and its cost; ask nobody.")] = False
    as_json: JsonFlag = False

    @property
    def options(self) -> JudgeOptions:
        """What `poise.judge` takes."""
        return JudgeOptions(
            baseline=self.baseline, question=self.question, repeats=self.repeats, use_case=self.use_case,
            limit_draws=self.limit_draws, key_env=self.key_env, parallel=self.parallel, timeout=self.timeout,
        )  # fmt: skip

    @property
    def again(self) -> str:
        """The command that does what a dry run showed."""
        given = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        said = [(n, v) for n, v, default in given if v != default and n not in ("dry_run", "as_json")]
        words = [word for name, value in said for word in (f"--{name.replace('_', '-')}", f"{value}")]
        return " ".join(["poise judge", *map(quoted, words)])


@with_flags_of(Asked)
def judge(
    asked: Asked,
    path: Annotated[
        str | None, typer.Argument(metavar="STUDY", help="The same as --study.", show_default=False)
    ] = None,
) -> None:
    """Have a judge model compare every text with the baseline's of the same draw.

    Both orders are asked; every answer is kept as it comes, and the same command asks only what is missing.
    """
    if path is not None:
        if asked.study is not None:
            raise UsageError("A study is named once", f"{path} and --study {asked.study}", "Keep one")
        asked = replace(asked, study=path)
    with poise.Study.open(asked.study or poise.latest_study(), create=False, read_only=asked.dry_run) as study:
        plan = poise.plan_judging(study, asked.url, asked.model, **asked.options)
        if asked.dry_run:
            if asked.as_json:
                show_json(plan_record(plan))
            else:
                show(f"{plan}\n\nNext: {asked.again}")
            return
        tell(str(plan))
        done = _judged(study, asked)
    if asked.as_json:
        show_json(judged_record(done))
        return
    show(f"{done}\n\nNext: poise measure --metric judge{naming(asked.study)}")


def _judged(study: Study, asked: Asked) -> Judging:
    """Ask, with progress; Ctrl-C ends it with exit code 130."""
    try:
        with CallMeter() as meter:
            return poise.judge(study, asked.url, asked.model, progress=meter, **asked.options)
    except KeyboardInterrupt:
        tell(f"Interrupted: every answer that came is kept in {study.path}.\nThe same command asks the rest.")
        raise typer.Exit(130) from None


def judged_record(done: Judging) -> JudgedRecord:
    """What a judge said, as JSON."""
    plan, trust = done.plan, done.reliability
    shares = {name: ShareRecord.model_validate(getattr(trust, name)._asdict()) for name in _SHARES}
    return JudgedRecord(
        study=str(plan.study), judge=plan.model, question=plan.question, baselines=_baselines(plan), pairs=plan.pairs,
        same=plan.same, alone=plan.alone, answers=plan.calls, kept=plan.kept, asked=done.asked,
        withheld=trust.withheld, notes=done.notes, **shares,
    )  # fmt: skip


def plan_record(plan: JudgePlan) -> JudgePlanRecord:
    """A plan as JSON."""
    return JudgePlanRecord(
        study=str(plan.study), url=plan.url, judge=plan.model, question=plan.question, baselines=_baselines(plan),
        pairs=plan.pairs, same=plan.same, alone=plan.alone, answers=plan.calls, kept=plan.kept, missing=plan.missing,
        characters=plan.characters,
    )  # fmt: skip


_SHARES = ("orders", "repeats", "first", "garbage", "refusals")


def _baselines(plan: JudgePlan) -> dict[str, Any]:
    return {case: params_record(trial.params) for case, trial in plan.baselines.items()}
