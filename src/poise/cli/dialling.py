"""dial: every value of a parameter at once."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import poise
from poise.cli.drawing import Files, MaybePrompt, Model, load, options_of
from poise.cli.flags import Drawing, again, flag, with_range_flags
from poise.cli.progress import ShareMeter
from poise.cli.schemas import Dialled, DialPlanRecord, DialRecord, PieceRecord
from poise.cli.terminal import clip, show, show_heading, show_json, tell, wrapped
from poise.errors import ParameterError, UsageError
from poise.params import PARAMETERS, SamplingParams
from poise.pieces import Dial, Dials, Piece
from poise.records import params_record
from poise.reports.readout import human_values, sentences

if TYPE_CHECKING:
    from poise.asks import Given
    from poise.dials import DialOptions, DialPlan
    from poise.sessions import Engine

MAX_TOKENS = 64  # a dial's cost grows with the square of the length
PAGE_DRAWS = 4  # draws side by side on a page
_SHOWN = 6  # pieces of a dial that the terminal shows
_SNIPPET = 160  # characters of each

MaxRows = Annotated[int | None, typer.Option("--max-rows", help="Stop after this many forward passes of one row.")]
Resolution = Annotated[
    float | None, typer.Option("--resolution", help="Give up stretches narrower than this; halve what is not exact.")
]
MaxTexts = Annotated[int | None, typer.Option("--max-texts", help="Stop after this many finished stretches.")]
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
    _check_given(prompt, files, page)
    prompts: list[Given] = [poise.load_use_case(f) for f in files] if prompt is None else [prompt]
    engine, options = load(model, asked), _options(asked, prompt is not None, page is not None)
    options["max_rows"], options["resolution"], options["max_texts"] = max_rows, resolution, max_texts
    plan = poise.plan_dial(engine, prompts, parameter, low, high, params=params, study=asked.study, **options)
    if asked.dry_run:
        _show_plan(plan, asked)
        return
    tell(str(plan))
    dials = dialled(engine, prompts, plan, options)
    written = None
    if page is not None:
        with poise.Study.open(plan.study, create=False, read_only=True) as study:
            written = poise.dial_report(study, dials, page, engine=engine)
    if asked.as_json:
        show_json(dialled_record(dials, plan, written))
        return
    _show(dials, plan, engine)
    if written is not None:
        show(f"\n{written}: move the {parameter} there; one file, opens without a network")
        show(f"\nNext: poise dump --what pieces --study {shlex.quote(str(plan.study))} -o pieces.csv")
        return
    words = [model, prompt] if prompt is not None else [model, *(w for f in files for w in ("-f", f))]
    show(f"\nNext: poise dial {shlex.join(words)}{_moving_flags(plan)} --report dial.html{again(asked)}")


def _moving_flags(plan: DialPlan) -> str:
    """The parameters as flags, each with a space in front."""
    kept = "".join(f" {flag(name)} {value:g}" for name, value in plan.params.active().items())
    return f" {flag(plan.parameter)} {plan.low:g}..{plan.high:g}{kept}"


def _moving(asked: Drawing) -> tuple[str, float, float]:
    """The one parameter that is a range."""
    if len(asked.ranges) != 1:
        got = f"{len(asked.ranges)}" if asked.ranges else "none"
        raise ParameterError("A dial moves one parameter over a range", got, "For example --temperature 0..1.5")
    ((parameter, (low, high)),) = asked.ranges.items()
    return parameter, low, high


def _fixed(asked: Drawing) -> SamplingParams:
    several = [name for name, values in asked.values.items() if len(values) > 1]
    if several:
        raise ParameterError(
            "Beside the one that moves, parameters of a dial have one value", f"several of {several[0]}", "Keep one"
        )
    [params] = poise.grid(dialect=asked.dialect, **asked.values)
    return params


def _options(asked: Drawing, lone: bool, page: bool) -> DialOptions:
    options = cast("DialOptions", options_of(asked, PAGE_DRAWS if page else 1))
    options["forks"] = page
    if lone and "max_tokens" not in options:
        options["max_tokens"] = MAX_TOKENS
    return options


def _check_given(prompt: str | None, files: list[str], page: str | None) -> None:
    if (prompt is None) == (not files):
        given = "both" if files else "neither"
        raise UsageError("A dial takes a prompt or use cases (-f)", given, 'For example: poise dial smollm2 "Hello"')
    if page is not None and (Path(page).is_dir() or not Path(page).parent.is_dir()):
        raise UsageError("A page goes to a file in a folder that is there", page, "For example --report dial.html")


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


def _show_plan(plan: DialPlan, asked: Drawing) -> None:
    if not asked.as_json:
        show(f"{plan}\n\nNext: the same without --dry-run")
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
        texts = f"{len(each.texts):,} texts on {len(each.pieces):,} pieces"
        show_heading(f"{clip(each.prompt.shown, 40)}, draw {each.draw}: {texts}")
        widest = sorted(sorted(each.pieces, key=lambda p: -p.span.width)[:_SHOWN], key=lambda p: p.span.low)
        for piece in widest:
            show(wrapped(f"{_range(piece, plan.parameter)}  {_snippet(piece)}"))
        if len(each.pieces) > _SHOWN:
            show(f"the widest {_SHOWN} of {len(each.pieces):,} pieces")
    if len(dials) > 4:
        show(f"and {len(dials) - 4:,} dials more")
    if len(dials) > 1:
        show("\n" + "\n".join(wrapped(said) for said in sentences(dials, human_values(engine, dials))))
    cost = dials.cost
    show(f"\n{dials.exact_share:.1%} of the range is known exactly")
    if cost.expected_pieces is not None:
        expected = f"expected {cost.expected_pieces:,.0f} pieces and {cost.expected_rows:,.0f} rows without sharing"
        show(f"{cost.pieces:,} pieces, {cost.rows:,} rows in {cost.seconds:.1f} s; {expected}")
    else:
        show(f"{cost.pieces:,} pieces, {cost.rows:,} rows in {cost.seconds:.1f} s")
    doubtful = sum(bool(p.doubtful) for d in dials for p in d.pieces)
    if doubtful:
        hold = "1 piece holds" if doubtful == 1 else f"{doubtful:,} pieces hold"
        show(f"{hold} a choice too close to be sure of on another machine")
    show(f"kept in {plan.study}")


def _range(piece: Piece, parameter: str) -> str:
    if PARAMETERS[parameter].kind == "int":
        last = int(piece.high) if piece.high_closed else int(piece.high) - 1
        return f"{int(piece.low)} to {last}"
    return str(piece.span)


def _snippet(piece: Piece) -> str:
    return "not finished" if piece.completion is None else clip(piece.completion.text, _SNIPPET)


def dialled_record(dials: Dials, plan: DialPlan, page: Path | None) -> Dialled:
    """What a dial found, as JSON."""
    cost = dials.cost
    return Dialled(
        study=str(plan.study), report=None if page is None else str(page), dials=[_dial_record(d) for d in dials],
        rows=cost.rows, expected_rows=cost.expected_rows, expected_pieces=cost.expected_pieces, seconds=cost.seconds,
        notes=list(dials.notes),
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
