"""export and import: settings on their way into an engine, and back."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

import poise
from poise.cli.declared import with_flags_of
from poise.cli.evidence import JsonFlag, reading
from poise.cli.export_records import Exported, Imported, LossRecord, OutcomeRecord
from poise.cli.flags import MODEL, AllowFlag, allow_named
from poise.cli.settings import EXAMPLE, HELP, read_settings, words_of
from poise.cli.terminal import quoted, room, show, show_json, tell, wrapped
from poise.errors import ParameterError, UsageError
from poise.exports.catalogue import TARGETS, find_form, find_target
from poise.exports.outcome import Outcome
from poise.exports.reading import LARGEST, read_found, read_text
from poise.exports.settling import Found
from poise.params import SamplingParams
from poise.places import latest_study
from poise.records import params_record
from poise.study import Study
from poise.targets import checked_target

STUDY = "Of a study"
MEASURED = "Losses, measured on a model"
STORY = "creative-story"  # a use case to measure on, where a following command has to name one
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="STUDY|SETTINGS", help=f"A study's file. Default: the study drawn last. Or: {HELP}"),
]
_SQLITE = b"SQLite"  # how a study's file begins, damaged ones mostly too
Formats = ", ".join(TARGETS)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for with the flags of `export`."""

    to: Annotated[str, typer.Option("--to", metavar="TARGET", help=f"{Formats}.")]
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="File of the artefact. Default, and -: stdout.")
    ] = None
    form: Annotated[
        str | None,
        typer.Option("--form", help="json, python or flags, where a target is written in several ways."),
    ] = None
    gguf: Annotated[
        str | None, typer.Option("--gguf", metavar="FILE", help="A GGUF file: -o gets a copy with these settings.")
    ] = None
    dialect: Annotated[
        str | None, typer.Option("--dialect", help="Whose order and rules SETTINGS have. Default: transformers.")
    ] = None
    study: Annotated[str | None, typer.Option("--study", rich_help_panel=STUDY, help="The same as STUDY.")] = None
    setting: Annotated[
        str | None,
        typer.Option("--setting", rich_help_panel=STUDY, help="A trial. Default: what the verdict recommends."),
    ] = None
    use_case: Annotated[str | None, typer.Option("--use-case", rich_help_panel=STUDY, help="One of its use cases.")] = (
        None
    )
    model: Annotated[
        str | None,
        typer.Option("--model", rich_help_panel=MEASURED, help="Say how far each loss moves the law on this model."),
    ] = None
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", rich_help_panel=MEASURED, help="Along a use case's prompts; a study has its own."),
    ] = None
    prompt: Annotated[str | None, typer.Option("--prompt", rich_help_panel=MEASURED, help="Along one prompt.")] = None
    dtype: Annotated[str, typer.Option("--dtype", rich_help_panel=MODEL, help="float32, bfloat16 or float16.")] = "auto"
    device: Annotated[str, typer.Option("--device", rich_help_panel=MODEL, help="cpu, cuda, cuda:1 or mps.")] = "auto"
    allow: AllowFlag = ()  # type: ignore[assignment]  # Typer makes a list of it
    as_json: JsonFlag = False


@with_flags_of(Asked)
def export(asked: Asked, words: Words = None) -> None:
    """Write settings as another engine takes them, with every loss named.

    The same law where that is possible: values are converted, the order of the
    steps is told where an engine can be told one, what is off is written as off.
    """
    asked = replace(asked, output=None) if asked.output == "-" else asked
    find_form(find_target(asked.to), asked.form)
    _check(asked)
    allow_named(asked.allow)
    named = _study_of(words, asked)
    if named is None:
        found = _exported(read_settings(words or [], asked.dialect), asked)
    else:
        with reading(named, judging=False, command="export") as study:
            found = _exported(study, asked)
    written = None if asked.output is None else found.write(asked.output, asked.gguf)
    if asked.as_json:
        show_json(record_of(found, asked.model, written))
    elif written is None:
        sys.stdout.write(found.text)
        tell(f"\n{_shown(found)}\n\nNext: {_following(words, asked, found)}")
    else:
        show(f"{_shown(found)}\n\n{written}\n\nNext: {_following(words, asked, found)}")


