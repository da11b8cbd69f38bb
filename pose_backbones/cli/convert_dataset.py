"""Convert an export of an annotation tool: `pose-backbones convert-dataset`."""

import argparse
from pathlib import Path

from ..structures.annotation_tools.reading import read_export
from ..structures.annotation_tools.writing import PADDING, VAL_SHARE, check_output, write_dataset
from .make_dataset_info import print_summary


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='pose-backbones convert-dataset',
        description='Convert an export of YOLO (pose), Label Studio, CVAT, DeepLabCut or SLEAP, or '
        "the dataset LSP or LSPET, to a dataset in COCO's format, with the metainfo file that "
        'training needs. The format is recognized by the content.',
    )
    parser.add_argument(
        'sources',
        nargs='+',
        metavar='SOURCE',
        help='data.yaml of YOLO; JSON export of Label Studio; annotations.xml or COCO keypoints of '
        'CVAT; config.yaml or CollectedData_* of DeepLabCut; .slp or analysis .h5 of SLEAP; '
        'joints.mat of LSP or LSPET; or the folder with it. Several files need the same keypoints',
    )
    parser.add_argument(
        'out', metavar='OUT', help='new directory: annotations/, images/ and metainfo.py'
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='folder of the images or videos, if they are not where the export expects them',
    )
    parser.add_argument(
        '--keypoints',
        nargs='+',
        metavar='NAME',
        help='names of the keypoints, in order. For Label Studio, CVAT (XML) and DeepLabCut, they '
        'are labels of the export, and set the order; for the others, they replace the names',
    )
    parser.add_argument(
        '--val-share',
        type=float,
        metavar='SHARE',
        help='share of the labelled images for validation, chosen at random with a fixed seed, if '
        f'the export has no split; 0: none (default: {VAL_SHARE})',
    )
    parser.add_argument(
        '--box-padding',
        type=float,
        default=PADDING,
        metavar='SHARE',
        help='enlarge boxes that are computed from keypoints by this share of their longer side, '
        f'on each side (default: {PADDING})',
    )
    files = parser.add_mutually_exclusive_group()
    files.add_argument(
        '--copy', action='store_true', help='copy the images (default: symbolic links)'
    )
    files.add_argument(
        '--in-place',
        action='store_true',
        help='do not link the images: write their absolute paths into the annotations',
    )
    parser.add_argument('--name', help='name of the dataset (default: name of OUT)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Entry point of `pose-backbones convert-dataset`.

    Args:
        argv: Arguments; None means those of the command line.

    Raises:
        DatasetError, ConfigError, WorkDirError: See `read_export` and `write_dataset`.
    """
    args = _parse(argv)
    out = Path(args.out)
    mode = 'copy' if args.copy else 'in-place' if args.in_place else 'link'
    check_output(out, mode, args.val_share, args.box_padding)
    dataset = read_export(args.sources, args.images, args.keypoints)
    done = write_dataset(dataset, out, mode, args.val_share, args.box_padding, args.name)
    for note in done.notes:
        print(f'note: {note}')
    print_summary(done.files, done.sigmas, done.metainfo, done.pairs)
