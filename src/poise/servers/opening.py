"""A wire to the server that a model's name means."""

from __future__ import annotations

from poise.servers.address import find_address
from poise.servers.calls import Wire
from poise.servers.ollama_wire import OllamaWire
from poise.servers.openai_wire import OpenAIWire

TIMEOUT = 120.0  # seconds that one whole answer may take


def open_wire(spec: str, key_env: str | None = None, timeout: float = TIMEOUT) -> Wire:
    """Make ready to ask a server; nothing is sent yet.

    Args:
        spec: ``http(s)://HOST[:PORT]/v1[#MODEL]`` or ``ollama:NAME``.
        key_env: the environment variable that holds the key; see `find_address`.
        timeout: seconds that one whole answer may take.

    Returns:
        The wire.

    Raises:
        ModelError: no URL of a server.
        UsageError: a key that is not there, or the extra `server` is not installed.
    """
    if spec.startswith("ollama:"):
        return OllamaWire(spec.removeprefix("ollama:"), timeout=timeout)
    return OpenAIWire(find_address(spec, key_env), timeout=timeout)
