"""llama.cpp's own sampler chain, through its library, on candidate arrays without a model."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from llama_cpp import llama_cpp as lib
from numpy.typing import NDArray
from scripts.conformance.judge import Score, Stage, judged, said_of
from scripts.conformance.rows import UNITS, Group, Wanted, groups

from poise import law
from poise.dialects import DIALECTS
from poise.params import SamplingParams

VERSION = f"llama-cpp-python {version('llama-cpp-python')}"
CANDIDATE = np.dtype([("id", "<i4"), ("logit", "<f4"), ("p", "<f4")])
UNDERFLOW = 87.0  # a float32 exp is 0 soon below -87; llama.cpp's typical_p and mirostat 1 then reckon with NaN
# C++: llama_sampler_init_dry_testing(float, float, int, int, std::vector<std::vector<int>> const &).
DRY_TESTING = "_Z30llama_sampler_init_dry_testingffiiRKSt6vectorIS_IiSaIiEESaIS1_EE"
ALL = (("logit_bias",), *UNITS)
Sampler = Any


class _Vector(ctypes.Structure):
    """A std::vector as libstdc++ and libc++ lay it out: three pointers."""

    _fields_ = (("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("room", ctypes.c_void_p))

    @classmethod
    def of(cls, array: Any, size: int) -> _Vector:
        """One over an array that the caller keeps."""
        start = ctypes.addressof(array)
        return cls(start, start + size, start + size)


def has_dry() -> bool:
    """Whether the library lets DRY's own test constructor be called: Linux builds do."""
    return hasattr(lib._lib, DRY_TESTING)


def _dry(params: SamplingParams, group: Group) -> Sampler:
    make = getattr(lib._lib, DRY_TESTING)
    make.restype, make.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_float, ctypes.c_float, ctypes.c_int, ctypes.c_int, ctypes.c_void_p],
    )
    breakers = (*group.breakers, (-1,))  # no token; without any breaker llama.cpp warns
    inner = [(ctypes.c_int * len(b))(*b) for b in breakers]
    vectors = (_Vector * len(inner))(*(_Vector.of(a, ctypes.sizeof(a)) for a in inner))
    outer = _Vector.of(vectors, ctypes.sizeof(_Vector) * len(inner))
    window = DIALECTS["llama.cpp"].rules.dry_window if params.dry_last_n is None else params.dry_last_n
    numbers = (params.number("dry_multiplier"), params.number("dry_base"), params.number("dry_allowed_length"))
    made = make(*numbers, window, ctypes.addressof(outer))
    return ctypes.cast(made, lib.llama_sampler_p_ctypes)


def _bias(params: SamplingParams, group: Group) -> Sampler:
    pairs = params.logit_bias or ()
    array = (lib.llama_logit_bias * len(pairs))(*pairs)
    return lib.llama_sampler_init_logit_bias(group.logits.shape[1], len(pairs), array)


def _penalties(params: SamplingParams, group: Group) -> Sampler:
    window = DIALECTS["llama.cpp"].rules.window if params.penalty_last_n is None else params.penalty_last_n
    numbers = (params.number(n) for n in ("repetition_penalty", "frequency_penalty", "presence_penalty"))
    return lib.llama_sampler_init_penalties(group.logits.shape[1], window, *numbers)


def _heat(params: SamplingParams, group: Group) -> Sampler:
    numbers = (params.number(n) for n in ("temperature", "dynatemp_range", "dynatemp_exponent"))
    return lib.llama_sampler_init_temp_ext(*numbers)


MAKERS: Mapping[str, Callable[[SamplingParams, Group], Sampler]] = {
    "logit_bias": _bias,
    "repetition_penalty": _penalties,
    "dry_multiplier": _dry,
    "top_n_sigma": lambda p, g: lib.llama_sampler_init_top_n_sigma(p.top_n_sigma),
    "top_k": lambda p, g: lib.llama_sampler_init_top_k(p.top_k),
    "typical_p": lambda p, g: lib.llama_sampler_init_typical(p.typical_p, 0),
    "top_p": lambda p, g: lib.llama_sampler_init_top_p(p.top_p, 0),
    "min_p": lambda p, g: lib.llama_sampler_init_min_p(p.min_p, 0),
    "xtc_probability": lambda p, g: lib.llama_sampler_init_xtc(1.0, p.number("xtc_threshold"), 0, 0),
    "temperature": _heat,
}
WANTED = Wanted(
    "llama.cpp", tuple(s for unit in ALL for s in unit if has_dry() or s != "dry_multiplier"), order=True, without=()
)
GREEDY = WANTED._replace(
    values=dict.fromkeys(("temperature", "dynatemp_range"), lambda rng, size: 0.0), always=("temperature",)
)
MIROSTAT = Wanted("llama.cpp", ("temperature", "mirostat"), infinite=False, without=(), always=("mirostat",))
TEXT = 10  # tokens of a text


