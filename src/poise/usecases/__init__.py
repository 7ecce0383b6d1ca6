"""Use cases: prompts with what is needed to draw and judge them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from poise.errors import UseCaseError
from poise.goals import Goal, read_goal
from poise.records import Message, Prompt
from poise.usecases import safe_yaml
from poise.usecases.safe_yaml import Document, Place

_BUILT_IN = resources.files("poise") / "usecases_builtin"

# What each field must be, for the errors.
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


class _Problem(ValueError):
    """What is wrong below the place where a validator was called."""

    def __init__(self, rule: str, next_step: str, *, at: Place = (), got: str = "") -> None:
        super().__init__(rule)
        self.rule, self.next_step, self.at, self.got = rule, next_step, at, got


def _one_or_more(value: object) -> object:
    """A single text as a list of one; lists become tuples, which is what strict validation takes."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_one_or_more)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Turn(_Strict):
    role: Literal["system", "user", "assistant"]
    content: _Text


class _Entry(_Strict):
    """A prompt as a file writes it."""

    text: _Text | None = None
    prompt: _Text | None = None
    messages: Annotated[tuple[_Turn, ...], BeforeValidator(_one_or_more), Field(min_length=1)] | None = None
    answer: _Texts = ()
    reference: _Text | None = None

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        given = [name for name in ("text", "prompt", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise _Problem("A prompt has exactly one of text and messages", "Keep one", got=" and ".join(given))
        return self

    def as_prompt(self) -> Prompt:
        turns = tuple(Message(turn.role, turn.content) for turn in self.messages or ())
        return Prompt(self.text or self.prompt, turns, answers=self.answer, reference=self.reference)


def _to_prompt(value: object) -> object:
    if isinstance(value, str):
        return Prompt(value)
    return _Entry.model_validate(value).as_prompt() if isinstance(value, Mapping) else value


def _to_goal(value: object) -> object:
    if value is None or isinstance(value, Goal):
        return value
    try:
        return read_goal(value)
    except UseCaseError as error:
        raise _Problem(error.rule, error.next_step, got=error.got) from None


class UseCase(_Strict):
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
        prompts: as they will be asked; texts and mappings are taken too. No two alike.

    Raises:
        UseCaseError: an unknown field, a wrong value, a prompt that is blank or there twice.

    >>> UseCase(name="capitals", mode="chat", prompts=["Of France?"]).prompts[0].messages
    (Message(role='user', content='Of France?'),)
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: str = ""
    mode: Literal["chat", "text"] | None = None
    system: _Text | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] = 0
    stop: _Texts = ()
    goal: Annotated[InstanceOf[Goal] | None, BeforeValidator(_to_goal)] = None
    prompts: Annotated[
        tuple[Annotated[Prompt, BeforeValidator(_to_prompt)], ...], BeforeValidator(_one_or_more), Field(min_length=1)
    ]

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: Callable[[Any], Self], info: ValidationInfo) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise _explained(error, info.context) from None

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
            raise _Problem(f"min_tokens is at most max_tokens, here {max_tokens}", "Change one of them")
        return min_tokens

    @field_validator("prompts")
    @classmethod
    def _as_asked(cls, prompts: tuple[Prompt, ...], info: ValidationInfo) -> tuple[Prompt, ...]:
        seen: dict[Prompt, int] = {}
        asked: list[Prompt] = []
        for i, prompt in enumerate(prompts):
            made = dataclasses.replace(_asked(prompt, i, info.data), use_case=info.data.get("name", "prompt"))
            same = seen.setdefault(dataclasses.replace(made, answers=(), reference=None), i)
            if same != i:
                raise _Problem(
                    f"A use case has every prompt once; this is prompt {same + 1} again",
                    "Remove one: the same text would count twice",
                    at=(i,),
                )
            asked.append(made)
        return tuple(asked)


def _asked(prompt: Prompt, i: int, said: Mapping[str, Any]) -> Prompt:
    """The prompt in the mode in which it will be asked, the system turn in front."""
    mode, system = said.get("mode"), said.get("system")
    if not prompt.shown.strip():
        raise _Problem("A prompt has text", "Write what the model should continue or answer", at=(i,))
    if prompt.text is not None and prompt.messages:
        raise _Problem("A prompt has exactly one of text and messages", "Keep one", at=(i,))
    if prompt.chat and mode == "text":
        raise _Problem("Messages are asked as chat", "Set mode: chat, or write the prompt as text", at=(i,))
    if not prompt.chat and mode != "chat":
        if system is not None:
            raise _Problem("A system turn needs chat", "Set mode: chat, or leave system out", at=(i,))
        return prompt
    turns = prompt.messages or (Message("user", prompt.text or ""),)
    roles = [turn.role for turn in turns]
    if roles[-1] != "user" or "system" in roles[1:]:
        raise _Problem("A chat ends with the user's turn, and only its first may be the system's", "Reorder", at=(i,))
    if system is not None:
        if roles[0] == "system":
            raise _Problem("A chat has one system turn", "Remove the use case's system, or this one", at=(i,))
        turns = (Message("system", system), *turns)
    return dataclasses.replace(prompt, text=None, messages=turns)


