"""Makes a data set of drawn people in the layout of COCO keypoints."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

try:
    from pose_backbones.datasets.synthetic import make_synthetic_coco
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from pose_backbones.datasets.synthetic import make_synthetic_coco


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog='make_synthetic_coco.py', description=__doc__)
    parser.add_argument('out', metavar='OUT', help='folder to write')
    parser.add_argument('--train', type=int, default=1000,
                        help='number of training images (default 1000)')
    parser.add_argument('--val', type=int, default=200,
                        help='number of validation images (default 200)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--image-size', type=int, nargs=2,
                        default=(384, 288), metavar=('W', 'H'),
                        help='nominal size in pixels (default 384 288)')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace what this tool wrote to OUT before')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns its exit status."""
    args = parse_args(argv)
    start = last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 3:
            last = now
            print(f'{done}/{total} images, '
                  f'{done / (now - start):.1f} images/s',
                  file=sys.stderr, flush=True)

    try:
        result = make_synthetic_coco(
            args.out, args.train, args.val, seed=args.seed,
            image_size=tuple(args.image_size), overwrite=args.overwrite,
            progress=progress)
    except (ValueError, OSError) as error:
        print(f'make_synthetic_coco.py: error: {error}', file=sys.stderr)
        return 2
    text = f'{result.images} images, {result.people} people'
    if result.existed:
        print(f'already there: {text} in {result.out_dir}')
    else:
        rate = result.images / max(result.seconds, 1e-9)
        print(f'{text}, {rate:.1f} images/s, in {result.out_dir}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
