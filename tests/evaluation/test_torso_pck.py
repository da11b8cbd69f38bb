"""PCK by the size of the torso, compared with manual computation."""

import numpy as np
import pytest

from pose_backbones.errors import ConfigError
from pose_backbones.evaluation.pck import TorsoPCK
from pose_backbones.registry import METRICS

NAMES = ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip', 'head')
TRUTH = np.array([[0, 0], [60, 0], [0, 80], [60, 80], [30, -20]], float)  # torso: 100 pixels


def metric(**options) -> TorsoPCK:
    built = METRICS.build(dict(type='pose_backbones.TorsoPCK', **options))
    built.dataset_meta = dict(keypoint_id2name=dict(enumerate(NAMES)))
    return built


def sample(number: int, offsets: list[float], visible=(1, 1, 1, 1, 1), scale=1.0) -> dict:
    predicted = scale * TRUTH + np.stack([offsets, np.zeros(5)], axis=1)
    return dict(
        id=number,
        pred_instances=dict(keypoints=predicted[None]),
        gt_instances=dict(
            keypoints=scale * TRUTH[None], keypoints_visible=np.array(visible, float)[None]
        ),
    )


def test_percentages_match_manual_computation() -> None:
    pck = metric()
    samples = [
        sample(1, [20, 20.5, 0, 0, 0]),  # exactly at the threshold, and beyond it
        sample(2, [9, 0, 0, 11, 11], scale=0.5),
        sample(3, [0, 0, 0, 0, 50], visible=(1, 1, 1, 1, 0)),
        # The other diagonal is labelled.
        sample(4, [0, 0, 0, 0, 21], visible=(0, 1, 1, 0, 1)),
        # No diagonal is labelled.
        sample(5, [0, 0, 0, 0, 0], visible=(1, 1, 0, 0, 1)),
        sample(2, [9, 0, 0, 11, 11], scale=0.5),  # repeated, for another process
    ]
    pck.process({}, samples)
    results = pck.compute_metrics(pck.results)
    assert results['left_shoulder'] == 100
    assert results['right_shoulder'] == 75
    assert results['left_hip'] == 100
    assert results['right_hip'] == pytest.approx(200 / 3)
    assert results['head'] == pytest.approx(100 / 3)
    correct, labelled = 3 + 3 + 4 + 2 + 1, 3 + 4 + 4 + 3 + 3
    assert results['PCK'] == pytest.approx(100 * correct / labelled)
    assert results['mean'] == pytest.approx((100 + 75 + 100 + 200 / 3 + 100 / 3) / 5)
    assert TorsoPCK(thr=0.3).thr == 0.3


def test_a_keypoint_without_labels_is_nan_and_not_in_the_mean() -> None:
    pck = metric()
    pck.process({}, [sample(1, [0, 30, 0, 0, 0], visible=(1, 1, 1, 1, 0))])
    results = pck.compute_metrics(pck.results)
    assert np.isnan(results['head'])
    assert results['mean'] == results['PCK'] == 75


def test_people_with_the_same_id_in_several_datasets() -> None:
    """Annotations of merged datasets are numbered within each of them."""
    pck = metric()
    people = [
        dict(sample(1, [0] * 5), img_path='a.jpg'),
        dict(sample(1, [30] * 5), img_path='b.jpg'),
    ]
    pck.process({}, [*people, people[0]])
    assert pck.compute_metrics(pck.results)['PCK'] == 50


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(thr=0), 'thr=0: expected a positive number'),
        (dict(torso=[]), r'torso=\[\]: expected pairs'),
        (dict(torso=('left_shoulder', 'right_hip')), 'torso=.*: expected pairs'),
        (dict(torso=[('neck', 'left_hip')]), "no keypoint 'neck': expected two of left_shoulder"),
    ],
)
def test_wrong_arguments(options: dict, message: str) -> None:
    """They raise an error before the run, when the metainfo of the dataset is set."""
    with pytest.raises(ValueError, match=message):
        metric(**options)


def test_samples_of_bottom_up_models() -> None:
    people = dict(sample(1, [0] * 5), id=[1, 2])
    with pytest.raises(ConfigError, match=r'top-down models, but a sample has the people \[1, 2\]'):
        metric().process({}, [people])
