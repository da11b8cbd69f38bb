"""A small HRCoMer model."""

import torch
from torch import nn

ARCH = dict(
    base_net=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 3, 2), use_grn=True),
    embed_dims=(8, 12, 16, 24),
    stage1_channels=8,
    num_modules=(1, 1, 2, 1),
    depths=(1, 2, 2, 2),
)
FLIP = [1, 0, 2, 4, 3]
SIGMAS = [0.1, 0.1, 0.05, 0.2, 0.2]
DECODER = dict(
    type='pose_backbones.MultiScaleJoints',
    input_size=(96, 64),
    heatmap_size=(24, 16),
    sigmas=SIGMAS,
    max_num_people=6,
    nms_num_close=3,
)


def stir(module: nn.Module, seed: int = 0) -> nn.Module:
    """Set all parameters and statistics to random values, and switch to evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 2, generator=generator)
        elif value.is_floating_point() and 'matrix_conv' in name:
            value.normal_(std=0.2, generator=generator)
        elif value.is_floating_point() and value.ndim > 1:
            scale = (1.5 / value[0].numel()) ** 0.5
            value.normal_(std=scale, generator=generator)
        elif value.is_floating_point():
            value.normal_(mean=name.endswith('weight'), std=0.3, generator=generator)
    return module.eval()
