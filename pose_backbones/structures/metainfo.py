"""Read MMPose's dataset metainfo, and write it for custom keypoints."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import DatasetError, first_line, shown
from ..utils.files import atomic_write, check_regular_file, convert_write_errors
from .coco_keypoints import KeypointFile, check_same_keypoints
from .symmetry import SIDE_COLOURS, find_pairs, find_sides, limb_side, without_side

#: keypoints of COCO: sigma, and half of the body
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
#: sigma of keypoints that COCO does not have; those of COCO are from 0.025 to 0.107
DEFAULT_SIGMA = 0.05
_FEWEST = 10  # objects that must be labelled twice to measure a sigma


def read_metainfo(source: str | os.PathLike | Mapping, option: str = '') -> dict:
    """Read dataset metainfo and parse it like MMPose.

    Args:
        source: A `.py` file with `dataset_info`, which is executed, or the content of
            `dataset_info`. If the file does not exist, the file that MMPose ships under this name
            is read, such as `configs/_base_/datasets/coco.py`.
        option: Command-line option with the file, for the error message.

    Returns:
        The result of `mmpose.datasets.datasets.utils.parse_pose_metainfo`, with `num_keypoints`,
        `keypoint_id2name`, `flip_indices`, `skeleton_links`, `sigmas`, and other entries.

    Raises:
        DatasetError: If it is not valid metainfo, or has a sigma that is not a positive number.
    """
    from mmpose.datasets.datasets.utils import parse_pose_metainfo

    name = 'metainfo'
    if not isinstance(source, Mapping):
        name = f'{option} {os.fspath(source)}'.lstrip()
        if os.path.exists(source):
            check_regular_file(source, 'description')
        source = dict(from_file=os.fspath(source))
    elif isinstance(source.get('from_file'), str):
        name = f'metainfo {source["from_file"]}'
    try:
        parsed = parse_pose_metainfo(dict(source))
    except Exception as error:  # a description is Python code, which may raise anything
        raise DatasetError(
            f'{name} is not a description of a dataset, such as '
            f'tools/make_dataset_info.py writes: {first_line(error)}'
        ) from error
    check_sigma_values(parsed, name)
    return parsed


def check_sigma_values(metainfo: Mapping, where: str) -> None:
    """Check that the sigmas are positive numbers, since OKS divides by their squares.

    Args:
        metainfo: Parsed metainfo. Without sigmas, it has none to check.
        where: Name of the metainfo or its dataset, for the message.

    Raises:
        DatasetError: If one is not. The message contains its keypoint and value.
    """
    sigmas = np.asarray(metainfo.get('sigmas', ()), float)
    wrong = np.flatnonzero(~(np.isfinite(sigmas) & (sigmas > 0)))
    if len(wrong):
        first = int(wrong[0])
        keypoint = metainfo.get('keypoint_id2name', {}).get(first, first)
        raise DatasetError(
            f'{where}: the sigma of the keypoint {shown(keypoint)} is {sigmas[first]:g} '
            f'({len(wrong)} of {len(sigmas)} sigmas are wrong): expected a positive number, the '
            'standard deviation of its labels over the square root of the area of the object'
        )


@dataclass(frozen=True)
class Sigma:
    """Labelling error of a keypoint.

    Args:
        value: Standard deviation over the square root of the area of the object.
        origin: Description of the origin of the value.
    """

    value: float
    origin: str


def default_sigmas(names: Sequence[str]) -> dict[str, Sigma]:
    """Return COCO's sigmas for keypoints with names of COCO, and `DEFAULT_SIGMA` for others.

    Args:
        names: Names of the keypoints.

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
    """Compute sigmas from two sets of annotations of the same objects.

    COCO defines σ² as the mean of d² / s², where d is the distance of a label from the mean of all
    labels, and s² is the area of the object. With two labels a and b, |a − b|² / 2 is an unbiased
    estimate of d².

    Args:
        first: Annotations, whose areas are used.
        second: Annotations of the same objects, with the same ids, by another annotator.

    Returns:
        Name → sigma, for keypoints that have labels in both sets on at least ten objects.

    Raises:
        DatasetError: If the keypoints differ, fewer than ten ids are in both files, or a keypoint
            has identical labels in both.
    """
    check_same_keypoints(first, second)
    others = {entry['id']: entry for entry in second.objects}
    common = [entry for entry in first.objects if entry['id'] in others]
    if len(common) < _FEWEST:
        raise DatasetError(
            f'{second.path} has {len(common)} objects of {first.path}, by '
            f'their ids: expected at least {_FEWEST}, labelled again'
        )
    a, b = (
        np.reshape([entry['keypoints'] for entry in entries], (len(common), -1, 3)).astype(float)
        for entries in (common, [others[entry['id']] for entry in common])
    )
    areas = np.array([[entry['area']] for entry in common], float)
    squares = ((a - b)[..., :2] ** 2).sum(2) / 2 / areas
    in_both = (a[..., 2] > 0) & (b[..., 2] > 0)
    sigmas = {
        name: Sigma(
            round(float(np.sqrt(squares[in_both[:, k], k].mean())), 4),
            f'measured on {in_both[:, k].sum()} objects',
        )
        for k, name in enumerate(first.names)
        if in_both[:, k].sum() >= _FEWEST
    }
    identical = [name for name, sigma in sigmas.items() if not sigma.value]
    if identical:
        raise DatasetError(
            f'the labels of the keypoint {shown(identical[0])} are identical in {first.path} and '
            f'{second.path}, so its sigma would be 0 ({len(identical)} of {len(first.names)} '
            'keypoints are like this): expected labels of a second annotator'
        )
    return sigmas


def write_metainfo(
    out: str,
    name: str,
    source: KeypointFile,
    sigmas: dict[str, Sigma],
    pairs: Mapping[str, str] | None = None,
) -> None:
    """Write dataset metainfo for MMPose.

    Args:
        out: A `.py` file, for `metainfo=dict(from_file=…)` in a config.
        name: Name of the dataset.
        source: Annotations with the keypoints of the dataset.
        sigmas: Name → sigma, for every keypoint.
        pairs: Name → name of the mirrored keypoint. Default: recognized by the names.

    Raises:
        WorkDirError: If the file cannot be written.
    """
    names = source.names
    pairs = find_pairs(names) if pairs is None else pairs
    sides = find_sides(names)
    lines = [
        f'# Keypoints of {_in_comment(name)}; can be edited.',
        '# swap: the keypoint that it is exchanged with when an image is flipped.',
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
        '    # Labelling errors over the square root of the area of the object.',
        '    sigmas=[',
    ]
    lines += [
        f'        {sigmas[point].value},  # {_in_comment(point)}: {sigmas[point].origin}'
        for point in names
    ]
    with convert_write_errors(out, 'OUT'):
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(Path(out)) as draft:
            draft.write_text('\n'.join([*lines, '    ])', '']), encoding='utf-8')


def _in_comment(text: str) -> str:
    """Return a name for a comment in Python code, which must not end the line."""
    return text if text.isprintable() else ascii(text)
