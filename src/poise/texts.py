"""Where a text ends: stop strings across token borders, thinking kept apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


def stop_position(text: str, stop: Sequence[str]) -> int | None:
    """Where the earliest stop string begins.

    Args:
        text: what was decoded so far.
        stop: strings that end the text.

    Returns:
        An index into `text`, None where no stop string occurs.

    >>> stop_position("a b. c", [".", "b"])
    2
    """
    found = [at for s in stop if (at := text.find(s)) >= 0]
    return min(found, default=None)


def ends_with_stop(decode: Decode, output: Sequence[int], stop: Sequence[str]) -> bool:
    """Whether a stop string now occurs in the text of `output`.

    Looks at the last tokens first: a character takes at most four byte tokens.

    Args:
        decode: text of token ids.
        output: all new tokens so far.
        stop: strings that end the text.

    Returns:
        True once any of them occurs.
    """
    window = 4 * max(map(len, stop)) + 8
    if len(output) > window and stop_position(decode(output[-window:]), stop) is None:
        return False
    return stop_position(decode(output), stop) is not None


def split_thinking(text: str, tags: tuple[str, str] | None, opened: bool) -> tuple[str, str]:
    """Split what a reasoning model thought from what it says.

    Args:
        text: everything it wrote.
        tags: what opens and closes its thinking, None for a model that does not think.
        opened: whether the prompt already opened the thinking.

    Returns:
        The thinking and the text; a thought that never closes leaves no text.

    >>> split_thinking("<think>2+2</think>\\n\\n4", ("<think>", "</think>"), opened=False)
    ('2+2', '4')
    """
    if tags is None:
        return "", text
    start, end = tags
    body = text.lstrip()
    if body.startswith(start):
        body = body[len(start) :]
    elif not opened:
        return "", text
    thought, closed, said = body.partition(end)
    return thought.strip(), said.lstrip() if closed else ""
