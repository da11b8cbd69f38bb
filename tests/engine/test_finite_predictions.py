"""Predictions that are NaN or infinite end a validation or a test, or are skipped in training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from pose_backbones.engine.finite_predictions import FinitePredictionsHook
from pose_backbones.engine.runner import PoseRunner
from pose_backbones.errors import TrainingError
from tests.helpers import noisy_runs
from tests.helpers.noisy_runs import NAN_PREDICTIONS, train_noisy
from tests.helpers.tools import run_together
from tests.helpers.toy_runs import toy_config


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
    with pytest.raises(TrainingError, match=f'predicts {field} that .* image images/7.jpg: check'):
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


def assert_metrics(work: Path) -> None:
    """The two coordinates of sample 5 are far away in the validation after four iterations."""
    metrics = logged(work)
    assert [metrics[step]['toy/growing'] for step in (2, 4, 6, 8)] == [2, 3, 4, 5]
    sums = [metrics[step]['toy/sum'] for step in (2, 4, 6, 8)]
    assert sums[1] == pytest.approx(-2e5, abs=100)
    assert max(abs(value) for index, value in enumerate(sums) if index != 1) < 100


def test_prediction_counts_as_wrong_with_skip(tmp_path):
    runner = train_noisy(tmp_path, **NAN_PREDICTIONS, non_finite='skip')
    assert runner.iter == 8
    assert_metrics(tmp_path)
    runner.model.norm.num_batches_tracked.fill_(4)
    with pytest.raises(TrainingError, match='predicts keypoints') as error:  # outside of training
        runner.val()
    assert '--resume' not in str(error.value)


def test_stopped_run_can_be_continued_with_skip(tmp_path):
    with pytest.raises(TrainingError, match='images/5.jpg.*--resume --non-finite skip'):
        train_noisy(tmp_path, **NAN_PREDICTIONS)
    assert (tmp_path / 'iter_4.pth').exists()
    runner = train_noisy(tmp_path, True, **NAN_PREDICTIONS, non_finite='skip')
    assert runner.iter == 8
    metrics = logged(tmp_path)
    assert sorted(metrics) == [2, 4, 6, 8]
    assert metrics[4]['toy/sum'] == pytest.approx(-2e5, abs=100)


def test_evaluator_is_restored(tmp_path):
    """Also if a validation was interrupted."""
    cfg = toy_config(tmp_path, **NAN_PREDICTIONS, non_finite='skip')
    runner = PoseRunner.from_cfg(cfg)
    evaluator = runner.val_loop.evaluator
    hook = next(hook for hook in runner.hooks if isinstance(hook, FinitePredictionsHook))
    hook.before_val(runner)
    assert runner.val_loop.evaluator is evaluator  # outside of training
    hook.before_train(runner)
    for _ in range(2):
        hook.before_val(runner)
        assert runner.val_loop.evaluator.evaluator is evaluator
    hook.after_val(runner)
    assert runner.val_loop.evaluator is evaluator


def test_prediction_of_another_process_is_logged(tmp_path):
    command = (noisy_runs.__file__, 'predictions', tmp_path)
    done = run_together(command, command)
    assert [process.returncode for process in done] == [0, 0], done
    messages = [line for line in done[0].stdout.splitlines() if 'count as wrong' in line]
    assert len(messages) == 1
    assert 'after iteration 4: NaN or infinite predictions for 1 of 12 samples' in messages[0]
    assert messages[0].endswith('keypoints of images/5.jpg')
    assert_metrics(tmp_path)
