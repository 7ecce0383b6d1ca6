"""llama.cpp through llama-cpp-python's low-level calls: model, tokenizer, context."""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poise.errors import EngineError, ModelError, PoiseError

try:
    import llama_cpp
    import llama_cpp.llama_cpp as lib
except (OSError, RuntimeError) as error:  # it is there and was built for another machine, or lacks a library
    raise EngineError(
        "llama-cpp-python must load its own library", str(error), "Build it here: pip install --force-reinstall it"
    ) from error

READ = 512  # tokens computed at once, at most: a prompt read in other parts would have other last bits
_ERROR, _KEPT = 4, 8  # its log level, and how many of its messages are remembered
_GUESSED = 1024  # a flag beside the file type, set where a file does not state it
_messages: deque[str] = deque(maxlen=_KEPT)


def _listen(level: int, text: bytes, _: object) -> None:
    """Keep errors, which say why a file cannot be loaded; print everything when debugging."""
    said = text.decode("utf-8", "replace")
    if os.environ.get("POISE_DEBUG"):
        sys.stderr.write(said)
    if level == _ERROR:
        _messages.append(said.strip())


_ear = lib.llama_log_callback(_listen)  # kept alive: the library calls it as long as it is loaded
lib.llama_log_set(_ear, ctypes.c_void_p(0))
lib.llama_backend_init()


def versions() -> dict[str, str]:
    """What computes: the binding's version, llama.cpp's own, and what it was built for."""
    return {
        "llama-cpp-python": llama_cpp.__version__,
        "llama.cpp": lib.llama_version().decode(),
        "llama.cpp build": lib.llama_print_system_info().decode().strip(" |"),
    }


def most_streams() -> int:
    """Streams that one context may have."""
    return int(lib.llama_max_parallel_sequences())


def has_gpu() -> bool:
    """Whether this build of llama.cpp computes on a GPU."""
    return bool(lib.llama_supports_gpu_offload())


