"""Command-line options of `tools/infer.py`."""

import argparse

from ..errors import ConfigError
from ..utils.files import file_problem
from ..utils.option_values import (
    AUTO,
    BACKENDS,
    DETECTORS,
    JOURNAL,
    PREDICTIONS,
    TABLE,
    TORCHVISION,
)
from .options import check_counts

#: output directory of annotated images and videos
DRAWINGS_DIR = 'pictures'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `tools/infer.py`.

    Args:
        argv: Command-line arguments. Default: `sys.argv[1:]`.

    Returns:
        The options.

    Raises:
        ConfigError: If options are inconsistent.
    """
    parser = argparse.ArgumentParser(
        description='Estimate the poses of people in images and videos. Writes '
        f'{PREDICTIONS} (COCO results), {TABLE} (one row per person), annotated '
        f'images and videos in {DRAWINGS_DIR}/, and {JOURNAL}, from which a stopped run '
        'can be resumed.',
        epilog='Exit status: 0 on success; 1 if some inputs could not be used or drawn, '
        'which are listed; 2 if the options or inputs are invalid; 128 plus the signal '
        'number if the run was stopped.',
    )
    _add_model(parser)
    _add_drawing(parser)
    _add_running(parser)
    args = parser.parse_args(argv)
    _check(args)
    return args


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options for inputs, model and inference."""
    parser.add_argument(
        'inputs',
        metavar='INPUT',
        nargs='+',
        help='image, video, directory, or glob pattern in quotes, such as '
        "'shots/**/*.jpg'; a URL; a camera number",
    )
    parser.add_argument(
        '--model',
        required=True,
        metavar='NAME|CONFIG',
        help='name of a model (pose-backbones models), or a config file',
    )
    parser.add_argument(
        '--weights', metavar='FILE|URL', help='checkpoint (default: the released weights of NAME)'
    )
    people = parser.add_mutually_exclusive_group()
    people.add_argument(
        '--boxes', metavar='FILE', help='person boxes from a COCO file: detections or annotations'
    )
    parser.add_argument(
        '--box-category',
        metavar='ID',
        help='with --boxes: ID of the category whose boxes are used (default: the one with '
        'keypoints, the only one, or 1, a person in COCO)',
    )
    people.add_argument(
        '--detector',
        metavar='NAME|CONFIG',
        help=f'detect people first: {", ".join(DETECTORS)}; {TORCHVISION}NAME, such as '
        f'{TORCHVISION}fasterrcnn_mobilenet_v3_large_320_fpn; or an MMDetection config',
    )
    people.add_argument(
        '--whole-image',
        action='store_true',
        help='treat each image as one person (default for top-down models)',
    )
    parser.add_argument(
        '--detector-weights',
        metavar='FILE|URL',
        help='checkpoint of the detector; required if it is given as a config',
    )
    parser.add_argument(
        '--detector-interval',
        type=int,
        default=1,
        metavar='N',
        help='run the detector on every N-th frame of a video; in between, boxes follow the poses '
        '(default: 1, on each frame; on image files always)',
    )
    parser.add_argument(
        '--min-score',
        type=float,
        default=None,
        metavar='S',
        help='skip boxes below this score (default: 0.3 with --detector, otherwise 0)',
    )
    parser.add_argument(
        '--device', help='device, such as cpu or cuda:1 (default: a GPU if available)'
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help='crops per batch, or images for a bottom-up model (default: 32 crops, on a CPU '
        '8 of 256x192; 1 image)',
    )
    parser.add_argument(
        '--keep-freed-memory',
        action='store_true',
        help='on a CPU under Linux: keep up to 256 MB of freed memory for the next batch; '
        'may be faster for small models',
    )
    parser.add_argument('--half', action='store_true', help='use half precision')
    parser.add_argument(
        '--backend',
        choices=BACKENDS,
        default=AUTO,
        help='what computes the keypoints (default: auto, which is OpenVINO for top-down models on '
        'a CPU if it is installed, and otherwise PyTorch)',
    )
    parser.add_argument(
        '--flip-test',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='average the predictions for the image and its mirror image (default: as set in '
        'the config)',
    )
    parser.add_argument(
        '--track', action='store_true', help='assign track IDs to the people in each video'
    )
    parser.add_argument(
        '--smooth',
        action='store_true',
        help='smooth the keypoints over time with the 1 Euro filter; requires --track',
    )


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--draw',
        choices=('all', 'videos', 'none'),
        default='all',
        help='what to draw (default: all)',
    )
    parser.add_argument('--draw-boxes', action='store_true', help='draw the bounding boxes')
    parser.add_argument(
        '--draw-ids', action='store_true', help='write track IDs, or person indices, on the images'
    )
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.3,
        metavar='S',
        help='draw keypoints with at least this score (default: 0.3)',
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    """Add the options for outputs, resuming and errors."""
    parser.add_argument('--out', required=True, metavar='DIR', help='output directory')
    parser.add_argument(
        '--save-every',
        type=int,
        default=50,
        metavar='N',
        help='synchronize the journal to disk after N images (default: 50)',
    )
    parser.add_argument(
        '--resume', action='store_true', help='continue an earlier run with the same options'
    )
    parser.add_argument(
        '--strict',
        action='store_true',
        help='stop at the first input that cannot be read, or whose prediction is NaN or infinite',
    )


def _check(args: argparse.Namespace) -> None:
    """Check the options before anything is loaded."""
    check_counts(args, 'batch_size', 'save_every', 'detector_interval')
    if args.smooth and not args.track:
        raise ConfigError('--smooth requires --track: keypoints are smoothed along tracks')
    if args.detector_weights and not args.detector:
        raise ConfigError('--detector-weights requires --detector')
    if args.detector_interval != 1 and not args.detector:
        raise ConfigError(
            '--detector-interval requires --detector: boxes of a file and of whole images are used '
            'for each frame'
        )
    if args.box_category is not None and not args.boxes:
        raise ConfigError('--box-category requires --boxes')
    if args.boxes and (problem := file_problem(args.boxes)):
        raise ConfigError(f'--boxes {args.boxes}: {problem}')
