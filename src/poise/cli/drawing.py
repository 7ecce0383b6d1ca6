"""generate and sweep: the plan, the drawing, what came of it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import poise
from poise.cli.explaining import check_nothing_kept, completion_record, said_of, show_whys, whole_plan
from poise.cli.flags import (
    MAX_TOKENS,
    AllowFlag,
    Drawing,
    Subject,
    allow_named,
    command,
    draws_of,
    law_of,
    with_drawing_flags,
)
from poise.cli.loading import check_dialect, load, look
from poise.cli.progress import Meter
from poise.cli.racing import sweep_in_rounds
from poise.cli.schemas import Generated, PlanRecord, Swept, TrialRecord
from poise.cli.terminal import clip, counted, quoted, show, show_heading, show_json, tell, wrapped
from poise.costs import actual_cost, price_of
from poise.errors import ParameterError, UsageError
from poise.params import DEFAULT_DIALECT, SamplingParams
from poise.records import Completion, params_record

if TYPE_CHECKING:
    from poise.asks import DrawOptions, Given
    from poise.sessions import Engine
    from poise.study import Study
    from poise.sweeps import Plan

SWEEP_DRAWS = 8  # fewer of one prompt give no interval
CASE_DRAWS = 4  # of 8 prompts and more: more prompts say more than more draws
_SNIPPET = 200  # characters of a text that a sweep shows
_SHOWN = 8  # settings that a sweep shows a text of

Model = Annotated[
    str, typer.Argument(help="smollm2, hf:NAME_OR_DIR, gguf:FILE, http://HOST/v1, …; see `poise list models`.")
]
OnePrompt = Annotated[str, typer.Argument(help="What to continue or answer.")]
MaybePrompt = Annotated[str | None, typer.Argument(help="What to continue or answer; or use -f.")]
Files = Annotated[
    list[str], typer.Option("--file", "-f", help="A use case: YAML, JSONL or CSV file, or built-in name. Repeatable.")
]
UntilDecided = Annotated[
    bool,
    typer.Option("--until-decided", help="Draw in rounds of prompts, drop what is worse, stop when it is settled."),
]
NoBaselines = Annotated[bool, typer.Option("--no-baselines", help="Leave out greedy, engine-default and vendor.")]


WhyFlag = Annotated[bool, typer.Option("--why", help="Show how far each parameter can move before the text changes.")]


@with_drawing_flags
def generate(model: Model, prompt: OnePrompt, asked: Drawing, explain: WhyFlag = False) -> None:
    """Draw texts of one prompt under one setting and print them."""
    settings = settings_of(asked)
    if len(settings) > 1:
        raise ParameterError("`generate` draws one setting", f"{len(settings)}", "`poise sweep` draws several")
    subject, again = Subject(model, prompt), draws_of(asked)
    if explain:
        check_nothing_kept(asked)
        again.append("--why")
    engine = load(model, asked)
    check_dialect(engine, asked)
    options = options_of(asked, 1)
    options["max_tokens"] = most = MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
    plan = poise.plan(engine, prompt, settings, study=asked.study, baselines=False, **options)
    plan = whole_plan(plan, most) if explain else plan
    if announced(plan, asked, command("generate", subject, asked, law_of(asked), again), kept=not explain):
        return
    if explain:
        show_whys(poise.why(engine, prompt, settings[0], **options), subject, asked)
        return
    with drawn(engine, prompt, settings, plan, options, baselines=False) as study:
        completions = [c for c in study.completions(params=plan.trials[0].params) if _answers(c, plan, options)]
        if asked.as_json:
            show_json(Generated(study=str(study.path), completions=[completion_record(c) for c in completions]))
            return
    for completion in completions:
        show_heading(f"{settings[0].label}, draw {completion.request.draw}")
        show(completion.text.strip("\n"))
    law = ["--temperature", "0.3,0.5,0.9", *law_of(asked, leave_out="temperature")]
    show(f"\nNext: {command('sweep', subject, asked, law)}")


@with_drawing_flags
def sweep(
    model: Model,
    asked: Drawing,
    prompt: MaybePrompt = None,
    files: Files = [],  # noqa: B006  Typer copies it
    no_baselines: NoBaselines = False,
    until_decided: UntilDecided = False,
    allow: AllowFlag = [],  # noqa: B006
) -> None:
    """Draw prompts under several settings and keep every text.

    The same command resumes; more draws, settings or prompts draw only what is missing.
    """
    _check_subject(prompt, files, until_decided, allow)
    settings = settings_of(asked)
    prompts: list[Given] = [poise.load_use_case(f) for f in files] if prompt is None else [prompt]
    engine = load(model, asked)
    look(engine, settings, asked)
    check_dialect(engine, asked)
    count = sum(len(item.prompts) if isinstance(item, poise.UseCase) else 1 for item in prompts)
    options = options_of(asked, CASE_DRAWS if count >= 8 else SWEEP_DRAWS)
    again = [*(["--no-baselines"] if no_baselines else []), *draws_of(asked)]
    if until_decided:
        cases = [item for item in prompts if isinstance(item, poise.UseCase)]
        more = ["--until-decided", *(word for name in allow for word in ("--allow-callable", name)), *again]
        anew = command("sweep", Subject(model, prompt, files), asked, law_of(asked), more)
        sweep_in_rounds(engine, cases, settings, asked, options, baselines=not no_baselines, again=anew)
        return
    plan = poise.plan(engine, prompts, settings, study=asked.study, baselines=not no_baselines, **options)
    if announced(plan, asked, command("sweep", Subject(model, prompt, files), asked, law_of(asked), again)):
        return
    with drawn(engine, prompts, settings, plan, options, baselines=not no_baselines) as study:
        if asked.as_json:
            show_json(swept_record(study, plan, engine))
            return
        show_result(study, plan, engine)
    naming = "" if asked.study is None else f" --study {quoted(asked.study)}"
    show(f"\nNext: poise measure{naming}")


def _check_subject(prompt: str | None, files: list[str], until_decided: bool, allow: list[str]) -> None:
    """What is swept is said once, and flags that would do nothing are refused."""
    if (prompt is None) == (not files):
        given = "both" if files else "neither"
        raise UsageError("A sweep takes a prompt or use cases (-f)", given, 'For example: poise sweep smollm2 "Hello"')
    if until_decided and not files:
        raise UsageError("--until-decided draws use cases with a goal", "a prompt", "Name one with -f")
    if allow and not until_decided:
        raise UsageError("--allow-callable goes with --until-decided", "it alone", "A plain sweep runs no check")
    allow_named(allow)


def settings_of(asked: Drawing) -> list[SamplingParams]:
    """Every setting that the flags say."""
    return poise.grid(dialect=asked.dialect or DEFAULT_DIALECT, **asked.values, **asked.lists)


def options_of(asked: Drawing, draws: int) -> DrawOptions:
    """What the user said about drawing; what they left out is left to the use case and its defaults.

    Args:
        asked: the flags.
        draws: texts per prompt and setting where the user did not say.
    """
    options: DrawOptions = {"draws": draws if asked.draws is None else asked.draws, "seed": asked.seed}
    if asked.max_tokens is not None:
        options["max_tokens"] = asked.max_tokens
    if asked.min_tokens is not None:
        options["min_tokens"] = asked.min_tokens
    if asked.stop:
        options["stop"] = tuple(asked.stop)
    if asked.chat is not None:
        options["chat"] = asked.chat
    if asked.system is not None:
        options["system"] = asked.system
    return options


def announced(plan: Plan, asked: Drawing, following: str, kept: bool = True) -> bool:
    """Show the plan; True where nothing else is to be done.

    Args:
        plan: what would be drawn.
        asked: the flags.
        following: the command that draws it.
        kept: whether the texts go to a study.
    """
    said = str(plan) if kept else said_of(plan)
    if not asked.dry_run:
        tell(said)
        return False
    if asked.as_json:
        show_json(plan_record(plan, kept))
    else:
        show(f"{said}\n\nNext: {following}")
    return True


@contextlib.contextmanager
def drawn(
    engine: Engine,
    prompts: Given | Sequence[Given],
    settings: Sequence[SamplingParams],
    plan: Plan,
    options: DrawOptions,
    *,
    baselines: bool,
) -> Iterator[Study]:
    """Draw what a plan says, with progress; gives the study, open.

    Ctrl-C ends it with exit code 130: everything that was finished is kept.
    """
    with warnings.catch_warnings(record=True) as caught, Meter(plan.max_new_tokens) as meter:
        warnings.simplefilter("always")
        try:
            study = poise.sweep(
                engine, prompts, settings, study=plan.study, baselines=baselines, progress=meter, **options
            )
        except KeyboardInterrupt:
            were = "text was drawn and is" if meter.total == 1 else "texts were drawn and are"
            kept = f"{meter.done:,} of {meter.total:,} {were} kept in {plan.study}"
            tell(f"Interrupted: {kept}.\nThe same command draws the rest.")
            raise typer.Exit(130) from None
    for warning in caught:
        if str(warning.message) not in plan.notes:
            tell(f"Note: {warning.message}")
    with study:
        yield study


def show_result(study: Study, plan: Plan, engine: Engine) -> None:
    """What was drawn and what it cost, and the first text of each setting."""
    summary = study.last_sweep
    if summary is not None:
        steps = counted(summary.tokens, "step")
        shared = None if summary.requests else summary.shared
        saved = "" if shared is None else f"; sharing saved {shared:.0%} of {steps}"
        show(f"{counted(summary.drawn, 'text')} drawn, {summary.reused:,} reused{saved}\nkept in {study.path}")
        if cost := actual_cost(summary, engine):
            show(cost)
    if plan.trials:
        show(f"\n{clip(plan.prompts[0].shown, _SNIPPET)}")
    for trial in plan.trials[:_SHOWN]:
        also = f" ({', '.join(trial.names)})" if trial.names else ""
        show_heading(trial.label + also)
        for completion in study.completions(plan.use_cases[0], trial.params, with_logprobs=False):
            if completion.request.prompt == plan.prompts[0] and completion.request.seed == plan.seed:
                show(wrapped(clip(completion.text, _SNIPPET)))
                break
    if len(plan.trials) > _SHOWN:
        show(f"and {counted(len(plan.trials) - _SHOWN, 'setting')} more")


def swept_record(study: Study, plan: Plan, engine: Engine) -> Swept:
    """What a sweep did, as JSON: the trials of its use cases, all their completions counted."""
    summary = study.last_sweep
    assert summary is not None, "a sweep that ends is logged"
    trials = [
        TrialRecord(use_case=case, params=params_record(t.params), names=list(t.names), n=study.count(case, t.params))
        for case in plan.use_cases
        for t in plan.trials
    ]
    return Swept(
        study=str(study.path), trials=trials, drawn=summary.drawn, reused=summary.reused, rows=summary.rows,
        requests=summary.requests, retries=summary.retries, prompt_tokens=summary.prompt_tokens, tokens=summary.tokens,
        price=price_of(summary, engine),
    )  # fmt: skip


def plan_record(plan: Plan, kept: bool = True) -> PlanRecord:
    """A plan as JSON; `kept` says whether the texts go to its study."""
    return PlanRecord(
        study=str(plan.study) if kept else None, model=plan.model, use_cases=list(plan.use_cases),
        prompts=len(plan.prompts), settings=[params_record(t.params) for t in plan.trials], draws=plan.draws,
        seed=plan.seed, total=plan.total, reused=plan.reused, missing=plan.missing,
        max_new_tokens=plan.max_new_tokens, seconds=plan.seconds, notes=list(plan.notes),
    )  # fmt: skip


def _answers(completion: Completion, plan: Plan, options: DrawOptions) -> bool:
    """Whether a completion of the study is one of those just asked for."""
    request = completion.request
    return (
        request.prompt == plan.prompts[0]
        and request.seed == options["seed"]
        and request.draw < options["draws"]
        and request.max_tokens == options["max_tokens"]
        and request.min_tokens == options.get("min_tokens", 0)
        and request.stop == options.get("stop", ())
    )
