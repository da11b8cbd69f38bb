"""Calls of mmcv's operators on small generated inputs, and their recorded results.

`tests/env/mmcv_ops.json` has the results of compiled mmcv 2.1.0 on a CPU. To record them again,
run `python -m tests.helpers.operator_cases` in an environment with the full mmcv.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import mmcv.ops as ops
import torch
from mmcv.ops.psa_mask import psa_mask
from torch import Tensor

RECORDED = Path(__file__).parents[1] / 'env/mmcv_ops.json'


def wave(*shape: int, phase: float = 0.0, scale: float = 1.0, center: float = 0.0) -> Tensor:
    """Return irregular values of `center` ± `scale`, float32, the same on each machine."""
    size = torch.Size(shape)
    values = torch.sin(0.7 * torch.arange(1, size.numel() + 1).double() ** 2 + phase)
    return (center + scale * values).float().view(size)


def boxes(count: int, phase: float = 0.0) -> Tensor:
    """Return boxes (count, 4) as x1, y1, x2, y2 that overlap."""
    corner = wave(count, 2, phase=phase, scale=10, center=10)
    return torch.cat([corner, corner + wave(count, 2, phase=phase + 1, scale=5, center=9)], 1)


def rotated(count: int, phase: float = 0.0) -> Tensor:
    """Return rotated boxes (count, 5)."""
    side = wave(count, 2, phase=phase + 1, scale=5, center=9)
    return torch.cat(
        [wave(count, 2, phase=phase, scale=8), side, wave(count, 1, phase=phase + 2, scale=3)], 1
    )


def rectangles(count: int, phase: float = 0.0) -> Tensor:
    """Return the corners (count, 8) of rotated boxes."""
    x, y, width, height, angle = rotated(count, phase).double().unbind(1)
    along = torch.stack([angle.cos(), angle.sin()], 1) * width[:, None] / 2
    across = torch.stack([-angle.sin(), angle.cos()], 1) * height[:, None] / 2
    corners = [-along - across, along - across, along + across, across - along]
    return (torch.stack([x, y], 1)[:, None] + torch.stack(corners, 1)).flatten(1).float()


#: image, x1, y1, x2, y2: inside, half-pixel positions, beyond the edges, smaller than a pixel
ROIS = torch.tensor(
    [[0, 1, 1, 9, 12], [1, 2.25, 0.5, 15, 7.75], [1, -5, -4.5, 22, 24], [0, 3.1, 4.2, 3.6, 4.9]]
)

Result = list[Tensor]


def _with_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> Result:
    """Return the output and the gradients of the inputs."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    output = function(*leaves)
    output.backward(wave(*output.shape, phase=3).to(output))
    return [output.detach(), *(x.grad for x in leaves)]


