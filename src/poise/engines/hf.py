"""Transformers models: any decoder-only one, by folder or hub name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tokenizers
import torch
import transformers

from poise import models
from poise.engines import certificates, conversion, llama
from poise.engines.certificates import Certificate
from poise.engines.hf_stock import StockStep, cannot_share, check_rows
from poise.engines.llama import LlamaStep
from poise.engines.local import LocalEngine, Parts, find_device, find_dtype, machine
from poise.engines.local_session import PADDINGS, Padding, Step, agrees, steadiest
from poise.errors import EngineError, ModelError, PromptError
from poise.models import ModelFiles
from poise.records import Message

transformers.utils.logging.disable_progress_bar()  # a library must not draw on its user's terminal
ATTENTION = ("sdpa", "eager")  # the fused kernel first; in float32 on a CPU only the plain one keeps a row's bits


class HFCodec:
    """A transformers tokenizer; see `local.Codec`.

    Args:
        files: the model's.
        trust: run Python code that ships with the model.
    """

    def __init__(self, files: ModelFiles, trust: bool) -> None:
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                files.directory, trust_remote_code=trust, clean_up_tokenization_spaces=False
            )
        except Exception as error:  # many kinds, by file format
            raise ModelError("A model needs a readable tokenizer", str(error), f"Look into {files.name}") from error
        template = self._tokenizer.chat_template
        self.template = None if template is None else str(template)
        self.special_ids = frozenset(self._tokenizer.all_special_ids)
        self.eos_id: int | None = self._tokenizer.eos_token_id

    def encode(self, text: str, special: bool) -> list[int]:
        """See `local.Codec.encode`."""
        ids: list[int] = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        return ids

    def render(self, messages: Sequence[Message], thinking: bool | None = None) -> str:
        """See `local.Codec.render`."""
        turns = [{"role": m.role, "content": m.content} for m in messages]
        more = {} if thinking is None else {"enable_thinking": thinking}
        try:
            said: str = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **more)
        except Exception as error:  # templates are Jinja programs of the model's maker: they raise anything
            raise PromptError(
                "The model's chat template must accept the messages", str(error), "Check the roles, or ask with --text"
            ) from error
        return said

    def decode(self, ids: Sequence[int], special: bool = False) -> str:
        """See `local.Codec.decode`."""
        said: str = self._tokenizer.decode(list(ids), skip_special_tokens=not special)
        return said


def make_hf(name: str, *, dtype: str, device: str, trust_remote_code: bool) -> LocalEngine:
    """`load("hf:NAME_OR_DIR")`."""
    files = models.find(f"hf:{name}", convert=conversion.convert, trust_remote_code=trust_remote_code)
    return make(files, dtype=dtype, device=device, trust=trust_remote_code)


def make(
    files: ModelFiles, *, dtype: str = "auto", device: str = "auto", trust: bool = False, fast: bool = True
) -> LocalEngine:
    """An engine of a transformers model.

    Args:
        files: the model's.
        dtype: see `load`.
        device: see `load`.
        trust: run Python code that ships with the model.
        fast: take our own decoder where it agrees with transformers' code; False is that code always.

    Returns:
        The engine.

    Raises:
        ModelError: weights, config or tokenizer cannot be used.
    """
    found_device = find_device(device)
    model = _model(files, find_dtype(dtype, found_device), found_device, trust)
    codec = HFCodec(files, trust)
    name = certificates.key(
        files.weights_sha256,
        model.dtype,
        LlamaStep.NAMES,
        fast,
        PADDINGS,
        transformers.__version__,
        machine(found_device),
    )
    certificate = certificates.read(name)
    if certificate is None:
        certificate = _certify(model, fast)
        certificates.write(name, certificate)
    step = _step(model, certificate.path)
    padding = Padding(*certificate.padding)
    libraries = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return LocalEngine(Parts(files, codec, step, padding, _eos(model, codec), length, libraries))


def agrees_with_stock(step: LlamaStep, files: ModelFiles) -> bool:
    """Whether our own decoder agrees with transformers' code on the same weights.

    Args:
        step: ours.
        files: of the model.

    Returns:
        See `local_session.agrees`.
    """
    model = _model(files, step.dtype, step.device, trust=False)
    return agrees(step, *(StockStep(model, a) for a in ATTENTION))


def _certify(model: Any, fast: bool) -> Certificate:
    """Our own step where it fits and agrees; else the stock one, with the first attention whose bits hold."""
    config = model.config.to_dict()
    if fast and llama.fits(config):
        ours = LlamaStep(config, model.state_dict())
        if agrees(ours, *(StockStep(model, a) for a in ATTENTION)):
            name, padding = steadiest(LlamaStep(config, model.state_dict(), packed=p) for p in LlamaStep.NAMES)
            return Certificate(name, *padding)
    kernels = ATTENTION if model._supports_sdpa else ATTENTION[1:]
    try:
        check_rows(model, kernels[0])
        path, padding = steadiest(StockStep(model, a) for a in kernels)
    except (ValueError, KeyError, IndexError, RuntimeError, AttributeError, TypeError) as error:
        raise cannot_share(model, f"{type(error).__name__}: {error}") from error
    return Certificate(path, *padding)


def _step(model: Any, path: str) -> Step:
    if path in LlamaStep.NAMES.values():
        return LlamaStep(model.config.to_dict(), model.state_dict(), packed=path == LlamaStep.NAMES[True])
    return StockStep(model, path.removeprefix("stock-"))


def _model(files: ModelFiles, dtype: torch.dtype, device: torch.device, trust: bool) -> Any:
    try:
        model, told = transformers.AutoModelForCausalLM.from_pretrained(
            files.directory, dtype=dtype, use_safetensors=True, trust_remote_code=trust, output_loading_info=True
        )
        lacking = sorted(map(str, [*told["missing_keys"], *told["mismatched_keys"]]))
        if not lacking:
            return model.to(device).eval()
    except torch.OutOfMemoryError as error:
        raise EngineError("A model must fit into the device's memory", str(error), "Try --device cpu") from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError("A model's weights must fit its config", str(error), f"Fetch {files.name} again") from error
    # transformers would fill them with random numbers, other ones at every load
    raise ModelError(
        "A model's weights must be complete", f"{len(lacking)} missing, {lacking[0]} for one", "Fetch it again"
    )


def _eos(model: Any, codec: HFCodec) -> frozenset[int]:
    given = [model.generation_config.eos_token_id, model.config.get_text_config().eos_token_id, codec.eos_id]
    return frozenset(i for g in given if g is not None for i in (g if isinstance(g, list) else [g]))
