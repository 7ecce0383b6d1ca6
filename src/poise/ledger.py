"""What a study holds, read lazily and always in the same order."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from poise import codec
from poise.database import Database, Row, damaged
from poise.errors import ParameterError, PoiseError, StudyError
from poise.params import DEFAULT_DIALECT, SamplingParams
from poise.records import Completion, Fingerprint, Prompt, Request, Trial
from poise.summaries import SweepSummary as SweepSummary

_HIGHEST = (
    "SELECT a.settings, c.seed, COUNT(*), MAX(c.draw) + 1 FROM current_prompts p"
    " JOIN asked a ON a.use_case = p.use_case"
    " JOIN completions c ON (c.input, c.settings, c.limits) = (p.input, a.settings, p.limits)"
    " WHERE p.use_case = ? GROUP BY a.settings, c.seed, p.input"
)
PLACES_NOW = "SELECT input, limits, record FROM current_prompts WHERE use_case = ? ORDER BY place"
_PLACES_EVER = """
    SELECT p.input, p.limits, p.record FROM prompts p JOIN (
        SELECT MIN(id) AS place, MAX(id) AS newest FROM prompts WHERE use_case = ? GROUP BY input, limits
    ) m ON p.id = m.newest ORDER BY m.place
"""
_COUNTS = """
    SELECT p.use_case, c.settings, COUNT(*) FROM current_prompts p
    JOIN asked a ON a.use_case = p.use_case
    JOIN completions c ON (c.input, c.settings, c.limits) = (p.input, a.settings, p.limits)
    GROUP BY p.use_case, c.settings
