"""A chart of every setting's difference to the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from poise.numerals import PERCENT_UNITS, difference, interval
from poise.reports.charts import SCHEMA, Palette, Spec, config
from poise.verdicts.verdict import Contender, Verdict
from poise.verdicts.words import called

MAX_ROWS = 40
ROW = 24  # pixels
LABEL = 190  # pixels at most for the name of a setting


def gap_spec(v: Verdict, palette: Palette) -> Spec | None:
    """Differences to the baseline as dots, their simultaneous intervals as bars, in Vega-Lite.

    The settings that may be the best are filled; a band shows the differences that do not matter.

    Args:
        v: the verdict.
        palette: colours and font.

    Returns:
        The specification, as wide as its container; None where no setting has a difference.
    """
    shown = shown_in(v)
    if not any(c.difference for c in shown):
        return None
    values = [_datum(v, c) for c in shown]
    layers = [*_behind(v, palette), *_dots(values, _title(v), palette)]
    return {
        "$schema": SCHEMA, "width": "container", "height": {"step": ROW},
        "padding": {"left": 0, "top": 6, "right": 8, "bottom": 2},
        "datasets": {"contenders": values, "band": _band(v)}, "layer": layers, "config": config(palette),
    }  # fmt: skip


def shown_in(v: Verdict) -> list[Contender]:
    """The settings in the chart: those with a difference, the best set first, the baseline among them."""
    known = [c for c in v.contenders if c.difference is not None]
    if len(known) <= MAX_ROWS:
        return known
    base = v.of(v.baseline)
    kept = known[: MAX_ROWS - 1] if base not in known[:MAX_ROWS] else known[:MAX_ROWS]
    return [*kept, *([base] if base not in kept else [])]


def in_words(v: Verdict) -> str:
    """The chart for those who do not see it."""
    ordered = sorted((c.difference, called(c.trial)) for c in shown_in(v) if c.difference is not None)
    (low, at_low), (high, at_high) = ordered[0], ordered[-1]
    ends = f"lowest {difference(low, v.unit)} at {at_low}, highest {difference(high, v.unit)} at {at_high}"
    return f"Dot chart of differences to the baseline: {ends}. Every number is in the table below."


def signs_of(v: Verdict) -> str:
    """What the signs in the chart mean."""
    small = difference(v.goal.matters, v.unit).lstrip("+") if v.goal.matters is not None else ""
    return "Filled: may be the best" + (f"; shaded: less than the {small} that matter" if small else "")


def _datum(v: Verdict, c: Contender) -> Spec:
    scale = _scale(v)
    ends = [None if e is None or c.trial.params == v.baseline.params else scale * e for e in (c.low, c.high)]
    at = c.difference or 0.0
    return {
        "setting": called(c.trial), "at": scale * at, "low": ends[0], "high": ends[1], "best": c.in_set,
        "settings": called(c.trial), "best set": "may be the best" if c.in_set else c.out,
        "difference": f"{difference(at, v.unit)} {interval(c.low, c.high, v.unit, of_difference=True)}".rstrip(),
    }  # fmt: skip


def _dots(values: Sequence[Spec], title: str, palette: Palette) -> list[Spec]:
    """Bars where there are intervals, and dots."""
    x = {"type": "quantitative", "scale": {"zero": True, "nice": True}, "axis": {"tickCount": 5, "grid": True}}
    y = {
        "field": "setting", "type": "nominal", "sort": [d["setting"] for d in values], "title": None,
        "axis": {"labelLimit": LABEL, "domain": False, "ticks": False, "labelPadding": 8},
    }  # fmt: skip
    best = {"test": "datum.best"}
    colour = {"condition": {**best, "value": palette.lines[0]}, "value": palette.soft}
    data = {"name": "contenders"}
    bars = {
        "data": data, "transform": [{"filter": "isValid(datum.low)"}], "mark": {"type": "rule", "strokeWidth": 1.6},
        "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": colour},
    }  # fmt: skip
    points = {
        "data": data, "mark": {"type": "point", "opacity": 1, "filled": True, "strokeWidth": 1.6, "size": 60},
        "encoding": {
            "y": y, "x": {**x, "field": "at", "title": title}, "stroke": colour,
            "fill": {"condition": {**best, "value": palette.lines[0]}, "value": palette.paper},
            "tooltip": [{"field": f, "type": "nominal", "title": f} for f in ("settings", "difference", "best set")],
        },
    }  # fmt: skip
    has_bars = any(d["low"] is not None for d in values)
    return [*([bars] if has_bars else []), points]


def _behind(v: Verdict, palette: Palette) -> list[Spec]:
    """The baseline as a line, and what does not matter around it."""
    at = {"datum": 0, "type": "quantitative"}
    line = {
        "mark": {"type": "rule", "strokeDash": [3, 3], "strokeWidth": 1, "color": palette.soft},
        "encoding": {"x": at},
    }
    if not _band(v):
        return [line]
    span = {
        "data": {"name": "band"}, "mark": {"type": "rect", "color": palette.grid, "opacity": 0.7},
        "encoding": {"x": {"field": "from", "type": "quantitative"}, "x2": {"field": "to"}},
    }  # fmt: skip
    return [span, line]


def _band(v: Verdict) -> Sequence[Spec]:
    matters = v.goal.matters
    return [] if matters is None else [{"from": -matters * _scale(v), "to": matters * _scale(v)}]


def _title(v: Verdict) -> str:
    unit = "points" if v.unit in PERCENT_UNITS else v.unit
    better = "right" if v.goal.aim.sense == "raise" else "left"
    return f"{unit}; better is to the {better}"


def _scale(v: Verdict) -> float:
    return 100.0 if v.unit in PERCENT_UNITS else 1.0
