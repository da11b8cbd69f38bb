"""ConvNeXt and ConvNeXt V2: names of the original, of MMPretrain, of timm."""

import re

from torch import Tensor

#: pattern → name here, applied one after the other; none of them matches a
#: name that is today's
_NAMES = tuple((re.compile(pattern), name) for pattern, name in (
    (r'^downsample_layers\.0\.', 'stem.'),
    (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample.'),
    (r'^stages\.(\d+)\.(\d+)\.', r'stages.\1.blocks.\2.'),
    (r'(?<=\.)(?:dwconv|depthwise_conv)\.', 'conv_dw.'),
    (r'(?<=\.)(?:pwconv|pointwise_conv)([12])\.', r'mlp.fc\1.'),
    (r'(blocks\.\d+)\.grn\.gamma$', r'\1.mlp.grn.weight'),
    (r'(blocks\.\d+)\.grn\.beta$', r'\1.mlp.grn.bias'),
    (r'^(?:head\.)?norm\.', 'norm3.'),
))
_CLASSIFIER = 'head.'


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a ConvNeXt's weights, V1 or V2, to those of `ConvNeXt`.

    Known are the names of the original repositories (ImageNet and
    detection), of MMPretrain (`depthwise_conv`), which the pose releases
    have, and of timm. ImageNet releases have one norm behind the average
    pool; MMPretrain calls it `norm3`, and the pose releases were trained
    from it, so it is `norm3` here, whichever the naming. The classifier is
    left out.

    Point-wise layers are linear here; where they are 1x1 convolutions, their
    weights are flattened. So are the factors and offsets of V2's response
    norm, which the original stores as (1, 1, 1, C).

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor; names that are today's or unknown stay as they are.
    """
    converted = {}
    for name, value in weights.items():
        for pattern, replacement in _NAMES:
            name = pattern.sub(replacement, name)
        if name.startswith(_CLASSIFIER):
            continue
        if '.mlp.grn.' in name and value.ndim == 4:
            value = value.flatten()
        elif '.mlp.fc' in name and value.ndim == 4:
            value = value.flatten(1)
        converted[name] = value
    return converted
