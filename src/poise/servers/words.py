"""What went wrong with a server, in the user's words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from poise.errors import ModelError, ParameterError, PoiseError, PromptError, ServerError
from poise.servers.calls import Fault
from poise.servers.surveys import shown_models

_FIXED = re.compile(r"only the default|unsupported (value|parameter)|not supported with this model", re.IGNORECASE)
KEPT = "what was finished is kept, and the same command draws the rest"


class Place(NamedTuple):
    """A server as messages speak of it.

    Args:
        url: of it.
        model: that is asked there; empty before it is known.
        models: that it serves, where it says so.
        key_env: the environment variable that its key comes from.
        has_key: whether there is one.
        names: of poise's parameters on the wire.
        started: whether it answered before, so that something may have been drawn.
    """

    url: str
    model: str = ""
    models: tuple[str, ...] = ()
    key_env: str = ""
    has_key: bool = False
    names: Mapping[str, str] = {}
    started: bool = False


def error_of(
    fault: Fault, at: Place, sent: Mapping[str, float] | None = None, took: Collection[str] = ()
) -> PoiseError:
    """A fault as an error that says what to do.

    Args:
        fault: that no further try cured.
        at: the server.
        sent: what was asked, by poise's names.
        took: parameters that it took with some value, so that only this one is refused.

    Returns:
        The error, to be raised without the fault.

    >>> print(error_of(Fault("unreachable", "connection refused"), Place("http://localhost:8000/v1")))
    A server answers at its address, but got http://localhost:8000/v1: connection refused. Start it, or name another.
    """
    fault = Fault(fault.kind, fault.told.rstrip("."), fault.status, fault.wait, fault.field)
    said = f"{fault.status or fault.kind} from {at.url}" + (f": {fault.told}" if fault.told else "")
    if fault.kind == "context":
        return PromptError(
            "Prompt and new tokens fit into the model's context", said, "Shorten the prompt, or take a lower max_tokens"
        )
    if fault.kind == "rejected":
        return _rejected(fault, at, sent or {}, took)
    if fault.kind == "absent" and not at.started:
        return ModelError("A server has the path and the model that are asked for", said, _there(at))
    rule, got, step = _unanswered(fault, at, said)
    return ServerError(rule, got, f"{step}; {KEPT}" if at.started else step)


def _unanswered(fault: Fault, at: Place, said: str) -> tuple[str, str, str]:
    """Rule, what was got, next step."""
    told = f"{at.url}: {fault.told}" if fault.told else at.url
    which = f"the key in {at.key_env}" if at.has_key else "no key"
    env = at.key_env or "the variable that --key-env names"
    found: Mapping[str, tuple[str, str, str]] = {
        "unreachable": (
            "A server answers at its address", told,
            "Start it (ollama serve), or say where it is: OLLAMA_HOST" if at.model.startswith("ollama:") else
            "Start it, or name another",
        ),
        "tls": (
            "A server shows a certificate that this machine trusts", told,
            "Check the address, http:// where there is no TLS; SSL_CERT_FILE names certificates of your own",
        ),
        "timeout": (
            "An answer is whole within the time given", told,
            "Give it more --timeout, ask fewer at once with --concurrency 1, or take a lower max_tokens",
        ),
        "reset": ("A connection lasts until the answer is whole", told, "Look into the server's log"),
        "busy": ("A server has room", said, "Wait, or ask less with --rate and --concurrency"),
        "broken": ("A server works", said, "Look into its log"),
        "malformed": (
            "A server speaks OpenAI's protocol", said, "Check the address: it often ends in /v1; or look into its log"
        ),
        "denied": (
            "A server lets us in", f"{fault.status or 'no'} from {at.url} with {which}: {fault.told}",
            f"Put a key that it accepts into {env}" if at.has_key else
            f"Put a key into {env}, or name its variable with --key-env",
        ),
        "absent": ("A server keeps its path and its model", said, _there(at)),
    }  # fmt: skip
    return found[fault.kind]


def _there(at: Place) -> str:
    if at.started:  # what it listed then is no longer so
        return f"{at.model or 'The model'} was there before: serve it again, or ask it as it answers (--chat, --text)"
    check = "Check the address: it often ends in /v1"
    return f"The models there: {shown_models(at.models)}" if at.models else check


def _rejected(fault: Fault, at: Place, sent: Mapping[str, float], took: Collection[str]) -> PoiseError:
    ours = next((n for n, w in at.names.items() if fault.field == w), "")
    told = f" ({fault.status}: {fault.told})" if fault.told else ""
    if ours:
        own = ": it draws by settings of its own" if _FIXED.search(fault.told) and ours not in took else ""
        what = f"{ours}={sent[ours]:g}" if ours in sent else ours
        return ParameterError(
            f"{at.model} rejects {what}{own}{told}", "",
            f"Leave {ours} out, or take another value: `poise probe {at.url}` says what is honoured",
        )  # fmt: skip
    return ServerError(
        f"A server takes what it is asked{f', {fault.field} for one' if fault.field else ''}",
        f"{fault.status or 'a refusal'} from {at.url}: {fault.told}",
        f"`poise probe {at.url}` says what it takes" + (f"; {KEPT}" if at.started else ""),
    )
