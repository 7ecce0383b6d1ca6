"""The flags of every command that draws, made from the parameters' data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

import poise
from poise.cli import grammar
from poise.cli.terminal import quoted
from poise.errors import ParameterError, UsageError
from poise.param_lists import LISTS, read_list
from poise.parameters import COMMON
from poise.params import DIALECTS, PARAMETERS

LAW = "Decoding parameters: a fixes, a,b,c sweeps, a..b:step is a grid, off leaves it out"
MORE = "More decoding parameters"
LAW_OF_DIAL = "Decoding parameters: a..b moves one (--top-k also 1..off), a fixes, off leaves it out"
DRAW = "Drawing"
MODEL = "Model"
SERVER = "Servers: http(s)://HOST/v1[#MODEL], ollama:NAME"
OUTPUT = "Output"
AllowFlag = Annotated[
    list[str],
    typer.Option(
        "--allow-callable", metavar="MODULE:FUNCTION",
        help="Run this Python function of a check on the texts. Only one that you have read. Repeatable.",
    ),
]  # fmt: skip
MAX_TOKENS = 128  # what poise draws where nobody says; `asks` decides, a test compares

# What each flag is: name, type, default, declarations, panel, help.
_DRAWING: tuple[tuple[str, Any, Any, tuple[str, ...], str, str], ...] = (
    ("dialect", str | None, None, ("--dialect",), LAW,
     "Whose order and boundary rules hold; see `poise list dialects`. Default: transformers; of a server its own."),
    ("draws", int | None, None, ("--draws", "-n"), DRAW,
     "Texts per prompt and setting. Default: generate 1; sweep 8, or 4 of 8 prompts and more."),
    ("seed", int, 0, ("--seed",), DRAW, "Any whole number; the same seed draws the same texts."),
    ("max_tokens", int | None, None, ("--max-tokens",), DRAW,
     "New tokens at most. Default: what the use case says, else 128."),
    ("min_tokens", int | None, None, ("--min-tokens",), DRAW,
     "The model cannot end the text before this many; a stop string still can. Default 0."),
    ("stop", list[str], [], ("--stop",), DRAW, "A string that ends the text and is not part of it. Repeatable."),
    ("chat", bool | None, None, ("--chat/--text",), DRAW,
     "Ask through the model's template, or continue the prompt as it is. Default: text for a plain prompt."),
    ("system", str | None, None, ("--system",), DRAW, "The system message of a chat; implies --chat."),
    ("study", str | None, None, ("--study",), DRAW, "File that keeps every text. Default: one per model and prompts."),
    ("dtype", str, "auto", ("--dtype",), MODEL, "auto, float32, bfloat16 or float16."),
    ("device", str, "auto", ("--device",), MODEL, "auto, cpu, cuda, cuda:1 or mps."),
    ("trust_remote_code", bool, False, ("--trust-remote-code",), MODEL,
     "Run Python code that ships with the model. Only for code you have read."),
    ("thinking", str | None, None, ("--thinking",), MODEL,
     "on or off: whether a model that can think before it answers is asked to; implies --chat. Default: left to it."),
    ("draws_by", str | None, None, ("--draws-by",), SERVER,
     "server, or poise: one token a request, drawn here, so that dials work. Default: server; for dials poise."),
    ("concurrency", int | None, None, ("--concurrency",), SERVER, "Requests under way at once. Default: found out."),
    ("rate", float | None, None, ("--rate",), SERVER, "Requests a second at most. Default: no limit."),
    ("timeout", float | None, None, ("--timeout",), SERVER, "Seconds that one whole answer may take. Default: 120."),
    ("key_env", str | None, None, ("--key-env",), SERVER,
     "The environment variable that holds the key. Default: OPENAI_API_KEY, over https or to this machine only."),
    ("anyway", bool, False, ("--anyway",), SERVER, "Send parameters that the probe found to have no effect."),
    ("price_in", float | None, None, ("--price-in",), SERVER, "Money per million tokens of prompts, to show the cost."),
    ("price_out", float | None, None, ("--price-out",), SERVER, "Money per million tokens of texts, to show the cost."),
    ("dry_run", bool, False, ("--dry-run",), OUTPUT, "Show the plan and its cost; draw nothing."),
    ("as_json", bool, False, ("--json",), OUTPUT, "Print JSON and nothing else to stdout; see docs/json.md."),
)  # fmt: skip
_ORDERABLE = ", ".join(d.name for d in DIALECTS.values() if d.orderable)
# Parameters that are no numbers: how their values are shown, and what they are.
LIST_FLAGS: Mapping[str, tuple[str, str]] = {
    "logit_bias": ("ID=BIAS,…", "Added to the logits of these tokens; off bars one. Also JSON."),
    "bad_words": ("ID:ID,…", "Sequences of token ids that are never completed. Also JSON."),
    "dry_breakers": ("TEXT;…", "Strings that end a repeated sequence for DRY, \\n a line's end. Also JSON."),
    "order": ("STEP,…", f"The order of the steps, where the dialect lets users choose: {_ORDERABLE}."),
}
# What a dial says of these instead: its defaults are its own.
_OF_DIAL: Mapping[str, str] = {
    "draws": "Dials per prompt. Default: 1; with --report 4, side by side on the page.",
    "max_tokens": "New tokens at most. Default: 64 for a prompt; for a use case what it says, else 128.",
}


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a user asked for with the drawing flags; see `_DRAWING` for each.

    Args:
        values: by parameter, as `grammar.parse` read them.
        lists: of parameters that are no numbers, as `param_lists.read_list` read them.
        ranges: by parameter, as `grammar.parse_range` read them; empty for commands that take none.
        written: by parameter, as it was typed.
    """

    values: Mapping[str, grammar.Values]
    lists: Mapping[str, Any]
    ranges: Mapping[str, tuple[float, float]]
    written: Mapping[str, str]
    dialect: str | None
    draws: int | None
    seed: int
    max_tokens: int | None
    min_tokens: int | None
    stop: list[str]
    chat: bool | None
    system: str | None
    study: str | None
    dtype: str
    device: str
    trust_remote_code: bool
    thinking: str | None
    draws_by: str | None
    concurrency: int | None
    rate: float | None
    timeout: float | None
    key_env: str | None
    anyway: bool
    price_in: float | None
    price_out: float | None
    dry_run: bool
    as_json: bool


