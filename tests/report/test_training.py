"""Tests of reading and plotting training logs."""

import json
import math

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes

from pose_backbones.errors import DatasetError, WorkDirError
from pose_backbones.report.training import plot_training, read_scalars


def _log(work_dir, start, entries):
    folder = work_dir / start / 'vis_data'
    folder.mkdir(parents=True)
    folder.joinpath('scalars.json').write_text('\n'.join(json.dumps(entry) for entry in entries))


def test_resumed_runs_are_merged(tmp_path):
    _log(
        tmp_path,
        '20240101_000000',
        [
            dict(step=10, loss=3.0, lr=0.1),
            dict(step=20, loss=9.0, lr=0.1),
            {'step': 20, 'coco/AP': 0.1},
        ],
    )
    _log(
        tmp_path,
        '20240101_000500',
        [
            dict(step=20, loss=2.0, lr=0.1),
            dict(step=30, loss=1.0, lr=0.1),
            {'step': 30, 'coco/AP': 0.4},
        ],
    )
    training, evaluation = read_scalars(str(tmp_path))
    assert [(e['step'], e['loss']) for e in training] == [(10, 3.0), (20, 2.0), (30, 1.0)]
    assert [(e['step'], e['coco/AP']) for e in evaluation] == [(20, 0.1), (30, 0.4)]
    out = tmp_path / 'new' / 'curves.png'
    plot_training(str(tmp_path), str(out))
    image = cv2.imread(str(out))
    assert image.shape == (480, 840, 3)
    # the loss has matplotlib's blue
    assert (abs(image.astype(int) - (180, 119, 31)).sum(2) < 9).sum() > 50


def test_directory_without_logs_raises(tmp_path):
    with pytest.raises(DatasetError, match='no training log under'):
        plot_training(str(tmp_path), str(tmp_path / 'x.png'))


def test_missing_and_invalid_values_are_gaps(tmp_path, monkeypatch):
    drawn = []
    plot = Axes.plot
    monkeypatch.setattr(
        Axes,
        'plot',
        lambda self, *args, **more: (
            drawn.append([list(line) for line in args if not isinstance(line, str)]),
            plot(self, *args, **more),
        )[1],
    )
    _log(
        tmp_path,
        '1',
        [
            dict(step=1, loss=3.0, acc_pose=0.5),
            dict(step=2, loss=math.inf),
            dict(step=3, loss=1e300, acc_pose=math.nan),
            dict(step=4, loss=1.0, acc_pose=0.7),
            {'step': 4, 'coco/AP': math.nan},
            {'step': 3, 'coco/AP': 0.25},
        ],
    )
    plot_training(str(tmp_path), str(tmp_path / 'x.png'))
    expected = [
        [[1, 2, 3, 4], [3, math.nan, math.nan, 1]],
        [[1, 2, 3, 4], [0.5, math.nan, math.nan, 0.7]],
        [[3], [0.25]],
    ]
    assert len(drawn) == len(expected)
    for line, expected_line in zip(drawn, expected):
        np.testing.assert_array_equal(line, expected_line)


@pytest.mark.parametrize(
    'entry',
    [
        dict(step=10**400, loss=1),
        dict(step=1, loss=10**400),
        dict(step=math.nan, loss=1),
        dict(step=True, loss=1),
        {'step': 1, 'coco/AR': -(10**400)},
    ],
)
def test_values_that_cannot_be_plotted_raise(tmp_path, entry):
    _log(tmp_path, '1', [dict(step=1, loss=1), entry])
    with pytest.raises(DatasetError, match='scalars.json has the line'):
        plot_training(str(tmp_path), str(tmp_path / 'x.png'))


def test_invalid_figure_path_raises(tmp_path):
    _log(tmp_path, '1', [dict(step=1, loss=1)])
    with pytest.raises(WorkDirError, match='cannot be written: its name'):
        plot_training(str(tmp_path), f'{tmp_path}/a\0.png')
