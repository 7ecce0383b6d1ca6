"""measure, compare, report, dump: what a study says, and the way out."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

import poise
from poise.cli.schemas import Compared, ComparisonRecord, Dumped, Measured, MeasurementRecord, Reported
from poise.cli.terminal import show, show_json
from poise.errors import UsageError
from poise.records import params_record

StudyFlag = Annotated[str | None, typer.Option("--study", help="File of the study. Default: the one drawn last.")]
MetricFlag = Annotated[list[str], typer.Option("--metric", "-m", help="A metric, by name. Repeatable. Default: all.")]
UseCaseFlag = Annotated[str | None, typer.Option("--use-case", help="One use case of the study. Default: all.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else to stdout; see docs/json.md.")]
Format = Literal["jsonl", "csv", "parquet"]


@contextlib.contextmanager
def reading(path: str | None) -> Iterator[Any]:
    """A study to read: the one named, else the latest."""
    with poise.Study.open(path or poise.latest_study(), create=False, read_only=True) as study:
        yield study


def naming(path: str | None) -> str:
    """The flag that a following command needs to read the same study."""
    return "" if path is None else f" --study {shlex.quote(path)}"


def measure(
    metrics: MetricFlag = [],  # noqa: B006  Typer copies it
    use_case: UseCaseFlag = None,
    study: StudyFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Put numbers on a study: per trial and metric the mean and its 95 % interval."""
    with reading(study) as opened:
        rows = poise.measure(opened, metrics=metrics or None, use_case=use_case)
        if as_json:
            show_json(Measured(study=str(opened.path), rows=measurement_records(rows)).model_dump(mode="json"))
            return
        show(str(rows))
        labels = list(dict.fromkeys(t.label for t in opened.trials(use_case) if not t.names))
    labels = (labels + ["greedy", "engine-default"])[:2] if len(labels) < 2 else [labels[0], labels[-1]]
    show(f"\nNext: poise compare {' '.join(map(shlex.quote, labels))}{naming(study)}")


def compare(
    a: Annotated[str, typer.Argument(help="A trial: its settings (temperature=0.3,top_p=0.9) or greedy, vendor, …")],
    b: Annotated[str, typer.Argument(help="The trial to compare with it; differences are B minus A.")],
    metrics: MetricFlag = [],  # noqa: B006
    use_case: UseCaseFlag = None,
    study: StudyFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare two trials prompt by prompt and draw by draw: is the difference really there?"""
    with reading(study) as opened:
        rows = poise.compare(opened, a, b, metrics=metrics or None, use_case=use_case)
        if as_json:
            show_json(Compared(study=str(opened.path), rows=comparison_records(rows)).model_dump(mode="json"))
            return
        show(str(rows))
    show(f"\nNext: poise report{naming(study)}")


def report(
    output: Annotated[str, typer.Option("--output", "-o", help="File of the page.")] = "report.html",
    study: StudyFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a study as one self-contained page: charts, texts side by side, how the numbers were made."""
    with reading(study) as opened:
        page = poise.report(opened, output)
        if as_json:
            show_json(Reported(study=str(opened.path), report=str(page)).model_dump(mode="json"))
            return
    show(f"{page}  ({page.stat().st_size / 1e6:.1f} MB, one file, opens without a network)")
    show(f"\nNext: poise dump -o texts.jsonl{naming(study)}")


def dump(
    output: Annotated[str | None, typer.Option("--output", "-o", help="File to write. Default: stdout.")] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="jsonl, csv or parquet. Default: by the file's name, else jsonl.")
    ] = None,
    study: StudyFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Write every completion of a study to a table: JSONL, CSV or Parquet."""
    chosen = _format(output, format)
    if output is None and (as_json or chosen == "parquet"):
        raise UsageError(
            f"{'--json' if as_json else 'Parquet'} needs a file for the data", "none", "Add -o texts.jsonl"
        )
    with reading(study) as opened:
        if output is None:
            poise.dump(opened, chosen, Path(f"/dev/fd/{sys.stdout.fileno()}"))
            return
        n = poise.dump(opened, chosen, Path(output))
        if as_json:
            record = Dumped(study=str(opened.path), format=chosen, path=os.path.abspath(output), n=n)
            show_json(record.model_dump(mode="json"))
            return
    show(f"{output}  ({n:,} completions)\n\nNext: poise measure{naming(study)}")


def measurement_records(rows: Sequence[Any]) -> list[MeasurementRecord]:
    """Measurements as JSON records."""
    return [
        MeasurementRecord(
            use_case=r.use_case, params=params_record(r.trial.params), names=list(r.trial.names), metric=r.metric,
            unit=r.unit, n=r.n, n_prompts=r.n_prompts, scope=r.scope, mean=r.mean, low=r.low, high=r.high, note=r.note,
        )
        for r in rows
    ]  # fmt: skip


def comparison_records(rows: Sequence[Any]) -> list[ComparisonRecord]:
    """Comparisons as JSON records."""
    return [
        ComparisonRecord(
            use_case=r.use_case, metric=r.metric, unit=r.unit, a=params_record(r.a.params), b=params_record(r.b.params),
            difference=r.difference, low=r.low, high=r.high, n_prompts=r.n_prompts, n_pairs=r.n_pairs, scope=r.scope,
            p_value=r.p_value, detected=r.detected, smallest_detectable=r.smallest_detectable,
            variance_ratio=r.variance_ratio, note=r.note,
        )
        for r in rows
    ]  # fmt: skip


def _format(output: str | None, given: str | None) -> Format:
    suffix = Path(output).suffix.lstrip(".").lower() if output else "jsonl"
    chosen = given or ("jsonl" if suffix == "json" else suffix)
    for known in get_args(Format):
        if chosen == known:
            return known  # type: ignore[no-any-return]
    raise UsageError("A dump's format is jsonl, csv or parquet", repr(chosen), "Add --format jsonl")
