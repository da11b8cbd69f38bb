"""Command line of `tools/make_synthetic_coco.py`: generate a synthetic dataset."""

import argparse

from tqdm import tqdm

from ..errors import DatasetError
from ..synthetic import (
    POSES,
    SyntheticDataError,
    make_synthetic_coco,
    make_synthetic_crowdpose,
    make_synthetic_mpii,
)

#: value of --format → function that generates the dataset
_MAKERS = {
    'coco': make_synthetic_coco,
    'mpii': make_synthetic_mpii,
    'crowdpose': make_synthetic_crowdpose,
}


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Generate a dataset of synthetic people in the layout of COCO keypoints '
        '(images, annotations and person detections), MPII or CrowdPose. The same options give '
        'the same files. A complete dataset that was generated with the same options is kept.'
    )
    parser.add_argument(
        'out', metavar='OUT', help='output directory: a new one, an empty one, or an earlier output'
    )
    parser.add_argument(
        '--format',
        choices=tuple(_MAKERS),
        default='coco',
        help='layout and keypoints: COCO, MPII (JSON files of HRNet, with head boxes), or '
        'CrowdPose (default: coco)',
    )
    parser.add_argument(
        '--train',
        type=int,
        default=1000,
        metavar='N',
        help='number of training images (default: 1000)',
    )
    parser.add_argument(
        '--val',
        type=int,
        default=200,
        metavar='N',
        help='number of validation images (default: 200)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        metavar='N',
        help='random seed, 0 or more; another seed gives other images (default: 0)',
    )
    parser.add_argument(
        '--image-size',
        type=int,
        nargs=2,
        default=(384, 288),
        metavar=('W', 'H'),
        help='nominal width and height in pixels, 64 to 4096; some images are in portrait '
        'orientation or up to 20 %% smaller (default: 384 288)',
    )
    parser.add_argument(
        '--people',
        type=int,
        nargs=2,
        metavar=('MIN', 'MAX'),
        help='range of the number of people in the foreground of an image, 0 to 12; how close '
        'together they stand varies (default: 1 8 for crowdpose; up to 5, mostly apart, for the '
        'others)',
    )
    parser.add_argument(
        '--poses',
        choices=tuple(POSES),
        default='everyday',
        help='everyday: most people stand or walk and face the camera; sports: most people run, '
        'kick, lunge and so on, they face any direction, and about a third of them are not upright '
        '(default: everyday)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace an output of this tool in OUT that was generated with other options; '
        'other files are never changed',
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Generate a synthetic dataset.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Raises:
        DatasetError: If an option is out of range, or OUT cannot be written.
    """
    args = _parse(argv)
    options = {} if args.people is None else {'people': tuple(args.people)}
    with tqdm(unit=' images', disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            result = _MAKERS[args.format](
                args.out,
                args.train,
                args.val,
                seed=args.seed,
                image_size=tuple(args.image_size),
                overwrite=args.overwrite,
                progress=show,
                poses=args.poses,
                **options,
            )
        except SyntheticDataError as error:
            raise DatasetError(str(error)) from error
    text = f'{result.images} images, {result.people} people'
    if result.existed:
        print(f'already exists: {text} in {result.out_dir}')
    else:
        rate = result.images / max(result.seconds, 1e-9)
        print(f'{text}, {rate:.1f} images/s, in {result.out_dir}')
