"""UniFormer: parameter names of the original ImageNet releases."""

import torch
from torch import Tensor

from ._family import Family, any_of

_STAGES = (1, 2, 3, 4)
#: final batch norm, classifier, and classifier of token labelling
_CLASSIFIER = ('norm.', 'head.', 'aux_head.')


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a UniFormer backbone to the names of `UniFormer`.

    The pose, detection and segmentation releases (MMPose 0.x, 1.x, MMDet, MMSeg) have the current
    names. The ImageNet releases, with or without token labelling and layer scale, have one batch
    norm and a classifier (two with token labelling) after the blocks, which are removed, and no
    norms of the four maps. These are initialized with weight 1 and bias 0, as in the training of
    the original.

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor; `weights` itself if it is not an ImageNet release.
    """
    last_norms = [f'blocks{stage}.0.norm2.weight' for stage in _STAGES]
    stage_norms = tuple(f'norm{stage}.' for stage in _STAGES)
    if not all(name in weights for name in last_norms) or any(
        name.startswith(stage_norms) for name in weights
    ):
        return weights
    converted = {name: value for name, value in weights.items() if not name.startswith(_CLASSIFIER)}
    for norm, like in zip(stage_norms, last_norms):
        converted[f'{norm}weight'] = torch.ones_like(weights[like])
        converted[f'{norm}bias'] = torch.zeros_like(weights[like])
    return converted


FAMILY = Family(
    name='UniFormer',
    signature=any_of(r'blocks\d\.\d+\.pos_embed\.weight'),
    convert=convert_backbone,
    original=any_of(r'head\.weight', r'norm\.weight'),
    classifier=any_of(
        r'norm\.(weight|bias|running_mean|running_var|num_batches_tracked)', r'(aux_)?head\..+'
    ),
    fills=any_of(r'norm\d\.(weight|bias)'),
)
