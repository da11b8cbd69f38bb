"""HRNet's ImageNet weights for the adapter of HRCoMer."""

import re

from torch import Tensor

_FIRST = re.compile(r'^layer1\.')


def convert_adapter(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename an HRNet's weights to those of `HRAdapter`, where it has them.

    Args:
        weights: Name → tensor, of MMPose, of timm or of the original
            repository, alone or with `backbone.` before each name.

    Returns:
        Name → tensor: `layer1` is `stage1`; every other name stays as it is.
    """
    return {
        _FIRST.sub('stage1.', name.removeprefix('backbone.')): value
        for name, value in weights.items()
    }
