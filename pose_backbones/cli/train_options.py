"""Command-line options of `tools/train.py`."""

import argparse

from ..utils.option_values import ACTIONS, SAVED_STATUS
from .options import add_common_options


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `tools/train.py`."""
    parser = argparse.ArgumentParser(description='Train a pose model.')
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint; without a value, from the newest one in the work dir '
        '(start a new run if there is none)',
    )
    parser.add_argument(
        '--load-from',
        metavar='CHECKPOINT',
        help='path or URL of the initial weights; with --resume, used only if there is no '
        'checkpoint to resume from',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace the checkpoints of an earlier run in the work dir',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='do not evaluate during training'
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='multiply the learning rate by actual / original batch size',
    )
    parser.add_argument(
        '--deterministic',
        action='store_true',
        help='use deterministic algorithms only, which are slower, and print an error for '
        'operators that have none',
    )
    parser.add_argument(
        '--targets-on-device',
        action='store_true',
        help='make the targets (such as heatmaps) of top-down models on their device instead of in '
        'the data workers',
    )
    parser.add_argument(
        '--non-finite',
        choices=ACTIONS,
        help='what to do if the loss, the gradient norm or a prediction in a validation is NaN or '
        'infinite: stop (default), or skip the step and count the prediction as wrong',
    )
    parser.add_argument(
        '--save-on-signal',
        nargs='?',
        const='SIGUSR1',
        metavar='SIGNAL',
        help='on this signal (default: SIGUSR1), such as the warning of a scheduler, save a '
        f'checkpoint after the current iteration and exit with status {SAVED_STATUS}; continue '
        'with --resume',
    )
    add_common_options(parser)
    return parser.parse_args(argv)
