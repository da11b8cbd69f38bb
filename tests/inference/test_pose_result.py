"""Tests of `PoseResult`: drawing, and conversion to JSON and COCO's format."""

import json

import numpy as np
import pytest
from mmpose.evaluation.metrics import CocoMetric

from pose_backbones.inference.pose_result import PoseResult
from pose_backbones.visualization import draw
from pose_backbones.visualization.labels import identity_colour

SKELETON = draw.Skeleton(('nose', 'left_hand', 'right_hand'), ((0, 1), (0, 2)))


def result(**changes):
    """Return a result with two people in an image of 200 x 120 pixels."""
    fields = dict(
        keypoints=[[[30, 20], [30, 100], [60, 100.25]], [[130, 20], [130, 100], [160, 100]]],
        scores=[[0.9, 0.8, 0.1], [0.7, 0.2, 0.5]],
        boxes=[[20, 10, 70, 110], [120, 10, 170, 110]],
        box_scores=[0.5, 1],
        skeleton=SKELETON,
        size=(200, 120),
        name='a/b.jpg',
        index=4,
        image_id=17,
        image=np.full((120, 200, 3), 80, np.uint8),
    )
    return PoseResult(**{**fields, **changes})


def empty_result(**changes):
    return result(keypoints=[], scores=[], boxes=[], box_scores=[], **changes)


def test_result_repr_and_names():
    poses = result(track_ids=[7, 9])
    assert len(poses) == 2
    assert poses.names == SKELETON.names
    assert poses.scores.dtype == poses.boxes.dtype == np.float32
    assert poses.track_ids.tolist() == [7, 9]
    assert repr(poses) == ("PoseResult('a/b.jpg', 200 x 120 pixels, people: 2, keypoints: 3)")


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        (
            'scores',
            np.zeros((2, 4)),
            r'scores of a/b.jpg has the shape \(2, 4\): '
            r'expected \(2, 3\), for 2 people with 3 keypoints',
        ),
        ('keypoints', np.zeros((2, 3, 3)), r'\(2, 3, 3\): expected \(2, 3, 2\)'),
        ('boxes', np.zeros((1, 4)), r'boxes .* \(1, 4\): expected \(2, 4\)'),
        ('box_scores', 1.0, r'box_scores .* \(\): expected \(2,\)'),
        ('visible', np.zeros(2), r'visible .* \(2,\): expected \(2, 3\)'),
        ('track_ids', [1, 2, 3], r'track_ids .* \(3,\): expected \(2,\)'),
    ],
)
def test_mismatched_shapes_raise(field, value, message):
    with pytest.raises(ValueError, match=message):
        result(**{field: value})


def test_to_dict():
    poses = result(
        track_ids=np.array([7, 9]), time=0.5, frame=12, visible=[[1, 0.25, 0], [1, 1, 1]]
    ).to_dict()
    people = poses.pop('people')
    assert poses == dict(
        name='a/b.jpg',
        index=4,
        image_id=17,
        width=200,
        height=120,
        time=0.5,
        frame=12,
        keypoint_names=['nose', 'left_hand', 'right_hand'],
        skeleton=[[0, 1], [0, 2]],
    )
    assert people[0] == dict(
        keypoints=[[30, 20], [30, 100], [60, 100.25]],
        scores=[0.9, 0.8, 0.1],
        box=[20, 10, 70, 110],
        box_score=0.5,
        track_id=7,
        visible=[1, 0.25, 0],
    )
    assert [person['track_id'] for person in people] == [7, 9]
    bare = result().to_dict()
    assert not {'time', 'frame'} & set(bare)
    assert set(bare['people'][0]) == {'keypoints', 'scores', 'box', 'box_score'}


