"""What the dial page knows: pieces, loops, changes, next words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from poise.escapes import visible
from poise.forks import Fork
from poise.metrics.repetition import find_loop
from poise.pieces import Dial, Piece, common_length, merged
from poise.spans import Span

Decode = Callable[[Sequence[int]], str]
Record = dict[str, Any]  # plain data for the page's script

SIDE_BY_SIDE = 4  # draws on the first screen
ZONE = 0.03  # share of the range that a zone needs to be named
BARS = 6  # words under the texts
LIKELY = 4  # of them the likeliest; the others are those that draws chose, while there are any
SURE = 0.9  # share of the likeliest word from which on a place tells nothing
TAIL = 48  # characters of the text before the next word


def prompt_record(dials: Sequence[Dial], forks: Sequence[Fork], decode: Decode, apart: Sequence[Span] = ()) -> Record:
    """Everything the page shows of one prompt.

    Args:
        dials: its draws.
        forks: where their texts part.
        decode: text of token ids.
        apart: where texts are surely less likely than a human text.

    Returns:
        Plain data: see `dial.js`.
    """
    shown = dials[:SIDE_BY_SIDE]
    names: dict[tuple[int, ...], int] = {}
    bars = _bars(shown, forks)
    used = list(dict.fromkeys(b.fork for b in bars if b.fork >= 0))
    drawn = {i: [t for b in bars if b.fork == i for t in b.tokens if t >= 0] for i in used}
    columns = {i: _columns(forks[i], drawn[i]) for i in used}
    return {
        "prompt": visible(dials[0].prompt.shown),
        "draws": [_draw(d, names, decode) for d in shown],
        "bars": [
            [b.low, int(b.after), used.index(b.fork) if b.fork >= 0 else -1, _places(b, forks, columns)] for b in bars
        ],
        "forks": [_fork(forks[i], columns[i], decode) for i in used],
        "zones": zones(dials, apart),
        "of": len(dials),
        "others": [[_short(p.low) for p in d.pieces[1:]] for d in dials[SIDE_BY_SIDE:]],
    }


def zones(dials: Sequence[Dial], apart: Sequence[Span] = ()) -> list[tuple[float, float, str]]:
    """Stretches with a name: "repeats" where at least half of the draws end in a loop; "falls apart" where fewer do
    and texts are surely less likely than a human text; "varies" where none loops and all texts differ. A name needs
    two draws, all known, and 3 % of the range.

    Args:
        dials: the draws of one prompt.
        apart: where texts are surely less likely than a human text, from `readout.less_likely`.

    Returns:
        Low, high, name, from low to high.
    """
    if len(dials) < 2:
        return []
    marks: list[tuple[Span, str]] = []
    for span, pieces in merged(dials):
        done = [p.completion for p in pieces if p.completion is not None]
        loops = sum(find_loop(c.content_ids) is not None for c in done)
        name = ""
        if len(done) == len(dials) and 2 * loops >= len(dials):
            name = "repeats"
        elif len(done) == len(dials) and any(not a.meet(span).empty for a in apart):
            name = "falls apart"
        elif len(done) == len(dials) and not loops and len({c.token_ids for c in done}) == len(dials):
            name = "varies"
        if marks and marks[-1][1] == name:
            marks[-1] = (Span(marks[-1][0].low, span.high), name)
        else:
            marks.append((span, name))
    least = ZONE * (dials[0].high - dials[0].low)
    return [(s.low.value, s.high.value, name) for s, name in marks if name and s.width >= least]


def _draw(dial: Dial, names: dict[tuple[int, ...], int], decode: Decode) -> Record:
    """One draw: its pieces as differences to the one before."""
    pieces: list[list[Any]] = []
    before = ""
    for i, piece in enumerate(dial.pieces):
        text = _shown(decode(piece.prefix) if piece.completion is None else piece.completion.text)
        same = _units(_common(before, text))
        loop, word = _loop(piece, decode)
        change = _change(dial.pieces[i - 1], piece, decode) if i else []
        pieces.append([
            piece.low, int(piece.span.low.after), same, text[len(_common(before, text)) :],
            names.setdefault(piece.prefix, len(names)), int(piece.known), loop, word, len(piece.doubtful),
            0 if piece.completion is None else ("length", "eos", "stop").index(piece.completion.finish_reason), change,
        ])  # fmt: skip
        before = text
    return {"draw": dial.draw, "pieces": pieces}


def _loop(piece: Piece, decode: Decode) -> tuple[int, int]:
    """Where a loop begins: UTF-16 units into the text, and number of the word; -1 where there is none."""
    done = piece.completion
    loop = find_loop(done.content_ids) if done is not None else None
    if done is None or loop is None:
        return -1, 0
    before = _shown(decode(done.content_ids[: loop.onset]))
    return _units(_common(before, _shown(done.text))), len(before.split()) + 1


def _change(left: Piece, right: Piece, decode: Decode) -> list[str]:
    """The word on either side of a change."""
    at = common_length(left.prefix, right.prefix)
    return _words([p.prefix[at : at + 1] for p in (left, right)], decode)


def _words(tokens: Iterable[Sequence[int]], decode: Decode) -> list[str]:
    """Tokens as a reader sees them; what differs in its spaces only shows them."""
    said = [_word(ids, decode) for ids in tokens]
    bare = [s.strip(" ") for s in said]
    return [b if b and bare.count(b) == 1 else s.replace(" ", "␣") for s, b in zip(said, bare, strict=True)]


def _word(ids: Sequence[int], decode: Decode) -> str:
    """A token with its spaces; the mark of the end where it says nothing."""
    said = visible(decode(ids)) if ids else ""
    return said.replace("\n", "⏎").replace("\t", "⇥") or "■"


class _Bar(NamedTuple):
    """From which value on which fork is shown (-1: none), and what each draw chose there (-1: it did not)."""

    low: float
    after: bool
    fork: int
    tokens: tuple[int, ...]


def _bars(dials: Sequence[Dial], forks: Sequence[Fork]) -> list[_Bar]:
    """Which fork's words to show from which value on.

    It is the earliest place of the shared beginning where the next word is open: so the bars flatten while one moves,
    and do not jump from place to place. Else it is where the texts part.
    """
    known: dict[tuple[int, ...], list[int]] = {}
    for i, fork in enumerate(forks):
        known.setdefault(fork.prefix, []).append(i)
    sizes = sorted({len(prefix) for prefix in known})
    found: list[_Bar] = []
    stretches = merged(dials)
    for at, (span, pieces) in enumerate(stretches):
        texts = [p.prefix for p in pieces]
        shared = _shared(texts)
        there = (i for n in sizes if n <= len(shared) for i in _met(known.get(shared[:n], ()), forks, span))
        index = next((i for i in there if _top(forks[i], span.middle) < SURE), -1)
        if index < 0:
            if len({*texts}) == 1 and len(stretches) > 1:  # all alike: where the nearest change will be
                near = stretches[at + 1] if at + 1 < len(stretches) else stretches[at - 1]
                shared = _shared([*texts, *(p.prefix for p in near[1])])
            index = next(iter(_met(known.get(shared, ()), forks, span)), -1)
        tokens = tuple(_drawn(t, forks[index].prefix) for t in texts) if index >= 0 else ()
        if not found or found[-1][2:] != (index, tokens):
            found.append(_Bar(span.low.value, span.low.after, index, tokens))
    return found


def _shared(texts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What all texts begin with."""
    return texts[0][: min(common_length(texts[0], t) for t in texts)]


