"""Dial and Piece: every value of a parameter, every text."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import NamedTuple, overload

from poise.errors import UsageError
from poise.params import PARAMETERS, SamplingParams
from poise.records import Completion, Prompt, Request
from poise.spans import Cut, Span, closed


@dataclass(frozen=True, slots=True)
class Found:
    """A stretch of a dial on its own, before it has its place among the others; what a study keeps.

    Args:
        span: the stretch.
        completion: the text on it; its request holds a value of the stretch. None where the dial stopped early.
        prefix: token ids that every text of the stretch begins with; all of them where it is known.
        doubtful: positions of tokens whose two best scores were closer than the model's numerics can decide
            elsewhere.
    """

    span: Span
    completion: Completion | None
    prefix: tuple[int, ...]
    doubtful: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the parameter on which one text is drawn.

    Args:
        low, high: its ends, in the parameter's unit; equal where it is a single value.
        low_closed, high_closed: whether that end belongs to it.
        completion: the text; its request holds a value of the stretch. None where the dial stopped early.
        prefix: token ids that every text of the stretch begins with; all of them where it is known.
        parent: index of the piece that it departs from, to its left; None for the first.
        departs: how many tokens it has in common with its parent.
        doubtful: positions of tokens whose two best scores were closer than the model's numerics can decide
            elsewhere: on another machine this text may differ from there on.
    """

    low: float
    high: float
    low_closed: bool
    high_closed: bool
    completion: Completion | None
    prefix: tuple[int, ...]
    parent: int | None
    departs: int
    doubtful: tuple[int, ...] = ()

    @property
    def span(self) -> Span:
        """The stretch."""
        return Span(Cut(self.low, not self.low_closed), Cut(self.high, self.high_closed))

    @property
    def known(self) -> bool:
        """Whether its text is known to the end."""
        return self.completion is not None

    @property
    def text(self) -> str | None:
        """The text; None where the dial stopped early."""
        return None if self.completion is None else self.completion.text

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Real) and self.span.holds(float(value))


@dataclass(frozen=True)
class Dial:
    """All texts of one prompt and draw, for all values of one parameter.

    Args:
        request: prompt, seed, draw, limits, and the other parameters; the dialled one is off in it.
        parameter: which one moves.
        low, high: the range, both ends in it.
        pieces: they tile the range, from low to high.
    """

    request: Request
    parameter: str
    low: float
    high: float
    pieces: tuple[Piece, ...]

    @property
    def prompt(self) -> Prompt:
        """What was asked."""
        return self.request.prompt

    @property
    def draw(self) -> int:
        """Number of the draw, from 0."""
        return self.request.draw

    @property
    def seed(self) -> int:
        """Seed of the noise."""
        return self.request.seed

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """Where the text changes, ascending: the first end of every piece but the first."""
        return tuple(piece.low for piece in self.pieces[1:])

    @property
    def exact_share(self) -> float:
        """Share of the range whose text is known exactly, 0 to 1; of whole numbers, of how many."""
        whole = PARAMETERS[self.parameter].kind == "int"
        unknown = sum(p.span.extent(whole) for p in self.pieces if not p.known)
        return 1.0 - unknown / closed(self.low, self.high).extent(whole)

    @property
    def texts(self) -> list[str]:
        """Its distinct texts, from low to high."""
        return list(dict.fromkeys(p.completion.text for p in self.pieces if p.completion is not None))

    @cached_property
    def _starts(self) -> list[Cut]:
        return [piece.span.low for piece in self.pieces]

    def piece_at(self, value: float) -> Piece:
        """The piece that a value lies in.

        Args:
            value: of the parameter, in [low, high].

        Returns:
            Its piece, known or not.

        Raises:
            UsageError: outside the range.
        """
        value = check_place(value, self.parameter, self.low, self.high)
        return self.pieces[bisect.bisect_right(self._starts, (value, False)) - 1]

    def at(self, value: float) -> Completion:
        """What is drawn at a value: the same as `generate` draws there.

        Args:
            value: of the parameter, in [low, high].

        Returns:
            The completion of its piece.

        Raises:
            UsageError: outside the range, or in a piece that the dial did not finish.
        """
        piece = self.piece_at(value)
        if piece.completion is None:
            raise UsageError(
                "A dial that stopped early knows the texts of the pieces it finished",
                f"{value!r}, in the unfinished piece {piece.span}",
                "Dial again with a larger budget (max_rows, max_texts) or a smaller resolution",
            )
        return piece.completion

    def __repr__(self) -> str:
        held = f"{len(self.pieces)} pieces, {self.exact_share:.0%} of the range known"
        return f"<Dial of {self.parameter} over [{self.low:g}, {self.high:g}], draw {self.draw}: {held}>"


