"""Memory format of the weights in training on a CPU."""

import torch
from mmcv.cnn.bricks import wrappers
from torch import nn

#: layers that pass their weight to PyTorch's convolution and do nothing else with it
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, wrappers.Conv2d, wrappers.ConvTranspose2d)
#: timm's convolution with the padding of TensorFlow, in `tf_efficientnet_*`; by name, since only
#: models that need timm import it
_TIMM_CONVOLUTIONS = ('timm.layers.conv2d_same.Conv2dSame',)


@torch.no_grad()
def use_channels_last(model: nn.Module) -> None:
    """Let convolutions on a CPU compute in the memory format channels_last.

    Results differ from those in the default format only by rounding errors, see
    `benchmarks/training_step.py`. Call it before the model is wrapped for distributed training.

    Args:
        model: The model. The order of its weights in memory is changed, not their values.
    """
    for module in model.modules():
        kind = type(module)
        if kind in _CONVOLUTIONS or f'{kind.__module__}.{kind.__qualname__}' in _TIMM_CONVOLUTIONS:
            weight = module.weight
            weight.data = weight.contiguous(memory_format=torch.channels_last)