def _shown(found: poise.Export) -> str:
    """The table as it is, what stands around it as wide as the terminal."""
    return found.table().text(room())


def _check(asked: Asked) -> None:
    """What no flag is wrong in by itself, before anything is read."""
    if asked.file is not None and asked.prompt is not None:
        raise UsageError("Losses are measured on a prompt or on a use case", "both", "Drop one")
    if asked.model is None and (asked.file is not None or asked.prompt is not None):
        raise UsageError("Losses are measured on a model", "prompts without one", "For example --model smollm2")
    if asked.gguf is not None and asked.to != "gguf":
        raise UsageError("--gguf is for the target gguf", f"it with --to {asked.to}", "Take --to gguf, or leave it out")
    if asked.gguf is not None and asked.output is None:
        raise UsageError("The copy of a GGUF file goes to a file", "none", "Add -o copy.gguf")
    if asked.output is not None:
        checked_target(asked.output, what="An artefact", example="-o settings.json")


def _study_of(words: Sequence[str] | None, asked: Asked) -> str | None:
    """The study that is meant; None for settings."""
    given = list(words or [])
    is_study = len(given) == 1 and "=" not in given[0] and not given[0].lower().endswith(".json")
    if given and not is_study:
        of_study = {"--study": asked.study, "--setting": asked.setting, "--use-case": asked.use_case}
        if said := [flag for flag, value in of_study.items() if value is not None]:
            raise UsageError(f"{said[0]} is for a study", f"it with {given[0]}", "Leave one of them out")
        return None
    if asked.dialect is not None:
        raise UsageError("A study's settings have a dialect", f"--dialect {asked.dialect} too", "Leave it out")
    if given and asked.study is not None:
        raise UsageError("A study is named once", f"{given[0]} and --study {asked.study}", "Keep one")
    if given and not Path(given[0]).exists():
        raise UsageError(
            "A study's file or settings are exported", repr(given[0]), f"For example: poise export {EXAMPLE} --to vllm"
        )
    named = given[0] if given else asked.study
    if named is not None:
        _check_no_artefact(named)
    return named or str(latest_study())


def _check_no_artefact(named: str) -> None:
    """An engine's own file is no study: say what reads it."""
    if not Path(named).is_file():
        return
    try:
        with Path(named).open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                return
        read_found(Path(named))
    except OSError:
        return
    except ParameterError:
        pass  # an engine's, with something that the import will name
    except UsageError:
        return
    raise UsageError(
        "A study's file or settings are exported", f"'{named}', which holds an engine's settings",
        f"`poise import {quoted(named)}` reads them, and says how they are exported",
    )  # fmt: skip


def _exported(given: SamplingParams | Study, asked: Asked) -> poise.Export:
    of_study: dict[str, Any] = {}
    if isinstance(given, Study):
        of_study = {"setting": asked.setting, "use_case": asked.use_case}
    if asked.model is None:
        return poise.export(given, asked.to, form=asked.form, **of_study)
    prompts = asked.prompt if asked.file is None else poise.load_use_case(asked.file)
    if sys.stderr.isatty():
        tell(f"Loading {asked.model} …")
    engine = poise.load(asked.model, dtype=asked.dtype, device=asked.device)
    return poise.export(given, asked.to, form=asked.form, engine=engine, prompts=prompts, **of_study)


def record_of(found: poise.Export, model: str | None, written: Path | None) -> Exported:
    """An export as JSON."""
    total = found.total_variation
    return Exported(
        target=found.target, form=found.form, file=None if written is None else os.path.abspath(written),
        artefact=found.text, source=params_record(found.source), params=params_record(found.params),
        outcomes=[
            OutcomeRecord(parameter=o.parameter, value=o.value, there=o.there, kind=o.kind, why=o.why, ties=o.ties)
            for o in found.outcomes
        ],
        losses=[_loss(o) for o in found.losses], total_variation=None if total is None else total.mean,
        highest=None if total is None else total.highest, model=model,
        next_tokens=0 if total is None else total.tokens, prompts=0 if total is None else total.prompts,
        evidence=found.origin.evidence, notes=list(found.notes),
    )  # fmt: skip


