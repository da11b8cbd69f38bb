"""Benchmark of mmpretrain's VisionTransformer and its replacement, as the backbone of ViTPose."""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import module_from_spec
from multiprocessing import get_context
from statistics import median

import torch

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones_env import finder

from ._measure import device, device_name, markdown_head, markdown_row, median_ratio, timed

VARIANTS = ('mmpretrain', 'replacement')
TASKS = ('inference', 'training step')
#: architecture of ViTPose-S; the others have names
_SMALL = dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536)
_state: dict = {}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.vision_transformer`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.vision_transformer',
        description="Time mmpretrain's VisionTransformer and its replacement with the same random "
        'weights and images of 256x192, in two processes that take turns, and compare the outputs. '
        'mmpretrain must be installed.',
    )
    parser.add_argument('--arch', default='small', choices=('small', 'base', 'large', 'huge'))
    parser.add_argument('--batch', type=int, default=4, metavar='N', help='default: 4')
    parser.add_argument('--rounds', type=int, default=20, metavar='N', help='default: 20')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.vision_transformer`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    check_counts(args, 'batch', 'rounds')
    times: dict[str, dict[str, list[float]]] = {
        task: {variant: [] for variant in VARIANTS} for task in TASKS
    }
    workers = {
        variant: ProcessPoolExecutor(
            1, get_context('spawn'), prepare, (variant, args.arch, args.batch)
        )
        for variant in VARIANTS
    }
    outputs = {variant: worker.submit(output).result() for variant, worker in workers.items()}
    for task, seconds in times.items():
        for number in range(args.rounds + 1):
            for variant, worker in workers.items():
                value = worker.submit(measure, task).result()
                if number:  # the first is slower
                    seconds[variant].append(value)
    for worker in workers.values():
        worker.shutdown()
    print(f'ViTPose backbone, {args.arch}, batch {args.batch}, on {device_name()}')
    print('\n'.join(markdown_head(['', *(f'{name} (ms)' for name in VARIANTS), 'ratio'])))
    for task, seconds in times.items():
        cells = [f'{1e3 * median(values):.1f}' for values in seconds.values()]
        ratio = median_ratio(seconds['replacement'], seconds['mmpretrain'])
        print(markdown_row([task, *cells, f'{ratio:.3f}']))
    first, second = outputs.values()
    print(f'largest difference of the outputs: {(first - second).abs().max():.1e}')


def prepare(variant: str, arch: str, batch: int) -> None:
    """Build the model of this process, and an image.

    Args:
        variant: One of `VARIANTS`.
        arch: `'small'`, as in ViTPose-S, or a name of mmpretrain.
        batch: Number of images.

    Raises:
        SystemExit: If mmpretrain is not installed.
    """
    vision_transformer = import_variant(variant)
    torch.manual_seed(0)
    model = vision_transformer(
        arch=_SMALL if arch == 'small' else arch,
        img_size=(256, 192),
        with_cls_token=False,
        out_type='featmap',
        patch_cfg=dict(padding=2),
    )
    torch.nn.init.normal_(model.pos_embed, std=0.02)
    _state['model'] = model.to(device())
    _state['image'] = torch.randn(batch, 3, 256, 192).to(device())


def import_variant(variant: str) -> Callable:
    """Return the class `VisionTransformer` of mmpretrain or of its replacement."""
    if variant == 'replacement' and 'mmpretrain' not in sys.modules:
        spec = finder.find_replacement('mmpretrain')
        sys.modules['mmpretrain'] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules['mmpretrain'])
    from mmpretrain.models import VisionTransformer

    file = sys.modules['mmpretrain'].__file__ or ''
    if file.startswith(finder.FOLDER) != (variant == 'replacement'):
        raise SystemExit('error: mmpretrain is not installed: pip install mmpretrain==1.2.0')
    return VisionTransformer


def output() -> torch.Tensor:
    """Return the features of the image, on the CPU."""
    _state['model'].eval()
    with torch.inference_mode():
        return _state['model'](_state['image'])[0].cpu().clone()


def measure(task: str) -> float:
    """Return the seconds of one of `TASKS`."""
    model, image = _state['model'], _state['image']
    if task == 'inference':
        model.eval()
        with torch.inference_mode():
            return timed(model, image)[1]
    model.train()
    model.zero_grad()
    return timed(lambda: model(image)[0].square().mean().backward())[1]


if __name__ == '__main__':
    run(main)
