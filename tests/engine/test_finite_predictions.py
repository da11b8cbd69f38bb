"""Predictions that are NaN or infinite end a validation or a test."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from pose_backbones.engine.finite_predictions import FinitePredictionsHook
from pose_backbones.errors import TrainingError


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
