"""Penalties, biases and bars: what was said before counts, on one row."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from poise.dialects import Scope
from poise.errors import ParameterError
from poise.law.rows import Facts, History, Row, log_probabilities
from poise.params import SamplingParams

LARGEST_LOG = 88.7228391  # ln of the largest float32: DRY's penalty stops growing there


def guidance_scale(logits: Row, value: float, unconditional: Row) -> Row:
    """u + γ (c - u), of log-probabilities with (c) and without (u) the prompt."""
    c, u = log_probabilities(logits), log_probabilities(unconditional)
    live = (c > -np.inf) & (u > -np.inf)
    out = np.full_like(c, -np.inf)
    out[live] = u[live] + value * (c[live] - u[live])
    return out


def repetition_penalty(logits: Row, value: float, said: Collection[int]) -> Row:
    """l / r if l > 0 else l * r, once for each token said."""
    seen = np.array(sorted(set(said)), dtype=np.intp)
    out = logits.copy()
    out[seen] = np.where(out[seen] < 0, out[seen] * value, out[seen] / value)
    return out


def frequency_penalty(logits: Row, value: float, said: Collection[int]) -> Row:
    """l - a * count, over the tokens said."""
    out = logits.copy()
    for token, count in Counter(said).items():
        out[token] -= value * count
    return out


def presence_penalty(logits: Row, value: float, said: Collection[int]) -> Row:
    """l - a, once for each token said."""
    out = logits.copy()
    out[sorted(set(said))] -= value
    return out


def dry(logits: Row, facts: Facts) -> Row:
    """l - m b^(n - a) for the tokens that would lengthen a repeated sequence of n >= a tokens.

    Source:
        llama.cpp, src/llama-sampler.cpp::llama_sampler_dry_apply.
    """
    multiplier, base, allowed = (facts.number(n) for n in ("dry_multiplier", "dry_base", "dry_allowed_length"))
    out = logits.copy()
    for token, length in repeats(dry_tokens(facts.history, facts.params), int(allowed), facts.history.breakers).items():
        out[token] -= dry_penalty(length, multiplier, base, int(allowed))
    return out


def dry_tokens(history: History, params: SamplingParams) -> list[int]:
    """The tokens among which DRY looks for repetitions."""
    window = params.how.rules.dry_window if params.dry_last_n is None else params.dry_last_n
    return last([*history.prompt, *history.output], window)


def dry_penalty(length: int, multiplier: float, base: float, allowed: int) -> float:
    """What a token loses that would lengthen a repeated sequence of `length` tokens, in logits."""
    return float(multiplier * base ** min(length - allowed, last_power(base)))


def last_power(base: float) -> int:
    """The power of the base at which the penalty stops growing; a base of 1 has none."""
    return int(LARGEST_LOG / math.log(base)) if base > 1.000001 else sys.maxsize


def repeats(said: Sequence[int], allowed: int, breakers: frozenset[tuple[int, ...]]) -> dict[int, int]:
    """The longest sequence that each token would lengthen: it ends the text, and stood before that token earlier.

    Args:
        said: token ids.
        allowed: shorter sequences do not count.
        breakers: sequences that no repeated one reaches across; one of a single token is never punished.

    Returns:
        Lengths by token.
    """
    longest: dict[int, int] = {}
    n = len(said)
    limit = after_breaker(said, breakers)
    if n <= allowed or limit < allowed:
        return longest
    for end in range(n - 1):
        length = 0
        while length < min(limit, end + 1) and said[end - length] == said[n - 1 - length]:
            length += 1
        token = said[end + 1]
        if length >= allowed and (token,) not in breakers:
            longest[token] = max(length, longest.get(token, 0))
    return longest


def after_breaker(said: Sequence[int], breakers: frozenset[tuple[int, ...]]) -> int:
    """How many tokens stand behind the last breaker; all where there is none.

    The breaker that starts last counts; of several that start there, the longest.
    """
    n = len(said)
    heads = {b[0] for b in breakers}
    for start in range(n - 1, -1, -1):
        if said[start] in heads:
            found = [len(b) for b in breakers if tuple(said[start : start + len(b)]) == b]
            if found:
                return n - start - max(found)
    return n


def no_repeat_ngram_size(logits: Row, value: int, said: Sequence[int]) -> Row:
    """Cut every token that would complete n tokens that were there before."""
    start = tuple(said[len(said) - value + 1 :]) if value > 1 else ()
    ends = range(value - 1, len(said))
    return cut(logits, {said[e] for e in ends if tuple(said[e - value + 1 : e]) == start}, "no_repeat_ngram_size")


def logit_bias(logits: Row, pairs: Sequence[tuple[int, float]]) -> Row:
    """l + b; a bias of -∞ cuts."""
    inside([i for i, _ in pairs], logits.size, "logit_bias")
    out = logits.copy()
    for token, bias in pairs:
        out[token] += bias
    return cut(out, (), "logit_bias")


def bad_words(logits: Row, words: Sequence[Sequence[int]], said: Sequence[int]) -> Row:
    """Cut the last token of each sequence whose other tokens end the text."""
    inside([i for word in words for i in word], logits.size, "bad_words")
    return cut(logits, completing(words, said), "bad_words")


def completing(words: Sequence[Sequence[int]], said: Sequence[int]) -> set[int]:
    """The tokens that would complete a word after what was said."""
    tail = tuple(said)
    return {word[-1] for word in words if len(word) == 1 or tail[-len(word) + 1 :] == tuple(word[:-1])}


def unguided(params: SamplingParams) -> ParameterError:
    """The error for guidance where nobody has the logits without the prompt."""
    return ParameterError(
        "guidance_scale needs the logits of the same text without its prompt",
        f"guidance_scale={params.guidance_scale:g} without them",
        "Leave it out here",
    )


def cut(logits: Row, tokens: Collection[int], name: str) -> Row:
    """The row without some tokens; raises ParameterError where none is left."""
    out = logits.copy()
    out[sorted(tokens)] = -np.inf
    if not np.max(out) > -np.inf:
        raise nothing_left(name, out.size)
    return out


def nothing_left(name: str, size: int) -> ParameterError:
    """The error where every token is cut.

    Args:
        name: the parameter that cut the last one.
        size: V.

    Returns:
        The error.
    """
    return ParameterError("One token must stay possible at each step", f"{name} with all {size:,} barred", "Bar fewer")


def inside(tokens: Collection[int], size: int, name: str) -> None:
    """Raise ParameterError where a token id is beyond the vocabulary."""
    if tokens and max(tokens) >= size:
        raise ParameterError(
            f"{name} takes ids of the model's {size:,} tokens, 0 to {size - 1}", str(max(tokens)), "Leave it out"
        )


def scoped(history: History, params: SamplingParams, name: str) -> Sequence[int]:
    """The tokens that a penalty sees: of the dialect's scope, the last so many.

    Args:
        history: what was said.
        params: the law.
        name: a penalty.

    Returns:
        Token ids, oldest first.
    """
    rules = params.how.rules
    window = rules.window if params.penalty_last_n is None else params.penalty_last_n
    return last(_seen(history, rules.scopes.get(name, "all")), window)


def whole_text(history: History, params: SamplingParams, name: str) -> Sequence[int]:
    """The tokens that bars on sequences look at: of the dialect's scope, all."""
    return _seen(history, params.how.rules.scopes.get(name, "all"))


def _seen(history: History, scope: Scope) -> list[int]:
    if scope == "output":
        return [*history.output]
    if scope == "last and output":
        return [*history.prompt[-1:], *history.output]
    return [*history.prompt, *history.output]


def last(said: list[int], window: int | None) -> list[int]:
    """The last so many tokens; all for None."""
    return said if window is None else said[max(len(said) - window, 0) :]
