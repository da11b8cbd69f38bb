"""Generate a dataset of synthetic people in CrowdPose's format."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from .body import KEYPOINT_NAMES
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
from .scene import Scene, ScenePerson

#: CrowdPose's keypoints: those of COCO without the face, then head top and neck
_FACE = 5
_NAMES = (*KEYPOINT_NAMES[_FACE:], 'top_head', 'neck')
#: indices of head top and neck in `Midline.points`
_MIDDLE = [3, 2]
#: the only category
_CATEGORY = {
    'supercategory': 'person',
    'id': 1,
    'name': 'person',
    'keypoints': list(_NAMES),
    'skeleton': [
        [12, 10],
        [10, 8],
        [11, 9],
        [9, 7],
        [7, 8],
        [1, 7],
        [2, 8],
        [1, 2],
        [1, 3],
        [2, 4],
        [3, 5],
        [4, 6],
        [13, 14],
        [14, 1],
        [14, 2],
    ],
}
#: split → annotation file, named as in MMPose
_FILES = {
    split: f'annotations/mmpose_crowdpose_{name}.json'
    for split, name in (('train', 'trainval'), ('val', 'test'))
}
_DETECTIONS = 'annotations/det_for_crowd_test_0.1_0.5.json'


def encode_crowdpose_person(person: ScenePerson, ann_id: int, image: int) -> dict:
    """Encode a person as a CrowdPose annotation, which has no area and no segmentation.

    Args:
        person: A person of a scene, not a group.
        ann_id: ID of the annotation.
        image: ID of the image.

    Returns:
        The annotation, in pixels. `num_keypoints` is the number of visible keypoints.
    """
    joints = np.zeros((len(_NAMES), 3))
    joints[:-2] = person.joints[_FACE:]
    if person.midline is not None:
        joints[-2:] = [_marked(point, person.mask) for point in person.midline.points[_MIDDLE]]
    keypoints = []
    for x, y, v in joints.tolist():
        keypoints += [round(x, 2), round(y, 2), int(v)]
    return {
        'id': ann_id,
        'image_id': image,
        'category_id': 1,
        'iscrowd': 0,
        'num_keypoints': int((joints[:, 2] == 2).sum()),
        'keypoints': keypoints,
        'bbox': [float(v) for v in person.bbox],
    }


def _marked(point: np.ndarray, mask: np.ndarray) -> tuple:
    """Return x, y and visibility: 0 outside the image, 1 occluded, 2 visible."""
    height, width = mask.shape
    if not ((point >= 0) & (point <= (width - 1, height - 1))).all():
        return 0, 0, 0
    x, y = np.round(point).astype(int)
    is_visible = mask[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].any()
    return *point, 2 if is_visible else 1


def crowd_index(people: list[dict]) -> float:
    """Compute the crowd index of an image.

    For each person, the number of keypoints of other people in its box is divided by the number of
    its own keypoints there. The index is the mean of these ratios. Images with an index below 0.2
    are easy, those from 0.8 on are hard.

    Paper: CrowdPose: Efficient Crowded Scenes Pose Estimation and A New Benchmark,
    https://arxiv.org/abs/1812.00324.

    Args:
        people: Annotations of the image.

    Returns:
        The index, clipped to at most 1.
    """
    if not people:
        return 0.0
    joints = np.array([p['keypoints'] for p in people]).reshape(len(people), -1, 3)
    boxes = np.array([p['bbox'] for p in people]).reshape(-1, 1, 1, 4)
    # axes: box, person, joint
    inside = (
        (joints[..., :2] >= boxes[..., :2]) & (joints[..., :2] <= boxes[..., :2] + boxes[..., 2:])
    ).all(-1)
    counts = (inside & (joints[..., 2] > 0)).sum(-1)
    num_own = np.diagonal(counts)
    shares = (counts.sum(1) - num_own)[num_own > 0] / num_own[num_own > 0]
    return float(min(shares.mean(), 1)) if len(shares) else 0.0


def _file_names(counts: dict[str, int]) -> Iterator[str]:
    """Yield the names of all files of a dataset except the manifest."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield f'images/{image_id(split, index):06d}.jpg'
        yield _FILES[split]
    yield _DETECTIONS


def _annotate(scene: Scene, image: int, first: int) -> tuple[list, dict]:
    single = [person for person in scene.people if not person.iscrowd]
    people = [encode_crowdpose_person(person, first + k, image) for k, person in enumerate(single)]
    return people, {'crowdIndex': round(crowd_index(people), 4)}


def _write_split(out: Path, split: str, manifest: dict, tick: Callable[[], None]) -> int:
    """Write the images and annotations of a split; return the number of people."""
    images, annotations, detections = draw_split(
        out, split, manifest, 'images/{:06d}.jpg', _annotate, tick
    )
    write_json(
        out / _FILES[split],
        {
            'info': {
                'description': 'Synthetic people with CrowdPose keypoints',
                'version': str(GENERATOR_VERSION),
            },
            'images': images,
            'annotations': annotations,
            'categories': [_CATEGORY],
        },
    )
    if split == 'val':
        write_json(out / _DETECTIONS, detections)
    return len(annotations)


def _write(out: Path, manifest: dict, tick: Callable[[], None]) -> int:
    return sum(_write_split(out, split, manifest, tick) for split in SPLITS)


_LAYOUT = Layout(
    'pose_backbones.synthetic.crowdpose', ('images', 'annotations'), _file_names, _write
)


def make_synthetic_crowdpose(
    out_dir: str | os.PathLike,
    num_train: int,
    num_val: int,
    seed: int = 0,
    image_size: tuple[int, int] = (384, 288),
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    people: tuple[int, int] | None = (1, 8),
    poses: str = 'everyday',
) -> SyntheticSummary:
    """Generate a dataset of synthetic people in CrowdPose's format.

    The images are those of `make_synthetic_coco` with the same `people`. Distant groups are not
    annotated. The validation images form CrowdPose's test split, for which detections are written
    as well.

    Args:
        out_dir: Output directory, see `make_synthetic_coco`.
        num_train: Number of images of the split trainval.
        num_val: Number of images of the split test.
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
