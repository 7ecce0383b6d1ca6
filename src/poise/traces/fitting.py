"""Tables in a terminal of some width: titles and footnotes are wrapped."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace

from poise.escapes import visible
from poise.tables import Table

_INDENT = "  "


def fitted(tables: Sequence[Table], width: int) -> str:
    """Tables as text, with titles and footnotes in as many lines as they take; rows stay whole.

    Args:
        tables: to print, one after another.
        width: columns of a line.

    Returns:
        The text, nothing in it that a terminal obeys.

    >>> print(fitted([Table("Of two lengths", ("of", " tokens"), [["a", "8"]], ["counted by hand"])], 12))
    Of two
    lengths
      of  tokens
      --  ------
      a        8
      counted by
      hand
    """
    return "\n\n".join(_fitted(table, width) for table in tables)


def _fitted(table: Table, width: int) -> str:
    rows = replace(table, title="", notes=()).text().removeprefix("\n")
    notes = [line for note in table.notes for line in _wrapped(note, width, _INDENT)]
    return "\n".join([*_wrapped(table.title, width, ""), rows, *notes])


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    lines = textwrap.wrap(
        visible(text), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
    return lines or [""]
