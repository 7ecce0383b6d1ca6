"""The dials of a study: finished pieces, kept and read."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from poise import codec
from poise.database import Row
from poise.errors import StudyError
from poise.ledger import Ledger
from poise.params import PARAMETERS
from poise.pieces import Dial, Found, tile, with_value
from poise.records import Completion, Request, params_record
from poise.spans import Cut, Span, closed, gaps

_DIALS = (
    "SELECT d.id, d.prompt, d.prompt_ids, d.settings, d.parameter, d.seed, d.draw, d.max_tokens, d.min_tokens, d.stop,"
    " a.low, a.high FROM dials d JOIN dial_ranges a ON a.id = (SELECT MAX(id) FROM dial_ranges WHERE dial = d.id)"
    " ORDER BY d.id"
)
_PIECES = (
    "SELECT low, low_after, high, high_after, finish_reason, text, thinking, token_ids, logprobs, doubtful"
    " FROM pieces WHERE dial = ? ORDER BY low, low_after"
)
_ADD = (
    "INSERT INTO pieces (dial, low, low_after, high, high_after, provenance, drawn_at, finish_reason, text, thinking,"
    " token_ids, logprobs, doubtful)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ? WHERE NOT EXISTS ("
    " SELECT 1 FROM pieces WHERE dial = ? AND (low, low_after) < (?, ?) AND (high, high_after) > (?, ?))"
)


class Shelf(Ledger):
    """The half of a Study that keeps dials: append-only, a piece is there once it is finished.

    What a dial is apart from its range decides its texts: a wider range finds the pieces of a narrower one.
    """

    _provenance = 0  # of the engine that the study is bound to; 0 before

    def expect_dial(self, request: Request, parameter: str, low: float, high: float) -> None:
        """Note that a dial is asked for; reading follows the newest range.

        Args:
            request: prompt, seed, draw, limits, and the other parameters.
            parameter: the one that moves.
            low, high: its range.

        Raises:
            StudyError: the study is not bound to an engine.
            StoreError: it cannot be written.
        """
        self._check_bound()
        prompt = codec.pack_prompt(request.prompt)
        values = (
            self._dial_key(request, parameter), prompt, codec.pack_ids(request.prompt_ids),
            codec.pack_params(request.params), parameter, codec.pack_seed(request.seed), request.draw,
            request.max_tokens, request.min_tokens, codec.canonical(list(request.stop)),
        )  # fmt: skip
        with self._db.transaction():
            self._db.write(
                "INSERT OR IGNORE INTO dials (key, prompt, prompt_ids, settings, parameter, seed, draw, max_tokens,"
                " min_tokens, stop) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            dial = self._dial_id(request, parameter)
            newest = self._db.rows("SELECT low, high FROM dial_ranges WHERE dial = ? ORDER BY id DESC LIMIT 1", (dial,))
            if newest != [(low, high)]:
                self._db.write(
                    "INSERT INTO dial_ranges (dial, low, high, asked_at) VALUES (?, ?, ?, ?)",
                    (dial, low, high, time.time()),
                )

    def add_piece(self, request: Request, parameter: str, found: Found) -> None:
        """Keep a finished piece. It outlives the process once this returns; what overlaps another is left out.

        Args:
            request: of the dial, as given to `expect_dial`.
            parameter: the one that moves.
            found: the piece, with its completion.

        Raises:
            StudyError: the study is not bound to an engine, or the dial was not expected.
            StoreError: it cannot be written; everything before is kept.
        """
        self._check_bound()
        dial, done = self._dial_id(request, parameter), found.completion
        assert done is not None, "only finished pieces are kept"
        low, high = (
            (found.span.low.value, int(found.span.low.after)),
            (found.span.high.value, int(found.span.high.after)),
        )
        self._db.write(_ADD, (
            dial, *low, *high, self._provenance, time.time(), done.finish_reason, codec.pack_text(done.text),
            codec.pack_text(done.thinking), codec.pack_ids(done.token_ids), codec.pack_floats(done.logprobs),
            codec.pack_ids(found.doubtful), dial, *high, *low,
        ))  # fmt: skip

    def pieces(self, request: Request, parameter: str) -> list[Found]:
        """Every finished piece of a dial, whatever range it was asked over.

        Args:
            request: of the dial.
            parameter: the one that moves.

        Returns:
            Pieces from low to high; they never overlap. None where nothing was kept.

        Raises:
            StoreError: the file is damaged.
        """
        if not self._has_dials():
            return []
        key = self._dial_key(request, parameter)
        rows = self._db.rows("SELECT id FROM dials WHERE key = ?", (key,))
        return self._read_pieces(rows[0][0], request, parameter) if rows else []

    def dials(self, use_case: str | None = None, parameter: str | None = None) -> list[Dial]:
        """Every dial over the range it was asked over last, in the order first asked.

        Args:
            use_case: name of a use case; None for all.
            parameter: the one that moves; None for all.

        Returns:
            Dials; what was not finished is an unknown piece.

        Raises:
            StoreError: the file is damaged.
        """
        made: list[Dial] = []
        for row in self._db.rows(_DIALS) if self._has_dials() else []:
            number, (*asked, moving), (low, high) = row[0], (*row[1:4], *row[5:10], row[4]), row[10:]
            with self._decoding():
                request = _request(asked)
            if (use_case, parameter) in ((None, None), (request.prompt.use_case, None)) or (
                parameter == moving and use_case in (None, request.prompt.use_case)
            ):
                whole = closed(low, high)
                held = [
                    Found(f.span.meet(whole), f.completion, f.prefix, f.doubtful)
                    for f in self._read_pieces(number, request, moving)
                    if not f.span.meet(whole).empty
                ]
                unknown = [Found(span, None, ()) for span in gaps(whole, [f.span for f in held])]
                made.append(Dial(request, moving, low, high, tile([*held, *unknown])))
        return made

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
        ends = (span.low.value, int(span.low.after), span.high.value, int(span.high.after))
        self._db.write(
            "INSERT OR IGNORE INTO forks (family, prefix, low, low_after, high, high_after, record)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._dial_key(request, parameter, family=True), codec.pack_ids(prefix), *ends, record),
        )

    def forks(self, request: Request, parameter: str) -> list[tuple[tuple[int, ...], Span, str]]:
        """What `add_fork` kept.

        Args:
            request: of any of the prompt's draws.
            parameter: the one that moves.

        Returns:
            Prefix, stretch and record of each, in the order kept.
        """
        if not self._has_dials():
            return []
        rows = self._db.rows(
            "SELECT prefix, low, low_after, high, high_after, record FROM forks WHERE family = ? ORDER BY id",
            (self._dial_key(request, parameter, family=True),),
        )
        with self._decoding():
            return [(codec.unpack_ids(prefix), _span(*ends), record) for prefix, *ends, record in rows]

    def _read_pieces(self, dial: int, request: Request, parameter: str) -> list[Found]:
        with self._decoding():
            return [_piece(request, parameter, row) for row in self._db.rows(_PIECES, (dial,))]

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


def _request(row: list[Any]) -> Request:
    prompt, ids, settings, seed, draw, most, least, stop = row
    return Request(
        codec.unpack_prompt(prompt), codec.unpack_ids(ids), codec.unpack_params(settings), int(seed), draw, most,
        least, tuple(json.loads(stop)),
    )  # fmt: skip


def _piece(request: Request, parameter: str, row: Row) -> Found:
    *ends, reason, text, thinking, token_ids, logprobs, doubtful = row
    span, ids = _span(*ends), codec.unpack_ids(token_ids)
    value: float = span.middle
    if PARAMETERS[parameter].kind == "int":
        value = int(value)
    asked = Request(
        request.prompt, request.prompt_ids, with_value(request.params, parameter, value), request.seed, request.draw,
        request.max_tokens, request.min_tokens, request.stop,
    )  # fmt: skip
    done = Completion(asked, text, ids, codec.unpack_floats(logprobs), reason, thinking)
    return Found(span, done, ids, codec.unpack_ids(doubtful))


def _span(low: float, low_after: int, high: float, high_after: int) -> Span:
    return Span(Cut(low, bool(low_after)), Cut(high, bool(high_after)))
