"""Heatmap heads: parameter names of MMPose 0.x and 1.x."""

import re

from torch import Tensor

_IN_SEQUENCE = re.compile(r'final_layer\.(\d+)\.(.+)')


def convert_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of `TopdownHeatmapSimpleHead` to the names of `HeatmapHead`.

    If the old head has convolutions between the deconvolutions and the last layer, all of them are
    numbered parts of `final_layer`. In the current head, only the last one is in `final_layer`, and
    the others are in `conv_layers`. All other names are the same.

    Args:
        weights: Name → tensor, without the prefix `keypoint_head.`.

    Returns:
        Name → tensor, without a prefix.
    """
    numbered = {name: _IN_SEQUENCE.fullmatch(name) for name in weights}
    last = max((int(match[1]) for match in numbered.values() if match), default=None)
    converted = {}
    for name, value in weights.items():
        match = numbered[name]
        if match and int(match[1]) == last:
            name = f'final_layer.{match[2]}'
        elif match:
            name = f'conv_layers.{match[1]}.{match[2]}'
        converted[name] = value
    return converted
