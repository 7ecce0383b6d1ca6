"""The law at speed: many settings on rows of torch logits."""

from poise.steps.torch_law import TorchLaw

__all__ = ["TorchLaw"]
