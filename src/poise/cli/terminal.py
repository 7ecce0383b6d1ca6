"""What people read: results on stdout, plans and errors on stderr."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from poise.errors import StoreError
from poise.escapes import visible

if TYPE_CHECKING:
    from poise.cli.schemas import Record

WIDTH = 80


def show(text: str = "") -> None:
    """Print a result to stdout: plain, with every control character made visible."""
    _write(sys.stdout, visible(text))


def tell(text: str) -> None:
    """Print to stderr what is no result: a plan, a warning, an error."""
    _write(sys.stderr, visible(text))


def show_json(record: Record) -> None:
    """Print one JSON document to stdout, pure ASCII."""
    _write(sys.stdout, record.model_dump_json(indent=2, ensure_ascii=True))


def show_heading(text: str) -> None:
    """Print a line that separates texts, bold on a terminal: ``── text ─────``."""
    line = f"── {one_line(text)} "
    line += "─" * max(3, WIDTH - len(line))
    _write(sys.stdout, f"\x1b[1m{line}\x1b[0m" if sys.stdout.isatty() else line)


def one_line(text: str) -> str:
    """The text with control characters visible and line ends as ``⏎``.

    >>> one_line("a\\nb")
    'a⏎b'
    """
    return visible(text).replace("\n", "⏎").replace("\t", " ")


def clip(text: str, length: int) -> str:
    """The text in one line, cut with ``…`` between words after at most `length` characters.

    >>> clip("once upon a time", 12), clip("abcdef", 4)
    ('once upon …', 'abc…')
    """
    line = one_line(text.strip())
    if len(line) <= length:
        return line
    kept, space, _ = line[: length - 1].rpartition(" ")
    return f"{kept} …" if space and len(kept) > length // 2 else line[: length - 1] + "…"


def wrapped(text: str) -> str:
    """The text with long lines broken at the terminal's width, at most 120, each under its own indent."""
    width = min(120, shutil.get_terminal_size().columns)
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip(" ")))
        lines += textwrap.wrap(line.strip(), width, initial_indent=indent, subsequent_indent=indent) or [""]
    return "\n".join(lines)


def _write(stream: TextIO, text: str) -> None:
    """Write a line in whatever encoding the stream has."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
    except OSError as error:
        if stream is not sys.stdout or isinstance(error, BrokenPipeError):
            raise  # a reader who has seen enough is no fault
        raise StoreError("Standard output must have room", error.strerror or str(error), "Free some space") from error
