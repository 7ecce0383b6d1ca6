"""Charts: a metric along the varied parameter, with intervals and baselines."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from poise.curves import Curve
from poise.errors import MetricError, UsageError
from poise.escapes import visible
from poise.measurements import Measurement, measure
from poise.numerals import PERCENT_UNITS, figure, interval
from poise.reports.axes import Axis, find_axis, in_order
from poise.study import Study

if TYPE_CHECKING:
    import altair as alt

Figure = Literal["svg", "png", "pdf"]
Spec = dict[str, Any]  # Vega-Lite
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name that tells the version; nothing fetches it
HEIGHT = 170  # pixels of the plotting area
LABEL_GAP = 13  # pixels between two baseline labels
LABEL_ROOM = 92  # pixels to the right of the plot for them
MAX_LINES = 6
CROWDED = 60  # points from which on they are drawn small


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours and font of a chart; on a page they are CSS variables, so light, dark and print need one drawing."""

    paper: str
    soft: str
    grid: str
    lines: tuple[str, ...]
    font: str


PAGE = Palette(
    "var(--paper)", "var(--soft)", "var(--rule)", tuple(f"var(--line-{i})" for i in range(1, MAX_LINES + 1)),
    "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
)  # fmt: skip
NOTEBOOK = Palette(
    "#ffffff", "#5f5c56", "#e4e0d8", ("#0b6b75", "#b4552d", "#6b4fa0", "#7a6a00", "#a03768", "#3d6b35"), "sans-serif"
)


def chart(study: Study, metric: str, *, use_case: str | None = None) -> alt.LayerChart:
    """Draw one metric along what was varied, as the report does, for a notebook.

    Args:
        study: with completions.
        metric: a key of `METRICS`.
        use_case: one of the study's; may be left out where there is one.

    Returns:
        An Altair chart; `.save("chart.svg")` writes it to a file.

    Raises:
        UsageError: several use cases and none named.
        MetricError: an unknown metric, or one without data.
        StudyError: no such use case.

    >>> poise.chart(study, "seq_rep_4")                               # doctest: +SKIP
    alt.LayerChart(...)
    """
    import altair as alt

    names = study.use_cases()
    if use_case is None and len(names) != 1:
        raise UsageError("A chart shows one use case", f"{len(names)} of them", f"Name one of {', '.join(names)}")
    rows = measure(study, metrics=[metric], use_case=use_case or names[0])
    if all(r.mean is None for r in rows):
        raise MetricError(f"A chart of {metric} needs data", rows[0].note, "`poise measure` shows what has data")
    spec = metric_spec(rows, find_axis([r.trial for r in rows]), NOTEBOOK)
    drawn: alt.LayerChart = alt.LayerChart.from_dict({**spec, "width": 420})
    return drawn


def metric_spec(
    rows: Sequence[Measurement], axis: Axis, palette: Palette, anchors: Mapping[str, str] | None = None
) -> Spec:
    """One metric of one use case, trial by trial, in Vega-Lite.

    Points are means, bars their 95 % intervals; a thin line joins what was measured and
    claims nothing in between. Baselines that do not lie on the line are dashed rules.

    Args:
        rows: measurements of one metric and use case, at least one with a mean.
        axis: what was varied.
        palette: colours and font.
        anchors: on a page, where the texts of a setting stand; a click on its point goes there.

    Returns:
        The specification, as wide as its container.
    """
    places = {t: i for i, t in enumerate(in_order([r.trial for r in rows], axis))}
    known = sorted((r for r in rows if r.mean is not None), key=lambda r: places[r.trial])
    on_line = [r for r in known if axis.holds(r.trial)]
    lines = kept_lines([axis.series(r.trial) for r in on_line])
    values = [_datum(r, axis, anchors or {}) for r in on_line if axis.series(r.trial) in lines]
    domain = _domain(known)
    beside = [r for r in known if not axis.holds(r.trial)]
    layers = [*(_rules(palette) if beside else []), *_curve(values, axis, lines, palette)]
    percent = known[0].unit in PERCENT_UNITS
    layers[-1]["encoding"]["y"] = {
        "field": "mean", "type": "quantitative", "scale": {"domain": list(domain), "nice": False, "zero": False},
        "axis": {"format": "~%" if percent else "~g", "tickCount": 4, "title": None},
    }  # fmt: skip
    return {
        "$schema": SCHEMA, "width": "container", "height": HEIGHT,
        "padding": {"left": 0, "top": 6, "right": 8, "bottom": 2},
        "datasets": {"points": values, "baselines": _baselines(beside, domain)},
        "layer": layers, "config": config(palette),
    }  # fmt: skip


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