class Model:
    """A loaded GGUF file.

    Args:
        path: the file.
        cpu: compute on the CPU although the build can do otherwise.

    Raises:
        ModelError: llama.cpp cannot load it, or it draws no continuation.
    """

    def __init__(self, path: str, cpu: bool) -> None:
        wanted = lib.llama_model_default_params()
        if cpu:
            wanted.n_gpu_layers = 0
        _messages.clear()
        self.cpu = cpu
        self.pointer = lib.llama_model_load_from_file(os.fsencode(path), wanted)
        if not self.pointer:
            raise _refused(path)
        self._end = weakref.finalize(self, lib.llama_model_free, self.pointer)
        self._vocab = lib.llama_model_get_vocab(self.pointer)
        self.size = int(lib.llama_vocab_n_tokens(self._vocab))
        self.context_length = int(lib.llama_model_n_ctx_train(self.pointer))
        self._pieces: dict[tuple[int, bool], bytes] = {}

    @cached_property
    def metadata(self) -> dict[str, str]:
        """Every single value that the file states, as text; lists are left out."""
        found: dict[str, str] = {}
        for i in range(lib.llama_model_meta_count(self.pointer)):
            name = _text(lib.llama_model_meta_key_by_index, self.pointer, i)
            found[name] = _text(lib.llama_model_meta_val_str_by_index, self.pointer, i)
        return found

    @cached_property
    def file_type(self) -> str:
        """How most weights are stored, as llama.cpp names it: ``Q4_1``, ``Q4_K_M``, ``F16``."""
        number = int(lib.llama_model_ftype(self.pointer)) & ~_GUESSED
        names = {v: n for n, v in vars(lib).items() if n.startswith("LLAMA_FTYPE_") and isinstance(v, int)}
        name: str = names.get(number, f"type {number}").removeprefix("LLAMA_FTYPE_")
        return name.removeprefix("MOSTLY_").removeprefix("ALL_")

    @property
    def template(self) -> str | None:
        """The chat template that the file brings."""
        found = lib.llama_model_chat_template(self.pointer, None)
        return None if found is None else str(found, "utf-8", "replace")

    @property
    def kind(self) -> str:
        """``decoder``, or what else the model is: its rows cannot be shared and cut, or it continues no text."""
        tests = {
            "recurrent": lib.llama_model_is_recurrent,
            "hybrid": lib.llama_model_is_hybrid,
            "diffusion": lib.llama_model_is_diffusion,
            "encoder": lib.llama_model_has_encoder,
        }
        found = next((kind for kind, test in tests.items() if test(self.pointer)), "decoder")
        architecture = self.metadata.get("general.architecture", "")
        return "encoder" if self.metadata.get(f"{architecture}.attention.causal") == "false" else found

    @property
    def token_bytes(self) -> int:
        """Memory of one token's keys and values in half precision, over all layers."""
        said, architecture = self.metadata, self.metadata.get("general.architecture", "")
        heads = int(lib.llama_model_n_head_kv(self.pointer))
        usual = int(lib.llama_model_n_embd(self.pointer)) // max(1, int(lib.llama_model_n_head(self.pointer)))
        widths = (int(said.get(f"{architecture}.attention.{part}_length", usual)) for part in ("key", "value"))
        return 2 * heads * sum(widths) * int(lib.llama_model_n_layer(self.pointer))

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Every token that ends a text, a turn or a document."""
        return frozenset(i for i in range(self.size) if lib.llama_vocab_is_eog(self._vocab, i))

    def is_control(self, token: int) -> bool:
        """Whether a token is no text."""
        return bool(lib.llama_vocab_is_control(self._vocab, token))

    def text_of(self, token: int) -> str:
        """A token as the file spells it."""
        found: bytes = lib.llama_vocab_get_text(self._vocab, token)
        return found.decode("utf-8", "replace")

    def vocabulary(self) -> list[tuple[str, int, float]]:
        """Text, attributes and score of every token."""
        v = self._vocab
        texts, attributes, scores = lib.llama_vocab_get_text, lib.llama_vocab_get_attr, lib.llama_vocab_get_score
        return [(texts(v, i).decode("utf-8", "replace"), int(attributes(v, i)), float(scores(v, i)))
                for i in range(self.size)]  # fmt: skip

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Token ids of a text in which special tokens may be written out.

        Args:
            text: any Unicode.
            special: add what the tokenizer puts around a text, such as a first token.

        Returns:
            The ids.
        """
        said = text.encode("utf-8", "replace")
        room = len(said) + 8
        while True:
            ids = (lib.llama_token * room)()
            count = int(lib.llama_tokenize(self._vocab, said, len(said), ids, room, special, True))
            if count >= 0:
                return list(ids[:count])
            room = -count

    def piece(self, token: int, special: bool) -> bytes:
        """What a token writes; special ones write nothing unless asked for."""
        key = (token, special)
        if key not in self._pieces:
            room = 64
            while True:
                buffer = ctypes.create_string_buffer(room)
                count = int(lib.llama_token_to_piece(self._vocab, token, buffer, room, 0, special))
                if count >= 0:
                    break
                room = -count
            self._pieces[key] = buffer.raw[:count]
        return self._pieces[key]


