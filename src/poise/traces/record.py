"""A next token's distribution after each step, as tables."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.distances import EQUAL, total_variation
from poise.errors import UsageError
from poise.escapes import visible
from poise.law import Row
from poise.law.rows import Ids
from poise.params import SamplingParams
from poise.tables import Table, whole_html, whole_text
from poise.traces.own import lacking

WIDTH = 98  # columns of a terminal beyond which steps have numbers for names
LONGEST = 18  # characters of a token's text in a table
NAMED = 3  # tokens that a sentence names
_INDENT, _GAP, _CELL = 2, 2, 5
_FIGURES = 36  # columns that a step's number and its figures take beside its name


@dataclass(frozen=True, slots=True, eq=False)
class TraceStep:
    """The next token's distribution after one step.

    Args:
        name: of the step.
        said: the step with its value and what shapes it, as users write them.
        probabilities: of all tokens after it, (V,).
        kept: number of tokens that are left.
        cut: which tokens this step cut, (V,).
        cut_mass: probability that they had before it, 0 to 1.
        moved: total-variation distance from the distribution before it, 0 to 1; of a mere cut, its mass.
    """

    name: str
    said: str
    probabilities: Row
    kept: int
    cut: NDArray[np.bool_]
    cut_mass: float
    moved: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Trace:
    """One next token through every step of a law; str() and a notebook show it as tables.

    Args:
        params: the law.
        about: whose next token it is, for a title.
        model: probabilities before any step, (V,).
        steps: the active ones in order; after XTC, what holds where it strikes.
        probabilities: what the token is drawn from, (V,); where XTC strikes only sometimes, both cases together.
        strikes: how often XTC strikes, 0 to 1; None where it is off.
        shown: ids of the likeliest tokens before or after, likeliest first: all of a small vocabulary.
        words: texts of these and of some less likely ones.
        plain: whether the words are names that a user gave, rather than text of a model.
        ends: tokens that end the text.
        notes: what a reader has to know.
    """

    params: SamplingParams
    about: str
    model: Row
    steps: tuple[TraceStep, ...]
    probabilities: Row
    strikes: float | None
    shown: tuple[int, ...]
    words: Mapping[int, str]
    plain: bool
    ends: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[tuple[str, Row]]:
        """What each distribution is called, and the distribution: the model's, each step's, and what is drawn from."""
        found = [("model", self.model), *((s.name, s.probabilities) for s in self.steps)]
        return [*found, ("drawn from", self.probabilities)] if self.strikes is not None else found

    def word(self, token: int) -> str:
        """A token as tables and figures show it: a model's text in quotation marks, nothing that a terminal obeys."""
        text = visible(self.words[token]).replace("\n", "⏎").replace("\t", "⇥")
        text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
        if self.plain:
            return text
        return "end of text" if token in self.ends else f"“{text}”" if text else f"token {token}"

    def cut_by(self, tokens: int | Ids) -> int | None:
        """The step that cuts a token, or the last of several.

        Args:
            tokens: one id, or an array of ids.

        Returns:
            Its number, from 1; None where something is left of them.
        """
        for number, step in enumerate(self.steps, 1):
            if np.any(step.cut[tokens]) and not np.any(step.probabilities[tokens] > 0):
                return number
        return None

    def beside(self, other: Trace) -> Beside:
        """This law and another on the same next token.

        Args:
            other: a trace of the same logits.

        Returns:
            Both, with the first step at which they part and how far apart they end.

        Raises:
            UsageError: a trace of other logits.
        """
        if self.model.shape != other.model.shape or not np.allclose(self.model, other.model, rtol=0, atol=EQUAL):
            raise UsageError("Two laws are set side by side on one next token", "two others", "Trace the same logits")
        far = total_variation(self.probabilities, other.probabilities)
        return Beside(self, other, _parting(self, other, far), far)

    def tables(self, width: int = WIDTH) -> list[Table]:
        """The steps with what they cut, and the probabilities of the likeliest tokens after each.

        Args:
            width: columns that a row may take.
        """
        title = f"{self.about}, by the steps of {self.params.dialect}"
        notes = [*([_MOVED] if self.steps else []), *self.notes]
        return [Table(title, _HEAD, _step_rows(self, width), notes), *_token_tables(self, width)]

    def __str__(self) -> str:
        return whole_text((), self.tables(), WIDTH)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return whole_html((), self.tables())


