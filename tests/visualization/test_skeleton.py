"""Tests of drawing other keypoints than those of COCO."""

import json

import cv2
import numpy as np
import pytest

from pose_backbones.cli import draw_results as compare
from pose_backbones.errors import DatasetError
from pose_backbones.visualization import draw

CROWDPOSE = 'configs/_base_/datasets/crowdpose.py'  # a file of MMPose


@pytest.fixture
def write_dataset(tmp_path):
    """Write an image in a subdirectory with one lamp that has about three keypoints."""
    (tmp_path / 'images/a').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'images/a/1.png'), np.full((400, 400, 3), 90, np.uint8))

    def write(points=((80, 320), (80, 80), (320, 80)), **category):
        points = np.column_stack([points, [2] * len(points)]).ravel().tolist()
        content = dict(
            images=[dict(id=1, file_name='a/1.png')],
            annotations=[dict(id=1, image_id=1, keypoints=points)],
            categories=[dict(id=4, name='table'), dict(id=5, name='lamp', **category)],
        )
        (tmp_path / 'truth.json').write_text(json.dumps(content))
        result = dict(image_id=1, keypoints=points, score=1.0)
        (tmp_path / 'results.json').write_text(json.dumps([result]))
        return dict(
            ann_file=str(tmp_path / 'truth.json'),
            images=str(tmp_path / 'images'),
            results=str(tmp_path / 'results.json'),
            out_dir=str(tmp_path / 'out'),
        )

    return write


NAMES = ['foot', 'L joint', 'L bulb']


def test_limbs_and_sides_of_a_custom_dataset(write_dataset):
    """The annotations have no `num_keypoints`, like many custom files."""
    path, overview = compare.compare(**write_dataset(keypoints=NAMES, skeleton=[[1, 2]]))
    assert path.name == 'a_1.jpg'  # includes the name of the directory
    assert overview.name == 'overview.jpg'
    drawn = cv2.imread(str(path))[compare._BAR :].astype(int)
    for side in np.split(drawn, 2, axis=1):
        assert abs(side[200, 80] - draw.LEFT).max() < 40  # the limb
        assert abs(side[80, 200] - 90).max() < 20  # no limb here


def test_metainfo_overrides_the_category(write_dataset, tmp_path):
    (tmp_path / 'info.py').write_text(
        "dataset_info = dict(dataset_name='lamps', keypoint_info={"
        + ''.join(f'{k}: dict(name={name!r}, id={k}),' for k, name in enumerate(NAMES))
        + "}, skeleton_info={0: dict(link=('L joint', 'L bulb'))}, "
        'joint_weights=[1] * 3, sigmas=[.05] * 3)'
    )
    path, _ = compare.compare(**write_dataset(), metainfo=str(tmp_path / 'info.py'))
    drawn = cv2.imread(str(path))[compare._BAR :].astype(int)
    assert abs(drawn[80, 200] - draw.LEFT).max() < 40
    assert abs(drawn[200, 80] - 90).max() < 20


def test_crowdpose_uses_the_metainfo_of_mmpose(write_dataset):
    """CrowdPose's own files have COCO's skeleton with 14 keypoints."""
    names = [f'point {k}' for k in range(14)]
    category = dict(keypoints=names, skeleton=[[16, 14], [1, 2]])
    with pytest.raises(
        DatasetError,
        match=r"of 'lamp' has the limb \[16, 14"
        r'\], but there are 14 keypoints: .*--metainfo',
    ):
        compare.compare(**write_dataset(**category))
    with pytest.raises(DatasetError, match='annotation 1 has 9 numbers in keypoints: expected 42'):
        compare.compare(**write_dataset(**category), metainfo=CROWDPOSE)
    # The shoulders come first, left then right, with a limb between them.
    points = [(80, 80), (320, 80)] + [(200, 320)] * 12
    path, _ = compare.compare(**write_dataset(points, **category), metainfo=CROWDPOSE)
    drawn = cv2.imread(str(path))[compare._BAR :].astype(int)
    assert abs(drawn[80, 200] - draw.MIDDLE).max() < 40


def test_invalid_metainfo_file_raises(write_dataset, tmp_path):
    (tmp_path / 'info.py').write_text('something = 1')
    for name in ('info.py', 'none.py'):
        with pytest.raises(DatasetError, match=f'--metainfo .*{name} is no'):
            compare.compare(**write_dataset(keypoints=NAMES), metainfo=str(tmp_path / name))
