"""`tools/make_dataset_info.py`, which writes a metainfo file for custom keypoints."""

from functools import partial

import numpy as np
import pytest

from pose_backbones.cli.make_dataset_info import main
from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.structures.metainfo import read_metainfo
from tests.helpers.custom_annotations import with_keypoints, with_value, without, write_annotations
from tests.helpers.tools import run_tool


@pytest.fixture
def write(tmp_path):
    """Return a function that writes annotations after an optional change, and returns the path."""
    return partial(write_annotations, tmp_path)


def test_metainfo_file_is_read_by_mmpose(write, tmp_path, capsys):
    names = ['L tip', 'R tip', "smith's"]
    path = write(with_value('categories', 'keypoints', names))
    out = tmp_path / 'new/lamps.py'
    main([path, str(out), '--name', 'lamps'])
    info = read_metainfo(out)
    assert info['dataset_name'] == 'lamps'
    assert list(info['keypoint_name2id']) == names
    assert info['flip_indices'] == [1, 0, 2]
    assert info['skeleton_links'] == [(0, 1), (1, 2)]
    assert info['dataset_keypoint_weights'].tolist() == [1, 1, 1]
    assert info['sigmas'] == pytest.approx([0.05] * 3)
    assert info['upper_body_ids'] == info['lower_body_ids'] == []
    output = capsys.readouterr().out
    assert 'train.json: 2 images, 3 objects' in output
    assert 'mirrored: L tip / R tip' in output
    assert 'out_channels' in output


def test_keypoint_without_partner_is_reported(write, tmp_path, capsys):
    path = write(with_value('categories', 'keypoints', ['left_a', 'b', 'c']))
    main([path, str(tmp_path / 'out.py')])
    output = capsys.readouterr().out
    assert 'mirrored: none' in output
    assert 'warning: flipping an image exchanges no keypoints' in output
    assert 'left_a is of the left, but there is no right_a' in output


def test_invalid_options_raise(write, tmp_path):
    train = write()
    out = tmp_path / 'out.py'
    with pytest.raises(ConfigError, match=r'out.txt: expected .* \.py'):
        main([train, str(tmp_path / 'out.txt')])
    with pytest.raises(ConfigError, match='--images: 2 folders for 1'):
        main([train, str(out), '--images', 'a', 'b'])
    reordered = write(
        lambda content: content['categories'][0].update(keypoints=['bulb', 'joint', 'foot']),
        'val.json',
    )
    with pytest.raises(
        DatasetError, match='val.json has the keypoints bulb, joint, foot: expected .*order: foot'
    ):
        main([train, reordered, str(out)])
    assert not out.exists()
    out.write_text('mine')
    with pytest.raises(WorkDirError, match='out.py already exists'):
        main([train, str(out)])
    assert out.read_text() == 'mine'
    main([train, str(out), '--overwrite'])
    assert 'dataset_info' in out.read_text()


def test_tool_prints_one_line_for_an_error(write, tmp_path):
    process = run_tool(
        'make_dataset_info.py', write(without('images', 'height')), tmp_path / 'out.py'
    )
    assert process.returncode == 2
    assert process.stdout.startswith('error: ')
    assert 'no height' in process.stdout
    assert 'Traceback' not in process.stdout


def test_second_labels_determine_the_sigmas(write, tmp_path):
    points = np.tile([[40.0, 40, 2], [80, 80, 2], [20, 90, 2]], (12, 1, 1))
    first = write(lambda content: with_keypoints(points, [100.0] * 12))
    points[..., 0] += 1
    second = write(lambda content: with_keypoints(points, [100.0] * 12), 'two.json')
    out = tmp_path / 'out.py'
    main([first, str(out), '--second-labels', second])
    info = read_metainfo(out)
    # The labels differ by one pixel, on objects of 10 x 10 pixels: 1 / sqrt(2) / 10.
    assert info['sigmas'] == pytest.approx([0.0707] * 3)
    assert 'measured on 12 objects' in out.read_text()


def test_second_labels_that_are_the_first_raise(write, tmp_path):
    points = np.tile([[40.0, 40, 2], [80, 80, 2], [20, 90, 2]], (12, 1, 1))
    first = write(lambda content: with_keypoints(points, [100.0] * 12))
    out = tmp_path / 'out.py'
    with pytest.raises(DatasetError, match='the labels of the keypoint .* are identical in'):
        main([first, str(out), '--second-labels', first])
    assert not out.exists()
