"""What empty requests may get where no server says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from poise.models.vendors import recommendations, vendor
from poise.servers.calls import About


class Guess(NamedTuple):
    """Settings of an empty request.

    Args:
        params: by poise's names; what is off is not among them.
        whose: who publishes them for this very model; empty for what is usual among other models.
    """

    params: Mapping[str, float]
    whose: str = ""


# From the generation_config.json of models that are much used, where `vendors` has others for them or none.
USUAL: tuple[Mapping[str, float], ...] = (
    {"temperature": 0.6, "top_k": 40, "top_p": 0.95},  # QwQ-32B
    {"temperature": 0.7, "top_k": 20, "top_p": 0.8},  # Qwen3-Instruct-2507
    {"temperature": 0.6, "top_p": 0.9},  # Llama 3
    {"temperature": 0.7},
    {"temperature": 0.8, "top_p": 0.95},
    {"top_k": 50},  # what transformers means by nothing
)


def guesses(about: About) -> tuple[Guess, ...]:
    """What may be in force where a server keeps it to itself.

    Args:
        about: what it says of itself.

    Returns:
        Each once: what is published for this model, by its name and for either mode, then what is usual.
    """
    told = [e for thinks in (None, True, False) if (e := vendor(about.model, thinks)) is not None]
    own = [Guess(_floats(e.params.active()), f"the makers of {e.family}") for e in told]
    others = (e.params.active() for e in recommendations() if not e.params.repetition_penalty)  # whose strength hides
    usual = [*map(Guess, USUAL), *(Guess(_floats(params)) for params in others)]
    found: dict[frozenset[tuple[str, float]], Guess] = {}
    for guess in (*own, *usual):
        found.setdefault(frozenset(guess.params.items()), guess)
    return tuple(g for key, g in found.items() if key and g.params.get("temperature") != 0)


def _floats(params: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in params.items()}
