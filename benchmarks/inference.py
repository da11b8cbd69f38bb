"""Benchmark of `PoseInferencer` and MMPose's inferencer: speed and memory."""

import argparse
import json
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.inference.loading import load_model
from pose_backbones.synthetic import make_synthetic_coco
from pose_backbones.zoo import find_name, get_config

from ._measure import in_new_process, machine, write_json
from .exported import build_model
from .inference_worker import VARIANTS, measure

_DEMO = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.inference`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.inference',
        description="Time PoseInferencer and MMPose's MMPoseInferencer on "
        'synthetic people: the same images, boxes and weights, one after the other, on the CPU, '
        'each in a separate process. Reports crops per second, the difference of the keypoints, '
        'and memory.',
    )
    parser.add_argument(
        '--model',
        default=_DEMO,
        metavar='NAME',
        help='top-down model of docs/model_zoo.md (default: %(default)s)',
    )
    parser.add_argument(
        '--weights',
        metavar='FILE',
        help='checkpoint, such as the one of `make demo` (default: random weights)',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=1000,
        metavar='N',
        help='number of different images (default: 1000)',
    )
    parser.add_argument(
        '--repeat', type=int, default=1, metavar='N', help='process all images N times (default: 1)'
    )
    parser.add_argument(
        '--people',
        type=int,
        nargs=2,
        default=(4, 6),
        metavar=('MIN', 'MAX'),
        help='range of the number of people of an image (default: 4 6)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help='batch size of PoseInferencer (default: its default)',
    )
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS,
        default=None,
        help='inferencers to measure: PoseInferencer with PyTorch or OpenVINO, and that of MMPose '
        '(default: those that are installed)',
    )
    parser.add_argument(  # deprecated
        '--ways', nargs='+', choices=VARIANTS, help=argparse.SUPPRESS
    )
    parser.add_argument(
        '--data',
        metavar='DIR',
        help='directory for the images, which are reused if they exist (default: a temporary one)',
    )
    parser.add_argument('--json', metavar='FILE', help='file for all measurements')
    args = parser.parse_args(argv)
    if args.ways is not None:
        warnings.warn(
            '--ways is now called --variants; the old name will be removed in the next release',
            FutureWarning,
            stacklevel=2,
        )
        args.variants = args.ways
    if args.variants is None:
        installed = find_spec('openvino') is not None
        args.variants = [name for name in VARIANTS if installed or 'openvino' not in name]
    return args


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.inference`.

    Args:
        argv: Arguments; None means those of the command line.

    Raises:
        PoseBackbonesError: If an argument is invalid or a file cannot be read.
    """
    args = parse_args(argv)
    check_counts(args, 'images', 'repeat', 'batch_size')
    config = get_config(find_name(args.model)).filename
    if args.weights is not None:
        load_model(args.model, args.weights)  # raises early if the weights do not match
    start = machine()
    with tempfile.TemporaryDirectory() as folder:
        if args.weights is None:
            args.weights = f'{folder}/random.pth'
            torch.save(dict(state_dict=build_model(args.model).state_dict()), args.weights)
        task = _make_task(args, config, args.data or f'{folder}/data')
        results = {}
        for variant in args.variants:
            results[variant] = in_new_process(measure, variant, task)
            print(_line(variant, results[variant]), flush=True)
    for variant in results:
        if variant != 'mmpose' and 'mmpose' in results:
            print(_compare(variant, results))
    if args.json:
        variants = {
            variant: dict(
                people=len(result['keypoints']),
                **{key: value for key, value in result.items() if key != 'keypoints'},
            )
            for variant, result in results.items()
        }
        content = dict(machine=start, model=find_name(args.model), variants=variants)
        write_json(args.json, content)


def _make_task(args: argparse.Namespace, config: str, data: str) -> dict:
    """Return the argument `task` of `inference_worker.measure`."""
    make_synthetic_coco(data, 1, args.images, people=tuple(args.people))
    content = json.loads(Path(data, 'annotations/person_keypoints_val.json').read_text())
    paths = {image['id']: f'{data}/val/{image["file_name"]}' for image in content['images']}
    boxes = {path: [] for path in paths.values()}
    for person in content['annotations']:
        x, y, width, height = person['bbox']
        if not person['iscrowd']:
            boxes[paths[person['image_id']]].append([x, y, x + width, y + height])
    # MMPose would use the whole image if there are no boxes.
    images = [path for path in paths.values() if boxes[path]]
    return dict(
        config=config,
        weights=str(Path(args.weights).resolve()),
        batch_size=args.batch_size,
        images=images * args.repeat,
        boxes=boxes,
        warm=images[:3],
    )


def _line(variant: str, result: dict) -> str:
    people, seconds = len(result['keypoints']), result['seconds']
    memory = ' '.join(f'{value / 2**20:.0f}' for value in result['memory'])
    return (
        f'{variant}: {people} crops in {seconds:.1f} s, {people / seconds:.1f} crops/s; '
        f'peak {result["peak"] / 2**20:.0f} MiB; MiB after each tenth: {memory}'
    )


def _compare(variant: str, results: dict) -> str:
    own, mmpose = results[variant], results['mmpose']
    if own['keypoints'].shape != mmpose['keypoints'].shape:
        return (
            f'{variant}: the keypoints are of other people: '
            f'{own["keypoints"].shape} and {mmpose["keypoints"].shape}'
        )
    distance = np.linalg.norm(own['keypoints'] - mmpose['keypoints'], axis=-1)
    ratio = mmpose['seconds'] / own['seconds']
    return (
        f'{variant} is {ratio:.2f} times as fast as mmpose; the keypoints are '
        f'{distance.mean():.5f} pixels apart on average, at most {distance.max(initial=0):.5f}'
    )


if __name__ == '__main__':
    run(main)
