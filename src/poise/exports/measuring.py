"""How far two laws are apart on a model's own next tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from poise import asks, law, sweeps
from poise.breakers import breakers_of
from poise.distances import total_variation
from poise.errors import UsageError
from poise.exports.outcome import Share
from poise.exports.working import only
from poise.law import NOTHING_SAID, History, Row, State
from poise.params import SamplingParams
from poise.records import Completion
from poise.sampler import no_numbers
from poise.sessions import Engine, LogitsEngine

PROMPTS = 8  # whose texts are looked at, at most
TOKENS = 32  # of each text, at most


class Text(NamedTuple):
    """A text along which laws are compared: token ids of the prompt, and of what follows."""

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def whole_logits(engine: Engine) -> LogitsEngine:
    """An engine that gives the logits of all tokens.

    Args:
        engine: any.

    Returns:
        The same.

    Raises:
        UsageError: it gives none, or only those of a few tokens.
    """
    if not isinstance(engine, LogitsEngine) or engine.draws_by != "poise" or getattr(engine, "partial", False):
        raise UsageError(
            "Laws are compared on the logits of all tokens", f"{getattr(engine, 'name', engine)}, which gives none",
            "Load the weights (hf:, gguf:), or leave the model out",
        )  # fmt: skip
    return engine


def texts_of(completions: Sequence[Completion]) -> list[Text]:
    """The texts to look at: the first of each of the first prompts.

    Args:
        completions: of one setting.
    """
    found: dict[tuple[int, ...], Text] = {}
    for c in completions:
        if c.token_ids and (c.request.prompt_ids in found or len(found) < PROMPTS):
            found.setdefault(c.request.prompt_ids, Text(c.request.prompt_ids, c.token_ids[:TOKENS]))
    return list(found.values())


def drawn_texts(engine: LogitsEngine, given: asks.Given | Sequence[asks.Given], params: SamplingParams) -> list[Text]:
    """Draw the texts to look at: one of each of the first prompts.

    Args:
        engine: draws them.
        given: prompts and use cases.
        params: the law that draws them, without what the engine cannot draw by: guidance.
    """
    able = only(params, engine.supports)
    asked = [ask.prompt for ask in asks.ask_all(engine, asks.listed(given), asks.Options(max_tokens=TOKENS))]
    drawn = sweeps.generate(engine, asked[:PROMPTS], able, max_tokens=TOKENS, draws=1)
    return texts_of(drawn)


def distances(
    engine: LogitsEngine, texts: Sequence[Text], pairs: Sequence[tuple[SamplingParams, SamplingParams]]
) -> list[Share]:
    """The total-variation distance of each pair of laws, over every next token of the texts.

    Args:
        engine: whose logits they act on.
        texts: along which.
        pairs: of laws; XTC's coin is part of the law, and mirostat's cut follows the text under each.

    Returns:
        One share per pair.

    Raises:
        EngineError: logits that are no numbers.
    """
    laws = list(dict.fromkeys(params for pair in pairs for params in pair))
    found: list[list[float]] = [[] for _ in pairs]
    for text in texts:
        for probabilities in _along(engine, text, laws):
            for (a, b), known in zip(pairs, found, strict=True):
                known.append(total_variation(probabilities[a], probabilities[b]))
    return [Share(float(np.mean(f)), max(f), len(f), len(texts)) for f in found]


def _along(engine: LogitsEngine, text: Text, laws: Sequence[SamplingParams]) -> Iterator[dict[SamplingParams, Row]]:
    """What each law draws the next token from, token by token."""
    prompt, tokens = text
    logits = _scored(engine, prompt, tokens)
    guided = any(params.guidance_scale not in (None, 1.0) for params in laws)
    free = _scored(engine, prompt[-1:], tokens) if guided else None  # transformers starts from the last token
    breakers = {params: breakers_of(engine, params) for params in laws}
    cuts: dict[SamplingParams, float | None] = dict.fromkeys(laws)
    for i, token in enumerate(tokens):
        row = _row(engine, logits, i)
        unconditional = None if free is None else _row(engine, free, i)
        found: dict[SamplingParams, Row] = {}
        for params in laws:
            history = History(prompt, tokens[:i], breakers[params])
            mine = unconditional if params.guidance_scale not in (None, 1.0) else None
            odds = float(params.xtc_probability or 0)
            rows = {
                struck: law.reshape(row, params, history, State(struck, cuts[params]), unconditional=mine)
                for struck in ([True, False] if odds else [False])
            }
            found[params] = np.sum([(odds if s else 1 - odds) * law.probabilities(r) for s, r in rows.items()], axis=0)
            cuts[params] = _next_cut(params, cuts[params], rows[False], token)
        yield found


def _scored(engine: LogitsEngine, prompt: Sequence[int], tokens: Sequence[int]) -> Any:
    """Logits before each token, (S, V)."""
    logits = engine.session(len(prompt) + len(tokens) + 1, 2).score(prompt, tokens)
    bad = np.flatnonzero(~np.isfinite(engine.law.normaliser(logits)))
    if bad.size:
        raise no_numbers(len(prompt), int(bad[0]))
    return logits


def _row(engine: LogitsEngine, logits: Any, number: int) -> Row:
    plain = engine.law.reshape(logits, [number], [SamplingParams()], [NOTHING_SAID], [frozenset()])
    return plain.values[0].astype(np.float64)


def _next_cut(params: SamplingParams, mu: float | None, row: Row, token: int) -> float | None:
    """Mirostat's cut after a token; a token that this law would not have drawn leaves it."""
    if not params.mirostat or not row[token] > -np.inf:
        return mu
    tau, eta = (float(params.number(name) or 0) for name in ("mirostat_tau", "mirostat_eta"))
    return law.next_mu(law.cut_of(params, State(mu=mu)), tau, eta, law.surprise(row, token))
