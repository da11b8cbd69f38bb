"""Generate a dataset of synthetic people in MPII's format, with HRNet's JSON files."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.io import savemat

from .folder import (
    SPLITS,
    Layout,
    SyntheticSummary,
    image_id,
    make_data_set,
    render,
    write_bytes,
    write_image,
    write_json,
)
from .scene import ScenePerson

#: MPII's joints: names in MATLAB files, and index of the source: COCO's keypoints (0 to 16) or the
#: midline (17 to 20)
_JOINTS = {
    'rank': 16,
    'rkne': 14,
    'rhip': 12,
    'lhip': 11,
    'lkne': 13,
    'lank': 15,
    'pelv': 17,
    'thor': 18,
    'neck': 19,
    'head': 20,
    'rwri': 10,
    'relb': 8,
    'rsho': 6,
    'lsho': 5,
    'lelb': 7,
    'lwri': 9,
}
#: coordinates of joints that are not labelled
_UNLABELLED = -1.0
_HEAD_BOXES = 'annotations/mpii_gt_val.mat'
#: fixed header of MATLAB files; scipy would write the current time
_MAT_TEXT = b'MATLAB 5.0 MAT-file, synthetic people'.ljust(116)


def encode_mpii_person(person: ScenePerson, image: str) -> dict:
    """Encode a person as an entry of HRNet's JSON file, whose pixel coordinates start at 1.

    Args:
        person: A person of a scene, with a midline.
        image: Name of the image file.

    Returns:
        The entry, with `headbox` (x1, y1, x2, y2) in addition to HRNet's fields.
    """
    height, width = person.mask.shape
    middle = person.midline.points
    inside = ((middle >= 0) & (middle <= (width - 1, height - 1))).all(1)
    points = np.concatenate([person.joints[:, :2], middle])
    labelled = np.concatenate([person.joints[:, 2] > 0, inside])
    order = list(_JOINTS.values())
    points = np.where(labelled[:, None], points + 1, _UNLABELLED)[order]
    x, y, w, h = person.bbox
    scale = max(w, h) / 200
    # Readers move the centre down by 15 pixels times the scale, and subtract 1 from coordinates.
    centre = x + (w - 1) / 2 + 1, y + (h - 1) / 2 + 1 - 15 * scale
    return {
        'image': image,
        'scale': round(scale, 4),
        'center': [round(float(v), 2) for v in centre],
        'joints': np.round(points, 2).tolist(),
        'joints_vis': labelled[order].astype(int).tolist(),
        'headbox': np.round(person.midline.head_box + 1, 2).tolist(),
    }


def _mat_file(people: list[dict]) -> bytes:
    """Encode the MATLAB file that MPII's evaluation reads."""
    joints = np.array([p['joints'] for p in people]).reshape(-1, 16, 2)
    visible = np.array([p['joints_vis'] for p in people]).reshape(-1, 16)
    boxes = np.array([p['headbox'] for p in people]).reshape(-1, 2, 2)
    names = np.empty((1, len(_JOINTS)), object)
    names[0] = list(_JOINTS)
    content = io.BytesIO()
    savemat(
        content,
        {
            'headboxes_src': boxes.transpose(1, 2, 0),
            'pos_gt_src': joints.transpose(1, 2, 0),
            'jnt_missing': (1 - visible.T).astype(np.uint8),
            'dataset_joints': names,
        },
    )
    return _MAT_TEXT + content.getvalue()[len(_MAT_TEXT) :]


def _file_names(counts: dict[str, int]) -> Iterator[str]:
    """Yield the names of all files of a dataset except the manifest."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield f'images/{image_id(split, index):09d}.jpg'
        yield f'annotations/mpii_{split}.json'
    yield 'annotations/mpii_test.json'
    yield _HEAD_BOXES


def _write_split(out: Path, split: str, manifest: dict, tick: Callable[[], None]) -> list[dict]:
    """Write the images and annotations of a split; return the people."""
    people = []
    for index in range(manifest['counts'][split]):
        scene = render(manifest, split, index)
        name = f'{image_id(split, index):09d}.jpg'
        write_image(out / 'images' / name, scene.image)
        people += [
            encode_mpii_person(person, name)
            for person in scene.people
            if person.midline is not None
        ]
        tick()
    write_json(out / f'annotations/mpii_{split}.json', people)
    return people


def _write(out: Path, manifest: dict, tick: Callable[[], None]) -> int:
    train, val = (_write_split(out, split, manifest, tick) for split in SPLITS)
    write_bytes(out / _HEAD_BOXES, _mat_file(val))
    write_json(
        out / 'annotations/mpii_test.json',
        [{field: person[field] for field in ('image', 'center', 'scale')} for person in val],
    )
    return len(train) + len(val)


_LAYOUT = Layout('pose_backbones.synthetic.mpii', ('images', 'annotations'), _file_names, _write)


def make_synthetic_mpii(
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
    """Generate a dataset of synthetic people in MPII's format.

    The images are those of `make_synthetic_coco`. Only people with labelled joints are listed. The
    head boxes of the validation split are also written to `mpii_gt_val.mat`. The test split is the
    validation split without labels.

    Args:
        out_dir: Output directory, see `make_synthetic_coco`.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Random seed, 0 or more.
        image_size: Nominal width and height in pixels, 64 to 4096.
        overwrite: Whether to replace an earlier output.
        progress: Function that is called after each image.
        people: Minimum and maximum number of people per image.
        poses: `'everyday'` or `'sports'`, see `make_synthetic_coco`.

    Returns:
        A summary, see `make_synthetic_coco`.

    Raises:
        TypeError: If a count or the seed is not an int.
        SyntheticDataError: If an argument is out of range, the directory contains other files, or
            the dataset cannot be written.
    """
    return make_data_set(
        _LAYOUT, out_dir, num_train, num_val, seed, image_size, overwrite, progress, people, poses
    )
