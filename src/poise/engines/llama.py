"""Decoding of Llama-shaped models, key/value cache written in place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F

from poise.engines.products import Product
from poise.engines.slots import BLOCK, LayerShape, Pad, Place, Slots, blocks
from poise.engines.weights import Linear

VERSION = 2  # raise when a change here changes bits: it is part of the decode path's name
SPARSE = 0.6  # below this share of used slots, gathering them is cheaper than reading past the holes
FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}
Config = Mapping[str, Any]  # a model's config.json


class Layer(NamedTuple):
    """One layer's weights, projections that read the same input stacked."""

    input_norm: torch.Tensor
    qkv: Linear
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    out: Linear
    post_norm: torch.Tensor
    gate_up: Linear
    down: Linear


class Group(NamedTuple):
    """Rows whose attention reads the same number of blocks, neighbours in the batch.

    Args:
        rows: their range in the batch, slots ascending.
        window: the range of slots they lie in.
        at: their places in the window where it has holes, None where it has none.
        gather: the slots themselves where holes prevail, None otherwise.
        width: tokens read, whole blocks.
        mask: (n, 1, 1, width) float32, 0 or -inf.
    """

    rows: slice
    window: slice
    at: torch.Tensor | None
    gather: torch.Tensor | None
    width: int
    mask: torch.Tensor


def fits(config: Config) -> bool:
    """Whether a model is of a shape this module knows: Llama, Mistral, Qwen2, Qwen3, full attention.

    Args:
        config: the model's config.json.

    Returns:
        False for anything it does not know by name and setting.
    """
    plain = config.get("model_type") in FAMILIES and config.get("hidden_act", "silu") == "silu"
    layers = set(config.get("layer_types") or ("full_attention",))
    windowed = config.get("sliding_window") is not None and config.get("use_sliding_window", True)
    partial = (_rope(config).get("partial_rotary_factor") or 1.0) != 1.0
    known = _rope(config).get("rope_type", "default") in ("default", "linear", "llama3")
    biased = config.get("mlp_bias", False)
    return plain and known and not (partial or biased or (windowed and layers != {"full_attention"}))


