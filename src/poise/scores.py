"""Score given text: how surprising a model finds it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from poise.errors import EngineError, ModelError, PromptError
from poise.records import Prompt
from poise.sessions import Engine, LogitsEngine


@dataclass(frozen=True, slots=True)
class Score:
    """A text under a model, given its prompt.

    Args:
        prompt: what stands before the text.
        text: what was scored.
        token_ids: the text's tokens.
        logprobs: ln p of each token under the model itself (T = 1, no step), nats.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def nll(self) -> float:
        """Mean of -ln p per token, nats/token; as the metric of that name, without an end-of-text token."""
        return -math.fsum(self.logprobs) / len(self.logprobs) + 0.0

    @property
    def perplexity(self) -> float:
        """exp of `nll`; infinite where that is too large for a float."""
        return math.exp(self.nll) if self.nll < 709 else math.inf


def score(engine: Engine, prompt: str | Prompt, text: str) -> Score:
    """How surprising a model finds a text, in one pass; nothing is drawn.

    Args:
        engine: from `load`; one that gives logits.
        prompt: what stands before the text.
        text: any text of at least one token: a human reference, or another model's output.

    Returns:
        The score. One pass may differ in its last bits from drawing token by token.

    Raises:
        ModelError: the engine draws by itself and gives no probabilities of given text.
        PromptError: an empty text, or one longer than the model's context.
        EngineError: probabilities that are no numbers.

    >>> from poise.engines import load
    >>> len(score(load("fake"), "the ship", " sailed on.").logprobs)
    3
    """
    if not isinstance(engine, LogitsEngine):
        raise ModelError(
            "Text is scored by an engine that gives logits", repr(getattr(engine, "name", engine)),
            "Load it with hf: or gguf:",
        )  # fmt: skip
    asked = Prompt(text=prompt) if isinstance(prompt, str) else prompt
    if not text:
        raise PromptError("A text to score has at least one token", "an empty one", "Give it some text")
    ids, logprobs = engine.score(asked, text)
    if not ids:
        raise PromptError("A text to score has at least one token", repr(text), "Give it other text")
    if any(math.isnan(x) for x in logprobs):
        raise EngineError("Log-probabilities are numbers", "NaN", "Load the model with another --dtype, or check it")
    return Score(asked, text, tuple(ids), tuple(float(x) for x in logprobs))


def continuation(prompt: Prompt) -> str:
    """A prompt's reference as it would go on: after a plain text, apart from its last word.

    Args:
        prompt: with a reference.

    Returns:
        The text to score after it; of a chat the reference as it is.

    >>> continuation(Prompt("the ship", reference="sailed on."))
    ' sailed on.'
    """
    said = prompt.reference or ""
    apart = prompt.chat or said[:1].isspace() or prompt.shown[-1:].isspace()
    return said if apart else f" {said}"
