"""Settings as words: name=value, a trial's name, or a JSON file."""

from __future__ import annotations

import difflib
import inspect
import json
import os
import re
import reprlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from poise.cli import grammar
from poise.cli.flags import law_flags
from poise.errors import ParameterError, UsageError
from poise.param_lists import LISTS, once, read_list
from poise.params import DEFAULT_DIALECT, PARAMETERS, SamplingParams, find_parameter

EXAMPLE = "temperature=0.7 top_p=0.9"
HELP = (
    'Settings: name=value words, a trial\'s name, or a .json file of them; lists as logit_bias={"50":-1} or 50:-1, '
    "order=top_k;temperature. A word replaces what a file says."
)
ONE_VALUE = "Decoding parameters, one value each; off leaves one out"
_NAME = re.compile(r"\s*([A-Za-z][A-Za-z0-9_-]*)=")
_NEXT = re.compile(
    r"[,\s](?=\s*[A-Za-z][A-Za-z0-9_-]*=)"
)  # the comma that parts settings in a trial's name, or a blank
_JSON = json.JSONDecoder(object_pairs_hook=once)
_MOST = 1_000_000  # bytes of a file of settings


def read_settings(words: Sequence[str], dialect: str | None = None) -> SamplingParams:
    """Read one setting as a user writes it.

    Args:
        words: ``name=value`` each, several with commas between them as trials are named or with blanks; or files that
            end in ``.json`` and hold an object of names and values. Lists in JSON, or with semicolons as in a trial's
            name.
        dialect: from a flag; None where the words, or the default, decide.

    Returns:
        The setting.

    Raises:
        ParameterError: an unknown name, a value out of range or given twice, several values, and whatever
            `SamplingParams` refuses.
        UsageError: a file that cannot be read, or that holds something else.

    >>> read_settings(["temperature=0.7,top_p=0.9 top_k=40", 'logit_bias={"50": -1}']).label
    'temperature=0.7,top_k=40,top_p=0.9,logit_bias=50:-1'
    """
    from_files: dict[str, Any] = {}
    said: dict[str, Any] = {}
    for word in words:
        if word.lower().endswith(".json") and not _NAME.match(word):
            from_files.update(_read_file(word))
            continue
        for name, value in _assigned(word):
            if name in said:
                raise ParameterError(f"{name} is given once", "it twice", "Keep one of them")
            said[name] = value
    found = {**from_files, **said}
    written = found.setdefault("dialect", dialect or DEFAULT_DIALECT)
    if dialect is not None and written != dialect:
        raise ParameterError("A setting has one dialect", f"{written!r} and --dialect {dialect}", "Keep one of them")
    return SamplingParams.model_validate(found)


def _assigned(word: str) -> Iterator[tuple[str, Any]]:
    """The names and values of one word."""
    rest = word
    while True:
        match = _NAME.match(rest)
        if match is None:
            file = rest == word and os.path.isfile(word)
            step = f"`poise import {shlex.quote(word)}` reads an engine's file" if file else f"For example {EXAMPLE}"
            raise ParameterError("A setting is written name=value", repr(rest) if rest.strip() else "nothing", step)
        name, rest = match[1].replace("-", "_").lower(), rest[match.end() :]
        if name in LISTS and rest.lstrip()[:1] in ("[", "{"):
            value, rest = _json(name, rest.lstrip())
        else:
            text, comma, rest = _parted(rest)
            value, rest = _value(name, text.strip()), comma + rest
        yield name, value
        if not rest:
            return
        rest = rest[1:]


def _parted(text: str) -> tuple[str, str, str]:
    found = _NEXT.search(text)
    return (text, "", "") if found is None else (text[: found.start()], ",", text[found.end() :])


def _json(name: str, text: str) -> tuple[Any, str]:
    """A list in JSON and what follows it."""
    try:
        value, end = _JSON.raw_decode(text)
    except ValueError as error:
        raise ParameterError(f"{name} is JSON where it begins with a bracket", reprlib.repr(text),
                             f"Mend it: {error}") from None  # fmt: skip
    rest = text[end:].rstrip()
    if rest and not (rest.lstrip().startswith(",") or rest[0].isspace()):
        raise ParameterError("A comma parts settings in a word", repr(rest), f"For example {EXAMPLE.replace(' ', ',')}")
    return value, rest and f",{rest.lstrip().removeprefix(',')}"


