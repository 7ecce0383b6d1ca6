"""Pictures of a law: what each step leaves of the next token."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poise.distances import EQUAL
from poise.errors import UsageError
from poise.escapes import visible
from poise.reports.charts import NOTEBOOK, SCHEMA, Figure, Spec, config, drawn, written
from poise.traces import Beside, Trace, TraceStep
from poise.traces.own import own_notes

ACROSS = 5  # panels in a row
WIDE = 160  # pixels of a panel's bars and their numbers
ROW = 21  # pixels of a token
ROOM = 1.55  # of the longest bar: the number at its end stands in the rest
LABEL = 190  # pixels that a token's name may take
LONG = 24  # characters of a panel's title in a line
_KINDS = ("svg", "png", "pdf", "html", "json")  # of file that Altair writes
MOST = 100  # tokens that a panel shows; more are too many to read, and some thousand too many to draw


def law_chart(law: Trace | Beside) -> Any:
    """Draw what each step leaves of the next token: a panel a step, a bar a token, what a step cuts hollow.

    Of more than 100 tokens the likeliest are shown, and the others summed up.

    Args:
        law: from `poise.trace`, or two of them side by side.

    Returns:
        An Altair chart; a notebook shows it, `.save("law.svg")` writes it, also as .png, .pdf, .html and .json; a
        UsageError for other files.
    """
    spec = law_spec(law)
    plain = type(drawn(spec))
    kind: Any = type("LawChart", (plain,), {"save": _saving(plain)})
    return kind.from_dict(spec)


def _saving(plain: Any) -> Callable[..., None]:
    """A chart's own way of writing itself, with an error of poise's for a kind of file that there is not."""

    def save(chart: Any, fp: Any, format: str | None = None, **more: Any) -> None:
        ending = Path(fp).suffix.removeprefix(".") if isinstance(fp, (str, Path)) else ""
        if (format or ending) not in _KINDS:
            rule = f"A chart is saved as {', '.join(_KINDS)}: by the file's ending, or with format"
            raise UsageError(rule, repr(format or str(fp)), 'For example .save("law.svg")')
        plain.save(chart, fp, format, **more)

    return save


def law_figure(law: Trace | Beside, format: Figure) -> bytes:
    """The same as a file.

    Args:
        law: see `law_chart`.
        format: ``svg``, ``png`` at twice the size, or ``pdf``.

    Returns:
        The file's content.
    """
    return written(law_spec(law), format)


def law_spec(law: Trace | Beside) -> Spec:
    """The same in Vega-Lite.

    Args:
        law: see `law_chart`.

    Returns:
        The specification, with its data.
    """
    traces = [law.left, law.right] if isinstance(law, Beside) else [law]
    shown = _likeliest(traces)
    words = _labels(traces, shown)
    seen = [p[shown] for t in traces for _, p in t.columns]
    top = max(max(float(p.max()), 1 - float(p.sum())) for p in seen)
    said = [f"{visible(s)}." for s in law.sentences] if isinstance(law, Beside) else [*law.notes]
    if isinstance(law, Beside):
        said += [f"{note}." for note in dict.fromkeys(note for t in traces for note in own_notes(t.params))]
    across = min(ACROSS, max(len(t.columns) for t in traces))
    subtitle = [line for s in [*said, _READING] for line in _lines(s, max(95, 30 * across))]
    rows = [row for t in traces for row in _rows(t, shown, words, ROOM * top, len(traces) > 1)]
    return {
        "$schema": SCHEMA, "background": NOTEBOOK.paper, "padding": 14, "spacing": 22, "vconcat": rows,
        "title": {
            "text": visible(law.left.about if isinstance(law, Beside) else law.about), "subtitle": subtitle,
            "anchor": "start", "fontSize": 15, "subtitleFontSize": 11.5, "subtitleColor": NOTEBOOK.soft,
            "subtitleLineHeight": 15, "offset": 16,
        },
        "config": {**config(NOTEBOOK), "concat": {"spacing": 14}},
    }  # fmt: skip


def _likeliest(traces: Sequence[Trace]) -> list[int]:
    """The tokens that the traces show, at most `MOST`: those that have the most before or after; in their order."""
    every = list(dict.fromkeys(i for t in traces for i in t.shown))
    heights = np.max([p for t in traces for p in (t.model, t.probabilities)], axis=0)
    kept = {every[place] for place in np.argsort(-heights[every], kind="stable")[:MOST]}
    return [i for i in every if i in kept]


_READING = "Bars are probabilities after the step; a hollow bar is what the step cuts, as large as it was before."


def _labels(traces: Sequence[Trace], shown: Sequence[int]) -> dict[int, str]:
    """A name of its own for each token, for two may read alike."""
    found = {i: next(t.word(i) for t in traces if i in t.words) for i in shown}
    often = Counter(found.values())
    return {i: word if often[word] == 1 else f"{word} ({i})" for i, word in found.items()}


def _rows(t: Trace, shown: Sequence[int], words: dict[int, str], end: float, named: bool) -> Iterator[Spec]:
    """The panels of one law, a few in each row; the first of a row names the tokens."""
    panels = list(_panels(t, shown, words, end))
    for start in range(0, len(panels), ACROSS):
        across = panels[start : start + ACROSS]
        for place, panel in enumerate(across):
            panel["encoding"]["y"]["axis"] = _names() if place == 0 else None
        row: Spec = {"hconcat": across, "spacing": 14, "bounds": "flush"}
        if named and start == 0:
            row["title"] = {
                "text": visible(t.params.dialect), "anchor": "start", "fontSize": 13, "color": NOTEBOOK.soft,
                "fontWeight": "bold", "offset": 8,
            }  # fmt: skip
        yield row


def _names() -> Spec:
    return {"title": None, "domain": False, "ticks": False, "labelLimit": LABEL, "labelFontSize": 12, "labelPadding": 6,
            "labelColor": "#26241f"}  # fmt: skip


def _panels(t: Trace, shown: Sequence[int], words: dict[int, str], end: float) -> Iterator[Spec]:
    before, rest = t.model, np.setdiff1d(np.arange(t.model.size), shown)
    others, rest_cut_by = f"{rest.size:,} others", t.cut_by(rest)
    titles = [("the model", f"{int((t.model > 0).sum()):,} tokens")]
    titles += [(f"{n}\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}{s.said}", _result(s)) for n, s in enumerate(t.steps, 1)]
    titles += [("drawn from", f"XTC strikes at {100 * t.strikes:g} %")] if t.strikes is not None else []
    for number, ((_, p), (title, result)) in enumerate(zip(t.columns, titles, strict=True)):
        cut = t.steps[number - 1].cut if 0 < number <= len(t.steps) else None
        values: list[Spec] = []
        for i in shown:
            gone = cut is not None and bool(cut[i])
            values.append(_bar(words[i], float(before[i] if gone else p[i]), "cut" if gone else "kept"))
        if rest.size:
            gone = number == rest_cut_by
            values.append(_bar(others, float((before if gone else p)[rest].sum()), "cut" if gone else "others"))
        yield _panel(values, [v["token"] for v in values], end, (title, result))
        before = p


def _bar(token: str, size: float, kind: str) -> Spec:
    return {"token": token, "size": size, "kind": kind, "said": _size(size, kind == "cut")}


def _panel(values: list[Spec], order: list[str], end: float, titles: tuple[str, str]) -> Spec:
    """Bars with their numbers."""
    accent = NOTEBOOK.lines[1]
    bars = {"type": "bar", "height": {"band": 0.66}, "cornerRadiusEnd": 1.5}
    number = {"type": "text", "align": "left", "dx": 4, "fontSize": 11}
    colour = {"condition": {"test": "datum.kind == 'cut'", "value": accent}, "value": NOTEBOOK.soft}
    return {
        "width": WIDE, "height": ROW * len(order), "data": {"values": values},
        "title": {
            "text": _lines(visible(titles[0]), LONG), "subtitle": titles[1], "anchor": "start", "fontSize": 12,
            "subtitleFontSize": 11, "subtitleColor": NOTEBOOK.soft, "offset": 6, "frame": "group", "lineHeight": 14,
        },
        "encoding": {
            "y": {"field": "token", "type": "nominal", "sort": order, "scale": {"domain": order}},
            "x": {
                "field": "size", "type": "quantitative", "axis": None,
                "scale": {"domain": [0, end], "nice": False},
            },
        },
        "layer": [
            {"transform": [{"filter": "datum.kind == 'kept'"}], "mark": {**bars, "color": NOTEBOOK.lines[0]}},
            {"transform": [{"filter": "datum.kind == 'others'"}], "mark": {**bars, "color": "#b9b4a8"}},
            {
                "transform": [{"filter": "datum.kind == 'cut'"}],
                "mark": {**bars, "color": accent, "fillOpacity": 0.13, "stroke": accent, "strokeWidth": 1.2,
                         "strokeDash": [3, 2]},
            },
            {"mark": number, "encoding": {"text": {"field": "said", "type": "nominal"}, "color": colour}},
        ],
    }  # fmt: skip


def _result(step: TraceStep) -> str:
    does = f"moves {100 * step.moved:.3g} %" if step.moved > EQUAL else "changes nothing"
    return f"{f'cuts {100 * step.cut_mass:.3g} %' if step.cut.any() else does}, {step.kept:,} left"


def _size(size: float, gone: bool) -> str:
    """The number at the end of a bar.

    >>> _size(0.25, False), _size(0.0001, True), _size(0, False)
    ('0.250', '<.001 cut', '·')
    """
    said = "·" if size == 0 else f"{size:.3f}" if size >= 0.0005 else "<.001"
    return f"{said} cut" if gone else said


def _lines(text: str, length: int) -> list[str]:
    """A text in as few lines as it takes, of about one length, broken at blanks."""
    few = _wrapped(text, length)
    lengths = range(len(text) // max(1, len(few)), length)
    return next((even for n in lengths if len(even := _wrapped(text, n)) == len(few)), few)


def _wrapped(text: str, length: int) -> list[str]:
    return textwrap.wrap(text, length, break_long_words=False, break_on_hyphens=False)
