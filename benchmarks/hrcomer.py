"""HRCoMer's times and memory: what `benchmarks/hrcomer.py` runs."""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pose_backbones.cli.entry_point import run
from pose_backbones.codecs import MultiScaleJoints
from pose_backbones.errors import ConfigError
from pose_backbones.models.backbones.hrcomer import HRCoMer
from pose_backbones.models.task_modules import PoseHungarianAssigner

from .hrcomer_variants import (
    MAX_PEOPLE,
    build,
    decode,
    device,
    difference,
    fill,
    forward,
    forward_eagerly,
    peak_memory,
)

#: the ways, and how each makes the decoder's input
WAYS = {'ours': forward, 'eager': forward_eagerly}
PARTS = ('prediction', 'memory', 'encoding', 'assigner')
#: pixels that the poses of both ways may be apart
TOLERANCE = 1e-2
#: images of a batch in training, as in the paper
TRAINING_BATCH = 12


@dataclass(frozen=True)
class Prediction:
    """What is measured of a prediction.

    Args:
        people: Found in each image.
        difference: Pixels between the poses of both ways, at most.
        forward, decode: Way → seconds of each round.
        memory: Way → the most bytes above the weights; None: not measured.
    """

    people: int
    difference: float
    forward: dict[str, list[float]]
    decode: dict[str, list[float]]
    memory: dict[str, int] | None

    @property
    def together(self) -> dict[str, list[float]]:
        """Way → seconds of each round, forward and decoding."""
        return {way: [a + b for a, b in zip(self.forward[way], self.decode[way])] for way in WAYS}


def ratio(seconds: dict[str, list[float]]) -> float:
    """How long the eager way takes, in times of ours in the same round; the
    middle one of the rounds."""
    return statistics.median(eager / ours for eager, ours in zip(seconds['eager'], seconds['ours']))


def _timed(task: Callable, *arguments) -> tuple[object, float]:
    """What a task returns, and its seconds."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = task(*arguments)
    if on_gpu:
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def measure_prediction(
    arch: str = 'base', size: int = 768, batch: int = 1, repeat: int = 5, memory: bool = True
) -> Prediction:
    """Measure a prediction in both ways, on a GPU if there is one.

    They take turns, so that what else the machine does meets both. The
    weights are random.

    Args:
        arch: Of `HRCoMer`.
        size: Side of the images.
        batch: How many images.
        repeat: How many rounds.
        memory: Whether to measure memory.

    Returns:
        What was measured.

    Raises:
        RuntimeError: If both ways do not find the same poses.
    """
    model = build(arch, size)
    fill(model, seed=0)
    model.to(device())
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    images = images.to(device())
    # In full precision on a GPU as well, so that poses can be compared.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        times, people = _both_ways(model, images, repeat)
    apart = difference(people['ours'], people['eager'])
    if not apart <= TOLERANCE:
        raise RuntimeError(
            f'the poses of both ways are {apart:.3g} pixels apart: expected at most {TOLERANCE}'
        )
    peaks = None
    if memory:
        peaks = {
            way: peak_memory(task, arch, size, batch, torch.get_num_threads())
            for way, task in WAYS.items()
        }
    return Prediction(len(people['ours'][0][0]), apart, **times, memory=peaks)


def _both_ways(model: nn.Module, images: Tensor, repeat: int) -> tuple[dict, dict]:
    """Seconds of `forward` and `decode`, and people: of each way."""
    times = {'forward': {way: [] for way in WAYS}, 'decode': {way: [] for way in WAYS}}
    people = {}
    for number in range(repeat + 1):
        for way, task in WAYS.items():
            outputs, forward_time = _timed(task, model, images)
            people[way], decode_time = _timed(decode, model, outputs)
            del outputs
            if number:  # the first round warms up
                times['forward'][way].append(forward_time)
                times['decode'][way].append(decode_time)
    return times, people


def crowd(size: int, seed: int) -> dict[str, np.ndarray]:
    """Make up the people of an image, as many as the limit.

    Args:
        size: Side of the image.
        seed: Of what is random.

    Returns:
        What `MultiScaleJoints.encode` gets: people of .05 to .4 of the
        image's side, with all 17 joints.
    """
    rng = np.random.default_rng(seed)
    sides = size * np.exp(rng.uniform(*np.log((0.05, 0.4)), (MAX_PEOPLE, 1)))
    corners = rng.uniform(0, size - sides, (MAX_PEOPLE, 2))
    joints = sides[:, None] * rng.random((MAX_PEOPLE, 17, 2))
    return dict(
        keypoints=corners[:, None] + joints,
        area=sides[:, 0] ** 2 / 2,
        sizes=sides[:, 0],
        keypoints_visible=np.ones((MAX_PEOPLE, 17)),
    )


def _codec(size: int) -> MultiScaleJoints:
    return MultiScaleJoints((size, size), (size // 4, size // 4), max_num_people=MAX_PEOPLE)


def _rounds(task: Callable, *arguments, repeat: int) -> list[float]:
    task(*arguments)  # warms up
    return [_timed(task, *arguments)[1] for _ in range(repeat)]


def measure_encoding(size: int = 768, repeat: int = 5) -> list[float]:
    """Measure the encoding of a COCO image with 30 people, on the CPU.

    Args:
        size: Side of the image; the output map's is a quarter.
        repeat: How many rounds.

    Returns:
        Seconds of each round.
    """
    codec, people = _codec(size), crowd(size, seed=0)
    return _rounds(lambda: codec.encode(**people), repeat=repeat)


def measure_assigner(size: int = 768, repeat: int = 5) -> list[float]:
    """Measure the assignment of people in a training batch, on a GPU if
    there is one: 12 images of 30 people, three maps of queries.

    Args:
        size: Side of the images.
        repeat: How many rounds.

    Returns:
        Seconds of each round.
    """
    codec = _codec(size)
    encoded = [codec.encode(**crowd(size, seed)) for seed in range(TRAINING_BATCH)]
    targets = {
        name: torch.from_numpy(np.stack([one[f'target_{name}'] for one in encoded])).to(device())
        for name in ('joints', 'areas', 'sizes')
    }
    shapes = [(size // stride, size // stride) for stride in (8, 16, 32)]
    count = sum(height * width for height, width in shapes)
    generator = torch.Generator().manual_seed(0)
    outputs = dict(
        confidences=torch.randn(TRAINING_BATCH, count, 1, generator=generator) - 4,
        joints=size / 4 * torch.rand(TRAINING_BATCH, count, 17, 2, generator=generator),
    )
    outputs = {name: value.to(device()) for name, value in outputs.items()}
    valid = torch.ones(TRAINING_BATCH, count, device=device())
    return _rounds(PoseHungarianAssigner(), outputs, shapes, targets, valid, repeat=repeat)


def table(found: Prediction) -> Iterator[str]:
    """A prediction as a table in Markdown; times in milliseconds.

    Args:
        found: As measured.

    Yields:
        Lines; that of the eager way divided by ours has ratios of the same
        round, and says how many times faster ours is.
    """
    heads = ('', 'forward, ms', 'decode, ms', 'together, ms', 'memory, MiB')
    yield _line(heads)
    yield _line(['---:'] * len(heads))
    parts = (found.forward, found.decode, found.together)
    for way in WAYS:
        yield _line(
            (
                way,
                *(_milliseconds(part[way]) for part in parts),
                f'{found.memory[way] / 2**20:.0f}' if found.memory else '-',
            )
        )
    yield _line(
        (
            'eager / ours',
            *(f'{ratio(part):.2f}' for part in parts),
            f'{found.memory["eager"] / found.memory["ours"]:.2f}' if found.memory else '-',
        )
    )


def _milliseconds(seconds: Sequence[float]) -> str:
    return f'{1e3 * statistics.median(seconds):.1f}'


def _line(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `benchmarks/hrcomer.py`."""
    parser = argparse.ArgumentParser(
        description="HRCoMer's prediction beside the original's way of "
        'computing it (eager: each layer by its own operator, joints and '
        'short offsets of all queries), with random weights and as many '
        'people as are found at most; the encoding of an image; the '
        'assigner.',
        prog='python -m benchmarks.hrcomer',
    )
    parser.add_argument(
        '--arch',
        default='base',
        help='default: base',
        choices=[*HRCoMer.arch_settings, *HRCoMer.arch_aliases],
    )
    parser.add_argument(
        '--size', type=int, default=768, metavar='PIXELS', help='side of the images (default: 768)'
    )
    parser.add_argument(
        '--batch', type=int, default=1, metavar='N', help='images of a prediction (default: 1)'
    )
    parser.add_argument(
        '--repeat', type=int, default=5, metavar='N', help='rounds; the median counts (default: 5)'
    )
    parser.add_argument(
        '--threads', type=int, metavar='N', help="of PyTorch on a CPU (default: PyTorch's)"
    )
    parser.add_argument(
        '--skip',
        nargs='+',
        choices=PARTS,
        default=[],
        metavar='PART',
        help=f'do not measure some of {", ".join(PARTS)}; memory is that of '
        'the prediction, each way in a process of its own',
    )
    return parser.parse_args(argv)


