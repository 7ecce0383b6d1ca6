"""Records as rows of a study, and back, exactly."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np

from poise.checks import Check, read_check
from poise.errors import UseCaseError
from poise.params import PARAMETERS, WAITING, SamplingParams
from poise.records import Fingerprint, Message, Prompt, Request, params_record, prompt_record

_KEPT_AS_INTEGER = range(-(2**63), 2**63)


def canonical(value: object) -> str:
    """One spelling per value: JSON with sorted keys, ASCII only, so that lone surrogates survive."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def pack_ids(ids: Iterable[int]) -> bytes:
    """Token ids as int32, little-endian."""
    return np.array(tuple(ids), dtype="<i4").tobytes()


def unpack_ids(blob: bytes) -> tuple[int, ...]:
    """The inverse of `pack_ids`."""
    return tuple(np.frombuffer(blob, dtype="<i4").tolist())


def pack_floats(values: Iterable[float]) -> bytes:
    """Log-probabilities as float64, little-endian: not a bit is lost."""
    return np.array(tuple(values), dtype="<f8").tobytes()


def unpack_floats(blob: bytes) -> tuple[float, ...]:
    """The inverse of `pack_floats`."""
    return tuple(np.frombuffer(blob, dtype="<f8").tolist())


def pack_text(text: str) -> bytes:
    """UTF-8 in which lone surrogates survive; written as CAST(? AS TEXT)."""
    return text.encode("utf-8", "surrogatepass")


def pack_seed(seed: int) -> int | str:
    """SQLite keeps integers of 64 bits; larger seeds go in as text."""
    return seed if seed in _KEPT_AS_INTEGER else str(seed)


def pack_params(params: SamplingParams) -> str:
    """Normalised settings as JSON: equal laws, equal text."""
    return canonical(params_record(params))


def unpack_params(stored: str) -> SamplingParams:
    """The inverse of `pack_params`; raises ParameterError for what this version does not know."""
    return SamplingParams.model_validate(json.loads(stored), context=WAITING)


def pack_prompt(prompt: Prompt) -> str:
    """A prompt with its answers and checks as JSON."""
    return canonical(prompt_record(prompt))


def pack_asked(prompt: Prompt) -> str:
    """What a prompt asks as JSON, without its answers, reference and checks."""
    return canonical([prompt.text, [[m.role, m.content] for m in prompt.messages]])


def unpack_prompt(stored: str) -> Prompt:
    """The inverse of `pack_prompt`."""
    record = json.loads(stored)
    record["messages"] = tuple(Message(**m) for m in record["messages"])
    record["answers"] = tuple(record["answers"])
    record["checks"] = tuple(_unpack_check(canonical(said)) for said in record.get("checks", ()))
    return Prompt(**record)


@lru_cache(maxsize=1024)
def _unpack_check(stored: str) -> Check:
    """Once per check: a study is read many times, and a schema takes a while."""
    try:
        return read_check(json.loads(stored))
    except UseCaseError as error:
        raise ValueError(str(error)) from error


def settings_order(params: SamplingParams) -> tuple[tuple[float, ...], str, str]:
    """Sorts settings by value, parameter by parameter; what is off sorts where it changes nothing, lists last."""
    on = params.active()
    neutral = {n: math.inf if p.neutral is None else float(p.neutral) for n, p in PARAMETERS.items()}
    return tuple(float(on.get(n, neutral[n])) for n in PARAMETERS), params.dialect, repr(params.lists())


class RequestKeys:
    """`records.request_key` for many requests: the same JSON, put together from parts said once.

    Args:
        fingerprint: of the engine.
    """

    def __init__(self, fingerprint: Fingerprint) -> None:
        self._engine = canonical(fingerprint.deciding())
        self._said: dict[object, str] = {}

    def key(self, request: Request) -> bytes:
        """The SHA-256 whose hexadecimal form `request_key` gives."""
        said = (
            f'{{"draw":{request.draw},"engine":{self._engine},"max_tokens":{request.max_tokens}'
            f',"min_tokens":{request.min_tokens},"params":{self._params(request.params)}'
            f',"prompt_ids":{self._list(request.prompt_ids)},"seed":{request.seed},"stop":{self._list(request.stop)}}}'
        )
        return hashlib.sha256(said.encode()).digest()

    def _params(self, params: SamplingParams) -> str:
        if params not in self._said:
            self._said[params] = pack_params(params)
        return self._said[params]

    def _list(self, values: tuple[int, ...] | tuple[str, ...]) -> str:
        if values not in self._said:
            self._said[values] = canonical(values)
        return self._said[values]


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two sets of circumstances, a phrase each."""
    names = sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
    return [f"{n} was {before.get(n, 'unknown')}, is {now.get(n, 'unknown')}" for n in names]
