"""The command line: every command, one entry each, and how it ends."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import typer

import poise
from poise.cli.terminal import tell
from poise.errors import PoiseError


class Command(NamedTuple):
    """A command.

    Args:
        words: what is typed after `poise`.
        where: module:function behind it, imported only when it is asked for: `poise --help` stays fast.
        summary: the first line of that function's docstring.
        example: shown by `--help`, run by a test.
    """

    words: str
    where: str
    summary: str
    example: str


COMMANDS = (
    Command(
        "demo",
        "poise.cli.demonstration:demo",
        "Measure an article's claims about temperature with its own prompts.",
        "poise demo",
    ),
    Command(
        "generate",
        "poise.cli.drawing:generate",
        "Draw texts of one prompt under one setting and print them.",
        'poise generate smollm2 "Once upon a time" --temperature 0.7 --draws 4',
    ),
    Command(
        "sweep",
        "poise.cli.drawing:sweep",
        "Draw prompts under several settings and keep every text.",
        'poise sweep smollm2 "Once upon a time" --temperature 0.3,0.5,0.9 --draws 8',
    ),
    Command(
        "dial",
        "poise.cli.dialling:dial",
        "Find every text for every value of a parameter.",
        'poise dial smollm2 "Once upon a time" --temperature 0..1.5 --draws 4',
    ),
    Command(
        "probe",
        "poise.cli.probing:probe",
        "Find out what a server really does with every parameter.",
        "poise probe http://localhost:8000/v1",
    ),
    Command(
        "score",
        "poise.cli.scoring:score",
        "Score a text, or the reference texts of a use case: how surprising the model finds it.",
        'poise score smollm2 "Once upon a time, the ship" " sailed on and on."',
    ),
    Command(
        "judge",
        "poise.cli.judging:judge",
        "Have a judge model compare every text with the baseline's of the same draw.",
        "poise judge --url http://localhost:8000/v1 --model qwen3-8b",
    ),
    Command(
        "measure",
        "poise.cli.evidence:measure",
        "Put numbers on a study, with 95 % intervals.",
        "poise measure --metric seq_rep_4",
    ),
    Command(
        "compare",
        "poise.cli.evidence:compare",
        "Compare two trials prompt by prompt and draw by draw.",
        "poise compare temperature=0.3 temperature=0.9",
    ),
    Command(
        "decide",
        "poise.cli.deciding:decide",
        "Say which setting suits a use case, how sure that is, and what it delivers.",
        "poise decide --lower seq_rep_4 --matters 0.05",
    ),
    Command(
        "report",
        "poise.cli.evidence:report",
        "Write a study as one self-contained page.",
        "poise report -o report.html",
    ),
    Command(
        "dump",
        "poise.cli.evidence:dump",
        "Write every completion, piece or curve as JSONL, CSV or Parquet; curves also as a figure.",
        "poise dump -o texts.parquet",
    ),
    Command(
        "law",
        "poise.cli.lawing:law",
        "Follow one next token through every step of a dialect, as numbers and as a picture.",
        "poise law --logits 3,2,1 --temperature 0.5 --top-p 0.8 --beside llama.cpp",
    ),
    Command(
        "lint",
        "poise.cli.linting:lint",
        "Look settings through: what does nothing, contradicts, or changes in another engine.",
        "poise lint temperature=0 top_p=0.9 top_k=40 --to llama.cpp",
    ),
    Command(
        "export",
        "poise.cli.exporting:export",
        "Write settings as another engine takes them, with every loss named.",
        "poise export temperature=0.7 min_p=0.05 --to ollama -o Modelfile",
    ),
    Command(
        "import",
        "poise.cli.exporting:import_settings",
        "Read the settings that an engine's file, request, command line or code stands for.",
        "poise import Modelfile",
    ),
    Command(
        "list",
        "poise.cli.catalogues:list_names",
        "List parameters, metrics, engines, models, dialects or use cases.",
        "poise list params",
    ),
    Command(
        "usecase new",
        "poise.cli.catalogues:new_use_case",
        "Write a commented use-case file to start from.",
        "poise usecase new mine.yaml",
    ),
    Command(
        "usecase show",
        "poise.cli.catalogues:show_use_case",
        "Show what a use case is for, its goal, prompts and checks.",
        "poise usecase show creative-story",
    ),
    Command(
        "usecase list",
        "poise.cli.catalogues:list_use_cases",
        "List the built-in use cases.",
        "poise usecase list",
    ),
)
GROUPS = {"usecase": "Write, show and list use cases: prompts with a goal, in a YAML file."}
_SETTINGS = {"help_option_names": ["--help", "-h"]}


def main() -> None:
    """The command `poise`."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:  # told already; Python would try once more as it ends, and say so in its own words
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: what follows `poise`.

    Returns:
        0 done, 1 a check did not hold, 2 the user's mistake, 3 an engine or the system failed, 130 interrupted.
    """
    debug = bool(os.environ.get("POISE_DEBUG"))
    first = next((word for word in arguments if not word.startswith("-")), "")
    try:
        assemble(first)(args=list(arguments), prog_name="poise")
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


def assemble(first: str | None = None) -> typer.Typer:
    """The Typer application.

    Args:
        first: the first word of the command that will run; only that one is imported. None for all.

    Returns:
        The application, with stand-ins that know their summaries for all other commands.
    """
    made = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich", no_args_is_help=True,
        context_settings=_SETTINGS, epilog="Start with: poise demo",
    )  # fmt: skip
    made.callback()(_root)
    groups = {
        name: typer.Typer(help=said, no_args_is_help=True, context_settings=_SETTINGS) for name, said in GROUPS.items()
    }
    for name, group in groups.items():
        made.add_typer(group, name=name)
    for command in COMMANDS:
        group_name, _, name = command.words.rpartition(" ")
        wanted = first is None or command.words.split()[0] == first
        function = function_of(command) if wanted else _stand_in
        target = groups[group_name] if group_name else made
        target.command(name, short_help=command.summary, epilog=f"Example: {command.example}")(function)
    return made


def function_of(command: Command) -> Callable[..., None]:
    """The function behind a command."""
    module, _, name = command.where.partition(":")
    function: Any = getattr(importlib.import_module(module), name)
    return function  # type: ignore[no-any-return]


def _stand_in() -> None:
    raise AssertionError("only listed, never run")


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"poise {poise.__version__}\n")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Which decoding settings should I use, and what does each of them really do?"""
