"""Benchmark of MSPN and MMPose's MSPN: parameters, FLOPs and times."""

import argparse
import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from mmcv.cnn import get_model_complexity_info
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import nn

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.errors import ConfigError

from ._measure import (
    device,
    device_name,
    markdown_head,
    markdown_row,
    median_ratio,
    milliseconds,
    timed,
)
from .mspn_reference import batches, configs

#: names of the timed tasks; `all units` computes the maps of all units, as MMPose does
TASKS = (
    'train',
    'train, MMPose',
    'predict',
    'predict, MMPose',
    'network',
    'network, all units',
    'network, MMPose',
)


@dataclass(frozen=True)
class Row:
    """Measurements for one number of stages.

    Args:
        stages: Number of stages.
        params: Number of parameters of the model of pose_backbones.
        flops: Multiply-adds of its prediction, for one image.
        flops_all: Multiply-adds of its prediction if the maps of all units are computed.
        flops_mmpose: Multiply-adds of MMPose's prediction.
        seconds: Name of `TASKS` → seconds of each round. A training step consists of forward, loss
            and backward; a prediction includes decoding, without flip test; `network` computes only
            the heatmaps.
    """

    stages: int
    params: int
    flops: float
    flops_all: float
    flops_mmpose: float
    seconds: dict[str, list[float]]

    def ratio(self, task: str, other: str) -> float:
        """Return the median ratio of the times of two tasks in the same round."""
        return median_ratio(self.seconds[task], self.seconds[other])


class _Maps(nn.Module):
    """Wrap an estimator so that `forward` returns the heatmaps of a batch of images.

    Args:
        model: An estimator.
        every_unit: Whether to compute the heatmaps of every unit (`MSPNHead` of pose_backbones
            only).
    """

    def __init__(self, model: nn.Module, every_unit: bool = False):
        super().__init__()
        self.model = model
        self.every_unit = every_unit

    def forward(self, image: torch.Tensor):
        feats = self.model.extract_feat(image)
        head = self.model.head
        return head.unit_maps(feats) if self.every_unit else head(feats)


def _tasks(
    own: nn.Module, mmpose: nn.Module, shape: tuple[int, int], count: int
) -> dict[str, Callable[[], object]]:
    """Return the functions to time, by name of `TASKS`."""
    own_data, mmpose_data = (
        model.data_preprocessor(batch) for model, batch in zip((own, mmpose), batches(shape, count))
    )

    def train(model: nn.Module, data: dict) -> None:
        model.train().zero_grad()
        model(**data, mode='loss')['loss_kpt'].backward()

    @torch.no_grad()
    def predict(model: nn.Module, data: dict) -> None:
        model.eval()
        model(data['inputs'], copy.deepcopy(data['data_samples']), mode='predict')

    @torch.no_grad()
    def network(model: nn.Module, every_unit: bool = False) -> None:
        _Maps(model, every_unit).eval()(own_data['inputs'])

    return dict(
        zip(
            TASKS,
            (
                lambda: train(own, own_data),
                lambda: train(mmpose, mmpose_data),
                lambda: predict(own, own_data),
                lambda: predict(mmpose, mmpose_data),
                lambda: network(own),
                lambda: network(own, True),
                lambda: network(mmpose),
            ),
        )
    )


def _flops(config: dict, shape: tuple[int, int], every_unit: bool = False) -> tuple[float, int]:
    """Return the multiply-adds of a prediction and the number of parameters."""
    with torch.device('meta'):
        return get_model_complexity_info(
            _Maps(MODELS.build(config), every_unit),
            (3, *shape),
            print_per_layer_stat=False,
            as_strings=False,
        )