def _datum(row: Measurement, axis: Axis, anchors: Mapping[str, str]) -> Spec:
    if not axis.parameter:
        x: str | float = ", ".join(row.trial.names) or row.trial.label
    else:
        at = axis.position(row.trial)
        x = at if axis.numeric and at is not None else ("off" if at is None else f"{at:g}")
    return {
        "x": x, "mean": row.mean, "low": row.low, "high": row.high, "line": axis.series(row.trial),
        "setting": row.trial.label, "baseline": ", ".join(row.trial.names), "n": row.n,
        "shown": f"{figure(row.mean, row.unit)} {interval(row.low, row.high, row.unit)}".rstrip(),
        "anchor": anchors.get(row.trial.label, ""),
    }  # fmt: skip


def _domain(rows: Sequence[Measurement]) -> tuple[float, float]:
    ends = [v for r in rows for v in (r.mean, r.low, r.high) if v is not None]
    low, high = min(ends), max(ends)
    if rows[0].unit in PERCENT_UNITS and low >= 0:
        return 0.0, next(top for top in (0.1, 0.25, 0.5, 1.0, high) if high <= top)
    room = 0.08 * (high - low) or 0.08 * abs(high) or 1.0
    return (0.0 if 0 <= low < 0.35 * high else low - room), high + room


def _curve(values: Sequence[Spec], axis: Axis, lines: Sequence[str], palette: Palette) -> list[Spec]:
    """Line, bars and points; the points come last and carry the y axis."""
    crowded = len(values) > CROWDED
    shared = {"x": _x(values, axis), "color": _colour(lines, palette)}
    named = {"test": "datum.baseline != ''"}
    mean, low = ({"field": f, "type": "quantitative"} for f in ("mean", "low"))
    data = {"name": "points"}
    joined = {
        "data": data,
        "mark": {"type": "line", "strokeWidth": 1.2, "opacity": 0.6},
        "encoding": {**shared, "y": mean},
    }
    bars = {
        "data": data,
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "strokeWidth": 0.9 if crowded else 1.6, "opacity": 0.45 if crowded else 1},
        "encoding": {**shared, "y": low, "y2": {"field": "high"}},
    }
    points = {
        "data": data,
        "mark": {"type": "point", "filled": True, "opacity": 1, "cursor": "pointer"},
        "encoding": {
            **shared,
            "shape": {"condition": {**named, "value": "diamond"}, "value": "circle"},
            "size": {"condition": {**named, "value": 90}, "value": 14 if crowded else 46},
            "tooltip": [{"field": f, "type": t, "title": title} for f, t, title in _TIPS],
        },
    }
    # Without an axis there is nothing to join; a layer without any datum makes Vega warn.
    has_bars = any(v["low"] is not None for v in values)
    return [*([joined] if axis.parameter else []), *([bars] if has_bars else []), points]


_TIPS = (
    ("setting", "nominal", "settings"), ("baseline", "nominal", "also called"),
    ("shown", "nominal", "mean"), ("n", "quantitative", "texts"),
)  # fmt: skip


def _colour(lines: Sequence[str], palette: Palette) -> Spec:
    if len(lines) < 2:
        return {"value": palette.lines[0]}
    columns = 2 if max(map(len, lines)) <= 20 else 1
    return {
        "field": "line", "type": "nominal",
        "scale": {"domain": list(lines), "range": list(palette.lines[: len(lines)])},
        "legend": {"title": None, "orient": "top", "columns": columns, "labelLimit": 0},
    }  # fmt: skip


def _x(values: Sequence[Spec], axis: Axis) -> Spec:
    title = axis.parameter.replace("_", " ") or None
    if not axis.numeric:
        order = list(dict.fromkeys(v["x"] for v in values))
        turned = {"labelAngle": 0 if axis.parameter else -30}
        return {"field": "x", "type": "ordinal", "title": title, "sort": order, "axis": turned}
    places = sorted({v["x"] for v in values})
    ticks = {"values": places} if len(places) <= 6 else {"tickCount": 6}
    return {
        "field": "x", "type": "quantitative", "title": title, "scale": {"zero": False, "nice": False, "padding": 12},
        "axis": {"format": "~g", "labelOverlap": True, **ticks},
    }  # fmt: skip


