"""The law where only the likeliest tokens are known."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.dialects import DIALECTS, Rules
from poise.engines.fog import Fog, lifted
from poise.errors import ParameterError, ServerError
from poise.law import PENALTIES, History, Reshaped, State
from poise.params import SamplingParams

Floats = NDArray[np.float64]
Ids = NDArray[np.intp]


class Spot(NamedTuple):
    """Where in a text a row stands: tokens of the prompt, and new ones."""

    prompt: int
    new: int

    def __str__(self) -> str:
        return f"after {self.prompt:,} prompt and {self.new:,} new tokens"


class Row(NamedTuple):
    """The likeliest next tokens of one text.

    Args:
        ids: of the tokens that were returned, ascending, (n,).
        values: ln p of each under the model itself, (n,).
        spot: where the text stands.
        forced: whether the row only rates given tokens; else a token is drawn from it.
    """

    ids: Ids
    values: Floats
    spot: Spot
    forced: bool = False

    @property
    def bar(self) -> float:
        """No token that was not returned has a larger ln p."""
        return float(self.values.min())

    @property
    def outside(self) -> float:
        """Probability of all that was not returned."""
        return max(0.0, 1.0 - math.fsum(np.exp(self.values)))


class Rows(NamedTuple):
    """Rows in place of logits, (B, V), of which each says a few."""

    rows: tuple[Row, ...]
    vocab_size: int


class ReturnedLaw:
    """The law where a server returns the likeliest tokens with ln p.

    A row's other tokens are cut where the steps surely cut them, and have the largest value that they could have
    where not. So whoever wins among the returned tokens would also win against the true values, and where one of the
    others wins, nothing is known: `take` then raises. What the steps keep of the returned tokens is exactly what they
    keep of the whole row; where that cannot be told, `reshape` raises.

    Ties are the one exception: where the last token that top-k keeps is the least likely one that was returned, a
    token tied with it may be missing.

    Args:
        top: tokens that the server returns.
    """

    def __init__(self, top: int) -> None:
        self.top = top

    def reshape(
        self,
        logits: Rows,
        rows: Sequence[int],
        settings: Sequence[SamplingParams],
        histories: Sequence[History],
        barred: Sequence[frozenset[int]],
        states: Sequence[State] = (),
        unconditional: Sequence[int | None] = (),
    ) -> Reshaped:
        """See `sessions.Law.reshape`.

        Raises:
            ParameterError: a repetition penalty.
            ServerError: the steps may keep tokens that were not returned, and it matters which.
        """
        made: dict[object, NDArray[np.floating[Any]]] = {}
        values, scale = [], np.ones(len(rows))
        for j, (b, params, history, bar) in enumerate(zip(rows, settings, histories, barred, strict=True)):
            on = params.active()
            said = (tuple(history.output),) if on.keys() & PENALTIES.keys() else ()
            scale[j] = float(on.get("temperature", 1.0))
            key = (b, params if any(n != "temperature" for n in on) else params.greedy, said, bar)
            if key not in made:
                made[key] = self._reshaped(logits.rows[b], logits.vocab_size, params, history, bar)
            values.append(made[key])
        return Reshaped(values, scale)

    def normaliser(self, logits: Rows) -> Floats:
        """Zeros, (B,): log-probabilities need none."""
        return np.zeros(len(logits.rows))

    def take(self, logits: Rows, rows: Sequence[int], tokens: Sequence[int]) -> Floats:
        """See `sessions.Law.take`; of a token that was not returned, the most that it can have in a forced row.

        Raises:
            ServerError: a token was drawn that was not returned.
        """
        found = [self._value(logits.rows[b], token) for b, token in zip(rows, tokens, strict=True)]
        return np.array(found, dtype=np.float64)

    def _value(self, row: Row, token: int) -> float:
        at = int(np.searchsorted(row.ids, token))
        if at < row.ids.size and row.ids[at] == token:
            return float(row.values[at])
        if row.forced:
            return row.bar
        raise unknown(row, "one of the others may be drawn")

    def _reshaped(
        self, row: Row, size: int, params: SamplingParams, history: History, barred: frozenset[int]
    ) -> NDArray[np.floating[Any]]:
        """All values, (V,): of the returned tokens, and the most that the others can have, -inf where cut."""
        on = params.active()
        if "repetition_penalty" in on:
            raise ParameterError(*NO_OFFSET)
        penalties = {n: float(v) for n, v in on.items() if n in PENALTIES}
        output = Counter(history.output) if penalties else Counter[int]()
        values = row.values + lifted(row.ids, penalties, output)
        if barred:
            values[np.isin(row.ids, list(barred))] = -np.inf
        others, lift = _others(row, penalties, output)
        fog = Fog(values, row.bar + lift, row.outside, max(size - row.ids.size, 0), lift if penalties else None)
        if params.greedy:
            kept, clear = values > -np.inf, bool(values.max() > fog.bar)
        else:
            try:
                kept, clear = fog.kept([(n, v) for n, v in on.items() if n not in PENALTIES])
            except ArithmeticError as doubt:
                raise unknown(row, str(doubt)) from None
        out: NDArray[np.floating[Any]]
        narrow = not penalties and bool(np.all(values.astype(np.float32) == values))
        out = np.full(size, -np.inf if clear else row.bar, dtype=np.float32 if narrow else np.float64)
        if not clear:
            out[list(others)] = np.array(list(others.values()))
            out[row.ids] = -np.inf
            out[list(barred)] = -np.inf
        out[row.ids[kept]] = values[kept]
        return out


def _others(row: Row, penalties: dict[str, float], output: Counter[int]) -> tuple[dict[int, float], float]:
    """The most that drawn tokens outside the row can have, and by how much the luckiest is lifted above the others."""
    ids = np.setdiff1d(np.fromiter(output, dtype=np.intp), row.ids)
    lifts = lifted(ids, penalties, output)
    return dict(zip(ids.tolist(), (row.bar + lifts).tolist(), strict=True)), max(0.0, *lifts.tolist(), 0.0)


def unknown(row: Row, why: str) -> ServerError:
    """The error where the returned tokens do not decide.

    Args:
        row: the tokens.
        why: what may be, one clause.

    Returns:
        The error.
    """
    n = row.ids.size
    return ServerError(
        f"The law keeps tokens among the {n} that the server returns, so that poise can draw",
        f"{row.outside:.2%} of the probability outside them {row.spot}, and {why}",
        f"Take a smaller top_k, {n} at most, or let the server return more (vllm serve --max-logprobs)",
    )


NO_OFFSET = (
    "A repetition penalty divides logits, and a server returns log-probabilities, which lack their offset",
    "repetition_penalty",
    "Take a frequency or presence penalty, or load the weights (hf:, gguf:)",
)


@functools.lru_cache(maxsize=4096)
def why_not(params: SamplingParams, top: float) -> tuple[str, str, str] | None:
    """Why a law cannot be drawn from the likeliest tokens alone.

    Args:
        params: the law.
        top: tokens that the server returns; infinite for all that there are.

    Returns:
        Rule, what is wrong and the next step, for an error; None where it can be drawn, or where each step will tell.
    """
    on = params.active()
    if "repetition_penalty" in on:
        return NO_OFFSET
    if params.how.rules != Rules():
        plain = [name for name, dialect in DIALECTS.items() if dialect.known and dialect.rules == Rules()]
        rule = "From returned log-probabilities poise draws by the boundary rules of transformers"
        return rule, f"dialect={params.dialect}", f"Take one of {', '.join(plain)}"
    k = float(on.get("top_k", math.inf))
    if params.greedy or k <= top:
        return None
    step = f"Add top_k={top} or less, or let the server return more (vllm serve --max-logprobs)"
    wide = "no top_k" if math.isinf(k) else f"top_k={k:.0f}"
    rule = f"The server returns {top} tokens at each step, and poise draws among these"
    if "typical_p" in on:
        return rule, f"typical_p with {wide}, which looks at all tokens", step
    if on.get("min_p", 0) > 0:
        return None
    if on.get("top_p", 1) < 1:
        both = on.keys() & PENALTIES.keys()
        return (rule, f"{min(both)} beside top_p with {wide}, which weighs all tokens", step) if both else None
    return rule, f"{params.label}, which keeps others too", step
