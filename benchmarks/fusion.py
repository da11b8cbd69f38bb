"""Benchmark of models that are fused for inference, compared with the same models unfused."""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.flops import input_shape
from pose_backbones.cli.memory import output_tensors
from pose_backbones.cli.options import check_counts
from pose_backbones.models.layers import fuse
from pose_backbones.zoo import find_name, get_config
from pose_backbones.zoo.models import without_weights

from ._measure import (
    markdown_head,
    markdown_row,
    median_ratio,
    number_of_threads,
    timed,
    write_json,
)
from .half_precision import relative_difference

NAMES = (
    'moganet-xt_coco-256x192',
    'moganet-s_coco-256x192',
    'uniformer-s_coco-256x192',
    'convnext-t_coco-256x192',
    'mspn-1stg_8xb32-210e_coco-256x192',
    'mspn-4stg_8xb32-210e_coco-256x192',
    'hrcomer-b_8xb12-70e_coco-768',
    'rtmpose-m_8xb256-420e_coco-256x192',
    'td-hm_res50_8xb64-210e_coco-256x192',
    'td-hm_hrnet-w32_8xb64-210e_coco-256x192',
    'td-hm_ViTPose-small-simple_8xb64-210e_coco-256x192',
)
_MATRIX = 2048  # side of the matrices whose product is the peak of the machine
_SCALE = 0.3  # standard deviation of the factors of norms and layer scales around 1


@dataclass(frozen=True)
class Row:
    """Measurements of a model.

    Args:
        model: Name of a model of this package or of MMPose.
        batch: Number of images.
        threads: Number of threads.
        flops: Multiplications and additions of a prediction of the batch, in matrix products,
            convolutions and attention.
        peak: FLOPs per second of the best matrix product in float32 of the same run.
        difference: Largest difference of an output, relative to the largest absolute output.
        unfused, fused: Seconds of each round.
    """

    model: str
    batch: int
    threads: int
    flops: int
    peak: float
    difference: float
    unfused: list[float]
    fused: list[float]

    @property
    def ratio(self) -> float:
        """How many times as fast the fused model is: median over the rounds."""
        return median_ratio(self.unfused, self.fused)

    @property
    def ratio_of_minima(self) -> float:
        """How many times as fast the fused model is in its fastest round."""
        return min(self.unfused) / min(self.fused)

    def share(self, seconds: Sequence[float]) -> float:
        """Return the share of the peak that the fastest of some rounds reaches."""
        return self.flops / min(seconds) / self.peak


