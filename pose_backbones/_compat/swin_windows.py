"""Patch MMPose's Swin, whose batch size is fixed when it is exported.

MMPose's registry of models imports this module when a name is looked up for the first time.
"""

from mmpose.models.backbones.swin import ShiftWindowMSA
from torch import Tensor


def window_reverse(self: ShiftWindowMSA, windows: Tensor, H: int, W: int) -> Tensor:
    """Join windows to maps.

    MMPose computes the batch size as a float, which `torch.export` cannot trace for a variable
    batch size.

    Args:
        self: The layer, with its window size S.
        windows: (N * windows per map, S, S, C).
        H, W: Size of the maps.

    Returns:
        (N, H, W, C).
    """
    side, channels = self.window_size, windows.shape[-1]
    rows = windows.view(-1, H // side, W // side, side, side, channels)
    return rows.transpose(2, 3).reshape(-1, H, W, channels)


ShiftWindowMSA.window_reverse = window_reverse
