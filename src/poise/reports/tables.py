"""Measurements as tables: one row per setting, one column per metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from poise.measurements import Measurement
from poise.numerals import figure, interval
from poise.records import Trial
from poise.reports.findings import noun

MAX_ROWS = 60


@dataclass(frozen=True, slots=True)
class Cell:
    """One number with its interval; `n` is given where it is not the row's."""

    mean: str
    limits: str
    n: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: its label, what else it is called, its number of texts, its cells."""

    label: str
    names: tuple[str, ...]
    n: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One metric: its name, what it is called, its unit, and what the texts were cut to for it."""

    metric: str
    noun: str
    unit: str
    basis: str


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of the page.

    Args:
        columns: metrics.
        rows: settings, at most sixty.
        hidden: how many settings were left out.
        notes: why intervals or numbers are missing, each said once.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    hidden: int
    notes: tuple[str, ...]


def make_grid(trials: Sequence[Trial], metrics: Sequence[str], rows: Sequence[Measurement]) -> Grid:
    """Lay measurements of one use case out as a table.

    Args:
        trials: in the order wanted.
        metrics: columns, in order.
        rows: the measurements.

    Returns:
        The table; columns without any data are left out.
    """
    at = {(r.trial.label, r.metric): r for r in rows}
    known = {r.metric: r for r in rows if r.mean is not None}
    columns = tuple(Column(m, noun(m), known[m].unit, known[m].basis.partition(";")[0]) for m in metrics if m in known)
    shown = list(trials[:MAX_ROWS])
    # Baselines are always in the table.
    shown += [t for t in trials[MAX_ROWS:] if t.names]
    laid = [_row(t, [at.get((t.label, c.metric)) for c in columns]) for t in shown]
    used = [at[t.label, c.metric] for t in shown for c in columns if (t.label, c.metric) in at]
    notes = tuple(dict.fromkeys(r.note for r in used if r.note))
    return Grid(columns, tuple(laid), len(trials) - len(shown), notes)


def _row(trial: Trial, found: Sequence[Measurement | None]) -> Row:
    n = max((m.n for m in found if m), default=0)
    return Row(trial.label, trial.names, n, tuple(_cell(m, n) for m in found))


def _cell(m: Measurement | None, n: int) -> Cell:
    if m is None or m.mean is None:
        return Cell("–", "", None)
    return Cell(figure(m.mean, m.unit), interval(m.low, m.high, m.unit), None if m.n == n else m.n)
