"""Write synthetic scenes in MPII's layout, as HRNet's JSON files have it."""

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

#: MPII's joints: their names in its MATLAB files, and where they come from,
#: COCO's joints (0 to 16) or those of the midline (17 to 20).
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
#: A file's place of a joint that is not labelled.
_NOWHERE = -1.0
_HEAD_BOXES = 'annotations/mpii_gt_val.mat'
#: A MATLAB file begins with a text, in which scipy puts the time.
_MAT_TEXT = b'MATLAB 5.0 MAT-file, synthetic people'.ljust(116)


def encode_mpii_person(person: ScenePerson, image: str) -> dict:
    """Make an entry of HRNet's JSON file; its pixels count from 1.

    Args:
        person: A person of a scene, with a midline.
        image: Name of the image file.

    Returns:
        The entry, with a `headbox` (x1, y1, x2, y2) beside HRNet's fields.
    """
    height, width = person.mask.shape
    middle = person.midline.points
    inside = ((middle >= 0) & (middle <= (width - 1, height - 1))).all(1)
    points = np.concatenate([person.joints[:, :2], middle])
    known = np.concatenate([person.joints[:, 2] > 0, inside])
    order = list(_JOINTS.values())
    points = np.where(known[:, None], points + 1, _NOWHERE)[order]
    x, y, w, h = person.bbox
    scale = max(w, h) / 200
    # Readers move the centre down by 15 pixels a scale, then count from 0.
    centre = x + (w - 1) / 2 + 1, y + (h - 1) / 2 + 1 - 15 * scale
    return {
        'image': image,
        'scale': round(scale, 4),
        'center': [round(float(v), 2) for v in centre],
        'joints': np.round(points, 2).tolist(),
        'joints_vis': known[order].astype(int).tolist(),
        'headbox': np.round(person.midline.head_box + 1, 2).tolist(),
    }


def _mat_file(people: list[dict]) -> bytes:
    """Encode the MATLAB file that MPII's evaluation reads."""
    joints = np.array([p['joints'] for p in people]).reshape(-1, 16, 2)
    seen = np.array([p['joints_vis'] for p in people]).reshape(-1, 16)
    boxes = np.array([p['headbox'] for p in people]).reshape(-1, 2, 2)
    names = np.empty((1, len(_JOINTS)), object)
    names[0] = list(_JOINTS)
    content = io.BytesIO()
    savemat(
        content,
        {
            'headboxes_src': boxes.transpose(1, 2, 0),
            'pos_gt_src': joints.transpose(1, 2, 0),
            'jnt_missing': (1 - seen.T).astype(np.uint8),
            'dataset_joints': names,
        },
    )
    return _MAT_TEXT + content.getvalue()[len(_MAT_TEXT) :]


def _own_files(counts: dict[str, int]) -> Iterator[str]:
    """Names of all files of a data set except the manifest."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield f'images/{image_id(split, index):09d}.jpg'
        yield f'annotations/mpii_{split}.json'
    yield 'annotations/mpii_test.json'
    yield _HEAD_BOXES


def _write_split(out: Path, split: str, wanted: dict, tick: Callable[[], None]) -> list[dict]:
    """Write the images and annotations of a split; return its people."""
    people = []
    for index in range(wanted['counts'][split]):
        scene = render(wanted, split, index)
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


def _write(out: Path, wanted: dict, tick: Callable[[], None]) -> int:
    train, val = (_write_split(out, split, wanted, tick) for split in SPLITS)
    write_bytes(out / _HEAD_BOXES, _mat_file(val))
    write_json(
        out / 'annotations/mpii_test.json',
        [{field: person[field] for field in ('image', 'center', 'scale')} for person in val],
    )
    return len(train) + len(val)


_LAYOUT = Layout('pose_backbones.synthetic.mpii', ('images', 'annotations'), _own_files, _write)


def make_synthetic_mpii(
    out_dir: str | os.PathLike,
    num_train: int,
    num_val: int,
    seed: int = 0,
    image_size: tuple[int, int] = (384, 288),
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    people: tuple[int, int] | None = None,
) -> SyntheticSummary:
    """Make a data set of drawn people in MPII's layout.

    The images are those of `make_synthetic_coco`; only people
    with labelled joints are listed. The head boxes of the validation split
    stand in `mpii_gt_val.mat` too; the test split is the validation split
    without labels.

    Args:
        out_dir: As the other arguments, see
            `make_synthetic_coco`.
        num_train: Number of training images.
        num_val: Number of validation images.
        seed: Seed of all randomness, 0 or more.
        image_size: Nominal width and height in pixels, 64 to 4096.
        overwrite: Whether to replace an earlier output.
        progress: Called after each image.
        people: Least and greatest number of people an image.

    Returns:
        What was made.

    Raises:
        TypeError: A count or the seed is no int.
        SyntheticDataError: A count or a size is out of range, the folder holds
            something else, or something could not be written.
    """
    return make_data_set(
        _LAYOUT, out_dir, num_train, num_val, seed, image_size, overwrite, progress, people
    )
