"""Benchmark of eager, mixed-precision and compiled inference and training, meant for GPUs."""

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.models.layers import fuse
from pose_backbones.zoo import find_name

from ._measure import (
    device,
    device_name,
    markdown_head,
    markdown_row,
    median_ratio,
    milliseconds,
    timed,
    write_json,
)
from .fusion import build
from .hrcomer import measure_assigner

NAMES = ('moganet-s_coco-256x192', 'uniformer-s_coco-256x192', 'convnext-t_coco-256x192')
TASKS = ('inference', 'training')
_WARM_UP = 2  # runs before the first round


@dataclass(frozen=True)
class Row:
    """Measurements of a model.

    Args:
        model: Name in the model zoo.
        task: `'inference'` or `'training'`.
        batch: Number of images.
        seconds: Variant → seconds of each round. `float32` is without TF32, `amp` is mixed
            precision in bfloat16, `compiled` is also `torch.compile` and `channels_last`; for
            inference, the model is fused, too.
    """

    model: str
    task: str
    batch: int
    seconds: dict[str, list[float]]

    def ratio(self, variant: str) -> float:
        """Return how many times as fast `compiled` is as a variant: median over the rounds."""
        return median_ratio(self.seconds[variant], self.seconds['compiled'])


class Network(nn.Module):
    """Backbone, neck and head of an estimator, from images to the outputs of the head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs of the head."""
        return self.model.head(self.model.extract_feat(images))


def _inference(model: nn.Module, images: Tensor) -> Callable[[], object]:
    def predict() -> Tensor:
        with torch.inference_mode():
            return model(images)

    return predict


def _training(model: nn.Module, images: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model(images).float().square().mean().backward()
        optimizer.step()

    return step


class _Mixed(nn.Module):
    """A network in mixed precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return self.network(images)


def variants(name: str, task: str, batch: int) -> dict[str, Callable[[], object]]:
    """Return a function for each variant, which computes one batch.

    Args:
        name: Name in the model zoo.
        task: One of `TASKS`.
        batch: Number of images.
    """
    model, shape = build(name)
    images = torch.randn(batch, 3, *shape, device=device())
    trains = task == 'training'
    make = _training if trains else _inference
    plain, mixed, last = (Network(copy.deepcopy(model)).train(trains) for _ in range(3))
    if not trains:
        last = Network(fuse(last.model))
    plain, mixed = plain.to(device()), mixed.to(device())
    last = last.to(device(), memory_format=torch.channels_last)
    return {
        'float32': make(plain, images),
        'amp': make(_Mixed(mixed), images),
        'compiled': make(
            _Mixed(torch.compile(last, dynamic=False)),
            images.contiguous(memory_format=torch.channels_last),
        ),
    }


def measure(name: str, task: str, batch: int, repeat: int) -> Row:
    """Measure the variants of a model in turns, on a GPU if there is one.

    Args:
        name: Name in the model zoo.
        task: One of `TASKS`.
        batch: Number of images.
        repeat: Number of rounds.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    functions = variants(name, task, batch)
    for function in functions.values():
        for _ in range(_WARM_UP):
            function()
    seconds: dict[str, list[float]] = {variant: [] for variant in functions}
    for _ in range(repeat):
        for variant, function in functions.items():
            seconds[variant].append(timed(function)[1])
    return Row(name, task, batch, seconds)


def table(rows: Iterator[Row]) -> Iterator[str]:
    """Format measurements as a Markdown table, with times in milliseconds.

    Args:
        rows: The measurements.

    Yields:
        Lines, as soon as each measurement is available.
    """
    titles = ('model', 'task', 'batch', 'float32, ms', 'amp, ms', 'compiled, ms')
    yield from markdown_head((*titles, 'compiled / float32', 'compiled / amp'))
    for row in rows:
        times = (milliseconds(row.seconds[name]) for name in ('float32', 'amp', 'compiled'))
        ratios = (f'{row.ratio(name):.2f}' for name in ('float32', 'amp'))
        yield markdown_row((row.model, row.task, str(row.batch), *times, *ratios))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.compiled`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.compiled',
        description='Time the networks of models in float32 (without TF32), in mixed precision '
        '(bfloat16), and in mixed precision with torch.compile, channels_last and, for inference, '
        'fused, in turns, on a GPU if there is one; and the assigner of HRCoMer in a training '
        'batch of 12 images with 30 people each. Takes about ten minutes with the defaults, most '
        'of them for the compilation.',
    )
    parser.add_argument(
        'models',
        nargs='*',
        metavar='NAME',
        help=f'models with a heatmap head of docs/model_zoo.md (default: {", ".join(NAMES)})',
    )
    parser.add_argument(
        '--task', nargs='+', choices=TASKS, default=list(TASKS), help='default: both'
    )
    parser.add_argument('--batch', type=int, default=64, metavar='N', help='images (default: 64)')
    parser.add_argument(
        '--repeat', type=int, default=10, metavar='N', help='number of rounds (default: 10)'
    )
    parser.add_argument('--no-assigner', action='store_true', help='do not time the assigner')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.compiled`.

    Args:
        argv: Arguments; None means those of the command line.

    Raises:
        PoseBackbonesError: If an argument is invalid.
    """
    args = parse_args(argv)
    check_counts(args, 'batch', 'repeat')
    names = [find_name(name) for name in args.models or NAMES]  # raises early
    rows = []

    def measured() -> Iterator[Row]:
        for name in names:
            for task in args.task:
                rows.append(measure(name, task, args.batch, args.repeat))
                yield rows[-1]

    print(f'On {device_name()}\n')
    for line in table(measured()):
        print(line, flush=True)
    assigner: Sequence[float] = []
    if not args.no_assigner:
        assigner = measure_assigner(repeat=args.repeat)
        print(f'\nAssigner of HRCoMer: {milliseconds(assigner)} ms')
    if args.json:
        content = dict(
            device=device_name(), rows=[asdict(row) for row in rows], assigner=list(assigner)
        )
        write_json(args.json, content)


if __name__ == '__main__':
    run(main)
