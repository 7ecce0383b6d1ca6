"""What verdicts keep: goals, rounds, judgements, reference texts, what servers are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from poise import codec
from poise.goals import Goal, read_goal
from poise.ledger import Ledger

Kind = Literal["goal", "rounds", "judgement", "reference", "probe", "likeness"]


class Dossier(Ledger):
    """The part of a Study that verdicts read and write: records by kind and key, of which the newest counts."""

    def note(self, kind: Kind, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record; it outlives the process once this returns.

        Args:
            kind: what it is.
            key: whom it belongs to: for goals and rounds the use case.
            record: plain data.

        Raises:
            StoreError: it cannot be written.
        """
        said = codec.canonical(dict(record))
        if self._newest(kind, key) != said:
            self._db.write("INSERT INTO notes (kind, key, record) VALUES (?, ?, ?)", (kind, key, said))

    def noted(self, kind: Kind, key: str) -> dict[str, Any] | None:
        """The newest record under a key; None where there is none."""
        said = self._newest(kind, key)
        with self._decoding():
            return None if said is None else dict(json.loads(said))

    def all_noted(self, kind: Kind) -> dict[str, dict[str, Any]]:
        """The newest record of every key, oldest key first."""
        if not self._has_notes():
            return {}
        rows = self._db.rows("SELECT key, record FROM notes WHERE kind = ? ORDER BY id", (kind,))
        with self._decoding():
            return {key: json.loads(record) for key, record in rows}

    def check_writable(self) -> None:
        """Find out before any work whether `note` may write; StudyError, as `note` raises it, where not."""
        self._db.write("SELECT 1")

    def last_note(self, kind: Kind) -> int:
        """What changes whenever a record of a kind is added; 0 where there is none."""
        if not self._has_notes():
            return 0
        [(last,)] = self._db.rows("SELECT COALESCE(MAX(id), 0) FROM notes WHERE kind = ?", (kind,))
        return int(last)

    def goal(self, use_case: str) -> Goal | None:
        """The goal that a use case was last drawn for; None where it has none.

        Raises:
            StoreError: the file is damaged.
        """
        said = self.noted("goal", use_case)
        return None if not said else read_goal(said)

    def keep_goal(self, use_case: str, goal: Goal | None) -> None:
        """Note what a use case wants now.

        Raises:
            StoreError: it cannot be written.
        """
        if goal is not None or self.noted("goal", use_case):
            self.note("goal", use_case, {} if goal is None else goal.record())

    def _count_gaps(self, use_case: str) -> int:
        """In rounds, settings that were dropped are not asked the later prompts."""
        said = self.noted("rounds", use_case)
        if not said:
            return super()._count_gaps(use_case)
        counts = {p.label: self.count(use_case, p) for _, p in self._settings()}
        expected = {
            label: (n + len(said["checking"]) * (label in said["checked"])) * said["draws"]
            for label, n in said["asked"].items()
        }
        return sum(max(0, n - counts.get(label, 0)) for label, n in expected.items())

    def _newest(self, kind: Kind, key: str) -> str | None:
        if not self._has_notes():
            return None
        query = "SELECT record FROM notes WHERE kind = ? AND key = ? ORDER BY id DESC LIMIT 1"
        rows = self._db.rows(query, (kind, key))
        return rows[0][0] if rows else None

    def _has_notes(self) -> bool:
        """A study of an older poise, opened for reading, has no such table."""
        return bool(self._db.rows("PRAGMA user_version") >= [(3,)])
