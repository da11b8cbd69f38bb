"""Heat-map heads: names of MMPose 0.x → those of MMPose 1.x."""

import re

from torch import Tensor

_IN_SEQUENCE = re.compile(r'final_layer\.(\d+)\.(.+)')


def convert_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of `TopdownHeatmapSimpleHead` to `HeatmapHead`'s.

    Where the old head has convolutions between the deconvolutions and the
    last layer, all of them are numbered parts of its `final_layer`; today
    only the last one is, and the others are in `conv_layers`. Every other
    name is today's already.

    Args:
        weights: Name → tensor, without the prefix `keypoint_head.`.

    Returns:
        Name → tensor, without a prefix.
    """
    numbered = {name: _IN_SEQUENCE.fullmatch(name) for name in weights}
    last = max((int(found[1]) for found in numbered.values() if found), default=None)
    converted = {}
    for name, value in weights.items():
        found = numbered[name]
        if found and int(found[1]) == last:
            name = f'final_layer.{found[2]}'
        elif found:
            name = f'conv_layers.{found[1]}.{found[2]}'
        converted[name] = value
    return converted
