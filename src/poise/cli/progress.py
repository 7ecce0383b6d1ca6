"""A line on stderr while texts are drawn: share, rate, remaining time."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from poise.cli.terminal import counted


class Counts(Protocol):
    """What the line reads: the draw loop's tally."""

    tokens: int


class Rows(Protocol):
    """What a dial's line reads."""

    rows: int


class Line(ABC):
    """A line on stderr for a person who watches; silent where stderr is no terminal.

    Args:
        label: what is being done.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._start = time.monotonic()
        console = Console(stderr=True)
        self._live = Live(get_renderable=self._line, console=console, refresh_per_second=4, transient=True)
        self._watched = console.is_terminal

    def __enter__(self) -> Self:
        self._start = time.monotonic()
        if self._watched:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._watched:
            self._live.stop()

    @abstractmethod
    def done_share(self) -> float:
        """Share of the work that is done, 0 to 1."""

    @abstractmethod
    def said(self) -> str:
        """What was done, the rate and the remaining time in words."""

    def rate(self, count: int, unit: str) -> str:
        """Rate and remaining time, from half a second on."""
        seconds, share = time.monotonic() - self._start, self.done_share()
        if not count or seconds <= 0.5:
            return ""
        return f"  {count / seconds:,.0f} {unit}/s  {_clock(seconds * (1 - share) / max(share, 1e-6))} left"

    def _line(self) -> RenderableType:
        line = Table.grid(padding=(0, 1))
        line.add_row(Text(self._label), ProgressBar(total=1, completed=self.done_share(), width=30), Text(self.said()))
        return line


class Meter(Line):
    """Progress of a sweep.

    The draw loop's tally changes while it works, so that the line moves before the first text is finished.

    Args:
        max_new_tokens: of everything that is to be drawn, at most.
        label: what is being drawn.
    """

    def __init__(self, max_new_tokens: int, label: str = "drawing") -> None:
        self.done, self.total = 0, 0
        self._tally: Counts | None = None
        self._most = max(1, max_new_tokens)
        super().__init__(label)

    def __call__(self, done: int, total: int, tally: Counts) -> None:
        """Note that `done` of `total` texts are drawn."""
        self.done, self.total, self._tally = done, total, tally

    @property
    def share(self) -> float:
        """Share of the work that is done, 0 to 1: by texts or by tokens, whichever is further."""
        tokens = self._tally.tokens if self._tally else 0
        return max(self.done / self.total if self.total else 0.0, min(1.0, tokens / self._most))

    def done_share(self) -> float:
        """See `Line`."""
        return self.share

    def said(self) -> str:
        """Texts, rate and remaining time in words."""
        noun = "text" if self.total == 1 else "texts"
        return f"{self.done:,}/{self.total:,} {noun}{self.rate(self._tally.tokens if self._tally else 0, 'tokens')}"


class ShareMeter(Line):
    """Progress of work whose size is an estimate: rows, rate, remaining time.

    Args:
        label: what is being done.
    """

    def __init__(self, label: str) -> None:
        self.share, self._rows = 0.0, 0
        super().__init__(label)

    def __call__(self, share: float, tally: Rows) -> None:
        """Note which share is done, 0 to 1."""
        self.share, self._rows = share, tally.rows

    def done_share(self) -> float:
        """See `Line`."""
        return self.share

    def said(self) -> str:
        """Rows, rate and remaining time in words."""
        return f"{counted(self._rows, 'row')}{self.rate(self._rows, 'rows')}"


class StepMeter(Line):
    """Progress of work in steps: next tokens looked at, rate, remaining time.

    Args:
        label: what is being done.
    """

    def __init__(self, label: str) -> None:
        self._done, self._total = 0, 1
        super().__init__(label)

    def __call__(self, done: int, total: int) -> None:
        """Note that `done` of at most `total` steps were looked at."""
        self._done, self._total = done, total

    def done_share(self) -> float:
        """See `Line`."""
        return self._done / self._total

    def said(self) -> str:
        """Steps, rate and remaining time in words."""
        return f"{self._done:,}/{counted(self._total, 'step')}{self.rate(self._done, 'steps')}"


class ProbeMeter(Line):
    """Progress of a probe: requests so far, and what is being looked at."""

    def __init__(self, budget: int) -> None:
        self._requests, self._budget, self._step = 0, max(1, budget), ""  # too small a one is refused elsewhere
        super().__init__("probing")

    def __call__(self, requests: int, step: str) -> None:
        """Note how many requests were made, and what is looked at now."""
        self._requests, self._step = requests, step

    def done_share(self) -> float:
        """See `Line`."""
        return min(1.0, self._requests / self._budget)

    def said(self) -> str:
        """Requests of at most how many, and the step."""
        return f"{self._requests:,} of at most {counted(self._budget, 'request')}  {self._step}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
