"""How far two ways to compute the same logits lie apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.sessions import LogitsEngine, Session

JUDGED = 4  # likeliest tokens of a step that are compared


class Trail:
    """One text and its likeliest logits at each step, as drawing computed them.

    One forced pass over the same tokens gives other last bits, and so may another machine: how far the two lie
    apart is measured, not guessed.

    Args:
        engine: a logits engine.
        prompt_ids: the text's prompt.
    """

    def __init__(self, engine: LogitsEngine, prompt_ids: tuple[int, ...]) -> None:
        self.engine, self.prompt_ids = engine, prompt_ids
        self._tops: list[tuple[list[int], NDArray[np.float64]]] = []  # token ids (4,), their logits (4,)
        self._output: tuple[int, ...] = ()
        self._found: float | None = None

    def note(self, output: tuple[int, ...], values: NDArray[np.floating[Any]]) -> None:
        """Keep a step of the text, in order.

        Args:
            output: its tokens so far.
            values: the step's logits, (V,).
        """
        if self._found is None and len(output) == len(self._tops):
            ids = np.argsort(values)[-JUDGED:] if values.size <= JUDGED else np.argpartition(values, -JUDGED)[-JUDGED:]
            self._tops.append((ids.tolist(), values[ids].astype(np.float64)))
            self._output = output

    def tolerance(self, session: Session) -> float:
        """The largest error of a difference of two logits that was seen; measured at the first call.

        Args:
            session: any of the engine's.

        Returns:
            In logits; 0 where the text has no step to compare.
        """
        if self._found is None:
            self._found = self._measured(session) if self._output else 0.0
        return self._found

    def _measured(self, session: Session) -> float:
        forced = session.score(self.prompt_ids, self._output)
        worst = 0.0
        for t, (ids, values) in enumerate(self._tops[: len(self._output)]):
            live = np.isfinite(values)
            apart = self.engine.law.take(forced, [t] * len(ids), ids)[live] - values[live]
            worst = max(worst, float(np.ptp(apart)) if apart.size else 0.0)
        return worst
