"""A wire to the server that a model's name means."""

from __future__ import annotations

from typing import NamedTuple

from poise.servers.address import find_address
from poise.servers.calls import Wire
from poise.servers.ollama_wire import KEY_ENV as OLLAMA_KEY
from poise.servers.ollama_wire import OllamaWire
from poise.servers.openai_wire import OpenAIWire
from poise.servers.words import Place

TIMEOUT = 120.0  # seconds that one whole answer may take


class Opened(NamedTuple):
    """A wire, and how messages speak of its server."""

    wire: Wire
    place: Place


def open_wire(spec: str, key_env: str | None = None, timeout: float = TIMEOUT) -> Opened:
    """Make ready to ask a server; nothing is sent yet.

    Args:
        spec: ``http(s)://HOST[:PORT]/v1[#MODEL]`` or ``ollama:NAME``.
        key_env: the environment variable that holds the key; see `find_address`.
        timeout: seconds that one whole answer may take.

    Returns:
        The wire, and the place.

    Raises:
        ModelError: no URL of a server.
        UsageError: a key that is not there, or the extra `server` is not installed.
    """
    if spec.startswith("ollama:"):
        ollama = OllamaWire(spec.removeprefix("ollama:"), timeout=timeout)
        return Opened(ollama, Place(ollama.url, spec, key_env=OLLAMA_KEY, names=ollama.names))
    address = find_address(spec, key_env)
    wire = OpenAIWire(address, timeout=timeout)
    has_key = address.key is not None
    return Opened(wire, Place(wire.url, wire.model, key_env=address.key_env, has_key=has_key, names=wire.names))
