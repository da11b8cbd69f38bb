"""Command-line options of `tools/get_flops.py`."""

import argparse


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/get_flops.py`."""
    parser = argparse.ArgumentParser(
        description='Count the parameters and FLOPs of a model (a multiply-add is one FLOP).'
    )
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='N',
        help='height and width of the image, or one number for a square (default: input size of '
        'the config)',
    )
    parser.add_argument(
        '--per-layer', action='store_true', help='also print the figures of each layer'
    )
    return parser.parse_args(argv)
