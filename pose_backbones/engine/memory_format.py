"""Memory format of the weights in training on a CPU."""

import torch
from torch import nn


@torch.no_grad()
def use_channels_last(model: nn.Module) -> None:
    """Let convolutions on a CPU compute in the memory format channels_last.

    Results differ from those in the default format only by rounding errors, see
    `benchmarks/training_step.py`. Call it before the model is wrapped for distributed training.

    Args:
        model: The model. The order of its weights in memory is changed, not their values.
    """
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.contiguous(memory_format=torch.channels_last)
