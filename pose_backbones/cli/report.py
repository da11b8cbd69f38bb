"""Command line of `tools/report.py`: write an HTML report about a test run."""

import argparse
import warnings

from ..errors import ConfigError


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line of `tools/report.py`."""
    parser = argparse.ArgumentParser(
        description='Write an HTML report about a test run: metrics, kinds of errors, '
        'calibration of scores, example images, training curves.'
    )
    parser.add_argument(
        'results', help='results file in COCO format, or the work dir of a test that contains one'
    )
    parser.add_argument(
        '--ann',
        metavar='FILE',
        help='annotations in COCO format (default: those named in the config next to the '
        'results; the config is parsed, not executed)',
    )
    parser.add_argument(
        '--config',
        metavar='FILE',
        help='config of the test, executed as by tools/test.py (default: the one next to the '
        'results, which is parsed, not executed)',
    )
    parser.add_argument(
        '--images', metavar='DIR', help='directory of the images (default: that of the config)'
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        default='report.html',
        help='path of the page (default: report.html)',
    )
    parser.add_argument('--title', help='title of the page (default: name of the results file)')
    parser.add_argument(
        '--metainfo',
        metavar='FILE',
        help="MMPose's dataset metainfo file (.py), which is executed: names, limbs and sigmas of "
        'the keypoints (default: from the config, or by the names of the keypoints)',
    )
    parser.add_argument(
        '--logs',
        metavar='DIR',
        help='work dir of the training run, for its curves (default: that of the results, or its '
        'parent)',
    )
    parser.add_argument(
        '--examples',
        type=int,
        default=6,
        metavar='N',
        help='number of worst images and number of best images to draw (default: 6)',
    )
    parser.add_argument('--pictures', type=int, help=argparse.SUPPRESS)  # deprecated
    parser.add_argument('--overwrite', action='store_true', help='replace an existing page')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write an HTML report about a test run."""
    args = parse_args(argv)
    from ..report.page import make_report  # after the options: imports PyTorch
    from ..report.run_files import find_sources

    if args.pictures is not None:
        warnings.warn(
            'report.py: --pictures is now called --examples; the old name will be removed in the '
            'next release',
            DeprecationWarning,
            stacklevel=2,
        )
        args.examples = args.pictures
    if not args.out.endswith(('.html', '.htm')):
        raise ConfigError(f'--out {args.out}: expected the name of an .html file')
    if args.examples < 0:
        raise ConfigError(f'--examples {args.examples}: expected a number of at least 0')
    sources = find_sources(
        args.results, args.ann, args.images, args.logs, args.metainfo, args.config
    )
    measures = make_report(sources, args.out, args.title, args.examples, args.overwrite)
    print(f'AP {measures.table["AP"]:.3f}, AR {measures.table["AR"]:.3f}; wrote {args.out}')
