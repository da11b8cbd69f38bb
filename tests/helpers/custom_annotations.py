"""COCO annotations of three lamps in two images, with custom keypoints."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

ANNOTATIONS = {
    'categories': [
        {
            'id': 2,
            'name': 'lamp',
            'keypoints': ['foot', 'joint', 'bulb'],
            'skeleton': [[1, 2], [2, 3]],
        }
    ],
    'images': [
        {'id': 1, 'file_name': 'a/1.jpg', 'width': 64, 'height': 48},
        {'id': 2, 'file_name': 'a/2.jpg', 'width': 64, 'height': 48},
    ],
    'annotations': [
        {
            'id': n,
            'image_id': 1 + n % 2,
            'category_id': 2,
            'iscrowd': 0,
            'bbox': [4, 4, 30, 40],
            'area': 400.0,
            'keypoints': [5, 40, 2, 8, 20, 1, 30, 6, 2],
        }
        for n in range(1, 4)
    ],
}


def write_annotations(
    folder: Path, change: Callable[[dict], dict | None] | None = None, name: str = 'train.json'
) -> str:
    """Write the annotations after an optional change.

    Args:
        folder: Output directory.
        change: Function that modifies the content in place, or returns new content.
        name: File name.

    Returns:
        Path of the file.
    """
    content = copy.deepcopy(ANNOTATIONS)
    content = (change(content) or content) if change else content
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def without(name: str, key: str):
    """Return a change that removes a key from the first entry of a list."""
    return lambda content: content[name][0].pop(key) and None


def with_value(name: str, key: str, value):
    """Return a change that sets a key of the first entry of a list."""
    return lambda content: content[name][0].update({key: value})


def with_keypoints(points, area) -> dict:
    """Return annotations with the given keypoints (N, K, 3) and areas (N,)."""
    content = copy.deepcopy(ANNOTATIONS)
    for image in content['images']:
        image.update(width=1000, height=1000)
    content['annotations'] = [
        {
            **content['annotations'][0],
            'id': n + 1,
            'area': float(area[n]),
            'bbox': _box_around(pose),
            'keypoints': [float(v) for v in pose.ravel()],
        }
        for n, pose in enumerate(points)
    ]
    return content


def _box_around(points) -> list[float]:
    """Return the box of keypoints (K, 3) as x, y, width and height."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return [float(value) for value in (*low, *(high - low))]