def test_to_dict_is_exact_and_json_serializable():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 300, (2, 3, 2)).astype(np.float32)
    values[0, 1] = np.nan, np.inf
    poses = result(keypoints=values, scores=np.full((2, 3), np.nan), image_id=np.int64(17))
    text = json.dumps(poses.to_dict(), allow_nan=False)
    read = json.loads(text)
    assert read == poses.to_dict()
    assert read['people'][0]['keypoints'][1] == [None, None]
    assert read['people'][1]['scores'] == [None] * 3
    back = np.array([person['keypoints'] for person in read['people']], np.float32)
    np.testing.assert_array_equal(back, np.where(np.isfinite(values), values, np.nan))
    assert json.loads(json.dumps(poses.to_coco(), allow_nan=False)) == poses.to_coco()


def test_to_coco():
    first, second = result().to_coco()
    assert first.pop('score') == pytest.approx(0.5 * (0.9 + 0.8) / 2)
    assert first == dict(
        image_id=17,
        category_id=1,
        bbox=[20, 10, 50, 100],
        keypoints=[30, 20, 0.9, 30, 100, 0.8, 60, 100.25, 0.1],
    )
    # In float32, 0.2 is a little more than 0.2, so it counts, as in MMPose.
    assert second['score'] == pytest.approx((0.7 + 0.2 + 0.5) / 3)
    other = result(image_id='a/b').to_coco(category_id=3)[0]
    assert (other['image_id'], other['category_id']) == ('a/b', 3)


def test_to_coco_replaces_nonfinite_values():
    points = result().keypoints
    points[0, 0, 1] = np.nan
    poses = result(
        keypoints=points, boxes=[[np.nan] * 4, [np.inf, 0, np.inf, 9]], box_scores=[1, np.nan]
    )
    with np.errstate(all='raise'):
        first, second = poses.to_coco()
        poses.draw(boxes=True, ids=True)
    assert first['keypoints'][:6] == [0, 0, 0, 30, 100, 0.8]
    assert first['score'] == pytest.approx(0.8)  # mean of the remaining keypoints
    assert first['bbox'] == second['bbox'] == [0] * 4
    assert second['score'] == 0


def test_score_counts_keypoints_from_the_threshold():
    """The float32 number nearest to 0.2 is larger than 0.2."""
    record, _ = result(scores=[[0.2, 0.8, 0.1]] * 2, box_scores=[1, 1]).to_coco()
    assert record['score'] == pytest.approx(0.5)


def test_to_coco_matches_mmpose(tmp_path):
    rng = np.random.default_rng(1)
    scores = rng.uniform(0, 1, (5, 17)).astype(np.float32)
    scores[0] = 0.1  # no score above 0.2
    # At 0.2 itself, MMPose's result depends on the version of NumPy.
    scores[1, :4] = np.nextafter(np.float32(0.2), np.float32([0, 0, 1, 1]))
    names = tuple(f'k{k}' for k in range(17))
    poses = PoseResult(
        rng.uniform(0, 400, (5, 17, 2)),
        scores,
        rng.uniform(0, 400, (5, 4)),
        rng.uniform(0, 1, 5),
        draw.Skeleton(names, ()),
        (400, 400),
        'x',
        0,
        3,
    )
    metric = CocoMetric(
        score_mode='bbox_keypoint',
        nms_mode='none',
        format_only=True,
        ann_file=annotations(tmp_path),
        outfile_prefix=str(tmp_path / 'host'),
    )
    metric.dataset_meta = dict(num_keypoints=17, sigmas=np.ones(17) / 20)
    metric.results = [
        (
            dict(
                id=person,
                img_id=3,
                category_id=1,
                keypoints=poses.keypoints[person : person + 1],
                keypoint_scores=poses.scores[person : person + 1],
                bbox_scores=poses.box_scores[person : person + 1],
            ),
            {},
        )
        for person in range(5)
    ]
    metric.compute_metrics(metric.results)
    mmpose_records = json.loads((tmp_path / 'host.keypoints.json').read_text())
    assert len(mmpose_records) == 5
    for record, mmpose_record in zip(poses.to_coco(), mmpose_records):
        assert record['image_id'] == mmpose_record['image_id']
        np.testing.assert_allclose(record['score'], mmpose_record['score'], rtol=1e-6)
        np.testing.assert_array_equal(
            np.float32(record['keypoints']), np.float32(mmpose_record['keypoints'])
        )


