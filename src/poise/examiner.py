"""Tries patterns, schemas and callables, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TextIO

from poise.jsontexts import fits, read_json

_SHOWN = 200  # characters of what went wrong
_STACK = 5_000  # deep JSON under a schema takes more calls than Python allows by default
_GRACE = 5  # seconds after the asker's limit, in case nobody is left to kill this process

Answer = dict[str, Any]


def main() -> None:
    """Answer requests, one JSON object a line, until there are no more.

    A request has `kind`, `value`, `text`, `prompt` and `limit`, in seconds. An answer has one of `value` (true,
    false, 0 to 1, or null where the text cannot be read) and `raised`, `printed`, `returned`, `missing`: what went
    wrong.
    """
    asked, answers = _own_streams()
    sys.setrecursionlimit(_STACK)
    _say(answers, {"value": True})
    for line in asked:
        request = json.loads(line)
        _alarm(int(request["limit"]) + _GRACE)
        answer = _answered(request)
        _alarm(0)
        _say(answers, answer)


def _own_streams() -> tuple[TextIO, TextIO]:
    """The pipes, moved out of the way of code that reads from stdin or prints to stdout."""
    asked = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return asked, answers


def _say(answers: TextIO, answer: Answer) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _alarm(seconds: int) -> None:
    """The system ends the process then, even inside a pattern, which holds Python's lock."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _answered(request: Mapping[str, Any]) -> Answer:
    kind, value, text = request["kind"], request["value"], request["text"]
    if kind == "import":
        return _imported(value)
    if kind == "callable":
        return _called(value, text, request["prompt"])
    try:
        if kind == "regex":
            return {"value": re.search(value, text) is not None}
        assert kind == "json_schema", kind
        return _held_against(value, text)
    except Exception as error:  # a schema that cannot be followed, a pattern beyond the engine's memory
        return {"raised": _told(error)}


def _held_against(schema: Mapping[str, Any], text: str) -> Answer:
    try:
        found = read_json(text)
    except ValueError:
        return {"value": None}
    return {"value": fits(schema, found)}


@cache
def _found(name: str) -> Callable[..., object]:
    module, _, path = name.partition(":")
    if (here := os.getcwd()) not in sys.path:  # only now: nothing in the folder may stand in for a library before
        sys.path.insert(0, here)
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{path} is no function, but {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def _imported(name: str) -> Answer:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _found(name)
    except BaseException as error:
        return {"missing": _told(error)}
    return {"value": True}


def _called(name: str, text: str, prompt: Mapping[str, Any]) -> Answer:
    printed = io.StringIO()
    try:
        function = _found(name)
        with contextlib.redirect_stdout(printed):
            said = function(text, prompt) if _takes_prompt(function) else function(text)
    except BaseException as error:  # sys.exit() too: a callable does not end this process
        return {"raised": _told(error)}
    if printed.getvalue():
        return {"printed": repr(printed.getvalue()[:_SHOWN])}
    if type(said).__module__ == "numpy" and hasattr(said, "item"):
        said = said.item()
    if said is None or isinstance(said, bool):
        return {"value": said}
    if isinstance(said, int | float) and 0 <= said <= 1:
        return {"value": float(said)}
    return {"returned": _safely(repr, said)}


def _takes_prompt(function: Callable[..., object]) -> bool:
    """Whether it cannot be called with the text alone."""
    try:
        inspect.signature(function).bind("")
    except TypeError:
        return True
    except ValueError:  # written in C, without a signature
        return False
    return False


def _told(error: BaseException) -> str:
    said = _safely(str, error)
    return f"{type(error).__name__}: {said}"[:_SHOWN] if said else type(error).__name__


def _safely(show: Callable[[Any], str], value: object) -> str:
    try:
        return show(value)[:_SHOWN]
    except Exception as error:
        return f"a {type(value).__name__} that cannot be shown ({type(error).__name__})"


if __name__ == "__main__":
    main()
