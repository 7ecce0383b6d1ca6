"""Answers of OpenAI-compatible servers, read without trust."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from poise.servers.calls import Answer, Choice, Fault, Likely, Position
from poise.texts import split_thinking

_TAGS = ("<think>", "</think>")
_LARGE = 2**63
_ROUNDING = 1e-3  # a log-probability above it is none
FILTERED = ("content_filter", "refusal")  # how a text ends that the server's own filter held back
_ID = "token_id:"  # how vLLM writes a token whose id was asked for


class Reader(NamedTuple):
    """How one answer is to be read.

    Args:
        hide: takes the key out of every text.
        chat: whether messages were asked; think tags of a text that was continued are part of it.
        seconds: the exchange took.
        most: likeliest tokens that were asked for. Servers add the drawn one where it is none of them, or return more:
            what is beyond `most` is no longer the likeliest of the rest.
    """

    hide: Callable[[str], str]
    chat: bool
    seconds: float = 0.0
    most: int = 0

    def answer(self, data: object) -> Answer:
        """Read a whole answer.

        Args:
            data: plain data, from anybody.

        Returns:
            The answer.

        Raises:
            Fault: ``malformed``, where it is none.
        """
        body = _object(data, "the answer")
        found = body.get("choices")
        if not isinstance(found, list) or not found:
            raise Fault("malformed", "an answer without choices")
        choices = [_object(one, "a choice") for one in found]
        if all(is_count(one.get("index")) for one in choices):
            choices.sort(key=lambda one: one["index"])
        usage = mapping_of(body.get("usage"))
        return Answer(
            tuple(self.choice(one) for one in choices),
            self.text(body.get("model")),
            self.text(body.get("system_fingerprint")),
            count_of(usage.get("prompt_tokens")),
            count_of(usage.get("completion_tokens")),
            self.seconds,
        )

    def choice(self, found: Mapping[str, Any]) -> Choice:
        """Read one of the choices. Raises Fault."""
        refusal = ""
        if self.chat:
            message = _object(found.get("message"), "the message of a choice")
            text, thinking = self.parted(message)
            refusal = self.text(message.get("refusal"))
        else:
            if not isinstance(found.get("text"), str):
                raise Fault("malformed", "a choice without text")
            text, thinking = self.text(found["text"]), ""
        finish = finish_of(found)
        if finish in ("error", "abort"):
            raise Fault("broken", "the server broke a text off", 200)
        ids = ids_of(found.get("token_ids"))
        positions = self._positions(found.get("logprobs"), ids)
        return Choice(text, thinking, finish, positions, ids or drawn_ids(positions), refusal)

    def parted(self, message: Mapping[str, Any]) -> tuple[str, str]:
        """Text and thinking of a message."""
        text = self.text(message.get("content"))
        for name in ("reasoning_content", "reasoning"):
            apart = self.text(message.get(name))
            if apart:
                return text, apart
        if not self.chat:
            return text, ""
        opened = _TAGS[1] in text and _TAGS[0] not in text.partition(_TAGS[1])[0]
        thinking, text = split_thinking(text, _TAGS, opened)
        return text, thinking

    def _positions(self, found: object, ids: tuple[int, ...]) -> tuple[Position, ...]:
        if not isinstance(found, dict):
            return ()
        content = found.get("content")
        if isinstance(content, list):
            positions = tuple(self.position(_object(one, "a log-probability")) for one in content)
        else:
            positions = tuple(self._legacy(found))
        if len(ids) != len(positions):
            return positions
        return tuple(
            p if p.drawn.id is not None else p._replace(drawn=p.drawn._replace(id=i))
            for p, i in zip(positions, ids, strict=True)
        )

    def position(self, found: Mapping[str, Any], alternatives: str = "top_logprobs") -> Position:
        """One drawn token as chat writes it, with those that could have come. Raises Fault."""
        others = found.get(alternatives)
        read = [self.likely(one) for one in others if isinstance(one, dict)] if isinstance(others, list) else []
        return Position(self._drawn(self.likely(found)), self._likeliest(read))

    def likely(self, found: Mapping[str, Any]) -> Likely | None:
        """One token; None where its log-probability is no number."""
        return self._token(found.get("token"), found.get("logprob"), found.get("id"), found.get("bytes"))

    def _token(self, token: object, logprob: object, known: object = None, raw: object = None) -> Likely | None:
        if logprob is None:
            logprob = -math.inf  # how JSON is made to hold a probability of 0
        if not is_number(logprob) or logprob > _ROUNDING or not isinstance(token, str):
            return None
        written = token.removeprefix(_ID)
        named = written != token and written.isascii() and written.isdigit() and len(written) < 10
        found = known if is_count(known) else int(written) if named else None
        return Likely(self.hide(token if named else exact(token, raw)), found, float(logprob))

    def _likeliest(self, tokens: list[Likely | None]) -> tuple[Likely, ...]:
        known = sorted((one for one in tokens if one), key=lambda one: -one.logprob)  # stable: ties stay as they came
        return tuple(known[: self.most])

    def _drawn(self, token: Likely | None) -> Likely:
        if token is None:
            raise Fault("malformed", "a log-probability that is no number")
        return token

    def _legacy(self, found: Mapping[str, Any]) -> Iterator[Position]:
        """Log-probabilities as completions write them: parallel lists, and a map per position."""
        tokens, values = found.get("tokens"), found.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(values, list) or len(tokens) != len(values):
            return
        tops = found.get("top_logprobs")
        tops = tops if isinstance(tops, list) and len(tops) == len(tokens) else [None] * len(tokens)
        for token, value, top in zip(tokens, values, tops, strict=True):
            others = [self._token(t, v) for t, v in top.items()] if isinstance(top, dict) else []
            yield Position(self._drawn(self._token(token, value)), self._likeliest(others))

    def text(self, found: object) -> str:
        """A text, or the texts of a list of parts; empty for anything else."""
        if isinstance(found, str):
            return self.hide(found)
        if isinstance(found, list):
            return "".join(self.text(part.get("text")) for part in found if isinstance(part, dict))
        return ""


def drawn_ids(positions: tuple[Position, ...]) -> tuple[int, ...]:
    """Token ids of what was drawn; empty where any is unknown."""
    ids = tuple(p.drawn.id for p in positions if p.drawn.id is not None)
    return ids if len(ids) == len(positions) else ()


def finish_of(found: Mapping[str, Any]) -> str:
    """Why a text ended, as `calls.Choice` has it."""
    finish = found.get("finish_reason")
    if not isinstance(finish, str) or not finish:
        return "unknown"
    met = next((found[k] for k in ("stop_reason", "matched_stop") if isinstance(found.get(k), str)), "")
    if finish in ("stop", "eos", "eos_token", "end_turn"):
        return "stop" if met else "eos"
    return {"stop_sequence": "stop", "max_tokens": "length"}.get(finish, finish)


def exact(token: str, raw: object) -> str:
    """A token's text; bytes that are no whole characters as lone surrogates, so that unlike tokens differ.

    >>> exact("\\ufffd", [226, 128])
    '\\udce2\\udc80'
    """
    if not isinstance(raw, list) or not all(is_count(b) and b < 256 for b in raw):
        return token
    found = bytes(raw)
    try:
        found.decode()
    except UnicodeDecodeError:
        return found.decode("utf-8", "surrogateescape")
    return token


def mapping_of(found: object) -> Mapping[str, Any]:
    """An object; an empty one where anything else stands there."""
    return found if isinstance(found, dict) else {}


def ids_of(found: object) -> tuple[int, ...]:
    """Token ids; empty where anything else stands there."""
    return tuple(found) if isinstance(found, list) and all(is_count(i) and i < 2**31 for i in found) else ()


def count_of(found: object) -> int | None:
    """A count, None for anything else."""
    return found if is_count(found) else None


def is_count(found: object) -> TypeGuard[int]:
    """Whether it is a whole number of 0 and more."""
    return isinstance(found, int) and not isinstance(found, bool) and 0 <= found < _LARGE


def is_number(found: object) -> TypeGuard[float]:
    """Whether it is a number of a machine's size; a truth value is none, nor is NaN."""
    if isinstance(found, float):
        return not math.isnan(found)
    return isinstance(found, int) and not isinstance(found, bool) and abs(found) < _LARGE


def _object(found: object, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise Fault("malformed", f"{what} is no object")
    return found
