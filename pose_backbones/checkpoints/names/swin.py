"""Swin Transformer: parameter names of the ImageNet releases and of MMPose.

The current names are those of MMPose's `SwinTransformer`, which the pose releases of MMPose 0.x and
the releases of mmpretrain use too.
"""

import re

import torch
from torch import Tensor

from ._family import Family, any_of

#: part of a name in the original release and in timm → current name
_PARTS = (
    (r'^layers\.', 'stages.'),
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'\.attn\.', '.attn.w_msa.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
)
#: classifier, and masks that the current model computes for each image
_LEFT_OUT = re.compile(r'head\.|.*\.attn_mask$')


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a Swin backbone to the names of MMPose.

    Supports the original ImageNet releases (V1) and timm. Both concatenate the channels of four
    merged neighbors neighbor by neighbor, in column-major order. MMPose's unfold operation has the
    four neighbors of each channel together, in row-major order. The norm before the classifier
    becomes the norm of the last map. timm merges at the start of a stage and saves no
    `relative_position_index`, which is then computed.

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor; `weights` itself if the names are current.
    """
    stages = [int(name.split('.')[1]) for name in weights if re.match(r'layers\.\d+\.', name)]
    if not stages:
        return weights
    # In timm, the first stage has no merging; in the original, the last stage.
    merges_first = 'layers.0.downsample.reduction.weight' not in weights
    converted = {}
    for name, value in weights.items():
        if _LEFT_OUT.match(name):
            continue
        if '.downsample.' in name:
            value = _neighbors_last(value)
            if merges_first:
                name = re.sub(r'\d+', lambda n: str(int(n[0]) - 1), name, count=1)
        for part, replacement in _PARTS:
            name = re.sub(part, replacement, name)
        name = re.sub(r'^norm\.', f'norm{max(stages)}.', name)
        converted[name] = value
        if name.endswith('.relative_position_bias_table'):
            index = re.sub('bias_table$', 'index', name)
            original = index.replace('stages', 'layers').replace('.w_msa', '')
            if original not in weights:
                converted[index] = relative_position_index(value.shape[0])
    return converted


def _neighbors_last(value: Tensor) -> Tensor:
    """Reorder the last axis from 4 neighbors x C channels to C channels x 4 neighbors."""
    value = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return value.transpose(-1, -2).flatten(-2)


def relative_position_index(table: int) -> Tensor:
    """Return the index into the bias table for each pair of cells of a window.

    Args:
        table: Number of entries of the table, (2 * side - 1)².

    Returns:
        (side², side²), integers.
    """
    span = round(table**0.5)
    side = (span + 1) // 2
    cells = torch.arange(side)
    cells = (cells[:, None] * span + cells).flatten()
    return cells[:, None] + cells.flip(0)


FAMILY = Family(
    name='SwinTransformer',
    signature=any_of(
        r'(stages|layers)\.\d\.blocks\.\d+\.attn\.(w_msa\.)?relative_position_bias_table'
    ),
    convert=convert_backbone,
    original=any_of(r'layers\.0\.downsample\.reduction\.weight'),
    timm=any_of(r'layers\.1\.downsample\.reduction\.weight'),
    classifier=any_of(r'head\..+', r'.+\.attn_mask'),
    fills=any_of(r'.+\.relative_position_index'),
)
