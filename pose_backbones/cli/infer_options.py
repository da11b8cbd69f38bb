"""Options of `tools/infer.py`."""

import argparse
from pathlib import Path

from ..errors import ConfigError
from ..inference.detector import DETECTORS
from ..inference.export import PREDICTIONS, TABLE
from ..inference.journal import JOURNAL
from .options import check_counts

#: folder of drawn pictures and videos
PICTURES = 'pictures'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/infer.py`.

    Args:
        argv: The arguments; None stands for those of the command line.

    Returns:
        The options.

    Raises:
        ConfigError: If they cannot work together.
    """
    parser = argparse.ArgumentParser(
        description='Find the poses of people in pictures and videos. OUT '
        f'gets {PREDICTIONS} (COCO results), {TABLE} (a line for each '
        f'person), drawn {PICTURES} and videos, and {JOURNAL}, from which '
        'a run that was stopped goes on.',
        epilog='Exit status: 0; 1 if some inputs could not be read or drawn, '
        'which are named; 2 if the command cannot work; 128 and the signal '
        'if it was stopped.',
    )
    _add_model(parser)
    _add_drawing(parser)
    _add_running(parser)
    args = parser.parse_args(argv)
    _check(args)
    return args


def _add_model(parser: argparse.ArgumentParser) -> None:
    """What is looked for, where, and how."""
    parser.add_argument(
        'inputs',
        metavar='INPUT',
        nargs='+',
        help='picture, video, folder, or pattern in quotes, such as '
        "'shots/**/*.jpg'; a URL; the number of a camera",
    )
    parser.add_argument(
        '--model',
        required=True,
        metavar='NAME|CONFIG',
        help='name of docs/model_zoo.md, or a config file',
    )
    parser.add_argument(
        '--weights', metavar='FILE|URL', help='checkpoint (default: the released weights of NAME)'
    )
    people = parser.add_mutually_exclusive_group()
    people.add_argument(
        '--boxes', metavar='FILE', help='people of a COCO file: detections, or annotations'
    )
    people.add_argument(
        '--detector',
        metavar='NAME|CONFIG',
        help=f'find people first: {", ".join(DETECTORS)}, or a config of MMDetection',
    )
    people.add_argument(
        '--whole-image',
        action='store_true',
        help='each picture is one person (default for top-down models)',
    )
    parser.add_argument(
        '--detector-weights',
        metavar='FILE|URL',
        help='checkpoint of a detector that is given as a config',
    )
    parser.add_argument(
        '--min-score',
        type=float,
        default=None,
        metavar='S',
        help='leave out boxes below this score (default: 0.3 with --detector, else 0)',
    )
    parser.add_argument('--device', help='such as cpu or cuda:1 (default: a GPU, if there is one)')
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help='crops, or pictures of a bottom-up model, at once (default: 32, '
        'on a CPU 8 of 256x192; 1)',
    )
    parser.add_argument(
        '--keep-freed-memory',
        action='store_true',
        help='on a CPU under Linux: keep up to 256 MB of freed memory for the next batch; '
        'may be faster for small models',
    )
    parser.add_argument('--half', action='store_true', help='compute in half precision')
    parser.add_argument(
        '--flip-test',
        action=argparse.BooleanOptionalAction,
        default=None,
        help='average with the mirrored image (default: as the config says)',
    )
    parser.add_argument('--track', action='store_true', help='number people through each video')
    parser.add_argument(
        '--smooth',
        action='store_true',
        help='smooth their movement, by the one-euro filter; with --track',
    )


def _add_drawing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--draw',
        choices=('all', 'videos', 'none'),
        default='all',
        help='what to draw (default: all)',
    )
    parser.add_argument('--draw-boxes', action='store_true', help='draw boxes as well')
    parser.add_argument('--draw-ids', action='store_true', help='write numbers as well')
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.3,
        metavar='S',
        help='draw key points from this score on (default: 0.3)',
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    """Where results go, and what happens when something happens."""
    parser.add_argument('--out', required=True, metavar='DIR')
    parser.add_argument(
        '--save-every',
        type=int,
        default=50,
        metavar='N',
        help='force the journal to the disk after N pictures (default: 50)',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on where an earlier run with the same options was stopped',
    )
    parser.add_argument(
        '--strict', action='store_true', help='stop at the first input that cannot be read'
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse options that cannot work, before anything is loaded."""
    check_counts(args, 'batch_size', 'save_every')
    if args.smooth and not args.track:
        raise ConfigError('--smooth needs --track: a movement is that of one person')
    if args.detector_weights and not args.detector:
        raise ConfigError('--detector-weights needs --detector')
    if args.boxes and not Path(args.boxes).is_file():
        raise ConfigError(f'--boxes {args.boxes}: there is no such file')
