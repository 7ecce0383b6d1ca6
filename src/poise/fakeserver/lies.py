"""Every lie that a fake server can tell, in one table."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from poise.errors import UsageError
from poise.params import PARAMETERS

PARAM, N, X = "PARAM", "N", "X"  # in a lie's name: any parameter of poise, a whole number, a number

# What each lie does. A server tells the truth about everything that no lie names.
LIES: Mapping[str, str] = {
    "PARAM=ignored": "The parameter is taken and changes nothing: its default holds.",
    "PARAM=rejected": "A request with this parameter is answered with an error.",
    "PARAM=rejected:X": "A request with this value of the parameter is answered with an error.",
    "PARAM=swapped:PARAM": "Each of the two parameters gets the other one's value.",
    "PARAM=clamped:X:X": "Values outside of the two numbers become the nearer one.",
    "PARAM=floor:X": "Values below the number become it, 0 too.",
    "PARAM=fixed:X": "The parameter has this value, whatever is asked.",
    "PARAM=default:X": "A request without the parameter gets this value, which is written nowhere.",
    "PARAM=scaled:X": "The value is multiplied by the number.",
    "PARAM=mapped:X": "The value is no such penalty: the repetition penalty becomes it plus the number.",
    "order=temperature last": "The temperature divides what the other steps have left.",
    "order=temperature first": "The other steps look at logits divided by the temperature.",
    "greedy=off": "Temperature 0 is read as 1.",
    "penalties=prompt": "Frequency and presence penalties count the prompt's tokens too.",
    "penalties=output": "All penalties count the drawn tokens only.",
    "penalties=window:N": "Penalties look at the last tokens only.",
    "logit_bias=ignored": "logit_bias is taken and changes nothing.",
    "stop=ignored": "Stop strings end nothing.",
    "stop=included": "The stop string is part of the text.",
    "max_tokens=ignored": "Texts end when the model ends them.",
    "max_tokens=clamped:N": "No text has more tokens, whatever is asked.",
    "seed=ignored": "The seed is taken; texts are drawn by chance.",
    "seed=one": "Every request is drawn with the same seed.",
    "n=ignored": "One text comes back, however many are asked for.",
    "n=clones": "The texts of one request are all the same.",
    "logprobs=processed": "Log-probabilities are those after all steps.",
    "logprobs=raw": "Log-probabilities are the model's own.",
    "logprobs=none": "No log-probabilities come back.",
    "logprobs=at most:N": "No more of the likeliest tokens come back, whatever is asked.",
    "ids=refused": "Prompts of token ids are answered with an error.",
    "thinking=ignored": "The wish to think, or not to, changes nothing.",
    "key=echoed": "Errors repeat the key that was sent.",
    "model=swapped:N": "After so many requests another model answers, under its own name.",
    "model=replaced:N": "After so many requests another model answers, under the same name.",
    "cache=exact": "A request that was made before gets the answer that it got before.",
}


class Lie(NamedTuple):
    """One lie: its name in `LIES`, the parameter it is about (empty for none), and its numbers."""

    name: str
    subject: str
    other: str
    numbers: tuple[float, ...]

    @property
    def spec(self) -> str:
        """As it is written."""
        head, _, tail = self.name.partition(":")
        values = [self.other] if self.other else [f"{n:g}" for n in self.numbers]
        return ":".join([head.replace(PARAM, self.subject), *(values if tail else [])])


@dataclass(frozen=True)
class Lies:
    """What a server does otherwise than its style says; none by default.

    Args:
        told: the lies.
    """

    told: tuple[Lie, ...] = ()

    @cached_property
    def _found(self) -> Mapping[tuple[str, str], Lie]:
        return {(lie.name, lie.subject): lie for lie in self.told}

    def find(self, name: str, subject: str = "") -> Lie | None:
        """A lie by its name, and the parameter that it is about."""
        return self._found.get((name, subject))

    def number(self, name: str) -> float | None:
        """The number of a lie; None where it is not told."""
        lie = self.find(name)
        return lie.numbers[0] if lie else None

    def about(self, subject: str) -> tuple[Lie, ...]:
        """The lies about one parameter."""
        return tuple(lie for lie in self.told if lie.subject == subject)


def read_lies(specs: Iterable[str]) -> Lies:
    """Read lies as they are written: ``top_k=ignored``, ``top_p=clamped:0.5:1``, ``seed=one``.

    Args:
        specs: one each.

    Returns:
        The lies.

    Raises:
        UsageError: no such lie, no such parameter, or no number where one belongs.

    >>> read_lies(["top_k=ignored"]).told[0].name
    'PARAM=ignored'
    """
    return Lies(tuple(map(read_lie, specs)))


def read_lie(spec: str) -> Lie:
    """Read one lie; see `read_lies`."""
    subject, _, rest = spec.partition("=")
    how, *values = rest.split(":")
    subject = subject.strip()
    about = PARAM if subject in PARAMETERS else subject
    for name in LIES:
        head, *wanted = name.split(":")
        if head == f"{about}={how.strip()}" and len(wanted) == len(values):
            other, numbers = _values(spec, name, wanted, values)
            return Lie(name, subject if about == PARAM else "", other, numbers)
    raise UsageError(
        "A lie is written SUBJECT=HOW, as `python -m poise.fakeserver --list` shows them", repr(spec),
        _nearest(spec, subject),
    )  # fmt: skip


def _nearest(spec: str, subject: str) -> str:
    subjects = [*PARAMETERS, *dict.fromkeys(name.partition("=")[0] for name in LIES if not name.startswith(PARAM))]
    if subject not in subjects:
        near = difflib.get_close_matches(subject, subjects, n=1)
        return f"Did you mean {near[0]}={spec.partition('=')[2] or 'ignored'}?" if near else "For example seed=ignored"
    about = PARAM if subject in PARAMETERS else subject
    known = [name.replace(PARAM, subject, 1) for name in LIES if name.startswith(f"{about}=")]
    return f"Of {subject} there is {', '.join(known)}"


def _values(spec: str, name: str, wanted: list[str], values: list[str]) -> tuple[str, tuple[float, ...]]:
    if wanted == [PARAM]:
        if values[0] not in PARAMETERS:
            raise UsageError(f"{name} needs two parameters", repr(spec), f"One of {', '.join(PARAMETERS)}")
        return values[0], ()
    try:
        numbers = tuple(map(float, values))
    except ValueError:
        numbers = (math.nan,)
    whole = all(n == int(n) >= 1 for n, w in zip(numbers, wanted, strict=False) if w == N and math.isfinite(n))
    if not all(map(math.isfinite, numbers)) or not whole:
        raise UsageError(f"{name} needs a number for each letter, N a whole one from 1", repr(spec), LIES[name])
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        raise UsageError(f"{name} needs the smaller number first", repr(spec), LIES[name])
    return "", numbers


HONEST = Lies()
