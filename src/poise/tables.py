"""Plain and HTML tables for terminals and notebooks."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from poise.escapes import visible


@dataclass(frozen=True, slots=True)
class Table:
    """Cells under headings, with what a reader has to know below.

    Args:
        title: what it is about.
        head: one heading per column; those that start with a space are numbers, set to the right.
        rows: cells, as shown; hostile text is made visible here.
        notes: footnotes, a sentence each.
    """

    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self, width: int | None = None) -> str:
        """The table with aligned columns.

        Args:
            width: columns of a line, in which title and notes are wrapped; rows stay whole. None wraps nothing.

        >>> print(Table("Lengths", ("of", " tokens"), [["a", "8"], ["bc", "16"]]).text())
        Lengths
          of  tokens
          --  ------
          a        8
          bc      16
        >>> print(Table("Of two lengths", ("of",), [["a"]], ["counted by hand"]).text(12))
        Of two
        lengths
          of
          --
          a
          counted by
          hand
        """
        lines = [[h.strip() for h in self.head], *([visible(c) for c in row] for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        lines.insert(1, ["-" * w for w in widths])
        right = [h.startswith(" ") for h in self.head]
        shown = [
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
            for line in lines
        ]
        title, notes = visible(self.title), [f"  {visible(n)}" for n in self.notes]
        if width is not None:
            title, notes = _wrapped(title, width, ""), [_wrapped(n, width, "  ") for n in notes]
        return "\n".join([title, *(f"  {s}" for s in shown), *notes])

    def html(self) -> str:
        """The table for a notebook, escaped."""
        head = "".join(f'<th scope="col">{_cell(h.strip())}</th>' for h in self.head)
        body = "".join("<tr>" + "".join(f"<td>{_cell(c)}</td>" for c in row) + "</tr>" for row in self.rows)
        notes = "".join(f"<p>{_cell(n)}</p>" for n in self.notes)
        caption = f"<caption>{_cell(self.title)}</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text.strip(), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def whole_text(notes: Sequence[str], tables: Sequence[Table], width: int | None = None) -> str:
    """Tables to print, after what to know before trusting them."""
    return "\n\n".join([*(f"Note: {visible(n)}." for n in notes), *(t.text(width) for t in tables)])


def whole_html(notes: Sequence[str], tables: Sequence[Table]) -> str:
    """The same for a notebook."""
    return "".join([*(f"<p><strong>Note:</strong> {_cell(n)}.</p>" for n in notes), *(t.html() for t in tables)])


class Footnotes:
    """Numbers equal notes alike, in the order they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, note: str) -> str:
        """The mark that stands for a note in a cell; empty for an empty one."""
        return f"[{self._numbers.setdefault(note, len(self._numbers) + 1)}]" if note else ""

    def lines(self) -> list[str]:
        """Every note with its mark."""
        return [f"[{number}] {note}" for note, number in self._numbers.items()]


def figure(value: float | None, *, sign: bool = False) -> str:
    """A number with the digits that carry meaning.

    Args:
        value: None where there is none.
        sign: write a plus before positive ones.

    Returns:
        For example ``0.031``, ``12.3``, ``118`` or a dash.

    >>> figure(0.03141), figure(12.345), figure(1184.4), figure(0.00012), figure(0.5, sign=True), figure(None)
    ('0.031', '12.3', '1184', '0.00012', '+0.500', '-')
    >>> figure(-0.0), interval(-0.0, 0.5)
    ('0.000', '[0.000, 0.500]')
    """
    if value is None:
        return "-"
    value = value or 0.0  # no minus before a zero
    size, plus = abs(value), "+" if sign else ""
    if size >= 100:
        return f"{value:{plus}.0f}"
    if size >= 10:
        return f"{value:{plus}.1f}"
    return f"{value:{plus}.3f}" if size >= 0.01 or size == 0 else f"{value:{plus}.2g}"


def interval(low: float | None, high: float | None, *, sign: bool = False) -> str:
    """An interval in brackets, a dash where there is none.

    >>> interval(0.25, 0.5), interval(None, None)
    ('[0.250, 0.500]', '-')
    """
    return "-" if low is None or high is None else f"[{figure(low, sign=sign)}, {figure(high, sign=sign)}]"


def _cell(text: str) -> str:
    return html.escape(visible(text))