def _met(indexes: Sequence[int], forks: Sequence[Fork], span: Span) -> list[int]:
    """Those of the forks that reach into a stretch; the one that holds its middle first."""
    met = [i for i in indexes if not forks[i].span.meet(span).empty]
    return sorted(met, key=lambda i: not forks[i].span.holds(span.middle))


def _top(fork: Fork, value: float) -> float:
    """Share of the likeliest word at a value."""
    return float(np.interp(value, fork.values, [max(row) for row in fork.shares]))


def _drawn(text: tuple[int, ...], prefix: tuple[int, ...]) -> int:
    """The token that a text goes on with after a beginning, -1 where it does not."""
    return text[len(prefix)] if len(text) > len(prefix) and text[: len(prefix)] == prefix else -1


def _columns(fork: Fork, drawn: Sequence[int]) -> list[int]:
    """Which words of a fork are shown, in an order that does not change: by their shares at its low end."""
    shares = np.array(fork.shares)
    ranked = np.argsort(-shares.max(axis=0), kind="stable").tolist()
    rest = sorted(ranked[LIKELY:], key=lambda j: fork.tokens[j] not in drawn)
    best = [j for j in ranked if j in {*ranked[:LIKELY], *rest[: BARS - LIKELY]}]
    return sorted(best, key=lambda j: -shares[0][j])


def _places(bar: _Bar, forks: Sequence[Fork], columns: dict[int, list[int]]) -> list[int]:
    """Which of the words shown each draw chose."""
    shown = [forks[bar.fork].tokens[j] for j in columns[bar.fork]] if bar.fork >= 0 else []
    return [shown.index(t) if t in shown else -1 for t in bar.tokens]


def _fork(fork: Fork, columns: Sequence[int], decode: Decode) -> Record:
    return {
        "before": _context(_shown(decode(fork.prefix))),
        "words": _words([(fork.tokens[j],) for j in columns], decode),
        "values": [_short(v) for v in fork.values],
        "shares": [[float(f"{row[j]:.3g}") for j in columns] for row in fork.shares],
    }


def _context(before: str) -> str:
    """The last words of a text."""
    if len(before) <= TAIL:
        return before
    _, space, rest = before[-TAIL:].partition(" ")
    return "…" + (rest if space and rest else before[-TAIL:])


def _shown(text: str) -> str:
    """A text as the page shows it: without the space that joins it to its prompt."""
    return visible(text).lstrip(" ")


def _common(a: str, b: str) -> str:
    n = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:n]


def _units(text: str) -> int:
    """Length in UTF-16, as a browser's script counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _short(value: float) -> float:
    return value if value == 0 or not math.isfinite(value) else float(f"{value:.7g}")
