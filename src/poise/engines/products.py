"""The products of matrices that a decoder is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Product(NamedTuple):
    """A linear map as a step computes it: rows (n, inputs) to rows."""

    compute: Callable[[torch.Tensor], torch.Tensor]
    inputs: int


def products_of(model: Any) -> list[Product]:
    """The linear layers of a model of transformers, one of each shape.

    Args:
        model: the model.

    Returns:
        Its linear layers; GPT-2's keep their weight the other way round.
    """
    found: dict[tuple[str, tuple[int, ...]], Product] = {}
    for module in model.modules():
        kind, weight = type(module).__name__, getattr(module, "weight", None)
        if kind in ("Linear", "Conv1D") and weight is not None:
            shape = tuple(weight.shape)
            found.setdefault((kind, shape), Product(module, shape[1] if kind == "Linear" else shape[0]))
    return list(found.values())
