"""Encode synthetic people as COCO annotations, and sample simulated detections."""

import numpy as np

from .body import KEYPOINT_NAMES
from .masks import encode_polygons, encode_rle
from .scene import Scene, ScenePerson

#: the only category of COCO's keypoint annotations
PERSON_CATEGORY = {
    'supercategory': 'person',
    'id': 1,
    'name': 'person',
    'keypoints': list(KEYPOINT_NAMES),
    'skeleton': [
        [16, 14],
        [14, 12],
        [17, 15],
        [15, 13],
        [12, 13],
        [6, 12],
        [7, 13],
        [6, 7],
        [6, 8],
        [7, 9],
        [8, 10],
        [9, 11],
        [2, 3],
        [1, 2],
        [1, 3],
        [2, 4],
        [3, 5],
        [4, 6],
        [5, 7],
    ],
}


def encode_person(person: ScenePerson, ann_id: int, image_id: int) -> dict:
    """Encode a person as a COCO keypoint annotation.

    Args:
        person: A person of a scene.
        ann_id: ID of the annotation.
        image_id: ID of the image.

    Returns:
        The annotation, in pixels. The segmentation consists of polygons for one person, and of run
        lengths for a group.
    """
    segmentation = encode_rle(person.mask) if person.iscrowd else encode_polygons(person.mask)
    keypoints = []
    for x, y, v in person.joints.tolist():
        keypoints += [round(x, 2), round(y, 2), int(v)]
    return {
        'id': ann_id,
        'image_id': image_id,
        'category_id': 1,
        'iscrowd': int(person.iscrowd),
        'num_keypoints': int((person.joints[:, 2] > 0).sum()),
        'keypoints': keypoints,
        'bbox': [float(v) for v in person.bbox],
        'area': float(person.area),
        'segmentation': segmentation,
    }


def _clipped(box: np.ndarray, score: float, image_id: int, size: tuple[int, int]) -> list[dict]:
    """Clip a detection to the image; return an empty list if too little is left."""
    x0, y0 = np.maximum(box[:2], 0)
    x1, y1 = np.minimum(box[:2] + box[2:], size)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return []
    return [
        {
            'image_id': image_id,
            'category_id': 1,
            'bbox': [round(float(v), 2) for v in (x0, y0, x1 - x0, y1 - y0)],
            'score': round(float(np.clip(score, 0.01, 0.999)), 4),
        }
    ]


def sample_detections(rng: np.random.Generator, scene: Scene, image_id: int) -> list[dict]:
    """Simulate the output of a person detector for a scene.

    Args:
        rng: Random number generator.
        scene: The scene.
        image_id: ID of the image.

    Returns:
        Detections with `image_id`, `category_id`, `bbox` (x, y, width, height in pixels) and
        `score` (0 to 1). Boxes are jittered; a few are missing; there are some duplicates, and
        false positives with low scores.
    """
    height, width = scene.image.shape[:2]
    results = []
    for person in scene.people:
        box = np.array(person.bbox, float)
        num_visible = int((person.joints[:, 2] == 2).sum())
        quality = 0.95 - 0.4 * (num_visible < 4) - 0.15 * (box[3] < 40)
        if rng.random() < (0.04 if num_visible else 0.3):
            continue
        for extra in range(1 + (rng.random() < 0.12)):
            jitter = rng.normal(0, 0.03 + 0.07 * extra, 4)
            score = (
                quality
                - 1.2 * np.abs(jitter).mean()
                - extra * rng.uniform(0.2, 0.5)
                - abs(rng.normal(0, 0.05))
            )
            results += _clipped(
                box + jitter * np.tile(box[2:], 2), score, image_id, (width, height)
            )
    for _ in range(rng.poisson(0.7)):
        tall = float(np.exp(rng.uniform(np.log(30), np.log(0.8 * height))))
        wide = tall * rng.uniform(0.3, 0.7)
        box = np.array(
            (
                rng.uniform(-0.2 * wide, width - 0.5 * wide),
                rng.uniform(0, max(1.0, height - 0.5 * tall)),
                wide,
                tall,
            )
        )
        results += _clipped(box, 0.05 + 0.45 * rng.beta(1, 2.2), image_id, (width, height))
    return results