def _check_args(args: argparse.Namespace) -> None:
    for name in ('batch', 'repeat', 'threads'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f'--{name} {value}: expected a number of at least 1')
    if args.size < 64 or args.size % 32:
        raise ConfigError(f'--size {args.size}: expected a multiple of 32, at least 64')
    if not set(PARTS) - {'memory'} - set(args.skip):
        raise ConfigError(f'--skip {" ".join(args.skip)}: nothing is left to measure')


def main(argv: list[str] | None = None) -> None:
    """Entry point of `benchmarks/hrcomer.py`."""
    args = parse_args(argv)
    _check_args(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    cpu = f'a CPU, threads: {torch.get_num_threads()}'
    place = torch.cuda.get_device_name() if device() == 'cuda' else cpu
    print(f'HRCoMer {args.arch}, median of {args.repeat} rounds', flush=True)
    if 'prediction' not in args.skip:
        found = measure_prediction(
            args.arch, args.size, args.batch, args.repeat, 'memory' not in args.skip
        )
        print(
            f'\nPrediction, batch {args.batch}, {args.size}x{args.size}, '
            f'{found.people} people in each image, on {place}\n'
        )
        print('\n'.join(table(found)))
        print(f'\nPoses are {found.difference:.2g} pixels apart at most.')
    output = args.size // 4
    if 'encoding' not in args.skip:
        print(
            f'\nEncoding of an image of {MAX_PEOPLE} people, output '
            f'{output}, on a CPU: '
            f'{_milliseconds(measure_encoding(args.size, args.repeat))} ms',
            flush=True,
        )
    if 'assigner' not in args.skip:
        print(
            f'\nAssigner, {TRAINING_BATCH} images of {MAX_PEOPLE} people, '
            f'3 scales, output {output}, on {place}: '
            f'{_milliseconds(measure_assigner(args.size, args.repeat))} ms'
        )


if __name__ == '__main__':
    run(main)