def _loss(outcome: Outcome) -> LossRecord:
    share = outcome.total_variation
    assert outcome.kind != "exact"
    return LossRecord(
        parameter=outcome.parameter, kind=outcome.kind, why=outcome.why, beside=list(outcome.beside),
        total_variation=None if share is None else share.mean, highest=None if share is None else share.highest,
    )  # fmt: skip


def _following(words: Sequence[str] | None, asked: Asked, found: poise.Export) -> str:
    """Read it back; or, where something is lost and nobody knows how much, measure that; or write it."""
    if asked.output is not None:
        return f"poise import {quoted(asked.output)}{'' if asked.gguf else f' --format {asked.to}'}"
    given = [*(words or []), *(w for flag, value in _kept(asked) if value is not None for w in (flag, value))]
    measurable = found.losses and TARGETS[asked.to].dialect != "server"
    if measurable and asked.model is None:
        given += ["--model", "smollm2", *(["-f", STORY] if not found.origin.study else [])]
    elif asked.to == "gguf":
        given += ["--gguf", "MODEL.gguf", "-o", "copy.gguf"]
    else:
        given += ["-o", found.file]
    return " ".join(map(quoted, ["poise", "export", *given]))


def _kept(asked: Asked) -> list[tuple[str, str | None]]:
    return [
        ("--to", asked.to), ("--form", asked.form), ("--dialect", asked.dialect), ("--study", asked.study),
        ("--setting", asked.setting), ("--use-case", asked.use_case), ("--model", asked.model), ("-f", asked.file),
        ("--prompt", asked.prompt),
    ]  # fmt: skip


def import_settings(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file that `poise export` writes, or an engine's own; - for stdin.")
    ],
    format: Annotated[
        str | None, typer.Option("--format", metavar="TARGET", help=f"Whose it is: {Formats}. Default: as it says.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Read the settings that an engine's file, request, command line or code stands for.

    What it leaves out has the engine's own default. Fields that shape no law, such
    as lengths and stops, are listed and left out; unknown ones are errors.
    """
    found = read_text(_text(), format) if file == "-" else read_found(Path(file), format)
    if as_json:
        show_json(Imported(
            file=file if file == "-" else os.path.abspath(file), format=found.format,
            params=params_record(found.params), left_out=list(found.left_out), unsaid=dict(found.unsaid),
        ))  # fmt: skip
        return
    show(found.params.label)
    show("\n" + wrapped("\n".join(_said(found))))
    other = "vllm" if found.format != "vllm" else "llama.cpp"
    show(f"\nNext: poise export {' '.join(map(quoted, words_of(found.params)))} --to {other}")


def _text() -> str:
    """Standard input, never more than a settings file has: it may have no end."""
    try:
        found = sys.stdin.read(LARGEST + 1)
    except UnicodeDecodeError as error:
        raise UsageError("Settings on standard input are text", "bytes that are none", "Name a file") from error
    if len(found) > LARGEST:
        rule = f"Settings on standard input have at most {LARGEST:,} characters"
        raise UsageError(rule, "more", "Name a file of settings, or a GGUF file")
    return found


def _said(found: Found) -> list[str]:
    """What a reader should know of what was read."""
    lines = [f"Read as {found.format}: steps in the order of {found.params.dialect}."]
    if found.unsaid:
        filled = ", ".join(f"{name}={value:g}" for name, value in found.unsaid.items())
        lines.append(f"Not said there, so the engine's own: {filled}.")
    if found.left_out:
        lines.append(f"Left out, as no law of the next token depends on it: {', '.join(found.left_out)}.")
    return lines