def annotations(folder):
    (folder / 'truth.json').write_text(
        json.dumps(
            dict(
                images=[dict(id=3, width=400, height=400)],
                annotations=[],
                categories=[dict(id=1, name='person')],
            )
        )
    )
    return str(folder / 'truth.json')


def test_draw_does_not_change_the_image():
    poses = result()
    kept = poses.image
    drawn = poses.draw(boxes=True, ids=True)
    assert (kept == 80).all()
    assert not np.shares_memory(drawn, kept)
    assert tuple(drawn[60, 30]) == draw.LEFT
    bgr = np.full((120, 200, 3), 9, np.uint8)
    assert poses.draw(bgr)[0, 0].tolist() == [9] * 3
    assert (bgr == 9).all()


def test_draw_options():
    poses = result(track_ids=[7, 9])
    plain, boxes, ids = (poses.draw(), poses.draw(boxes=True), poses.draw(ids=True))

    def has(drawn, number):
        return (drawn == identity_colour(number)).all(2).any()

    assert tuple(boxes[60, 20]) == identity_colour(7)
    assert tuple(boxes[60, 120]) == identity_colour(9)
    for drawn in (plain, ids):
        assert (drawn[60, 20] == 80).all()
    assert [has(drawn, number) for drawn in (plain, ids) for number in (7, 9)] == [
        False,
        False,
        True,
        True,
    ]
    assert has(result().draw(ids=True), 1)  # indices, without tracks
    assert tuple(result().draw(boxes=True)[60, 120]) == identity_colour(1)


def test_draw_threshold():
    poses = result(scores=[[1, 1, 0.4], [0.2, 0.2, 1]])
    drawn = poses.draw(threshold=0.3).astype(int)
    assert tuple(drawn[60, 30]) == draw.LEFT
    assert (drawn[60, 130] == 80).all()  # both ends are below the threshold
    limb, high_score_limb = poses.draw(threshold=0.1)[60, 130], drawn[60, 30]
    share = draw.opacity(np.array(0.2), 0.1)
    assert abs(limb - (80 + share * (high_score_limb - 80))).max() <= 1.5


def test_draw_on_other_images():
    grey = np.full((120, 200), 60, np.uint8)
    drawn = result(image=None).draw(grey)
    assert drawn.shape == (120, 200, 3)
    assert (drawn[0, 0] == 60).all()
    assert tuple(drawn[60, 30]) == draw.LEFT
    with pytest.raises(ValueError, match='result of a/b.jpg has no image'):
        result(image=None).draw()
    with pytest.raises(
        ValueError, match='has 100 x 120 pixels, but a/b.jpg has 200 x 120: pass an image'
    ):
        result().draw(grey[:, :100])
    with pytest.raises(ValueError, match='uint16 .*expected uint8'):
        result().draw(grey.astype(np.uint16))
    with pytest.raises(ValueError, match='width is 0: expected a factor'):
        result().draw(width=0)


def test_draw_without_people_and_on_one_pixel():
    poses = empty_result(track_ids=[], visible=[])
    assert len(poses) == 0
    assert poses.keypoints.shape == (0, 3, 2)
    assert poses.to_coco() == poses.to_dict()['people'] == []
    assert (poses.draw(boxes=True, ids=True) == 80).all()
    pixel = result(
        size=(1, 1),
        image=np.full((1, 1, 3), 80, np.uint8),
        keypoints=np.zeros((2, 3, 2)),
        boxes=[[0, 0, 0, 0]] * 2,
    )
    assert pixel.draw(boxes=True, ids=True).shape == (1, 1, 3)
    nan_poses = result(keypoints=np.full((2, 3, 2), np.nan), boxes=np.full((2, 4), np.nan))
    assert (nan_poses.draw(boxes=True, ids=True) == 80).all()
