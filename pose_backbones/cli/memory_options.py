"""Command-line options of `tools/measure_memory.py`."""

import argparse


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/measure_memory.py`."""
    parser = argparse.ArgumentParser(
        description='Measure a training step without and with activation checkpointing: the memory '
        'kept for the backward pass, the peak memory of the GPU, and the time.'
    )
    parser.add_argument('config', help='config file, or the name of a model')
    parser.add_argument(
        '--batch', type=int, default=4, metavar='N', help='images in a batch (default: 4)'
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='height and width of the images (default: input size of the config)',
    )
    parser.add_argument(
        '--repeat',
        type=int,
        default=3,
        metavar='N',
        help='number of timed steps, of which the median is reported (default: 3)',
    )
    return parser.parse_args(argv)
