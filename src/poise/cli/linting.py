"""lint: which settings do nothing, contradict, or change elsewhere."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import typer

import poise
from poise.cli.declared import with_flags_of
from poise.cli.evidence import JsonFlag
from poise.cli.flags import MODEL, whole_number
from poise.cli.law_records import InfluenceRecord, LintRecord, RemarkRecord
from poise.cli.progress import StepMeter
from poise.cli.settings import EXAMPLE, HELP, read_settings, words_of
from poise.cli.terminal import quoted, room, show, show_json, tell
from poise.errors import UsageError
from poise.lints import STEPS, TEXTS, Lint
from poise.params import SamplingParams
from poise.records import params_record

MEASURED = "Measured on a model"
STORY = "creative-story"  # the use case whose prompts are drawn where none is named
Words = Annotated[list[str] | None, typer.Argument(metavar="SETTINGS", help=HELP)]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for with the flags of `lint`."""

    to: Annotated[
        str | None,
        typer.Option("--to", metavar="TARGET", help="An engine, as `poise export` takes it: what it changes."),
    ] = None
    draws: Annotated[
        int,
        typer.Option(
            "--draws", parser=whole_number("--draws"), metavar="N", help="Texts a prompt that you mean to draw."
        ),
    ] = 1
    dialect: Annotated[
        str | None, typer.Option("--dialect", help="Whose order and rules hold. Default: transformers.")
    ] = None
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 on an error or a warning.")] = False
    model: Annotated[
        str | None, typer.Option("--model", rich_help_panel=MEASURED, help="Measure what each setting does on it.")
    ] = None
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", rich_help_panel=MEASURED, help=f"On a use case's prompts. Default: {STORY}."),
    ] = None
    prompt: Annotated[str | None, typer.Option("--prompt", rich_help_panel=MEASURED, help="On one prompt.")] = None
    texts: Annotated[
        int,
        typer.Option("--texts", parser=whole_number("--texts"), metavar="N", rich_help_panel=MEASURED,
                     help="Texts that are drawn."),
    ] = TEXTS  # fmt: skip
    steps: Annotated[
        int,
        typer.Option("--steps", parser=whole_number("--steps"), metavar="N", rich_help_panel=MEASURED,
                     help="Tokens of each at most."),
    ] = STEPS  # fmt: skip
    dtype: Annotated[str, typer.Option("--dtype", rich_help_panel=MODEL, help="float32, bfloat16 or float16.")] = "auto"
    device: Annotated[str, typer.Option("--device", rich_help_panel=MODEL, help="cpu, cuda, cuda:1 or mps.")] = "auto"
    as_json: JsonFlag = False


@with_flags_of(Asked)
def lint(asked: Asked, words: Words = None) -> None:
    """Look settings through: what does nothing, contradicts, or changes in another engine.

    With --model each setting is taken away at every step of texts drawn under all
    of them: how often does the law change, and how often the token?
    """
    if not words:
        raise UsageError("A lint looks at settings", "none", f"For example: poise lint {EXAMPLE}")
    params = read_settings(words, asked.dialect)
    if asked.file is not None and asked.prompt is not None:
        raise UsageError("A lint is measured on a prompt or on a use case", "both", "Drop one")
    if asked.model is None and (asked.file is not None or asked.prompt is not None):
        raise UsageError("Prompts are drawn by a model", "none", "For example --model smollm2")
    found = _measured(params, asked) if asked.model is not None else poise.lint(params, to=asked.to, draws=asked.draws)
    if asked.as_json:
        show_json(record_of(found, asked.model))
    else:
        show(found.text(room()))
        show(f"\nNext: {_following(found, asked)}")
    if asked.strict and not found.clean:
        raise typer.Exit(1)


def _measured(params: SamplingParams, asked: Asked) -> Lint:
    """A lint on a model, with progress for whoever watches."""
    prompts = asked.prompt if asked.prompt is not None else poise.load_use_case(asked.file or STORY)
    if sys.stderr.isatty():
        tell(f"Loading {asked.model} …")
    engine = poise.load(asked.model or "", dtype=asked.dtype, device=asked.device)
    with StepMeter("measuring") as meter:
        return poise.lint(
            params, to=asked.to, engine=engine, prompts=prompts, draws=asked.draws, texts=asked.texts,
            steps=asked.steps, progress=meter,
        )  # fmt: skip


def record_of(found: Lint, model: str | None) -> LintRecord:
    """A lint as JSON."""
    remarks = [
        RemarkRecord(
            rule=r.rule, level=r.level, kind=r.kind, parameters=list(r.parameters), said=r.said, next_step=r.next_step
        )
        for r in found.remarks
    ]  # fmt: skip
    influences = [
        InfluenceRecord(
            parameter=i.parameter, steps=i.steps, texts=i.texts, prompts=i.prompts, law=i.law, low=i.low, high=i.high,
            bound=i.bound, kept=i.kept, total_variation=i.total_variation, token=i.token,
        )
        for i in found.influences
    ]  # fmt: skip
    return LintRecord(
        params=params_record(found.params), target=found.target or None, model=model, clean=found.clean,
        remarks=remarks, influences=influences, notes=list(found.notes),
    )  # fmt: skip


def _following(found: Lint, asked: Asked) -> str:
    """What an engine is given, where one was named; else a measurement, of an example where nothing is on."""
    words = words_of(found.params) if found.params.steps else EXAMPLE.split() if asked.to is None else ["temperature=1"]
    if asked.to is not None:
        said = ["poise", "export", *words, "--to", asked.to]
    elif asked.model is None and "guidance_scale" not in found.params.steps:  # measured without a second pass
        said = ["poise", "lint", *words, "--model", "smollm2"]
    else:
        said = ["poise", "lint", *words, "--to", "vllm"]
    return " ".join(map(quoted, said))
