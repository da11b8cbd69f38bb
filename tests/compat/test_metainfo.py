"""Tests that only MMPose's warning about its own dataset descriptions is ignored."""

import warnings

import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from pose_backbones._compat import metainfo


@pytest.fixture
def recorded_warnings(tmp_path, monkeypatch):
    """Record warnings in a directory without configs."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter('always')
        yield recorded


def parse_num_keypoints(path: str) -> int:
    return parse_pose_metainfo(dict(from_file=path))['num_keypoints']


def test_warning_about_shipped_description_is_ignored(recorded_warnings):
    assert parse_num_keypoints('configs/_base_/datasets/crowdpose.py') == 14
    assert len(recorded_warnings) == 1
    metainfo.install()
    metainfo.install()
    assert parse_num_keypoints('configs/_base_/datasets/crowdpose.py') == 14
    assert len(recorded_warnings) == 1


def test_warning_about_user_path_is_kept(recorded_warnings):
    metainfo.install()
    assert parse_num_keypoints('user/coco.py') == 17
    assert 'The metainfo config file "user/coco.py" does' in str(recorded_warnings[0].message)
