"""Altair charts: a metric along the varied parameter, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from poise.measurements import Measurement
from poise.reports.axes import Axis, in_order
from poise.reports.numerals import PERCENT_UNITS, figure

if TYPE_CHECKING:
    import altair as alt

HEIGHT = 170  # pixels of the plotting area
LABEL_GAP = 13  # pixels between two baseline labels
LABEL_ROOM = 92  # pixels to the right of the plot for them
MAX_LINES = 6
CROWDED = 60  # points from which on they are drawn small


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours and font of a chart; on a page they are CSS variables, so light, dark and print need one drawing."""

    ink: str
    soft: str
    grid: str
    lines: tuple[str, ...]
    font: str


PAGE = Palette(
    "var(--ink)", "var(--soft)", "var(--rule)", tuple(f"var(--line-{i})" for i in range(1, MAX_LINES + 1)),
    "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
)  # fmt: skip
NOTEBOOK = Palette(
    "#1d1c1a", "#5f5c56", "#e4e0d8", ("#0b6b75", "#b4552d", "#6b4fa0", "#7a6a00", "#a03768", "#3d6b35"), "sans-serif"
)


def metric_chart(
    rows: Sequence[Measurement], axis: Axis, palette: Palette = NOTEBOOK, anchors: Mapping[str, str] | None = None
) -> alt.LayerChart:
    """One metric of one use case, trial by trial.

    Points are means, bars their 95 % intervals; a thin line joins what was measured and
    claims nothing in between. Baselines that do not lie on the line are dashed rules.

    Args:
        rows: measurements of one metric and use case, at least one with a mean.
        axis: what was varied.
        palette: colours and font.
        anchors: on a page, where the texts of a setting stand; a click on its point goes there.

    Returns:
        An Altair chart.
    """
    import altair as alt

    places = {t: i for i, t in enumerate(in_order([r.trial for r in rows], axis))}
    known = sorted((r for r in rows if r.mean is not None), key=lambda r: places[r.trial])
    unit = known[0].unit
    on_line = [r for r in known if axis.holds(r.trial)]
    lines = kept_lines([axis.series(r.trial) for r in on_line])
    values = [_datum(r, axis, anchors or {}) for r in on_line if axis.series(r.trial) in lines]
    domain = _domain(known, unit)
    beside = [r for r in known if not axis.holds(r.trial)]
    layers = _baselines(beside, unit, domain, palette) if beside else []
    layers += _curve(values, axis, unit, domain, lines, palette)
    padding = {"left": 0, "top": 6, "right": 8, "bottom": 2}
    chart = alt.layer(*layers).properties(width="container", height=HEIGHT, padding=padding)
    drawn: alt.LayerChart = chart.configure(**_config(palette))
    return drawn


def kept_lines(series: Sequence[str]) -> list[str]:
    """The lines a chart draws: all of them, or six spread evenly over the rest.

    >>> kept_lines(["b", "a", "b"])
    ['b', 'a']
    """
    distinct = list(dict.fromkeys(series))
    if len(distinct) <= MAX_LINES:
        return distinct
    step = (len(distinct) - 1) / (MAX_LINES - 1)
    return [distinct[round(i * step)] for i in range(MAX_LINES)]


def _datum(row: Measurement, axis: Axis, anchors: Mapping[str, str]) -> dict[str, Any]:
    if not axis.parameter:
        x: str | float = ", ".join(row.trial.names) or row.trial.label
    else:
        at = axis.position(row.trial)
        x = at if axis.numeric and at is not None else ("off" if at is None else f"{at:g}")
    shown = figure(row.mean, row.unit)
    if row.low is not None and row.high is not None:
        shown += f" [{figure(row.low, row.unit)}, {figure(row.high, row.unit)}]"
    return {
        "x": x, "mean": row.mean, "low": row.low, "high": row.high, "line": axis.series(row.trial),
        "setting": row.trial.label, "baseline": ", ".join(row.trial.names), "shown": shown, "n": row.n,
        "anchor": anchors.get(row.trial.label, ""),
    }  # fmt: skip


def _domain(rows: Sequence[Measurement], unit: str) -> tuple[float, float]:
    ends = [v for r in rows for v in (r.mean, r.low, r.high) if v is not None]
    if unit in PERCENT_UNITS and min(ends) >= 0:
        return 0.0, next(top for top in (0.1, 0.25, 0.5, 1.0, float("inf")) if max(ends) <= top)
    low, high = min(ends), max(ends)
    room = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    return (0.0 if 0 <= low < 0.35 * high else low - room), high + room


