"""`tools/make_dataset_info.py`: a dataset description for own keypoints."""

from functools import partial

import numpy as np
import pytest

from pose_backbones.cli.make_dataset_info import main
from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.structures.metainfo import read_metainfo
from tests.helpers.lamps import labelled, lack, put, write_lamps
from tests.helpers.tools import run_tool


@pytest.fixture
def write(tmp_path):
    """Write annotations, changed by a function; returns the path."""
    return partial(write_lamps, tmp_path)


def test_the_description_is_the_hosts(write, tmp_path, capsys):
    names = ['L tip', 'R tip', "smith's"]
    path = write(put('categories', 'keypoints', names))
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
    printed = capsys.readouterr().out
    assert 'train.json: 2 images, 3 objects' in printed
    assert 'mirrored: L tip / R tip' in printed
    assert 'out_channels' in printed


def test_what_has_no_partner_is_said(write, tmp_path, capsys):
    path = write(put('categories', 'keypoints', ['left_a', 'b', 'c']))
    main([path, str(tmp_path / 'out.py')])
    printed = capsys.readouterr().out
    assert 'mirrored: none' in printed
    assert 'left_a is of the left, but there is no right_a' in printed


def test_options_that_do_not_fit(write, tmp_path):
    train = write()
    out = tmp_path / 'out.py'
    with pytest.raises(ConfigError, match=r'out.txt: expected .* \.py'):
        main([train, str(tmp_path / 'out.txt')])
    with pytest.raises(ConfigError, match='--images: 2 folders for 1'):
        main([train, str(out), '--images', 'a', 'b'])
    turned = write(
        lambda content: content['categories'][0].update(keypoints=['bulb', 'joint', 'foot']),
        'val.json',
    )
    with pytest.raises(
        DatasetError, match='val.json has the keypoints bulb, joint, foot: expected .*order: foot'
    ):
        main([train, turned, str(out)])
    assert not out.exists()
    out.write_text('mine')
    with pytest.raises(WorkDirError, match='out.py already exists'):
        main([train, str(out)])
    assert out.read_text() == 'mine'
    main([train, str(out), '--overwrite'])
    assert 'dataset_info' in out.read_text()


def test_the_tool_says_it_in_one_line(write, tmp_path):
    done = run_tool('make_dataset_info.py', write(lack('images', 'height')), tmp_path / 'out.py')
    assert done.returncode == 2
    assert done.stdout.startswith('error: ')
    assert 'no height' in done.stdout
    assert 'Traceback' not in done.stdout


def test_second_labels_of_the_tool(write, tmp_path):
    points = np.tile([[40.0, 40, 2], [80, 80, 2], [20, 90, 2]], (12, 1, 1))
    first = write(lambda content: labelled(points, [100.0] * 12))
    points[..., 0] += 1
    second = write(lambda content: labelled(points, [100.0] * 12), 'two.json')
    out = tmp_path / 'out.py'
    main([first, str(out), '--second-labels', second])
    info = read_metainfo(out)
    # One pixel apart on objects of 10 x 10: 1 / sqrt(2) / 10.
    assert info['sigmas'] == pytest.approx([0.0707] * 3)
    assert 'measured on 12 objects' in out.read_text()
