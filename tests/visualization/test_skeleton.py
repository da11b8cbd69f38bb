"""Drawing results of other key points than COCO's."""

import json

import cv2
import numpy as np
import pytest

from pose_backbones.cli import draw_results as compare
from pose_backbones.errors import DatasetError
from pose_backbones.visualization import draw

CROWDPOSE = 'configs/_base_/datasets/crowdpose.py'  # MMPose has it


@pytest.fixture
def lamps(tmp_path):
    """An image in a sub-folder with one lamp, of three key points or so."""
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


def test_limbs_and_sides_are_the_data_sets_own(lamps):
    """Also where nobody counted the key points, as in most own files."""
    picture, overview = compare.compare(**lamps(keypoints=NAMES, skeleton=[[1, 2]]))
    assert picture.name == 'a_1.jpg'  # of its folder, too
    assert overview.name == 'overview.jpg'
    drawn = cv2.imread(str(picture))[compare._BAR :].astype(int)
    for side in np.split(drawn, 2, axis=1):
        assert abs(side[200, 80] - draw.LEFT).max() < 40  # the limb
        assert abs(side[80, 200] - 90).max() < 20  # here is none


def test_a_description_takes_the_place_of_the_category(lamps, tmp_path):
    (tmp_path / 'info.py').write_text(
        "dataset_info = dict(dataset_name='lamps', keypoint_info={"
        + ''.join(f'{k}: dict(name={name!r}, id={k}),' for k, name in enumerate(NAMES))
        + "}, skeleton_info={0: dict(link=('L joint', 'L bulb'))}, "
        'joint_weights=[1] * 3, sigmas=[.05] * 3)'
    )
    picture, _ = compare.compare(**lamps(), metainfo=str(tmp_path / 'info.py'))
    drawn = cv2.imread(str(picture))[compare._BAR :].astype(int)
    assert abs(drawn[80, 200] - draw.LEFT).max() < 40
    assert abs(drawn[200, 80] - 90).max() < 20


def test_crowdpose_is_drawn_by_the_hosts_description(lamps):
    """Its own files have COCO's skeleton with 14 key points."""
    names = [f'point {k}' for k in range(14)]
    wrong = dict(keypoints=names, skeleton=[[16, 14], [1, 2]])
    with pytest.raises(
        DatasetError,
        match=r"of 'lamp' has the limb \[16, 14"
        r'\], but there are 14 keypoints: .*--metainfo',
    ):
        compare.compare(**lamps(**wrong))
    with pytest.raises(DatasetError, match='annotation 1 has 9 numbers in keypoints: expected 42'):
        compare.compare(**lamps(**wrong), metainfo=CROWDPOSE)
    # Its shoulders come first: left, then right; there is a limb between.
    points = [(80, 80), (320, 80)] + [(200, 320)] * 12
    picture, _ = compare.compare(**lamps(points, **wrong), metainfo=CROWDPOSE)
    drawn = cv2.imread(str(picture))[compare._BAR :].astype(int)
    assert abs(drawn[80, 200] - draw.MIDDLE).max() < 40


def test_a_file_that_is_no_description(lamps, tmp_path):
    (tmp_path / 'info.py').write_text('something = 1')
    for name in ('info.py', 'none.py'):
        with pytest.raises(DatasetError, match=f'--metainfo .*{name} is no'):
            compare.compare(**lamps(keypoints=NAMES), metainfo=str(tmp_path / name))
