"""Benchmark of the training data path: reading, augmentation and targets of top-down samples."""

import argparse
import copy
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.base import base_coco_style_dataset
from torch.utils.data import BatchSampler, DataLoader

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.datasets import coco_style
from pose_backbones.datasets.image_grouped_sampler import ImageGroupedSampler
from pose_backbones.engine.device_targets import defer_targets
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.engine.seeded_loading import SeededBatchSampler, seeded_batch_sampler
from pose_backbones.structures.oks import AREA_OF_BOX
from pose_backbones.synthetic.annotations import PERSON_CATEGORY
from pose_backbones.zoo import get_config

from ._measure import markdown_head, markdown_row, median_ratio, write_json

#: people per image, 2.65 on average as in COCO
_COUNTS = [1] * 10 + [2] * 4 + [3, 3, 4, 5, 8, 12]
WIDTH, HEIGHT = 640, 480
#: variant → sampler, whether the transforms are those of the configs of this package, and whether
#: the data path makes the targets, or leaves them to the device of the model
VARIANTS = {
    "MMPose's transforms, DefaultSampler": ('DefaultSampler', False, True),
    'DefaultSampler': ('DefaultSampler', True, True),
    'ImageGroupedSampler': ('pose_backbones.ImageGroupedSampler', True, True),
    'ImageGroupedSampler, targets on the device': (
        'pose_backbones.ImageGroupedSampler',
        True,
        False,
    ),
}
#: the resume of the second table: 8 processes with 32 of 150,000 samples per iteration
_STEP, _PROCESSES, _BATCH, _SAMPLES = 50_000, 8, 32, 150_000


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.training_data`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.training_data',
        description='Time the loading of training samples from synthetic JPEG files of 640x480 '
        'pixels with 2.65 people per image, with several samplers in turns, and with keypoints in '
        'place of targets (--targets-on-device); and the time in which the samplers continue at '
        'iteration 50,000.',
    )
    parser.add_argument('--config', default='td-hm_moganet-xt_8xb32-210e_coco-256x192')
    parser.add_argument('--images', type=int, default=200, metavar='N', help='default: 200')
    parser.add_argument('--batch', type=int, default=32, metavar='N', help='default: 32')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='default: 5')
    parser.add_argument('--workers', type=int, metavar='N', help='data workers (default: none)')
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.training_data`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    check_counts(args, 'images', 'batch', 'rounds', 'workers')
    args.workers = args.workers or 0
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        size = make_data(Path(folder), args.images)
        results = measure(args, Path(folder))
    resume = {name: measure_resume(name) for name in ('InfiniteSampler', *_FINITE)}
    people = len(people_per_image(args.images))
    print(
        f'{args.images} images of {WIDTH}x{HEIGHT} pixels and {size / 1e3:.0f} kB on average, '
        f'{people / args.images:.2f} people per image; {args.workers} data workers\n'
    )
    titles = ['variant', 'ms per sample', 'relative', 'images decoded', 'cache in MiB']
    print('\n'.join(markdown_head(titles)))
    first = next(iter(results.values()))['seconds']
    for name, result in results.items():
        result['relative'] = median_ratio(first, result['seconds'])
        result['ms_per_sample'] = 1e3 * median(result['seconds']) / people
        cells = [f'{result["ms_per_sample"]:.2f}', f'{result["relative"]:.2f}']
        cells += [str(result['decoded']), f'{result["cache_bytes"] / 2**20:.1f}']
        print(markdown_row([name, *(cells if not args.workers else [*cells[:2], '', ''])]))
    if not args.workers:
        print('\nms per sample of each step\n')
        print('\n'.join(markdown_head(['step', *results])))
        for row in step_rows(results, people):
            print(markdown_row(row))
    print(
        f'\ncontinue at iteration {_STEP:,} in each of {_PROCESSES} processes, '
        f'{_SAMPLES:,} samples\n'
    )
    print('\n'.join(markdown_head(['sampler', 'seconds'])))
    for name, seconds in resume.items():
        print(markdown_row([name, f'{seconds:.2f}']))
    if args.json:
        content = dict(samples=people, bytes_per_image=size, variants=results, resume=resume)
        write_json(args.json, content)


def people_per_image(images: int) -> np.ndarray:
    """Return the image (number of people,) of each person."""
    return np.repeat(np.arange(images), np.resize(_COUNTS, images))