def measure(
    stages: int,
    shape: tuple[int, int] = (256, 192),
    batch: int = 4,
    repeat: int = 5,
    num_blocks: Sequence[int] = (3, 4, 6, 3),
) -> Row:
    """Measure one number of stages, on a GPU if there is one.

    The tasks take turns, so that other load of the machine affects all of them.

    Args:
        stages: Number of stages.
        shape: Height and width of the images.
        batch: Number of images.
        repeat: Number of rounds.
        num_blocks: Number of blocks of each layer of a stage.

    Returns:
        The measurements.
    """
    register_all_modules()
    init_default_scope('mmpose')
    own, mmpose = configs(stages, shape, num_blocks)
    flops, params = _flops(own, shape)
    flops_all, flops_mmpose = (
        _flops(config, shape, every)[0] for config, every in ((own, True), (mmpose, False))
    )
    torch.manual_seed(0)
    models = [MODELS.build(config).to(device()) for config in (own, mmpose)]
    tasks = _tasks(*models, shape, batch)
    seconds = {name: [] for name in tasks}
    for number in range(repeat + 1):
        for name, task in tasks.items():
            task_seconds = timed(task)[1]
            if number:  # the first round warms up
                seconds[name].append(task_seconds)
    return Row(stages, int(params), flops, flops_all, flops_mmpose, seconds)


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Format measurements as a Markdown table, with times in milliseconds.

    Args:
        rows: The measurements.

    Yields:
        Lines, as soon as each measurement is available.
    """
    heads = (
        'stages',
        'params, M',
        'FLOPs, G',
        'all units',
        'MMPose',
        'train, ms',
        'MMPose',
        'ratio',
        'predict, ms',
        'MMPose',
        'ratio',
        'network, ms',
        'all units',
        'ratio',
        'MMPose',
        'ratio',
    )
    yield from markdown_head(heads)
    for row in rows:
        train, train_mmpose, predict, predict_mmpose, net, every, net_mmpose = (
            milliseconds(row.seconds[task], digits=0) for task in TASKS
        )
        yield markdown_row(
            (
                str(row.stages),
                f'{row.params / 1e6:.1f}',
                *(f'{flops / 1e9:.2f}' for flops in (row.flops, row.flops_all, row.flops_mmpose)),
                train,
                train_mmpose,
                f'{row.ratio("train", "train, MMPose"):.2f}',
                predict,
                predict_mmpose,
                f'{row.ratio("predict", "predict, MMPose"):.2f}',
                net,
                every,
                f'{row.ratio("network", "network, all units"):.2f}',
                net_mmpose,
                f'{row.ratio("network", "network, MMPose"):.2f}',
            )
        )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.mspn`."""
    parser = argparse.ArgumentParser(
        description='Measure parameters, FLOPs and times of MSPN and of the MSPN of MMPose, for '
        'each number of stages. A training step consists of forward, loss and backward. Each '
        'ratio is the time of MSPN divided by the time of the previous column.',
        prog='python -m benchmarks.mspn',
    )
    parser.add_argument(
        '--stages', type=int, nargs='+', metavar='N', default=[1, 2, 3, 4], help='default: 1 2 3 4'
    )
    parser.add_argument(
        '--batch', type=int, default=4, metavar='N', help='images in a batch (default: 4)'
    )
    parser.add_argument(
        '--repeat',
        type=int,
        default=5,
        metavar='N',
        help='number of rounds, of which the median is reported (default: 5)',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        default=(256, 192),
        help='default: 256 192',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.mspn`."""
    args = parse_args(argv)
    check_counts(args, 'batch', 'repeat')
    if not all(1 <= number <= 9 for number in args.stages):
        raise ConfigError(
            f'--stages {" ".join(map(str, args.stages))}: expected numbers '
            'of stages, 1 to 4 in the paper'
        )
    if any(side < 32 or side % 32 for side in args.shape):
        raise ConfigError(f'--shape {args.shape[0]} {args.shape[1]}: expected multiples of 32')
    print(
        f'{args.batch} images of {args.shape[0]}x{args.shape[1]} on '
        f'{device_name()}, median of {args.repeat} rounds\n'
    )
    rows = (measure(number, tuple(args.shape), args.batch, args.repeat) for number in args.stages)
    for line in table(rows):
        print(line, flush=True)


if __name__ == '__main__':
    run(main)
