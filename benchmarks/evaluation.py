"""Benchmark of the evaluators of keypoints: xtcocotools and its replacement.

The replacement (`pose_backbones_env/replacements/xtcocotools`) runs with hotcoco and with
pycocotools. This script runs it with faster-coco-eval as well, to compare.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import time
from statistics import median
from types import ModuleType, SimpleNamespace

import numpy as np

from pose_backbones.cli.entry_point import run
from pose_backbones.cli.options import check_counts
from pose_backbones.errors import ConfigError
from pose_backbones.structures.oks import AREA_OF_BOX
from pose_backbones_env import finder

from ._measure import markdown_head, markdown_row, median_ratio

#: evaluator → module that is found if it is installed
VARIANTS = {
    'xtcocotools': 'xtcocotools._mask',
    'hotcoco': 'hotcoco',
    'pycocotools': 'pycocotools',
    'faster-coco-eval': 'faster_coco_eval',
}
_KEYPOINTS = 17


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `python -m benchmarks.evaluation`."""
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.evaluation',
        description='Time the evaluators of keypoints on the same random people and detections, in '
        'processes that take turns, and compare their metrics.',
    )
    parser.add_argument('--images', type=int, default=5000, metavar='N', help='default: 5000')
    parser.add_argument(
        '--detections', type=int, default=20, metavar='N', help='per image (default: 20)'
    )
    parser.add_argument('--rounds', type=int, default=3, metavar='N', help='default: 3')
    parser.add_argument(
        '--variants',
        nargs='+',
        choices=VARIANTS,
        default=installed_variants(),
        help='default: those that are installed',
    )
    parser.add_argument('--worker', choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m benchmarks.evaluation`.

    Args:
        argv: Arguments; None means those of the command line.
    """
    args = parse_args(argv)
    check_counts(args, 'images', 'detections', 'rounds')
    if args.worker:
        print(json.dumps(measure(args.worker, args.images, args.detections)))
        return
    results = {variant: [] for variant in args.variants}
    for _ in range(args.rounds):
        for variant, runs in results.items():
            runs.append(_run(args, variant))
    print(f'{args.images} images, {args.images * args.detections} detections; median seconds')
    titles = ['evaluator', 'load', 'evaluate', 'total', 'relative', 'AP']
    print('\n'.join(markdown_head(titles)))
    totals = {
        variant: [sum(result['seconds']) for result in runs] for variant, runs in results.items()
    }
    for variant, runs in results.items():
        parts = zip(*(result['seconds'] for result in runs))
        cells = [f'{median(seconds):.1f}' for seconds in (*parts, totals[variant])]
        ratio = median_ratio(totals[variant], totals[args.variants[0]])
        average_precision = f'{runs[0]["stats"][0]:.12f}'
        print(markdown_row([variant, *cells, f'{ratio:.2f}', average_precision]))
    stats = [result['stats'] for runs in results.values() for result in runs]
    print(f'largest difference of a metric: {np.ptp(stats, axis=0).max():.1e}')


def installed_variants() -> list[str]:
    """Return the variants whose packages are installed."""
    return [name for name, module in VARIANTS.items() if has_module(module)]


def has_module(name: str) -> bool:
    """Return whether a module can be found."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that contains it
        return False


def _run(args: argparse.Namespace, variant: str) -> dict:
    command = [sys.executable, '-W', 'ignore', '-m', 'benchmarks.evaluation', '--worker', variant]
    command += ['--images', str(args.images), '--detections', str(args.detections)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def measure(variant: str, images: int, detections: int) -> dict:
    """Evaluate random detections in this process.

    Args:
        variant: One of `VARIANTS`.
        images: Number of images.
        detections: Number of detections of each image.

    Returns:
        `seconds`, of loading the detections and of evaluating them, and `stats`, the ten metrics.
    """
    if variant != 'xtcocotools':
        import_replacement()
    from xtcocotools import cocoeval
    from xtcocotools.coco import COCO

    if variant == 'pycocotools':
        cocoeval.evaluator = cocoeval.PYCOCOTOOLS
    elif variant == 'faster-coco-eval':
        import faster_coco_eval

        cocoeval.evaluator = SimpleNamespace(
            __name__='faster_coco_eval',
            COCO=faster_coco_eval.COCO,
            COCOeval=faster_coco_eval.COCOeval_faster,
        )
    used = getattr(cocoeval, 'evaluator', cocoeval).__name__
    if used.partition('.')[0] != variant.replace('-', '_'):
        raise ConfigError(f'{variant} is not installed: {used} would be measured')
    truth, results = make_case(images, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        times = [time.perf_counter()]
        detected = coco.loadRes(results)
        times.append(time.perf_counter())
        evaluation = cocoeval.COCOeval(coco, detected, 'keypoints')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        times.append(time.perf_counter())
    return dict(seconds=np.diff(times).tolist(), stats=evaluation.stats.tolist())


def import_replacement() -> ModuleType:
    """Import the replacement of xtcocotools in place of the real package, and return it."""
    for name in [name for name in sys.modules if name.partition('.')[0] == 'xtcocotools']:
        del sys.modules[name]
    spec = finder.find_replacement('xtcocotools')
    module = importlib.util.module_from_spec(spec)
    sys.modules['xtcocotools'] = module
    spec.loader.exec_module(module)
    return module


def make_case(images: int, detections: int) -> tuple[dict, list[dict]]:
    """Return random annotations of one to four people per image, and detections near them.

    Args:
        images: Number of images.
        detections: Number of detections of each image.
    """
    rng = np.random.default_rng(0)
    truth = dict(
        images=[dict(id=image) for image in range(images)],
        categories=[dict(id=1, name='person')],
        annotations=[],
    )
    results = []
    for image in range(images):
        people = []
        for _ in range(rng.integers(1, 5)):
            width, height = rng.uniform(30, 250, 2)
            x, y = rng.uniform(0, 300, 2)
            points = rng.uniform((x, y), (x + width, y + height), (_KEYPOINTS, 2))
            people.append((points, width * height))
            truth['annotations'].append(
                dict(
                    id=len(truth['annotations']) + 1,
                    image_id=image,
                    category_id=1,
                    iscrowd=0,
                    bbox=[x, y, width, height],
                    area=AREA_OF_BOX * width * height,
                    keypoints=_flat(points, 2),
                    num_keypoints=_KEYPOINTS,
                )
            )
        for number in range(detections):
            points, area = people[number % len(people)]
            spread = rng.exponential(0.08) * (1 + number // len(people)) * area**0.5
            results.append(
                dict(
                    image_id=image,
                    category_id=1,
                    score=rng.random(),
                    keypoints=_flat(points + rng.normal(0, spread, points.shape), 1),
                )
            )
    return truth, results


def _flat(points: np.ndarray, third: int) -> list[float]:
    return np.c_[points, np.full(len(points), third)].ravel().tolist()


if __name__ == '__main__':
    run(main)
