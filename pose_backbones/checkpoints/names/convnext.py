"""ConvNeXt and ConvNeXt V2: names of the original, of MMPretrain, of timm."""

import math
import re

from torch import Tensor

from ._family import Family, any_of

#: pattern → name here, applied one after the other; none of them matches a
#: name that is today's
_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r'^encoder\.', ''),
        (r'\.(?:ln|linear)\.(weight|bias)$', r'.\1'),
        (r'\.kernel$', '.weight'),
        (r'^downsample_layers\.0\.', 'stem.'),
        (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample.'),
        (r'^stages\.(\d+)\.(\d+)\.', r'stages.\1.blocks.\2.'),
        (r'(?<=\.)(?:dwconv|depthwise_conv)\.', 'conv_dw.'),
        (r'(?<=\.)(?:pwconv|pointwise_conv)([12])\.', r'mlp.fc\1.'),
        (r'(blocks\.\d+)\.grn\.gamma$', r'\1.mlp.grn.weight'),
        (r'(blocks\.\d+)\.grn\.beta$', r'\1.mlp.grn.bias'),
        (r'^(?:head\.)?norm\.', 'norm3.'),
    )
)
#: classifier, and what reconstructs masked images in V2's pretraining
_LEFT_OUT = re.compile(r'head\.|(?:decoder|proj|pred)\.|mask_token$')


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a ConvNeXt's weights, V1 or V2, to those of `ConvNeXt`.

    Known are the names of the original repositories (ImageNet and
    detection), of MMPretrain (`depthwise_conv`), which the pose releases
    have, and of timm. ImageNet releases have one norm behind the average
    pool; MMPretrain calls it `norm3`, and the pose releases were trained
    from it, so it is `norm3` here, whichever the naming. The classifier is
    left out.

    V2's releases of self-supervised pretraining (FCMAE) have no such norm.
    They come in the original's names, or as its sparse encoder was saved:
    under `encoder.`, with MinkowskiEngine's layers, beside a decoder, which
    is left out.

    Point-wise layers are linear here; where they are 1x1 convolutions, their
    weights are flattened. So are the factors and offsets of V2's response
    norm, which the original stores as (1, 1, 1, C) or (1, C), and the
    offsets of sparse convolutions, (1, C).

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor; names that are today's or unknown stay as they are.
    """
    converted = {}
    for name, value in weights.items():
        if name.endswith('.kernel'):
            value = _dense(value)
        for pattern, replacement in _NAMES:
            name = pattern.sub(replacement, name)
        if _LEFT_OUT.match(name):
            continue
        if name.endswith('.bias') or '.mlp.grn.' in name:
            value = value.flatten()
        elif '.mlp.fc' in name and value.ndim == 4:
            value = value.flatten(1)
        converted[name] = value
    return converted


def _dense(kernel: Tensor) -> Tensor:
    """A sparse convolution's kernel as the weight of a dense one.

    Args:
        kernel: (cells, in, out), or (cells, C) of a depth-wise one. The
            cells of the square go column by column.

    Returns:
        (out, in, side, side), or (C, 1, side, side).
    """
    if kernel.ndim == 2:
        kernel = kernel[:, None]
    side = math.isqrt(len(kernel))
    if kernel.ndim != 3 or side**2 != len(kernel):
        return kernel  # its shape will be refused
    return kernel.unflatten(0, (side, side)).permute(3, 2, 1, 0).contiguous()


FAMILY = Family(
    name='ConvNeXt',
    signature=any_of(
        r'stages\.\d\.\d+\.(dwconv|depthwise_conv)\.weight',
        r'encoder\.stages\.\d\.\d+\.dwconv\.(weight|kernel)',
        r'stages\.\d\.blocks\.\d+\.conv_dw\.weight',
    ),
    convert=convert_backbone,
    original=any_of(r'(encoder\.)?stages\.\d\.\d+\.dwconv\.(weight|kernel)'),
    timm=any_of(r'head\.(norm|fc)\.weight'),
    # The norm behind the pool is that of the last map.
    classifier=any_of(r'head\.(?!norm\.).+'),
    pretext=any_of(r'(decoder|proj|pred)\..+', r'mask_token'),
)
