"""Benchmark of the replacements of mmcv's compiled operators.

Requires the full mmcv. Its `mmcv.ops` runs in turn with its own `mmcv._ext` and with
`pose_backbones_env.replacements.mmcv_ext`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import torch
from torch import Tensor

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.errors import ConfigError
from pose_backbones_env.replacements import mmcv_ext

from ._measure import device, device_name, markdown_row, median_ratio, milliseconds, timed

#: function, inputs; gradients are computed for those that require them
Case = tuple[Callable[..., object], list[Tensor]]


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.mmcv_ops`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.mmcv_ops',
        description="Time mmcv's compiled operators and their replacements on the same inputs, in "
        'turn, forward and backward, and compare their results.',
    )
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='default: 5')
    parser.add_argument('--operators', nargs='+', choices=list(CASES), default=list(CASES))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.mmcv_ops`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    check_counts(args, 'rounds')
    import mmcv.ops  # noqa: F401

    compiled = sys.modules['mmcv._ext']
    if not hasattr(compiled, '__file__') or not compiled.__file__.endswith(('.so', '.pyd')):
        raise ConfigError('mmcv has no compiled operators: install the full mmcv in place of lite')
    print(f'{device_name()}; medians of {args.rounds} rounds in milliseconds')
    columns = ['operator', 'inputs', 'mmcv', 'replacement', 'relative', 'largest difference']
    print(markdown_row(columns))
    print(markdown_row(['---'] * len(columns)))
    for name in args.operators:
        if name in ONLY_GPU and device() == 'cpu':
            continue
        torch.manual_seed(0)
        function, inputs = CASES[name]()
        print(markdown_row([name, _shapes(inputs), *compare(function, inputs, compiled, args)]))


def compare(
    function: Callable[..., object],
    inputs: list[Tensor],
    compiled: ModuleType,
    args: argparse.Namespace,
) -> list[str]:
    """Time a function with both modules; return the cells of the table."""
    seconds: dict[ModuleType, list[float]] = {compiled: [], mmcv_ext: []}
    results = {}
    for number in range(args.rounds + 1):  # the first one warms up
        for module, times in seconds.items():
            with operators(module):
                results[module], duration = timed(run_once, function, inputs)
            if number:
                times.append(duration)
    difference = max(
        float((first - second).abs().max()) if first.shape == second.shape else float('inf')
        for first, second in zip(*results.values(), strict=True)
        if first.numel() + second.numel()
    )
    return [
        *(milliseconds(times, 2) for times in seconds.values()),
        f'{median_ratio(seconds[mmcv_ext], seconds[compiled]):.2f}',
        f'{difference:.1e}',
    ]


@contextmanager
def operators(module: ModuleType) -> Iterator[None]:
    """Let `mmcv.ops` call the functions of a module, within a `with` block."""
    users = [
        user
        for name, user in list(sys.modules.items())
        if name.startswith('mmcv.ops.') and hasattr(user, 'ext_module')
    ]
    before = [user.ext_module for user in users]
    for user in users:
        user.ext_module = module
    try:
        yield
    finally:
        for user, original in zip(users, before):
            user.ext_module = original


def run_once(function: Callable[..., object], inputs: list[Tensor]) -> list[Tensor]:
    """Return the outputs of a function, as float64, and the gradients of its inputs."""
    leaves = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
    output = function(*leaves)
    outputs = list(output) if isinstance(output, tuple | list) else [output]
    results = [x.detach().double() for x in outputs]
    if any(x.requires_grad for x in leaves):
        torch.manual_seed(1)
        outputs[0].backward(torch.randn_like(outputs[0]))
        results += [x.grad.double() for x in leaves if x.requires_grad]
    return results


def _shapes(inputs: list[Tensor]) -> str:
    return ', '.join('x'.join(map(str, x.shape)) for x in inputs)


def _random(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, device=device()).requires_grad_(grad)


def _boxes(count: int, size: float = 800) -> Tensor:
    corner = torch.rand(count, 2, device=device()) * size
    return torch.cat([corner, corner + 10 + torch.rand(count, 2, device=device()) * size / 4], 1)


def _rois(count: int, images: int) -> Tensor:
    index = torch.randint(images, (count, 1), device=device()).float()
    return torch.cat([index, _boxes(count)], 1)


def _rotated(count: int) -> Tensor:
    angle = torch.rand(count, 1, device=device()) * 6
    return torch.cat([_boxes(count, 400) * torch.tensor([1, 1, 0.2, 0.2]).to(angle), angle], 1)


def _deform_conv() -> Case:
    from mmcv.ops import deform_conv2d

    inputs = [_random(2, 128, 64, 48), _random(2, 18, 64, 48), _random(128, 128, 3, 3)]
    return lambda x, offset, weight: deform_conv2d(x, offset, weight, 1, 1), inputs


def _modulated_deform_conv() -> Case:
    from mmcv.ops import modulated_deform_conv2d

    inputs = [_random(2, 128, 64, 48), _random(2, 18, 64, 48), _random(2, 9, 64, 48)]
    inputs += [_random(128, 128, 3, 3), _random(128)]
    return lambda *x: modulated_deform_conv2d(*x, 1, 1), inputs


def _roi_align(mode: str) -> Callable[[], Case]:
    def case() -> Case:
        from mmcv.ops import roi_align

        return (
            lambda x, rois: roi_align(x, rois, (7, 7), 0.125, 0, mode),
            [_random(2, 256, 100, 128), _rois(256 if mode == 'avg' else 64, 2)],
        )

    return case


def _roi_pool() -> Case:
    from mmcv.ops import roi_pool

    inputs = [_random(2, 256, 100, 128), _rois(256, 2)]
    return lambda x, rois: roi_pool(x, rois, (7, 7), 0.125), inputs


def _deform_roi_pool() -> Case:
    from mmcv.ops import deform_roi_pool

    inputs = [_random(2, 256, 100, 128), _rois(256, 2), _random(256, 2, 7, 7)]
    return lambda x, rois, offset: deform_roi_pool(x, rois, offset, (7, 7), 0.125), inputs


def _nms() -> Case:
    from mmcv.ops import nms

    inputs = [_boxes(2000), torch.rand(2000, device=device())]
    return lambda boxes, scores: nms(boxes, scores, 0.5), inputs


def _soft_nms() -> Case:
    from mmcv.ops import soft_nms

    inputs = [_boxes(1000), torch.rand(1000, device=device())]
    return lambda boxes, scores: soft_nms(boxes, scores, 0.3, min_score=0.05), inputs


def _nms_match() -> Case:
    from mmcv.ops import nms_match

    scores = torch.rand(1000, 1, device=device())
    return lambda boxes: nms_match(boxes, 0.65), [torch.cat([_boxes(1000), scores], 1)]


def _nms_rotated() -> Case:
    from mmcv.ops import nms_rotated

    inputs = [_rotated(500), torch.rand(500, device=device())]
    return lambda boxes, scores: nms_rotated(boxes, scores, 0.3), inputs


def _box_iou_rotated() -> Case:
    from mmcv.ops import box_iou_rotated

    return box_iou_rotated, [_rotated(200), _rotated(200)]


def _bbox_overlaps() -> Case:
    from mmcv.ops import bbox_overlaps

    return bbox_overlaps, [_boxes(2000), _boxes(100)]


def _psa_mask() -> Case:
    from mmcv.ops.psa_mask import psa_mask

    return lambda x: psa_mask(x, 0, (65, 65)), [_random(2, 65 * 65, 33, 33)]


def _focal_loss() -> Case:
    from mmcv.ops import sigmoid_focal_loss

    target = torch.randint(81, (20000,), device=device())
    return lambda x, target: sigmoid_focal_loss(x, target), [_random(20000, 80), target]


def _deform_attention() -> Case:
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    shapes = torch.tensor([[64, 64], [32, 32], [16, 16], [8, 8]], device=device())
    sizes = shapes.prod(1)
    start = sizes.cumsum(0) - sizes
    queries = int(sizes.sum())
    locations = torch.rand(2, queries, 8, 4, 4, 2, device=device()).requires_grad_()
    inputs = [_random(2, queries, 8, 32), locations, _random(2, queries, 8, 4, 4)]
    return (
        lambda value, *x: MultiScaleDeformableAttnFunction.apply(value, shapes, start, *x, 64),
        inputs,
    )


def _carafe() -> Case:
    from mmcv.ops import carafe

    masks = torch.rand(2, 25, 100, 100, device=device()).requires_grad_()
    return lambda x, masks: carafe(x, masks, 5, 1, 2), [_random(2, 256, 50, 50), masks]


def _masked_conv() -> Case:
    from mmcv.ops import masked_conv2d

    inputs = [_random(1, 256, 100, 100, grad=False), _random(1, 100, 100, grad=False)]
    inputs += [_random(256, 256, 3, 3, grad=False), _random(256, grad=False)]
    return lambda x, mask, weight, bias: masked_conv2d(x, mask, weight, bias, 1), inputs


CASES: dict[str, Callable[[], Case]] = {
    'deform_conv2d': _deform_conv,
    'modulated_deform_conv2d': _modulated_deform_conv,
    'roi_align (average)': _roi_align('avg'),
    'roi_align (maximum)': _roi_align('max'),
    'roi_pool': _roi_pool,
    'deform_roi_pool': _deform_roi_pool,
    'nms': _nms,
    'soft_nms': _soft_nms,
    'nms_match': _nms_match,
    'nms_rotated': _nms_rotated,
    'box_iou_rotated': _box_iou_rotated,
    'bbox_overlaps': _bbox_overlaps,
    'psa_mask': _psa_mask,
    'sigmoid_focal_loss': _focal_loss,
    'multi-scale deformable attention': _deform_attention,
    'carafe': _carafe,
    'masked_conv2d': _masked_conv,
}
#: operators that mmcv has not compiled for the CPU
ONLY_GPU = {
    'roi_pool',
    'deform_roi_pool',
    'sigmoid_focal_loss',
    'multi-scale deformable attention',
    'carafe',
    'masked_conv2d',
}


if __name__ == '__main__':
    run(main)
