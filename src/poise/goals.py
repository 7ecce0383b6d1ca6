"""What a use case wants: a metric to move, constraints, a baseline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from poise.errors import UseCaseError

Sense = Literal["raise", "lower", "hold"]
REFERENCE = "reference"  # as a target: what the metric gives for each prompt's own reference text
DEFAULT_BASELINE = "engine-default"
SENSES: tuple[Sense, ...] = ("raise", "lower", "hold")
_CONSTRAINT = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(<=|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


class Constraint(NamedTuple):
    """What a metric's mean has to keep: ``loop_rate <= 0.05``.

    Args:
        metric: its name.
        most: True for ``<=``, False for ``>=``.
        bound: in the metric's unit.
    """

    metric: str
    most: bool
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read one as users write it.

        Args:
            text: for example ``loop_rate <= 0.05``.

        Returns:
            The constraint.

        Raises:
            UseCaseError: it is not written so.

        >>> str(Constraint.parse("loop_rate<=0.05"))
        'loop_rate <= 0.05'
        """
        found = _CONSTRAINT.fullmatch(text)
        if found is None:
            raise UseCaseError(
                "A constraint is a metric, <= or >=, and a number", repr(text), "For example loop_rate <= 0.05"
            )
        return cls(found[1], found[2] == "<=", float(found[3]))

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.most else '>='} {self.bound:g}"

    def margin(self, value: float) -> float:
        """How far a value is inside; negative where it is outside."""
        return self.bound - value if self.most else value - self.bound


class Aim(NamedTuple):
    """A metric and where it should go.

    Args:
        metric: its name.
        sense: ``raise``, ``lower``, or ``hold`` near a target.
        target: what to hold it near: a number, or `REFERENCE`; None where it is raised or lowered.
    """

    metric: str
    sense: Sense
    target: float | str | None = None

    def __str__(self) -> str:
        if self.target is None:
            return f"{self.sense} {self.metric}"
        near = "the reference" if isinstance(self.target, str) else f"{self.target:g}"
        return f"{self.sense} {self.metric} near {near}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a use case wants of its settings, fixed before any number is seen.

    Args:
        aim: the primary metric, and where it should go.
        constraints: what every setting has to keep.
        matters: the smallest difference in the primary metric that matters, in its unit, above 0;
            None where none was said.
        baseline: the trial that others have to beat: its settings or its name.
        also: a second metric, for the trade-off; None where there is none.

    Raises:
        UseCaseError: a part that is not what it has to be.
    """

    aim: Aim
    constraints: tuple[Constraint, ...] = ()
    matters: float | None = None
    baseline: str = DEFAULT_BASELINE
    also: Aim | None = None

    def __post_init__(self) -> None:
        _check_aim(self.aim)
        if self.also is not None:
            _check_aim(self.also)
        _matters(self.matters)
        if not all(isinstance(c, Constraint) for c in self.constraints):
            raise UseCaseError("A goal's constraints are Constraints", repr(self.constraints), 'Constraint.parse("…")')
        _check_constraints(self.constraints)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that it names, the primary one first."""
        also = [self.also.metric] if self.also else []
        return tuple(dict.fromkeys([self.aim.metric, *also, *(c.metric for c in self.constraints)]))

    @property
    def needs_reference(self) -> bool:
        """Whether it holds a metric near the value of each prompt's reference text."""
        return any(a is not None and a.target == REFERENCE for a in (self.aim, self.also))

    def record(self) -> dict[str, Any]:
        """It as a use-case file writes it, in plain data; `read_goal` reads it back."""
        said: dict[str, Any] = _aim_record(self.aim)
        if self.also is not None:
            said["also"] = _aim_record(self.also)
        if self.constraints:
            said["constraints"] = [str(c) if float(f"{c.bound:g}") == c.bound else _exact(c) for c in self.constraints]
        if self.matters is not None:
            said["matters"] = self.matters
        return {**said, "baseline": self.baseline}

    def __str__(self) -> str:
        parts = [str(self.aim), *([f"also {self.also}"] if self.also else []), *map(str, self.constraints)]
        if self.matters is not None:
            parts.append(f"differences under {self.matters:g} do not matter")
        return "; ".join([*parts, f"baseline {self.baseline}"])


