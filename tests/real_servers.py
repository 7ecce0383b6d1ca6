"""Starts real servers of the embedded model on this machine, and stops them again."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 420.0  # seconds until a server answers: vLLM compiles what it computes with, and others may be at work
CONTEXT = 2048  # tokens of prompt and text


class Software(NamedTuple):
    """A server's software: the folder of its environment, the module that has to be in it, how it is started."""

    folder: str
    module: str
    command: Callable[[Path, int], list[str]]
    wants: str  # "folder" of a transformers model, or a "gguf" file


def _vllm(model: Path, port: int) -> list[str]:
    return [
        "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", "smollm2",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", str(CONTEXT),
        "--max-num-seqs", "64", "--block-size", "32", "--enforce-eager",
    ]  # fmt: skip


# llama-server's own code, as a library that Python packages ship; the program itself takes the same settings as flags.
_LLAMA_SERVER = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.model_alias, p.port, context = sys.argv[1], {"smollm2"}, int(sys.argv[2]), int(sys.argv[3])
p.n_parallel, p.n_ctx, p.endpoint_props = 8, 8 * context, True
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = xllamacpp.Server(p)
sys.stdin.read()
"""


def _llama_server(model: Path, port: int) -> list[str]:
    return ["-c", _LLAMA_SERVER, str(model), str(port), str(CONTEXT)]


def _llama_cpp_python(model: Path, port: int) -> list[str]:
    return [
        "-m", "llama_cpp.server", "--model", str(model), "--model_alias", "smollm2", "--host", "127.0.0.1",
        "--port", str(port), "--n_ctx", str(CONTEXT), "--n_threads", "1", "--logits_all", "true",
    ]  # fmt: skip


SOFTWARE = {
    "vllm": Software(".venv-vllm", "vllm", _vllm, "folder"),
    "llama-server": Software(".venv-llamaserver", "xllamacpp", _llama_server, "gguf"),
    "llama-cpp-python": Software(".venv-llamacpp", "uvicorn", _llama_cpp_python, "gguf"),
}


def why_missing(name: str) -> str:
    """Why a server cannot be started here; empty where it can.

    Args:
        name: a key of `SOFTWARE`.

    Returns:
        The reason.
    """
    software = SOFTWARE[name]
    if list((ROOT / software.folder).glob(f"lib/python*/site-packages/{software.module}")):
        return ""
    return f"{name} is not set up here: `make servers` does it"


@contextlib.contextmanager
def serving(name: str, model: Path, log: Path) -> Iterator[str]:
    """A server while the block runs.

    Args:
        name: a key of `SOFTWARE`.
        model: a folder or a GGUF file, whichever it wants.
        log: where its output goes.

    Yields:
        Its URL, up to ``/v1``.

    Raises:
        RuntimeError: it does not start; the end of its log is in the message.
    """
    port = free_port()
    python = str(ROOT / SOFTWARE[name].folder / "bin" / "python")
    settings = {
        "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            [python, *SOFTWARE[name].command(model, port)],
            stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent,
            env={**os.environ, **settings}, start_new_session=True, preexec_fn=_ends_with_parent,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1"
    try:
        _wait(name, process, url, log)
        yield url
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and what it started: asked first, then made to."""
    if process.stdin is not None:
        process.stdin.close()
    for sign, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers that outlived it


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def embedded_gguf() -> Path:
    """The embedded model's file, as it was fetched."""
    from poise import models

    return next((models.cache_root() / "models" / "smollm2-gguf").glob("*.gguf"))


def whole_gguf(source: Path, target: Path) -> Path:
    """The same weights as the converted model has, in float32, for servers that read GGUF.

    Args:
        source: a GGUF file, quantised or not.
        target: where the new one goes.

    Returns:
        The new one.
    """
    import gguf
    import torch

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kinds = field.types
        writer.add_key_value(name, field.contents(), kinds[0], kinds[-1] if len(kinds) > 1 else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.tensor_type not in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            values = torch.from_numpy(values.copy()).bfloat16().float().numpy()  # as the conversion stores them
        writer.add_tensor(tensor.name, values.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _wait(name: str, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError), opener.open(f"{url}/models", timeout=5) as reply:
            if reply.status == 200:
                return
        time.sleep(0.5)
    said = log.read_text("utf-8", "replace")[-2000:]
    raise RuntimeError(f"{name} did not start within {PATIENCE:g} s, or ended with {process.poll()}: {said}")


def _ends_with_parent() -> None:
    """Nothing is left behind, whatever ended this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
