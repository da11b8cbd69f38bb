"""Write synthetic scenes as a COCO person-keypoints data set."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .annotations import PERSON_CATEGORY, encode_person
from .folder import (
    GENERATOR_VERSION,
    SPLITS,
    Layout,
    SyntheticSummary,
    draw_split,
    image_id,
    make_data_set,
    write_json,
)
from .scene import Scene

_DETECTIONS = 'person_detection_results/val_detections.json'


def _own_files(counts: dict[str, int]) -> Iterator[str]:
    """Names of all files of a data set except the manifest."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield f'{split}/{image_id(split, index):012d}.jpg'
        yield f'annotations/person_keypoints_{split}.json'
    yield _DETECTIONS


def _annotate(scene: Scene, image: int, first: int) -> tuple[list, dict]:
    return [encode_person(person, first + k, image) for k, person in enumerate(scene.people)], {
        'license': 1
    }


def _write_split(out: Path, split: str, wanted: dict, tick: Callable[[], None]) -> int:
    """Write the images and annotations of a split; count its people."""
    images, annotations, detections = draw_split(
        out, split, wanted, f'{split}/{{:012d}}.jpg', _annotate, tick
    )
    write_json(
        out / f'annotations/person_keypoints_{split}.json',
        {
            'info': {
                'description': 'Synthetic people with COCO keypoints',
                'version': str(GENERATOR_VERSION),
                'year': 2024,
            },
            'licenses': [{'id': 1, 'name': 'Synthetic, no rights reserved', 'url': ''}],
            'images': images,
            'annotations': annotations,
            'categories': [PERSON_CATEGORY],
        },
    )
    if split == 'val':
        write_json(out / _DETECTIONS, detections)
    return len(annotations)


def _write(out: Path, wanted: dict, tick: Callable[[], None]) -> int:
    return sum(_write_split(out, split, wanted, tick) for split in SPLITS)


_LAYOUT = Layout(
    'pose_backbones.synthetic',
    (*SPLITS, 'annotations', 'person_detection_results'),
    _own_files,
    _write,
)


def make_synthetic_coco(
    out_dir: str | os.PathLike,
    num_train: int,
    num_val: int,
    seed: int = 0,
    image_size: tuple[int, int] = (384, 288),
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    people: tuple[int, int] | None = None,
) -> SyntheticSummary:
    """Make a data set of drawn people in the layout of COCO keypoints.

    Every image depends on the seed, the split, its index, the nominal size
    and `people` only: a larger data set begins with the images of a smaller
    one.

    Args:
        out_dir: Folder to write; new, empty, or an earlier output.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Seed of all randomness, 0 or more.
        image_size: Nominal width and height in pixels, 64 to 4096; some
            images are upright or somewhat smaller.
        overwrite: Whether to replace an earlier output made with other
            parameters; files of others are never touched.
        progress: Called with the numbers of images done and of all images
            after each image.
        people: Least and greatest number of people in the foreground of an
            image, 0 to 12; in a third of the images most of them stand
            before others, in a third some. None: up to five, most of them
            apart.

    Returns:
        What was made. If the folder held the complete data set with the
        same parameters, it is left alone and `existed` is set.

    Raises:
        TypeError: A count or the seed is no int.
        SyntheticDataError: A count or a size is out of range, the folder holds
            something else, or something could not be written.
    """
    return make_data_set(
        _LAYOUT, out_dir, num_train, num_val, seed, image_size, overwrite, progress, people
    )
