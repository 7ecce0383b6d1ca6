"""What is odd about texts that a server drew."""

from __future__ import annotations

import warnings

from poise.numerals import count
from poise.servers.answers import FILTERED
from poise.servers.calls import Choice


class Notices:
    """Counts what a reader of the texts has to know, and says it once.

    Args:
        model: as messages name it.
        thinking: whether it was asked to think; None where nothing was said.
    """

    def __init__(self, model: str, thinking: bool | None) -> None:
        self._model, self._thinking = model, thinking
        self._texts = self._filtered = self._thoughts = 0

    def see(self, choice: Choice) -> None:
        """Look at one text."""
        self._texts += 1
        self._filtered += choice.finish in FILTERED
        self._thoughts += bool(choice.thinking)

    def said(self) -> list[str]:
        """What is odd, a sentence each."""
        found, of = [], f"{{}} of {count(self._texts, 'text')}"
        if self._filtered:
            found.append(
                f"{of.format(f'{self._filtered:,}')} were held back by the server's own filter: they are kept as they "
                "came, and empty ones count as empty"
            )
        if self._thinking is False and self._thoughts:
            found.append(
                f"{of.format(f'{self._thoughts:,}')} came with thoughts, though thinking is off: {self._model} does "
                "not heed the switch"
            )
        if self._thinking and self._texts and not self._thoughts:
            found.append(
                f"no text came with thoughts, though thinking is on: {self._model} may lack the switch, or hide them"
            )
        return found

    def tell(self) -> None:
        """Warn of it."""
        for one in self.said():
            warnings.warn(one, stacklevel=3)
