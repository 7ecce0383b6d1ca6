"""Checks: what a text has to be; which code may run."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args

from poise.errors import UseCaseError
from poise.escapes import visible
from poise.jsontexts import schema_problem

Kind = Literal[
    "exact", "regex", "numeric", "json_schema", "json_fields", "must_include", "must_not_include", "callable"
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_PATTERN = 10_000  # characters
_SHOWN = 60
# A sign counts where no word or number stands before it: 2024-01-05 holds no negative number.
_NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-+−])?(?:(?:\d{1,3}(?:,\d{3}(?!\d))+|\d+)(?:\.\d+)?|(?<![\d.])\.\d+)(?:[eE][-+]?\d{1,3}(?!\d))?"
)
_CALLABLE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_allowed: set[str] = set()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a text of a prompt has to be.

    Args:
        kind: one of `KINDS`.
        said: what it is compared with, as JSON: a pattern, a number (null: the prompt's answer), a schema, fields,
            texts, the name of a callable; null for ``exact``, which takes the prompt's answer.
        within: how far a number may be off, at least 0.
    """

    kind: Kind
    said: str = "null"
    within: float = 0.0

    @property
    def value(self) -> Any:
        """What it is compared with, as plain data."""
        return json.loads(self.said)

    @property
    def needs_answer(self) -> bool:
        """Whether it compares with the prompt's own answer."""
        return self.kind == "exact" or (self.kind == "numeric" and self.value is None)

    def record(self) -> object:
        """It as a use-case file writes it; `read_check` reads it back."""
        if self.needs_answer and not self.within:
            return self.kind
        value = "answer" if self.needs_answer else self.value
        return {self.kind: value, **({"within": self.within} if self.within else {})}

    def __str__(self) -> str:
        if self.needs_answer:
            said = ""
        elif self.kind in ("must_include", "must_not_include", "json_fields"):
            said = ", ".join(self.value)
        else:
            said = self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)
        said = said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…"
        near = f"within {self.within:g}" if self.within else ""
        return visible(" ".join(filter(None, [self.kind, said, near])))


def read_checks(said: object) -> tuple[Check, ...]:
    """Read one check or a list of them, as a use-case file writes them.

    Args:
        said: see `read_check`; a list is of several.

    Returns:
        The checks, each once.

    Raises:
        UseCaseError: one of them is not right.
    """
    return tuple(dict.fromkeys(map(read_check, said if isinstance(said, list | tuple) else [said])))


def read_check(said: object) -> Check:
    """Read one check as a use-case file writes it.

    Args:
        said: ``exact``, ``numeric``, or a mapping of one kind to what is compared with; ``numeric`` also takes
            ``within``. A Check stays as it is.

    Returns:
        The check.

    Raises:
        UseCaseError: no such kind, or something that cannot be compared with.

    >>> str(read_check({"numeric": 42, "within": 0.5}))
    'numeric 42 within 0.5'
    """
    if isinstance(said, Check):
        return said
    if said in ("exact", "numeric"):
        return Check(said)
    kind, given = _only_kind(said)
    within = _within(given["within"], kind) if "within" in given else 0.0
    value = _READERS[kind](given[kind])
    return Check(kind, json.dumps(value, sort_keys=True, allow_nan=False), within)


def require_answers(check: Check, answers: Sequence[str]) -> None:
    """Make sure that a check which compares with the prompt's answer finds one.

    Args:
        check: any.
        answers: the prompt's.

    Raises:
        UseCaseError: there is none, or none that is a number where numbers are compared.
    """
    if not check.needs_answer:
        return
    if not answers:
        raise UseCaseError(
            f"The check {check.kind} compares with the prompt's answer", "a prompt without", "Add answer"
        )
    if check.kind == "numeric" and (wrong := [a for a in answers if len(numbers_in(a)) != 1]):
        raise UseCaseError(
            "The check numeric compares with one number, which the answer then has", _short(wrong[0]),
            "Write the number alone, or check: {numeric: 42}",
        )  # fmt: skip


def numbers_in(text: str) -> list[Decimal]:
    """Every number of a text, exactly. The decimal mark is a point; commas group thousands.

    Args:
        text: any string.

    Returns:
        The numbers, in order.

    >>> numbers_in("From 2024-01-05 on: −1,234.5 and 3e2.")
    [Decimal('2024'), Decimal('1'), Decimal('5'), Decimal('-1234.5'), Decimal('3E+2')]
    """
    matches = _NUMBER.finditer(unicodedata.normalize("NFKC", text))
    found = (match.group().replace(",", "").replace("−", "-") for match in matches)
    return [Decimal(number) for number in found]


