"""The warning that MMPose's own descriptions are found where they are."""

import warnings

import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from pose_backbones._compat import metainfo


@pytest.fixture
def caught(tmp_path, monkeypatch):
    """Warnings, in a folder without configs."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        yield found


def parse(path: str) -> int:
    return parse_pose_metainfo(dict(from_file=path))['num_keypoints']


def test_what_mmpose_names_itself_is_no_news(caught):
    assert parse('configs/_base_/datasets/crowdpose.py') == 14
    assert len(caught) == 1
    metainfo.install()
    metainfo.install()
    assert parse('configs/_base_/datasets/crowdpose.py') == 14
    assert len(caught) == 1


def test_a_name_of_the_users_is_warned_of(caught):
    metainfo.install()
    assert parse('mine/coco.py') == 17
    assert 'The metainfo config file "mine/coco.py" does' in str(caught[0].message)
