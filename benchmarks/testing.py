"""Benchmark of `tools/test.py` and MMPose's test: speed and metrics."""

import argparse
import contextlib
import json
import os
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner, TestLoop

from pose_backbones.cli import export as export_tool
from pose_backbones.cli import test as test_tool
from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.inference.loading import load_model
from pose_backbones.synthetic import make_synthetic_coco
from pose_backbones.zoo import find_name, get_config

from ._measure import in_new_process, machine, markdown_head, markdown_row, write_json
from .exported import build_model
from .training_data import OWN

_DEMO = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'
#: variant → precision of the exported model; None for PyTorch
VARIANTS = {
    'mmpose': None,
    'torch': None,
    'openvino fp32': 'fp32',
    'openvino bf16': 'bf16',
    'openvino int8': 'int8',
}


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.testing`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.testing',
        description='Time the test of a model on synthetic people with detected boxes: with '
        "MMEngine's runner and MMPose's transforms, with tools/test.py, and with exported models. "
        'Each variant runs in a separate process, one after the other. The time is that of the '
        'test loop with the metrics, without loading the model and the dataset.',
    )
    parser.add_argument(
        '--model', default=_DEMO, metavar='NAME', help='top-down model (default: %(default)s)'
    )
    parser.add_argument(
        '--weights',
        metavar='FILE',
        help='checkpoint, such as that of `make demo` (default: random weights, whose metrics have '
        'no meaning)',
    )
    parser.add_argument('--images', type=int, default=30, metavar='N', help='default: 30')
    parser.add_argument(
        '--boxes', type=int, default=20, metavar='N', help='boxes per image (default: 20)'
    )
    parser.add_argument('--workers', type=int, default=0, metavar='N', help='default: none')
    parser.add_argument(
        '--variants', nargs='+', choices=VARIANTS, help='default: those that are installed'
    )
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    args = parser.parse_args(argv)
    check_counts(args, 'images', 'boxes')
    if args.variants is None:
        packages = {'fp32': ['openvino'], 'bf16': ['openvino'], 'int8': ['openvino', 'nncf']}
        args.variants = [
            name
            for name, precision in VARIANTS.items()
            if all(map(find_spec, packages.get(precision, [])))
        ]
    return args


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.testing`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    if args.weights is not None:
        load_model(args.model, args.weights)  # raises early if the weights do not match
    start, weights = machine(), 'trained' if args.weights else 'random'
    with tempfile.TemporaryDirectory() as folder:
        if args.weights is None:
            args.weights = f'{folder}/random.pth'
            torch.save(dict(state_dict=build_model(args.model).state_dict()), args.weights)
        boxes = write_data(Path(folder), args.images, args.boxes)
        print(f'{args.images} images, {boxes} boxes, {args.workers} data workers\n')
        print('\n'.join(markdown_head(['variant', 'ms per box', 'ratio', 'AP'])))
        results: dict[str, dict] = {}
        for variant in args.variants:
            results[variant] = in_new_process(measure, variant, vars(args), folder)
            first = next(iter(results.values()))['seconds']
            result = results[variant]
            result['ratio'] = first / result['seconds']
            cells = [f'{1e3 * result["seconds"] / boxes:.2f}', f'{result["ratio"]:.2f}']
            print(
                markdown_row([variant, *cells, f'{result["metrics"]["coco/AP"]:.6f}']), flush=True
            )
    if args.json:
        content = dict(
            machine=start,
            model=find_name(args.model),
            weights=weights,
            images=args.images,
            boxes=boxes,
            workers=args.workers,
            variants=results,
        )
        write_json(args.json, content)


def write_data(folder: Path, images: int, boxes: int) -> int:
    """Write synthetic people and a file of detections near them, sorted by image.

    Args:
        folder: Directory of the data; the file is `detections.json`.
        images: Number of images, some of which may have no people.
        boxes: Number of boxes of each image with people.

    Returns:
        The number of boxes.
    """
    make_synthetic_coco(folder / 'data', 1, images, people=(4, 6))
    content = json.loads((folder / 'data/annotations/person_keypoints_val.json').read_text())
    rng = np.random.default_rng(0)
    people: dict[int, list] = {}
    for person in content['annotations']:
        if not person['iscrowd']:
            people.setdefault(person['image_id'], []).append(np.array(person['bbox']))
    entries = []
    for image_id, found in people.items():
        for index in range(boxes):
            box = found[index % len(found)]
            offset = rng.normal(0, 0.05 * (index >= len(found)), 4) * np.tile(box[2:], 2)
            entries.append(
                dict(
                    image_id=image_id,
                    category_id=1,
                    bbox=[*map(float, box + offset)],
                    score=float(rng.uniform(0.3, 0.9) if index >= len(found) else 0.95),
                )
            )
    (folder / 'detections.json').write_text(json.dumps(entries))
    return len(entries)


def measure(variant: str, args: dict, folder: str) -> dict:
    """Run a test.

    Args:
        variant: One of `VARIANTS`.
        args: The options of the command line.
        folder: Directory of `write_data`.

    Returns:
        `seconds` of the test loop, and `metrics`.
    """
    warnings.simplefilter('ignore')
    seconds: list[float] = []
    metrics: list[dict] = []
    run_loop = TestLoop.run

    def timed_run(loop: TestLoop) -> dict:
        start = time.perf_counter()
        metrics.append(run_loop(loop))
        seconds.append(time.perf_counter() - start)
        return metrics[-1]

    with (
        open(os.devnull, 'w') as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        mock.patch.object(TestLoop, 'run', timed_run),
    ):
        _run_test(variant, args, Path(folder))
    return dict(seconds=seconds[0], metrics=metrics[0])


def _run_test(variant: str, args: dict, folder: Path) -> None:
    config = get_config(find_name(args['model'])).filename
    work_dir = folder / variant.replace(' ', '_')
    options = {
        'test_dataloader.dataset.data_root': f'{folder}/data/',
        'test_dataloader.dataset.bbox_file': f'{folder}/detections.json',
        'test_dataloader.num_workers': args['workers'],
        'test_dataloader.persistent_workers': args['workers'] > 0,
        'test_dataloader.dataset.ann_file': 'annotations/person_keypoints_val.json',
        'test_dataloader.dataset.data_prefix.img': 'val/',
        'test_evaluator.ann_file': f'{folder}/data/annotations/person_keypoints_val.json',
    }
    if variant == 'mmpose':
        _run_mmpose(config, args['weights'], str(work_dir), options)
        return
    model = args['weights']
    if precision := VARIANTS[variant]:
        model = f'{work_dir}-model'
        command = [args['model'], '--weights', args['weights'], '--precision', precision]
        export_tool.main([*command, '--flip-test', '--out', model])
    pairs = [f'{name}={value}' for name, value in options.items()]
    test_tool.main([config, model, '--work-dir', str(work_dir), '--cfg-options', *pairs])


def _run_mmpose(config: str, weights: str, work_dir: str, options: dict) -> None:
    """Run a test as MMPose's tools/test.py does."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(options)
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type in OWN:
            step.type = step.type.removeprefix('pose_backbones.')
    cfg.load_from, cfg.work_dir = str(Path(weights).resolve()), work_dir
    Runner.from_cfg(cfg).test()


if __name__ == '__main__':
    run(main)
