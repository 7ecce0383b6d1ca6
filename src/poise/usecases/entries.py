"""One prompt as a use-case file writes it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, model_validator

from poise.checks import Check, Kind, read_check
from poise.errors import UseCaseError
from poise.goals import Goal, read_goal
from poise.records import Message, Prompt
from poise.usecases.files import Place


class Problem(ValueError):
    """What is wrong below the place where a validator was called."""

    def __init__(self, rule: str, next_step: str, *, at: Place = (), got: str = "") -> None:
        super().__init__(rule)
        self.rule, self.next_step, self.at, self.got = rule, next_step, at, got

    @classmethod
    def of(cls, error: UseCaseError, at: Place = ()) -> Problem:
        """The same problem, at a place."""
        return cls(error.rule, error.next_step, at=at, got=error.got)


def one_or_more(value: object) -> object:
    """A single text as a list of one; lists become tuples, which is what strict validation takes."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def to_goal(value: object) -> object:
    """A goal as a file writes it, read."""
    if value is None or isinstance(value, Goal):
        return value
    try:
        return read_goal(value)
    except UseCaseError as error:
        at = (error.got,) if isinstance(value, Mapping) and error.got in value else ()
        raise Problem.of(error, at) from None


def to_checks(value: object) -> object:
    """One check or a list of them as a file writes them, read."""
    several = isinstance(value, list | tuple)
    found: dict[Check, None] = {}
    for i, said in enumerate(value if isinstance(value, list | tuple) else [value]):
        try:
            found[read_check(said)] = None
        except UseCaseError as error:
            key = tuple(said) if isinstance(said, Mapping) and len(said) == 1 else ()
            raise Problem.of(error, (*([i] if several else []), *key)) from None
    return tuple(found)


def _to_phrases(kind: Kind, value: object) -> object:
    try:
        return (read_check({kind: value}),)
    except UseCaseError as error:
        raise Problem.of(error) from None


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(one_or_more)]
_Read = tuple[InstanceOf[Check], ...]
Checks = Annotated[_Read, BeforeValidator(to_checks)]


class Strict(BaseModel):
    """What takes its own fields only, of their own types only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Turn(Strict):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Entry(Strict):
    """A prompt, what answers it, and what its texts have to be."""

    text: Text | None = None
    prompt: Text | None = None
    messages: Annotated[tuple[Turn, ...], BeforeValidator(one_or_more), Field(min_length=1)] | None = None
    answer: Texts = ()
    reference: Text | None = None
    check: Checks = ()
    must_include: Annotated[_Read, BeforeValidator(partial(_to_phrases, "must_include"))] = ()
    must_not_include: Annotated[_Read, BeforeValidator(partial(_to_phrases, "must_not_include"))] = ()

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        given = [name for name in ("text", "prompt", "messages") if getattr(self, name) is not None]
        if len(given) != 1:
            raise Problem("A prompt has exactly one of text and messages", "Keep one", got=" and ".join(given))
        return self

    def as_prompt(self) -> Prompt:
        """It as a record."""
        turns = tuple(Message(turn.role, turn.content) for turn in self.messages or ())
        checks = dict.fromkeys((*self.check, *self.must_include, *self.must_not_include))
        return Prompt(self.text or self.prompt, turns, self.answer, self.reference, checks=tuple(checks))


def to_prompt(value: object) -> object:
    """A text or a mapping as a prompt; a prompt as it is."""
    if isinstance(value, str):
        return Prompt(value)
    return Entry.model_validate(value).as_prompt() if isinstance(value, Mapping) else value
