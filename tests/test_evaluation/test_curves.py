"""Curves of training runs."""

import json

import cv2
import pytest

from pose_backbones.evaluation.curves import plot_training, read_scalars
from pose_backbones.utils.errors import DatasetError


def _log(work_dir, start, entries):
    folder = work_dir / start / 'vis_data'
    folder.mkdir(parents=True)
    folder.joinpath('scalars.json').write_text(
        '\n'.join(json.dumps(entry) for entry in entries))


def test_a_resumed_run_reads_as_one(tmp_path):
    _log(tmp_path, '20240101_000000', [
        dict(step=10, loss=3., lr=.1), dict(step=20, loss=9., lr=.1),
        {'step': 20, 'coco/AP': .1}])
    _log(tmp_path, '20240101_000500', [
        dict(step=20, loss=2., lr=.1), dict(step=30, loss=1., lr=.1),
        {'step': 30, 'coco/AP': .4}])
    training, evaluation = read_scalars(str(tmp_path))
    assert [(e['step'], e['loss']) for e in training] == [
        (10, 3.), (20, 2.), (30, 1.)]
    assert [(e['step'], e['coco/AP']) for e in evaluation] == [
        (20, .1), (30, .4)]
    out = tmp_path / 'new' / 'curves.png'
    plot_training(str(tmp_path), str(out))
    picture = cv2.imread(str(out))
    assert picture.shape == (480, 840, 3)
    # matplotlib's blue of the loss is there
    assert (abs(picture.astype(int) - (180, 119, 31)).sum(2) < 9).sum() > 50


def test_a_folder_without_logs(tmp_path):
    with pytest.raises(DatasetError, match='no training log under'):
        plot_training(str(tmp_path), str(tmp_path / 'x.png'))
