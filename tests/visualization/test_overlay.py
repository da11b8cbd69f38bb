"""Tests of opacity, line widths, dense keypoints and positions outside the image."""

import time

import numpy as np
import pytest
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from pose_backbones.visualization import draw
from pose_backbones.visualization.labels import identity_colour
from pose_backbones.visualization.skeleton import FINE

BAR = draw.Skeleton(('left_hip', 'left_knee'), ((0, 1),))
GREY = 100


def ground(height=300, width=200):
    return np.full((height, width, 3), GREY, np.uint8)


def bar(opacities=None, points=((100, 50), (100, 250)), **kwargs):
    image = ground()
    draw.draw_pose(image, np.array(points), BAR, [True, True], opacities=opacities, **kwargs)
    return image


def skeleton_of(name):
    return draw.Skeleton.from_metainfo(
        parse_pose_metainfo(dict(from_file=f'configs/_base_/datasets/{name}.py'))
    )


def test_opacity_scales_contrast():
    opaque, half = (bar(opacities).astype(int) - GREY for opacities in (None, [0.5, 1]))
    # A limb and its fainter end have half the opacity, the other end has full opacity.
    assert abs(half[150, 100] - opaque[150, 100] / 2).max() <= 1.5
    assert abs(half[50, 100] - opaque[50, 100] / 2).max() <= 1.5
    assert (half[250, 100] == opaque[250, 100]).all()
    assert tuple(opaque[150, 100] + GREY) == draw.LEFT


def test_limbs_with_higher_scores_are_drawn_on_top():
    names = ('left_a', 'left_b', 'right_a', 'right_b')
    points = np.array([[20, 150], [180, 150], [100, 70], [100, 230]])
    for limbs in (((0, 1), (2, 3)), ((2, 3), (0, 1))):
        image = ground()
        draw.draw_pose(
            image, points, draw.Skeleton(names, limbs), [True] * 4, opacities=[1, 1, 0.4, 0.4]
        )
        assert tuple(image[150, 100]) == draw.LEFT


def test_opacity_of_scores():
    scores = np.array([np.nan, -1, 0.29, 0.3, 0.51, 0.72, 1, 3])
    # A smooth step has half its height in the middle.
    expected = [0, 0, 0, 0.5, 0.75, 1, 1, 1]
    np.testing.assert_allclose(draw.opacity(scores, 0.3), expected, atol=1e-9)
    many = draw.opacity(np.linspace(0.3, 1, 500), 0.3)
    assert 0 <= np.diff(many).min() <= np.diff(many).max() < 0.004
    assert draw.opacity(np.array([1.0, 0.99]), 1.0).tolist() == [0.5, 0]


def test_line_width_depends_on_person_and_image():
    assert draw.line_width(220, (480, 640, 3)) == pytest.approx(4)
    # Small people in a large image: lines are not wider than limbs.
    assert draw.line_width(50, (3000, 4000, 3)) == pytest.approx(2)
    assert draw.line_width(150, (3000, 4000, 3)) == pytest.approx(6)
    # A face that fills the image, and a person of a few pixels.
    assert draw.line_width(9000, (480, 640, 3)) < 8
    assert draw.line_width(2, (480, 640, 3)) == pytest.approx(0.7)
    # The size of a person is unknown if there is only one keypoint.
    assert draw.line_width(0, (480, 640, 3)) == pytest.approx(1)
    assert draw.line_width(0, (3000, 4000, 3)) == pytest.approx(6.25)


@pytest.mark.parametrize(('width', 'pixels'), [(0.5, 1.82), (1, 3.64), (3, 10.9)])
def test_limb_width(width, pixels):
    """Widths include fractions of a pixel, for all directions."""
    row = bar(width=width)[150, 80:120].astype(float)
    # On the blue side, limb and rim are both darker than the background.
    rim = min(max(0.2 * pixels, 0.6), 0.3 * pixels)
    drawn = ((GREY - row[:, 0]).sum() - 2 * rim * (GREY - 20)) / (GREY - draw.LEFT[0])
    assert abs(drawn - pixels) < 1.6 + 0.1 * pixels


