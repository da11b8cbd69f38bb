"""Generate a dataset of synthetic people in COCO's keypoint format."""

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


def _file_names(counts: dict[str, int]) -> Iterator[str]:
    """Yield the names of all files of a dataset except the manifest."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield f'{split}/{image_id(split, index):012d}.jpg'
        yield f'annotations/person_keypoints_{split}.json'
    yield _DETECTIONS


def _annotate(scene: Scene, image: int, first: int) -> tuple[list, dict]:
    return [encode_person(person, first + k, image) for k, person in enumerate(scene.people)], {
        'license': 1
    }


def _write_split(out: Path, split: str, manifest: dict, tick: Callable[[], None]) -> int:
    """Write the images and annotations of a split; return the number of people."""
    images, annotations, detections = draw_split(
        out, split, manifest, f'{split}/{{:012d}}.jpg', _annotate, tick
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


def _write(out: Path, manifest: dict, tick: Callable[[], None]) -> int:
    return sum(_write_split(out, split, manifest, tick) for split in SPLITS)


_LAYOUT = Layout(
    'pose_backbones.synthetic',
    (*SPLITS, 'annotations', 'person_detection_results'),
    _file_names,
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
    poses: str = 'everyday',
) -> SyntheticSummary:
    """Generate a dataset of synthetic people in COCO's keypoint format.

    Each image depends only on the seed, the split, its index, the nominal size and `people`.
    Therefore, a larger dataset starts with the images of a smaller one.

    Args:
        out_dir: Output directory: new, empty, or an earlier output.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Random seed, 0 or more.
        image_size: Nominal width and height in pixels, 64 to 4096. Some images are rotated to
            portrait format or slightly smaller.
        overwrite: Whether to replace an earlier output that was generated with other parameters.
            Other files are never changed.
        progress: Function that is called after each image, with the number of finished images and
            the total number.
        people: Minimum and maximum number of people in the foreground of an image, 0 to 12. In a
            third of the images, most people overlap others; in another third, some do. None: up to
            five people, most of them apart.
        poses: `'everyday'`: most people stand or walk and face the camera. `'sports'`: most people
            run, kick, lunge and so on; they face any direction, and about a third of them are not
            upright.

    Returns:
        A summary. If the directory already contains the complete dataset with the same parameters,
        nothing is written and `existed` is set.

    Raises:
        TypeError: If a count or the seed is not an int.
        SyntheticDataError: If an argument is out of range or unknown, the directory contains other
            files, or the dataset cannot be written.
    """
    return make_data_set(
        _LAYOUT, out_dir, num_train, num_val, seed, image_size, overwrite, progress, people, poses
    )