class Cost(NamedTuple):
    """What a dial was expected to take, and took.

    Args:
        rows: forward passes of one row, prompts not counted.
        pieces: of all its dials together.
        expected_rows, expected_pieces: from the closed form, before it started; None where there is none.
        seconds: wall time.
        parts: seconds by part: forward, noise, law, envelope, ...
    """

    rows: int
    pieces: int
    expected_rows: float | None
    expected_pieces: float | None
    seconds: float
    parts: tuple[tuple[str, float], ...] = ()


class Dials(Sequence[Dial]):
    """Dials of one parameter, one per prompt and draw; a lone one can be read right here.

    Args:
        dials: by prompt, then draw.
        cost: what they took.
        notes: what the reader should know.
    """

    def __init__(self, dials: Iterable[Dial], cost: Cost, notes: Iterable[str] = ()) -> None:
        self._dials, self.cost, self.notes = tuple(dials), cost, tuple(notes)

    def __len__(self) -> int:
        return len(self._dials)

    @overload
    def __getitem__(self, index: int) -> Dial: ...
    @overload
    def __getitem__(self, index: slice) -> Dials: ...
    def __getitem__(self, index: int | slice) -> Dial | Dials:
        return self._dials[index] if isinstance(index, int) else Dials(self._dials[index], self.cost, self.notes)

    @property
    def only(self) -> Dial:
        """The one dial there is; UsageError where there are several."""
        if len(self._dials) != 1:
            raise UsageError(
                "`at`, `pieces` and `breakpoints` read a lone dial", f"{len(self)} of them", "Choose one: dials[0].at"
            )
        return self._dials[0]

    def at(self, value: float) -> Completion:
        """See `Dial.at`."""
        return self.only.at(value)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """See `Dial`."""
        return self.only.pieces

    @property
    def breakpoints(self) -> tuple[float, ...]:
        """See `Dial.breakpoints`."""
        return self.only.breakpoints

    @property
    def exact_share(self) -> float:
        """Share of the range known exactly, the mean over the dials."""
        return sum(d.exact_share for d in self) / len(self)

    def __repr__(self) -> str:
        return repr(self.only) if len(self) == 1 else f"<{len(self)} dials, {self.exact_share:.0%} of the range known>"


def check_place(value: object, parameter: str, low: float, high: float) -> float:
    """A value that a dial or a curve can be read at.

    Args:
        value: what was given.
        parameter: the one that moves.
        low, high: its range.

    Returns:
        It as a float.

    Raises:
        UsageError: no number, none of the parameter's values, or outside the range.
    """
    whole = PARAMETERS[parameter].kind == "int"
    number = "a whole number" if whole else "a number"
    rule = f"{parameter} is read at {number} in [{low:g}, {high:g}]"
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise UsageError(rule, repr(value), f"For example {low:g}")
    place = float(value)
    if not low <= place <= high:
        raise UsageError(rule, repr(value), "Dial a wider range")
    if whole and not place.is_integer():
        raise UsageError(rule, repr(value), f"Take {int(place)} or {int(place) + 1}")
    return place


def beside(parameter: str, fixed: SamplingParams) -> str:
    """The settings that stay while a parameter moves, as users write them; empty where nothing else is set."""
    label = fixed.label.split(",")
    return ",".join(said for said in label if said.split("=")[0] != parameter)