class LlamaStep:
    """The decoder. Heads that share keys are computed as one query of several rows.

    Args:
        config: the model's config.json, for which `fits` holds.
        tensors: its weights by their names in the checkpoint; stacked projections become copies.
        packed: False leaves the weights as they are, for processors whose kernels for packed ones change bits.
    """

    NAMES: ClassVar = {True: f"llama-inplace-{VERSION}", False: f"llama-inplace-{VERSION}-plain"}  # by `packed`

    def __init__(self, config: Config, tensors: Mapping[str, torch.Tensor], *, packed: bool = True) -> None:
        self.name = self.NAMES[packed]
        self.heads = int(config["num_attention_heads"])
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.width = int(config.get("head_dim") or config["hidden_size"] // self.heads)
        self.eps = float(config["rms_norm_eps"])
        self.embed, self.norm = tensors["model.embed_tokens.weight"], tensors["model.norm.weight"]
        self.head = Linear(tensors.get("lm_head.weight", self.embed), packed=packed)
        self.dtype, self.device = self.embed.dtype, self.embed.device
        self.vocab_size = self.head.outputs
        self.layers = [_layer(tensors, f"model.layers.{i}.", packed) for i in range(int(config["num_hidden_layers"]))]
        self.frequencies = _frequencies(config, self.width).to(self.device)  # (width / 2,)

    def shapes(self) -> list[LayerShape]:
        """Heads and widths of every layer's cache."""
        return [LayerShape(self.kv_heads, self.width, self.kv_heads, self.width)] * len(self.layers)

    def products(self) -> list[Product]:
        """One of each shape: all layers are alike."""
        first = self.layers[0]
        width = self.embed.shape[1]
        inner = first.gate_up.outputs // 2
        return [
            Product(first.qkv, width), Product(first.out, self.heads * self.width), Product(first.gate_up, width),
            Product(first.down, inner), Product(self.head, width),
        ]  # fmt: skip

    def read(self, ids: Sequence[int], keep: int, slots: Slots | None = None, slot: int = 0) -> torch.Tensor:
        """Read a prompt alone, so that its bits depend on nothing else.

        Args:
            ids: the prompt's tokens.
            keep: how many last positions want logits.
            slots, slot: where its keys and values go; None for nowhere.

        Returns:
            Logits, (keep, V).
        """
        n = len(ids)
        x = self.embed[torch.tensor(list(ids), device=self.device)]  # (n, E)
        cos, sin = self._angles(torch.arange(n, device=self.device))
        for i, layer in enumerate(self.layers):
            query, key, value = self._project(layer, x, cos, sin)  # (n, heads, width)
            if slots is not None:
                slots.fill(i, slot, key.transpose(0, 1), value.transpose(0, 1))
            q, k, v = (t.transpose(0, 1)[None] for t in (query, key, value))
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = self._rest(layer, x, mixed[0].transpose(0, 1).reshape(n, -1))
        return self.head(self._norm(x[-keep:], self.norm))

    def __call__(self, tokens: torch.Tensor, places: list[Place], slots: Slots, pad: Pad) -> torch.Tensor:
        """Feed one token to each row.

        Args:
            tokens: (B,) ids.
            places: where each row lies, its new token counted; sorted by (blocks, slot).
            slots: the storage.
            pad: how many rows to compute for a wanted number; padding touches no slot.

        Returns:
            Logits, (B, V).
        """
        n, size = len(places), pad(len(places))
        spots = slots.spots(places)
        last = torch.tensor([p.length - 1 for p in places], device=self.device)
        groups = _groups(places, self.device)
        x = self.embed[F.pad(tokens, (0, size - n))]  # (size, E)
        cos, sin = self._angles(F.pad(last, (0, size - n)))
        for i, layer in enumerate(self.layers):
            query, key, value = self._project(layer, x, cos, sin)  # (size, heads, width)
            slots.put(i, spots, key[:n], value[:n])
            x = self._rest(layer, x, self._attend(query, slots.keys[i], slots.values[i], groups))
        return self.head(self._norm(x, self.norm))[:n]

    def _project(
        self, layer: Layer, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values of one layer, positions turned in, each (n, heads, width)."""
        qkv = layer.qkv(self._norm(x, layer.input_norm)).view(len(x), -1, self.width)
        query, key, value = torch.split(qkv, [self.heads, self.kv_heads, self.kv_heads], dim=1)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = self._norm(query, layer.query_norm), self._norm(key, layer.key_norm)
            return _turn(query, cos, sin), _turn(key, cos, sin), value
        turned = _turn(qkv[:, : self.heads + self.kv_heads], cos, sin)
        return turned[:, : self.heads], turned[:, self.heads :], value

    def _rest(self, layer: Layer, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """What follows attention: output projection and feed-forward, (n, E)."""
        x = x + layer.out(mixed)
        gate, up = layer.gate_up(self._norm(x, layer.post_norm)).chunk(2, dim=-1)
        return x + layer.down(F.silu(gate) * up)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], weight, self.eps)

    def _angles(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines, and sines with the sign that `_turn` wants, of positions (n,); each (n, 1, width)."""
        turns = positions[:, None].float() * self.frequencies
        cos, sin = turns.cos(), turns.sin()
        both = (torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1))
        cosines, sines = (t[:, None].to(self.dtype) for t in both)
        return cosines, sines

    def _attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, groups: list[Group]
    ) -> torch.Tensor:
        """Softmax attention of each row over its own slot, (size, heads * width)."""
        shared = query.reshape(len(query), self.kv_heads, -1, self.width)
        mixed = torch.zeros_like(shared)  # rows of padding stay zero
        for g in groups:
            q = shared[g.rows]
            where = g.window if g.gather is None else g.gather
            if g.at is not None:
                q = q.new_zeros((g.window.stop - g.window.start, *q.shape[1:])).index_copy_(0, g.at, q)
            parts = [torch.matmul(q, keys[b, where].transpose(-1, -2)) for b in range(g.width // BLOCK)]
            scores = torch.add(g.mask, torch.cat(parts, dim=-1), alpha=self.width**-0.5)  # in float32, as the mask is
            weights = torch.split(torch.softmax(scores, dim=-1).to(values.dtype), BLOCK, dim=-1)
            sums = [torch.matmul(w, values[b, where]) for b, w in enumerate(weights)]
            out = sums[0] if len(sums) == 1 else torch.stack(sums).float().sum(0).to(values.dtype)
            mixed[g.rows] = out if g.at is None else out[g.at]
        return mixed.view(len(query), -1)


def _layer(tensors: Mapping[str, torch.Tensor], at: str, packed: bool) -> Layer:
    def stacked(names: Sequence[str], part: str) -> torch.Tensor | None:
        found = [tensors.get(f"{at}{name}.{part}") for name in names]
        there = [t for t in found if t is not None]
        return torch.cat(there) if len(there) == len(names) else None

    parts = [f"self_attn.{p}_proj" for p in "qkv"]
    qkv, gate_up = stacked(parts, "weight"), stacked(("mlp.gate_proj", "mlp.up_proj"), "weight")
    assert qkv is not None, f"{at} has no projections"
    assert gate_up is not None, f"{at} has no feed-forward"
    return Layer(
        input_norm=tensors[f"{at}input_layernorm.weight"],
        qkv=Linear(qkv, stacked(parts, "bias"), packed=packed),
        query_norm=tensors.get(f"{at}self_attn.q_norm.weight"),
        key_norm=tensors.get(f"{at}self_attn.k_norm.weight"),
        out=Linear(tensors[f"{at}self_attn.o_proj.weight"], tensors.get(f"{at}self_attn.o_proj.bias"), packed=packed),
        post_norm=tensors[f"{at}post_attention_layernorm.weight"],
        gate_up=Linear(gate_up, packed=packed),
        down=Linear(tensors[f"{at}mlp.down_proj.weight"], packed=packed),
    )


def _rope(config: Config) -> Mapping[str, Any]:
    """Rotary settings, of today's configs and of older ones."""
    today = config.get("rope_parameters")
    if today:
        return dict(today)
    older = config.get("rope_scaling") or {}
    kind = older.get("rope_type", older.get("type", "default"))
    return {**older, "rope_type": kind, "rope_theta": config.get("rope_theta", 10000.0)}


def _frequencies(config: Config, width: int) -> torch.Tensor:
    """Angle per position of each pair, (width / 2,). Source: Su et al. 2021; Llama 3.1's report for llama3."""
    rope = _rope(config)
    base = float(rope["rope_theta"]) ** (-torch.arange(0, width, 2, dtype=torch.int64).float() / width)
    if rope.get("rope_type") == "linear":
        return base / float(rope["factor"])
    if rope.get("rope_type") != "llama3":
        return base
    low, high, factor = (float(rope[k]) for k in ("low_freq_factor", "high_freq_factor", "factor"))
    turns = float(rope["original_max_position_embeddings"]) * base / (2 * math.pi)
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    return base * (smooth + (1 - smooth) / factor)


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding on (n, heads, width): halves rotated against each other, `sin` signed."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def _groups(places: list[Place], device: torch.device) -> list[Group]:
    """Consecutive rows that read the same number of blocks."""
    groups: list[Group] = []
    start = 0
    for end in range(1, len(places) + 1):
        width = blocks(places[start].length)
        if end == len(places) or blocks(places[end].length) != width:
            groups.append(_group(places[start:end], slice(start, end), width, device))
            start = end
    return groups


def _group(places: list[Place], rows: slice, width: int, device: torch.device) -> Group:
    slots = torch.tensor([p.slot for p in places], device=device)
    lengths = torch.tensor([p.length for p in places], device=device)
    low, high = places[0].slot, places[-1].slot + 1
    dense, sparse = high - low == len(places), len(places) < SPARSE * (high - low)
    at = None if dense or sparse else slots - low
    if at is not None:  # a hole reads position 0 of its slot, so that its softmax has something to divide by
        lengths = torch.ones(high - low, dtype=lengths.dtype, device=device).index_copy_(0, at, lengths)
    read = torch.arange(width, device=device) < lengths[:, None]  # (n, width)
    mask = torch.zeros(read.shape, device=device).masked_fill_(~read, -torch.inf)[:, None, None]
    return Group(rows, slice(low, high), at, slots if sparse else None, width, mask)