class Candidates:
    """A row as llama.cpp's samplers take it, which they change in place."""

    def __init__(self, logits: NDArray[np.float32]) -> None:
        self.cells = np.zeros(logits.size, CANDIDATE)
        self.cells["id"], self.cells["logit"] = np.arange(logits.size), logits
        data = self.cells.ctypes.data_as(lib.llama_token_data_p)
        self.array = lib.llama_token_data_array(data, logits.size, -1, False)

    def listed(self) -> NDArray[Any]:
        """The candidates that are left on the list, in its order."""
        first = ctypes.cast(self.array.data, ctypes.c_void_p).value - self.cells.ctypes.data
        start = first // CANDIDATE.itemsize
        return self.cells[start : start + self.array.size]

    def row(self) -> NDArray[np.float64]:
        """(V,), -inf where a token is off the list."""
        out = np.full(self.cells.size, -np.inf)
        listed = self.listed()
        out[listed["id"]] = listed["logit"]
        return out

    def underflows(self) -> bool:
        """Whether a probability would be 0 in float32."""
        logits = self.listed()["logit"]
        return bool(logits.min() < logits.max() - UNDERFLOW)


def units_of(params: SamplingParams) -> list[tuple[str, ...]]:
    """The steps that are on, sampler by sampler, in order."""
    found: list[tuple[str, ...]] = []
    for step in params.steps:
        [unit] = [u for u in ALL if step in u]
        on = tuple(s for s in unit if s in params.steps)
        if on not in found:
            found.append(on)
    return found


def stages(group: Group, params: SamplingParams) -> Iterator[tuple[list[Stage], str]]:
    """llama.cpp's rows after each sampler of a chain; where it ends early, why.

    Args:
        group: rows and settings.
        params: the same settings, checked.

    Yields:
        The stages of each row, and the sampler before which they end as it would reckon with NaN, else empty.
    """
    units = units_of(params)
    made = [MAKERS[next(u for u in ALL if unit[0] in u)[0]](params, group) for unit in units]
    for i, logits in enumerate(group.logits):
        row, done, ended = Candidates(logits), [], ""
        for unit, sampler in zip(units, made, strict=True):
            if unit == ("typical_p",) and row.underflows():
                ended = "typical_p"
                break
            lib.llama_sampler_reset(sampler)
            if unit[0] in ("repetition_penalty", "frequency_penalty", "presence_penalty", "dry_multiplier"):
                for token in (*group.prompt[i], *group.output[i]):
                    lib.llama_sampler_accept(sampler, int(token))
            lib.llama_sampler_apply(sampler, ctypes.byref(row.array))
            done.append(Stage(unit, row.row(), row.array.size))
        yield done, ended
    for sampler in made:
        lib.llama_sampler_free(sampler)


def singular(logits: NDArray[np.float64], mu: float) -> bool:
    """Whether mirostat 1's k is no number of 32 bits, as under a flat head, or 0 / 0, where p ~ 1 / rank."""
    ranked = np.sort(logits)[::-1][:100]
    t = np.log(np.arange(2, ranked.size + 1) / np.arange(1, ranked.size))
    s = np.sum(t * -np.diff(ranked)) / np.sum(t * t)
    if abs(s) < 1e-5 or abs(s - 1) < 1e-5:
        return True
    with np.errstate(over="ignore"):
        k = ((s - 1) * 2**mu / (1 - float(logits.size) ** (1 - s))) ** (1 / s)
    return not k < 2**31


def compared(rows: int, seed: int = 1) -> Score:
    """The law against llama.cpp's chain, in its default order and in others; a tenth greedy, a tenth mirostat.

    Args:
        rows: how many random ones.
        seed: of the draw.

    Returns:
        What was found.
    """
    score = Score("llama.cpp")
    tenth = rows // 10
    _chains(score, WANTED, rows - 2 * tenth, seed)
    _chains(score, GREEDY, tenth, seed + 1)
    _mirostat(score, tenth, seed + 2)
    return score


def _chains(score: Score, wanted: Wanted, rows: int, seed: int) -> None:
    for group in groups(wanted, rows, seed):
        params = group.params
        for i, (row, ended) in enumerate(stages(group, params)):
            found = judged(group.logits[i].astype(np.float64), group.settings, said_of(group, i), row)
            score.add(found, f"seed {seed}, row {score.rows}: {group.settings}")
            score.undefined += bool(ended)


def _mirostat(score: Score, rows: int, seed: int) -> None:
    """Texts of ten tokens: the cut shows in what is left on the list, and follows the tokens that llama.cpp draws."""
    for group in groups(MIROSTAT, rows, seed):
        params = group.params
        tau, eta = params.number("mirostat_tau"), params.number("mirostat_eta")
        heat = lib.llama_sampler_init_temp(params.number("temperature"))
        made = (
            lib.llama_sampler_init_mirostat(group.logits.shape[1], seed, tau, eta, 100)
            if params.mirostat == 1
            else lib.llama_sampler_init_mirostat_v2(seed, tau, eta)
        )
        mu = 2 * tau
        for i, logits in enumerate(group.logits):
            if i % TEXT == 0:
                lib.llama_sampler_reset(made)
                mu = 2 * tau
            row = Candidates(logits)
            lib.llama_sampler_apply(heat, ctypes.byref(row.array))
            done = [Stage(("temperature",), row.row())] if "temperature" in params.steps else []
            undefined = params.mirostat == 1 and (row.underflows() or singular(row.row(), mu))
            lib.llama_sampler_apply(made, ctypes.byref(row.array))
            done.append(Stage(("mirostat",), row.row()))
            score.undefined += undefined
            if not undefined:
                said = said_of(group, i, law.State(mu=mu))
                found = judged(logits.astype(np.float64), group.settings, said, done)
                score.add(found, f"seed {seed}, row {score.rows}: {group.settings}")
            mu = law.next_mu(mu, tau, eta, law.surprise(row.row(), row.listed()["id"][row.array.selected]))
        lib.llama_sampler_free(made)
