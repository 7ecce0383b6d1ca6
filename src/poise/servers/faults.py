"""What goes wrong between a server and its client, as faults."""

from __future__ import annotations

import email.utils
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping

from poise.servers.calls import Fault, FaultKind

Hide = Callable[[str], str]
_LONGEST = 300  # characters of what a server said
_LONG_ENOUGH = 8  # a shorter key is a placeholder, and may be a word
_CONTEXT = re.compile(
    r"context[ _](length|size|window)|maximum (model|sequence) length|exceed_context_size|prompt is too long"
    r"|max_model_len|input (is )?too long|longer than the model's",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_not_found|not a valid model|model .{0,200}(does not exist|not found|not available)|no such model"
    r"|unknown model|try pulling it",
    re.IGNORECASE | re.DOTALL,
)
_NO_MONEY = re.compile(
    r"insufficient_quota|insufficient credits|billing|credit balance|exceeded your current quota", re.I
)
# Some servers answer a request that cannot be read, and never will be, with 500.
_INVALID = re.compile(
    r"validation error|'loc': ?\(|input should be|is not supported|unsupported parameter", re.IGNORECASE
)
_TAG = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_MASKED = re.compile(r"[\w-]*\*{3,}[\w-]*")  # a server that repeats a key with its middle hidden


def hiding(key: str | None) -> Hide:
    """What takes a key out of a text.

    Args:
        key: as it was sent; None for none. Placeholders of under 8 characters are taken out as words only.

    Returns:
        A function from text to text.

    >>> hiding("sk-12345678")("Incorrect API key: sk-12345678")
    'Incorrect API key: [key]'
    """
    if not key:
        return str
    if len(key) >= _LONG_ENOUGH:
        return lambda text: text.replace(key, "[key]") if key in text else text
    word = re.compile(rf"(?<!\w){re.escape(key)}(?!\w)")
    return lambda text: word.sub("[key]", text)


def find_fault(error: BaseException, hide: Hide) -> Fault:
    """What an exception of the client, the transport or the socket means.

    Args:
        error: anything that came out of an exchange.
        hide: takes the key out.

    Returns:
        The fault, to be raised without the exception, which may hold the key.
    """
    import httpx2

    chain = list(_causes(error))
    kinds: tuple[type[BaseException], ...] = (Fault, httpx2.HTTPError, ssl.SSLError, OSError)
    found = next((e for kind in kinds for e in chain if isinstance(e, kind)), error)
    if isinstance(found, Fault):
        return found
    kind = _transport_kind(found, chain)
    # The system says why (refused, no such host), the libraries only that nothing came of it.
    why = next((_system_words(e) for e in reversed(chain) if isinstance(e, OSError) and e.errno), "")
    told = why if kind in ("unreachable", "reset") and why else str(found) or type(found).__name__
    return Fault(kind, short(told, hide))


def _system_words(error: OSError) -> str:
    known = not isinstance(error, socket.gaierror) and error.errno is not None  # whose numbers are its own
    return os.strerror(error.errno or 0) if known else error.strerror or ""


def _transport_kind(error: BaseException, chain: list[BaseException]) -> FaultKind:
    """By the class of the exception; the order matters, subclasses first."""
    import httpx2

    if isinstance(error, httpx2.ConnectError) and any(isinstance(e, ssl.SSLError) for e in chain):
        return "tls"
    if isinstance(error, httpx2.RemoteProtocolError):  # gone before an answer, or in the middle of one
        return "reset" if "without sending a response" in str(error) else "malformed"
    kinds: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], FaultKind], ...] = (
        ((httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError), "unreachable"),
        ((httpx2.TimeoutException, TimeoutError), "timeout"),
        (httpx2.NetworkError, "reset"),
        ((httpx2.UnsupportedProtocol, httpx2.InvalidURL), "absent"),
        ((httpx2.LocalProtocolError, UnicodeError, ValueError, TypeError), "rejected"),  # cannot be sent
        (httpx2.DecodingError, "malformed"),
        (ssl.SSLError, "tls"),
        (ConnectionError, "reset"),
        (OSError, "unreachable"),
    )
    return next((kind for types, kind in kinds if isinstance(error, types)), "malformed")