def read_goal(said: object) -> Goal:
    """Read a goal as a use-case file writes it.

    Args:
        said: a mapping with one of ``raise``, ``lower`` and ``hold`` (then also ``near``), and perhaps ``also``,
            ``constraints``, ``matters`` and ``baseline``.

    Returns:
        The goal. Whether its metrics exist is for those to say who know them.

    Raises:
        UseCaseError: something else, or an unknown field.

    >>> str(read_goal({"raise": "exact_match", "constraints": ["invalid <= 0.01"], "matters": 0.02}))
    'raise exact_match; invalid <= 0.01; differences under 0.02 do not matter; baseline engine-default'
    """
    if not isinstance(said, dict):
        raise UseCaseError("A goal is a mapping", repr(said), "For example goal: {raise: exact_match, matters: 0.02}")
    known = {*SENSES, "near", "also", "constraints", "matters", "baseline"}
    if unknown := [str(k) for k in said if k not in known]:
        raise UseCaseError(
            "A goal has raise, lower or hold (with near), also, constraints, matters, baseline", unknown[0], "Remove it"
        )
    constraints = said.get("constraints", [])
    constraints = [constraints] if isinstance(constraints, str) else constraints
    if not isinstance(constraints, list | tuple) or not all(isinstance(c, str) for c in constraints):
        raise UseCaseError("constraints is a list of texts", repr(constraints), "For example [loop_rate <= 0.05]")
    baseline = said.get("baseline", DEFAULT_BASELINE)
    if not isinstance(baseline, str) or not baseline.strip():
        raise UseCaseError(
            "A baseline is a trial's settings or its name", repr(baseline), "For example temperature=1, or greedy"
        )
    aim = _read_aim({k: v for k, v in said.items() if k in (*SENSES, "near")})
    also = None if said.get("also") is None else _read_aim(said["also"])
    if also is not None and also.metric == aim.metric:
        raise UseCaseError("also names another metric than the goal's first", also.metric, "Name another, or none")
    return Goal(aim, tuple(map(Constraint.parse, constraints)), _matters(said.get("matters")), baseline.strip(), also)


def _read_aim(said: object) -> Aim:
    example = "For example raise: exact_match, or hold: nll with near: reference"
    if not isinstance(said, dict):
        raise UseCaseError("A goal names its metric under raise, lower or hold", repr(said), example)
    if unknown := [str(k) for k in said if k not in (*SENSES, "near")]:
        raise UseCaseError("A second metric has raise, lower or hold (with near)", unknown[0], "Remove it")
    named = [sense for sense in SENSES if said.get(sense) is not None]
    if len(named) != 1:
        raise UseCaseError("A goal has exactly one of raise, lower and hold", " and ".join(named) or "none", example)
    metric, near = said[named[0]], said.get("near")
    if not isinstance(metric, str) or not metric.strip():
        raise UseCaseError("A goal names a metric", repr(metric), example)
    if (named[0] == "hold") != (near is not None):
        raise UseCaseError("hold goes with near, and raise and lower go without", f"near: {near!r}", example)
    if near is not None and near != REFERENCE:
        if isinstance(near, bool) or not isinstance(near, int | float) or not abs(near) < float("inf"):
            raise UseCaseError("near is a number, or reference", repr(near), example)
        near = float(near)
    return Aim(metric.strip(), named[0], near)


def _check_aim(aim: object) -> None:
    """An aim may be built without being read; a sense that nobody knows would be taken for another."""
    example = 'For example Aim("exact_match", "raise"), or read_goal({"raise": "exact_match"})'
    if not isinstance(aim, Aim) or aim.sense not in SENSES or (aim.sense == "hold") != (aim.target is not None):
        raise UseCaseError("A goal's aim is an Aim that raises, lowers, or holds near a target", repr(aim), example)


def _check_constraints(constraints: tuple[Constraint, ...]) -> None:
    """One on each side of a metric, with room between them."""
    for i, one in enumerate(constraints):
        for other in constraints[i + 1 :]:
            if one.metric != other.metric:
                continue
            if one.most == other.most:
                raise UseCaseError(
                    "A goal has one constraint on each side of a metric", f"{one} and {other}", "Keep one of them"
                )
            if (other.bound - one.bound if one.most else one.bound - other.bound) > 0:
                raise UseCaseError(
                    "A value can keep the constraints of a metric", f"{one} and {other}, which exclude each other",
                    "Change one of them",
                )  # fmt: skip


def _matters(said: object) -> float | None:
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 < said < float("inf"):
        raise UseCaseError(
            "matters is a difference in the metric's unit, above 0", repr(said), "For example matters: 0.02"
        )
    return float(said)


def _aim_record(aim: Aim) -> dict[str, Any]:
    return {aim.sense: aim.metric, **({} if aim.target is None else {"near": aim.target})}


def _exact(constraint: Constraint) -> str:
    """With every digit, where six do not do."""
    return f"{constraint.metric} {'<=' if constraint.most else '>='} {constraint.bound!r}"