def make_data(folder: Path, images: int) -> float:
    """Write images and COCO annotations; return the mean size of a file in bytes.

    The images consist of noise at several scales, such that the files have about 160 kB, as those
    of COCO.

    Args:
        folder: Directory of the data, with `images` and `annotations.json`.
        images: Number of images.
    """
    rng = np.random.default_rng(0)
    (folder / 'images').mkdir()
    sizes = []
    for image in range(images):
        pixels = np.full((HEIGHT, WIDTH, 3), 128.0)
        for step, height in ((80, 50), (20, 25), (5, 16), (1, 15)):
            noise = rng.normal(0, height, (HEIGHT // step, WIDTH // step, 3))
            pixels += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        path = folder / f'images/{image}.jpg'
        cv2.imwrite(str(path), pixels.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
        sizes.append(path.stat().st_size)
    content = dict(
        images=[
            dict(id=image, file_name=f'{image}.jpg', width=WIDTH, height=HEIGHT)
            for image in range(images)
        ],
        categories=[PERSON_CATEGORY],
        annotations=[
            make_person(number, int(image), rng)
            for number, image in enumerate(people_per_image(images))
        ],
    )
    (folder / 'annotations.json').write_text(json.dumps(content))
    return float(np.mean(sizes))


def make_person(number: int, image: int, rng: np.random.Generator) -> dict:
    """Return a random annotation with an outline of 40 points."""
    width, height = rng.uniform((60, 120), (240, 400))
    corner = rng.uniform(0, (WIDTH - width, HEIGHT - height))
    points = rng.uniform(
        corner, corner + (width, height), (len(PERSON_CATEGORY['keypoints']), 2)
    ).round()
    outline = rng.uniform(corner, corner + (width, height), (40, 2)).round(2)
    return dict(
        id=number,
        image_id=image,
        category_id=1,
        iscrowd=0,
        bbox=[*corner.round(2).tolist(), round(width, 2), round(height, 2)],
        area=round(AREA_OF_BOX * width * height, 2),
        num_keypoints=len(points),
        keypoints=np.c_[points, np.full(len(points), 2)].ravel().astype(int).tolist(),
        segmentation=[outline.ravel().tolist()],
    )


def measure(args: argparse.Namespace, folder: Path) -> dict[str, dict]:
    """Time epochs of all variants in turns.

    Args:
        args: Arguments of the command line.
        folder: Directory of the data.

    Returns:
        Variant → `seconds` of each epoch, `decoded` images in the last one, `cache_bytes`, the
        maximum memory of cached images, and `steps`, the seconds of each transform in all epochs.
    """
    coco_style.patch()
    loaders = {name: make_loader(args, folder, *variant) for name, variant in VARIANTS.items()}
    steps = {name: [_Timed(step) for step in _transforms(loaders[name])] for name in loaders}
    if not args.workers:
        for name, loader in loaders.items():
            loader.dataset.pipeline.transforms = steps[name]
    results = {name: dict(seconds=[]) for name in VARIANTS}
    decoded: list[int] = []
    with counted_decoding(decoded):
        for epoch in range(1 + args.rounds):
            for name, loader in loaders.items():
                decoded.clear()
                with nullcontext() if VARIANTS[name][1] else mmpose_copies():
                    seconds = _time_epoch(loader, epoch)
                if epoch:
                    results[name]['seconds'].append(seconds)
                    results[name]['decoded'] = len(decoded)
                else:  # The first epoch warms up.
                    for step in steps[name]:
                        step.seconds = 0.0
    for name, loader in loaders.items():
        cache = loader.dataset.__getitems__.keywords['cache']
        results[name]['cache_bytes'] = cache.peak if cache is not None else 0
        results[name]['steps'] = {step.name: step.seconds for step in steps[name]}
    return results


def make_loader(
    args: argparse.Namespace, folder: Path, sampler: str, own_transforms: bool, targets: bool
) -> DataLoader:
    """Build the training data loader of a config.

    Args:
        args: Arguments of the command line.
        folder: Directory of the data.
        sampler: Type of the sampler.
        own_transforms: Whether to use the transforms of the config; otherwise, MMPose's transforms
            of the same names replace those of this package.
        targets: Whether the samples have targets; otherwise, they have keypoints to encode.
    """
    init_default_scope('mmpose')
    loader = get_config(args.config).train_dataloader
    pipeline = [dict(step) for step in loader.dataset.pipeline]
    for step in pipeline:
        if not own_transforms and step['type'] in OWN:
            step['type'] = step['type'].removeprefix('pose_backbones.')
    loader.update(
        batch_size=args.batch,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        sampler=dict(type=sampler, shuffle=True),
    )
    loader.dataset.update(
        data_root=str(folder),
        ann_file='annotations.json',
        data_prefix=dict(img='images/'),
        pipeline=pipeline,
    )
    loader = PoseRunner.build_dataloader(loader, seed=0)
    if not targets:
        defer_targets(loader.dataset)
    return loader


#: transforms that have the results of MMPose's transforms of the same name
OWN = tuple(
    f'pose_backbones.{name}'
    for name in ('LoadImage', 'RandomFlip', 'RandomBBoxTransform', 'PackPoseInputs')
)


def _transforms(loader: DataLoader) -> list[Callable]:
    return loader.dataset.pipeline.transforms


class _Timed:
    """A transform whose time is measured."""

    def __init__(self, transform: Callable) -> None:
        self.transform, self.seconds = transform, 0.0
        self.name = type(transform).__name__

    def __call__(self, results: dict) -> dict:
        start = time.process_time()
        results = self.transform(results)
        self.seconds += time.process_time() - start
        return results


@contextmanager
def counted_decoding(calls: list[int]) -> Iterator[None]:
    """Append to a list at each call of `cv2.imdecode` in this process."""
    decode = cv2.imdecode
    cv2.imdecode = lambda *args: calls.append(1) or decode(*args)
    try:
        yield
    finally:
        cv2.imdecode = decode


@contextmanager
def mmpose_copies() -> Iterator[None]:
    """Copy the metainfo of each sample as MMPose does without this package."""
    base_coco_style_dataset.deepcopy = copy.deepcopy
    try:
        yield
    finally:
        base_coco_style_dataset.deepcopy = coco_style.copy_metainfo


def _time_epoch(loader: DataLoader, epoch: int) -> float:
    """Return the seconds in which all batches of an epoch are loaded.

    This is the time of the processor in this process, which depends less on other processes; with
    data workers, it is the time that passes.
    """
    clock = time.perf_counter if loader.num_workers else time.process_time
    loader.sampler.set_epoch(epoch)
    seeded_batch_sampler(loader).start_epoch(epoch)
    start = clock()
    for _ in loader:
        pass
    return clock() - start


def step_rows(results: dict[str, dict], people: int) -> list[list[str]]:
    """Return the rows of the table of the steps.

    Args:
        results: See `measure`.
        people: Number of samples per epoch.
    """
    names = next(iter(results.values()))['steps']
    columns = []
    for result in results.values():
        count = len(result['seconds']) * people / 1e3
        times = [seconds / count for seconds in result['steps'].values()]
        total = sum(result['seconds']) / count
        columns.append([*times, total - sum(times), total])
    labels = [*names, 'annotation, seeds, batch', 'total']
    return [
        [label, *(f'{value:.2f}' for value in values)]
        for label, *values in zip(labels, *columns, strict=True)
    ]


class _People(BaseDataset):
    """Samples of the size of COCO."""

    def load_data_list(self) -> list[dict]:
        people = people_per_image(round(_SAMPLES / np.mean(_COUNTS)) + 1)[:_SAMPLES]
        return [dict(img_path=f'{image}.jpg') for image in people.tolist()]


_FINITE: dict[str, Callable[[Sized], DefaultSampler]] = {
    'DefaultSampler': lambda data: DefaultSampler(data, seed=0),
    'ImageGroupedSampler': lambda data: ImageGroupedSampler(data, seed=0),
}


def measure_resume(name: str) -> float:
    """Return the seconds in which a sampler yields the first batch after a resume.

    Args:
        name: `InfiniteSampler` or a key of `_FINITE`.
    """
    data = _People()
    start = time.perf_counter()
    sampler = InfiniteSampler(data, seed=0) if name == 'InfiniteSampler' else _FINITE[name](data)
    sampler.world_size = _PROCESSES
    if name == 'InfiniteSampler':
        sampler.indices = sampler._indices_of_rank()
    else:
        sampler.num_samples = -(-_SAMPLES // _PROCESSES)
        sampler.total_size = sampler.num_samples * _PROCESSES
    if isinstance(sampler, ImageGroupedSampler):
        sampler.use_loader(_BATCH, 4)
    batches = SeededBatchSampler(BatchSampler(sampler, _BATCH, False), 0, 0)
    batches.skip(_STEP)
    next(iter(batches))
    return time.perf_counter() - start


if __name__ == '__main__':
    warnings.filterwarnings('ignore')
    run(main)