def _value(name: str, text: str) -> Any:
    if name == "dialect":
        return text
    if name in LISTS:
        return None if text == grammar.OFF else read_list(name, text)
    find_parameter(name)
    found = grammar.parse(name, text)
    if len(found) > 1:
        raise ParameterError(f"{name} has one value here", repr(text), "Take one setting at a time")
    return found[0]


def _read_file(name: str) -> dict[str, Any]:
    """What a file says, by parameter."""
    try:
        found = json.loads(_text_of(Path(name)), object_pairs_hook=once)
    except OSError as error:
        raise UsageError(
            "Settings come from a file that can be read", f"{name}: {error.strerror}", "Name another"
        ) from None
    except UnicodeDecodeError as error:
        got = f"{name}, whose byte {error.start} is not"
        raise UsageError("A file of settings is JSON in UTF-8", got, "Save it as UTF-8") from None
    except RecursionError:
        raise UsageError("A file of settings holds one object", f"{name}, nested too deeply", "Mend it") from None
    except ValueError as error:
        raise UsageError("A file of settings is JSON", f"{name}: {error}", "Mend it") from None
    if not isinstance(found, dict):
        raise UsageError(
            "A file of settings holds one object", f"{name}: {reprlib.repr(found)}", 'For example {"temperature": 0.7}'
        )
    known = [*PARAMETERS, *LISTS, "dialect"]
    if strange := [key for key in found if key not in known]:
        near = difflib.get_close_matches(strange[0], known, 1, 0.8)
        step = f"Did you mean {near[0]}?" if near else f"`poise import {shlex.quote(name)}` reads an engine's file"
        rule = "A file of settings has poise's own names (`poise list params`) and dialect"
        raise UsageError(rule, f"{strange[0]!r} in {name}", step)
    return found


def _text_of(path: Path) -> str:
    """A file's text, never more than a file of settings has; a device has no end."""
    if path.exists() and not path.is_file():
        raise UsageError("Settings come from a file", f"{path}, which is none", "Name another")
    with path.open("rb") as file:
        raw = file.read(_MOST + 1)
    if len(raw) > _MOST:
        raise UsageError(f"A file of settings has at most {_MOST:,} bytes", f"more in {path}", "Name another")
    return raw.decode("utf-8-sig")


def with_setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag per decoding parameter; its argument `params` receives the setting that they say.

    Args:
        command: a function with a parameter called `params`.

    Returns:
        The function with the flags in its signature.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "params"]
    common, more = law_flags(ONE_VALUE)
    pairs = typer.Option(
        "-p", metavar="NAME=VALUE", rich_help_panel=ONE_VALUE, help="The same, for scripts. Repeatable."
    )
    dialect = typer.Option(
        "--dialect", rich_help_panel=ONE_VALUE, help=f"Whose order and rules. Default: {DEFAULT_DIALECT}."
    )
    made = [
        *common,
        ("pairs", Annotated[list[str], pairs], []),
        ("dialect", Annotated[str | None, dialect], None),
        *more,
    ]

    def with_flags(**given: Any) -> None:
        said = {name: given.pop(name) for name, _, _ in made}
        named, written = said.pop("dialect"), said.pop("pairs")
        words = [f"{name}={text}" for name, text in said.items() if text is not None]
        command(**given, params=read_settings([*words, *written], named))

    flags = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d, annotation=a) for n, a, d in made]
    kept = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    with_flags.__signature__ = inspect.Signature([*kept, *flags])  # type: ignore[attr-defined]
    with_flags.__name__, with_flags.__doc__ = command.__name__, command.__doc__
    return with_flags


def words_of(params: SamplingParams) -> list[str]:
    """A setting as the words that `read_settings` takes, for a following command.

    >>> words_of(SamplingParams(temperature=0.5, logit_bias={7: -1}, dialect="llama.cpp"))
    ['temperature=0.5', 'logit_bias=[[7,-1.0]]', 'dialect=llama.cpp']
    """
    numbers = [f"{name}={value:g}" if float(f"{value:g}") == value else f"{name}={value!r}"
               for name, value in params.active().items()]  # fmt: skip
    lists = [f"{name}={json.dumps(value, separators=(',', ':'))}" for name, value in params.lists().items()]
    return [*numbers, *lists, *([f"dialect={params.dialect}"] if params.dialect != DEFAULT_DIALECT else [])]
