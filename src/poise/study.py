"""The Study: every completion kept, append-only, in one file."""

from __future__ import annotations

import hashlib
import re
import time
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from poise import codec, places
from poise.database import Database, Row, open_database
from poise.errors import StudyError, UsageError
from poise.ledger import PLACES_NOW, SweepSummary
from poise.params import SamplingParams
from poise.places import latest_study as latest_study
from poise.records import Completion, Fingerprint, Prompt, Request
from poise.shelf import Shelf

LONE = Prompt().use_case  # where prompts without a use case go
_CHUNK = 500  # keys looked up at once
_FIND = {
    "input": (
        "INSERT OR IGNORE INTO inputs (token_ids) VALUES (?)",
        "SELECT id FROM inputs WHERE token_ids = ?",
    ),
    "settings": (
        "INSERT OR IGNORE INTO settings (record) VALUES (?)",
        "SELECT id FROM settings WHERE record = ?",
    ),
    "limits": (
        "INSERT OR IGNORE INTO limits (max_tokens, min_tokens, stop) VALUES (?, ?, ?)",
        "SELECT id FROM limits WHERE (max_tokens, min_tokens, stop) = (?, ?, ?)",
    ),
}
_ADD = """
    INSERT OR IGNORE INTO completions (
        key, input, settings, limits, seed, draw, provenance, drawn_at,
        finish_reason, text, thinking, token_ids, logprobs
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)
"""


def default_path(fingerprint: Fingerprint, prompts: Sequence[Prompt], limits: Sequence[object] = ()) -> Path:
    """Where a sweep keeps its study when no path is given: the same command comes back to the same file.

    Args:
        fingerprint: of the engine.
        prompts: as they are asked. A use case counts by its name, so that it may grow.
        limits: when the texts of prompts without a use case end: longer texts are another study.

    Returns:
        A path in `places.studies_folder()`; nothing is made there.
    """
    cases = list(dict.fromkeys(p.use_case for p in prompts))
    lone = [codec.pack_asked(p) for p in prompts if p.use_case == LONE]
    said = codec.canonical([fingerprint.deciding(), cases, lone, *([str(limits)] if limits else [])])
    shown = [p.shown if p.use_case == LONE else p.use_case for p in prompts[:1]]
    words = re.findall("[a-z0-9]+", " ".join([Path(fingerprint.model).name, *shown]).lower())
    name = "-".join([*words, ""])[:48].rstrip("-")
    return places.studies_folder() / f"{name}-{hashlib.sha256(said.encode()).hexdigest()[:10]}.db"


class _Ids(NamedTuple):
    input: int
    settings: int
    limits: int