def status_fault(status: int, headers: Mapping[str, str], body: bytes, hide: Hide, sent: tuple[str, ...] = ()) -> Fault:
    """What an answer with a status of 300 and more means.

    Args:
        status: of HTTP.
        headers: of the answer.
        body: what came with it, of any kind.
        hide: takes the key out.
        sent: names of what was sent, one of which may have been rejected.

    Returns:
        The fault.
    """
    said, code, field = _said(body, headers)
    told, raw = short(said, hide) or f"HTTP {status}", f"{said} {code}"
    if 300 <= status < 400:
        return Fault("absent", short(f"it sends us on to {headers.get('location', 'nowhere')}", hide), status)
    kind, wait = _status_kind(status, raw), wait_of(headers)
    if kind == "busy" and status != 429 and wait is None:
        kind = "broken"
    if kind == "rejected" and not field:
        field = _named(raw, sent)
    return Fault(kind, told, status, wait, field if kind == "rejected" else "")


def _status_kind(status: int, raw: str) -> FaultKind:
    if status in (401, 402, 403, 407) or (status == 429 and _NO_MONEY.search(raw)):
        return "denied"  # waiting will not fill an account
    if status == 413 or (status not in (404, 429) and _CONTEXT.search(raw)):
        return "context"
    if status in (404, 405, 410, 501) or (status in (400, 422) and _NO_MODEL.search(raw)):
        return "absent"
    if status == 500 and _INVALID.search(raw):
        return "rejected"
    known: dict[int, FaultKind] = {408: "timeout", 409: "busy", 425: "busy", 429: "busy", 503: "busy", 529: "busy"}
    return known.get(status, "broken" if status >= 500 else "rejected")


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait; None where it does not say, or says nonsense.

    >>> wait_of({"retry-after": "2"}), wait_of({"retry-after-ms": "250"}), wait_of({"retry-after": "soon"})
    (2.0, 0.25, None)
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        then = email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return max(0.0, then - time.time())


def short(text: str, hide: Hide) -> str:
    """One line, without the key and not long."""
    line = _MASKED.sub("[key]", hide(" ".join(text.split())))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        inside = at.exceptions if isinstance(at, BaseExceptionGroup) else ()
        at = inside[0] if inside else at.__cause__ or at.__context__


def _said(body: bytes, headers: Mapping[str, str]) -> tuple[str, str, str]:
    """What the body says is wrong, its codes, and the parameter that it names."""
    text = body[:100_000].decode("utf-8", "replace")
    try:
        data: object = json.loads(text)
    except (ValueError, RecursionError):
        title = _TITLE.search(text)
        plain = "html" in headers.get("content-type", "").lower() or text.lstrip()[:1] == "<"
        return (title.group(1) if title else _TAG.sub(" ", text) if plain else text), "", ""
    found = data.get("error", data) if isinstance(data, dict) else data
    if isinstance(found, str):
        return found, "", ""
    if not isinstance(found, dict):
        return text, "", ""
    detail = found.get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):  # FastAPI's list of what does not fit
        where = detail[0].get("loc")
        last = where[-1] if isinstance(where, list | tuple) and where else ""
        return f"{last}: {detail[0].get('msg', '')}", "", last if isinstance(last, str) else ""
    said = next((found[k] for k in ("message", "detail", "msg", "error") if isinstance(found.get(k), str)), text)
    code = " ".join(str(found[k]) for k in ("code", "type") if isinstance(found.get(k), str))
    field = found.get("param")
    return said, code, field if isinstance(field, str) else ""


def _named(text: str, sent: tuple[str, ...]) -> str:
    """The first of the names sent that the text mentions, in quotes if any is; empty where it mentions none."""
    for before, after, shortest in ((r"['\"`]", r"['\"`]", 1), (r"(?<!\w)", r"(?!\w)", 3)):
        names = [name for name in sent if len(name) >= shortest]  # a bare n is no name
        places = [(m.start(), n) for n in names if (m := re.search(before + re.escape(n) + after, text))]
        if places:
            return min(places)[1]
    return ""
