"""Speed and memory of `PoseInferencer` and of MMPose's inferencer."""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.inference.loading import load_model
from pose_backbones.synthetic import make_synthetic_coco
from pose_backbones.zoo import find_name, get_config

from ._measure import in_new_process
from .inference_worker import VARIANTS, measure

_DEMO = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `benchmarks/inference.py`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.inference',
        description="Time PoseInferencer and MMPose's MMPoseInferencer on "
        'synthetic people: the same images, boxes and weights, one after the other, on the CPU, '
        'each in a process of its own. Reports crops per second, the difference of the keypoints, '
        'and memory.',
    )
    parser.add_argument(
        '--model',
        default=_DEMO,
        metavar='NAME',
        help='of docs/model_zoo.md, top-down (default: %(default)s)',
    )
    parser.add_argument(
        '--weights', required=True, metavar='FILE', help='checkpoint, such as that of make demo'
    )
    parser.add_argument(
        '--images',
        type=int,
        default=1000,
        metavar='N',
        help='how many different ones (default: 1000)',
    )
    parser.add_argument(
        '--repeat', type=int, default=1, metavar='N', help='take all images N times (default: 1)'
    )
    parser.add_argument(
        '--people',
        type=int,
        nargs=2,
        default=(4, 6),
        metavar=('MIN', 'MAX'),
        help='of an image (default: 4 6)',
    )
    parser.add_argument(
        '--batch-size', type=int, metavar='N', help="of ours (default: PoseInferencer's own)"
    )
    parser.add_argument(
        '--variants', nargs='+', choices=VARIANTS, default=list(VARIANTS), help='what to measure'
    )
    parser.add_argument(
        '--data',
        metavar='DIR',
        help='where the images are drawn, or were (default: a folder that is removed)',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `benchmarks/inference.py`.

    Args:
        argv: The arguments; None stands for those of the command line.

    Raises:
        PoseBackbonesError: If the command cannot work.
    """
    args = parse_args(argv)
    check_counts(args, 'images', 'repeat', 'batch_size')
    config = get_config(find_name(args.model)).filename
    load_model(args.model, args.weights)  # refuses what does not fit, early
    with tempfile.TemporaryDirectory() as folder:
        task = _make_task(args, config, args.data or f'{folder}/data')
        found = {}
        for variant in args.variants:
            found[variant] = in_new_process(measure, variant, task)
            print(_line(variant, found[variant]), flush=True)
    if len(found) == len(VARIANTS):
        print(_compare(found))


def _make_task(args: argparse.Namespace, config: str, data: str) -> dict:
    """What `inference_worker.measure` is given."""
    make_synthetic_coco(data, 1, args.images, people=tuple(args.people))
    content = json.loads(Path(data, 'annotations/person_keypoints_val.json').read_text())
    paths = {image['id']: f'{data}/val/{image["file_name"]}' for image in content['images']}
    boxes = {path: [] for path in paths.values()}
    for person in content['annotations']:
        x, y, width, height = person['bbox']
        if not person['iscrowd']:
            boxes[paths[person['image_id']]].append([x, y, x + width, y + height])
    # Without boxes, MMPose takes the whole image.
    images = [path for path in paths.values() if boxes[path]]
    return dict(
        config=config,
        weights=str(Path(args.weights).resolve()),
        batch_size=args.batch_size,
        images=images * args.repeat,
        boxes=boxes,
        warm=images[:3],
    )


def _line(variant: str, found: dict) -> str:
    people, seconds = len(found['keypoints']), found['seconds']
    memory = ' '.join(f'{value / 2**20:.0f}' for value in found['memory'])
    return (
        f'{variant}: {people} crops in {seconds:.1f} s, {people / seconds:.1f} crops/s; '
        f'peak {found["peak"] / 2**20:.0f} MiB; MiB after each tenth: {memory}'
    )


def _compare(found: dict) -> str:
    ours, mmpose = (found[variant] for variant in VARIANTS)
    if ours['keypoints'].shape != mmpose['keypoints'].shape:
        return (
            f'the keypoints are of other people: '
            f'{ours["keypoints"].shape} and {mmpose["keypoints"].shape}'
        )
    distance = np.abs(ours['keypoints'] - mmpose['keypoints']).max(initial=0)
    ratio = mmpose['seconds'] / ours['seconds']
    return (
        f'ours is {ratio:.2f} times as fast; the keypoints are at most {distance:.5f} pixels apart'
    )


if __name__ == '__main__':
    run(main)
