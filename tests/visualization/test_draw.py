"""Tests of drawing poses."""

import json

import cv2
import numpy as np
import pytest

from pose_backbones.cli import draw_results as compare
from pose_backbones.errors import DatasetError
from pose_backbones.visualization import draw

SKELETON = draw.Skeleton(('left_hand', 'right_hand', 'nose'), ((0, 2), (1, 2), (0, 1)))


def test_skeleton_from_coco():
    skeleton = draw.Skeleton.from_coco(dict(keypoints=['a', 'b'], skeleton=[[1, 2]]))
    assert skeleton.limbs == ((0, 1),)


def test_colours_by_side():
    assert SKELETON.colour(0) == SKELETON.colour(0, 2) == draw.LEFT
    assert SKELETON.colour(1, 2) == draw.RIGHT
    assert SKELETON.colour(0, 1) == SKELETON.colour(2) == draw.MIDDLE


def test_positions_of_points_and_limbs():
    image = np.full((200, 200, 3), 90, np.uint8)
    points = np.array([[20, 40], [180, 40], [100, 160]])
    draw.draw_pose(image, points, SKELETON, [True, True, False], [False, True, False], width=3)
    assert tuple(image[40, 20]) == draw.POINT  # visible: filled
    assert tuple(image[40, 180]) == (90, 90, 90)  # occluded: a ring
    edge = round(3 * draw.line_width(160, image.shape) * 0.81)
    assert abs(image[40 + edge, 180].astype(int) - draw.RIGHT).max() < 40
    assert tuple(image[40, 100]) == draw.MIDDLE  # between the hands
    limb = image[20:60, 100].astype(int)
    assert limb.min() < 40  # a dark rim
    assert len(np.unique(limb[:, 0])) > 3  # anti-aliased
    assert (image[120:] == 90).all()  # the nose and its limbs are not shown


def test_pose_of_another_skeleton_raises():
    with pytest.raises(ValueError, match=r'\(17, 2\): expected \(3, 2\)'):
        draw.draw_pose(np.zeros((9, 9, 3), np.uint8), np.zeros((17, 2)), SKELETON, [True] * 17)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((9, 9, 3), np.uint16), r'array of type uint16 .* \(9, 9, 3\)'),
        (np.zeros((9, 9), np.uint8), r'array of type uint8 .* \(9, 9\): expected'),
    ],
)
def test_unsupported_image_raises(image, message):
    with pytest.raises(ValueError, match=message):
        draw.draw_pose(image, np.zeros((3, 2)), SKELETON, [True] * 3)


def test_predictions_next_to_the_ground_truth(synthetic, tmp_path):
    truth = synthetic / 'annotations/person_keypoints_val.json'
    content = json.loads(truth.read_text())
    results = [
        dict(image_id=a['image_id'], keypoints=a['keypoints'], score=1.0)
        for a in content['annotations']
    ]
    (tmp_path / 'results.json').write_text(json.dumps(results))
    written = compare.compare(
        str(truth),
        str(synthetic / 'val'),
        str(tmp_path / 'results.json'),
        str(tmp_path / 'out'),
        count=3,
    )
    assert [p.name for p in written][-1] == 'overview.jpg'
    assert len(written) == 4
    names = {image['file_name'][:-4]: image for image in content['images']}
    for path in written[:-1]:
        image = names[path.stem]
        drawn = cv2.imread(str(path))
        assert drawn.shape[1] == 2 * image['width']
        left, right = np.split(drawn[compare._BAR :].astype(int), 2, axis=1)
        # Equal results have equal pixels, except for rings.
        assert (abs(left - right).max(2) > 60).mean() < 0.01


@pytest.mark.parametrize('name', ['ann_file', 'results'])
def test_missing_files_raise(synthetic, tmp_path, name):
    truth = str(synthetic / 'annotations/person_keypoints_val.json')
    files = dict(ann_file=truth, results=truth)
    files[name] = str(tmp_path / 'none.json')
    with pytest.raises(DatasetError, match='cannot read the .*none.json'):
        compare.compare(images=str(synthetic / 'val'), out_dir=str(tmp_path), **files)
