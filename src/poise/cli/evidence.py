"""measure, compare, report, dump: what a study says, and the way out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

import typer

import poise
from poise.cli.aims import Wanted, with_goal_flags
from poise.cli.flags import AllowFlag, allow_named, allowed, any_number
from poise.cli.schemas import Compared, ComparisonRecord, Dumped, Measured, MeasurementRecord, Reported
from poise.cli.terminal import counted, quoted, show, show_json, tell
from poise.errors import StudyError, UsageError
from poise.places import latest_dial

if TYPE_CHECKING:
    from poise.study import Study

StudyFlag = Annotated[str | None, typer.Option("--study", help="File of the study. Default: the one drawn last.")]
DialStudyFlag = Annotated[
    str | None,
    typer.Option("--study", help="File of the study. Default: the one drawn last; of pieces and curves, dialled last."),
]
MetricFlag = Annotated[list[str], typer.Option("--metric", "-m", help="A metric, by name. Repeatable. Default: all.")]
CurveFlag = Annotated[
    list[str],
    typer.Option("--metric", "-m", help="A metric of curves, by name. Repeatable. Default: loop_rate and nll."),
]
UseCaseFlag = Annotated[str | None, typer.Option("--use-case", help="One use case of the study. Default: all.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else to stdout; see docs/json.md.")]
Format = Literal["jsonl", "csv", "parquet", "svg", "png", "pdf"]
TABLES = ("jsonl", "csv", "parquet")
What = Literal["completions", "pieces", "curves"]


@contextlib.contextmanager
def reading(path: str | None, *, judging: bool, command: str = "") -> Iterator[Study]:
    """A study to read: the one named, else the latest.

    Args:
        path: as typed; None where none was.
        judging: whether to tell what no printed table will say.
        command: what needs completions; a study of dials alone is then refused, with the way to read it.
    """
    with poise.Study.open(path or _latest(), create=False, read_only=True) as study:
        if command and not study.use_cases() and study.dials():
            named = quoted(str(study.path))
            raise StudyError(
                f"`poise {command}` reads texts that `poise sweep` drew", f"{study.path}, which holds dials alone",
                f"`poise dump --what curves -o curves.csv --study {named}` writes numbers along them, "
                "and the same `poise dial ... --report dial.html` a page",
            )  # fmt: skip
        for caveat in study.caveats() if judging else ():
            tell(f"Note: {caveat}.")
        yield study


def _latest() -> Path:
    """The study drawn last; where nothing but dials was ever made, theirs."""
    try:
        return poise.latest_study()
    except StudyError:
        with contextlib.suppress(StudyError):
            return latest_dial()
        raise


def naming(path: str | None) -> str:
    """The flag that a following command needs to read the same study."""
    return "" if path is None else f" --study {quoted(path)}"


def measure(
    metrics: MetricFlag = [],  # noqa: B006  Typer copies it
    use_case: UseCaseFlag = None,
    study: StudyFlag = None,
    allow: AllowFlag = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Put numbers on a study, with 95 % intervals."""
    allow_named(allow)
    with reading(study, judging=as_json, command="measure") as opened:
        rows = poise.measure(opened, metrics=metrics or None, use_case=use_case)
        if as_json:
            show_json(Measured(study=str(opened.path), rows=[MeasurementRecord.model_validate(r) for r in rows.rows()]))
            return
        show(str(rows))
        labels = list(dict.fromkeys(t.label for t in opened.trials(use_case) if not t.names))
    labels = [*labels, "greedy", "engine-default"][:2] if len(labels) < 2 else [labels[0], labels[-1]]
    show(f"\nNext: poise compare {' '.join(map(quoted, labels))}{naming(study)}{allowed(allow)}")


def compare(
    a: Annotated[str, typer.Argument(help="A trial: its settings (temperature=0.3,top_p=0.9) or greedy, vendor, …")],
    b: Annotated[str, typer.Argument(help="The trial to compare with it; differences are B minus A.")],
    metrics: MetricFlag = [],  # noqa: B006
    matters: Annotated[
        float | None,
        typer.Option(
            "--matters",
            metavar="X",
            parser=any_number("--matters", "0.02"),
            help="The smallest difference that matters, in the metric's unit: how likely was it to be found? Default: "
            "what the goal says.",
        ),
    ] = None,
    use_case: UseCaseFlag = None,
    study: StudyFlag = None,
    allow: AllowFlag = [],  # noqa: B006
    as_json: JsonFlag = False,
) -> None:
    """Compare two trials prompt by prompt and draw by draw.

    Says whether the difference is there, or how large it would have to be to be seen.
    """
    allow_named(allow)
    with reading(study, judging=as_json, command="compare") as opened:
        rows = poise.compare(opened, a, b, metrics=metrics or None, use_case=use_case, matters=matters)
        if as_json:
            show_json(Compared(study=str(opened.path), rows=[ComparisonRecord.model_validate(r) for r in rows.rows()]))
            return
        show(str(rows))
        goals = [name for name in opened.use_cases() if opened.goal(name) is not None]
    show(f"\nNext: poise {'decide' if goals else 'report'}{naming(study)}{allowed(allow)}")


