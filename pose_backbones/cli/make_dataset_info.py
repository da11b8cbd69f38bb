"""Write a dataset description for own keypoints: `tools/make_dataset_info.py`."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ConfigError, WorkDirError
from ..structures.coco_keypoints import KeypointFile, check_same_keypoints, read_keypoint_file
from ..structures.metainfo import Sigma, default_sigmas, measure_sigmas, write_metainfo
from ..structures.symmetry import find_pairs, find_sides, mirrored_name
from ..utils.files import check_not_input, check_writable_file


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Check annotations in COCO's format, and write MMPose's "
        'description of their keypoints.'
    )
    parser.add_argument(
        'annotations',
        nargs='+',
        help='annotation files of training, validation, …, all with the same keypoints',
    )
    parser.add_argument('out', help='metainfo file to write (.py)')
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='DIR',
        help='folder of the images, or one for each file; check that all images exist',
    )
    parser.add_argument('--name', help='name of the dataset (default: name of the folder of OUT)')
    parser.add_argument(
        '--second-labels',
        metavar='FILE',
        help='annotations of a second annotator, with the ids of the same objects in the first '
        'file; the sigmas are computed from the differences',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace an existing OUT')
    return parser.parse_args(argv)


def _read_all(paths: list[str], folders: list[str] | None) -> list[KeypointFile]:
    folders = folders or [None]
    if len(folders) == 1:
        folders = folders * len(paths)
    if len(folders) != len(paths):
        raise ConfigError(
            f'--images: {len(folders)} folders for {len(paths)} annotation '
            'files: expected one, or one for each'
        )
    files = [read_keypoint_file(path, folder) for path, folder in zip(paths, folders)]
    check_same_keypoints(*files)
    return files


def print_summary(
    files: Sequence[KeypointFile],
    sigmas: Mapping[str, Sigma],
    out: str | os.PathLike,
    pairs: Mapping[str, str] | None = None,
) -> None:
    """Print the numbers of images and objects, warnings, flip pairs and sigmas.

    Args:
        files: The annotations.
        sigmas: Name → sigma, for every keypoint.
        out: The metainfo file.
        pairs: Name → name of the mirrored keypoint. Default: recognized by the names.
    """
    names = files[0].names
    for file in files:
        print(f'{file.path}: {len(file.images)} images, {len(file.objects)} objects')
        for warning in file.warnings:
            print(f'warning: {warning}')
    pairs = find_pairs(names) if pairs is None else pairs
    shown = [
        f'{name} / {partner}'
        for name, partner in pairs.items()
        if names.index(name) < names.index(partner)
    ]
    print(f'mirrored: {", ".join(shown) or "none"}')
    if not shown:
        print(
            'warning: flipping an image exchanges no keypoints, since no names contain left and '
            f'right. If some are mirrored, set `swap` in {out}'
        )
    for name, side in zip(names, find_sides(names)):
        if side != 'middle' and name not in pairs:
            print(
                f'note: {name} is of the {side}, but there is no '
                f'{mirrored_name(name)}: it is mirrored onto itself'
            )
    for name, sigma in sigmas.items():
        print(f'sigma {sigma.value:g} for {name} ({sigma.origin})')
    print(f'{out}: {len(names)} keypoints (out_channels of the head)')


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/make_dataset_info.py`."""
    args = _parse(argv)
    if not args.out.endswith('.py'):
        raise ConfigError(f'{args.out}: expected the name of a .py file to write')
    inputs = [*args.annotations, args.second_labels]
    check_not_input(args.out, 'OUT', inputs)
    if os.path.lexists(args.out) and not args.overwrite:
        raise WorkDirError(
            f'{args.out} already exists, perhaps with your changes: '
            'choose another name, or replace it with --overwrite'
        )
    check_writable_file(Path(args.out), 'OUT')
    files = _read_all(args.annotations, args.images)
    names = files[0].names
    sigmas = default_sigmas(names)
    if args.second_labels is not None:
        second = read_keypoint_file(args.second_labels)
        sigmas.update(measure_sigmas(files[0], second))
    name = args.name or Path(args.out).absolute().parent.name
    write_metainfo(args.out, name, files[0], sigmas)
    print_summary(files, sigmas, args.out)