def _baselines(rows: Sequence[Measurement], domain: tuple[float, float]) -> list[Spec]:
    low, high = domain
    ordered = sorted(rows, key=lambda r: r.mean or 0)
    heights = [HEIGHT * ((r.mean or 0) - low) / (high - low) for r in ordered]
    return [
        {
            "mean": row.mean,
            "label_at": low + (high - low) * at / HEIGHT,
            "label": ", ".join(row.trial.names) or row.trial.label,
        }
        for row, at in zip(ordered, label_heights(heights), strict=True)
    ]


def _rules(palette: Palette) -> list[Spec]:
    """A dashed line across for each baseline, its name beside the plot."""
    text = {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "limit": LABEL_ROOM, "color": palette.soft}
    return [
        {
            "data": {"name": "baselines"},
            "mark": {"type": "rule", "strokeDash": [3, 3], "color": palette.soft, "strokeWidth": 1},
            "encoding": {"y": {"field": "mean", "type": "quantitative"}},
        },
        {
            "data": {"name": "baselines"},
            "mark": text,
            "encoding": {
                "y": {"field": "label_at", "type": "quantitative"},
                "x": {"value": "width"},
                "text": {"field": "label", "type": "nominal"},
            },
        },
    ]


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


def config(palette: Palette) -> Spec:
    """How every chart looks: quiet axes, no frame."""
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


def curve_chart(curve: Curve, about: str = "") -> Any:
    """A step chart of a curve with its simultaneous band.

    Args:
        curve: from `poise.curve` or `poise.distinct_texts`.
        about: what else its title says, for example the other settings.

    Returns:
        An Altair chart; a notebook shows it, `.save("curve.svg")` writes it, also as .png, .pdf and .html.
    """
    import altair as alt

    data = alt.InlineData(values=_curve_points(curve))
    title = curve.metric.replace("_", " ") + f" ({curve.unit})"
    x = alt.X("value:Q", title=curve.parameter, scale=alt.Scale(domain=[curve.low, curve.high], nice=False))
    base = alt.Chart(data)
    band = base.mark_area(interpolate="step-after", opacity=0.2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(interpolate="step-after", strokeWidth=1.5).encode(x=x, y=alt.Y("mean:Q", title=title))
    counted = f"{curve.n_prompts} prompts, {curve.n_draws} dials" + (f". {curve.note}" if curve.note else "; 95 % band")
    layers = [line] if curve.note else [band, line]
    subtitle = [visible(about), counted] if about else counted
    return alt.layer(*layers).properties(width=560, height=260, title=alt.TitleParams(title, subtitle=subtitle))


def curve_figure(curves: Sequence[tuple[str, Curve]], format: Figure) -> bytes:
    """Curves one below the other, as a file for print or web.

    Args:
        curves: what each is about, and the curve; at least one.
        format: ``svg``, ``png`` at twice the size, or ``pdf``.

    Returns:
        The file's content.
    """
    import altair as alt

    return _saved(alt.vconcat(*(curve_chart(c, about) for about, c in curves)).resolve_scale(x="independent"), format)


def drawn(spec: Spec) -> Any:
    """A specification as a chart that a notebook shows.

    Args:
        spec: Vega-Lite, with its data.

    Returns:
        An Altair chart.
    """
    import altair as alt

    return alt.Chart.from_dict(spec)


def written(spec: Spec, format: Figure) -> bytes:
    """A specification as a file for print or web.

    Args:
        spec: Vega-Lite, with its data.
        format: ``svg``, ``png`` at twice the size, or ``pdf``.

    Returns:
        The file's content.
    """
    return _saved(drawn(spec), format)


def _saved(chart: Any, format: Figure) -> bytes:
    if format == "svg":
        text = io.StringIO()
        chart.save(text, format=format)
        return text.getvalue().encode()
    out = io.BytesIO()
    chart.save(out, format=format, **({"scale_factor": 2} if format == "png" else {}))
    return out.getvalue()


def _curve_points(curve: Curve) -> list[dict[str, Any]]:
    rows = [{"value": s.span.low.value, "mean": s.mean, "low": s.low, "high": s.high} for s in curve.steps]
    return [*rows, {**rows[-1], "value": curve.high}]
