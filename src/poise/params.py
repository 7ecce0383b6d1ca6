"""Sampling parameters: the exact law of the next token, as data."""

from __future__ import annotations

import difflib
import itertools
import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from poise.errors import ParameterError

Number = float | int
Stage = Literal["penalty", "temperature", "truncation"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What there is to know about one decoding parameter; every face of poise reads it here.

    Args:
        kind: ``float`` or ``int``.
        low: smallest value; `low_open` says whether it is excluded.
        high: largest value, None for no limit.
        neutral: the value at which the step changes nothing, None where only leaving it out does.
        stage: which part of the law it belongs to.
        meaning: what it does, one sentence.
        helps: when it helps, one sentence.
        harms: what goes wrong with it, one sentence.
        source: paper or engine file that defines it.
        extension_in: dialects whose engine lacks it, where poise adds it.
    """

    kind: Literal["float", "int"]
    low: Number
    high: Number | None
    neutral: Number | None
    stage: Stage
    meaning: str
    helps: str
    harms: str
    source: str
    low_open: bool = False
    extension_in: frozenset[str] = frozenset()

    @property
    def range_text(self) -> str:
        """The range in interval notation, as errors and help print it."""
        left = "(" if self.low_open else "["
        right = "∞)" if self.high is None else f"{self.high:g}]"
        return f"{left}{self.low:g}, {right}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """An engine's way of reading the parameters.

    Args:
        name: the engine.
        order: names of the steps, first to last.
        source: where it was read.
    """

    name: str
    order: tuple[str, ...]
    source: str


DEFAULT_DIALECT = "transformers"
DIALECTS: Mapping[str, Dialect] = {
    "transformers": Dialect(
        name="transformers",
        order=(
            "repetition_penalty",
            "frequency_penalty",
            "presence_penalty",
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "typical_p",
        ),
        source="transformers 5.x, generation/utils.py::_get_logits_processor",
    ),
    "temperature-last": Dialect(
        name="temperature-last",
        order=(
            "repetition_penalty",
            "frequency_penalty",
            "presence_penalty",
            "top_k",
            "typical_p",
            "top_p",
            "min_p",
            "temperature",
        ),
        source="the steps of transformers in the order of llama.cpp's default chain, common/common.h",
    ),
    "server": Dialect(
        name="server",
        order=(
            "repetition_penalty",
            "frequency_penalty",
            "presence_penalty",
            "temperature",
            "top_k",
            "top_p",
            "min_p",
            "typical_p",
        ),
        source="whatever a server does: the order is its own and could not be told; `poise probe` says what could",
    ),
}

_TEMPERATURE = Parameter(
    kind="float", low=0, high=None, neutral=1.0, stage="temperature",
    meaning="Divides the logits: below 1 likely tokens gain, above 1 unlikely ones do; 0 is greedy.",
    helps="Raise it for variety, lower it where one answer is right.",
    harms="Low values loop on small models; high values drift into nonsense.",
    source="transformers, generation/logits_process.py::TemperatureLogitsWarper",
)  # fmt: skip
_TOP_K = Parameter(
    kind="int", low=1, high=None, neutral=None, stage="truncation",
    meaning="Keeps the k most likely tokens, and those tied with the last of them.",
    helps="Cuts the long tail that makes high temperatures fall apart.",
    harms="One k is too many where the model is sure and too few where it is not.",
    source="Fan et al. 2018; transformers, TopKLogitsWarper",
)  # fmt: skip
_TOP_P = Parameter(
    kind="float", low=0, high=1, neutral=1.0, stage="truncation",
    meaning="Keeps the smallest set of likeliest tokens whose probabilities reach p.",
    helps="Adapts the cut to how sure the model is.",
    harms="Its meaning depends on what comes before it: temperature first widens the set.",
    source="Holtzman et al. 2020; transformers, TopPLogitsWarper",
)  # fmt: skip
_MIN_P = Parameter(
    kind="float", low=0, high=1, neutral=0.0, stage="truncation",
    meaning="Keeps tokens at least m times as likely as the likeliest one.",
    helps="Holds text together at temperatures above 1.",
    harms="Near 1 it is greedy with ties; at usual temperatures it often changes nothing.",
    source="Nguyen et al. 2024; transformers, MinPLogitsWarper",
)  # fmt: skip
_TYPICAL_P = Parameter(
    kind="float", low=0, low_open=True, high=1, neutral=1.0, stage="truncation",
    meaning="Keeps tokens whose surprise is closest to the expected one, until their mass reaches p.",
    helps="Avoids both the dull and the odd where the model is unsure.",
    harms="It can remove the likeliest token.",
    source="Meister et al. 2023; transformers, TypicalLogitsWarper",
)  # fmt: skip
_REPETITION = Parameter(
    kind="float", low=0, low_open=True, high=None, neutral=1.0, stage="penalty",
    meaning="Divides positive logits of tokens seen in prompt or output by r, multiplies negative ones.",
    helps="Breaks loops at low temperature.",
    harms="It also punishes the words of the prompt that the answer needs, and depends on a logit offset.",
    source="Keskar et al. 2019; transformers, RepetitionPenaltyLogitsProcessor",
)  # fmt: skip
_FREQUENCY = Parameter(
    kind="float", low=-2, high=2, neutral=0.0, stage="penalty",
    meaning="Lowers a token's logit by this much for every time it was drawn so far.",
    helps="Presses harder the more often a token repeats.",
    harms="Over long texts it punishes commas and articles most.",
    source="OpenAI API reference; in the transformers dialect a poise extension",
    extension_in=frozenset({"transformers"}),
)  # fmt: skip
_PRESENCE = Parameter(
    kind="float", low=-2, high=2, neutral=0.0, stage="penalty",
    meaning="Lowers a token's logit by this much once it was drawn at all.",
    helps="Nudges towards tokens not used yet.",
    harms="It does not tell a needed word from a loop.",
    source="OpenAI API reference; in the transformers dialect a poise extension",
    extension_in=frozenset({"transformers"}),
)  # fmt: skip


class SamplingParams(BaseModel):
    """The exact law by which the next token is drawn. `None` is off.

    Args:
        temperature: divides the logits, [0, ∞); 0 is greedy, lowest id among ties.
        top_k: number of tokens kept, [1, ∞).
        top_p: probability mass kept, [0, 1].
        min_p: share of the top probability a token needs, [0, 1].
        typical_p: mass kept of the most typical tokens, (0, 1].
        repetition_penalty: factor on tokens of prompt and output, (0, ∞).
        frequency_penalty: logits per occurrence in the output, [-2, 2].
        presence_penalty: logits once a token occurs in the output, [-2, 2].
        dialect: whose order and boundary rules hold, a key of `DIALECTS`.

    Raises:
        ParameterError: an unknown name, a wrong type, a value out of range.

    >>> SamplingParams(temperature=0.7, top_p=1.0).label
    'temperature=0.7'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[float | None, _TEMPERATURE] = None
    top_k: Annotated[int | None, _TOP_K] = None
    top_p: Annotated[float | None, _TOP_P] = None
    min_p: Annotated[float | None, _MIN_P] = None
    typical_p: Annotated[float | None, _TYPICAL_P] = None
    repetition_penalty: Annotated[float | None, _REPETITION] = None
    frequency_penalty: Annotated[float | None, _FREQUENCY] = None
    presence_penalty: Annotated[float | None, _PRESENCE] = None
    dialect: str = "transformers"

    @model_validator(mode="before")
    @classmethod
    def _validate(cls, given: Any) -> dict[str, Any]:
        if not isinstance(given, (Mapping, SamplingParams)):
            raise ParameterError("Settings are names with values", repr(given), "For example {'temperature': 0.7}")
        checked: dict[str, Any] = {}
        for name, value in dict(given).items():
            if name == "dialect":
                checked[name] = _check_dialect(value)
            else:
                checked[name] = None if value is None else check_value(name, value)
        return checked

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken and noise plays no part."""
        return self.temperature == 0

    def active(self) -> dict[str, Number]:
        """The parameters that are on, by name, in the order of the dialect's steps."""
        pairs = ((name, getattr(self, name)) for name in DIALECTS[self.dialect].order)
        return {n: v for n, v in pairs if v is not None and v != PARAMETERS[n].neutral}

    def normalised(self) -> SamplingParams:
        """The same law with every neutral value written as None."""
        return SamplingParams.model_validate({**self.active(), "dialect": self.dialect})

    @property
    def label(self) -> str:
        """The settings as users write them, the name of a trial."""
        on = self.active()
        shown = [f"{n}={_plain(on[n])}" for n in PARAMETERS if n in on]
        if "temperature" not in on:
            shown.insert(0, "temperature=1")
        if self.dialect != "transformers":
            shown.append(f"dialect={self.dialect}")
        return ",".join(shown)


PARAMETERS: Mapping[str, Parameter] = {
    name: next(m for m in field.metadata if isinstance(m, Parameter))
    for name, field in SamplingParams.model_fields.items()
    if name != "dialect"
}

MAX_SETTINGS = 10_000
SMALLEST, LARGEST = 1e-30, 1e30  # of what has no upper limit


def check_value(name: str, value: object) -> Number:
    """Check one value of one parameter against its declared range.

    Args:
        name: a key of `PARAMETERS`.
        value: the number to check.

    Returns:
        The value as int or float, as the parameter declares.

    Raises:
        ParameterError: an unknown name, a wrong type, a value out of range.
    """
    parameter = find_parameter(name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ParameterError(
            f"{name} takes a number",
            reprlib.repr(value),
            f"Its range is {parameter.range_text}; leave it out to switch it off",
        )
    number: Any = value  # int, float, or numpy's
    below = number <= parameter.low if parameter.low_open else number < parameter.low
    above = number == math.inf if parameter.high is None else number > parameter.high
    if below or above or number != number:
        raise ParameterError(
            f"{name} must lie in {parameter.range_text}",
            reprlib.repr(value),
            "Leave it out, or say 'off', to switch it off",
        )
    if parameter.high is None and number != 0 and not SMALLEST <= number <= LARGEST:
        shown = f"{SMALLEST:g} and {LARGEST:g}"
        raise ParameterError(f"{name} must lie between {shown}", reprlib.repr(value), "Past these, logits overflow")
    if parameter.kind == "float":
        return float(number) + 0.0  # -0.0 becomes 0.0: one value, one key
    if int(number) != number:
        raise ParameterError(
            f"{name} takes a whole number", reprlib.repr(value), f"Its range is {parameter.range_text}"
        )
    return int(number)


def find_parameter(name: str) -> Parameter:
    """Look a parameter up by name.

    Args:
        name: a key of `PARAMETERS`.

    Returns:
        Its declaration.

    Raises:
        ParameterError: no such parameter; the nearest name is suggested.
    """
    if name in PARAMETERS:
        return PARAMETERS[name]
    near = difflib.get_close_matches(name, PARAMETERS, n=1)
    hint = f"Did you mean {near[0]}?" if near else "`poise list params` shows them"
    raise ParameterError(f"A parameter is one of {', '.join(PARAMETERS)}", repr(name), hint)


def grid(*, dialect: str = "transformers", **values: Number | Iterable[Number | None] | None) -> list[SamplingParams]:
    """Every combination of the given values, first parameter slowest.

    Args:
        dialect: whose order and boundary rules hold.
        **values: a value, None for off, or an iterable of them, per parameter.

    Returns:
        One `SamplingParams` per combination, duplicates left out.

    Raises:
        ParameterError: an unknown or empty parameter, a value out of range, over 10,000 settings.

    >>> [p.label for p in grid(temperature=[0.3, 0.9], top_p=0.9)]
    ['temperature=0.3,top_p=0.9', 'temperature=0.9,top_p=0.9']
    """
    axes: list[list[Number | None]] = []
    for name, given in values.items():
        find_parameter(name)
        many: Any = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
        axis = list(itertools.islice(many, MAX_SETTINGS + 1))
        if not axis:
            raise ParameterError(
                f"{name} needs at least one value", "none", f"For example {name}=[{PARAMETERS[name].low:g}]"
            )
        axes.append(axis)
    size = math.prod(len(axis) for axis in axes)
    if size > MAX_SETTINGS:
        raise ParameterError(
            f"A grid has at most {MAX_SETTINGS:,} settings",
            f"{size:,}" if max(map(len, axes)) <= MAX_SETTINGS else f"more than {MAX_SETTINGS:,}",
            "Take fewer values, or vary one parameter at a time",
        )
    combinations = itertools.product(*axes)
    records = ({**dict(zip(values, c, strict=True)), "dialect": dialect} for c in combinations)
    made = (SamplingParams.model_validate(record).normalised() for record in records)
    return list(dict.fromkeys(made))


def _check_dialect(value: object) -> str:
    if value not in DIALECTS:
        raise ParameterError(
            f"A dialect is one of {', '.join(DIALECTS)}", repr(value), "`poise list dialects` shows them"
        )
    return str(value)


def _plain(value: Number) -> str:
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else repr(value)
