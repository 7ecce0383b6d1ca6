"""What the dial page knows: pieces, loops, changes, next words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

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
    return {
        "prompt": visible(dials[0].prompt.shown),
        "draws": [_draw(d, names, decode) for d in shown],
        "bars": _bars(shown, forks),
        "forks": [_fork(f, decode) for f in forks],
        "zones": zones(dials, apart),
        "of": len(dials),
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
    return [_word(p.prefix[at : at + 1], decode) for p in (left, right)]


def _word(ids: Sequence[int], decode: Decode) -> str:
    """A token as a reader sees it; the end of the text where it says nothing."""
    said = visible(decode(ids)) if ids else ""
    return said.strip().replace("\n", "⏎") or ("⏎" if "\n" in said else "space" if said else "end of text")


def _bars(dials: Sequence[Dial], forks: Sequence[Fork]) -> list[tuple[float, int, int]]:
    """Which fork's words to show from which value on: (low, after, index of the fork or -1)."""
    known: dict[tuple[int, ...], list[int]] = {}
    for i, fork in enumerate(forks):
        known.setdefault(fork.prefix, []).append(i)
    found: list[tuple[float, int, int]] = []
    stretches = merged(dials)
    for at, (span, pieces) in enumerate(stretches):
        texts = [p.prefix for p in pieces]
        if len({*texts}) == 1:  # all alike: where the nearest change will be
            near = stretches[at + 1] if at + 1 < len(stretches) else stretches[at - 1]
            texts += [p.prefix for p in near[1]]
        shared = min(common_length(texts[0], t) for t in texts[1:]) if len(texts) > 1 else 0
        inside = [i for i in known.get(texts[0][:shared], ()) if not forks[i].span.meet(span).empty]
        index = inside[0] if inside else -1
        if not found or found[-1][2] != index:
            found.append((span.low.value, int(span.low.after), index))
    return found


def _fork(fork: Fork, decode: Decode) -> Record:
    shares = np.array(fork.shares)
    best = np.argsort(shares.max(axis=0))[::-1][:BARS]
    best = best[np.argsort(-shares[0][best], kind="stable")]
    before = _shown(decode(fork.prefix))
    return {
        "before": ("…" if len(before) > TAIL else "") + before[-TAIL:],
        "words": [_word((fork.tokens[j],), decode) for j in best],
        "values": [_short(v) for v in fork.values],
        "shares": [[round(float(row[j]), 4) for j in best] for row in shares],
    }


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
