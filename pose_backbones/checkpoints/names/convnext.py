"""ConvNeXt and ConvNeXt V2: parameter names of the original, MMPretrain and timm."""

import math
import re

from torch import Tensor

from ._family import Family, any_of

#: pattern → replacement, applied one after the other; no pattern matches a current name
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
#: classifier, and the decoder of the masked images in the pretraining of V2
_LEFT_OUT = re.compile(r'head\.|(?:decoder|proj|pred)\.|mask_token$')


def convert_backbone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a ConvNeXt (V1 or V2) to the names of `ConvNeXt`.

    Supports the names of the original repositories (ImageNet and detection), of MMPretrain
    (`depthwise_conv`), which the pose releases use, and of timm. ImageNet releases have one norm
    after the average pooling. MMPretrain calls it `norm3`, and the pose releases were trained from
    it, so it becomes `norm3` for every naming. The classifier is removed.

    The releases of V2's self-supervised pretraining (FCMAE) have no such norm. They use the names
    of the original, or those of its sparse encoder: under `encoder.`, with layers of
    MinkowskiEngine, and with a decoder, which is removed.

    Point-wise layers are linear layers in `ConvNeXt`; weights of 1x1 convolutions are flattened.
    Scales and biases of V2's response norm, which the original stores as (1, 1, 1, C) or (1, C),
    and biases of sparse convolutions, (1, C), are flattened too.

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor; current and unknown names are unchanged.
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
    """Convert the kernel of a sparse convolution to the weight of a dense convolution.

    Args:
        kernel: (cells, in, out), or (cells, C) for a depth-wise convolution. The cells of the
            kernel are ordered column by column.

    Returns:
        (out, in, side, side), or (C, 1, side, side).
    """
    if kernel.ndim == 2:
        kernel = kernel[:, None]
    side = math.isqrt(len(kernel))
    if kernel.ndim != 3 or side**2 != len(kernel):
        return kernel  # the shape will be reported as mismatched
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
    # The norm after the pooling becomes the norm of the last map.
    classifier=any_of(r'head\.(?!norm\.).+'),
    pretext=any_of(r'(decoder|proj|pred)\..+', r'mask_token'),
)
