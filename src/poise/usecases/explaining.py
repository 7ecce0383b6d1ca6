"""What is wrong with a use case, and on which line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

from poise.errors import UseCaseError
from poise.records import Prompt
from poise.usecases.entries import Entry, Problem, Turn
from poise.usecases.files import Document, Mark, Place

# What each field must be.
_RULES: Mapping[str, str] = {
    "name": "name is one line of 1 to 80 characters",
    "description": "description is text",
    "mode": "mode is chat or text",
    "system": "system is text, not empty",
    "max_tokens": "max_tokens is a whole number of at least 1",
    "min_tokens": "min_tokens is a whole number of at least 0",
    "stop": "stop is a text or a list of texts, none empty",
    "prompts": "prompts is a list of at least one prompt",
    "text": "A prompt's text is text, not empty",
    "prompt": "A prompt's text is text, not empty",
    "messages": "messages is a list of at least one {role, content}",
    "role": "A role is system, user or assistant",
    "content": "A message's content is text, not empty",
    "answer": "answer is a text or a list of texts, none empty",
    "reference": "reference is text, not empty",
}
_A_PROMPT = "A prompt is text, or a mapping with text or messages"


def explained(error: ValidationError, document: Document | None, fields: Collection[str]) -> UseCaseError:
    """The first problem of a use case.

    Args:
        error: that validation raised.
        document: where the use case was read from; None where Python made it.
        fields: that a use case has.

    Returns:
        It as an error of ours.
    """
    place, kind, value, cause = _first_problem(error)
    last = place[-1] if place else ""
    unquoted = not isinstance(value, (str, list, tuple, dict)) and last not in ("max_tokens", "min_tokens")
    where = ""
    if document is not None:
        known = [place[:n] for n in range(len(place), -1, -1) if place[:n] in document.marks]
        mark = document.marks[known[0]] if known else Mark(1, None)
        where = f"line {mark.line} of {document.name}"
        if mark.written is not None and known[0] == place:
            value = mark.written
    shown = "nothing" if kind == "missing" else _short(value)
    if isinstance(cause, Problem):
        shown = cause.got or shown
        return UseCaseError(cause.rule, ", ".join(filter(None, [shown, where])), cause.next_step)
    if kind == "extra_forbidden":
        return _unknown_field(str(last), place, where, fields)
    got = ", ".join(filter(None, [shown, where]))
    named = [part for part in place if isinstance(part, str)]
    rule = _A_PROMPT if named == ["prompts"] and len(place) == 2 else _RULES.get(named[-1] if named else "", "")
    quoted = Document("", None, {}).quoted if document is None else document.quoted
    return UseCaseError(
        rule or "A use case is a mapping with name and prompts",
        got,
        quoted if unquoted else "`poise usecase new FILE` shows all",
    )


def _first_problem(error: ValidationError) -> tuple[Place, str, object, BaseException | None]:
    """Place, kind, value and cause of the first problem, looking into validators' own errors.

    Unknown fields come first: a misspelt one is why another one is missing.
    """
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    cause = first.get("ctx", {}).get("error")
    place: Place = first["loc"]
    if isinstance(cause, ValidationError):
        below, kind, value, inner = _first_problem(cause)
        return (*place, *below), kind, value, inner
    at = cause.at if isinstance(cause, Problem) else ()
    found: Any = first["input"]
    for step in at:
        found = found[step]
    return (*place, *at), first["type"], found, cause


def _unknown_field(name: str, place: Place, where: str, fields: Collection[str]) -> UseCaseError:
    model = None if len(place) == 1 else Turn if "messages" in place else Entry
    known = list(fields if model is None else model.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "Remove it"
    if not near and model is Entry:
        hint = "Put the prompt in quotes: YAML reads 'word: ' as the start of a mapping"
    owner = "A use case" if model is None else "A message" if model is Turn else "A prompt"
    return UseCaseError(
        f"{owner} has the fields {', '.join(known)}", ", ".join(filter(None, [repr(name), where])), hint
    )


def _short(value: object) -> str:
    if isinstance(value, Prompt):
        value = value.shown
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
