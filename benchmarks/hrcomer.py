"""Benchmark of HRCoMer: time and memory of prediction, encoding and assignment."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.codecs import MultiScaleJoints
from pose_backbones.errors import ConfigError
from pose_backbones.models.backbones.hrcomer import HRCoMer
from pose_backbones.models.task_modules import PoseHungarianAssigner

from ._measure import (
    device,
    device_name,
    markdown_head,
    markdown_row,
    median_ratio,
    milliseconds,
    timed,
)
from .hrcomer_variants import (
    MAX_PEOPLE,
    VARIANTS,
    build,
    decode,
    difference,
    fill,
    prediction_memory,
)

PARTS = ('prediction', 'memory', 'encoding', 'assigner')
#: largest allowed distance between the poses of the variants, in pixels
TOLERANCE = 1e-2
#: images of a batch in training, as in the paper
TRAINING_BATCH = 12


@dataclass(frozen=True)
class Prediction:
    """Measurements of a prediction.

    Attributes:
        people: Number of people found in each image.
        difference: Largest distance between the poses of the variants, in pixels.
        forward, decode: Variant → seconds of each round.
        memory: Variant → peak bytes above those of the model; None: not measured.
    """

    people: int
    difference: float
    forward: dict[str, list[float]]
    decode: dict[str, list[float]]
    memory: dict[str, int] | None

    @property
    def together(self) -> dict[str, list[float]]:
        """Variant → seconds of each round, forward and decoding."""
        return {
            name: [a + b for a, b in zip(self.forward[name], self.decode[name])]
            for name in VARIANTS
        }


def ratio(seconds: dict[str, list[float]]) -> float:
    """Return the time of the eager variant divided by that of the fused one."""
    return median_ratio(seconds['eager'], seconds['fused'])


def measure_prediction(
    arch: str = 'base', size: int = 768, batch: int = 1, repeat: int = 5, memory: bool = True
) -> Prediction:
    """Measure both variants of a prediction, on a GPU if there is one.

    The variants take turns, so that other load of the machine affects both. Weights are random.

    Args:
        arch: Architecture of `HRCoMer`.
        size: Height and width of the images.
        batch: Number of images.
        repeat: Number of rounds.
        memory: Whether to measure memory.

    Returns:
        The measurements.

    Raises:
        RuntimeError: If the variants predict different poses.
    """
    model = build(arch, size)
    fill(model, seed=0)
    model.to(device())
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))
    images = images.to(device())
    # Without TF32 on a GPU, so that poses can be compared.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        times, people = _run_variants(model, images, repeat)
    distance = difference(people['fused'], people['eager'])
    if not distance <= TOLERANCE:
        raise RuntimeError(
            f'the poses of the variants are {distance:.3g} pixels apart: '
            f'expected at most {TOLERANCE}'
        )
    peaks = None
    if memory:
        peaks = {
            name: prediction_memory(variant, arch, size, batch, torch.get_num_threads())
            for name, variant in VARIANTS.items()
        }
    return Prediction(len(people['fused'][0][0]), distance, **times, memory=peaks)


def _run_variants(model: nn.Module, images: Tensor, repeat: int) -> tuple[dict, dict]:
    """Return the seconds of `forward` and `decode`, and the people, of each variant."""
    models = {name: variant.prepare(model) for name, variant in VARIANTS.items()}
    times = {part: {name: [] for name in VARIANTS} for part in ('forward', 'decode')}
    people = {}
    for number in range(repeat + 1):
        for name, variant in VARIANTS.items():
            outputs, forward_time = timed(variant.forward, models[name], images)
            people[name], decode_time = timed(decode, models[name], outputs)
            del outputs
            if number:  # the first round warms up
                times['forward'][name].append(forward_time)
                times['decode'][name].append(decode_time)
    return times, people


def crowd(size: int, seed: int) -> dict[str, np.ndarray]:
    """Return random people of an image, as many as the codec allows.

    Args:
        size: Height and width of the image.
        seed: Random seed.

    Returns:
        Arguments of `MultiScaleJoints.encode`: people of 0.05 to 0.4 of the image size, with all 17
        joints.
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
    return [timed(task, *arguments)[1] for _ in range(repeat)]


def measure_encoding(size: int = 768, repeat: int = 5) -> list[float]:
    """Measure the encoding of a COCO image with 30 people, on the CPU.

    Args:
        size: Height and width of the image; those of the output map are a quarter.
        repeat: Number of rounds.

    Returns:
        Seconds of each round.
    """
    codec, people = _codec(size), crowd(size, seed=0)
    return _rounds(lambda: codec.encode(**people), repeat=repeat)