class Study(Shelf):
    """Completions of prompts under settings, by one engine, in one file.

    A named use case is read as it was last asked: with the prompts, answers and limits of that time.
    Prompts without a use case add up. Nothing is ever deleted. Reading is described in `Ledger`, dials in `Shelf`.

    >>> study = Study.open("study.db")                                # doctest: +SKIP
    >>> [trial.label for trial in study.trials()]                     # doctest: +SKIP
    ['temperature=0', 'temperature=0.7']
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._found: dict[tuple[str, Row], int] = {}
        self._known: dict[Row, _Ids] = {}
        self._dialled = False  # noted as the one that pieces and curves are read from

    @classmethod
    def open(cls, path: str | Path, *, create: bool = True, read_only: bool = False) -> Study:
        """Open a study, or begin one.

        Args:
            path: its file.
            create: begin a study where there is no file.
            read_only: promise not to write; works in a folder that cannot be written to.

        Returns:
            The study, to be closed after use.

        Raises:
            StudyError: no such file, not a study, a newer schema.
            StoreError: the file cannot be opened or is damaged.
        """
        return cls(open_database(Path(path), create=create, read_only=read_only))

    @staticmethod
    def given(study: object) -> Study:
        """Refuse what is no study, before anything is read.

        Args:
            study: what a reader of studies was handed.

        Returns:
            The same.

        Raises:
            UsageError: it is something else, for example a path.
        """
        if not isinstance(study, Study):
            raise UsageError(
                "A study is what poise.sweep or poise.Study.open gives",
                repr(study),
                'poise.Study.open("my.db") opens one',
            )
        return study

    def close(self) -> None:
        """Let go of the file; reading and writing end here."""
        self._db.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def check(self, fingerprint: Fingerprint) -> list[str]:
        """Whether an engine may draw into this study; nothing is written.

        Args:
            fingerprint: of the engine.

        Returns:
            A warning where the circumstances changed: what was drawn is kept.

        Raises:
            StudyError: the study belongs to another model.
        """
        if self._fingerprint is None:
            return []
        mine, given = self._fingerprint.deciding(), fingerprint.deciding()
        if differ := [f"{n}: {mine[n][:12]} and {given[n][:12]}" for n in mine if mine[n] != given[n]]:
            raise StudyError(
                f"A study belongs to one model, and {self.path} to {self._fingerprint.model!r}",
                f"{fingerprint.model!r} (they differ in {'; '.join(differ)})",
                "Name another study, or leave --study out",
            )
        changed = codec.changes(_circumstances(self._fingerprint), _circumstances(fingerprint))
        if not changed:
            return []
        return [f"The study was drawn under other circumstances: {'; '.join(changed)}. What it holds is kept."]

    def bind(self, fingerprint: Fingerprint, *, latest: bool = True) -> list[str]:
        """Give the study to an engine, or make sure that it has it already.

        Args:
            fingerprint: of the engine that is about to draw.
            latest: whether commands that name no study are to read this one.

        Returns:
            Warnings, for example where the circumstances changed: what was drawn is kept.

        Raises:
            StudyError: the study belongs to another model.
            StoreError: it cannot be written.
        """
        deciding, record = codec.canonical(fingerprint.deciding()), codec.canonical(_circumstances(fingerprint))
        newest = "SELECT id, record FROM provenance ORDER BY id DESC LIMIT 1"
        with self._db.transaction():
            self._db.write("INSERT OR IGNORE INTO engine VALUES (1, ?)", (deciding,))
            self._fingerprint = self._stored_fingerprint()  # another process may have been first
            notes = self.check(fingerprint)
            if [r for _, r in self._db.rows(newest)] != [record]:
                self._db.write("INSERT INTO provenance (record, seen_at) VALUES (?, ?)", (record, time.time()))
            provenance = self._db.rows(newest)[0][0]
        self._fingerprint, self._provenance = fingerprint, provenance
        self._keys = codec.RequestKeys(fingerprint)
        return [*notes, *filter(None, [places.remember_latest(self.path)] if latest else [])]

    def expect(self, requests: Iterable[Request], whole: Collection[str] = ()) -> list[str]:
        """Note what is about to be asked; reading follows it, in this order.

        Args:
            requests: what will be drawn or is here already.
            whole: use cases of which the requests hold every prompt: all others leave their list.

        Returns:
            A warning where answers, references or checks changed: what was drawn is kept, and read with the new ones.

        Raises:
            StoreError: it cannot be written.
        """
        distinct = {_identity(r): r for r in requests}
        asked: dict[str, dict[int, Row]] = {}
        try:
            with self._db.transaction():
                for identity, request in distinct.items():
                    ids = self._known[identity] = self._register(request)
                    case = request.prompt.use_case
                    record = codec.pack_prompt(request.prompt)
                    asked.setdefault(case, {}).setdefault(ids.input, (ids.input, ids.limits, record))
                    self._db.write("INSERT OR IGNORE INTO asked VALUES (?, ?)", (case, ids.settings))
                changed = sum(self._list(case, list(rows.values()), case in whole) for case, rows in asked.items())
        except BaseException:
            self._found.clear()  # their rows were rolled back
            self._known.clear()
            raise
        return (
            [f"Prompts with other answers, references or checks than before: {changed}. Their texts are kept."]
            if changed
            else []
        )

    def add(self, completion: Completion) -> None:
        """Keep a completion. It outlives the process once this returns.

        Args:
            completion: as drawn by the engine that the study is bound to.

        Raises:
            StudyError: the study is not bound to an engine.
            StoreError: it cannot be written; everything before is kept.
        """
        request = completion.request
        if not self._provenance:
            raise StudyError("A study must be bound to an engine before it is written", str(self.path), "Call bind()")
        if _identity(request) not in self._known:
            self.expect([request])
        values = (
            self._keys.key(request),
            *self._known[_identity(request)],
            codec.pack_seed(request.seed),
            request.draw,
            self._provenance,
            time.time(),
            completion.finish_reason,
            codec.pack_text(completion.text),
            codec.pack_text(completion.thinking),
            codec.pack_ids(completion.token_ids),
            codec.pack_floats(completion.logprobs),
        )
        self._db.write(_ADD, values)

    def expect_dial(self, request: Request, parameter: str, low: float, high: float) -> None:
        """See `Shelf.expect_dial`; pieces and curves are read from this study where a command names none."""
        super().expect_dial(request, parameter, low, high)
        if not self._dialled:
            self._dialled = True
            if note := places.remember_latest(self.path, places.DIAL_POINTER):
                warnings.warn(note, stacklevel=2)

    def missing(self, requests: Iterable[Request]) -> list[Request]:
        """The requests that were not answered yet, in their order, each once.

        Args:
            requests: what is wanted.

        Returns:
            One request per text to draw; empty where all is here.

        Raises:
            StudyError: the study is not bound to an engine.
        """
        keys = codec.RequestKeys(self.fingerprint)
        wanted: dict[bytes, Request] = {}
        for request in requests:
            wanted.setdefault(keys.key(request), request)
        waiting = list(wanted)
        for start in range(0, len(waiting), _CHUNK):
            chunk = waiting[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            for (key,) in self._db.rows(f"SELECT key FROM completions WHERE key IN ({marks})", chunk):  # noqa: S608
                del wanted[key]
        return list(wanted.values())

    def name_trial(self, params: SamplingParams, name: str) -> None:
        """Give settings a second name, such as greedy.

        Args:
            params: the settings.
            name: belongs to the settings it was given to last.

        Raises:
            StoreError: it cannot be written.
        """
        with self._db.transaction():
            self._db.write(_FIND["settings"][0], (codec.pack_params(params),))
            ((settings,),) = self._db.rows(_FIND["settings"][1], (codec.pack_params(params),))
            if self._names().get(name) != settings:
                self._db.write("INSERT INTO trial_names (name, settings) VALUES (?, ?)", (name, settings))

    def log_sweep(self, summary: SweepSummary) -> None:
        """Keep what a sweep did and cost; `last_sweep` gives it back.

        Args:
            summary: of the sweep that just ended.

        Raises:
            StoreError: it cannot be written.
        """
        values = (time.time(), codec.canonical(summary._asdict()))
        self._db.write("INSERT INTO sweeps (ended_at, summary) VALUES (?, ?)", values)

    def _register(self, request: Request) -> _Ids:
        stop = codec.canonical(list(request.stop))
        return _Ids(
            input=self._id("input", (codec.pack_ids(request.prompt_ids),)),
            settings=self._id("settings", (codec.pack_params(request.params),)),
            limits=self._id("limits", (request.max_tokens, request.min_tokens, stop)),
        )

    def _id(self, kind: str, values: Row) -> int:
        """The number of a row with these values, made where there is none."""
        if (kind, values) not in self._found:
            make, find = _FIND[kind]
            self._db.write(make, values)
            ((self._found[kind, values],),) = self._db.rows(find, values)
        return self._found[kind, values]

    def _list(self, use_case: str, rows: list[Row], whole: bool) -> int:
        """Write a use case's prompts where they changed. Returns how many answers or references did."""
        current = self._db.rows(PLACES_NOW, (use_case,))
        ((newest,),) = self._db.rows("SELECT COALESCE(MAX(list), 0) FROM prompts WHERE use_case = ?", (use_case,))
        if whole:
            fresh, newest = (rows, newest + 1) if rows != current else ([], newest)
        else:
            fresh = [row for row in rows if row not in current]
        for row in fresh:
            self._db.write(
                "INSERT INTO prompts (use_case, list, input, limits, record) VALUES (?, ?, ?, ?, ?)",
                (use_case, newest, *row),
            )
        before = {input_id: record for input_id, _, record in current}
        return sum(before.get(input_id, record) != record for input_id, _, record in fresh)


def _identity(request: Request) -> Row:
    limits = (request.max_tokens, request.min_tokens, request.stop)
    return (request.prompt, request.prompt_ids, request.params, *limits)


def _circumstances(fingerprint: Fingerprint) -> dict[str, str]:
    return {**fingerprint.provenance, "model": fingerprint.model}