def tile(found: Iterable[Found]) -> tuple[Piece, ...]:
    """Put stretches in order, join neighbours of one text, and say which departs from which.

    Args:
        found: stretches that tile a range.

    Returns:
        The pieces.
    """
    ordered = list(_joined(sorted(found, key=lambda f: f.span)))
    seen = _Seen()
    pieces: list[Piece] = []
    for i, f in enumerate(ordered):
        departs, parent = seen.add(f.prefix, i)
        pieces.append(Piece(
            low=f.span.low.value, high=f.span.high.value, low_closed=not f.span.low.after,
            high_closed=f.span.high.after, completion=f.completion, prefix=f.prefix, parent=parent if i else None,
            departs=departs, doubtful=f.doubtful,
        ))  # fmt: skip
    return tuple(pieces)


class _Seen:
    """Texts as a tree of tokens, each with the number of the first text that had it there."""

    def __init__(self) -> None:
        self.first, self.next = 0, dict[int, _Seen]()

    def add(self, tokens: Sequence[int], number: int) -> tuple[int, int]:
        """How many tokens an earlier text has in common with a new one, at most, and which the first of them is."""
        at, shared, first = self, 0, self.first
        for token in tokens:
            if token in at.next:
                at = at.next[token]
                shared, first = shared + 1, at.first
            else:
                at.next[token] = at = _Seen()
                at.first = number
        return shared, first


def alike(dials: Iterable[Dial]) -> list[list[Dial]]:
    """Dials that one curve may average: of one use case, parameter, range, other settings and limits, in order."""
    groups: dict[tuple[object, ...], list[Dial]] = {}
    for d in dials:
        r = d.request
        kind = (r.prompt.use_case, d.parameter, d.low, d.high, r.params, r.max_tokens, r.min_tokens, r.stop)
        groups.setdefault(kind, []).append(d)
    return list(groups.values())


def merged(dials: Sequence[Dial]) -> list[tuple[Span, tuple[Piece, ...]]]:
    """The stretches on which none of several dials changes, with the piece of each.

    Args:
        dials: of one parameter over one range.

    Returns:
        Stretches that tile the range, from low to high.
    """
    cuts = sorted({p.span.low for d in dials for p in d.pieces} | {dials[0].pieces[-1].span.high})
    found = []
    at = [0] * len(dials)
    for low, high in itertools.pairwise(cuts):
        for i, d in enumerate(dials):
            while d.pieces[at[i]].span.high <= low:
                at[i] += 1
        found.append((Span(low, high), tuple(d.pieces[at[i]] for i, d in enumerate(dials))))
    return found


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    return min(len(a), len(b)) if n is None else n


def with_value(params: SamplingParams, parameter: str, value: float) -> SamplingParams:
    """Settings with one parameter at a value, normalised."""
    known = {**params.active(), **params.lists(), "dialect": params.dialect, parameter: value}
    return SamplingParams.model_validate(known).normalised()


def value_in(parameter: str, span: Span) -> float:
    """A value of the stretch: half-way where there is one."""
    middle = span.middle
    likely = [middle, span.high.value, span.low.value]  # between neighbouring floats there is nothing
    if PARAMETERS[parameter].kind == "int":
        likely = [int(middle), int(middle) + 1, int(span.low.value)]
    return next((value for value in likely if span.holds(value)), likely[0])


def _joined(ordered: Sequence[Found]) -> Iterator[Found]:
    held: Found | None = None
    for f in ordered:
        alike = held is not None and held.span.high == f.span.low and held.prefix == f.prefix
        if held is not None and alike and (held.completion is None) == (f.completion is None):
            doubtful = tuple(sorted({*held.doubtful} & {*f.doubtful}))  # sure on either part is sure
            held = Found(Span(held.span.low, f.span.high), held.completion, held.prefix, doubtful)
            continue
        if held is not None:
            yield held
        held = f
    if held is not None:
        yield held
