"""Artefacts in the engines that they are for: vLLM, mlx-lm, llama-server."""

from __future__ import annotations

import json
import math
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import poise
import real_servers
from poise.exports.catalogue import TARGETS
from poise.params import SamplingParams

pytestmark = pytest.mark.slow

FULL = SamplingParams(
    temperature=0.7, top_k=40, top_p=0.9, min_p=0.05, repetition_penalty=1.1, frequency_penalty=0.5,
    presence_penalty=-0.5, logit_bias={5: -1.5, 7: 2.0}, dialect="vllm",
)  # fmt: skip
PLAIN = SamplingParams(dialect="vllm")


def python_of(folder: str, module: str) -> str:
    """The Python of another environment, or a skip where it is not set up."""
    root = real_servers.ROOT / folder
    if not list(root.glob(f"lib/python*/site-packages/{module}")):
        pytest.skip(f"{module} is not set up in {folder}")
    return str(root / "bin" / "python")


def run(python: str, code: str) -> Any:
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("params", [FULL, PLAIN, SamplingParams(temperature=0, dialect="vllm")])
def test_vllm_makes_the_same_settings_of_the_snippet_and_of_the_request(params: SamplingParams) -> None:
    """Whatever the server's own defaults are."""
    snippet, body = (poise.export(params, name).text for name in ("vllm", "vllm-server"))
    names = ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty"]
    code = f"""
import json
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
exec({snippet!r})
request = CompletionRequest(model="m", prompt="p", **json.loads({body!r}))
served = request.to_sampling_params(9, {{"temperature": 0.1, "top_k": 3, "top_p": 0.2, "min_p": 0.9}})
print()
print(json.dumps([[[getattr(p, n) for n in {names!r}], p.logit_bias] for p in (sampling_params, served)]))
"""
    written, asked = run(python_of(".venv-vllm", "vllm"), code)
    off = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1}
    wanted = [getattr(params, n) if getattr(params, n) is not None else off.get(n, 0) for n in names]
    assert written[0] == asked[0] == wanted
    assert written[1] == asked[1] == ({str(t): b for t, b in params.logit_bias} if params.logit_bias else None)


def test_every_field_of_vllm_is_known() -> None:
    fields = run(
        python_of(".venv-vllm", "vllm"),
        "import json, vllm.sampling_params as m; print(); print(json.dumps(list(m.SamplingParams.__struct_fields__)))",
    )
    sheet = TARGETS["vllm"].sheets["python"]
    known = {*sheet.names.values(), "logit_bias", *sheet.apart, *sheet.neutral, "output_text_buffer_length"}
    assert {f for f in fields if not f.startswith("_")} <= known


def test_mlx_draws_by_the_snippet() -> None:
    params = SamplingParams(
        temperature=0.5, top_k=3, logit_bias={2: -math.inf}, repetition_penalty=1.3, dialect="mlx"
    )  # fmt: skip
    code = f"""
import json
import mlx.core as mx
exec({poise.export(params, "mlx").text!r})
logits = mx.array([[3.0, 2.0, 9.0, 1.0, 0.0]])
for processor in logits_processors:
    logits = processor(mx.array([0]), logits)
drawn = [int(sampler(logits - mx.logsumexp(logits))[0]) for _ in range(300)]
print(json.dumps([logits.tolist()[0][:2], sorted(set(drawn))]))
"""
    penalised, kept = run(python_of(".venv-mlx", "mlx_lm"), code)
    assert penalised == pytest.approx([3 / 1.3, 2.0], abs=1e-5)
    assert kept == [0, 1, 3]


@pytest.mark.model
def test_llama_server_takes_the_file_and_the_request(tmp_path: Path) -> None:
    """What it starts with from a GGUF file's keys, and what a request changes: it says both."""
    if missing := real_servers.why_missing("llama-server"):
        pytest.skip(missing)
    poise.load("smollm2")  # fetches the file where this machine has never had it
    of_file = poise.export(SamplingParams(temperature=0.65, top_p=0.8, repetition_penalty=1.2), "gguf")
    model = of_file.write(tmp_path / "model.gguf", real_servers.embedded_gguf())
    params = SamplingParams(
        temperature=0.35, min_p=0.1, typical_p=0.9, top_n_sigma=1.5, xtc_probability=0.25, dry_multiplier=0.8,
        dry_breakers=["\n", "none"], frequency_penalty=0.5, logit_bias={5: -math.inf, 7: 1.5}, dialect="llama.cpp",
        order=("logit_bias", "temperature", "typical_p", "dry_multiplier", "min_p", "xtc_probability", "top_n_sigma",
               "frequency_penalty"),
    )  # fmt: skip
    of_request = poise.export(params, "llama-server")
    with real_servers.serving("llama-server", model, tmp_path / "server.log") as url:
        root = url.removesuffix("/v1")
        started = ask(f"{root}/props")["default_generation_settings"]["params"]
        told = ask(f"{root}/completion", {**json.loads(of_request.text), "prompt": "Once", "n_predict": 1})
    for name, found, said in (("file", of_file, started), ("request", of_request, told["generation_settings"])):
        again = {field: said[field] for field in _FIELDS if field in said}
        mine = json.loads(poise.export(found.params, "llama-server").text)
        assert {f: again[f] for f in _FIELDS if isinstance(mine[f], (int, float))} == pytest.approx(
            {f: mine[f] for f in _FIELDS if isinstance(mine[f], (int, float))}, rel=1e-6
        ), name
        assert again["samplers"] == mine["samplers"], name
    assert told["generation_settings"]["dry_sequence_breakers"] == ["\n", "none"]
    assert len(told["generation_settings"]["logit_bias"]) == 2


_FIELDS = [
    *(f for names in [TARGETS["llama-server"].sheets["json"].names.values()] for f in names), "samplers",
]  # fmt: skip


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as reply:
        return json.load(reply)