"""
_READ_LIGHT, _READ_FULL = (
    f"SELECT seed, draw, finish_reason, text, thinking, token_ids, {logprobs} FROM completions"  # noqa: S608
    " WHERE input = ? AND settings = ? AND limits = ? ORDER BY seed, draw"
    for logprobs in ("NULL", "logprobs")
)


class Provenance(NamedTuple):
    """One set of circumstances that a study was drawn under.

    Args:
        record: the model's name as the user wrote it, device, threads, library versions.
        seen_at: when first seen, seconds since 1970, UTC.
        n: completions drawn under it.
    """

    record: Mapping[str, str]
    seen_at: float
    n: int


class Place(NamedTuple):
    """A prompt of a use case, and the limits it is asked under."""

    input_id: int
    limits_id: int
    prompt: Prompt
    prompt_ids: tuple[int, ...]
    max_tokens: int
    min_tokens: int
    stop: tuple[str, ...]


class Ledger:
    """The reading half of a Study.

    The order is that of use cases and prompts as first asked, then settings by value, then seed and draw.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._counted: tuple[tuple[int, int], dict[tuple[str, int], int]] | None = None
        self._missing: dict[str, tuple[tuple[int, int], int]] = {}
        self._fingerprint = self._stored_fingerprint()

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._db.path

    @property
    def fingerprint(self) -> Fingerprint:
        """The engine it belongs to; StudyError where nothing was drawn yet."""
        if self._fingerprint is None:
            raise StudyError("A study belongs to an engine", "one nothing was drawn into", "`poise sweep` fills it")
        return self._fingerprint

    @property
    def last_sweep(self) -> SweepSummary | None:
        """What the newest finished sweep did; None before the first."""
        rows = self._db.rows("SELECT summary FROM sweeps ORDER BY id DESC LIMIT 1")
        with self._decoding():
            return SweepSummary(**json.loads(rows[0][0])) if rows else None

    @property
    def seen_rate(self) -> float | None:
        """Tokens a second of the newest sweep that drew anything; None before the first."""
        for (record,) in self._db.rows("SELECT summary FROM sweeps ORDER BY id DESC LIMIT 100"):
            with self._decoding():
                summary = SweepSummary(**json.loads(record))
            if summary.drawn and summary.seconds > 0:
                return float(summary.tokens / summary.seconds)
        return None

    def provenances(self) -> list[Provenance]:
        """Every set of circumstances it was drawn under, oldest first."""
        rows = self._db.rows(
            "SELECT record, seen_at, (SELECT COUNT(*) FROM completions c WHERE c.provenance = p.id)"
            " FROM provenance p ORDER BY id"
        )
        with self._decoding():
            return [Provenance(json.loads(record), at, n) for record, at, n in rows]

    def use_cases(self) -> list[str]:
        """Names, as first asked; prompts without a use case are under "prompt"."""
        return [name for (name,) in self._db.rows("SELECT use_case FROM prompts GROUP BY use_case ORDER BY MIN(id)")]

    def prompts(self, use_case: str) -> list[Prompt]:
        """The prompts of a use case, as it was last asked.

        Args:
            use_case: one of `use_cases()`.

        Returns:
            Its prompts, as first asked.

        Raises:
            StudyError: no such use case.
        """
        self._chosen(use_case)
        return [place.prompt for place in self._places(use_case, PLACES_NOW)]

    def trials(self, use_case: str | None = None) -> list[Trial]:
        """The settings that have completions, by value.

        Args:
            use_case: one of `use_cases()`; None for all.

        Returns:
            Trials, with the names that were given to them.

        Raises:
            StudyError: no such use case.
        """
        chosen = self._chosen(use_case)
        held = {settings for case, settings in self._counts() if case in chosen}
        names: dict[int, list[str]] = {}
        for name, settings in self._names().items():
            names.setdefault(settings, []).append(name)
        return [Trial(p, tuple(sorted(names.get(i, ())))) for i, p in self._settings() if i in held]

    def count(self, use_case: str | None = None, params: SamplingParams | None = None) -> int:
        """How many completions `completions` would give.

        Args:
            use_case: one of `use_cases()`; None for all.
            params: settings; None for all.

        Returns:
            A number, 0 where the settings were never asked.

        Raises:
            StudyError: no such use case.
        """
        chosen = self._chosen(use_case)
        wanted = {i for i, _ in self._matching(params)}
        return sum(n for (case, i), n in self._counts().items() if case in chosen and i in wanted)

    def caveats(self, use_case: str | None = None) -> list[str]:
        """What a reader must know before trusting numbers: texts that are missing, or not shown.

        An interrupted sweep keeps what was finished, and short texts finish first: what is there is not
        a fair sample of what was asked.

        Args:
            use_case: one of `use_cases()`; None for all.

        Returns:
            Sentences, none for a study that is whole.

        Raises:
            StudyError: no such use case.
        """
        chosen = self._chosen(use_case)
        found = [
            f"{case}: {gaps:,} texts of an interrupted sweep are missing. Short texts finish first, so numbers and "
            "intervals are biased: run the sweep again to draw the rest"
            for case in chosen
            if (gaps := self._gaps(case))
        ]
        shown = sum(n for (case, _), n in self._counts().items() if case in chosen)
        [(everything,)] = self._db.rows("SELECT COUNT(*) FROM completions")
        if use_case is None and everything > shown:
            found.append(
                f"{everything - shown:,} texts drawn with other limits (max or min tokens, stop) or prompts are left "
                "out here; poise dump writes them all"
            )
        return found

    def _gaps(self, use_case: str) -> int:
        """Texts that are missing; looked for again only after a write, as `_counts` is."""
        stamp = self._db.stamp()
        if self._missing.get(use_case, (None, 0))[0] != stamp:
            self._missing[use_case] = stamp, self._count_gaps(use_case)
        return self._missing[use_case][1]

    def _count_gaps(self, use_case: str) -> int:
        """Draws that are missing below the highest one; prompts of a named use case have equally many."""
        rows = self._db.rows(_HIGHEST, (use_case,))
        if use_case == Prompt().use_case:  # lone prompts add up, each with settings of its own
            return sum(highest - n for *_, n, highest in rows)
        prompts = len(self._db.rows(PLACES_NOW, (use_case,)))
        trials: dict[tuple[object, object], list[tuple[int, int]]] = {}
        for settings, seed, n, highest in rows:
            trials.setdefault((settings, seed), []).append((n, highest))
        return sum(prompts * max(h for _, h in found) - sum(n for n, _ in found) for found in trials.values())

    def state(self, use_case: str) -> tuple[object, ...]:
        """What changes whenever `completions` or `prompts` would give something else.

        Args:
            use_case: one of `use_cases()`.

        Returns:
            Two equal states of one study mean equal contents.

        Raises:
            StudyError: no such use case.
        """
        self._chosen(use_case)
        counts = sorted((i, n) for (case, i), n in self._counts().items() if case == use_case)
        return (*self._db.rows(PLACES_NOW, (use_case,)), *counts)

    def completions(
        self,
        use_case: str | None = None,
        params: SamplingParams | None = None,
        *,
        with_logprobs: bool = True,
        everything: bool = False,
    ) -> Iterator[Completion]:
        """Read completions one by one, in the ledger's order.

        Args:
            use_case: one of `use_cases()`; None for all.
            params: settings; None for all.
            with_logprobs: without them, `logprobs` is empty and reading is faster.
            everything: also what earlier askings drew: prompts that left a use case, other limits.

        Returns:
            An iterator that holds one prompt and setting in memory at a time.

        Raises:
            StudyError: no such use case.
            StoreError: the file is damaged.
        """
        chosen = self._chosen(use_case)
        return self._completions(chosen, params, _READ_FULL if with_logprobs else _READ_LIGHT, everything)

    def _completions(
        self, chosen: list[str], params: SamplingParams | None, read: str, everything: bool
    ) -> Iterator[Completion]:
        settings = self._matching(params)
        for case in chosen:
            asked = {i for (i,) in self._db.rows("SELECT settings FROM asked WHERE use_case = ?", (case,))}
            for place in self._places(case, _PLACES_EVER if everything else PLACES_NOW):
                for settings_id, law in settings:
                    if settings_id in asked:
                        rows = self._db.rows(read, (place.input_id, settings_id, place.limits_id))
                        with self._decoding():
                            completions = [_completion(place, law, row) for row in rows]
                        yield from completions

    def _places(self, use_case: str, query: str) -> list[Place]:
        limits = {i: rest for i, *rest in self._db.rows("SELECT id, max_tokens, min_tokens, stop FROM limits")}
        places = []
        for input_id, limits_id, record in self._db.rows(query, (use_case,)):
            ((blob,),) = self._db.rows("SELECT token_ids FROM inputs WHERE id = ?", (input_id,))
            most, least, stop = limits[limits_id]
            with self._decoding():
                prompt, ids = codec.unpack_prompt(record), codec.unpack_ids(blob)
                places.append(Place(input_id, limits_id, prompt, ids, most, least, tuple(json.loads(stop))))
        return places

    def _settings(self) -> list[tuple[int, SamplingParams]]:
        rows = self._db.rows("SELECT id, record FROM settings")
        with self._decoding():
            known = [(i, codec.unpack_params(record)) for i, record in rows]
        return sorted(known, key=lambda pair: codec.settings_order(pair[1]))

    def _matching(self, params: SamplingParams | None) -> list[tuple[int, SamplingParams]]:
        """The settings that are meant; a server draws by a dialect of its own, which nobody has to name."""
        known = self._settings()
        if params is None:
            return known
        wanted = params.normalised()
        same = [(i, p) for i, p in known if p == wanted]
        engine = self._stored_fingerprint()
        if same or engine is None or not engine.served or wanted.dialect != DEFAULT_DIALECT:
            return same
        alike = [(i, p) for i, p in known if p.active() == wanted.active()]
        return alike if len(alike) == 1 else []

    def _counts(self) -> dict[tuple[str, int], int]:
        """Completions per use case and settings; counted again only after a write, for it reads the whole file."""
        stamp = self._db.stamp()
        if self._counted is None or self._counted[0] != stamp:
            self._counted = stamp, {(case, settings): n for case, settings, n in self._db.rows(_COUNTS)}
        return self._counted[1]

    def _names(self) -> dict[str, int]:
        return dict(self._db.rows("SELECT name, settings FROM trial_names ORDER BY id"))

    def _chosen(self, use_case: str | None) -> list[str]:
        known = self.use_cases()
        if use_case is None:
            return known
        if use_case not in known:
            raise StudyError(
                f"A use case of this study is one of {', '.join(known) or 'none yet'}",
                repr(use_case),
                "Name one of them",
            )
        return [use_case]

    def _stored_fingerprint(self) -> Fingerprint | None:
        engine = self._db.rows("SELECT deciding FROM engine")
        newest = self._db.rows("SELECT record FROM provenance ORDER BY id DESC LIMIT 1")
        if not engine or not newest:
            return None
        with self._decoding():
            deciding, record = json.loads(engine[0][0]), json.loads(newest[0][0])
            return Fingerprint(model=record.pop("model"), provenance=record, **deciding)

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """What was stored is being understood; a file that says something impossible is damaged."""
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, ParameterError) as error:
            raise damaged(self.path, f"{type(error).__name__}: {error}") from error

    def __repr__(self) -> str:
        try:
            held = f"use_cases={len(self.use_cases())}, trials={len(self.trials())}, completions={self.count()}"
            model = repr(self._fingerprint.model) if self._fingerprint else "none yet"
        except PoiseError as error:
            return f"Study({str(self.path)!r}, {error.rule})"
        return f"Study({str(self.path)!r}, model={model}, {held})"

    def _repr_html_(self) -> str:
        """A table for notebooks: completions per use case and trial."""
        caption = html.escape(repr(self))
        try:
            known = dict(self._settings())
            rows = [(c, known[i], n) for (c, i), n in self._counts().items()]
            order = self.use_cases()
            names = {t.label: ", ".join(t.names) for t in self.trials()}
        except PoiseError:
            return f"<p>{caption}</p>"
        rows.sort(key=lambda row: (order.index(row[0]), codec.settings_order(row[1])))
        cells = [(case, params.label, names[params.label], n) for case, params, n in rows]
        head = "".join(
            f'<th scope="col">{name}</th>' for name in ("use case", "settings", "also called", "completions")
        )
        body = "".join("<tr>" + "".join(f"<td>{html.escape(str(x))}</td>" for x in row) + "</tr>" for row in cells)
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _completion(place: Place, params: SamplingParams, row: Row) -> Completion:
    seed, draw, reason, text, thinking, token_ids, logprobs = row
    request = Request(
        place.prompt, place.prompt_ids, params, int(seed), draw, place.max_tokens, place.min_tokens, place.stop
    )
    ids = codec.unpack_ids(token_ids)
    chances = () if logprobs is None else codec.unpack_floats(logprobs)
    if chances and ids and len(chances) != len(ids):  # a server may give one of them, or neither
        raise ValueError(f"{len(ids)} tokens have {len(chances)} log-probabilities")
    return Completion(request, text, ids, chances, reason, thinking)
