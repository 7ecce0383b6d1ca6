"""What people read: results on stdout, plans and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from poise.escapes import visible


def show(text: str = "") -> None:
    """Print a result to stdout: plain, with every control character made visible."""
    _write(sys.stdout, text)


def tell(text: str) -> None:
    """Print to stderr what is no result: a plan, a warning, an error."""
    _write(sys.stderr, text)


def show_json(record: Mapping[str, Any]) -> None:
    """Print one JSON document, pure ASCII, to stdout."""
    sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def heading(text: str) -> str:
    """A line that separates texts: `── text ───`, 80 characters wide, bold on a terminal."""
    line = f"── {visible(text).replace(chr(10), ' ')} "
    line += "─" * max(3, 80 - len(line))
    return f"\x1b[1m{line}\x1b[0m" if sys.stdout.isatty() else line


def show_heading(text: str) -> None:
    """Print a `heading` to stdout."""
    sys.stdout.write(heading(text) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns aligned with spaces, the last one left as long as it is.

    >>> print(table(["name", "range"], [["top_p", "[0, 1]"]]))
    name   range
    top_p  [0, 1]
    """
    cells = [list(columns), *([visible(c).replace("\n", " ") for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns) - 1)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in cells]
    return "\n".join(line.rstrip() for line in lines)


class Meter:
    """A progress bar on stderr with rate and remaining time; silent where no person watches."""

    def __init__(self, label: str) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(escape(visible(label)), total=None, rate="")

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, done: int, total: int, tokens_per_second: float | None) -> None:
        """Show `done` of `total` texts, and the rate in tokens a second."""
        rate = "" if tokens_per_second is None else f"{tokens_per_second:,.0f} tokens/s"
        self._bar.update(self._task, completed=done, total=total, rate=rate)


def _write(stream: Any, text: str) -> None:
    """Write text that no terminal obeys, in whatever encoding the stream has."""
    shown = visible(text) + "\n"
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
