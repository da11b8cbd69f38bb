"""Convolution at some positions only, of one image; `mmcv.ops.masked_conv2d` has no gradient."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Copy the patches at the positions into columns.

    Args:
        im: (1, C, H, W).
        mask_h_idx: Rows of the positions, (M, ), int64.
        mask_w_idx: Columns of the positions.
        col: (C · kernel_h · kernel_w, M), is overwritten.
        kernel_h: Height of the patches.
        kernel_w: Width of the patches.
        pad_h: Padding with zeros above.
        pad_w: Padding with zeros at the left.
    """
    padded = F.pad(im[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col.copy_(padded[:, rows[:, None], columns].flatten(0, 2))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write columns (C, M) to the positions in `im`, (1, C, height, width)."""
    im[0][:, mask_h_idx, mask_w_idx] = col.to(im.dtype)