def folded(text: str) -> str:
    """A text without what does not matter when one looks for words in it: case, white space, compatibility forms."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def allow_callable(name: str) -> None:
    """Let the checks of this process run one callable. Code runs under no other name.

    Args:
        name: its import path, ``package.module:function``, as the check names it.

    Raises:
        UseCaseError: it is no import path.
    """
    _allowed.add(_callable(name))


def callable_allowed(name: str) -> bool:
    """Whether `allow_callable` was told this name."""
    return name in _allowed


def _only_kind(said: object) -> tuple[Kind, Mapping[str, Any]]:
    """The one kind that a mapping names, and the mapping."""
    example = "For example check: exact, or check: {regex: '^yes'}"
    if not isinstance(said, Mapping):
        raise UseCaseError(
            f"A check is exact, numeric, or a mapping of one of {', '.join(KINDS)}", _short(said), example
        )
    if unknown := [k for k in said if k not in (*KINDS, "within")]:
        near = difflib.get_close_matches(str(unknown[0]), KINDS, n=1)
        raise UseCaseError(
            f"A check has one of {', '.join(KINDS)}, and numeric within", _short(unknown[0]),
            f"Did you mean {near[0]}?" if near else example,
        )  # fmt: skip
    kinds = [kind for kind in KINDS if kind in said]
    if len(kinds) != 1:
        raise UseCaseError(
            "A check has exactly one kind", " and ".join(kinds) or "none", "Write several checks as a list"
        )
    if kinds[0] == "exact":
        raise UseCaseError("exact compares with the prompt's answer", _short(said), "Write check: exact")
    return kinds[0], said


def _pattern(said: object) -> object:
    if not isinstance(said, str) or not 0 < len(said) <= MAX_PATTERN:
        rule = f"regex is a regular expression of 1 to {MAX_PATTERN:,} characters"
        raise UseCaseError(rule, _short(said), "Put it in single quotes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(said)
    except (re.error, RecursionError, OverflowError) as error:
        raise UseCaseError(
            "regex is a regular expression as Python reads it", f"{_short(said)}: {error}", "Write \\( for a bracket"
        ) from None
    return said


def _number(said: object) -> object:
    if said is None or said == "answer":
        return None
    if not _finite(said):
        raise UseCaseError("numeric is a number, or answer", _short(said), "For example {numeric: 42, within: 0.5}")
    return said


def _within(said: object, kind: Kind) -> float:
    if kind != "numeric":
        raise UseCaseError("Only numeric has within", f"it with {kind}", "Remove it")
    if not _finite(said) or said < 0:  # type: ignore[operator]
        raise UseCaseError("within is a number of at least 0", _short(said), "For example {numeric: 42, within: 0.5}")
    return float(said)  # type: ignore[arg-type]


def _schema(said: object) -> object:
    example = "For example {json_schema: {type: object, required: [city]}}"
    if not isinstance(said, Mapping) or not _plain(said):
        raise UseCaseError("json_schema is a mapping", _short(said), example)
    if problem := schema_problem(said):
        raise UseCaseError("json_schema is a JSON Schema that stands alone", visible(problem)[:200], "Correct it")
    return said


def _fields(said: object) -> object:
    if not isinstance(said, Mapping) or not said or not _plain(said):
        raise UseCaseError("json_fields maps fields to values", _short(said), "For example {json_fields: {city: Oslo}}")
    return said


def _phrases(said: object) -> object:
    texts = [said] if isinstance(said, str) else said
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(t, str) and folded(t) for t in texts):
        rule = "must_include and must_not_include are a text or a list of texts, none empty"
        raise UseCaseError(rule, _short(said), "For example must_include: [refund, invoice]")
    return list(texts)


def _callable(said: object) -> str:
    if not isinstance(said, str) or not _CALLABLE.fullmatch(said):
        raise UseCaseError("callable is an import path", _short(said), "For example package.module:function")
    return said


_READERS: Mapping[Kind, Callable[[object], object]] = {
    "regex": _pattern,
    "numeric": _number,
    "json_schema": _schema,
    "json_fields": _fields,
    "must_include": _phrases,
    "must_not_include": _phrases,
    "callable": _callable,
}


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300


def _plain(value: object) -> bool:
    """Whether it is what JSON can hold, as deep as a file can nest."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def callables_of(checks: Iterable[Check]) -> list[str]:
    """The callables that checks name, each once."""
    return list(dict.fromkeys(str(c.value) for c in checks if c.kind == "callable"))