def _curve(
    values: list[dict[str, Any]],
    axis: Axis,
    unit: str,
    domain: tuple[float, float],
    lines: Sequence[str],
    palette: Palette,
) -> list[Any]:
    import altair as alt

    base = alt.Chart(alt.InlineData(values=values))
    x = _x(values, axis)
    y_axis = alt.Axis(format="~%" if unit in PERCENT_UNITS else "~g", tickCount=4, title=None)
    y = alt.Y("mean:Q", scale=alt.Scale(domain=list(domain), nice=False, zero=False), axis=y_axis)
    colour: Any = alt.value(palette.lines[0])
    if len(lines) > 1:
        scale = alt.Scale(domain=list(lines), range=list(palette.lines[: len(lines)]))
        colour = alt.Color("line:N", scale=scale, legend=_legend(lines))
    crowded = len(values) > CROWDED
    joined = base.mark_line(strokeWidth=1.2, opacity=0.6, clip=True)
    width, strength = (0.9, 0.45) if crowded else (1.6, 1.0)
    bars = base.transform_filter("isValid(datum.low)").mark_rule(clip=True, strokeWidth=width, opacity=strength)
    dots = base.mark_point(filled=True, opacity=1, cursor="pointer")
    tips = [alt.Tooltip(f"{k}:{t}", title=n) for k, t, n in _TIPS]
    shape = alt.condition("datum.baseline != ''", alt.value("diamond"), alt.value("circle"))
    size = alt.condition("datum.baseline != ''", alt.value(90), alt.value(14 if crowded else 46))
    layers = [joined.encode(x=x, y=y, color=colour)] if axis.parameter else []
    if any(v["low"] is not None for v in values):
        layers.append(bars.encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour))
    return [*layers, dots.encode(x=x, y=y, color=colour, shape=shape, size=size, tooltip=tips)]


_TIPS = (("setting", "N", "settings"), ("baseline", "N", "also called"), ("shown", "N", "mean"), ("n", "Q", "texts"))


def _legend(lines: Sequence[str]) -> Any:
    import altair as alt

    return alt.Legend(title=None, orient="top", columns=2 if max(map(len, lines)) <= 20 else 1, labelLimit=0)


def _x(values: list[dict[str, Any]], axis: Axis) -> Any:
    import altair as alt

    title = axis.parameter.replace("_", " ") or None
    if axis.numeric:
        places = sorted({v["x"] for v in values})
        ticks = {"values": places} if len(places) <= 6 else {"tickCount": 6}
        room = alt.Scale(zero=False, nice=False, padding=12)
        return alt.X("x:Q", title=title, scale=room, axis=alt.Axis(format="~g", labelOverlap=True, **ticks))
    order = list(dict.fromkeys(v["x"] for v in values))
    return alt.X("x:O", title=title, sort=order, axis=alt.Axis(labelAngle=0 if axis.parameter else -30))


def _baselines(rows: Sequence[Measurement], unit: str, domain: tuple[float, float], palette: Palette) -> list[Any]:
    import altair as alt

    low, high = domain
    ordered = sorted(rows, key=lambda r: r.mean or 0)
    heights = [HEIGHT * ((r.mean or 0) - low) / (high - low) for r in ordered]
    placed = [
        {
            "mean": row.mean,
            "label_at": low + (high - low) * at / HEIGHT,
            "label": ", ".join(row.trial.names) or row.trial.label,
        }
        for row, at in zip(ordered, label_heights(heights), strict=True)
    ]
    base = alt.Chart(alt.InlineData(values=placed))
    rule = base.mark_rule(strokeDash=[3, 3], color=palette.soft, strokeWidth=1).encode(y="mean:Q")
    text = base.mark_text(align="left", dx=5, fontSize=11, color=palette.soft, limit=LABEL_ROOM - 6)
    return [rule, text.encode(y="label_at:Q", x=alt.value("width"), text="label:N")]


def label_heights(heights: Sequence[float]) -> list[float]:
    """Where labels go so that none covers another: beside their line, or as near as there is room.

    Args:
        heights: of the lines above the bottom, pixels, ascending.

    Returns:
        Heights of the labels' middles, pixels, ascending.

    >>> label_heights([10, 12, 100])
    [10, 23, 100]
    """
    middles: list[float] = []
    for height in heights:
        middles.append(max(height, middles[-1] + LABEL_GAP if middles else 0))
    top: float = HEIGHT
    for i in reversed(range(len(middles))):
        middles[i] = top = min(middles[i], top)
        top -= LABEL_GAP
    return middles


def _config(palette: Palette) -> Mapping[str, Any]:
    quiet = {
        "labelColor": palette.soft, "titleColor": palette.soft, "gridColor": palette.grid,
        "domainColor": palette.grid, "tickColor": palette.grid, "labelFontSize": 11,
        "titleFontSize": 11, "titleFontWeight": "normal",
    }  # fmt: skip
    return {
        "background": "transparent", "font": palette.font, "view": {"stroke": None},
        "axis": quiet, "axisX": {"grid": False, "titleAlign": "right", "titleAnchor": "end"},
        "axisY": {"domain": False, "ticks": False},
        "legend": {"labelColor": palette.soft, "labelFontSize": 11, "symbolStrokeWidth": 2},
    }  # fmt: skip