def measure_assigner(size: int = 768, repeat: int = 5) -> list[float]:
    """Measure the assignment of people in a training batch, on a GPU if there is one.

    The batch has 12 images of 30 people and three query maps.

    Args:
        size: Height and width of the images.
        repeat: Number of rounds.

    Returns:
        Seconds of each round.
    """
    codec = _codec(size)
    encoded = [codec.encode(**crowd(size, seed)) for seed in range(TRAINING_BATCH)]
    targets = {
        name: torch.from_numpy(np.stack([target[f'target_{name}'] for target in encoded])).to(
            device()
        )
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


def table(prediction: Prediction) -> Iterator[str]:
    """Format a prediction as a Markdown table, with times in milliseconds.

    Args:
        prediction: The measurements.

    Yields:
        Lines. The last line has the time of the eager variant divided by that of the fused variant
        in the same round.
    """
    yield from markdown_head(('', 'forward, ms', 'decode, ms', 'together, ms', 'memory, MiB'))
    parts = (prediction.forward, prediction.decode, prediction.together)
    for name in VARIANTS:
        memory = f'{prediction.memory[name] / 2**20:.0f}' if prediction.memory else '-'
        yield markdown_row((name, *(milliseconds(part[name]) for part in parts), memory))
    peaks = prediction.memory
    memory = f'{peaks["eager"] / peaks["fused"]:.2f}' if peaks else '-'
    yield markdown_row(('eager / fused', *(f'{ratio(part):.2f}' for part in parts), memory))


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.hrcomer`."""
    parser = argparse.ArgumentParser(
        description="Time HRCoMer's prediction, fused for inference and as the original computes "
        'it (eager: each layer by its own operator, joints and short offsets of all queries), with '
        'random weights and the largest number of people; the encoding of an image; the assigner.',
        prog='python -m benchmarks.hrcomer',
    )
    parser.add_argument(
        '--arch',
        default='base',
        help='default: base',
        choices=[*HRCoMer.arch_settings, *HRCoMer.arch_aliases],
    )
    parser.add_argument(
        '--size',
        type=int,
        default=768,
        metavar='PIXELS',
        help='height and width of the images (default: 768)',
    )
    parser.add_argument(
        '--batch', type=int, default=1, metavar='N', help='images of a prediction (default: 1)'
    )
    parser.add_argument(
        '--repeat',
        type=int,
        default=5,
        metavar='N',
        help='number of rounds, of which the median is reported (default: 5)',
    )
    parser.add_argument(
        '--threads',
        type=int,
        metavar='N',
        help="threads of PyTorch on a CPU (default: PyTorch's default)",
    )
    parser.add_argument(
        '--skip',
        nargs='+',
        choices=PARTS,
        default=[],
        metavar='PART',
        help=f'do not measure these parts, some of {", ".join(PARTS)}; memory is the memory of the '
        'prediction, each variant in a separate process',
    )
    return parser.parse_args(argv)


def _check_args(args: argparse.Namespace) -> None:
    check_counts(args, 'batch', 'repeat', 'threads')
    if args.size < 64 or args.size % 32:
        raise ConfigError(f'--size {args.size}: expected a multiple of 32, at least 64')
    if not set(PARTS) - {'memory'} - set(args.skip):
        raise ConfigError(f'--skip {" ".join(args.skip)}: nothing is left to measure')


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.hrcomer`."""
    args = parse_args(argv)
    _check_args(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    device_text = device_name()
    print(f'HRCoMer {args.arch}, median of {args.repeat} rounds', flush=True)
    if 'prediction' not in args.skip:
        prediction = measure_prediction(
            args.arch, args.size, args.batch, args.repeat, 'memory' not in args.skip
        )
        print(
            f'\nPrediction, batch {args.batch}, {args.size}x{args.size}, '
            f'{prediction.people} people in each image, on {device_text}\n'
        )
        print('\n'.join(table(prediction)))
        print(f'\nPoses are {prediction.difference:.2g} pixels apart at most.')
    output = args.size // 4
    if 'encoding' not in args.skip:
        print(
            f'\nEncoding of an image of {MAX_PEOPLE} people, output '
            f'{output}, on a CPU: '
            f'{milliseconds(measure_encoding(args.size, args.repeat))} ms',
            flush=True,
        )
    if 'assigner' not in args.skip:
        print(
            f'\nAssigner, {TRAINING_BATCH} images of {MAX_PEOPLE} people, '
            f'3 scales, output {output}, on {device_text}: '
            f'{milliseconds(measure_assigner(args.size, args.repeat))} ms'
        )


if __name__ == '__main__':
    run(main)
