"""PCKh compared with manual computation and MMPose's metric, and the file of predictions."""

import numpy as np
import pytest
from mmpose.registry import METRICS
from scipy.io import loadmat

from pose_backbones.evaluation.mpii import MpiiPCKh, pckh_table


def sample(number, predicted, truth, labelled=None, head=10.0):
    labelled = np.ones(16) if labelled is None else labelled
    return dict(
        id=number,
        pred_instances=dict(keypoints=np.asarray(predicted, float)[None]),
        gt_instances=dict(
            keypoints=np.asarray(truth, float)[None],
            keypoints_visible=np.asarray(labelled)[None],
            head_size=np.full((1, 1), head),
        ),
    )


def test_table_matches_manual_computation():
    """The distances of four people are chosen so that the rate of each joint is known."""
    distances = np.ones((4, 16))
    distances[:3, 9] = 0.5  # the head, at exactly the threshold
    distances[0, 13] = 0.2  # left shoulder: 1 of 4 correct, right shoulder: 3 of 4
    distances[:3, 12] = 0.1
    distances[:, [6, 7]] = 0  # pelvis and thorax do not count
    labelled = np.ones((4, 16), bool)
    labelled[:, [10, 15]] = False  # no labelled wrists
    labelled[1:, 5] = False  # one left ankle, which is correct; four right ankles, all wrong
    distances[0, 5] = 0.05
    table = pckh_table(distances, labelled)
    assert list(table) == [
        'Head',
        'Shoulder',
        'Elbow',
        'Wrist',
        'Hip',
        'Knee',
        'Ankle',
        'Mean',
        'Mean@0.1',
    ]
    assert table['Head'] == 75
    assert table['Shoulder'] == 50
    assert table['Elbow'] == table['Hip'] == table['Knee'] == 0
    assert np.isnan(table['Wrist'])
    assert table['Ankle'] == 50
    counted = 11 * 4 + 1
    assert table['Mean'] == pytest.approx(100 * (3 + 1 + 3 + 1) / counted)
    assert table['Mean@0.1'] == pytest.approx(100 * (3 + 1) / counted)
    assert pckh_table(distances, labelled, 0.15)['Shoulder'] == 37.5
    # A side without labels does not change the mean of both sides.
    labelled[:, 13] = False
    assert pckh_table(distances, labelled)['Shoulder'] == 75


def test_distances_are_in_head_sizes():
    truth = np.full((16, 2), 50.0)
    metric = MpiiPCKh()
    metric.process(
        [],
        [sample(0, truth + [3, 4], truth, head=10.01), sample(1, truth + [3, 4], truth, head=9.99)],
    )
    figures = metric.evaluate(2)
    assert figures['PCKh/Mean'] == figures['PCKh/Knee'] == 50


def test_unlabelled_joints_are_not_counted():
    truth = np.full((16, 2), 50.0)
    labelled = np.arange(16) != 9
    predicted = truth + 40 * ~labelled[:, None]
    metric = MpiiPCKh(prefix='custom')
    metric.process([], [sample(0, predicted, truth, labelled)])
    figures = metric.evaluate(1)
    assert figures['custom/Mean'] == 100
    assert np.isnan(figures['custom/Head'])


def test_repeated_samples_are_counted_once(tmp_path):
    """Distributed samplers repeat samples to fill the last batch."""
    truth = np.full((16, 2), 50.0)
    out = tmp_path / 'pred.mat'
    metric = MpiiPCKh(outfile=str(out))
    for number in (2, 0, 1, 2):
        metric.process([], [sample(number, truth + number * 5.5, truth)])
    figures = metric.compute_metrics(metric.results)
    assert figures['Mean'] == pytest.approx(100 / 3)
    preds = loadmat(out)['preds']
    assert preds.shape == (3, 16, 2)
    # The predictions are in the order of the ids, in pixels that count from 1.
    np.testing.assert_allclose(preds[:, 4], [[51, 51], [56.5, 56.5], [62, 62]])


def test_format_only_needs_no_ground_truth(tmp_path):
    out = tmp_path / 'pred.mat'
    metric = MpiiPCKh(format_only=True, outfile=str(out))
    points = np.arange(32.0).reshape(16, 2)
    metric.process(
        [], [dict(id=0, pred_instances=dict(keypoints=points[None]), gt_instances=dict())]
    )
    assert metric.evaluate(1) == {}
    np.testing.assert_array_equal(loadmat(out)['preds'][0], points + 1)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(thr=0), 'thr=0: expected a positive'),
        (dict(outfile='pred.json'), "outfile='pred.json': expected .* .mat"),
        (dict(format_only=True), 'format_only=True needs outfile'),
    ],
)
def test_invalid_settings_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        MpiiPCKh(**settings)


def test_missing_head_size_raises():
    metric = MpiiPCKh()
    person = sample(3, np.zeros((16, 2)), np.zeros((16, 2)))
    del person['gt_instances']['head_size']
    with pytest.raises(ValueError, match='person 3 has no head_size'):
        metric.process([], [person])


@pytest.mark.parametrize('thr', [0.5, 0.2])
def test_metrics_match_mmpose(thr):
    """Pixels count from 1 in MMPose's metric. About a third of the joints are unlabelled."""
    rng = np.random.default_rng(0)
    metric = MpiiPCKh(thr=thr)
    mmpose_metric = METRICS.build(dict(type='MpiiPCKAccuracy', thr=thr))
    count = 200
    for number in range(count):
        size = rng.uniform(10, 90)
        truth = rng.uniform(0, 600, (16, 2))
        predicted = truth + rng.normal(0, size * rng.exponential(0.4), (16, 2))
        person = sample(number, predicted, truth, rng.random(16) > 0.3, size)
        metric.process([], [person])
        person['gt_instances']['keypoints'] += 1
        mmpose_metric.process([], [person])
    figures, expected_figures = metric.evaluate(count), mmpose_metric.evaluate(count)
    assert len(figures) == len(expected_figures) == 9
    renamed = {'Mean': 'PCK', 'Mean@0.1': 'PCK@0.1'}
    expected = {
        f'PCKh/{name}': expected_figures[renamed.get(name, f'{name} PCK')]
        for name in (key.removeprefix('PCKh/') for key in figures)
    }
    assert figures == pytest.approx(expected, abs=1e-4)
    assert 10 < figures['PCKh/Mean@0.1'] < figures['PCKh/Mean'] < 90