class Parting(NamedTuple):
    """The first step at which two laws part.

    Args:
        kind: ``kept``: it leaves other tokens; ``probabilities``: the same tokens with other probabilities.
        left, right: place of the step in either law, from 1; None where a law has no step there.
        tokens: ids that one of the laws keeps there and the other has cut; empty where the kept tokens are the same.
    """

    kind: Literal["kept", "probabilities"]
    left: int | None
    right: int | None
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Beside:
    """Two laws on one next token; str() and a notebook show them as tables.

    Args:
        left, right: the traces.
        parting: the first step at which they part; None where they end alike.
        total_variation: of what the tokens are drawn from: the share of draws in which the two must differ, 0 to 1.
    """

    left: Trace
    right: Trace
    parting: Parting | None
    total_variation: float

    @property
    def sentences(self) -> list[str]:
        """What to conclude, a sentence each."""
        names = " and ".join(_called(self))
        if self.parting is None:
            same = [s.name for s in self.left.steps] == [s.name for s in self.right.steps]
            own = [f"; {said}" for t in (self.left, self.right) if (said := lacking(t.params))]
            order = "" if same else ", though by another order of steps"
            who = "Both" if self.left.params.label == self.right.params.label else names
            return [f"{who} draw from the same law{order}{''.join(dict.fromkeys(own))}"]
        share = f"in at least {100 * self.total_variation:.3g} % of all draws"
        return [
            _parting_said(self),
            f"Total variation {self.total_variation:.4f}: {share} {names} give different tokens",
        ]

    def tables(self, width: int = WIDTH) -> list[Table]:
        """The tables of both laws.

        Args:
            width: columns that a row may take.
        """
        return [*self.left.tables(width), *self.right.tables(width)]

    def __str__(self) -> str:
        said = "\n".join(f"{sentence}." for sentence in map(visible, self.sentences))
        return f"{whole_text((), self.tables(), WIDTH)}\n\n{said}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return whole_html(self.sentences, self.tables())


_HEAD = ("", "step", " kept", " cut here", " moved")
_MOVED = "moved: total-variation distance from the row above, 0 to 1; of a mere cut, its mass"


def _step_rows(t: Trace, width: int) -> list[list[str]]:
    rows = [["0", "the model", f"{int(np.count_nonzero(t.model)):,}", "", ""]]
    for number, s in enumerate(t.steps, 1):
        cut = f"{100 * s.cut_mass:.1f} %" if s.cut.any() else ""
        moved = "nothing" if s.moved <= EQUAL and not s.cut.any() else f"{s.moved:.3f}"
        first, *more = textwrap.wrap(s.said, width - _FIGURES, break_long_words=False, break_on_hyphens=False)
        rows += [[str(number), first, f"{s.kept:,}", cut, moved], *(["", f"  {said}", "", "", ""] for said in more)]
    if t.strikes is not None:
        rows.append(["", "drawn from", f"{int(np.count_nonzero(t.probabilities)):,}", "", ""])
    return rows


def _token_tables(t: Trace, width: int) -> list[Table]:
    """Tokens down, steps across: by name where the names have room, else by number, in as many tables as it takes."""
    words = [t.word(i) for i in t.shown]
    names = [name for name, _ in t.columns]
    rest = t.model.size - len(t.shown)
    summed = [f"{rest:,} others"] if rest else []
    room = width - _INDENT - max(map(len, ["token", *words, *summed]))
    if sum(_GAP + max(len(n), _CELL) for n in names) > room:
        names = [n if n in ("model", "drawn from") else str(i) for i, n in enumerate(names)]
    rows = [[word, *_cells(t, i)] for word, i in zip(words, t.shown, strict=True)]
    if summed:
        others = np.setdiff1d(np.arange(t.model.size), t.shown)
        rows.append([*summed, *_cells(t, others)])
    tables = []
    for first, end in _fitting([_GAP + max(len(n), _CELL) for n in names], room):
        head = ("token", *(f" {n}" for n in names[first:end]))
        title = "Probability after each step" + (", further on" if first else "")
        tables.append(Table(title, head, [[row[0], *row[1 + first : 1 + end]] for row in rows]))
    return tables


