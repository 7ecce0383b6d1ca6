"""A curve with its band as a chart, for notebooks and files."""

from __future__ import annotations

from typing import Any

import altair as alt

from poise.curves import Curve

WIDTH, HEIGHT = 560, 260


def curve_chart(curve: Curve) -> Any:
    """A step chart of a curve with its simultaneous band.

    Args:
        curve: from `poise.curve` or `poise.distinct_texts`.

    Returns:
        An Altair chart; a notebook shows it, `.save("curve.svg")` writes it, also as .png, .pdf and .html.
    """
    data = alt.InlineData(values=_points(curve))
    title = curve.metric.replace("_", " ") + f" ({curve.unit})"
    x = alt.X("value:Q", title=curve.parameter, scale=alt.Scale(domain=[curve.low, curve.high], nice=False))
    base = alt.Chart(data)
    band = base.mark_area(interpolate="step-after", opacity=0.2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(interpolate="step-after", strokeWidth=1.5).encode(x=x, y=alt.Y("mean:Q", title=title))
    said = f"{curve.n_prompts} prompts, {curve.n_draws} dials" + (f". {curve.note}" if curve.note else "; 95 % band")
    layers = [line] if curve.note else [band, line]
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=alt.TitleParams(title, subtitle=said))


def _points(curve: Curve) -> list[dict[str, Any]]:
    rows = [{"value": s.span.low.value, "mean": s.mean, "low": s.low, "high": s.high} for s in curve.steps]
    return [*rows, {**rows[-1], "value": curve.high}]
