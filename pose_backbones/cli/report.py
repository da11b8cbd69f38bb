"""Command line of `tools/report.py`."""

import argparse

from ..errors import ConfigError
from ..report.page import make_report
from ..report.run_files import find_sources


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line of `tools/report.py`."""
    parser = argparse.ArgumentParser(
        description='Make one HTML page about a test run: tables, kinds of '
        'errors, calibration of scores, pictures, training curves.'
    )
    parser.add_argument(
        'results',
        help="key points in COCO's results format, or the work dir of a test that has them",
    )
    parser.add_argument(
        '--ann',
        metavar='FILE',
        help="annotations in COCO's format "
        '(default: those of the config beside the results, which is read '
        'and not run)',
    )
    parser.add_argument(
        '--config',
        metavar='FILE',
        help='config of the test, which is run '
        'as tools/test.py runs it, in place of the one beside the results',
    )
    parser.add_argument(
        '--images', metavar='DIR', help='folder of the images (default: that of the config)'
    )
    parser.add_argument(
        '--out', metavar='FILE', default='report.html', help='the page (default: report.html)'
    )
    parser.add_argument('--title', help='of the page (default: the name of the results)')
    parser.add_argument(
        '--metainfo',
        metavar='FILE',
        help="MMPose's description of the key points, a .py file: names, "
        'limbs and sigmas (default: by the config, or by the names of the '
        'key points)',
    )
    parser.add_argument(
        '--logs',
        metavar='DIR',
        help='work dir of the training run, for '
        'its curves (default: that of the results, or the folder above)',
    )
    parser.add_argument(
        '--pictures',
        type=int,
        default=6,
        metavar='N',
        help='how many of the worst and of the best images are drawn (default: 6)',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace the page')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/report.py`."""
    args = parse_args(argv)
    if not args.out.endswith(('.html', '.htm')):
        raise ConfigError(f'--out {args.out}: expected the name of an .html file')
    if args.pictures < 0:
        raise ConfigError(f'--pictures {args.pictures}: expected a number from 0 on')
    sources = find_sources(
        args.results, args.ann, args.images, args.logs, args.metainfo, args.config
    )
    measures = make_report(sources, args.out, args.title, args.pictures, args.overwrite)
    print(f'AP {measures.table["AP"]:.3f}, AR {measures.table["AR"]:.3f}; the page is {args.out}')