def _fitting(widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Stretches of columns that have room side by side.

    >>> _fitting([5, 5, 5], 12)
    [(0, 2), (2, 3)]
    """
    stretches, first = [], 0
    for place in range(1, len(widths) + 1):
        if place == len(widths) or sum(widths[first : place + 1]) > room:
            stretches.append((first, place))
            first = place
    return stretches


def _cells(t: Trace, tokens: int | Ids) -> list[str]:
    """What a token has in every column, or several together; the word cut in that of the step that cut the last."""
    gone = t.cut_by(tokens)
    sums = [float(p[tokens].sum()) for _, p in t.columns]
    return ["cut" if number == gone else _probability(p) for number, p in enumerate(sums)]


def _probability(p: float) -> str:
    """With three decimals; a dot for nothing at all.

    >>> _probability(0.25), _probability(0.0001), _probability(0.0)
    ('0.250', '<.001', '·')
    """
    return "·" if p == 0 else f"{p:.3f}" if p >= 0.0005 else "<.001"


def _called(b: Beside) -> tuple[str, str]:
    """What tells the two laws apart: the dialects, else the settings, else their places."""
    mine, theirs = b.left.params, b.right.params
    if mine.dialect != theirs.dialect:
        return mine.dialect, theirs.dialect
    return (mine.label, theirs.label) if mine.label != theirs.label else ("the first", "the second")


def _parting(a: Trace, b: Trace, far: float) -> Parting | None:
    """Step by step while both do the same; then whatever first decides which tokens can be drawn."""
    if far <= EQUAL and np.array_equal(a.probabilities > 0, b.probabilities > 0):
        return None
    together = 0
    for s, o in zip(a.steps, b.steps, strict=False):
        if s.name != o.name:
            break
        together += 1
        other = np.flatnonzero((s.probabilities > 0) != (o.probabilities > 0))
        if other.size:
            return Parting("kept", together, together, tuple(map(int, other)))
        if total_variation(s.probabilities, o.probabilities) > EQUAL:
            return Parting("probabilities", together, together)
    decisive = np.flatnonzero((a.probabilities > 0) != (b.probabilities > 0))
    found = [(number, side, s.cut[decisive]) for side, t in enumerate((a, b)) for number, s in enumerate(t.steps, 1)]
    for number, side, cut in sorted(found, key=lambda f: f[0]):
        if cut.any():
            tokens = tuple(map(int, decisive[cut]))
            mine, theirs = (a, b) if side == 0 else (b, a)
            place = _place(theirs, mine.steps[number - 1].name)
            return Parting("kept", number if side == 0 else place, place if side == 0 else number, tokens)
    left, right = (together + 1 if together < len(t.steps) else None for t in (a, b))
    return Parting("probabilities", left, right)


def _place(t: Trace, name: str) -> int | None:
    return next((number for number, s in enumerate(t.steps, 1) if s.name == name), None)


def _parting_said(b: Beside) -> str:
    assert b.parting is not None
    kind, left, right, tokens = b.parting
    mine, theirs = _called(b)
    if left is not None and right is not None and b.left.steps[left - 1].name == b.right.steps[right - 1].name:
        name = b.left.steps[left - 1].name
        at = f"at {name}, step {left} of {mine}" + (
            f" and of {theirs}" if left == right else f" and {right} of {theirs}"
        )
    else:
        sides = [f"{w}'s {_step_said(t, n)}" for w, t, n in ((mine, b.left, left), (theirs, b.right, right))]
        at = f"at {' and '.join(sides)}"
    if kind == "probabilities":
        return f"They part {at}: the same tokens with other probabilities"
    return f"They part {at}: {_tokens_said(b, tokens)}"


def _step_said(t: Trace, number: int | None) -> str:
    return "end" if number is None else f"step {number}, {t.steps[number - 1].name}"


def _tokens_said(b: Beside, tokens: Sequence[int]) -> str:
    """Which side keeps which of the tokens in the end."""
    said = []
    for name, t, other in zip(_called(b), (b.left, b.right), (b.right, b.left), strict=True):
        mine = [i for i in tokens if t.probabilities[i] > 0 and other.probabilities[i] == 0]
        if not mine:
            continue
        known = [i for i in mine if i in t.words or i in other.words]
        named = [(t if i in t.words else other).word(i).replace(" ", "\N{NO-BREAK SPACE}") for i in known[:NAMED]]
        more = "one more token" if len(mine) == 1 else f"{len(mine):,} more tokens"
        shown = ", ".join([*named, *(["…"] if len(named) < len(mine) else [])])
        said.append(f"{name} keeps {more}{f' ({shown})' if named else ''}")
    return "; ".join(said) or "other tokens are left after it, the same in the end"