def test_only_the_region_of_the_person_changes():
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    before = image.copy()
    draw.draw_pose(image, np.array([[100, 120], [110, 180]]), BAR, [1, 1])
    changed = np.argwhere((image != before).any(2))
    assert changed.min(0).tolist() > [110, 90]
    assert (changed.max(0) < [190, 120]).all()
    assert len(changed) > 60


def test_keypoints_outside_the_image():
    inside = bar(points=((100, 50), (100, 250)))
    for far in (1e4, 1e9, 1e30):
        image = bar(points=((100, 50), (100, far)))
        assert tuple(image[150, 100]) == tuple(image[295, 100]) == draw.LEFT
    assert (inside[295] == GREY).all()
    for hidden in (((-90, 40), (-90, 90)), ((300, 1e9), (1e9, 400))):
        assert (bar(points=hidden) == GREY).all()
    # The limb crosses the image, although both ends are outside.
    assert tuple(bar(points=((100, -80), (100, 900)))[150, 100]) == draw.LEFT


def test_keypoints_that_are_not_finite():
    image = bar(points=((100, 50), (np.nan, 250)))
    assert abs(image[50, 100].astype(int) - draw.POINT).max() < 60
    assert (image[80:] == GREY).all()
    assert (bar(points=((np.inf, 0), (5, np.nan))) == GREY).all()


def test_drawing_on_array_views():
    image = ground(300, 400)
    draw.draw_pose(image[:, ::2], np.array([[100, 50], [100, 250]]), BAR, [1, 1])
    assert tuple(image[150, 200]) == draw.LEFT
    assert (image[:, 1::2] == GREY).all()


def test_sizes_of_whole_body_keypoints():
    wholebody = skeleton_of('coco_wholebody')
    assert len(wholebody.names) == 133
    sizes = dict(zip(wholebody.names, wholebody.sizes))
    for name in ('face-0', 'left_hand_root', 'right_pinky_finger4'):
        assert sizes[name] == FINE
    for name in ('left_knee', 'right_wrist'):
        assert sizes[name] == 1
    assert FINE < sizes['left_heel'] == sizes['nose'] < 1
    # A skeleton of one hand is drawn like a body; a large face is finer.
    hand = tuple(name for name in wholebody.names if 'left_' in name and FINE == sizes[name])
    assert set(draw.Skeleton(hand, ()).sizes) == {1}
    face = draw.Skeleton(tuple(f'kpt-{k}' for k in range(96)), ())
    assert set(face.sizes) == {0.5}
    assert set(skeleton_of('mpii').sizes) == {1}


def test_finger_lines_are_thinner_than_arms():
    wholebody = skeleton_of('coco_wholebody')
    index = {name: k for k, name in enumerate(wholebody.names)}

    def thickness(*limb):
        image, shown = ground(), np.zeros(133, bool)
        points = np.zeros((133, 2))
        for name, place in zip(limb, ((100, 50), (100, 250))):
            shown[index[name]], points[index[name]] = True, place
        draw.draw_pose(image, points, wholebody, shown, width=3)
        assert tuple(image[150, 100]) == draw.RIGHT
        return (image[150] != GREY).any(1).sum()

    arm = thickness('right_shoulder', 'right_elbow')
    finger = thickness('right_thumb2', 'right_thumb3')
    assert 0.2 * arm < finger < 0.5 * arm


