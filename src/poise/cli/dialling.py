"""dial: every value of a parameter at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import poise
from poise.cli.drawing import Files, MaybePrompt, Model, options_of
from poise.cli.flags import (
    Drawing,
    Subject,
    any_number,
    command,
    draws_of,
    flag,
    law_of,
    whole_number,
    with_range_flags,
)
from poise.cli.grammar import RANGES
from poise.cli.loading import load
from poise.cli.progress import ShareMeter
from poise.cli.schemas import Dialled, DialPlanRecord, DialRecord, PieceRecord
from poise.cli.terminal import clip, counted, one_line, quoted, show, show_heading, show_json, stretch, tell, wrapped
from poise.costs import whole_cost
from poise.errors import ParameterError, UsageError
from poise.params import DEFAULT_DIALECT, PARAMETERS, WAITING, SamplingParams
from poise.pieces import Dial, Dials, Piece, alike
from poise.records import params_record
from poise.reports.readout import human_values, sentences
from poise.targets import checked_target

if TYPE_CHECKING:
    from poise.asks import Given
    from poise.branches import Budget
    from poise.dials import DialOptions, DialPlan
    from poise.sessions import Engine

MAX_TOKENS = 64  # a dial's cost grows with the square of the length
PAGE_DRAWS = 4  # draws side by side on a page
_SHOWN = 6  # pieces of a dial that the terminal shows
_SNIPPET = 160  # characters of each

MaxRows = Annotated[
    int | None,
    typer.Option(
        "--max-rows", parser=whole_number("--max-rows"), metavar="N",
        help="Stop after this many forward passes of one row.",
    ),
]  # fmt: skip
Resolution = Annotated[
    float | None,
    typer.Option(
        "--resolution", parser=any_number("--resolution", "0.001"), metavar="WIDTH",
        help="Give up stretches narrower than this; halve what is not exact.",
    ),
]  # fmt: skip
MaxTexts = Annotated[
    int | None,
    typer.Option(
        "--max-texts", parser=whole_number("--max-texts"), metavar="N",
        help="Stop after this many finished stretches.",
    ),
]  # fmt: skip
PageFlag = Annotated[str | None, typer.Option("--report", help="Write a page to move the parameter on.")]


@with_range_flags
def dial(
    model: Model,
    asked: Drawing,
    prompt: MaybePrompt = None,
    files: Files = [],  # noqa: B006  Typer copies it
    max_rows: MaxRows = None,
    resolution: Resolution = None,
    max_texts: MaxTexts = None,
    page: PageFlag = None,
) -> None:
    """Find every text for every value of a parameter.

    One parameter is a range, --temperature 0..1.5; the others stay. The same command resumes.
    """
    parameter, low, high = _moving(asked)
    params = _fixed(asked)
    _check_given(prompt, files, page, asked.study)
    prompts: list[Given] = [poise.load_use_case(f) for f in files] if prompt is None else [prompt]
    engine, options = load(model, asked, dials=True), _options(asked, prompt is not None, page is not None)
    options["max_rows"], options["resolution"], options["max_texts"] = max_rows, resolution, max_texts
    plan = poise.plan_dial(engine, prompts, parameter, low, high, params=params, study=asked.study, **options)
    _check_page(page, plan.study)
    subject = Subject(model, prompt, files)
    if asked.dry_run:
        _show_plan(plan, asked, _again(subject, asked, options, page, draws_of(asked)))
        return
    tell(str(plan))
    dials = dialled(engine, prompts, plan, options)
    written = None if page is None else _written(page, dials, plan, engine)
    if asked.as_json:
        show_json(dialled_record(dials, plan, written))
        return
    _show(dials, plan, engine)
    if written is not None:
        show(f"\n{written}: move the {parameter} there; one file, opens without a network")
        show(f"\nNext: poise dump --what pieces --study {quoted(str(plan.study))} -o pieces.csv")
        return
    again = _again(subject, asked, options, "dial.html", ["--draws", str(plan.draws)])
    show(f"\nNext: {again}")


def _written(page: str, dials: Dials, plan: DialPlan, engine: Engine) -> Path:
    with poise.Study.open(plan.study, create=False, read_only=True) as study:
        return poise.dial_report(study, dials, page, engine=engine, budget=plan.budget)


def _again(subject: Subject, asked: Drawing, options: DialOptions, page: str | None, draws: Sequence[str]) -> str:
    """The same dial as a command, with a page where one is named."""
    limits = {name: options[name] for name in ("resolution", "max_rows", "max_texts")}
    most = [word for name, value in limits.items() if value is not None for word in (flag(name), repr(value))]
    report = [] if page is None else ["--report", page]
    return command("dial", subject, asked, law_of(asked), [*report, *draws, *most])


def _moving(asked: Drawing) -> tuple[str, float, float]:
    """The one parameter that is a range."""
    if len(asked.ranges) != 1:
        rule = "A dial moves one parameter over a range"
        if asked.ranges:
            got = " and ".join(f"{name}={asked.written[name]}" for name in asked.ranges)
            raise ParameterError(rule, got, "Keep one of them")
        first = next(iter(asked.values), "temperature")
        got = "; ".join(_described(name, asked) for name in asked.written) or "none"
        raise ParameterError(rule, got, f"For example {flag(first)} {RANGES[first]}")
    ((parameter, (low, high)),) = asked.ranges.items()
    return parameter, low, high


def _described(name: str, asked: Drawing) -> str:
    """What was written of a parameter that is no range."""
    text, many = asked.written[name].strip(), len(asked.values.get(name, [None]))
    kind = "one value" if many == 1 else f"a {'grid' if '..' in text else 'list'} of {many:,} values"
    return f"{name}={text}, {kind}"


def _fixed(asked: Drawing) -> SamplingParams:
    several = [name for name, values in asked.values.items() if len(values) > 1]
    if several:
        raise ParameterError(
            "Beside the one that moves, parameters of a dial have one value", _described(several[0], asked), "Keep one"
        )
    said = {name: value for name, (value,) in asked.values.items() if value is not None}
    return SamplingParams.model_validate(
        {**said, **asked.lists, "dialect": asked.dialect or DEFAULT_DIALECT}, context=WAITING
    )


def _options(asked: Drawing, lone: bool, page: bool) -> DialOptions:
    options = cast("DialOptions", options_of(asked, PAGE_DRAWS if page else 1))
    options["forks"] = page
    if lone and "max_tokens" not in options:
        options["max_tokens"] = MAX_TOKENS
    return options


def _check_given(prompt: str | None, files: list[str], page: str | None, study: str | None) -> None:
    if (prompt is None) == (not files):
        given = "both" if files else "neither"
        raise UsageError("A dial takes a prompt or use cases (-f)", given, 'For example: poise dial smollm2 "Hello"')
    _check_page(page, None if study is None else Path(study))


def _check_page(page: str | None, study: Path | None) -> None:
    if page is not None:
        checked_target(page, *([] if study is None else [study]), example="--report dial.html")


def dialled(engine: Engine, prompts: Sequence[Given], plan: DialPlan, options: DialOptions) -> Dials:
    """Dial with progress; Ctrl-C ends it with exit code 130, and every finished piece is kept."""
    with warnings.catch_warnings(record=True) as caught, ShareMeter("dialling") as meter:
        warnings.simplefilter("always")
        try:
            dials = poise.dial(
                engine, prompts, plan.parameter, plan.low, plan.high, params=plan.params, study=plan.study,
                progress=meter, **options,
            )  # fmt: skip
        except KeyboardInterrupt:
            tell(f"Interrupted: every finished piece is kept in {plan.study}.\nThe same command finds the rest.")
            raise typer.Exit(130) from None
    for warning in caught:
        if str(warning.message) not in plan.notes:
            tell(f"Note: {warning.message}")
    return dials


def _show_plan(plan: DialPlan, asked: Drawing, following: str) -> None:
    if not asked.as_json:
        show(f"{plan}\n\nNext: {following}")
        return
    e = plan.expected
    show_json(DialPlanRecord(
        study=str(plan.study), model=plan.model, parameter=plan.parameter, low=plan.low, high=plan.high,
        params=params_record(plan.params), exact=plan.how.exact, why=plan.how.why, prompts=len(plan.prompts),
        draws=plan.draws, held=plan.held, expected_pieces=e and e.pieces, expected_rows=e and e.rows,
        notes=list(plan.notes),
    ))  # fmt: skip


def _show(dials: Dials, plan: DialPlan, engine: Engine) -> None:
    """The widest pieces of each dial, what their curves say, what was expected and what it took."""
    for each in dials[:4]:
        texts = f"{counted(len(each.texts), 'text')} on {counted(len(each.pieces), 'piece')}"
        show_heading(f"{clip(each.prompt.shown, 40)}, draw {each.draw}: {texts}")
        widest = sorted(sorted(each.pieces, key=lambda p: -p.span.width)[:_SHOWN], key=lambda p: p.span.low)
        for piece in widest:
            show(wrapped(f"{_range(piece, plan.parameter)}  {_snippet(piece, plan.budget)}"))
        if len(each.pieces) > _SHOWN:
            show(f"the widest {_SHOWN} of {len(each.pieces):,} pieces")
    if len(dials) > 4:
        show(f"and {counted(len(dials) - 4, 'dial')} more")
    groups = [group for group in alike(dials) if len(group) > 1]
    for group in groups:
        show(f"\n{one_line(group[0].prompt.use_case)}:" if len(groups) > 1 else "")
        show("\n".join(wrapped(said) for said in sentences(group, human_values(engine, group))))
    cost = dials.cost
    show(f"\n{dials.exact_share:.1%} of the range is known exactly")
    took = f"{counted(cost.pieces, 'piece')}, {counted(cost.rows, 'row')} in {cost.seconds:.1f} s"
    if cost.expected_pieces is not None and cost.expected_rows is not None:
        pieces, rows = counted(round(cost.expected_pieces), "piece"), counted(round(cost.expected_rows), "row")
        took += f"; expected {pieces} and {rows} without sharing"
    show(took)
    if asked := whole_cost(engine):
        show(asked)
    doubtful = sum(bool(p.doubtful) for d in dials for p in d.pieces)
    if doubtful:
        hold = "1 piece holds" if doubtful == 1 else f"{doubtful:,} pieces hold"
        show(f"{hold} a choice too close to be sure of on another machine")
    show(f"kept in {plan.study}")


def _range(piece: Piece, parameter: str) -> str:
    if PARAMETERS[parameter].kind == "int":
        last = int(piece.high) if piece.high_closed else int(piece.high) - 1
        return f"{int(piece.low)} to {last}"
    return stretch(piece.span)


def _snippet(piece: Piece, budget: Budget) -> str:
    """Its text, or why there is none."""
    if piece.completion is not None:
        return clip(piece.completion.text, _SNIPPET)
    if budget.resolution is not None and piece.span.width <= budget.resolution:
        return f"narrower than the resolution, {budget.resolution:g}"
    if budget.max_rows is None and budget.max_texts is None:
        return f"stretches narrower than the resolution, {budget.resolution:g}"  # neighbours, shown as one
    return "not finished: the budget ended"


def dialled_record(dials: Dials, plan: DialPlan, page: Path | None) -> Dialled:
    """What a dial found, as JSON."""
    cost = dials.cost
    return Dialled(
        study=str(plan.study), exact=plan.how.exact, why=plan.how.why, report=None if page is None else str(page),
        dials=[_dial_record(d) for d in dials], rows=cost.rows, expected_rows=cost.expected_rows,
        expected_pieces=cost.expected_pieces, seconds=cost.seconds, notes=list(dials.notes),
    )  # fmt: skip


def _dial_record(each: Dial) -> DialRecord:
    return DialRecord(
        prompt=each.prompt.shown, use_case=each.prompt.use_case, draw=each.draw, seed=each.seed,
        params=params_record(each.request.params), parameter=each.parameter, low=each.low, high=each.high,
        exact_share=each.exact_share, pieces=[_piece_record(p) for p in each.pieces],
    )  # fmt: skip


def _piece_record(piece: Piece) -> PieceRecord:
    done = piece.completion
    return PieceRecord(
        low=piece.low, high=piece.high, low_closed=piece.low_closed, high_closed=piece.high_closed, text=piece.text,
        token_ids=list(piece.prefix), finish_reason=None if done is None else done.finish_reason,
        parent=piece.parent, departs=piece.departs, doubtful=list(piece.doubtful),
    )  # fmt: skip
