"""What people read: results on stdout, plans and errors on stderr."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from poise.errors import StoreError
from poise.escapes import visible

if TYPE_CHECKING:
    from poise.cli.schemas import Record
    from poise.spans import Span

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


def counted(number: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "text"), counted(1200, "text")
    ('1 text', '1,200 texts')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def stretch(span: Span) -> str:
    """A stretch with as many digits as tell its ends apart; a single value with all its digits.

    >>> from poise.spans import Cut, Span, closed
    >>> stretch(closed(0, 1.5)), stretch(Span(Cut(0.31124711), Cut(0.31124722))), stretch(closed(0.1, 0.1))
    ('[0, 1.5]', '[0.3112471, 0.3112472)', '[0.1, 0.1]')
    """
    low, high = span.low.value, span.high.value
    shown = [repr(value).removesuffix(".0") for value in (low, high)]
    for digits in range(6, 17) if low != high else ():
        if f"{low:.{digits}g}" != f"{high:.{digits}g}":
            shown = [f"{value:.{digits}g}" for value in (low, high)]
            break
    return f"{'(' if span.low.after else '['}{shown[0]}, {shown[1]}{']' if span.high.after else ')'}"


def quoted(word: str) -> str:
    """A word as a shell takes it; what a terminal would obey, or `show` would change, is an escape in $'…'.

    >>> print(quoted("a"), quoted("a ship"), quoted("it's\\n\\x1b[2J"))
    a 'a ship' $'it\\'s\\n\\x1b[2J'
    """
    if visible(word) == word and not {"\n", "\t"} & {*word}:
        return shlex.quote(word)
    text = "".join(map(_escaped, word))
    if visible(text) != text:  # marks stacked on a letter, harmless one by one
        text = "".join(c if c.isascii() else _in_bytes(c) for c in text)
    return f"$'{text}'"


def _escaped(character: str) -> str:
    named = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", "'": "\\'"}
    if character in named:
        return named[character]
    return character if visible(character) == character else _in_bytes(character)


def _in_bytes(character: str) -> str:
    as_given = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"  # a byte that is no text
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", as_given))


def room(unknown: int = 80) -> int:
    """Columns of the terminal, within what reads well.

    Args:
        unknown: where no terminal says it.
    """
    return max(40, min(120, shutil.get_terminal_size((unknown, 24)).columns))


def wrapped(text: str) -> str:
    """The text with long lines broken at the terminal's width, at most 120, each under its own indent."""
    width = room()
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
