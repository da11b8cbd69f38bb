"""Tests of the conversion of results to the types and formats of other tools."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import supervision

from pose_backbones.errors import ConfigError
from tests.inference.test_pose_result import SKELETON, empty_result, result


def damaged():
    """Return a result whose first keypoint is missing, and whose last one is outside."""
    return result(
        keypoints=[
            [[np.nan, np.nan], [30, 100], [60, 100.25]],
            [[130, 20], [130, 100], [201, 100]],
        ],
        scores=[[np.nan, 0.8, 0.1], [0.7, 0.2, 0.5]],
        track_ids=[7, 9],
    )


def test_supervision():
    poses = damaged()
    keypoints, detections = poses.to_supervision()
    assert len(keypoints) == len(detections) == 2
    assert keypoints.visible.tolist() == [[False, True, True], [True, True, True]]
    np.testing.assert_array_equal(keypoints.xy[0, 0], 0)
    np.testing.assert_array_equal(
        keypoints.xy[keypoints.visible], poses.keypoints.reshape(6, 2)[1:]
    )
    np.testing.assert_array_equal(keypoints.keypoint_confidence[1], poses.scores[1])
    assert keypoints.keypoint_confidence[0, 0] == 0
    np.testing.assert_array_equal(keypoints.detection_confidence, [0.5, 1])
    assert keypoints.data['keypoint_names'][1] == list(SKELETON.names)
    np.testing.assert_array_equal(detections.xyxy, poses.boxes)
    assert detections.tracker_id.tolist() == [7, 9]
    assert detections[detections.confidence > 0.7].tracker_id.tolist() == [9]
    image = supervision.VertexAnnotator(radius=3).annotate(poses.image.copy(), keypoints)
    changed = (image != poses.image).any(-1)
    assert changed[100, 30]
    assert changed[20, 130]
    assert not changed[20, 30]


def test_supervision_without_people():
    keypoints, detections = empty_result().to_supervision()
    assert (len(keypoints), len(detections)) == (0, 0)


def test_fiftyone(monkeypatch: pytest.MonkeyPatch):
    """FiftyOne needs a database server, so that its classes are replaced by namespaces."""
    names = ('Keypoint', 'Keypoints', 'Detection', 'Detections')
    monkeypatch.setitem(
        sys.modules, 'fiftyone', SimpleNamespace(**dict.fromkeys(names, SimpleNamespace))
    )
    keypoints, detections = damaged().to_fiftyone()
    first, second = keypoints.keypoints
    assert (first.label, first.index, second.index) == ('person', 7, 9)
    assert np.isnan(first.points[0]).all()
    np.testing.assert_allclose(first.points[1], [0.15, 100 / 120])
    np.testing.assert_allclose(second.confidence, [0.7, 0.2, 0.5], atol=1e-6)
    first, second = detections.detections
    np.testing.assert_allclose(second.bounding_box, [0.6, 10 / 120, 0.25, 100 / 120])
    assert (second.label, second.confidence, second.index) == ('person', 1.0, 9)
    keypoints, detections = result().to_fiftyone()
    assert keypoints.keypoints[0].index is detections.detections[0].index is None


def test_yolo():
    """Positions are relative to the image, 200 x 120; scores below the threshold are 0.1, 0.2."""
    assert damaged().to_yolo().splitlines() == [
        '0 0.225000 0.500000 0.250000 0.833333 '
        '0.000000 0.000000 0 0.150000 0.833333 2 0.000000 0.000000 0',
        '0 0.725000 0.500000 0.250000 0.833333 '
        '0.650000 0.166667 2 0.000000 0.000000 0 0.000000 0.000000 0',
    ]
    second = result().to_yolo(threshold=0, class_id=3).splitlines()[1]
    assert second.startswith('3 0.725000')
    assert second.endswith('0.800000 0.833333 2')
    assert empty_result().to_yolo() == ''


@pytest.mark.parametrize(
    ('arguments', 'kind', 'message'),
    [
        (
            dict(threshold='a'),
            TypeError,
            "threshold is 'a': expected a finite number, the lowest score",
        ),
        (
            dict(threshold=np.nan),
            ValueError,
            'threshold is nan: expected a finite number, the lowest',
        ),
        (dict(class_id=1.5), TypeError, 'class_id is 1.5: expected an integer of at least 0'),
        (dict(class_id=-1), ValueError, 'class_id is -1: expected an integer of at least 0'),
    ],
)
def test_invalid_arguments_of_yolo(arguments: dict, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        empty_result().to_yolo(**arguments)


def test_yolo_takes_numpy_scalars():
    expected = result().to_yolo(threshold=0.5, class_id=2)
    assert result().to_yolo(threshold=np.float32(0.5), class_id=np.int64(2)) == expected


def test_boxes_of_yolo_end_at_the_image():
    text = result(boxes=[[-20, 10, 70, 110], [120, 10, 170, 130]]).to_yolo()
    first, second = (line.split()[1:5] for line in text.splitlines())
    assert first == ['0.175000', '0.500000', '0.350000', '0.833333']
    assert second == ['0.725000', '0.541667', '0.250000', '0.916667']


def test_boxes_of_yolo_that_are_not_finite_are_zero():
    text = result(boxes=[[20, np.nan, 70, 110], [120, 10, np.inf, 110]]).to_yolo()
    assert [line.split()[1:5] for line in text.splitlines()] == 2 * [4 * ['0.000000']]


@pytest.mark.parametrize('package', ['supervision', 'fiftyone'])
def test_package_is_missing(package: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f'{package} cannot be imported .* pip install {package}'):
        getattr(result(), f'to_{package}')()
