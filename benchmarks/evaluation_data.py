"""Benchmark of the evaluation data path: reading images, cropping boxes, and forming batches."""

import argparse
import json
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.datasets import coco_style
from pose_backbones.engine.grouped_evaluation import share_images
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.errors import ConfigError
from pose_backbones.zoo import get_config

from ._measure import markdown_head, markdown_row, median_ratio, milliseconds, write_json
from .training_data import (
    HEIGHT,
    OWN,
    WIDTH,
    counted_decoding,
    make_data,
    make_person,
    mmpose_copies,
)

#: limit of the decoded images in MiB, the default of `eval_cache_mb`
_CACHE_MB = 512
_VARIANTS = ('mmpose', 'shared')


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.evaluation_data`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.evaluation_data',
        description='Time the loading of detected boxes from JPEG files of 640x480 pixels: with '
        "MMPose's transforms and MMEngine's data loader, and as tools/test.py does, in turns.",
    )
    parser.add_argument('--config', default='td-hm_moganet-xt_8xb32-210e_coco-256x192')
    parser.add_argument('--images', type=int, default=16, metavar='N', help='default: 16')
    parser.add_argument(
        '--boxes',
        type=int,
        nargs='+',
        default=[1, 5, 20],
        metavar='N',
        help='boxes per image (default: 1 5 20)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=[0, 2],
        metavar='N',
        help='data workers (default: 0 2)',
    )
    parser.add_argument('--batch', type=int, default=32, metavar='N', help='default: 32')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='default: 5')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.evaluation_data`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    check_counts(args, 'images', 'batch', 'rounds')
    if min(args.boxes) < 1 or min(args.workers) < 0:
        raise ConfigError(
            f'--boxes {args.boxes} --workers {args.workers}: expected at least 1 box per image, '
            'and no negative number of workers'
        )
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    coco_style.patch()
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        size = make_data(Path(folder), args.images)
        print(
            f'{args.images} images of {WIDTH}x{HEIGHT} pixels and {size / 1e3:.0f} kB on average, '
            f'batches of {args.batch}\n'
        )
        titles = ['boxes per image', 'workers', 'MMPose, ms per box', 'ms per box', 'ratio']
        titles += ['MMPose, images decoded', 'images decoded']
        print('\n'.join(markdown_head(titles)))
        for boxes in args.boxes:
            write_detections(Path(folder), args.images, boxes)
            for workers in args.workers:
                cases.append(measure(args, Path(folder), boxes, workers))
                print(markdown_row(_cells(cases[-1], args.images)))
    if args.json:
        content = dict(images=args.images, batch=args.batch, bytes_per_image=size, cases=cases)
        write_json(args.json, content)


def _cells(case: dict, images: int) -> list[str]:
    """Return the row of the table of a result of `measure`."""
    times = [
        milliseconds([seconds / (images * case['boxes']) for seconds in case[name]['seconds']], 2)
        for name in ('mmpose', 'shared')
    ]
    decoded = [
        '' if case['workers'] else str(case[name]['decoded']) for name in ('mmpose', 'shared')
    ]
    return [str(case['boxes']), str(case['workers']), *times, f'{case["ratio"]:.2f}', *decoded]


def write_detections(folder: Path, images: int, boxes: int) -> None:
    """Write a file of detections, sorted by image, as detectors do.

    Args:
        folder: Directory of the data; the file is `detections.json`.
        images: Number of images.
        boxes: Number of boxes per image.
    """
    rng = np.random.default_rng(0)
    entries = [
        dict(image_id=image, category_id=1, bbox=make_person(0, image, rng)['bbox'], score=0.9)
        for image in range(images)
        for _ in range(boxes)
    ]
    (folder / 'detections.json').write_text(json.dumps(entries))


def make_loader(args: argparse.Namespace, folder: Path, workers: int, shared: bool) -> DataLoader:
    """Build the test data loader of a config.

    Args:
        args: Arguments of the command line.
        folder: Directory of the data.
        workers: Number of data workers.
        shared: Whether the loader is that of `tools/test.py`; otherwise, MMEngine builds it, with
            MMPose's transforms instead of those of this package.
    """
    init_default_scope('mmpose')
    loader = get_config(args.config).test_dataloader
    pipeline = [dict(step) for step in loader.dataset.pipeline]
    for step in pipeline:
        if not shared and step['type'] in OWN:
            step['type'] = step['type'].removeprefix('pose_backbones.')
    loader.update(batch_size=args.batch, num_workers=workers, persistent_workers=workers > 0)
    loader.dataset.update(
        data_root=str(folder),
        ann_file='annotations.json',
        bbox_file=str(folder / 'detections.json'),
        data_prefix=dict(img='images/'),
        pipeline=pipeline,
    )
    if not shared:
        return Runner.build_dataloader(loader, seed=0)
    built = PoseRunner.build_dataloader(share_images(loader, _CACHE_MB), seed=0)
    built.sampler.group = True
    return built


def measure(args: argparse.Namespace, folder: Path, boxes: int, workers: int) -> dict:
    """Time passes over all boxes with both loaders in turns.

    Args:
        args: Arguments of the command line.
        folder: Directory of the data.
        boxes: Number of boxes per image.
        workers: Number of data workers.

    Returns:
        `boxes`, `workers`, `ratio`, and for `mmpose` and `shared` the `seconds` of each pass and
        the number of images that are `decoded` in the process.

    Raises:
        RuntimeError: If the crops are not equal.
    """
    loaders = {name: make_loader(args, folder, workers, name == 'shared') for name in _VARIANTS}
    results: dict[str, dict] = {name: dict(seconds=[]) for name in _VARIANTS}
    crops = {}
    decoded: list[int] = []
    with counted_decoding(decoded):
        for number in range(1 + args.rounds):
            for name, loader in loaders.items():
                decoded.clear()
                with nullcontext() if name == 'shared' else mmpose_copies():
                    if not number:  # The first pass warms up, and starts the workers.
                        crops[name] = torch.stack([x for batch in loader for x in batch['inputs']])
                        continue
                    results[name]['seconds'].append(_time_pass(loader))
                results[name]['decoded'] = len(decoded)
    if not torch.equal(crops['mmpose'], crops['shared']):
        raise RuntimeError("the crops differ from those of MMPose's loader")
    seconds = [result['seconds'] for result in results.values()]
    return dict(boxes=boxes, workers=workers, ratio=median_ratio(*seconds), **results)


def _time_pass(loader: DataLoader) -> float:
    """Return the seconds in which all batches are loaded.

    This is the time of the processor in this process, which depends less on other processes; with
    data workers, it is the time that passes.
    """
    clock = time.perf_counter if loader.num_workers else time.process_time
    start = clock()
    for _ in loader:
        pass
    return clock() - start


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    run(main)