@with_goal_flags
def report(
    output: Annotated[str, typer.Option("--output", "-o", help="File of the page.")] = "report.html",
    study: StudyFlag = None,
    allow: AllowFlag = [],  # noqa: B006
    as_json: JsonFlag = False,
    *,
    wanted: Wanted,
) -> None:
    """Write a study as one self-contained page.

    Verdicts, charts with intervals, texts side by side, how the numbers were made and how to make them again.
    """
    allow_named(allow)
    with reading(study, judging=True, command="report") as opened:
        goals = wanted.goals(opened, opened.use_cases()) if wanted.said else None
        page = poise.report(opened, output, goals=goals)
        if as_json:
            show_json(Reported(study=str(opened.path), report=str(page)))
            return
    show(f"{page}  ({page.stat().st_size / 1e6:.1f} MB, one file, opens without a network)")
    show(f"\nNext: poise dump -o texts.jsonl{naming(study)}")


def dump(
    output: Annotated[str | None, typer.Option("--output", "-o", help="File to write. Default, and -: stdout.")] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="jsonl, csv, parquet; of curves svg, png, pdf. Default: by the name.")
    ] = None,
    what: Annotated[str, typer.Option("--what", help="completions, pieces (of dials) or curves.")] = "completions",
    metrics: CurveFlag = [],  # noqa: B006  Typer copies it
    study: DialStudyFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Write every completion, piece or curve as JSONL, CSV or Parquet; curves also as a figure."""
    output = None if output == "-" else output
    kind = _what(what, metrics)
    asked: dict[str, Any] = {"metrics": metrics} if metrics else {}
    if output is not None and Path(output).is_dir():
        raise UsageError("A dump goes to a file", f"the folder '{output}'" if output else "''", "Add -o texts.jsonl")
    chosen = _format(output, format)
    if output is None and (as_json or chosen not in ("jsonl", "csv")):
        needs = "--json" if as_json else chosen
        raise UsageError(f"{needs} needs a file for the data", "none", f"Add -o texts.{chosen}")
    of_dials = None if study or kind == "completions" else str(latest_dial())
    with reading(study or of_dials, judging=False) as opened:
        if output is None:
            poise.dump(opened, chosen, what=kind, **asked)
            return
        n = poise.dump(opened, chosen, Path(output), what=kind, **asked)
        if as_json:
            record = Dumped(study=str(opened.path), format=chosen, path=os.path.abspath(output), n=n)
            show_json(record)
            return
    following = {"completions": "measure", "pieces": "dump --what curves -o curves.csv", "curves": "list metrics"}[kind]
    if kind == "completions" and n == 0:
        following = "dump --what pieces -o pieces.csv"
    named = "" if kind == "curves" else naming(study)
    steps = kind == "curves" and chosen in TABLES
    written = f"{counted(n, 'step')} of curves" if steps else counted(n, kind.removesuffix("s"))
    show(f"{output}  ({written})\n\nNext: poise {following}{named}")


def _what(said: str, metrics: list[str]) -> What:
    if said not in get_args(What):
        raise UsageError(f"--what is one of {', '.join(get_args(What))}", repr(said), "Leave it out for completions")
    if metrics and said != "curves":
        raise UsageError("--metric chooses what curves show", f"--what {said}", "Add --what curves")
    return cast("What", said)


def _format(output: str | None, given: str | None) -> Format:
    suffix = Path(output).suffix.lstrip(".").lower() if output else "jsonl"
    chosen = given or ("jsonl" if suffix == "json" else suffix)
    for known in get_args(Format):
        if chosen == known:
            return known  # type: ignore[no-any-return]
    rule = "A dump's format is jsonl, csv or parquet, of curves also svg, png or pdf"
    raise UsageError(rule, repr(chosen), "Add --format jsonl")
