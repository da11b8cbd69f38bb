"""Command line of `tools/plot_training.py`: plot the curves of a training run."""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Plot loss, accuracy and validation AP of a training run."""
    parser = argparse.ArgumentParser(
        description='Plot loss, accuracy and validation AP of a training run.'
    )
    parser.add_argument('work_dir', help='work dir of the run')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='path of the figure, .png, .svg or .pdf (default: training.png in the work dir)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing file')
    args = parser.parse_args(argv)
    from ..report.training import plot_training  # after the options: imports PyTorch

    out = args.out or str(Path(args.work_dir) / 'training.png')
    plot_training(args.work_dir, out, args.overwrite)
    print(f'wrote the training curves to {out}')
