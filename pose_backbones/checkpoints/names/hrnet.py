"""HRNet: parameter names of ImageNet weights for the adapter of HRCoMer."""

import re

from torch import Tensor

_FIRST = re.compile(r'^layer1\.')


def convert_adapter(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of an HRNet to the names of `HRAdapter`.

    Args:
        weights: Name → tensor, of MMPose, timm or the original repository, with or without the
            prefix `backbone.`.

    Returns:
        Name → tensor; `layer1` is renamed to `stage1`, all other names are unchanged.
    """
    return {
        _FIRST.sub('stage1.', name.removeprefix('backbone.')): value
        for name, value in weights.items()
    }