def build(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """Build a model with random weights and statistics, all of which affect the output.

    Args:
        name: Name of a model of this package or of MMPose.

    Returns:
        The model in evaluation mode, and height and width of its input.
    """
    register_all_modules()
    MMLogger.get_instance('fusion', log_level='ERROR')  # no log of the initialization
    config = without_weights(get_config(name))
    init_default_scope(config.get('default_scope', 'mmpose'))
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    fill(model)
    model.eval()
    return model, input_shape(config)


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Fill statistics, factors and output layers with random values, in place."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith('running_mean'):
            value.normal_(std=_SCALE, generator=generator)
        elif name.endswith(('layer_scale_1', 'layer_scale_2', 'sigma.scale', 'gamma')):
            value.uniform_(0, _SCALE, generator=generator)
        elif value.is_floating_point() and value.ndim == 4:
            value.normal_(std=value[0].numel() ** -0.5, generator=generator)
        elif value.is_floating_point() and value.ndim == 1:
            value.add_(torch.empty_like(value).normal_(std=_SCALE / 3, generator=generator))


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return what the model computes for a prediction, before it is decoded."""
    feats = model.extract_feat(images)
    if hasattr(model.head, 'forward_candidates'):  # HRCoMer
        return list(output_tensors(model.head.forward_candidates(feats)))
    return list(output_tensors(model.head(feats)))


def measure(name: str, batch: int, threads: int, repeat: int) -> Row:
    """Measure a model on the CPU.

    Both variants and the matrix product take turns, so that other load of the machine affects all
    of them.

    Args:
        name: Name of a model of this package or of MMPose.
        batch: Number of images.
        threads: Number of threads.
        repeat: Number of rounds.
    """
    with number_of_threads(threads):
        model, shape = build(name)
        fused, images = fuse(model), torch.randn(batch, 3, *shape)
        with FlopCounterMode(display=False) as counter:
            expected = predict(model, images)
        outputs = predict(fused, images)
        matrix = torch.randn(_MATRIX, _MATRIX)
        seconds: dict[str, list[float]] = {'unfused': [], 'fused': [], 'product': []}
        for _ in range(repeat):
            seconds['unfused'].append(timed(predict, model, images)[1])
            seconds['fused'].append(timed(predict, fused, images)[1])
            seconds['product'].append(timed(torch.mm, matrix, matrix)[1])
        return Row(
            model=name,
            batch=batch,
            threads=threads,
            flops=counter.get_total_flops(),
            peak=2 * _MATRIX**3 / min(seconds['product']),
            difference=relative_difference(_filled(outputs), _filled(expected)),
            unfused=seconds['unfused'],
            fused=seconds['fused'],
        )


def _filled(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Leave out tensors without values, such as the joints of an image without people."""
    return [output for output in outputs if output.numel()]


def table(rows: Iterator[Row]) -> Iterator[str]:
    """Format measurements as a Markdown table, with times in milliseconds.

    Args:
        rows: The measurements.

    Yields:
        Lines, as soon as each measurement is available.
    """
    yield from markdown_head(
        (
            'model',
            'batch',
            'threads',
            'GFLOPs',
            'unfused, ms',
            'fused, ms',
            'ratio',
            'ratio of minima',
            'peak, GFLOP/s',
            'unfused, % of peak',
            'fused, % of peak',
            'difference',
        )
    )
    for row in rows:
        yield markdown_row(
            (
                row.model,
                str(row.batch),
                str(row.threads),
                f'{row.flops / 1e9:.1f}',
                *(f'{1e3 * statistics.median(times):.0f}' for times in (row.unfused, row.fused)),
                f'{row.ratio:.2f}',
                f'{row.ratio_of_minima:.2f}',
                f'{row.peak / 1e9:.0f}',
                f'{100 * row.share(row.unfused):.0f}',
                f'{100 * row.share(row.fused):.0f}',
                f'{row.difference:.0e}',
            )
        )


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.fusion`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.fusion',
        description='Time models in float32 on the CPU, unfused and fused for inference, in turns. '
        'The ratio is the median over the rounds of the time of the unfused model divided by that '
        'of the fused one. The peak is the best product of float32 matrices of the same run.',
    )
    parser.add_argument(
        'models',
        nargs='*',
        metavar='NAME',
        help='models of docs/model_zoo.md or of MMPose (default: several of each)',
    )
    parser.add_argument(
        '--batch', type=int, nargs='+', metavar='N', default=[1, 8], help='images (default: 1 8)'
    )
    parser.add_argument(
        '--threads', type=int, nargs='+', metavar='N', default=[1, 2], help='default: 1 2'
    )
    parser.add_argument(
        '--repeat', type=int, default=10, metavar='N', help='number of rounds (default: 10)'
    )
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.fusion`.

    Args:
        argv: Arguments; None means those of the command line.

    Raises:
        PoseBackbonesError: If an argument is invalid.
    """
    args = parse_args(argv)
    check_counts(args, 'repeat', 'batch', 'threads')
    names = [find_name(name) for name in args.models or NAMES]  # raises early
    rows = []

    def measured() -> Iterator[Row]:
        for name in names:
            for threads in args.threads:
                for batch in args.batch:
                    rows.append(measure(name, batch, threads, args.repeat))
                    yield rows[-1]

    for line in table(measured()):
        print(line, flush=True)
    if args.json:
        content = [dict(asdict(row), ratio=row.ratio) for row in rows]
        write_json(args.json, content)


if __name__ == '__main__':
    run(main)