def _deform_conv(stride: int, padding: int, dilation: int, groups: int, deform: int) -> Result:
    size = (5 + 2 * padding - 2 * dilation - 1) // stride + 1
    offset = wave(2, 18 * deform, size, size, phase=1, scale=1.5)
    return _with_gradients(
        lambda *x: ops.deform_conv2d(*x, stride, padding, dilation, groups, deform),
        wave(2, 4, 5, 5),
        offset,
        wave(4, 4 // groups, 3, 3, phase=2),
    )


def _modulated(stride: int, groups: int, deform: int, bias: bool, extra: int = 0) -> Result:
    size = (5 - 1) // stride + 1 + extra
    return _with_gradients(
        lambda *x: ops.modulated_deform_conv2d(
            *x[:4], x[4] if bias else None, stride, 1, 1, groups, deform
        ),
        wave(2, 4, 5, 5),
        wave(2, 18 * deform, size, size, phase=1, scale=1.5),
        wave(2, 9 * deform, size, size, phase=4, scale=0.5, center=0.5),
        wave(2, 4 // groups, 3, 3, phase=2),
        *[wave(2, phase=5)] * bias,
    )


def _roi_align(mode: str, aligned: bool, samples: int) -> Result:
    return _with_gradients(
        lambda x: ops.roi_align(x, ROIS, (2, 3), 0.5, samples, mode, aligned), wave(2, 2, 8, 9)
    )


def _soft_nms(method: str, offset: int) -> Result:
    scores = wave(30, scale=0.5, center=0.5)
    scores[::5] = scores[0]  # equal scores
    kept, indices = ops.soft_nms(boxes(30), scores, 0.3, 0.5, 0.1, method, offset)
    return [kept, indices]


def _nms_match() -> Result:
    groups = ops.nms_match(torch.cat([boxes(30), wave(30, 1)], 1), 0.3)
    return [*groups]


CASES: dict[str, Callable[[], Result]] = {
    'deform_conv2d': lambda: _deform_conv(1, 1, 1, 1, 1),
    'deform_conv2d, stride, dilation, groups': lambda: _deform_conv(2, 2, 2, 2, 2),
    'deform_conv2d, no padding': lambda: _deform_conv(1, 0, 1, 4, 2),
    'modulated_deform_conv2d': lambda: _modulated(1, 1, 1, True),
    'modulated_deform_conv2d, stride, groups, no bias': lambda: _modulated(2, 2, 2, False),
    # as in DyHead
    'modulated_deform_conv2d, larger offset': lambda: _modulated(1, 1, 1, True, 1),
    **{
        f'roi_align, {mode}, {aligned}, {samples}': (
            lambda mode=mode, aligned=aligned, samples=samples: _roi_align(mode, aligned, samples)
        )
        for mode in ('avg', 'max')
        for aligned in (True, False)
        for samples in (0, 2)
    },
    'nms': lambda: [*ops.nms(boxes(30), wave(30), 0.3)],
    'nms, offset 1': lambda: [*ops.nms(boxes(30), wave(30), 0.3, offset=1)],
    'batched_nms': lambda: [
        *ops.batched_nms(
            boxes(30), wave(30), torch.arange(30) % 3, dict(type='nms', iou_threshold=0.3)
        )
    ],
    'soft_nms, naive': lambda: _soft_nms('naive', 0),
    'soft_nms, linear': lambda: _soft_nms('linear', 0),
    'soft_nms, gaussian': lambda: _soft_nms('gaussian', 1),
    'nms_match': _nms_match,
    'nms_rotated': lambda: [*ops.nms_rotated(rotated(20), wave(20), 0.2)],
    'nms_quadri': lambda: [*ops.nms_quadri(rectangles(20), wave(20), 0.3)],
    'bbox_overlaps': lambda: [ops.bbox_overlaps(boxes(6), boxes(5, 1))],
    'bbox_overlaps, iof, offset 1': lambda: [
        ops.bbox_overlaps(boxes(6), boxes(5, 1), 'iof', offset=1)
    ],
    'bbox_overlaps, aligned': lambda: [ops.bbox_overlaps(boxes(6), boxes(6, 1), aligned=True)],
    'box_iou_rotated': lambda: [ops.box_iou_rotated(rotated(6), rotated(5, 1))],
    'box_iou_rotated, iof, counterclockwise': lambda: [
        ops.box_iou_rotated(rotated(6), rotated(5, 1), 'iof', clockwise=False)
    ],
    'box_iou_rotated, aligned': lambda: [
        ops.box_iou_rotated(rotated(6), rotated(6, 1), aligned=True)
    ],
    'box_iou_quadri': lambda: [ops.box_iou_quadri(rectangles(6), rectangles(5, 1))],
    'psa_mask, collect': lambda: _with_gradients(
        lambda x: psa_mask(x, 0, (5, 3)), wave(1, 15, 3, 4)
    ),
    'psa_mask, distribute': lambda: _with_gradients(
        lambda x: psa_mask(x, 1, (3, 5)), wave(2, 15, 2, 3)
    ),
}


def main() -> None:
    """Write the results of the compiled operators."""
    if not sys.modules['mmcv._ext'].__file__.endswith('.so'):
        raise SystemExit('error: mmcv has no compiled operators')
    recorded = {
        name: [
            dict(shape=list(x.shape), values=[float(f'{v:.6g}') for v in x.flatten().tolist()])
            for x in case()
        ]
        for name, case in CASES.items()
    }
    lines = [
        f'{json.dumps(name)}: {json.dumps(results, separators=(",", ":"))}'
        for name, results in recorded.items()
    ]
    RECORDED.write_text('{\n' + ',\n'.join(lines) + '\n}\n')


if __name__ == '__main__':
    main()
