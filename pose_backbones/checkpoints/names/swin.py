"""Swin Transformer: names of the ImageNet releases → those of MMPose.

MMPose's own `SwinTransformer` is today's model; its pose releases of 0.x,
and mmpretrain's, have its names already.
"""

import re

import torch
from torch import Tensor

from ._family import Family, any_of

#: part of a name in the original release and in timm → today's
_PARTS = (
    (r'^layers\.', 'stages.'),
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'\.attn\.', '.attn.w_msa.'),
    (r'\.mlp\.fc1\.', '.ffn.layers.0.0.'),
    (r'\.mlp\.fc2\.', '.ffn.layers.1.'),
)
#: classifier, and masks that are computed for each image anyway
_LEFT_OUT = re.compile(r'head\.|.*\.attn_mask$')


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a Swin backbone's weights to those of MMPose.

    Takes the original ImageNet releases (windows of the first kind, V1) and
    timm's. Of four neighbours that are merged, these concatenate the
    channels neighbour by neighbour, down before right; MMPose's unfolding
    has the four neighbours of each channel together, right before down. The
    norm in front of the classifier is that of the last map. timm merges at
    the start of a stage and keeps no `relative_position_index`, which is
    then computed.

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor; `weights` itself if the names are today's.
    """
    stages = [int(name.split('.')[1]) for name in weights if re.match(r'layers\.\d+\.', name)]
    if not stages:
        return weights
    # timm's first stage has nothing to merge, the original's last.
    merges_first = 'layers.0.downsample.reduction.weight' not in weights
    converted = {}
    for name, value in weights.items():
        if _LEFT_OUT.match(name):
            continue
        if '.downsample.' in name:
            value = _neighbours_last(value)
            if merges_first:
                name = re.sub(r'\d+', lambda n: str(int(n[0]) - 1), name, count=1)
        for part, today in _PARTS:
            name = re.sub(part, today, name)
        name = re.sub(r'^norm\.', f'norm{max(stages)}.', name)
        converted[name] = value
        if name.endswith('.relative_position_bias_table'):
            index = re.sub('bias_table$', 'index', name)
            original = index.replace('stages', 'layers').replace('.w_msa', '')
            if original not in weights:
                converted[index] = relative_position_index(value.shape[0])
    return converted


def _neighbours_last(value: Tensor) -> Tensor:
    """Last axis: 4 neighbours x C channels → C channels x 4 neighbours."""
    value = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return value.transpose(-1, -2).flatten(-2)


def relative_position_index(table: int) -> Tensor:
    """Which entry of the bias table a pair of cells of a window takes.

    Args:
        table: Entries of the table, (2 * side - 1)².

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
