"""Sampling parameters: the exact law of the next token, as data."""

from __future__ import annotations

import difflib
import itertools
import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

from poise.dialects import DEFAULT_DIALECT, DIALECTS, Dialect
from poise.errors import ParameterError
from poise.param_lists import LISTS, check_list, listed
from poise.parameters import PARAMETERS, Number, Parameter

__all__ = ["DEFAULT_DIALECT", "DIALECTS", "PARAMETERS", "Dialect", "Number", "Parameter", "SamplingParams", "grid"]

MAX_SETTINGS = 10_000
SMALLEST, LARGEST = 1e-30, 1e30  # of what has no upper limit

WAITING = (
    "a leader will come"  # validation context: what shapes a step may stand without it, beside a dial of that step
)

Bias = tuple[tuple[int, float], ...]


class SamplingParams(BaseModel):
    """The exact law by which the next token is drawn. `None` is off; see `PARAMETERS` for each number.

    Args:
        temperature: divides the logits, [0, ∞); 0 is greedy, lowest id among ties.
        top_k: number of tokens kept, [1, ∞).
        top_p: probability mass kept, [0, 1].
        min_p: share of the top probability a token needs, [0, 1].
        typical_p: mass kept of the most typical tokens, (0, 1].
        repetition_penalty: factor on tokens seen before, (0, ∞).
        frequency_penalty: logits per occurrence, [-2, 2].
        presence_penalty: logits once a token occurred, [-2, 2].
        top_n_sigma, epsilon_cutoff, eta_cutoff, top_h, tfs, top_a: other truncations.
        dynatemp_range, dynatemp_exponent, smoothing_factor, smoothing_curve: what else bends the logits.
        xtc_probability, xtc_threshold, mirostat, mirostat_tau, mirostat_eta: cuts by a coin, or by the text so far.
        penalty_last_n, no_repeat_ngram_size, dry_multiplier, dry_base, dry_allowed_length, dry_last_n: what was said.
        guidance_scale: how far from what the model says without the prompt, [0, ∞).
        logit_bias: pairs of a token id and what is added to its logit, or a mapping; -∞ bars a token.
        bad_words: sequences of token ids that are never completed.
        dry_breakers: strings that end a repeated sequence for DRY.
        order: the steps, first to last, where the dialect lets users choose.
        dialect: whose order and boundary rules hold, a key of `DIALECTS`.

    Raises:
        ParameterError: an unknown name, a wrong type, a value out of range, a parameter that the dialect lacks or that
            does nothing without another, an order without an active step.

    >>> SamplingParams(temperature=0.7, top_p=1.0).label
    'temperature=0.7'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    top_n_sigma: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None
    top_h: float | None = None
    tfs: float | None = None
    top_a: float | None = None
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    smoothing_factor: float | None = None
    smoothing_curve: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    mirostat: int | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    penalty_last_n: int | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_last_n: int | None = None
    no_repeat_ngram_size: int | None = None
    guidance_scale: float | None = None
    logit_bias: Bias | None = None
    bad_words: tuple[tuple[int, ...], ...] | None = None
    dry_breakers: tuple[str, ...] | None = None
    order: tuple[str, ...] | None = None
    dialect: str = DEFAULT_DIALECT

    @model_validator(mode="before")
    @classmethod
    def _validate(cls, given: Any, info: ValidationInfo) -> dict[str, Any]:
        if not isinstance(given, (Mapping, SamplingParams)):
            raise ParameterError("Settings are names with values", repr(given), "For example {'temperature': 0.7}")
        checked: dict[str, Any] = {}
        for name, value in dict(given).items():
            if name == "dialect":
                checked[name] = _check_dialect(value)
            elif name in LISTS:
                checked[name] = None if value is None else check_list(name, value)
            else:
                find_parameter(name)
                checked[name] = None if value is None else check_value(name, value)
        if checked.get("order"):
            checked["order"] = _placed(checked)
        _check_together({n: v for n, v in checked.items() if v is not None}, info.context is WAITING)
        return checked

    @property
    def how(self) -> Dialect:
        """The dialect's data."""
        return DIALECTS[self.dialect]

    @property
    def greedy(self) -> bool:
        """Whether noise plays no part: the likeliest token is taken."""
        t = self.temperature
        return t is not None and (t == 0 or t < self.how.rules.greedy_below) and not self.dynatemp_range

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that are on, in the order in which they act."""
        return tuple(n for n in self.order or self.how.order if self._on(n))

    def _on(self, step: str) -> bool:
        value = getattr(self, step)
        if value is None or value == ():
            return False
        if step in LISTS:
            return True
        return value != PARAMETERS[step].neutral and not (
            step == "top_p" and value == 0 and self.how.rules.top_p_zero == "off"
        )

    def active(self) -> dict[str, Number]:
        """The numbers that are on, by name, in the order of the steps; after a step what shapes it."""
        found: dict[str, Number] = {}
        for step in self.steps:
            if step not in LISTS:
                found[step] = getattr(self, step)
            for name in FOLLOWERS.get(step, ()):
                value = getattr(self, name)
                if value is not None and value != PARAMETERS[name].neutral:
                    found[name] = value
        return {**found, **self._waiting()}

    def _waiting(self) -> dict[str, Number]:
        """What shapes steps that are not said, as it stands beside a dial of such a step."""
        found: dict[str, Number] = {}
        for name in (n for n, p in PARAMETERS.items() if p.leaders):
            value = getattr(self, name)
            alone = all(getattr(self, leader) is None for leader in PARAMETERS[name].leaders)
            if value is not None and alone and value != PARAMETERS[name].neutral:
                found[name] = value
        return found

    def without(self, name: str) -> SamplingParams:
        """The other parameters, as they stand beside a dial of this one."""
        said = {n: v for n, v in self if v is not None and n != name}
        return SamplingParams.model_validate(said, context=WAITING).normalised()

    def only(self, steps: Iterable[str]) -> SamplingParams:
        """The law with these of its steps alone, in its order.

        Args:
            steps: names; those that are off do not matter.
        """
        kept = {*steps} & {*self.steps}
        shaping = {n for step in kept for n in FOLLOWERS.get(step, ())}
        shaping |= {"dry_breakers"} if "dry_multiplier" in kept else set()
        said = {n: v for n in (*kept, *shaping, "order", "dialect") if (v := getattr(self, n)) is not None}
        return SamplingParams.model_validate(said)

    def lists(self) -> dict[str, Any]:
        """What is on and no number: biases, barred words, breakers, an order."""
        said = {name: getattr(self, name) for name in LISTS}
        if self.dry_multiplier == 0:
            said["dry_breakers"] = None
        return {n: v for n, v in said.items() if v is not None and not (n in ("logit_bias", "bad_words") and v == ())}

    def number(self, name: str) -> Number | None:
        """A number as the law uses it: what was said, else what it is when it is left out."""
        value: Number | None = getattr(self, name)
        return PARAMETERS[name].neutral if value is None else value

    def normalised(self) -> SamplingParams:
        """The same law with every neutral value written as None."""
        return SamplingParams.model_validate(
            {**self.active(), **self.lists(), "dialect": self.dialect}, context=WAITING
        )

    @property
    def label(self) -> str:
        """The settings as users write them, the name of a trial."""
        on = self.active()
        shown = [f"{n}={_plain(on[n])}" for n in PARAMETERS if n in on]
        if "temperature" not in on:
            shown.insert(0, "temperature=1")
        shown += [f"{name}={listed(value)}" for name, value in self.lists().items()]
        if self.dialect != DEFAULT_DIALECT:
            shown.append(f"dialect={self.dialect}")
        return ",".join(shown)


FOLLOWERS: Mapping[str, tuple[str, ...]] = {
    leader: tuple(n for n, p in PARAMETERS.items() if leader in p.leaders)
    for leader in dict.fromkeys(leader for p in PARAMETERS.values() for leader in p.leaders)
}
assert {*SamplingParams.model_fields} == {*PARAMETERS, *LISTS, "dialect"}


def _check_together(said: Mapping[str, Any], waiting: bool = False) -> None:
    """What no value is wrong in by itself; `waiting` lets what shapes a step stand without it."""
    dialect = DIALECTS[said.get("dialect", DEFAULT_DIALECT)]
    numbers = {n: v for n, v in said.items() if n in PARAMETERS}
    lists = [n for n in ("logit_bias", "bad_words") if said.get(n)]
    for name in [*(n for n in numbers if said[n] != PARAMETERS[n].neutral), *lists]:
        _check_in_dialect(name, said[name], dialect)
    for name in numbers:
        leaders = PARAMETERS[name].leaders
        if leaders and not waiting and not any(leader in said for leader in leaders):
            raise ParameterError(
                f"{name} does nothing without {' or '.join(leaders)}", f"{name}={said[name]:g} alone",
                f"Give {leaders[0]} too, or leave {name} out",
            )  # fmt: skip
    if "dry_breakers" in said and "dry_multiplier" not in said and not waiting:
        raise ParameterError("dry_breakers do nothing without dry_multiplier", "them alone", "Give dry_multiplier too")
    on = [n for n in numbers if not PARAMETERS[n].leaders and said[n] != PARAMETERS[n].neutral]
    for step, beside in dialect.alone.items():
        if step in on and (dropped := [n for n in on if n not in beside]):
            raise ParameterError(
                f"Where {step} is on, {dialect.name} drops all but {', '.join(beside)}", ", ".join(dropped),
                f"Leave out {dropped[0]}, or {step}",
            )  # fmt: skip
    if "order" in said:
        _check_order(said["order"], [*on, *lists], dialect)


def _check_in_dialect(name: str, value: Any, dialect: Dialect) -> None:
    leaders = PARAMETERS[name].leaders if name in PARAMETERS else ()
    if not any(step in dialect.order for step in leaders or (name,)):
        able = [d.name for d in DIALECTS.values() if any(step in d.order for step in leaders or (name,))]
        raise ParameterError(
            f"{dialect.name} has no {name}", f"{name}={reprlib.repr(value)}",
            f"Leave it out, or take a dialect that has it: {', '.join(able)}",
        )  # fmt: skip
    if name == "top_p" and value == 0 and dialect.rules.top_p_zero == "refused":
        raise ParameterError(f"{dialect.name} takes a top_p above 0", "0", "Take temperature 0 for the likeliest token")
    if name in dialect.limits:
        low, high = dialect.limits[name]
        wrong = [v for v in ([b for _, b in value] if name in LISTS else [value]) if not low <= v <= high]
        if wrong:
            raise ParameterError(f"{dialect.name} takes {name} from {low:g} to {high:g}", f"{wrong[0]:g}", "Change it")


def _placed(said: Mapping[str, Any]) -> tuple[str, ...]:
    """An order with the steps that are on and have a place of their own in it."""
    order: tuple[str, ...] = said["order"]
    for step, leader in DIALECTS[said.get("dialect", DEFAULT_DIALECT)].placed.items():
        if said.get(step) and step not in order and leader in ("", *order):
            at = order.index(leader) + 1 if leader else 0
            order = (*order[:at], step, *order[at:])
    return order


def _check_order(order: Sequence[str], on: Sequence[str], dialect: Dialect) -> None:
    if not dialect.orderable:
        able = ", ".join(d.name for d in DIALECTS.values() if d.orderable)
        raise ParameterError(f"{dialect.name} has one order of steps", "another", f"Leave order out, or take {able}")
    if unknown := [step for step in order if step not in dialect.order]:
        raise ParameterError(f"The steps of {dialect.name} are {', '.join(dialect.order)}", unknown[0], "Leave it out")
    if missing := [step for step in on if step not in order]:
        raise ParameterError(
            f"An order names every step that is on: in {dialect.name} one that it misses does nothing",
            f"no {missing[0]} in it", f"Add {missing[0]}, or leave it out of the settings",
        )  # fmt: skip


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


def grid(*, dialect: str = DEFAULT_DIALECT, **values: Any) -> list[SamplingParams]:
    """Every combination of the given values, first parameter slowest.

    Args:
        dialect: whose order and boundary rules hold.
        **values: a value, None for off, or an iterable of them, per parameter; lists are the same everywhere.

    Returns:
        One `SamplingParams` per combination, duplicates left out.

    Raises:
        ParameterError: an unknown or empty parameter, a value out of range, over 10,000 settings.

    >>> [p.label for p in grid(temperature=[0.3, 0.9], top_p=0.9)]
    ['temperature=0.3,top_p=0.9', 'temperature=0.9,top_p=0.9']
    """
    axes: list[list[Number | None]] = []
    same = {name: values.pop(name) for name in LISTS if name in values}
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
    records = ({**dict(zip(values, c, strict=True)), **same, "dialect": dialect} for c in combinations)
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
