"""Use cases: prompts with what is needed to draw and judge them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from poise.checks import require_answers
from poise.errors import UseCaseError
from poise.goals import Goal
from poise.records import Message, Prompt
from poise.usecases import safe_yaml, tickets
from poise.usecases.entries import Checks, Problem, Strict, Text, Texts, one_or_more, to_goal, to_prompt
from poise.usecases.explaining import explained

_BUILT_IN = resources.files("poise") / "usecases_builtin"


class UseCase(Strict):
    """Prompts that settings are chosen for, and how they are asked.

    Args:
        name: one line, what tables and the study call it.
        description: one sentence for readers.
        mode: ``chat`` asks through the model's template, ``text`` continues;
            None: messages are chat, plain prompts text.
        system: system turn of every prompt; needs chat. It is in `prompts` already.
        max_tokens: new tokens at most, at least 1; None where the caller decides.
        min_tokens: the model cannot end the text before this many; a stop string still can.
        stop: strings that end a completion.
        goal: what its settings should do, see `poise.goals.read_goal`; None where it only asks.
        check: what the texts of every prompt have to be, see `poise.checks.read_check`. It is in `prompts` already.
        prompts: as they will be asked; texts and mappings are taken too. No two alike.

    Raises:
        UseCaseError: an unknown field, a wrong value, a prompt that is blank or there twice.

    >>> UseCase(name="capitals", mode="chat", prompts=["Of France?"]).prompts[0].messages
    (Message(role='user', content='Of France?'),)
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: str = ""
    mode: Literal["chat", "text"] | None = None
    system: Text | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] = 0
    stop: Texts = ()
    goal: Annotated[InstanceOf[Goal] | None, BeforeValidator(to_goal)] = None
    check: Checks = ()
    prompts: Annotated[
        tuple[Annotated[Prompt, BeforeValidator(to_prompt)], ...], BeforeValidator(one_or_more), Field(min_length=1)
    ]

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: Callable[[Any], Self], info: ValidationInfo) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise explained(error, info.context, UseCase.model_fields) from None

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("not one line")
        return name

    @field_validator("min_tokens")
    @classmethod
    def _not_above_max(cls, min_tokens: int, info: ValidationInfo) -> int:
        max_tokens = info.data.get("max_tokens")
        if max_tokens is not None and min_tokens > max_tokens:
            raise Problem(f"min_tokens is at most max_tokens, here {max_tokens}", "Change one of them")
        return min_tokens

    @field_validator("prompts")
    @classmethod
    def _as_asked(cls, prompts: tuple[Prompt, ...], info: ValidationInfo) -> tuple[Prompt, ...]:
        seen: dict[Prompt, int] = {}
        asked: list[Prompt] = []
        for i, prompt in enumerate(prompts):
            made = _checked(_asked(prompt, i, info.data), i, info.data)
            same = seen.setdefault(dataclasses.replace(made, answers=(), reference=None, checks=()), i)
            if same != i:
                raise Problem(
                    f"A use case has every prompt once; this is prompt {same + 1} again",
                    "Remove one: the same text would count twice",
                    at=(i,),
                )
            asked.append(made)
        return tuple(asked)


def _asked(prompt: Prompt, i: int, said: Mapping[str, Any]) -> Prompt:
    """The prompt in the mode in which it will be asked, the system turn in front."""
    mode, system = said.get("mode"), said.get("system")
    roles = [turn.role for turn in prompt.messages] or ["user"]
    if roles[-1] == "user" and not prompt.shown.strip():
        raise Problem("A prompt has text", "Write what the model should continue or answer", at=(i,))
    if prompt.text is not None and prompt.messages:
        raise Problem("A prompt has exactly one of text and messages", "Keep one", at=(i,))
    if prompt.chat and mode == "text":
        raise Problem("Messages are asked as chat", "Set mode: chat, or write the prompt as text", at=(i,))
    if not prompt.chat and mode != "chat":
        if system is not None:
            raise Problem("A system turn needs chat", "Set mode: chat, or leave system out", at=(i,))
        return prompt
    turns = prompt.messages or (Message("user", prompt.text or ""),)
    if roles[-1] != "user" or "system" in roles[1:]:
        raise Problem("A chat ends with the user's turn, and only its first may be the system's", "Reorder", at=(i,))
    if system is not None:
        if roles[0] == "system":
            raise Problem("A chat has one system turn", "Remove the use case's system, or this one", at=(i,))
        turns = (Message("system", system), *turns)
    return dataclasses.replace(prompt, text=None, messages=turns)


def _checked(prompt: Prompt, i: int, said: Mapping[str, Any]) -> Prompt:
    """The prompt under the use case's name, with the checks that all its prompts have."""
    checks = tuple(dict.fromkeys((*prompt.checks, *said.get("check", ()))))
    try:
        for check in checks:
            require_answers(check, prompt.answers)
    except UseCaseError as error:
        raise Problem.of(error, (i,)) from None
    return dataclasses.replace(prompt, use_case=said.get("name", "prompt"), checks=checks)


def built_in_names() -> list[str]:
    """Names of the use cases that come with poise, in alphabetical order."""
    names = (entry.name for entry in _BUILT_IN.iterdir())
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("_"))


def template_text() -> str:
    """A commented use case to start from; it loads as it is."""
    return (_BUILT_IN / "_template.yaml").read_text(encoding="utf-8")


def load_use_case(path_or_name: str | Path) -> UseCase:
    """Load a use case from a YAML, JSONL or CSV file, or a built-in one by name.

    Args:
        path_or_name: a key of `built_in_names()`, else a path.

    Returns:
        The use case; without a name of its own it has the file's. JSONL and CSV hold prompts alone.

    Raises:
        UseCaseError: no such file or name, a broken file, or a field that is not right, with its line.

    >>> load_use_case("creative-story").prompts[0].text
    'Once upon a time, in a distant galaxy, there was a spaceship called Voyager.'
    """
    named = str(path_or_name)
    if named in built_in_names():
        with resources.as_file(_BUILT_IN / f"{named}.yaml") as path:
            return _loaded(path)
    path = Path(path_or_name).expanduser()
    if not path.exists() and path.suffix.lower() not in (".yaml", ".yml", *tickets.SUFFIXES):
        near = difflib.get_close_matches(named, built_in_names(), n=1)
        raise UseCaseError(
            f"A use case is a YAML, JSONL or CSV file, or one of {', '.join(built_in_names())}",
            repr(named),
            f"Did you mean {near[0]}?" if near else "`poise usecase new FILE` writes one to start from",
        )
    return _loaded(path)


def _loaded(path: Path) -> UseCase:
    document = tickets.read(path) if path.suffix.lower() in tickets.SUFFIXES else safe_yaml.read(path)
    if not isinstance(document.content, dict):
        kind = {"NoneType": "nothing", "str": "text"}.get(type(document.content).__name__, "a list")
        raise UseCaseError(
            "A use-case file is a mapping with name and prompts",
            f"{kind} in {path.name}",
            "`poise usecase new FILE` writes one to start from",
        )
    return UseCase.model_validate({"name": path.stem, **document.content}, context=document)
