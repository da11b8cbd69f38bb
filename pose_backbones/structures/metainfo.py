"""MMPose's description of a data set, made from COCO-format annotations."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ConfigError, DatasetError, WorkDirError
from ..utils.files import check_no_input, check_writable_file, replacing, saying_why
from .coco_annotations import KeypointFile, read_keypoint_file
from .symmetry import SIDE_COLOURS, find_pairs, find_sides, limb_side, mirrored_name, without_side

#: COCO's joints: sigma, and the half of the body
_COCO = {
    'nose': (0.026, 'upper'),
    'eye': (0.025, 'upper'),
    'ear': (0.035, 'upper'),
    'shoulder': (0.079, 'upper'),
    'elbow': (0.072, 'upper'),
    'wrist': (0.062, 'upper'),
    'hip': (0.107, 'lower'),
    'knee': (0.087, 'lower'),
    'ankle': (0.089, 'lower'),
}
#: for key points that COCO does not have; its own are from .025 to .107
DEFAULT_SIGMA = 0.05
_FEWEST = 10  # objects labelled twice that a sigma is measured from


@dataclass(frozen=True)
class Sigma:
    """How exactly a key point can be labelled.

    Args:
        value: Standard deviation over the square root of the object's area.
        origin: Where it is from, for the reader.
    """

    value: float
    origin: str


def default_sigmas(names: Sequence[str]) -> dict[str, Sigma]:
    """COCO's sigmas of the joints of these names, or a middling one.

    Args:
        names: Of the key points.

    Returns:
        Name → sigma.
    """
    pairs, sigmas = find_pairs(names), {}
    for name in names:
        joint = without_side(name, name in pairs)
        sigmas[name] = Sigma(DEFAULT_SIGMA, 'a default, not measured')
        if joint in _COCO:
            sigmas[name] = Sigma(_COCO[joint][0], f"COCO's {joint}")
    return sigmas


def measure_sigmas(first: KeypointFile, second: KeypointFile) -> dict[str, Sigma]:
    """Measure sigmas on objects that two people have labelled.

    As COCO defines them: σ² is the mean of d² / s², with d the distance of a
    label from the mean of all labels, here estimated from two without bias
    (|a − b|² / 2), and s² the object's area.

    Args:
        first: Annotations; their areas are used.
        second: The same objects by the same ids, labelled anew.

    Returns:
        Name → sigma, of the key points labelled twice at least ten times.

    Raises:
        DatasetError: If the key points differ, or too few ids are in both.
    """
    if first.names != second.names:
        raise DatasetError(
            f'{second.path} has the key points {", ".join(second.names)}: '
            f'expected those of {first.path}, {", ".join(first.names)}'
        )
    others = {entry['id']: entry for entry in second.objects}
    both = [entry for entry in first.objects if entry['id'] in others]
    if len(both) < _FEWEST:
        raise DatasetError(
            f'{second.path} has {len(both)} objects of {first.path}, by '
            f'their ids: expected {_FEWEST} at least, labelled anew'
        )
    a, b = (
        np.reshape([entry['keypoints'] for entry in entries], (len(both), -1, 3)).astype(float)
        for entries in (both, [others[entry['id']] for entry in both])
    )
    areas = np.array([[entry['area']] for entry in both], float)
    squares = ((a - b)[..., :2] ** 2).sum(2) / 2 / areas
    twice = (a[..., 2] > 0) & (b[..., 2] > 0)
    return {
        name: Sigma(
            round(float(np.sqrt(squares[twice[:, k], k].mean())), 4),
            f'measured on {twice[:, k].sum()} objects',
        )
        for k, name in enumerate(first.names)
        if twice[:, k].sum() >= _FEWEST
    }


def write_metainfo(out: str, name: str, source: KeypointFile, sigmas: dict[str, Sigma]) -> None:
    """Write MMPose's description of a data set.

    Args:
        out: A `.py` file, for `metainfo=dict(from_file=…)` of a config.
        name: Of the data set.
        source: Its key points.
        sigmas: Name → sigma, for every key point.
    """
    names, pairs = source.names, find_pairs(source.names)
    sides = find_sides(names)
    lines = [
        f'# Key points of {name}, by tools/make_dataset_info.py; yours to edit.',
        '# swap: the key point that takes its place in a mirror.',
        "# type: 'upper' or 'lower', the halves for RandomHalfBody.",
        'dataset_info = dict(',
        f'    dataset_name={name!r},',
        '    keypoint_info={',
    ]
    for k, point in enumerate(names):
        joint = without_side(point, point in pairs)
        half = _COCO.get(joint, (0, ''))[1]
        lines += [
            f'        {k}: dict(',
            f'            name={point!r}, swap={pairs.get(point, "")!r},',
            f'            id={k}, type={half!r}, color={list(SIDE_COLOURS[sides[k]])}),',
        ]
    lines += ['    },', '    skeleton_info={']
    for number, (a, b) in enumerate(source.skeleton):
        colour = SIDE_COLOURS[limb_side(sides[a], sides[b])]
        lines += [
            f'        {number}: dict(',
            f'            link=({names[a]!r}, {names[b]!r}),',
            f'            id={number}, color={list(colour)}),',
        ]
    lines += [
        '    },',
        f'    joint_weights=[1.0] * {len(names)},',
        '    # The labelling error over the square root of the area.',
        '    sigmas=[',
    ]
    lines += [
        f'        {sigmas[point].value},  # {point}: {sigmas[point].origin}' for point in names
    ]
    with saying_why(out, 'OUT'):
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(out)) as draft:
            draft.write_text('\n'.join([*lines, '    ])', '']), encoding='utf-8')


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='make_dataset_info.py',
        description="Check annotations in COCO's format, and write MMPose's "
        'description of their key points.',
    )
    parser.add_argument(
        'annotations', nargs='+', help='of training, validation, …: all with the same key points'
    )
    parser.add_argument('out', help='the description to write, a .py file')
    parser.add_argument(
        '--images',
        nargs='+',
        metavar='DIR',
        help='folder of the images, or one for each file; all are looked for',
    )
    parser.add_argument('--name', help='of the data set (default: the name of the folder of OUT)')
    parser.add_argument(
        '--second-labels',
        metavar='FILE',
        help='objects of the first file, by their ids, labelled by a second '
        'person: sigmas are measured on them',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace OUT')
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
    for file in files[1:]:
        if file.names != files[0].names:
            raise DatasetError(
                f'{file.path} has the key points {", ".join(file.names)}: '
                f'expected those of {files[0].path}, in its order: '
                f'{", ".join(files[0].names)}'
            )
    return files


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/make_dataset_info.py`."""
    args = _parse(argv)
    if not args.out.endswith('.py'):
        raise ConfigError(f'{args.out}: expected the name of a .py file to write')
    inputs = [*args.annotations, args.second_labels]
    check_no_input(args.out, 'OUT', inputs)
    if os.path.lexists(args.out) and not args.overwrite:
        raise WorkDirError(
            f'{args.out} is there already, perhaps with changes of yours: '
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
    _report(files, sigmas)
    print(f'{args.out}: {len(names)} key points (out_channels of the head)')


def _report(files: list[KeypointFile], sigmas: dict[str, Sigma]) -> None:
    names = files[0].names
    for file in files:
        print(f'{file.path}: {len(file.images)} images, {len(file.objects)} objects')
    pairs = find_pairs(names)
    shown = [
        f'{name} / {other}'
        for name, other in pairs.items()
        if names.index(name) < names.index(other)
    ]
    print(f'mirrored: {", ".join(shown) or "none"}')
    for name, side in zip(names, find_sides(names)):
        if side != 'middle' and name not in pairs:
            print(
                f'note: {name} is of the {side}, but there is no '
                f'{mirrored_name(name)}: it is mirrored onto itself'
            )
    for name, sigma in sigmas.items():
        print(f'sigma {sigma.value:g} for {name} ({sigma.origin})')
