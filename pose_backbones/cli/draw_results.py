"""Draw predictions beside the ground truth: `tools/draw_results.py`."""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import DatasetError, WorkDirError, first_line
from ..structures.coco import CocoFile, Fault, has_fields, keypoint_count
from ..structures.metainfo import read_metainfo
from ..utils.files import check_not_input, check_writable_dir, convert_write_errors, shorten_name
from ..utils.images import read_image, write_image
from ..visualization.draw import Skeleton, draw_pose

_OVERVIEW = 'overview.jpg'

_BAR = 22  # pixels of the captions above a pair


def compare(
    ann_file: str,
    images: str,
    results: str,
    out_dir: str,
    count: int = 12,
    score_thr: float = 0.3,
    seed: int = 0,
    metainfo: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Draw predictions beside the ground truth.

    Args:
        ann_file: Annotations in COCO's format.
        images: Folder of the images.
        results: Keypoints in COCO's results format, as `tools/test.py`
            writes them with `test_evaluator.outfile_prefix`.
        out_dir: Output folder; `overview.jpg` shows several drawings together.
        count: Number of images, a random sample of those with labelled people.
        score_thr: Keypoints below this score are not drawn.
        seed: Seed of the sample.
        metainfo: Dataset description whose keypoints and limbs are drawn; None: those of the
            categories in the annotations.
        overwrite: Whether existing files are replaced, except for input images.

    Returns:
        The files that were written, the overview last.

    Raises:
        DatasetError: If a file is missing or has another content.
        WorkDirError: If a file cannot be written, or would overwrite an input image or, without
            `overwrite`, any other file.
    """
    check_writable_dir(Path(out_dir), '--out')
    truth = CocoFile(ann_file)
    skeleton = _skeleton(truth, metainfo)
    entries, people, predictions = _entries(truth, CocoFile(results, 'results'), skeleton)
    chosen = [
        image for image in entries if any(_is_labelled(person) for person in people[image['id']])
    ]
    order = np.random.default_rng(seed).permutation(len(chosen))[:count]
    chosen = [chosen[index] for index in sorted(order)]
    folder = Path(out_dir)
    written = [folder / name for name in _flat(chosen)]
    if chosen:
        written.append(folder / _OVERVIEW)
    _check_outputs(
        written,
        [
            *_files_of(Path(images)),
            ann_file,
            results,
            metainfo,
            *(Path(images, image['file_name']) for image in entries),
        ],
        overwrite,
    )
    pairs = []
    with convert_write_errors(out_dir, '--out'):
        folder.mkdir(parents=True, exist_ok=True)
        for image, path in zip(chosen, written):
            pixels = read_image(Path(images) / image['file_name'])
            pairs.append(
                _pair(pixels, people[image['id']], predictions[image['id']], skeleton, score_thr)
            )
            _write(path, pairs[-1])
        if pairs:
            _write(written[-1], overview(pairs))
    return written


def _flat(images: list[dict]) -> Iterator[str]:
    """Get unique file names in one folder for images of several folders."""
    used = {_OVERVIEW}
    for image in images:
        flat = Path(image['file_name']).with_suffix('').as_posix().lstrip('/')
        flat = shorten_name(Path(flat.replace('/', '_') + '.jpg'))
        unique, number = flat, 1
        while unique.name in used:
            number += 1
            unique = shorten_name(flat, f'-{number}')
        used.add(unique.name)
        yield unique.name


def _files_of(folder: Path) -> list[Path]:
    """List the folder of images, which may also be the output folder."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _check_outputs(paths: list[Path], inputs: list, overwrite: bool) -> None:
    """Check that no input image and, without `overwrite`, no other file is replaced."""
    check_not_input(paths, '--out', inputs)
    existing = [path for path in paths if os.path.lexists(path)]
    if existing and not overwrite:
        raise WorkDirError(
            f'--out: {existing[0]} already exists'
            f'{", and more" if len(existing) > 1 else ""}: choose another '
            'folder, or replace the files with --overwrite'
        )


def _write(path: Path, image: np.ndarray) -> None:
    try:
        write_image(path, image)
    except (ValueError, cv2.error) as error:
        raise DatasetError(f'{path} cannot be drawn: {first_line(error)}') from error


def _skeleton(truth: CocoFile, metainfo: str | None) -> Skeleton:
    """Get the skeleton of the description, or of the first category with keypoints."""
    if metainfo is not None:
        return Skeleton.from_metainfo(read_metainfo(metainfo, '--metainfo'))
    for category in truth.keypoint_categories():
        return Skeleton.from_coco(category)
    raise DatasetError(
        f'{truth.path}: no category has keypoint names; provide a dataset description with '
        '--metainfo'
    )


def _entries(
    truth: CocoFile, results: CocoFile, skeleton: Skeleton
) -> tuple[list[dict], dict[int | str, list[dict]], dict[int | str, list[dict]]]:
    """Get the images, and their annotated and their predicted people."""
    images, people, predictions = (
        truth.entries('images'),
        truth.entries('annotations'),
        results.entries(),
    )
    count = len(skeleton.names)
    truth.check('image', images, has_fields('id', 'file_name'), _has_name)
    truth.check('annotation', people, has_fields('image_id'))
    labelled = [person for person in people if person.get('keypoints')]
    truth.check('annotation', labelled, keypoint_count(count, 'that are drawn'))
    results.check(
        'result',
        predictions,
        has_fields('image_id', 'keypoints'),
        keypoint_count(count, 'of the annotations: are they of the same dataset?'),
    )
    return images, _by_image(people), _by_image(predictions)


def _has_name(image: dict) -> Fault | None:
    name = image['file_name']
    return None if Path(name).name else (f'the file_name {name!r}', 'expected a path')


def _by_image(entries: list[dict]) -> dict[int | str, list[dict]]:
    groups = defaultdict(list)
    for entry in entries:
        groups[entry['image_id']].append(entry)
    return groups


def _is_labelled(person: dict) -> bool:
    return any((person.get('keypoints') or [])[2::3])


def _pair(
    image: np.ndarray,
    people: list[dict],
    predictions: list[dict],
    skeleton: Skeleton,
    score_thr: float,
) -> np.ndarray:
    """Draw the annotations on the left and the predictions on the right, with captions."""
    left, right = image.copy(), image.copy()
    for person in people:
        if _is_labelled(person):
            points = np.reshape(person['keypoints'], (-1, 3))
            draw_pose(left, points[:, :2], skeleton, points[:, 2] > 0, points[:, 2] == 1)
    for person in predictions:
        points = np.reshape(person['keypoints'], (-1, 3))
        draw_pose(right, points[:, :2], skeleton, points[:, 2] >= score_thr)
    captions = ((left, 'ground truth'), (right, 'prediction'))
    return np.hstack([_caption(side, text) for side, text in captions])


def _caption(image: np.ndarray, text: str) -> np.ndarray:
    bar = np.full((_BAR, image.shape[1], 3), 40, np.uint8)
    cv2.putText(
        bar, text, (6, _BAR - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (240, 240, 240), 1, cv2.LINE_AA
    )
    return np.vstack([bar, image])


def overview(
    images: list[np.ndarray], columns: int = 2, width: int = 640, limit: int = 8
) -> np.ndarray:
    """Arrange images in columns of equal width, so that the columns have similar heights.

    Args:
        images: Each (H, W, 3), uint8, BGR; sizes may differ.
        columns: Number of columns.
        width: Width of a column in pixels.
        limit: Maximum number of images.

    Returns:
        (H', columns * width, 3), uint8, BGR.
    """
    stacks = [[] for _ in range(columns)]
    for image in images[:limit]:
        height = round(image.shape[0] * width / image.shape[1])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        shortest = min(stacks, key=lambda stack: sum(map(len, stack)))
        shortest.append(image)
    height = max(sum(map(len, stack)) for stack in stacks)
    sheet = np.full((height, columns * width, 3), 40, np.uint8)
    for column, stack in enumerate(stacks):
        if stack:
            filled = np.vstack(stack)
            sheet[: len(filled), column * width : (column + 1) * width] = filled
    return sheet


def main(argv: list[str] | None = None) -> None:
    """Entry point of `tools/draw_results.py`."""
    parser = argparse.ArgumentParser(description='Draw predictions beside the ground truth.')
    parser.add_argument('ann_file', help='annotations in COCO format')
    parser.add_argument('results', help='keypoints in COCO results format')
    parser.add_argument('--images', required=True, metavar='DIR')
    parser.add_argument('--out', required=True, metavar='DIR')
    parser.add_argument('--count', type=int, default=12, metavar='N')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='S',
        help='leave out keypoints below this score (default: 0.3)',
    )
    parser.add_argument(
        '--metainfo',
        metavar='FILE',
        help="draw the limbs of this description of the dataset (MMPose's, "
        'a .py file) instead of those of the annotations',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace files of an earlier run; input images are never replaced',
    )
    args = parser.parse_args(argv)
    written = compare(
        args.ann_file,
        args.images,
        args.results,
        args.out,
        args.count,
        args.score_thr,
        metainfo=args.metainfo,
        overwrite=args.overwrite,
    )
    print(f'{len(written)} images in {args.out}')
