"""Predictions that are NaN or infinite end a validation or a test, or are skipped in training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from pose_backbones.engine.finite_predictions import FinitePredictionsHook
from pose_backbones.errors import TrainingError
from tests.helpers import noisy_runs
from tests.helpers.noisy_runs import NAN_PREDICTIONS, train_noisy
from tests.helpers.tools import run_together


def sample(**fields) -> PoseDataSample:
    predicted = dict(keypoints=np.zeros((1, 17, 2)), keypoint_scores=np.ones((1, 17)))
    instances = InstanceData(**{**predicted, **fields})
    return PoseDataSample(pred_instances=instances, metainfo=dict(img_path='images/7.jpg'))


@pytest.mark.parametrize('stage', ['after_val_iter', 'after_test_iter'])
@pytest.mark.parametrize(
    ('field', 'values'),
    [
        ('keypoints', np.full((1, 17, 2), np.nan)),
        ('keypoint_scores', np.full((1, 17), np.inf)),
        ('bboxes', torch.tensor([[0, 0, float('nan'), 1]])),
    ],
)
def test_non_finite_predictions_raise(stage, field, values):
    check = getattr(FinitePredictionsHook(), stage)
    check(None, 0, None, [sample()])
    with pytest.raises(
        TrainingError, match=f'predicts {field} that .* image images/7.jpg: .* lower learning rate'
    ):
        check(None, 0, None, [sample(), sample(**{field: values})])


def test_outputs_of_training_are_not_checked():
    FinitePredictionsHook().after_train_iter(None, 0, None, dict(loss=float('nan')))


def logged(work: Path) -> dict[int, dict]:
    """Return the metrics of each validation, by iteration."""
    lines = [
        json.loads(line)
        for file in sorted(work.glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()
    ]
    metrics = [{key: entry[key] for key in entry if key.startswith('toy/')} for entry in lines]
    return {
        entry['step']: values
        for entry, values in zip(lines, metrics, strict=True)
        if 'loss' not in entry
    }


def test_skipped_validation_has_no_metrics(tmp_path):
    """Neither its own nor those of the validation before."""
    runner = train_noisy(tmp_path, **NAN_PREDICTIONS, non_finite='skip')
    assert runner.iter == 8
    metrics = logged(tmp_path)
    assert [metrics[step].get('toy/growing') for step in (2, 4, 6, 8)] == [2, None, 3, 4]
    assert 'toy/sum' not in metrics[4]
    runner.model.norm.num_batches_tracked.fill_(4)
    with pytest.raises(TrainingError, match='predicts keypoints'):  # outside of training
        runner.val()


def test_stopped_validation_can_be_skipped_after_resuming(tmp_path):
    with pytest.raises(TrainingError, match='images/5.jpg.*--resume --non-finite skip'):
        train_noisy(tmp_path, **NAN_PREDICTIONS)
    assert (tmp_path / 'iter_4.pth').exists()
    runner = train_noisy(tmp_path, True, **NAN_PREDICTIONS, non_finite='skip')
    assert runner.iter == 8
    assert sorted(step for step, values in logged(tmp_path).items() if values) == [2, 6, 8]


def test_validation_is_skipped_if_a_process_predicts_nan(tmp_path):
    command = (noisy_runs.__file__, 'predictions', tmp_path)
    done = run_together(command, command)
    assert [process.returncode for process in done] == [0, 0], done
    # The first process logs the problem of the second.
    messages = [line for line in done[0].stdout.splitlines() if 'validation has no metrics' in line]
    assert len(messages) == 1
    assert 'images/5.jpg' in messages[0]
    assert sorted(step for step, values in logged(tmp_path).items() if values) == [2, 6, 8]
