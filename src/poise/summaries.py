"""What one sweep did, and what it cost."""

from __future__ import annotations

from typing import NamedTuple


class SweepSummary(NamedTuple):
    """What one sweep did.

    Args:
        drawn: completions drawn.
        reused: completions that were in the study already.
        rows: forward passes of one row, prompts not counted.
        tokens: tokens of the completions drawn.
        seconds: wall time.
        requests: exchanges with a server, second and later tries counted; 0 where there is none.
        retries: of these, second and later tries.
        prompt_tokens: tokens of prompts that a server counted; 0 where there is none.
    """

    drawn: int
    reused: int
    rows: int
    tokens: int
    seconds: float
    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0

    @property
    def shared(self) -> float | None:
        """Share of rows saved by sharing, 0 to 1; None where nothing needed a row.

        A text of n tokens drawn alone takes n - 1 rows: the first token comes from its prompt's.
        """
        alone = self.tokens - self.drawn
        return 1 - self.rows / alone if alone > 0 else None
