"""One decode step through the model's own transformers code: the definition."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from poise.engines.products import Product, products_of
from poise.engines.slots import BLOCK, LayerShape, Pad, Place, Slots, blocks
from poise.errors import ModelError

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25, torch.float16: 0.1}  # total variation distance


class StockStep:
    """The step as transformers computes it, one call per number of blocks read.

    Args:
        model: a causal language model of transformers.
        attention: ``sdpa`` or ``eager``, transformers' names of its kernels.

    Raises:
        ModelError: the model keeps a state that is no key/value cache.
    """

    def __init__(self, model: Any, attention: str) -> None:
        self.model, self.attention = model, attention
        self.name = self.name_with(attention)
        self.dtype: torch.dtype = model.dtype
        self.device: torch.device = model.get_input_embeddings().weight.device
        self.vocab_size = int(model.config.get_text_config().vocab_size)
        config = model.config.get_text_config()
        self.window = _window(config)
        # transformers 5.24 renamed the argument; code that a model brings along may keep the old name.
        named = inspect.signature(model.forward).parameters
        self.cache_name = "cache" if "cache" in named else "past_key_values"
        self.kinds = set(getattr(config, "layer_types", None) or ())
        unknown = self.kinds - KNOWN_LAYERS
        if unknown:
            raise cannot_share(model, f"layers of {', '.join(sorted(unknown))}")

    @staticmethod
    def name_with(attention: str) -> str:
        """The decode path's name."""
        return f"stock-{attention}"

    def shapes(self) -> list[LayerShape]:
        """Heads and widths of every layer's cache, found by reading one token."""
        _, cache = self._read([0], 1)
        return [
            LayerShape(c.keys.shape[1], c.keys.shape[3], c.values.shape[1], c.values.shape[3]) for c in cache.layers
        ]

    def products(self) -> list[Product]:
        """Its linear layers, one of each shape."""
        return products_of(self.model)

    def read(self, ids: Sequence[int], keep: int, slots: Slots | None = None, slot: int = 0) -> torch.Tensor:
        """Read a prompt alone, so that its bits depend on nothing else.

        Args:
            ids: the prompt's tokens.
            keep: how many last positions want logits.
            slots, slot: where its keys and values go; None for nowhere.

        Returns:
            Logits, (keep, V).
        """
        logits, cache = self._read(ids, keep)
        if slots is not None:
            for i, layer in enumerate(cache.layers):
                slots.fill(i, slot, layer.keys[0], layer.values[0])
        return logits

    def _read(self, ids: Sequence[int], keep: int) -> tuple[torch.Tensor, DynamicCache]:
        cache = DynamicCache()
        self.model.set_attn_implementation(self.attention)
        fed = torch.tensor([list(ids)], device=self.device)
        try:
            out = self.model(input_ids=fed, use_cache=True, logits_to_keep=keep, **{self.cache_name: cache})
        except (ValueError, AttributeError) as error:
            if _plain(cache):
                raise
            raise cannot_share(self.model, str(error)) from error
        if not _plain(cache):
            raise cannot_share(self.model, "a state of its own")
        return out.logits[0, -keep:], cache

    def __call__(self, tokens: torch.Tensor, places: list[Place], slots: Slots, pad: Pad) -> torch.Tensor:
        """Feed one token to each row.

        Args:
            tokens: (B,) ids.
            places: where each row lies, its new token counted; sorted by (blocks, slot).
            slots: the storage.
            pad: how many rows to compute for a wanted number.

        Returns:
            Logits, (B, V).
        """
        self.model.set_attn_implementation(self.attention)
        parts: list[torch.Tensor] = []
        start = 0
        for end in range(1, len(places) + 1):
            width = blocks(places[start].length)
            if end == len(places) or blocks(places[end].length) != width:
                parts.append(self._call(tokens[start:end], places[start:end], slots, pad, width))
                start = end
        return torch.cat(parts)

    def _call(self, tokens: torch.Tensor, places: list[Place], slots: Slots, pad: Pad, width: int) -> torch.Tensor:
        n, size = len(places), pad(len(places))
        repeat = [min(i, n - 1) for i in range(size)]  # padding repeats the last row and writes nothing
        at = torch.tensor([places[i].slot for i in repeat], device=tokens.device)
        last = torch.tensor([places[i].length - 1 for i in repeat], device=tokens.device)
        spots = slots.spots(places)
        layers: list[Any] = [_SlotLayer(slots, i, spots, at, width) for i in range(len(slots.keys))]
        out = self.model(
            input_ids=tokens[repeat][:, None],
            attention_mask=self._mask(last, width),
            position_ids=last[:, None],
            use_cache=True,
            **{self.cache_name: Cache(layers=layers)},
        )
        logits: torch.Tensor = out.logits[:n, -1]
        return logits

    def _mask(self, last: torch.Tensor, width: int) -> torch.Tensor | Mapping[str, torch.Tensor]:
        """What each row may read: (B, 1, 1, width) additive, or one per kind of layer."""
        reach = torch.arange(width, device=last.device)
        read = reach <= last[:, None]
        near = read if self.window is None else read & (reach > last[:, None] - self.window)
        masks = {"full_attention": self._additive(read), "sliding_attention": self._additive(near)}
        if len(self.kinds) > 1:
            return {kind: masks[kind] for kind in self.kinds}
        only = next(iter(self.kinds)) if self.kinds else "sliding_attention"
        return masks[only]

    def _additive(self, read: torch.Tensor) -> torch.Tensor:
        low = torch.finfo(self.model.dtype).min
        mask = torch.zeros(read.shape, dtype=self.model.dtype, device=read.device)
        return mask.masked_fill_(~read, low)[:, None, None]


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's cache of one step: writes the new token, returns the rows' slots."""

    is_sliding = False

    def __init__(self, slots: Slots, layer: int, spots: list[torch.Tensor], at: torch.Tensor, width: int) -> None:
        super().__init__()
        self.slots, self.layer, self.spots, self.is_initialized = slots, layer, spots, True
        self.at, self.width = at, width

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the slots are there."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write (B, heads, 1, width) at each row's last position; return all that it may read."""
        n = self.spots[self.layer].numel() // key_states.shape[1]  # padding beyond is not written
        self.slots.put(self.layer, self.spots, key_states[:n, :, 0], value_states[:n, :, 0])
        return self.slots.gather(self.layer, self.at, self.width)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what is read."""
        return self.width, 0

    def get_seq_length(self) -> int:
        """The longest row; positions are always given, so nothing is derived from it."""
        return self.width - 1

    def get_max_length(self) -> int:
        """The capacity of a slot."""
        return self.slots.capacity


def _plain(cache: DynamicCache) -> bool:
    """Whether every layer holds keys and values, and nothing else was asked for."""
    return bool(cache.layers) and all(getattr(layer, "keys", None) is not None for layer in cache.layers)


def _window(config: Any) -> int | None:
    """The attention window, None where every token reads all before it."""
    if not getattr(config, "use_sliding_window", True):
        return None
    found: int | None = getattr(config, "sliding_window", None)
    return found


@torch.inference_mode()
def check_rows(model: Any, attention: str) -> None:
    """Hold rows in slots against the model's plain forward: models that mask by themselves fail here.

    Args:
        model: a causal language model of transformers.
        attention: the kernel.

    Raises:
        ModelError: the next-token distributions differ by more than rounding.
    """
    step = StockStep(model, attention)
    count = min(step.vocab_size, 1000)
    length = min(BLOCK + 20, (getattr(model.config.get_text_config(), "max_position_embeddings", None) or BLOCK) - 4)
    ids = [(7 * i + 3) % count for i in range(length)]
    slots = Slots(2, blocks(length + 1), step.dtype, step.device)
    slots.allocate(step.shapes())
    rows = [slots.open(n) for n in (length - 1, length // 3)]
    for row in rows:
        place = slots.places[row]
        step.read(ids[: place.length], 1, slots, place.slot)
    lengths = [slots.places[row].length for row in rows]
    for row, n in sorted(zip(slots.extend(rows), lengths, strict=True), key=lambda pair: blocks(pair[1] + 1)):
        ours = step(torch.tensor([ids[n]], device=step.device), [slots.places[row]], slots, lambda wanted: wanted)[0]
        plain = model(input_ids=torch.tensor([ids[: n + 1]], device=step.device), use_cache=False).logits[0, -1]
        apart = (torch.softmax(ours.float(), -1) - torch.softmax(plain.float(), -1)).abs().sum() / 2
        if not float(apart) <= TOLERANCE[step.dtype]:
            raise cannot_share(model, f"rows that differ from its plain forward by {float(apart):.2g}")


def cannot_share(model: Any, why: str) -> ModelError:
    """The error for a model whose texts cannot share rows."""
    return ModelError(
        "A model's memory must be a key/value cache with plain masks, so that texts can share and leave it",
        f"{model.config.model_type}: {why}",
        "State-space, linear-attention and a few older models are not supported yet",
    )
