"""Masks of PSANet (ECCV 2018): attention of each position to the positions around it."""

from collections.abc import Iterator

from torch import Tensor


def _pairs(
    mask: Tensor, attention: Tensor, psa_type: int, h_mask: int, w_mask: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views of the mask and of the attention that correspond, for each position.

    Element (i, j) of the mask of position (h, w) is the attention between that position and
    (h + i - half, w + j - half), if that is in the map.
    """
    n, _, height, width = mask.shape
    mask = mask.view(n, h_mask, w_mask, height, width)
    attention = attention.view(n, height, width, height, width)
    for h in range(height):
        top = h - (h_mask - 1) // 2
        rows = slice(max(top, 0), min(top + h_mask, height))
        for w in range(width):
            left = w - (w_mask - 1) // 2
            columns = slice(max(left, 0), min(left + w_mask, width))
            used = mask[
                :,
                rows.start - top : rows.stop - top,
                columns.start - left : columns.stop - left,
                h,
                w,
            ]
            if psa_type == 0:  # collect
                yield used, attention[:, rows, columns, h, w]
            else:  # distribute
                yield used, attention[:, h, w, rows, columns]


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Place the elements of each mask at the positions that they refer to.

    Args:
        input: (N, h_mask · w_mask, H, W).
        output: (N, H · W, H, W), zeros, into which the elements are written.
        psa_type: 0: `collect`, the last axes are the position that has the mask; 1: `distribute`,
            the second axis is.
        num_: N.
        h_feature: H.
        w_feature: W.
        h_mask: Height of the mask.
        w_mask: Width of the mask.
        half_h_mask: (h_mask - 1) // 2.
        half_w_mask: (w_mask - 1) // 2.
    """
    for mask, attention in _pairs(input, output, psa_type, h_mask, w_mask):
        attention.copy_(mask)


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """Write the gradient of `psamask_forward` into `grad_input`, which has to be zeros."""
    grad_output = grad_output.contiguous()
    for mask, attention in _pairs(grad_input, grad_output, psa_type, h_mask, w_mask):
        mask.copy_(attention)
