"""Draws texts of a bigram model under a law, fast."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.fakeserver.asking import InForce, Scopes
from poise.fakeserver.language import END, Language
from poise.fakeserver.laws import heights, log_probabilities, reshape
from poise.fakeserver.styles import Style
from poise.servers.calls import Likely, Position

Vector = NDArray[np.float64]
CUT = -9999.0  # what vLLM writes for the log-probability of a token that was cut
Heights = list[list[float]]  # by last token


class Wanted(NamedTuple):
    """Where a text ends, apart from the model's own end.

    Args:
        most: new tokens at most.
        least: the end is barred before this many.
        stop: strings that end the text.
        stop_stays: whether they are part of it.
        thinks: whether a thought comes first.
    """

    most: int
    least: int = 0
    stop: tuple[str, ...] = ()
    stop_stays: bool = False
    thinks: bool = False


class Drawn(NamedTuple):
    """One text.

    Args:
        ids: everything drawn, the end included.
        text: without the thought, and without the stop string unless it stays.
        thought: what came before; empty for none.
        finish: ``eos``, ``stop`` or ``length``.
        met: the stop string that ended it; None for none.
        rows: reshaped logits at each place, (S, V), where the law remembers; else None.
    """

    ids: tuple[int, ...]
    text: str
    thought: str
    finish: str
    met: str | None
    rows: tuple[Vector, ...] | None

    def shown(self, style: Style) -> tuple[int, ...]:
        """The token ids as the software counts them: with or without the one that ends the text."""
        return self.ids[:-1] if self.finish == "eos" and not style.shows_end else self.ids


class Drawer:
    """A language and what was computed of it.

    Args:
        language: the model.
        style: how log-probabilities are written.
    """

    def __init__(self, language: Language, style: Style) -> None:
        self.language, self._style = language, style
        self._heights: dict[tuple[InForce, bool], Heights] = {}
        self._raw = log_probabilities(language.logits)
        self._likely: dict[tuple[InForce | None, int], list[_Place | None]] = {}

    def draw(self, prompt: Sequence[int], law: InForce, wanted: Wanted, chance: Vector) -> Drawn:
        """One text.

        Args:
            prompt: token ids, at least one.
            law: in force.
            wanted: where it ends.
            chance: uniform numbers, one per new token, (wanted.most,).

        Returns:
            It.
        """
        if law.remembers:
            walk = _Walk(self.language, prompt, law, wanted)
            ids, rows = walk.through(chance.tolist())
            return self._cut(ids, wanted, tuple(rows))
        ids = self._run(prompt[-1], law, wanted, chance.tolist())
        return self._cut(ids, wanted, None)

    def _run(self, last: int, law: InForce, wanted: Wanted, chance: list[float]) -> list[int]:
        """A law that looks at the last token only: a table says it all."""
        ids: list[int] = []
        thinks, think_end = wanted.thinks, self.language.think_end
        for barred, part in ((True, chance[: wanted.least]), (False, chance[wanted.least :])):
            table = self._table(law, barred) if part else []
            for u in part:
                last = bisect_right(table[last], u)
                if last == END:
                    if not thinks or think_end is None:
                        ids.append(END)
                        return ids
                    thinks, last = False, think_end
                ids.append(last)
        return ids

    def _table(self, law: InForce, barred: bool) -> Heights:
        key = (law, barred)
        if key not in self._heights:
            self._heights[key] = heights(reshape(_biased(self.language.logits, law, barred), law.steps)).tolist()
        return self._heights[key]

    def _cut(self, ids: list[int], wanted: Wanted, rows: tuple[Vector, ...] | None) -> Drawn:
        """The text up to its first stop string, with the tokens that were drawn by then."""
        language, met, finish = self.language, None, "eos" if ids and ids[-1] == END else "length"
        text = language.text(ids)
        found = [(at, s) for s in wanted.stop if s and (at := text.find(s)) >= 0]
        if found:
            at, met = min(found, key=lambda f: (f[0] + len(f[1]), f[0]))
            ids, finish = self._until(ids, at + len(met)), "stop"
            text = text[: at + len(met) if wanted.stop_stays else at]
        thought, closed = "", "" if language.think_end is None else language.words[language.think_end]
        if wanted.thinks and closed:
            thought, _, text = text.partition(closed)
        return Drawn(tuple(ids), text, thought, finish, met, rows)

    def _until(self, ids: list[int], length: int) -> list[int]:
        """As few tokens as write so many characters."""
        written = 0
        for count, token in enumerate(ids, start=1):
            written += len(self.language.words[token])
            if written >= length:
                return ids[:count]
        return ids

    def positions(self, prompt: Sequence[int], law: InForce, drawn: Drawn, most: int) -> tuple[Position, ...]:
        """The log-probabilities of a text.

        Args:
            prompt: token ids.
            law: in force.
            drawn: the text.
            most: how many of the likeliest at each place.

        Returns:
            One position per token drawn.
        """
        if law.processed and drawn.rows is not None:
            rows = log_probabilities(np.array(drawn.rows)) if drawn.rows else ()
            return tuple(self._place(row, most)[token] for row, token in zip(rows, drawn.ids, strict=False))
        key = (law if law.processed else None, most)
        if key not in self._likely:
            self._likely[key] = [None] * self.language.size
        places, out = self._likely[key], []
        for last, token in zip((prompt[-1], *drawn.ids), drawn.ids, strict=False):
            place = places[last]
            if place is None:
                place = places[last] = self._place(self._row(last, law), most)
            out.append(place[token])
        return tuple(out)

    def _row(self, last: int, law: InForce) -> Vector:
        if not law.processed:
            return np.asarray(self._raw[last])
        logits = _biased(self.language.logits[last : last + 1], law, False)
        return np.asarray(log_probabilities(reshape(logits, law.steps))[0])

    def _place(self, row: Vector, most: int) -> _Place:
        values = np.where(np.isneginf(row), CUT, row).tolist()
        words, says_ids = (self._style.end_shown, *self.language.words[1:]), self._style.says_ids
        shown = [Likely(words[i], i if says_ids else None, v) for i, v in enumerate(values)]
        order = np.argsort(-row, kind="stable")[:most].tolist()
        return _Place(shown, tuple(shown[i] for i in order))


class _Place(dict[int, Position]):
    """What can be said at one place, by the token drawn there."""

    def __init__(self, shown: list[Likely], likeliest: tuple[Likely, ...]) -> None:
        super().__init__()
        self._shown, self._likeliest = shown, likeliest

    def __missing__(self, token: int) -> Position:
        self[token] = Position(self._shown[token], self._likeliest)
        return self[token]


class _Walk:
    """One text under a law that remembers, token by token."""

    def __init__(self, language: Language, prompt: Sequence[int], law: InForce, wanted: Wanted) -> None:
        self._language, self._law, self._wanted = language, law, wanted
        self._open, self._barred = (_biased(language.logits, law, barred) for barred in (False, True))
        self._repetition = _Counts(language.size, prompt, law.scopes.repetition_prompt, law.scopes)
        self._additive = _Counts(language.size, prompt, law.scopes.additive_prompt, law.scopes)
        self._last = prompt[-1]

    def through(self, chance: list[float]) -> tuple[list[int], list[Vector]]:
        """The tokens, and the reshaped logits that each was drawn from."""
        ids: list[int] = []
        rows: list[Vector] = []
        thinks = self._wanted.thinks and self._language.think_end is not None
        for place, u in enumerate(chance):
            row = self._reshaped((self._barred if place < self._wanted.least else self._open)[self._last])
            token = int(np.searchsorted(heights(row)[0], u, side="right"))
            if token == END and thinks and self._language.think_end is not None:
                thinks, token = False, self._language.think_end
            ids.append(token)
            rows.append(row[0])
            if token == END:
                break
            self._last = token
            self._repetition.add(token)
            self._additive.add(token)
        return ids, rows

    def _reshaped(self, row: Vector) -> NDArray[np.float64]:
        repetition, frequency, presence = self._law.penalties
        if repetition != 1:
            scaled = np.where(row < 0, row * repetition, row / repetition)
            row = np.where(self._repetition.counts > 0, scaled, row)
        if frequency or presence:
            counts = self._additive.counts
            row = row - frequency * counts - presence * (counts > 0)
        return reshape(row[None], self._law.steps)


class _Counts:
    """How often each token stands in what a penalty looks at."""

    def __init__(self, size: int, prompt: Sequence[int], with_prompt: bool, scopes: Scopes) -> None:
        self.counts = np.zeros(size)
        self._window, self._seen = scopes.window, list[int]()
        for token in prompt if with_prompt else ():
            self.add(token)

    def add(self, token: int) -> None:
        """One more; the one that leaves the window is forgotten."""
        self._seen.append(token)
        self.counts[token] += 1
        if self._window and len(self._seen) > self._window:
            self.counts[self._seen[-self._window - 1]] -= 1


def _biased(logits: NDArray[np.float64], law: InForce, barred: bool) -> NDArray[np.float64]:
    if not law.bias and not barred:
        return logits
    logits = logits.copy()
    for token, bias in law.bias:
        logits[:, token] += bias
    if barred:
        logits[:, END] = -np.inf
    return logits