def test_mpii_keypoints():
    mpii = skeleton_of('mpii')
    assert (len(mpii.names), len(mpii.limbs)) == (16, 15)
    image = ground()
    points = np.full((16, 2), np.nan)
    for name, place in (
        ('left_hip', (60, 40)),
        ('left_knee', (60, 250)),
        ('right_hip', (140, 40)),
        ('right_knee', (140, 250)),
    ):
        points[mpii.names.index(name)] = place
    draw.draw_pose(image, points, mpii, np.ones(16, bool))
    assert tuple(image[150, 60]) == draw.LEFT
    assert tuple(image[150, 140]) == draw.RIGHT


def people(keypoints, boxes, **kwargs):
    image = ground()
    keypoints = np.array(keypoints, float)
    draw.draw_people(
        image,
        keypoints,
        np.ones(keypoints.shape[:2]),
        BAR,
        boxes=np.array(boxes, float),
        ids=range(len(boxes)),
        **kwargs,
    )
    return image


def test_small_people_are_drawn_over_large_ones():
    large = [[100, 20], [100, 280]], [90, 10, 110, 290]
    small = [[100, 150], [130, 150]], [95, 145, 135, 155]
    drawn_in_order, drawn_reversed = (
        people(*zip(*order), width=3) for order in ((large, small), (small, large))
    )
    assert (drawn_in_order == drawn_reversed).all()
    assert tuple(drawn_in_order[150, 100]) == draw.POINT  # of the small person


def test_box_determines_the_size_of_partly_visible_people():
    points = [[100, 150], [110, 150]]
    spot, point = (
        (image != GREY).any(2).sum()
        for image in (
            people([points], [[95, 145, 115, 155]]),
            people([points], [[40, 20, 160, 280]]),
        )
    )
    assert point > 1.5 * spot
    unknown = people([points], [[np.nan, 0, 9, np.inf]])
    assert (unknown == bar(points=points)).all()


def test_ids_without_boxes_are_above_the_head():
    points = [[100, 100], [100, 250]]
    image = people([points], [[90, 40, 110, 260]], show_ids=True)
    rows, columns = np.nonzero((image == identity_colour(0)).all(2))
    assert rows.max() == 100 - 15 - 1  # a tenth of the person's height
    assert columns.min() == 100 - 15


def test_many_people_in_a_large_image_are_fast():
    """Only the regions of the people are blended, not 30 images of 36 MB."""
    rng = np.random.default_rng(0)
    coco = skeleton_of('coco')
    low = rng.uniform(0, (3300, 2000), (30, 2))
    keypoints = low[:, None] + rng.uniform(0, (400, 900), (30, 17, 2))
    boxes = np.hstack([low, low + (400, 900)])
    image = ground(3000, 4000)
    start = time.process_time()
    draw.draw_people(
        image,
        keypoints,
        rng.uniform(0.3, 1, (30, 17)),
        coco,
        boxes=boxes,
        ids=range(30),
        show_boxes=True,
        show_ids=True,
    )
    assert time.process_time() - start < 1.2
    assert (image != GREY).any(2).sum() > 1e5


def test_occluded_keypoints_are_rings():
    for visible, centre in ((0.4, GREY), (0.6, draw.POINT[0])):
        image = people(
            [[[100, 50], [100, 250]]],
            [[90, 40, 110, 260]],
            visible=np.array([[visible, 1]]),
            width=3,
        )
        assert tuple(image[50, 100]) == (centre,) * 3
        assert tuple(image[250, 100]) == draw.POINT


def test_to_bgr():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for image in (grey, grey[..., None], np.dstack([grey] * 3), np.dstack([grey] * 4)):
        copy = draw.to_bgr(image)
        assert copy.shape == (2, 3, 3)
        assert (copy == grey[..., None]).all()
        assert not np.shares_memory(copy, image)
    for image, words in (
        (grey.astype(float), 'float64 and shape .2, 3.'),
        (np.dstack([grey] * 2), 'uint8 .*expected uint8 and'),
        (grey[:0], r'\(0, 3\)'),
    ):
        with pytest.raises(ValueError, match=f'cannot draw on .*{words}'):
            draw.to_bgr(image)
