"""Models that poise converted itself: the embedded one and GGUF files."""

from __future__ import annotations

import importlib
import json
from typing import Any

import safetensors.torch
import tokenizers
import torch

from poise import models
from poise.engines import certificates, conversion, llama
from poise.engines.certificates import Certificate
from poise.engines.codecs import PlainCodec
from poise.engines.llama import LlamaStep
from poise.engines.local import LocalEngine, Parts, find_device, find_dtype, machine
from poise.engines.local_session import PADDINGS, PRODUCTS, Padding, self_test, steadiest
from poise.errors import ModelError
from poise.models import ModelFiles

STOCK = "poise.engines.hf"  # imports transformers, which takes longer than loading the embedded model


def make_embedded(name: str, *, dtype: str, device: str, trust_remote_code: bool) -> LocalEngine:
    """`load("smollm2")`."""
    if name:
        raise ModelError("The embedded model is written smollm2", repr(f"smollm2:{name}"), "Leave the rest out")
    return make(models.find("smollm2", convert=conversion.convert), dtype, device)


def make_gguf(name: str, *, dtype: str, device: str, trust_remote_code: bool) -> LocalEngine:
    """`load("gguf:FILE")`."""
    return make(models.find(f"gguf:{name}", convert=conversion.convert), dtype, device)


def make(files: ModelFiles, dtype: str, device: str) -> LocalEngine:
    """An engine for converted files: our own decoder where it was found to agree with transformers' code.

    The comparison needs transformers and is made once per model, dtype and machine; its outcome is
    kept, so that a later load needs neither the comparison nor the library.

    Args:
        files: of a model that poise converted.
        dtype: see `load`.
        device: see `load`.

    Returns:
        The engine.
    """
    found_device = find_device(device)
    found_dtype = find_dtype(dtype, found_device)
    config = json.loads((files.directory / "config.json").read_text("utf-8"))
    name = certificates.key(
        files.weights_sha256, found_dtype, LlamaStep.NAMES, (PADDINGS, PRODUCTS), machine(found_device)
    )
    certificate = certificates.read(name)
    if certificate is None and llama.fits(config):
        certificate = _certify(config, _tensors(files, found_dtype, found_device), files)
        certificates.write(name, certificate)
    if certificate is None or certificate.path not in LlamaStep.NAMES.values():
        engine: LocalEngine = importlib.import_module(STOCK).make(files, dtype=dtype, device=device)
        return engine
    packed = certificate.path == LlamaStep.NAMES[True]
    step = LlamaStep(config, _tensors(files, found_dtype, found_device), packed=packed)
    padding = Padding(*certificate.padding)
    eos = _eos(config, files)
    libraries = {"tokenizers": tokenizers.__version__}
    length = config.get("max_position_embeddings")
    return LocalEngine(Parts(files, PlainCodec(files.directory), step, padding, eos, length, libraries))


def _certify(config: dict[str, Any], tensors: dict[str, torch.Tensor], files: ModelFiles) -> Certificate:
    """Compare with transformers' own code, and find the padding."""
    step = LlamaStep(config, tensors)
    if not importlib.import_module(STOCK).agrees_with_stock(step, files):
        return Certificate("stock", *self_test(step))
    path, padding = steadiest(LlamaStep(config, tensors, packed=packed) for packed in LlamaStep.NAMES)
    return Certificate(path, *padding)


def _tensors(files: ModelFiles, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(files.directory.glob("*.safetensors")):
        tensors |= safetensors.torch.load_file(path, device=str(device))
    return {name: t.to(dtype) for name, t in tensors.items()}


def _eos(config: dict[str, Any], files: ModelFiles) -> frozenset[int]:
    given: list[Any] = [config.get("eos_token_id"), (files.generation_config or {}).get("eos_token_id")]
    return frozenset(int(i) for g in given if g is not None for i in (g if isinstance(g, list) else [g]))
