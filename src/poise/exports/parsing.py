"""Artefacts taken apart: the fields that they say, as written."""

from __future__ import annotations

import ast
import json
import re
import reprlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from poise.errors import ParameterError, UsageError
from poise.exports.llama_flags import flag_takes
from poise.exports.llama_like import spelled
from poise.exports.target import Form, Sheet
from poise.exports.working import BARRED

Fields = dict[str, Any]
_SHOWN = 200  # characters of what is wrong
_INSTRUCTION = re.compile(r"\s*([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)
_INSTRUCTIONS = {"from", "parameter", "template", "system", "adapter", "license", "message", "requires", "renderer",
                 "parser", "draft"}  # fmt: skip


def fields_in(text: str, form: Form, sheet: Sheet, what: str) -> Fields:
    """What an artefact says.

    Args:
        text: of the artefact.
        form: how it is written.
        sheet: its names there.
        what: it is called in an error.

    Returns:
        Values by their names there; lists where a name may come several times.

    Raises:
        UsageError: it is not what it should be.
        ParameterError: a value that is no plain value.
    """
    try:
        return _FORMS[form](text, sheet)
    except RecursionError:
        raise UsageError(f"{what} is plain data", "one nested without end", "Name another") from None
    except ValueError as error:
        got = str(error) or "nothing"
        raise UsageError(f"{what} is {_CALLED[form]}", got[:_SHOWN], "Mend it, or name another --format") from None


_CALLED: Mapping[Form, str] = {
    "json": "one JSON object",
    "python": "Python with a call that makes the settings, each a plain value",
    "flags": "a command line of its program",
    "modelfile": "a Modelfile",
    "keys": "lines of general.sampling.NAME = VALUE",
}


def _json(text: str, sheet: Sheet) -> Fields:
    found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    if not isinstance(found, dict):
        raise ValueError(reprlib.repr(found))
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> Fields:
    """An object whose names come once each."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)} is there twice")
    return found


def _python(text: str, sheet: Sheet) -> Fields:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(str(error)) from None
    found: Fields = {}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) in sheet.calls]
    if not calls:
        raise ValueError(f"no call of {' or '.join(sheet.calls)}")
    for call in calls:
        if call.args or any(k.arg is None for k in call.keywords):
            raise ValueError(f"{_called(call)} takes names with values here")
        for keyword in call.keywords:
            if keyword.arg in found:
                raise ValueError(f"{keyword.arg} is there twice")
            found[str(keyword.arg)] = _plain(keyword.value, str(keyword.arg))
    return found


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _plain(node: ast.expr, name: str) -> Any:
    """A value that is written out; float("-inf") is the one call among them."""
    if isinstance(node, ast.Dict) and all(k is not None for k in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {_plain(k, name): _plain(v, name) for k, v in pairs if k is not None}
    if ast.unparse(node) in ("float('-inf')", "-math.inf", "-float('inf')"):
        return BARRED
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ParameterError(
            f"{name} is a plain value", reprlib.repr(ast.unparse(node)), "Write the value itself: nothing is run"
        ) from None


def _flags(text: str, sheet: Sheet) -> Fields:
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    return _override(words) if sheet.program[-1:] == ("serve",) else _llama(words, sheet)


def _override(words: list[str]) -> Fields:
    """The settings that vLLM's server starts with."""
    flag = "--override-generation-config"
    for word, value in zip(words, [*words[1:], ""], strict=True):
        if word == flag or word.startswith(flag + "="):
            return _json(value if word == flag else word.partition("=")[2], Sheet(file="", names={}, off={}))
    raise ValueError(f"no {flag}")


def _llama(words: list[str], sheet: Sheet) -> Fields:
    found: Fields = {}
    names = {n for name in sheet.names for n in sheet.written(name)} | {sheet.sequence, sheet.letters}
    names |= {name for name, off in sheet.neutral.items() if off is not False}  # what is on by its name has no value
    several = {sheet.bias[0] if sheet.bias else "", sheet.breakers}
    at = 0
    while at < len(words):
        word = sheet.aliases.get(words[at], words[at])
        at += 1
        if not word.startswith("-"):
            continue  # the program, or what a user adds
        if word in names | several:
            if at == len(words):
                raise ValueError(f"{word} without a value")
            if word in several:
                found.setdefault(word, []).append(words[at])
            elif word == sheet.letters:
                found[sheet.sequence] = spelled(words[at])
            else:
                found[word] = words[at] if word == sheet.sequence else _number(words[at], word)
            at += 1
        else:
            found[word] = True
            at += flag_takes(word) or 0
    if not found and not any(sheet.program[0] in word for word in words):
        raise ValueError(" ".join(words) or "nothing")  # a text of another kind has no flags, and is no empty law
    return found


def _modelfile(text: str, sheet: Sheet) -> Fields:
    found: Fields = {}
    for word, rest in _instructions(text):
        if word != "parameter":
            continue
        name, value = [*(rest.split(maxsplit=1) if rest else []), "", ""][:2]
        if not value:
            raise ParameterError(
                "PARAMETER has a name and a value",
                repr(rest) if rest else "nothing",
                "For example PARAMETER temperature 0.7",
            )
        plain = _unquoted(value) or ""
        found[name] = plain if name in sheet.apart else _number(plain, name)
    return found


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Modelfile: a value that begins with a quote goes on until a line ends with it."""
    lines = iter(re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")))
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _INSTRUCTION.fullmatch(line)
        word, rest = (match[1].lower(), (match[2] or "").strip()) if match else ("", "")
        rest = rest.replace("\t", " ") if word == "parameter" else rest
        if word not in _INSTRUCTIONS:
            raise ValueError(line.strip())
        # A role or a parameter's name comes before the value.
        value = rest.partition(" ")[2].lstrip() if word in ("message", "parameter") else rest
        yield word, rest if _unquoted(value) is not None else "\n".join([rest, *_until_closed(value, lines)])


def _until_closed(value: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines of a value until the one that ends with its quote."""
    quote = '"' * (3 if value.startswith('"""') else 1)
    for line in lines:
        yield line.rstrip() if line.rstrip().endswith(quote) else line
        if line.rstrip().endswith(quote):
            return
    raise ValueError(f"{value}: its quote is never closed")


def _unquoted(value: str) -> str | None:
    """A Modelfile's value without its quotes; None where it goes on in the next line."""
    for quote in ('"""', '"'):
        if value.startswith(quote):
            whole = len(value) >= 2 * len(quote) and value.endswith(quote)
            return value[len(quote) : -len(quote)] if whole else None
    return value


def _keys(text: str, sheet: Sheet) -> Fields:
    found: Fields = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise ValueError(line)
        found[name] = value if name == sheet.sequence else _number(value, name)
    return found


def _number(text: str, name: str) -> int | float | bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        if "_" in text:  # a number in Python alone
            raise ValueError(text)
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        raise ParameterError(f"{name} takes a number", reprlib.repr(text), "Write one, for example 0.7") from None


_FORMS: Mapping[Form, Callable[[str, Sheet], Fields]] = {
    "json": _json,
    "python": _python,
    "flags": _flags,
    "modelfile": _modelfile,
    "keys": _keys,
}
