"""The command line: every command, one line each, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import typer

import poise
from poise.cli import catalogues, demonstration, drawing, evidence
from poise.cli.flags import drawing as with_drawing_flags
from poise.cli.terminal import tell
from poise.errors import PoiseError


class Command(NamedTuple):
    """A command: its words, the function behind it, and an example that `--help` shows."""

    words: str
    function: Callable[..., None]
    example: str


COMMANDS = (
    Command("demo", demonstration.demo, "poise demo"),
    Command(
        "generate",
        with_drawing_flags(drawing.generate),
        'poise generate smollm2 "Once upon a time" --temperature 0.7 --draws 4',
    ),
    Command(
        "sweep",
        with_drawing_flags(drawing.sweep),
        'poise sweep smollm2 "Once upon a time" --temperature 0.3,0.5,0.9 --draws 8',
    ),
    Command("measure", evidence.measure, "poise measure --metric seq_rep_4"),
    Command("compare", evidence.compare, "poise compare temperature=0.3 temperature=0.9"),
    Command("report", evidence.report, "poise report -o report.html"),
    Command("dump", evidence.dump, "poise dump -o texts.parquet"),
    Command("list", catalogues.list_names, "poise list params"),
    Command("usecase new", catalogues.new_use_case, "poise usecase new mine.yaml"),
    Command("usecase show", catalogues.show_use_case, "poise usecase show creative-story"),
    Command("usecase list", catalogues.list_use_cases, "poise usecase list"),
)


def main() -> None:
    """The command `poise`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: what follows `poise`.

    Returns:
        0 done, 1 a check did not hold, 2 the user's mistake, 3 an engine or the system failed, 130 interrupted.
    """
    debug = bool(os.environ.get("POISE_DEBUG"))
    try:
        app(args=list(arguments), prog_name="poise")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 3
    except KeyboardInterrupt:
        tell("Interrupted.")
        return 130
    except PoiseError as error:
        if debug:
            raise
        tell(f"Error: {error}")
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        tell(f"poise failed: {type(error).__name__}: {error}\nPOISE_DEBUG=1 shows where. What was drawn is kept.")
        return 3
    return 0


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"poise {poise.__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Which decoding settings should I use, and what does each of them really do?"""


def _assemble() -> typer.Typer:
    options = {"no_args_is_help": True, "context_settings": {"help_option_names": ["--help", "-h"]}}
    made = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
        epilog="Start with: poise demo", **options,
    )  # fmt: skip
    made.callback()(_root)
    groups: dict[str, typer.Typer] = {}
    for words, function, example in COMMANDS:
        group, _, name = words.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(help="Use cases: prompts with a goal, in a YAML file.", **options)
            made.add_typer(groups[group], name=group)
        target = groups[group] if group else made
        target.command(name, epilog=f"Example: {example}")(function)
    return made


app = _assemble()
