"""llama.cpp in process: bits, threads, libraries and files that are not as they should be."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_cpp", reason="the extra `llamacpp` is not here: pip install -e '.[llamacpp]' compiles it")
pytest.importorskip("gguf", reason="writes GGUF files with the extra `local`")


import tiny_models
from poise.engines import certificates, llamacpp, llamacpp_library, llamacpp_session
from poise.engines.fake import FakeLaw
from poise.engines.llamacpp import LlamaCppEngine
from poise.engines.llamacpp_session import LlamaCppSession
from poise.errors import EngineError
from poise.models import embedded
from poise.records import Prompt
from test_llamacpp import Write, drawn, loaded, small, tiny, write
from test_replay import differing, requests

__all__ = ["small", "tiny", "write"]


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No certificate is read or kept."""
    monkeypatch.setattr(certificates, "read", lambda name: None)
    monkeypatch.setattr(certificates, "write", lambda name, certificate: None)
    return


@pytest.mark.parametrize(
    ("wobble", "path", "replay"),
    [
        (lambda tokens: float(len(tokens) == 1), "llama.cpp/2,1,64", "verified"),
        (lambda tokens: float(len(tokens) < 8), "llama.cpp/8,1,64", "verified"),
        (lambda tokens: float(len(tokens) % 8), "llama.cpp/8,8,64", "verified"),
        (lambda tokens: float(len(tokens)), "llama.cpp/64,64,64", "verified"),
        (lambda tokens: float(sum(tokens)), "llama.cpp/1,1,1", "verified"),
        (lambda tokens: np.random.default_rng().random(), "llama.cpp/1,1,1", "unverified"),
    ],
    ids=["one row", "few rows", "remainders", "number of rows", "neighbours", "anything"],
)
def test_bits_that_depend_on_other_rows(
    write: Write, untested: None, monkeypatch: pytest.MonkeyPatch, wobble: Any, path: str, replay: str
) -> None:
    """The self-test takes the first way to compute in which they do not, and says where there is none."""
    real = llamacpp_library.Context.decode

    def wobbly(self: Any, tokens: Any, positions: Any, streams: Any, last: int) -> Any:
        found = real(self, tokens, positions, streams, last)
        return found + np.float32(1e-3 * wobble(tokens)) if last == len(tokens) else found

    monkeypatch.setattr(llamacpp_library.Context, "decode", wobbly)
    found = loaded(write("llama")).fingerprint
    assert (found.path, found.provenance["replay"]) == (path, replay)


def test_the_self_test_is_made_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("qwen3")
    loaded(path)
    monkeypatch.setattr(llamacpp_session, "self_test", lambda *given: pytest.fail("tested again"))
    loaded(path)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert llamacpp.find_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "all")
    assert llamacpp.find_threads() >= 1


def test_without_torch_the_definition_of_the_law_is_used(
    write: Write, tiny: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("qwen2", tokenizer__chat_template=tiny_models.CHATML)
    monkeypatch.setitem(sys.modules, "torch", None)
    plain = loaded(path)
    monkeypatch.undo()
    assert isinstance(plain.law, FakeLaw)
    assert plain.fingerprint.provenance["law"] == "numpy"
    for params in ({"temperature": 0}, {"temperature": 0.8, "top_p": 0.9}, {"min_p": 0.1, "repetition_penalty": 1.2}):
        assert drawn(plain, **params).token_ids == drawn(tiny, **params).token_ids
    assert drawn(plain).logprobs == pytest.approx(drawn(tiny).logprobs, abs=1e-5)


def test_the_engine_imports_no_torch() -> None:
    code = "import sys, poise.engines.llamacpp; sys.exit('torch' in sys.modules or 'tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_llama_cpp_is_silent_unless_debugging(
    write: Write, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POISE_DEBUG", raising=False)
    path = write("llama")
    capfd.readouterr()  # what writing the file said
    drawn(loaded(path))
    out, err = capfd.readouterr()
    assert out == ""
    assert all(line.startswith("poise: ") for line in err.splitlines())
    monkeypatch.setenv("POISE_DEBUG", "1")
    loaded(path)
    assert "llama_model_loader" in capfd.readouterr().err


def test_a_model_in_several_files_is_hashed_whole(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF")
    before = llamacpp._weights(parts[0])
    parts[1].write_bytes(b"GGUF and more")
    assert llamacpp._weights(parts[0]) != before


def test_a_broken_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "llama_cpp":
                raise RuntimeError("Failed to load shared library")

    for name in [n for n in sys.modules if n.startswith(("llama_cpp", "poise.engines.llamacpp_library"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(EngineError, match="Failed to load shared library"):
        importlib.import_module("poise.engines.llamacpp_library")
    assert isinstance(LlamaCppSession, type)


@pytest.mark.model
def test_the_embedded_file_by_path_and_by_name(small: LlamaCppEngine) -> None:
    by_path = loaded(embedded.gguf_file())
    assert by_path.fingerprint.deciding() == small.fingerprint.deciding()
    assert small.fingerprint.weights == embedded.GGUF_SHA256
    assert small.fingerprint.dtype == "Q4_1"


@pytest.mark.model
@pytest.mark.slow
def test_six_hundred_texts_replay(small: LlamaCppEngine) -> None:
    """600 completions of the embedded model, shuffled in batches of 1 to 128: 0 tokens, 0 bits differ."""
    rng = random.Random(21)
    assert differing(small, requests(small, 600, rng, (4, 12, 40)), rng) == (0, 0)  # type: ignore[arg-type]


def test_a_prompt_is_read_in_parts(tiny: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part gives its logits, and drawing goes on behind them."""
    ids = tiny.encode(Prompt("the ship " * 40))[:120]
    session = tiny.session(140, 4)
    _, whole = session.prefill([ids])
    monkeypatch.setattr(llamacpp_session, "READ", 50)
    rows, parted = session.prefill([ids])
    assert np.abs(whole - parted).max() < 0.05
    assert np.array_equal(parted, session.prefill([ids])[1])
    scored = session.score(ids[:30], [*ids[30:], 9])
    assert scored.shape == (91, tiny.vocab_size)
    assert np.abs(scored[-1] - whole[0]).max() < 0.05
    _, after = session.advance(rows, [9])
    assert np.abs(after - session.score(ids, [9, 9])[1:]).max() < 0.05