class Context:
    """Streams of tokens, each with keys and values of its own, computed side by side.

    Args:
        model: what computes.
        streams: how many.
        capacity: tokens that one can hold.
        threads: to compute with.

    Raises:
        EngineError: it does not fit into memory.
    """

    def __init__(self, model: Model, streams: int, capacity: int, threads: int) -> None:
        wanted = lib.llama_context_default_params()
        wanted.n_ctx, wanted.n_seq_max = streams * capacity, streams
        wanted.n_batch = wanted.n_ubatch = READ
        wanted.n_threads = wanted.n_threads_batch = threads
        # One cache for all would put a row's tokens where there is room: their order, and so the sums, would
        # depend on the neighbours.
        wanted.kv_unified = False
        wanted.swa_full = True  # a row is cut back to its parent's length, further than a window reaches
        wanted.no_perf = True
        if model.cpu:
            wanted.offload_kqv = wanted.op_offload = False
        _messages.clear()
        self._model = model  # kept alive: the context computes with its weights
        self._pointer = lib.llama_init_from_model(model.pointer, wanted)
        self._memory = lib.llama_get_memory(self._pointer) if self._pointer else None
        if not self._memory:
            raise EngineError(
                "The texts under way must fit into memory",
                _reason() or f"{streams} texts of {capacity:,} tokens",
                "Take fewer --max-tokens, shorter prompts, or a smaller model",
            )
        self._end = weakref.finalize(self, lib.llama_free, self._pointer)
        self._tokens, self._positions, self._streams, self._ones = np.zeros((4, READ), dtype=np.int32)
        self._ones[:] = 1
        self._wanted = np.zeros(READ, dtype=np.int8)
        step = self._streams.itemsize
        self._lists = np.arange(READ, dtype=np.uintp) * np.uintp(step) + np.uintp(self._streams.ctypes.data)

    def copy(self, source: int, target: int) -> None:
        """Make one stream hold what another holds."""
        lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def cut(self, stream: int, length: int) -> None:
        """Forget a stream's tokens from a position on."""
        if not lib.llama_memory_seq_rm(self._memory, stream, length, -1):
            raise EngineError("A text's end can be taken back", f"llama.cpp keeps it, at {length} tokens")

    def decode(self, tokens: Sequence[int], positions: Sequence[int], streams: Sequence[int], last: int) -> Any:
        """Compute tokens, each at its position of its stream.

        Args:
            tokens: (n,) ids, at most `READ`.
            positions: (n,) from 0; those of one stream follow each other and what it holds.
            streams: (n,) where each goes.
            last: how many of them, from the end, give logits.

        Returns:
            Logits, (last, V), float32, a copy.

        Raises:
            EngineError: it failed.
        """
        n = len(tokens)
        self._tokens[:n], self._positions[:n], self._streams[:n] = tokens, positions, streams
        self._wanted[:n] = 0
        self._wanted[n - last : n] = 1
        batch = lib.llama_batch(
            n_tokens=n,
            token=_at(self._tokens, lib.llama_token),
            embd=None,
            pos=_at(self._positions, lib.llama_pos),
            n_seq_id=_at(self._ones, ctypes.c_int32),
            seq_id=_at(self._lists, ctypes.POINTER(lib.llama_seq_id)),
            logits=_at(self._wanted, ctypes.c_int8),
        )
        _messages.clear()
        code = int(lib.llama_decode(self._pointer, batch))
        if code:
            raise EngineError(
                "llama.cpp must compute every token",
                f"code {code}: {_reason() or 'no reason given'}",
                "Take fewer --max-tokens if memory is short",
            )
        if not last:
            return np.zeros((0, self._model.size), dtype=np.float32)
        found = np.ctypeslib.as_array(lib.llama_get_logits(self._pointer), shape=(last, self._model.size))
        return np.array(found)  # the library writes the next step's over it


def _at(values: NDArray[Any], kind: Any) -> Any:
    return values.ctypes.data_as(ctypes.POINTER(kind))


def _text(read: Any, pointer: Any, index: int) -> str:
    """A text that the library writes into a buffer, however long it is."""
    room = 256
    while True:
        buffer = ctypes.create_string_buffer(room)
        length = int(read(pointer, index, buffer, room))
        if length < room:
            return buffer.value.decode("utf-8", "replace")
        room = length + 1


def _reason() -> str:
    """The error that llama.cpp logged: the one that says why where there is one, else the first."""
    said = [m.partition("error loading model: ")[2].removeprefix("error loading model ") or m for m in _messages if m]
    found = next((m for m in said if "architecture" in m or "not found" in m or "bounds" in m), said[0] if said else "")
    return found.removeprefix("architecture: ")


def _refused(path: str) -> PoiseError:
    """Why a file cannot be loaded, and the way out."""
    why = _reason() or "no reason given"
    name = os.path.basename(path)
    if "architecture" in why:
        return ModelError(
            "llama.cpp must know the model's architecture", f"{why} in {name}",
            "Take a newer llama-cpp-python, or the safetensors: hf:NAME_OR_DIR",
        )  # fmt: skip
    if "alloc" in why:
        return EngineError("A model must fit into memory", f"{why} for {name}", "Take a smaller one")
    return ModelError("A GGUF file must be whole and hold a model", f"{why} in {name}", "Download it again")