def built_in_names() -> list[str]:
    """Names of the use cases that come with poise, in alphabetical order."""
    names = (entry.name for entry in _BUILT_IN.iterdir())
    return sorted(n.removesuffix(".yaml") for n in names if n.endswith(".yaml") and not n.startswith("_"))


def template_text() -> str:
    """A commented use case to start from; it loads as it is."""
    return (_BUILT_IN / "_template.yaml").read_text(encoding="utf-8")


def load_use_case(path_or_name: str | Path) -> UseCase:
    """Load a use case from a YAML file, or a built-in one by name.

    Args:
        path_or_name: a key of `built_in_names()`, else a path.

    Returns:
        The use case; without a name of its own it has the file's.

    Raises:
        UseCaseError: no such file or name, broken YAML, or a field that is not right, with its line.

    >>> load_use_case("creative-story").prompts[0].text
    'Once upon a time, in a distant galaxy, there was a spaceship called Voyager.'
    """
    named = str(path_or_name)
    if named in built_in_names():
        with resources.as_file(_BUILT_IN / f"{named}.yaml") as path:
            return _loaded(path)
    path = Path(path_or_name).expanduser()
    if not path.exists() and path.suffix not in (".yaml", ".yml"):
        near = difflib.get_close_matches(named, built_in_names(), n=1)
        raise UseCaseError(
            f"A use case is a YAML file or one of {', '.join(built_in_names())}",
            repr(named),
            f"Did you mean {near[0]}?" if near else "`poise usecase new FILE` writes one to start from",
        )
    return _loaded(path)


def _loaded(path: Path) -> UseCase:
    document = safe_yaml.read(path)
    if not isinstance(document.content, dict):
        kind = {"NoneType": "nothing", "str": "text"}.get(type(document.content).__name__, "a list")
        raise UseCaseError(
            "A use-case file is a mapping with name and prompts",
            f"{kind} in {path.name}",
            "`poise usecase new FILE` writes one to start from",
        )
    return UseCase.model_validate({"name": path.stem, **document.content}, context=document)


def _explained(error: ValidationError, document: Document | None) -> UseCaseError:
    """The first problem as rule, value with its line, and next step."""
    place, kind, value, cause = _first_problem(error)
    last = place[-1] if place else ""
    unquoted = not isinstance(value, (str, list, tuple, dict)) and last not in ("max_tokens", "min_tokens")
    where = ""
    if document is not None:
        known = [place[:n] for n in range(len(place), -1, -1) if place[:n] in document.marks]
        mark = document.marks[known[0]] if known else safe_yaml.Mark(1, None)
        where = f"line {mark.line} of {document.name}"
        if mark.written is not None and known[0] == place:
            value = mark.written
    shown = "nothing" if kind == "missing" else _short(value)
    if isinstance(cause, _Problem):
        shown = cause.got or shown
        return UseCaseError(cause.rule, ", ".join(filter(None, [shown, where])), cause.next_step)
    if kind == "extra_forbidden":
        return _unknown_field(str(last), place, where)
    got = ", ".join(filter(None, [shown, where]))
    fields = [part for part in place if isinstance(part, str)]
    rule = _A_PROMPT if fields == ["prompts"] and len(place) == 2 else _RULES.get(fields[-1] if fields else "", "")
    return UseCaseError(
        rule or "A use case is a mapping with name and prompts",
        got,
        "Put text in quotes where YAML reads something else" if unquoted else "`poise usecase new FILE` shows all",
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
    at = cause.at if isinstance(cause, _Problem) else ()
    found: Any = first["input"]
    for step in at:
        found = found[step]
    return (*place, *at), first["type"], found, cause


def _unknown_field(name: str, place: Place, where: str) -> UseCaseError:
    model = UseCase if len(place) == 1 else _Turn if "messages" in place else _Entry
    known = list(model.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "Remove it"
    if not near and len(place) > 1:
        hint = "Put the prompt in quotes: YAML reads 'word: ' as the start of a mapping"
    owner = "A use case" if model is UseCase else "A message" if model is _Turn else "A prompt"
    return UseCaseError(
        f"{owner} has the fields {', '.join(known)}", ", ".join(filter(None, [repr(name), where])), hint
    )


def _short(value: object) -> str:
    if isinstance(value, Prompt):
        value = value.shown
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
