"""Penalties, biases and bars on many rows, in place."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from poise.law import Facts, History, State, guidance_scale
from poise.law import penalties as defined
from poise.steps.plans import Plan
from poise.steps.row import Ids, Row, Values

Breakers = frozenset[tuple[int, ...]]
BARS = frozenset({"no_repeat_ngram_size", "bad_words"})  # these only cut: what is left keeps its precision


class Ask(NamedTuple):
    """A pair of a row and a setting.

    Args:
        row: index into the batch.
        plan: the setting, taken apart.
        history: what was said.
        barred: tokens that are cut first.
        state: XTC's coin and mirostat's cut.
        other: index of the row without the prompt.
    """

    row: int
    plan: Plan
    history: History
    barred: frozenset[int]
    state: State
    other: int | None

    @property
    def facts(self) -> Facts:
        """What steps look at."""
        return Facts(self.plan.params, self.history, self.state)


def edited(logits: Values, asks: Sequence[Ask]) -> list[Row]:
    """Each pair's row with barred tokens cut and penalties applied; equal pairs share one.

    Args:
        logits: (B, V).
        asks: the pairs, (J,).

    Returns:
        J rows.

    Raises:
        ParameterError: a token id beyond the vocabulary, every token barred, guidance without the other row.
    """
    made: dict[object, Row] = {}
    out = []
    for ask in asks:
        said = (tuple(ask.history.prompt), tuple(ask.history.output)) if ask.plan.looks else ()
        key = ask.row, ask.other, ask.plan.edited, ask.barred, said
        if key not in made:
            made[key] = Row(_edit(logits, ask))
        out.append(made[key])
    return out


def _edit(logits: Values, ask: Ask) -> Values:
    """The row with barred tokens cut, then edited; in float64 where a logit changes."""
    edits, params = ask.plan.edits, ask.plan.params
    values: Values = logits[ask.row]
    if not edits and not ask.barred:
        return values
    bars = BARS | ({"logit_bias"} if all(b == -np.inf for _, b in params.logit_bias or ()) else set())
    values = values.astype(values.dtype if bars.issuperset(edits) else np.float64)
    values[list(ask.barred)] = -np.inf
    for name in edits:
        if name == "guidance_scale":
            values = _guided(values, logits, ask)
        else:
            EDITS[name](values, ask.facts)
    return values


def _guided(values: Values, logits: Values, ask: Ask) -> Values:
    if ask.other is None:
        raise defined.unguided(ask.plan.params)
    wide = logits[ask.other].astype(np.float64)
    return guidance_scale(values.astype(np.float64), float(ask.plan.params.guidance_scale or 0), wide)


def _repetition_penalty(values: Values, facts: Facts) -> None:
    seen = np.fromiter(set(defined.scoped(facts.history, facts.params, "repetition_penalty")), dtype=np.intp)
    value, said = facts.number("repetition_penalty"), values[seen]
    values[seen] = np.where(said < 0, said * value, said / value)


def _frequency_penalty(values: Values, facts: Facts) -> None:
    counts = Counter(defined.scoped(facts.history, facts.params, "frequency_penalty"))
    times = np.fromiter(counts.values(), dtype=np.float64)
    values[np.fromiter(counts, dtype=np.intp)] -= times * facts.number("frequency_penalty")


def _presence_penalty(values: Values, facts: Facts) -> None:
    seen = np.fromiter(set(defined.scoped(facts.history, facts.params, "presence_penalty")), dtype=np.intp)
    values[seen] -= facts.number("presence_penalty")


def _dry(values: Values, facts: Facts) -> None:
    params = facts.params
    multiplier, base, allowed = (facts.number(n) for n in ("dry_multiplier", "dry_base", "dry_allowed_length"))
    said = np.array(defined.dry_tokens(facts.history, params), dtype=np.intp)
    most = int(allowed) + defined.last_power(base)  # what is longer costs no more
    for token, length in repeats(said, int(allowed), most, facts.history.breakers).items():
        values[token] -= defined.dry_penalty(length, multiplier, base, int(allowed))


def repeats(said: Ids, allowed: int, most: int, breakers: Breakers) -> dict[int, int]:
    """`law.penalties.repeats` with all earlier places at once.

    Args:
        said: token ids, (n,).
        allowed: shorter sequences do not count.
        most: longer ones count as this long.
        breakers: sequences that no repeated one reaches across.

    Returns:
        Lengths by token.
    """
    n = said.size
    limit = _after_breaker(said, breakers)
    if n <= allowed or limit < allowed:
        return {}
    lengths = np.zeros(n - 1, dtype=np.intp)
    ends = np.arange(n - 1)
    for length in range(min(limit, most)):  # of the places where the last `length` tokens stood, those with one more
        ends = ends[ends >= length]
        ends = ends[said[ends - length] == said[n - 1 - length]]
        if not ends.size:
            break
        lengths[ends] = length + 1
    longest: dict[int, int] = {}
    for end in np.flatnonzero(lengths >= allowed).tolist():
        token, length = int(said[end + 1]), int(lengths[end])
        if (token,) not in breakers:
            longest[token] = max(length, longest.get(token, 0))
    return longest


def _after_breaker(said: Ids, breakers: Breakers) -> int:
    """`law.penalties.after_breaker`."""
    n, tails = said.size, _tails(breakers)
    if tails:
        text = said.tolist()
        for start in range(n - 1, -1, -1):
            found = [len(t) for t in tails.get(text[start], ()) if tuple(text[start + 1 : start + 1 + len(t)]) == t]
            if found:
                return n - start - 1 - max(found)
    return n


@functools.lru_cache(maxsize=64)
def _tails(breakers: Breakers) -> Mapping[int, Sequence[tuple[int, ...]]]:
    """What follows each first token of a breaker."""
    found: dict[int, list[tuple[int, ...]]] = {}
    for head, *tail in breakers:
        found.setdefault(head, []).append(tuple(tail))
    return found


def _no_repeat_ngram_size(values: Values, facts: Facts) -> None:
    size = int(facts.number("no_repeat_ngram_size"))
    said = np.array(defined.whole_text(facts.history, facts.params, "no_repeat_ngram_size"), dtype=np.intp)
    count = said.size - size + 1  # of sequences so far
    if count > 0:
        again = np.ones(count, dtype=bool)
        for i in range(size - 1):
            again &= said[i : i + count] == said[count + i]
        _bar(values, said[size - 1 :][again].tolist(), "no_repeat_ngram_size")


def _logit_bias(values: Values, facts: Facts) -> None:
    pairs = facts.params.logit_bias or ()
    ids = [i for i, _ in pairs]
    defined.inside(ids, values.size, "logit_bias")
    values[ids] += np.array([b for _, b in pairs], dtype=values.dtype)
    _bar(values, (), "logit_bias")


def _bad_words(values: Values, facts: Facts) -> None:
    words = facts.params.bad_words or ()
    defined.inside([i for word in words for i in word], values.size, "bad_words")
    said = defined.whole_text(facts.history, facts.params, "bad_words")
    _bar(values, list(defined.completing(words, said)), "bad_words")


def _bar(values: Values, ids: Sequence[int], name: str) -> None:
    values[list(ids)] = -np.inf
    if not values.max() > -np.inf:
        raise defined.nothing_left(name, values.size)


EDITS: Mapping[str, Callable[[Values, Facts], None]] = {
    "repetition_penalty": _repetition_penalty,
    "frequency_penalty": _frequency_penalty,
    "presence_penalty": _presence_penalty,
    "dry_multiplier": _dry,
    "no_repeat_ngram_size": _no_repeat_ngram_size,
    "logit_bias": _logit_bias,
    "bad_words": _bad_words,
}
