"""The dials of a study: finished pieces, kept and read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from typing import Any

from poise import codec
from poise.database import Row
from poise.dossier import Dossier
from poise.errors import StudyError
from poise.params import PARAMETERS
from poise.pieces import Dial, Found, tile, value_in, with_value
from poise.records import Completion, Request, params_record
from poise.spans import Cut, Span, closed, gaps

_ASKED = """
    SELECT m.place, d.id, d.prompt_ids, d.settings, d.parameter, d.seed, d.draw, d.max_tokens, d.min_tokens, d.stop,
        a.use_case, a.prompt, a.low, a.high
    FROM (SELECT MIN(id) AS place, MAX(id) AS newest FROM asked_dials GROUP BY dial, use_case) m
    JOIN asked_dials a ON a.id = m.newest JOIN dials d ON d.id = a.dial ORDER BY m.place
"""
_ASKED_LAST = "SELECT prompt, low, high FROM asked_dials WHERE dial = ? AND use_case = ? ORDER BY id DESC LIMIT 1"
_PIECES = (
    "SELECT low, low_after, high, high_after, finish_reason, text, thinking, token_ids, logprobs, doubtful"
    " FROM pieces WHERE dial = ? ORDER BY low, low_after"
)
_ADD = (
    "INSERT INTO pieces (dial, low, low_after, high, high_after, provenance, drawn_at, finish_reason, text, thinking,"
    " token_ids, logprobs, doubtful)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?"
)
# Pieces never overlap: if the last one that begins before this one's end is over when this begins, all are.
_WHERE_FREE = (
    " WHERE NOT EXISTS (SELECT 1 FROM (SELECT high, high_after FROM pieces WHERE dial = ? AND (low, low_after) < (?, ?)"
    " ORDER BY low DESC, low_after DESC LIMIT 1) WHERE (high, high_after) > (?, ?))"
)


class Shelf(Dossier):
    """The half of a Study that keeps dials: append-only, a piece is there once it is finished.

    What a dial is apart from its range decides its texts: a wider range finds the pieces of a narrower one.
    """

    _provenance = 0  # of the engine that the study is bound to; 0 before

    def expect_dial(self, request: Request, parameter: str, low: float, high: float) -> None:
        """Note that a dial is asked for; reading follows the newest range and answers of each use case.

        Args:
            request: prompt, seed, draw, limits, and the other parameters.
            parameter: the one that moves.
            low, high: its range.

        Raises:
            StudyError: the study is not bound to an engine.
            StoreError: it cannot be written.
        """
        self._check_bound()
        asked = (codec.pack_prompt(request.prompt), low, high)
        values = (
            self._dial_key(request, parameter), codec.pack_ids(request.prompt_ids), codec.pack_params(request.params),
            parameter, codec.pack_seed(request.seed), request.draw, request.max_tokens, request.min_tokens,
            codec.canonical(list(request.stop)),
        )  # fmt: skip
        with self._db.transaction():
            self._db.write(
                "INSERT OR IGNORE INTO dials (key, prompt_ids, settings, parameter, seed, draw, max_tokens,"
                " min_tokens, stop) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            place = (self._dial_id(request, parameter), request.prompt.use_case)
            if self._db.rows(_ASKED_LAST, place) != [asked]:
                self._db.write(
                    "INSERT INTO asked_dials (dial, use_case, prompt, low, high, asked_at) VALUES (?, ?, ?, ?, ?, ?)",
                    (*place, *asked, time.time()),
                )

    def add_piece(self, request: Request, parameter: str, found: Found) -> None:
        """Keep a finished piece. It outlives the process once this returns; where something is kept already, it stays.

        Args:
            request: of the dial, as given to `expect_dial`.
            parameter: the one that moves.
            found: the piece, with its completion.

        Raises:
            StudyError: the study is not bound to an engine, or the dial was not expected.
            StoreError: it cannot be written; everything before is kept.
        """
        self._check_bound()
        dial, span = self._dial_id(request, parameter), _whole(parameter, found.span)
        assert found.completion is not None, "only finished pieces are kept"
        if span.empty:
            return
        low, high = _ends(span)
        if self._db.write(_ADD + _WHERE_FREE, (*self._row(dial, span, found), dial, *high, *low)):
            return
        with self._db.transaction():  # another process was here: what it left free is kept all the same
            held = [_span(*row[:4]) for row in self._db.rows(_PIECES, (dial,))]
            for rest in gaps(span, held):
                self._db.write(_ADD, self._row(dial, rest, found))

    def pieces(self, request: Request, parameter: str, within: Span | None = None) -> list[Found]:
        """The finished pieces of a dial, whatever range it was asked over.

        Args:
            request: of the dial.
            parameter: the one that moves.
            within: a stretch that they are cut to; None for all there is.

        Returns:
            Pieces from low to high; they never overlap. None where nothing was kept.

        Raises:
            StoreError: the file is damaged.
        """
        if self._fingerprint is None or not self._has_dials():
            return []
        key = self._dial_key(request, parameter)
        rows = self._db.rows("SELECT id FROM dials WHERE key = ?", (key,))
        return self._read_pieces(rows[0][0], request, parameter, within) if rows else []

    def dials(self, use_case: str | None = None, parameter: str | None = None) -> list[Dial]:
        """Every dial over the range that its use case asked last.

        Args:
            use_case: name of a use case; None for all.
            parameter: the one that moves; None for all.

        Returns:
            Dials by use case and prompt as first asked, then parameter, settings, limits, seed and draw; what was not
            finished is an unknown piece.

        Raises:
            StoreError: the file is damaged.
        """
        found: list[tuple[tuple[object, ...], Dial]] = []
        first: dict[object, int] = {}  # places of use cases and prompts
        for place, number, *asked, case, prompt, low, high in self._db.rows(_ASKED) if self._has_dials() else []:
            moving, with_case = asked[2], (case, asked[0])
            order = (first.setdefault(case, place), first.setdefault(with_case, place))
            if use_case not in (None, case) or parameter not in (None, moving):
                continue
            with self._decoding():
                request = _request(prompt, asked)
                at = (*order, [*PARAMETERS].index(moving), codec.settings_order(request.params))
            whole = closed(low, high)
            held = self._read_pieces(number, request, moving, whole)
            unknown = [Found(span, None, ()) for span in gaps(whole, [f.span for f in held])]
            limits = (request.max_tokens, request.min_tokens, request.stop)
            dial = Dial(request, moving, low, high, tile([*held, *unknown]))
            found.append(((*at, limits, request.seed, request.draw), dial))
        return [dial for _, dial in sorted(found, key=lambda pair: pair[0])]

    def add_fork(self, request: Request, parameter: str, prefix: tuple[int, ...], span: Span, record: str) -> None:
        """Keep what was computed where the texts of a prompt part, for all its draws.

        Args:
            request: of any of its draws.
            parameter: the one that moves.
            prefix: the tokens that the texts have in common.
            span: the stretch on which they do.
            record: JSON.

        Raises:
            StudyError: the study is not bound to an engine.
            StoreError: it cannot be written.
        """
        self._check_bound()
        low, high = _ends(span)
        self._db.write(
            "INSERT OR IGNORE INTO forks (family, prefix, low, low_after, high, high_after, record)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._dial_key(request, parameter, family=True), codec.pack_ids(prefix), *low, *high, record),
        )

    def forks(self, request: Request, parameter: str) -> list[tuple[tuple[int, ...], Span, str]]:
        """What `add_fork` kept.

        Args:
            request: of any of the prompt's draws.
            parameter: the one that moves.

        Returns:
            Prefix, stretch and record of each, in the order kept.
        """
        if self._fingerprint is None or not self._has_dials():
            return []
        rows = self._db.rows(
            "SELECT prefix, low, low_after, high, high_after, record FROM forks WHERE family = ? ORDER BY id",
            (self._dial_key(request, parameter, family=True),),
        )
        with self._decoding():
            return [(codec.unpack_ids(prefix), _span(*ends), record) for prefix, *ends, record in rows]

    def _read_pieces(self, dial: int, request: Request, parameter: str, within: Span | None) -> list[Found]:
        with self._decoding():
            return [
                _piece(request, parameter, span, row)
                for *ends, row in ((*r[:4], r[4:]) for r in self._db.rows(_PIECES, (dial,)))
                if not (span := _span(*ends) if within is None else _span(*ends).meet(within)).empty
            ]

    def _row(self, dial: int, span: Span, found: Found) -> Row:
        done = found.completion
        assert done is not None
        low, high = _ends(span)
        return (
            dial, *low, *high, self._provenance, time.time(), done.finish_reason, codec.pack_text(done.text),
            codec.pack_text(done.thinking), codec.pack_ids(done.token_ids), codec.pack_floats(done.logprobs),
            codec.pack_ids(found.doubtful),
        )  # fmt: skip

    def _dial_key(self, request: Request, parameter: str, family: bool = False) -> bytes:
        said = [
            self.fingerprint.deciding(), list(request.prompt_ids), params_record(request.params), parameter,
            request.seed, None if family else request.draw, request.max_tokens, request.min_tokens, list(request.stop),
        ]  # fmt: skip
        return hashlib.sha256(codec.canonical(said).encode()).digest()

    def _dial_id(self, request: Request, parameter: str) -> int:
        rows = self._db.rows("SELECT id FROM dials WHERE key = ?", (self._dial_key(request, parameter),))
        if not rows:
            raise StudyError("A dial is expected before its pieces are kept", parameter, "Call expect_dial() first")
        return int(rows[0][0])

    def _has_dials(self) -> bool:
        """A study of an older schema, opened for reading, has no tables for them."""
        return bool(self._db.rows("SELECT 1 FROM sqlite_master WHERE name = 'dials'"))

    def _check_bound(self) -> None:
        if not self._provenance:
            raise StudyError("A study must be bound to an engine before it is written", str(self.path), "Call bind()")


def _request(prompt: str, row: list[Any]) -> Request:
    ids, settings, _, seed, draw, most, least, stop = row
    return Request(
        codec.unpack_prompt(prompt), codec.unpack_ids(ids), codec.unpack_params(settings), int(seed), draw, most,
        least, tuple(json.loads(stop)),
    )  # fmt: skip


def _piece(request: Request, parameter: str, span: Span, row: Row) -> Found:
    reason, text, thinking, token_ids, logprobs, doubtful = row
    ids, chances = codec.unpack_ids(token_ids), codec.unpack_floats(logprobs)
    if len(chances) != len(ids):
        raise ValueError(f"{len(ids)} tokens have {len(chances)} log-probabilities")
    law = with_value(request.params, parameter, value_in(parameter, span))
    done = Completion(dataclasses.replace(request, params=law), text, ids, chances, reason, thinking)
    return Found(span, done, ids, codec.unpack_ids(doubtful))


def _whole(parameter: str, span: Span) -> Span:
    """The stretch as it is kept: of whole numbers up to, not including, the next one, so that neighbours meet."""
    if PARAMETERS[parameter].kind != "int":
        return span
    low, high = (
        Cut(float(math.floor(c.value) + 1 if c.after else math.ceil(c.value)) if math.isfinite(c.value) else c.value)
        for c in span
    )
    return Span(low, high)


def _ends(span: Span) -> tuple[tuple[float, int], tuple[float, int]]:
    return (span.low.value, int(span.low.after)), (span.high.value, int(span.high.after))


def _span(low: float, low_after: int, high: float, high_after: int) -> Span:
    return Span(Cut(low, bool(low_after)), Cut(high, bool(high_after)))
