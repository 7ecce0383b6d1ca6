"""A model or a server made ready, as the drawing flags ask."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import poise
from poise.cli.flags import Drawing, flag
from poise.cli.progress import ProbeMeter
from poise.cli.terminal import counted, tell
from poise.errors import ParameterError, UsageError
from poise.params import DEFAULT_DIALECT
from poise.probes import BUDGET
from poise.probes.looking import look_first

if TYPE_CHECKING:
    from poise.params import SamplingParams
    from poise.sessions import Engine

_OF_SERVERS = ("draws_by", "concurrency", "rate", "timeout", "key_env", "anyway", "price_in", "price_out")
_WIRED = ("http:", "https:", "ollama:")


def load(model: str, asked: Drawing, *, dials: bool = False) -> Engine:
    """The engine, with a word to whoever watches: a first fetch, or a first probe, takes a while.

    Args:
        model: as the user wrote it.
        asked: the flags.
        dials: whether it will be dialled, for which poise has to draw.

    Returns:
        The engine.

    Raises:
        UsageError: flags for servers with a model that poise loads itself.
    """
    if sys.stderr.isatty():
        tell(f"Loading {model} …")
    options: dict[str, Any] = {"dtype": asked.dtype, "device": asked.device}
    thinking = None if asked.thinking is None else asked.thinking == "on"
    said = {name: getattr(asked, name) for name in _OF_SERVERS}
    given = {name: value for name, value in said.items() if value is not None and value is not False}
    if not model.startswith(_WIRED):
        if given:
            raise UsageError(f"{flag(next(iter(given)))} is for servers", f"it for {model}", "Leave it out")
        return poise.load(model, trust_remote_code=asked.trust_remote_code, thinking=thinking, **options)
    if asked.trust_remote_code:
        raise UsageError("--trust-remote-code is for models that poise loads", f"it for {model}", "Leave it out")
    draws_by = given.pop("draws_by", "poise" if dials else None)
    if dials and draws_by == "server":
        raise UsageError("A dial draws here, one token a request", "--draws-by server", "Leave --draws-by out")
    return poise.load(model, thinking=thinking, draws_by=draws_by, server=poise.ServerOptions(**given), **options)


def check_dialect(engine: Engine, asked: Drawing) -> None:
    """Refuse a dialect that was named and is not the server's own.

    Args:
        engine: any; where poise draws, it draws by every dialect.
        asked: the flags.

    Raises:
        ParameterError: it draws by another one, or by one that could not be told.
    """
    own: str | None = getattr(engine, "dialect", None)
    unknown = getattr(engine, "probe", None) is None and asked.dialect == DEFAULT_DIALECT
    if None not in (own, asked.dialect) and own != asked.dialect and not unknown:
        raise ParameterError(
            f"{engine.name} draws by its own law, {own}", f"dialect={asked.dialect}", "Leave --dialect out"
        )


def look(engine: Engine, settings: Sequence[SamplingParams], asked: Drawing) -> None:
    """Probe a server that nobody probed, with progress, before its first sweep; a dry run asks it nothing.

    Args:
        engine: any.
        settings: that will be drawn.
        asked: the flags.
    """
    if not asked.dry_run and getattr(engine, "learn", None) is not None:
        with ProbeMeter(BUDGET) as meter:
            found = look_first(engine, settings, meter)
        if found is not None:
            cost = f"{counted(found.requests, 'request')}, {counted(found.tokens, 'token')}"
            tell(f"Probed the server first ({cost}); `poise probe` shows what it honours.")
