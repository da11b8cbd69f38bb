"""Benchmark of `MultiLevelHeatmapHead` against MMPose's neck and head with the same outputs."""

import argparse
from collections.abc import Callable, Sequence

import torch
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import Tensor, nn

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.models.heads import MultiLevelHeatmapHead
from pose_backbones.models.layers import fuse

from ._measure import (
    device,
    device_name,
    machine,
    markdown_head,
    markdown_row,
    median_ratio,
    milliseconds,
    timed,
    write_json,
)

#: name → channels of the maps, and height and width of the first map; each next map has half of it
MAPS = {
    'MogaNet-XT, 128x96': ((32, 64, 96, 192), (32, 24)),
    'EfficientNet-Lite0, 192x144': ((24, 40, 112, 320), (48, 36)),
}
TASKS = ('training', 'inference')
_KEYPOINTS = 17


def heads(channels: Sequence[int]) -> tuple[nn.Module, nn.Module]:
    """Return MMPose's neck and head, and `MultiLevelHeatmapHead` with the same weights.

    Args:
        channels: Channels of the maps.
    """
    neck = MODELS.build(dict(type='mmpose.FeatureMapProcessor', concat=True))
    head = MODELS.build(
        dict(
            type='mmpose.HeatmapHead',
            in_channels=sum(channels),
            out_channels=_KEYPOINTS,
            deconv_out_channels=None,
            conv_out_channels=(128,),
            conv_kernel_sizes=(1,),
        )
    )
    multi_level = MultiLevelHeatmapHead(channels, _KEYPOINTS)
    multi_level.load_state_dict(head.state_dict())
    return nn.Sequential(neck, head), multi_level


def measure(task: str, name: str, batch: int, repeat: int) -> dict:
    """Time both variants in turns.

    Args:
        task: `'training'`, forward and backward passes, or `'inference'`, the forward pass of the
            fused heads.
        name: Key of `MAPS`.
        batch: Number of images.
        repeat: Number of rounds.

    Returns:
        The `seconds` of each round: those of MMPose's neck and head, and of
        `MultiLevelHeatmapHead`.
    """
    channels, (height, width) = MAPS[name]
    modules = [module.to(device(), memory_format=torch.channels_last) for module in heads(channels)]
    maps = [
        torch.randn(batch, count, height >> level, width >> level, device=device())
        for level, count in enumerate(channels)
    ]
    maps = [x.contiguous(memory_format=torch.channels_last).requires_grad_() for x in maps]
    function = _training
    if task == 'inference':
        modules = [fuse(module.eval()) for module in modules]
        function = _inference
    seconds: list[list[float]] = [[], []]
    for number in range(repeat + 1):
        for index, module in enumerate(modules):
            duration = timed(function, module, maps)[1]
            if number:  # the first round warms up
                seconds[index].append(duration)
    return dict(task=task, maps=name, batch=batch, seconds=seconds)


def _training(module: Callable, maps: list[Tensor]) -> None:
    module(maps).square().mean().backward()


def _inference(module: Callable, maps: list[Tensor]) -> None:
    with torch.inference_mode():
        module([x.detach() for x in maps])


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.multi_level_head`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.multi_level_head',
        description="Time MultiLevelHeatmapHead and MMPose's neck FeatureMapProcessor with "
        'HeatmapHead, which have the same outputs.',
    )
    parser.add_argument('--batch', type=int, default=16, metavar='N', help='default: 16')
    parser.add_argument('--repeat', type=int, default=10, metavar='N', help='default: 10')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    args = parser.parse_args(argv)
    check_counts(args, 'batch', 'repeat')
    register_all_modules()
    print(f'On {device_name()}\n')
    titles = ('feature maps', 'task', 'MMPose, ms', 'MultiLevelHeatmapHead, ms', 'ratio')
    print('\n'.join(markdown_head(titles)))
    rows = []
    for name in MAPS:
        for task in TASKS:
            row = measure(task, name, args.batch, args.repeat)
            rows.append(dict(row, ratio=median_ratio(*row['seconds'])))
            times = map(milliseconds, row['seconds'])
            print(markdown_row((name, task, *times, f'{rows[-1]["ratio"]:.2f}')), flush=True)
    if args.json:
        write_json(args.json, dict(machine=machine(), rows=rows))


if __name__ == '__main__':
    run(main)