class Subject(NamedTuple):
    """What a command is about: the model, and a prompt or use cases."""

    model: str
    prompt: str | None = None
    files: Sequence[str] = ()


def allow_named(names: Sequence[str]) -> None:
    """Let the checks of this command run the callables that `AllowFlag` named.

    Args:
        names: as typed.

    Raises:
        UseCaseError: one is no import path.
    """
    for name in names:
        poise.allow_callable(name)


def allowed(names: Sequence[str]) -> str:
    """The flags with which a following command may run the same callables, each with a space in front."""
    return "".join(f" --allow-callable {quoted(name)}" for name in names)


def flag(name: str) -> str:
    """How a parameter is written on the command line.

    >>> flag("top_p")
    '--top-p'
    """
    return "--" + name.replace("_", "-")


def with_range_flags(command: Callable[..., None]) -> Callable[..., None]:
    """`with_drawing_flags`, for a command whose parameters may be ranges."""
    return with_drawing_flags(command, ranges=True)


def with_drawing_flags(command: Callable[..., None], ranges: bool = False) -> Callable[..., None]:
    """Give a command every drawing flag; its last argument receives them as one `Drawing`.

    Args:
        command: a function with a parameter called `asked`.
        ranges: whether ``a..b`` is a range to it.

    Returns:
        The function as Typer is to see it.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "asked"]

    def with_flags(**given: Any) -> None:
        mine = {p.name: given.pop(p.name) for p in own}
        command(**mine, asked=_collect(given, ranges))

    flags = [
        inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=a) for n, a, d in _flags(ranges)
    ]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    with_flags.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
    with_flags.__name__, with_flags.__doc__ = command.__name__, command.__doc__
    return with_flags


def again(asked: Drawing) -> str:
    """How a following command is asked in the same way: every flag that is not at its default.

    Args:
        asked: the flags; decoding parameters, draws and output are left to the following command.

    Returns:
        The flags as typed, each with a space in front.
    """
    words: list[str] = []
    for name, _, default, (declared, *_), panel, _ in _DRAWING:
        value = getattr(asked, name)
        if value == default or name == "draws" or panel == OUTPUT:
            continue
        if isinstance(value, bool):
            words.append(declared.split("/")[0 if value else -1])
        else:
            words += [w for v in (value if isinstance(value, list) else [value]) for w in (declared, str(v))]
    return "".join(f" {quoted(word)}" for word in words)


def law_of(asked: Drawing, leave_out: str = "") -> list[str]:
    """The decoding parameters as they were typed, but for one."""
    return [word for name, text in asked.written.items() if name != leave_out for word in (flag(name), text)]


def draws_of(asked: Drawing) -> list[str]:
    """The number of draws, where the user said one."""
    return [] if asked.draws is None else ["--draws", str(asked.draws)]


def command(name: str, subject: Subject, asked: Drawing, law: Sequence[str], more: Sequence[str] = ()) -> str:
    """A command that asks as this one did, ready to be pasted.

    Args:
        name: of the command.
        subject: what it is about.
        asked: the flags that it shares; output is left out.
        law: its decoding parameters, see `law_of`.
        more: its other words.

    Returns:
        The command line, quoted for a shell.
    """
    given = [subject.model, *([] if subject.prompt is None else [subject.prompt])]
    dashed = any(word.startswith("-") for word in given)
    files = [word for file in subject.files for word in ("-f", file)]
    words = ["poise", name, *([] if dashed else given), *files, *law, *more]
    last = ["--", *given] if dashed else []
    return " ".join([*map(quoted, words)]) + again(asked) + "".join(f" {quoted(word)}" for word in last)


def checked_study(path: str | None) -> str | None:
    """A path that a study can have, before any work: in a folder that is there.

    Args:
        path: as typed; None where none was.

    Returns:
        The same.

    Raises:
        UsageError: no name, or a folder that is not there.
    """
    if path is not None and (not path or not Path(path).parent.exists()):
        got = repr(path) if not path else f"{path}: no folder {Path(path).parent}"
        raise UsageError("A study is a file in a folder that is there", got, "Make the folder, or name another --study")
    return path


def _flags(ranged: bool) -> list[tuple[str, Any, Any]]:
    """Name, annotation and default of every drawing flag, common ones first."""
    law = LAW_OF_DIAL if ranged else LAW
    common, more = law_flags(law)
    pairs = typer.Option("-p", metavar="NAME=VALUES", rich_help_panel=law, help="The same, for scripts. Repeatable.")
    made: list[tuple[str, Any, Any]] = [*common, ("pairs", Annotated[list[str], pairs], [])]
    for name, kind, default, declared, panel, meaning in _DRAWING:
        shown = default not in (None, False, [])
        parser: Callable[[Any], Any] | None = whole_number(declared[0]) if kind in (int, int | None) else None
        if kind == float | None:
            parser = any_number(declared[0], "2.5")
        option = typer.Option(
            *declared, help=_OF_DIAL.get(name, meaning) if ranged else meaning,
            rich_help_panel=law if panel == LAW else panel, show_default=shown,
            parser=parser, metavar="N" if parser else None,
        )  # fmt: skip
        made.append((name, Annotated[kind, option], default))
    return [*made, *more]


def law_flags(law: str) -> tuple[list[tuple[str, Any, Any]], list[tuple[str, Any, Any]]]:
    """The flags of the parameters: common ones, and the others."""
    said = {name: ("VALUES", f"{p.range_text}  {p.meaning}") for name, p in PARAMETERS.items()}
    made: list[tuple[str, Any, Any]] = []
    for name, (shown, meaning) in {**said, **LIST_FLAGS}.items():
        panel = law if name in COMMON else MORE
        option = typer.Option(flag(name), metavar=shown, rich_help_panel=panel, help=meaning)
        made.append((name, Annotated[str | None, option], None))
    return made[: len(COMMON)], made[len(COMMON) :]


def whole_number(name: str) -> Callable[[str | int], int]:
    """A reader of whole numbers for a flag, that says what it got."""

    def read(text: str | int) -> int:
        try:
            return int(text)
        except ValueError:
            raise UsageError(f"{name} takes a whole number", repr(text), f"For example {name} 8") from None

    return read


def any_number(name: str, example: str) -> Callable[[str | float], float]:
    """A reader of numbers for a flag, that says what it got."""

    def read(text: str | float) -> float:
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"{name} takes a number", repr(text), f"For example {name} {example}") from None

    return read


def _collect(given: dict[str, Any], ranged: bool) -> Drawing:
    said = grammar.pairs_of(given.pop("pairs"))
    for name in (*PARAMETERS, *LISTS):
        text = given.pop(name)
        if text is None:
            continue
        if name in said:
            raise ParameterError(f"{name} is given once", f"{flag(name)} and -p", f"Keep {flag(name)}")
        said[name] = text
    lists = {n: None if text.strip() == grammar.OFF else read_list(n, text) for n, text in said.items() if n in LISTS}
    numbers = {n: text for n, text in said.items() if n not in lists}
    ranges = {n: found for n, text in numbers.items() if ranged and (found := grammar.parse_range(n, text)) is not None}
    values = {n: grammar.parse(n, text, ranged=ranged) for n, text in numbers.items() if n not in ranges}
    for name, what in (("system", "A system message"), ("thinking", "Switching the thinking")):
        if given[name] is not None:
            if given["chat"] is False:
                got = f"{flag(name)} with --text"
                raise UsageError(f"{what} needs the model's chat template", got, "Drop one")
            given["chat"] = True
    checked_study(given["study"])
    for name, choices in (("thinking", ("on", "off")), ("draws_by", ("poise", "server"))):
        if given[name] not in (None, *choices):
            raise UsageError(
                f"{flag(name)} is {' or '.join(choices)}", repr(given[name]), "Leave it out for the default"
            )
    return Drawing(values=values, lists=lists, ranges=ranges, written=said, **given)


assert {f.name for f in fields(Drawing)} == {"values", "lists", "ranges", "written", *(row[0] for row in _DRAWING)}
