"""How a server is asked: how many, how fast, at what price."""

from __future__ import annotations

import math
from dataclasses import dataclass

from poise.errors import UsageError
from poise.servers.opening import TIMEOUT
from poise.servers.pool import check_limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server is asked; what is no part of the law.

    Args:
        concurrency: requests under way at once, at least 1; None to find it.
        rate: requests a second at most, above 0; None for no limit.
        timeout: seconds that one whole answer may take, above 0.
        thinking: whether a reasoning model is asked to think; None leaves it to the server.
        anyway: whether parameters are sent that a probe found to be ignored or rejected.
        price_in, price_out: money per million tokens of prompts, and of texts; at least 0; None where unknown.
        key_env: the environment variable that holds the server's key; None for OPENAI_API_KEY.

    Raises:
        UsageError: a value out of range.
    """

    concurrency: int | None = None
    rate: float | None = None
    timeout: float = TIMEOUT
    thinking: bool | None = None
    anyway: bool = False
    price_in: float | None = None
    price_out: float | None = None
    key_env: str | None = None

    def __post_init__(self) -> None:
        check_limits(self.concurrency, self.rate)
        if not (_is_number(self.timeout) and self.timeout > 0):
            raise UsageError("A timeout is seconds, above 0", repr(self.timeout), f"{TIMEOUT:g} is the usual one")
        if self.thinking not in (None, True, False):
            raise UsageError("thinking is on, off, or left to the server", repr(self.thinking), "True, False or None")
        for price in (self.price_in, self.price_out):
            if price is not None and not (_is_number(price) and price >= 0):
                raise UsageError("A price is money per million tokens, 0 and more", repr(price), "Leave it out")
        if (self.price_in is None) != (self.price_out is None):
            raise UsageError(
                "Prices are given for prompts and for texts",
                "one of them",
                "Give --price-in and --price-out",
            )

    def price(self, prompt_tokens: int, tokens: int) -> float | None:
        """What tokens cost.

        Args:
            prompt_tokens, tokens: of prompts, and of texts.

        Returns:
            Money; None where a price is not known.

        >>> ServerOptions(price_in=1.0, price_out=4.0).price(500_000, 250_000)
        1.5
        """
        if self.price_in is None or self.price_out is None:
            return None
        return (self.price_in * prompt_tokens + self.price_out * tokens) / 1e6


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
