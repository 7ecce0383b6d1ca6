"""Where a server is, which model, and where its key comes from."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from poise.errors import ModelError, UsageError

KEY_ENV = "OPENAI_API_KEY"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_STEP = "export OPENAI_API_KEY=…, then --key-env OPENAI_API_KEY; or another name in capitals"


@dataclass(frozen=True, slots=True)
class Address:
    """A server.

    Args:
        url: up to ``/v1``, without a closing slash.
        model: its name there; empty for the only one.
        key: what the server asks for, None for none; shown nowhere.
        key_env: the environment variable that the key came from, or would have.
    """

    url: str
    model: str
    key: str | None = field(repr=False)
    key_env: str

    @property
    def local(self) -> bool:
        """Whether it runs on this machine."""
        return on_this_machine(urlsplit(self.url).hostname or "")


def find_address(spec: str, key_env: str | None = None) -> Address:
    """Read ``http(s)://HOST[:PORT]/v1[#MODEL]``, and fetch the key from the environment.

    Args:
        spec: as the user wrote it.
        key_env: the variable that holds the key; None for OPENAI_API_KEY, which goes over https
            or to this machine only.

    Returns:
        The address.

    Raises:
        ModelError: no URL of a server.
        UsageError: a variable that is not set, or holds no key.

    >>> find_address("http://localhost:8000/v1#qwen").model
    'qwen'
    """
    url, model = checked_url(spec)
    safe = url.startswith("https://") or on_this_machine(urlsplit(url).hostname or "")
    key = key_named(key_env) if key_env is not None else os.environ.get(KEY_ENV, "") if safe else ""
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError(
            "A key is one line of plain characters", f"something else in {key_env or KEY_ENV}", "Set it anew"
        )
    return Address(url, model, key or None, key_env or KEY_ENV)


def key_named(key_env: str) -> str:
    """The key in a variable that the user named.

    Args:
        key_env: as the user wrote it.

    Returns:
        What the variable holds.

    Raises:
        UsageError: no name, or nothing in it. It is repeated only where it cannot well be a key, pasted by mistake.
    """
    rule = "--key-env names an environment variable that holds the key"
    if found := os.environ.get(key_env):
        return found
    if not _NAME.fullmatch(key_env):
        raise UsageError(rule, "something that is no name, and may be a key", f"{_STEP}; a key itself is never written")
    if key_env.isupper():
        raise UsageError(rule, f"{key_env!r}, which is empty", f"export {key_env}=…, or leave --key-env out")
    raise UsageError(rule, "a name of no variable, or of an empty one, which may be a key", _STEP)


def checked_url(spec: str) -> tuple[str, str]:
    """The URL up to its path, and the model after ``#``.

    Args:
        spec: as the user wrote it.

    Returns:
        Both.

    Raises:
        ModelError: it is no URL of a server, or holds a key.

    >>> checked_url("http://127.0.0.1:8080/v1/#a/b")
    ('http://127.0.0.1:8080/v1', 'a/b')
    """
    rule, step = "A server is written http(s)://HOST[:PORT]/v1[#MODEL]", "For example http://localhost:8000/v1"
    try:
        parts = urlsplit(spec.strip())
        _ = parts.port
    except ValueError as error:
        raise ModelError(rule, _shown(spec, f": {error}"), step) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ModelError(rule, _shown(spec), step)
    if parts.username is not None or parts.password is not None or parts.query:
        raise ModelError(rule, "a user, a password or a query in it", "Keys come from the environment: --key-env NAME")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", "")), parts.fragment.strip()


def _shown(spec: str, why: str = "") -> str:
    """What was written, unless a password may stand in it."""
    return "something with @ in it, which may be a password" if "@" in spec else repr(spec) + why


def on_this_machine(host: str) -> bool:
    """Whether a host name is this machine's own.

    >>> on_this_machine("localhost"), on_this_machine("127.0.0.1"), on_this_machine("example.org")
    (True, True, False)
    """
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
