"""Write synthetic scenes in CrowdPose's layout."""

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

#: CrowdPose's joints: COCO's without the face, then head top and neck.
_FACE = 5
_NAMES = (*KEYPOINT_NAMES[_FACE:], 'top_head', 'neck')
#: Where those two stand in a midline.
_MIDDLE = [3, 2]
#: The only category.
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
#: Our splits → CrowdPose's names, as MMPose's files have them.
_FILES = {
    split: f'annotations/mmpose_crowdpose_{name}.json'
    for split, name in (('train', 'trainval'), ('val', 'test'))
}
_DETECTIONS = 'annotations/det_for_crowd_test_0.1_0.5.json'


def encode_crowdpose_person(person: ScenePerson, ann_id: int, image: int) -> dict:
    """Make an annotation as CrowdPose has it: without area or outline.

    Args:
        person: A person of a scene, no group.
        ann_id: Id of the annotation.
        image: Id of the image.

    Returns:
        The annotation, in pixels; `num_keypoints` counts the visible ones.
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
    """x, y and visibility: 0 outside, 1 behind something, 2 seen."""
    height, width = mask.shape
    if not ((point >= 0) & (point <= (width - 1, height - 1))).all():
        return 0, 0, 0
    x, y = np.round(point).astype(int)
    seen = mask[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].any()
    return *point, 2 if seen else 1


def crowd_index(people: list[dict]) -> float:
    """How crowded an image is.

    AP easy is that of images below .2, AP hard that of .8 and more.

    A person's share is the number of other people's keypoints in its box,
    divided by that of its own; the index is the mean of all people's.

    Paper: CrowdPose: Efficient Crowded Scenes Pose Estimation and A New
    Benchmark, https://arxiv.org/abs/1812.00324.

    Args:
        people: Annotations of the image.

    Returns:
        From 0 to 1, where more than 1 is cut.
    """
    if not people:
        return 0.0
    joints = np.array([p['keypoints'] for p in people]).reshape(len(people), -1, 3)
    boxes = np.array([p['bbox'] for p in people]).reshape(-1, 1, 1, 4)
    # box, person, joint
    inside = (
        (joints[..., :2] >= boxes[..., :2]) & (joints[..., :2] <= boxes[..., :2] + boxes[..., 2:])
    ).all(-1)
    counts = (inside & (joints[..., 2] > 0)).sum(-1)
    own = np.diagonal(counts)
    shares = (counts.sum(1) - own)[own > 0] / own[own > 0]
    return float(min(shares.mean(), 1)) if len(shares) else 0.0


def _own_files(counts: dict[str, int]) -> Iterator[str]:
    """Names of all files of a data set except the manifest."""
    for split in SPLITS:
        for index in range(counts[split]):
            yield f'images/{image_id(split, index):06d}.jpg'
        yield _FILES[split]
    yield _DETECTIONS


def _annotate(scene: Scene, image: int, first: int) -> tuple[list, dict]:
    single = [person for person in scene.people if not person.iscrowd]
    people = [encode_crowdpose_person(person, first + k, image) for k, person in enumerate(single)]
    return people, {'crowdIndex': round(crowd_index(people), 4)}


def _write_split(out: Path, split: str, wanted: dict, tick: Callable[[], None]) -> int:
    """Write the images and annotations of a split; count its people."""
    images, annotations, detections = draw_split(
        out, split, wanted, 'images/{:06d}.jpg', _annotate, tick
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


def _write(out: Path, wanted: dict, tick: Callable[[], None]) -> int:
    return sum(_write_split(out, split, wanted, tick) for split in SPLITS)


_LAYOUT = Layout(
    'pose_backbones.synthetic.crowdpose', ('images', 'annotations'), _own_files, _write
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
) -> SyntheticSummary:
    """Make a data set of drawn people in CrowdPose's layout.

    The images are those of `make_synthetic_coco` with the same
    `people`; distant groups are not annotated. Validation images are those
    of CrowdPose's test split; with them come detections.

    Args:
        out_dir: As the other arguments, see
            `make_synthetic_coco`.
        num_train: Number of images of trainval.
        num_val: Number of images of test.
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
